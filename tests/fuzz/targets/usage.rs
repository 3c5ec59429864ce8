//! What an answer says it used: the same however the bytes come.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sixty::{
    model::Shape,
    wire::{Framing, UsageReader},
};

fuzz_target!(|input: &[u8]| {
    let Some((whole, _)) = sixty_fuzz::pieces(input) else { return };
    for shape in Shape::ALL {
        for framing in [Framing::Json, Framing::Sse] {
            let mut once = UsageReader::new(shape, framing);
            once.feed(whole);
            let mut pieces = UsageReader::new(shape, framing);
            sixty_fuzz::pieces(input).into_iter().flat_map(|(_, pieces)| pieces).for_each(|piece| pieces.feed(piece));
            assert_eq!(once.output_so_far(), pieces.output_so_far());
            assert_eq!(once.finish(), pieces.finish());
        }
    }
});
