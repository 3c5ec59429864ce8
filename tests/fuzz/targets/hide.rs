//! The filter that takes out an event the client did not ask for: the same however the bytes come, and nothing is added.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sixty::wire::UsageHider;

fuzz_target!(|input: &[u8]| {
    let Some((whole, pieces)) = sixty_fuzz::pieces(input) else { return };
    let once = hidden([whole].into_iter());
    assert_eq!(once, hidden(pieces));
    let mut rest = whole.iter();
    assert!(once.iter().all(|byte| rest.any(|came| came == byte)), "what goes on came in, in its order");
});

fn hidden<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    let (mut hider, mut out) = (UsageHider::default(), Vec::new());
    pieces.for_each(|piece| hider.feed(piece, &mut out));
    hider.finish(&mut out);
    out
}
