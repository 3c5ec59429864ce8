//! Brotli: a window as the stream's first byte says, up to a bound. It never takes the large windows of RFC 9841.

use super::{Packing, broken};
use brotli_decompressor::{BrotliDecompressStream, BrotliResult, BrotliState, StandardAlloc};
use hyper::body::{Buf, Bytes};
use std::io;

type State = BrotliState<StandardAlloc, StandardAlloc, StandardAlloc>;

/// Plain bytes that are put at once.
const PIECE: usize = 16 * 1024;

pub(super) struct Brotli {
    state: Box<State>,
    window: usize,
    total: usize,
    ended: bool,
}

impl Brotli {
    pub(super) fn new(window: usize) -> Self {
        let [bytes, words, codes] = std::array::from_fn(|_| StandardAlloc::default());
        Self { state: Box::new(BrotliState::new_strict(bytes, words, codes)), window, total: 0, ended: false }
    }

    /// One call of the decoder; gives what it said.
    fn run(&mut self, packed: &[u8], plain: &mut Vec<u8>) -> io::Result<(usize, BrotliResult)> {
        let (mut left, mut at, mut room, mut put) = (packed.len(), 0, PIECE, 0);
        let start = plain.len();
        plain.resize(start + PIECE, 0);
        let said = BrotliDecompressStream(
            &mut left,
            &mut at,
            packed,
            &mut room,
            &mut put,
            &mut plain[start..],
            &mut self.total,
            &mut self.state,
        );
        plain.truncate(start + put);
        match said {
            BrotliResult::ResultFailure => Err(broken("no brotli")),
            said => Ok((at, said)),
        }
    }
}

impl Packing for Brotli {
    fn step(&mut self, packed: &mut Bytes, plain: &mut Vec<u8>) -> io::Result<()> {
        if self.ended {
            return Ok(());
        }
        // The first byte tells the window, before there is one.
        let known = self.state.window_bits > 0;
        let some = if known { &packed[..] } else { &packed[..packed.len().min(1)] };
        let (taken, said) = self.run(some, plain)?;
        packed.advance(taken);
        if self.state.window_bits > 0 && 1_usize << self.state.window_bits > self.window {
            return Err(broken("a window larger than `unpack_window`"));
        }
        self.ended = matches!(said, BrotliResult::ResultSuccess);
        Ok(())
    }

    fn finish(&mut self, plain: &mut Vec<u8>) -> io::Result<()> {
        while !self.ended {
            match self.run(&[], plain)? {
                (_, BrotliResult::ResultSuccess) => self.ended = true,
                (_, BrotliResult::NeedsMoreOutput) => {}
                _ => return Err(broken("cut short")),
            }
        }
        Ok(())
    }
}
