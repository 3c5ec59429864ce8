//! An answer that is said to be packed: what comes out does not depend on the pieces, and stays within its bounds.
#![no_main]

use hyper::body::Bytes;
use libfuzzer_sys::fuzz_target;
use sixty::wire::{Coding, UnpackBounds, Unpacker};

const BOUNDS: UnpackBounds = UnpackBounds { ratio: 100, window: 1 << 16 };

fuzz_target!(|input: &[u8]| {
    let Some((which, input)) = input.split_first() else { return };
    let coding = [Coding::Gzip, Coding::Deflate, Coding::Brotli, Coding::Zstd][usize::from(which % 4)];
    let Some((whole, pieces)) = sixty_fuzz::pieces(input) else { return };
    let once = plain(coding, [whole].into_iter());
    assert_eq!(once, plain(coding, pieces));
    let most = (1 << 20) + 100 * whole.len();
    assert!(once.is_none_or(|plain| plain.len() <= most));
});

/// None where it is no such stream.
fn plain<'a>(coding: Coding, pieces: impl Iterator<Item = &'a [u8]>) -> Option<Vec<u8>> {
    let (mut unpacker, mut out) = (Unpacker::new(coding, BOUNDS), Vec::new());
    for piece in pieces {
        unpacker.feed(Bytes::copy_from_slice(piece));
        while let Some(plain) = unpacker.piece().ok()? {
            out.extend_from_slice(&plain);
        }
    }
    out.extend(unpacker.finish().ok()?.unwrap_or_default());
    Some(out)
}
