//! The provider's body on its way to the client: counted, searched for the real key, and cut when either says so.
//! It keeps nothing of it but a few bytes that may be the beginning of a key.

use crate::{
    broker::{Download, Passage, Told},
    wire::{Echo, EchoGuard, UsageHider, UsageReader},
};
use hyper::body::{Body, Bytes, Frame, SizeHint};
use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

/// One answer's body, with the passage that ends with it.
pub(super) struct Stream {
    body: Download,
    passage: Passage,
    reader: Option<UsageReader>,
    /// Takes out the usage event that the gateway asked for and the client did not.
    hider: Option<UsageHider>,
    guard: EchoGuard,
    /// The stream's last bytes, while they may be a key's first.
    held: Vec<u8>,
    ended: bool,
}

impl Stream {
    pub(super) fn new(body: Download, passage: Passage) -> Self {
        Self { body, passage, reader: None, hider: None, guard: EchoGuard::default(), held: Vec::new(), ended: false }
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
        self.searched(piece)
    }

    fn searched(&mut self, piece: Bytes) -> io::Result<Option<Bytes>> {
        match self.passage.search(&mut self.guard, &piece)? {
            Echo::At(_) => {
                self.passage.echoed();
                Err(io::Error::other("the provider sent the key back"))
            }
            Echo::None { hold: 0 } if self.held.is_empty() => Ok(Some(piece).filter(|piece| !piece.is_empty())),
            Echo::None { hold } => {
                let mut all = std::mem::take(&mut self.held);
                all.extend_from_slice(&piece);
                self.held = all.split_off(all.len().saturating_sub(hold));
                Ok(Some(all.into()).filter(|all: &Bytes| !all.is_empty()))
            }
        }
    }

    /// What was held when the provider's stream ended: then it was no key.
    fn rest(&mut self) -> io::Result<Option<Bytes>> {
        self.ended = true;
        let mut rest = Vec::new();
        if let Some(hider) = self.hider.take() {
            hider.finish(&mut rest);
        }
        let mut last = self.searched(rest.into())?.map_or_else(Vec::new, |bytes| bytes.to_vec());
        last.append(&mut self.held);
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
            let next = match ready!(Pin::new(&mut me.body).poll_frame(cx)) {
                None => me.rest(),
                Some(Err(fault)) => Err(io::Error::other(fault)),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => me.let_through(data),
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
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
