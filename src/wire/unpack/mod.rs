//! Unpacks an answer that a provider compressed unasked, while it flows by: piece by piece, within bounds that the
//! sender cannot move. It never keeps more of the plain bytes than its window and one piece.

mod brotli;
mod flate;
mod zstd;

use hyper::body::{Buf, Bytes};
use std::io;

/// How far an answer may unpack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnpackBounds {
    /// Plain bytes for each packed one, beyond the first MiB.
    pub ratio: u64,
    /// The largest window that a stream may ask for, in bytes.
    pub window: usize,
}

/// Plain bytes that any answer may have, however few packed ones it has.
const FREE: u64 = 1 << 20;

/// A content coding that is understood (RFC 9110, 8.4.1; RFC 7932; RFC 8878).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coding {
    /// RFC 1952.
    Gzip,
    /// RFC 1950; and RFC 1951 bare, which some send under that name.
    Deflate,
    /// RFC 7932.
    Brotli,
    /// RFC 8878.
    Zstd,
}

impl Coding {
    /// By its name in `content-encoding`; none for one that is unknown, and for several.
    pub fn of(name: &[u8]) -> Option<Self> {
        Some(match name.to_ascii_lowercase().as_slice() {
            b"gzip" | b"x-gzip" => Self::Gzip,
            b"deflate" => Self::Deflate,
            b"br" => Self::Brotli,
            b"zstd" => Self::Zstd,
            _ => return None,
        })
    }
}

/// One way to pack.
trait Packing: Send {
    /// Takes some of `packed`, and puts what is ready behind `plain`: a bounded piece. Where it does neither, nothing is
    /// left of what was taken; and if there is more to take, the stream was over before.
    fn step(&mut self, packed: &mut Bytes, plain: &mut Vec<u8>) -> io::Result<()>;

    /// Puts what is left, once nothing more comes; a fault where the stream is not whole.
    fn finish(&mut self, plain: &mut Vec<u8>) -> io::Result<()>;
}

/// One answer that is being unpacked.
pub struct Unpacker {
    packing: Box<dyn Packing>,
    ratio: u64,
    packed: Bytes,
    taken: u64,
    given: u64,
}

impl Unpacker {
    /// For an answer that is packed so.
    pub fn new(coding: Coding, bounds: UnpackBounds) -> Self {
        let packing: Box<dyn Packing> = match coding {
            Coding::Gzip => Box::new(flate::gzip()),
            Coding::Deflate => Box::new(flate::Deflate::default()),
            Coding::Brotli => Box::new(brotli::Brotli::new(bounds.window)),
            Coding::Zstd => Box::new(zstd::Zstd::new(bounds.window)),
        };
        Self { packing, ratio: bounds.ratio, packed: Bytes::new(), taken: 0, given: 0 }
    }

    /// Takes the next packed piece; the last one must have been unpacked.
    pub fn feed(&mut self, packed: Bytes) {
        self.packed = packed;
    }

    /// The next plain piece of what was fed; none when there is no more of it.
    ///
    /// # Errors
    /// It is no such stream, or one beyond the bounds: nothing that follows can be told.
    pub fn piece(&mut self) -> io::Result<Option<Bytes>> {
        let mut plain = Vec::new();
        loop {
            let before = self.packed.remaining();
            self.packing.step(&mut self.packed, &mut plain)?;
            let taken = before - self.packed.remaining();
            self.taken += taken as u64;
            match (plain.is_empty(), taken) {
                (false, _) => return self.bounded(plain),
                (true, 0) if before == 0 => return Ok(None),
                (true, 0) => return Err(broken("bytes follow the end of a packed answer")),
                (true, _) => {}
            }
        }
    }

    /// The last plain piece, when the answer is over. One without any body is whole (of a HEAD, say).
    ///
    /// # Errors
    /// As for [`Unpacker::piece`]; or the stream was cut short.
    pub fn finish(mut self) -> io::Result<Option<Bytes>> {
        let mut plain = Vec::new();
        if self.taken > 0 {
            self.packing.finish(&mut plain)?;
        }
        self.bounded(plain)
    }

    fn bounded(&mut self, plain: Vec<u8>) -> io::Result<Option<Bytes>> {
        self.given += plain.len() as u64;
        if self.given > FREE.saturating_add(self.taken.saturating_mul(self.ratio)) {
            return Err(io::Error::other("a packed answer unpacks to more than `unpack_ratio` allows"));
        }
        Ok((!plain.is_empty()).then(|| plain.into()))
    }
}

fn broken(what: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests;
