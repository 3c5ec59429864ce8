//! Zstandard, block by block: each is decoded when it is whole, and none before the last one's bytes were put. It keeps
//! a window of what it put last, and so puts nothing before that is full or the frame has ended.

use super::{Packing, broken};
use hyper::body::{Buf, Bytes};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};
use std::io::{self, Read};

/// Plain bytes that are put at once.
const PIECE: u64 = 16 * 1024;
/// Bytes of a block, by the format (RFC 8878, 3.1.1.2.3).
const BLOCK: usize = 128 * 1024;

/// What comes next in the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Frame,
    /// With a checksum behind the last one.
    Block {
        checksum: bool,
    },
}

pub(super) struct Zstd {
    decoder: FrameDecoder,
    next: Next,
    /// The packed bytes of what comes next, until it is whole.
    gathered: Vec<u8>,
}

impl Zstd {
    pub(super) fn new(window: usize) -> Self {
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(window as u64);
        Self { decoder, next: Next::Frame, gathered: Vec::new() }
    }

    /// How many bytes the next thing has, as far as its first ones tell.
    fn needed(&self) -> io::Result<usize> {
        Ok(match (self.next, self.gathered.as_slice()) {
            (Next::Frame, [_, _, _, _, descriptor, ..]) => frame_header(*descriptor),
            (Next::Frame, _) => 5,
            (Next::Block { checksum }, &[a, b, c, ..]) => {
                let head = u32::from_le_bytes([a, b, c, 0]);
                let size = match head >> 1 & 3 {
                    1 => 1,
                    0 | 2 => (head >> 3) as usize,
                    _ => return Err(broken("no block of zstd")),
                };
                if size > BLOCK {
                    return Err(broken("a block of zstd that is too large"));
                }
                3 + size + if checksum && head & 1 == 1 { 4 } else { 0 }
            }
            (Next::Block { .. }, _) => 3,
        })
    }

    /// Reads what is whole.
    fn decode(&mut self) -> io::Result<()> {
        let bytes = self.gathered.as_slice();
        self.next = match self.next {
            Next::Frame => {
                self.decoder.reset(bytes).map_err(|_| broken("no frame of zstd, or too large a window"))?;
                Next::Block { checksum: bytes[4] & 4 != 0 }
            }
            block => {
                let decoded = self.decoder.decode_blocks(bytes, BlockDecodingStrategy::UptoBlocks(1));
                if decoded.map_err(|_| broken("no block of zstd"))? { Next::Frame } else { block }
            }
        };
        self.gathered.clear();
        Ok(())
    }
}

/// The length of a frame's header (RFC 8878, 3.1.1.1), magic number and all.
fn frame_header(descriptor: u8) -> usize {
    let single = descriptor >> 5 & 1;
    let dictionary = [0, 1, 2, 4][usize::from(descriptor & 3)];
    let size = [usize::from(single), 2, 4, 8][usize::from(descriptor >> 6)];
    5 + usize::from(1 - single) + dictionary + size
}

impl Packing for Zstd {
    fn step(&mut self, packed: &mut Bytes, plain: &mut Vec<u8>) -> io::Result<()> {
        if self.decoder.can_collect() > 0 {
            return (&mut self.decoder).take(PIECE).read_to_end(plain).map(drop);
        }
        let needed = self.needed()?;
        let taken = needed.saturating_sub(self.gathered.len()).min(packed.len());
        self.gathered.extend_from_slice(&packed[..taken]);
        packed.advance(taken);
        // What it needs may be more, now that more of it is there.
        if self.gathered.len() == self.needed()? {
            self.decode()?;
        }
        Ok(())
    }

    fn finish(&mut self, _plain: &mut Vec<u8>) -> io::Result<()> {
        match self.next == Next::Frame && self.gathered.is_empty() {
            true => Ok(()),
            false => Err(broken("cut short")),
        }
    }
}
