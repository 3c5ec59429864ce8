//! A body that passes as it comes, searched for the virtual key: one that is in there goes no further. It keeps nothing
//! of the body but a few bytes that may be the beginning of the key.

use super::{
    arriving::{Broken, Fate},
    held::Held,
    key::Key,
};
use crate::{
    broker::Upload,
    wire::{Echo, EchoGuard},
};
use hyper::body::{Body, Bytes, Frame, SizeHint};
use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

/// A body and what it must not hold.
pub(super) struct Watched {
    body: Upload,
    key: Key,
    guard: EchoGuard,
    held: Held,
    fate: Fate,
    ended: bool,
}

impl Watched {
    pub(super) fn new(body: Upload, key: Key, fate: Fate) -> Self {
        Self { body, key, guard: EchoGuard::default(), held: Held::default(), fate, ended: false }
    }

    fn searched(&mut self, piece: Bytes) -> io::Result<Option<Bytes>> {
        match self.key.search(&mut self.guard, &piece) {
            Echo::None { hold } => Ok(self.held.pass(piece, hold)),
            Echo::At(_) => {
                self.ended = true;
                Err(self.fate.breaks(Broken::Leaked))
            }
        }
    }
}

impl Body for Watched {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let me = &mut *self;
        while !me.ended {
            let piece = match ready!(Pin::new(&mut me.body).poll_frame(cx)) {
                None => {
                    me.ended = true;
                    let rest = me.held.rest();
                    return Poll::Ready((!rest.is_empty()).then(|| Ok(Frame::data(rest.into()))));
                }
                Some(Err(fault)) => return Poll::Ready(Some(Err(fault))),
                // Trailers are nobody's: `Trailer` was a header of the connection.
                Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
            };
            if let Some(bytes) = me.searched(piece).transpose() {
                return Poll::Ready(Some(bytes.map(Frame::data)));
            }
        }
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        self.ended || (self.body.is_end_stream() && self.held.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
