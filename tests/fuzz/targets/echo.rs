//! The search for a key in an answer: it finds it if and only if it is there, wherever the pieces end.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sixty::wire::{Echo, EchoGuard};

// The lengths of the secret and of the pieces, the secret, the stream.
fuzz_target!(|input: &[u8]| {
    let Some(([length, size], bytes)) = input.split_first_chunk() else { return };
    let Some((secret, stream)) = bytes.split_at_checked(usize::from(*length)) else { return };
    if secret.is_empty() {
        return;
    }
    let there = stream.windows(secret.len()).position(|window| window == secret);
    let mut guard = EchoGuard::default();
    let found = stream.chunks(usize::from(*size) + 1).find_map(|piece| match guard.search(secret, piece) {
        Echo::At(at) => Some(at as usize),
        Echo::None { .. } => None,
    });
    assert_eq!(found, there);
});
