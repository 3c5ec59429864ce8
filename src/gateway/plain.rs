//! The provider's body in plain bytes: as it came, or unpacked where the provider compressed it unasked. It never asks for
//! more of the body before what has come is passed on.

use crate::{
    broker::Download,
    wire::{Coding, UnpackBounds, Unpacker},
};
use hyper::{
    HeaderMap,
    body::{Body, Bytes, SizeHint},
    header::{self, HeaderName},
};
use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

/// A body that is read by plain pieces.
pub(super) struct Plain {
    body: Download,
    unpacker: Option<Unpacker>,
}

/// What tells of the packed bytes, and is wrong about the plain ones.
const OF_PACKED: [HeaderName; 7] = [
    header::CONTENT_ENCODING,
    header::CONTENT_LENGTH,
    header::ACCEPT_RANGES,
    HeaderName::from_static("content-md5"),
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("repr-digest"),
    HeaderName::from_static("digest"),
];

/// How an answer is packed; an error where nobody here can unpack it.
pub(super) fn coding(headers: &HeaderMap) -> Result<Option<Coding>, ()> {
    let is_plain = |name: &&[u8]| name.eq_ignore_ascii_case(b"identity");
    let names = headers.get_all(header::CONTENT_ENCODING).iter().map(|value| value.as_bytes());
    match names.collect::<Vec<_>>().as_slice() {
        [one] if !is_plain(one) => Coding::of(one).map(Some).ok_or(()),
        plain if plain.iter().all(is_plain) => Ok(None),
        _ => Err(()),
    }
}

/// Takes out what is not true any more of a body that is unpacked.
pub(super) fn strip_packed(headers: &mut HeaderMap) {
    OF_PACKED.iter().for_each(|name| drop(headers.remove(name)));
}

impl Plain {
    pub(super) fn new(body: Download) -> Self {
        Self { body, unpacker: None }
    }

    /// From here on it is unpacked.
    pub(super) fn unpack(&mut self, coding: Coding, bounds: UnpackBounds) {
        self.unpacker = Some(Unpacker::new(coding, bounds));
    }

    /// Its connection is not kept.
    pub(super) fn close(&mut self) {
        self.body.close();
    }

    /// The next piece.
    pub(super) fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        loop {
            if let Some(piece) = self.unpacker.as_mut().and_then(|unpacker| unpacker.piece().transpose()) {
                return Poll::Ready(Some(piece));
            }
            let frame = match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                None => return Poll::Ready(self.unpacker.take().and_then(|unpacker| unpacker.finish().transpose())),
                Some(frame) => frame.map_err(io::Error::other)?,
            };
            // Trailers are nobody's: `Trailer` was a header of the provider's connection.
            let piece = frame.into_data().unwrap_or_default();
            match &mut self.unpacker {
                None => return Poll::Ready(Some(Ok(piece))),
                Some(unpacker) => unpacker.feed(piece),
            }
        }
    }

    pub(super) fn is_end_stream(&self) -> bool {
        self.unpacker.is_none() && self.body.is_end_stream()
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        match self.unpacker {
            None => self.body.size_hint(),
            Some(_) => SizeHint::new(),
        }
    }
}
