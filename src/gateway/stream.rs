//! The provider's body on its way to the client: counted, searched for the real key, and cut when either says so.
//! It keeps nothing of it but a few bytes that may be the beginning of a key.

use super::{held::Held, plain::Plain};
use crate::{
    broker::{Download, Passage, Told},
    wire::{Coding, Echo, EchoGuard, UnpackBounds, UsageHider, UsageReader},
};
use hyper::body::{Body, Bytes, Frame, SizeHint};
use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

/// One answer's body, with the passage that ends with it.
pub(super) struct Stream {
    body: Plain,
    passage: Passage,
    reader: Option<UsageReader>,
    /// Takes out the usage event that the gateway asked for and the client did not.
    hider: Option<UsageHider>,
    guard: EchoGuard,
    held: Held,
    ended: bool,
}

impl Stream {
    pub(super) fn new(body: Download, passage: Passage) -> Self {
        Self {
            body: Plain::new(body),
            passage,
            reader: None,
            hider: None,
            guard: EchoGuard::for_codes_too(),
            held: Held::default(),
            ended: false,
        }
    }

    /// The body came packed: it is searched, counted and passed on unpacked.
    pub(super) fn unpack(&mut self, coding: Coding, bounds: UnpackBounds) {
        self.body.unpack(coding, bounds);
    }

    /// Counts what the answer used; `hide` where the client did not ask to be told.
    pub(super) fn count(&mut self, reader: Option<UsageReader>, hide: bool) {
        self.hider = (hide && reader.is_some()).then(UsageHider::default);
        self.reader = reader;
    }

    /// The passage, for what takes the connection over.
    pub(super) fn passage(&self) -> &Passage {
        &self.passage
    }

    /// What of a piece may go on now. None: nothing yet.
    fn let_through(&mut self, piece: Bytes) -> io::Result<Option<Bytes>> {
        if let Some(reader) = &mut self.reader {
            reader.feed(&piece);
            if !self.passage.goes_on(reader.output_so_far()) {
                return Err(io::Error::other("the budget is gone"));
            }
        }
        let piece = match &mut self.hider {
            None => piece,
            Some(hider) => {
                let mut shown = Vec::with_capacity(piece.len());
                hider.feed(&piece, &mut shown);
                shown.into()
            }
        };
        self.searched(piece, 1)
    }

    /// What of a piece of a websocket may go on now. A frame must not wait for the next one because it ends like a key
    /// begins: so few bytes are let through.
    pub(super) fn searched_frames(&mut self, piece: Bytes) -> io::Result<Option<Bytes>> {
        self.searched(piece, 8)
    }

    /// What was held back when everything has come.
    pub(super) fn held(&mut self) -> Vec<u8> {
        self.held.rest()
    }

    /// The key came back: it is told, and no connection is kept whose buffers have seen it.
    pub(super) fn echoed(&mut self) {
        self.passage.echoed();
        self.body.close();
    }

    /// Holds back the end of the stream while it may be the beginning of the key, if that is `least` bytes long.
    fn searched(&mut self, piece: Bytes, least: usize) -> io::Result<Option<Bytes>> {
        match self.passage.search(&mut self.guard, &piece)? {
            Echo::At(_) => {
                self.echoed();
                Err(io::Error::other("the provider sent the key back"))
            }
            Echo::None { hold } => Ok(self.held.pass(piece, if hold < least { 0 } else { hold })),
        }
    }

    /// What was held when the provider's stream ended: then it was no key.
    fn rest(&mut self) -> io::Result<Option<Bytes>> {
        self.ended = true;
        let mut rest = Vec::new();
        if let Some(hider) = self.hider.take() {
            hider.finish(&mut rest);
        }
        let mut last = self.searched(rest.into(), 1)?.map_or_else(Vec::new, |bytes| bytes.to_vec());
        last.append(&mut self.held.rest());
        Ok((!last.is_empty()).then(|| last.into()))
    }
}

impl Body for Stream {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let me = &mut *self;
        loop {
            if me.ended {
                return Poll::Ready(None);
            }
            let next = match ready!(me.body.poll_piece(cx)) {
                None => me.rest(),
                Some(Err(fault)) => Err(fault),
                Some(Ok(piece)) => me.let_through(piece),
            };
            match next {
                Ok(Some(bytes)) => return Poll::Ready(Some(Ok(Frame::data(bytes)))),
                Ok(None) => {}
                Err(fault) => {
                    me.ended = true;
                    return Poll::Ready(Some(Err(fault)));
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended || (self.body.is_end_stream() && self.held.is_empty() && self.hider.is_none())
    }

    fn size_hint(&self) -> SizeHint {
        match self.hider {
            None => self.body.size_hint(),
            Some(_) => SizeHint::new(),
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if let Some(reader) = self.reader.take() {
            let output = Some(reader.output_so_far());
            self.passage.settle(Told { usage: reader.finish(), output });
        }
    }
}
