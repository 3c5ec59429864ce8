//! gzip, and deflate in either wrapping: a window of 32 KiB, always, and no more than twice that put at once. Checksums
//! are looked at.

use super::{Packing, broken};
use flate2::write::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use hyper::body::{Buf, Bytes};
use std::io::{self, Write};

pub(super) fn gzip() -> MultiGzDecoder<Vec<u8>> {
    MultiGzDecoder::new(Vec::new())
}

/// What goes by the name of deflate: the first byte tells which of the two it is.
#[derive(Default)]
pub(super) struct Deflate(Option<Box<dyn Packing>>);

impl Packing for Deflate {
    fn step(&mut self, packed: &mut Bytes, plain: &mut Vec<u8>) -> io::Result<()> {
        if let (None, Some(first)) = (&self.0, packed.first()) {
            self.0 = Some(match first & 0x0F {
                // RFC 1950, 2.2: the method. A bare stream that began so would have padding that is not zero.
                8 => Box::new(ZlibDecoder::new(Vec::new())),
                _ => Box::new(DeflateDecoder::new(Vec::new())),
            });
        }
        self.0.as_mut().map_or(Ok(()), |wrapping| wrapping.step(packed, plain))
    }

    fn finish(&mut self, plain: &mut Vec<u8>) -> io::Result<()> {
        self.0.as_mut().map_or(Ok(()), |wrapping| wrapping.finish(plain))
    }
}

macro_rules! packings {
    ($($decoder:ident),*) => {$(
        impl Packing for $decoder<Vec<u8>> {
            fn step(&mut self, packed: &mut Bytes, plain: &mut Vec<u8>) -> io::Result<()> {
                let taken = self.write(packed).map_err(broken)?;
                packed.advance(taken);
                self.flush().map_err(broken)?;
                plain.append(self.get_mut());
                Ok(())
            }

            fn finish(&mut self, plain: &mut Vec<u8>) -> io::Result<()> {
                self.try_finish().map_err(broken)?;
                plain.append(self.get_mut());
                Ok(())
            }
        }
    )*};
}
packings!(MultiGzDecoder, ZlibDecoder, DeflateDecoder);
