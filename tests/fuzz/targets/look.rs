//! The look into a body before it goes out: the same however the bytes come, and never laxer than another reader.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sixty::{model::Shape, wire::Look};

fuzz_target!(|input: &[u8]| {
    let Some((whole, _)) = sixty_fuzz::pieces(input) else { return };
    for shape in Shape::ALL {
        let mut look = Look::new(shape);
        let once = look.feed(whole).and_then(|()| look.finish());
        let mut look = Look::new(shape);
        let mut pieces = sixty_fuzz::pieces(input).into_iter().flat_map(|(_, pieces)| pieces);
        let several = pieces.try_for_each(|piece| look.feed(piece)).and_then(|()| look.finish());
        assert_eq!(once.is_ok(), several.is_ok());
        if let Ok(seen) = once {
            // Unread text, so that a number beyond what an f64 holds is no fault: it is JSON all the same.
            assert!(serde_json::from_slice::<&serde_json::value::RawValue>(whole).is_ok(), "what we take, others take");
            assert_eq!(format!("{seen:?}"), format!("{:?}", several.unwrap()));
        }
    }
});
