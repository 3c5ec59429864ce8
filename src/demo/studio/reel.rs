//! The body of an answer: frames, how long to wait between them and how it ends.
//!
//! It must never hold back a frame that is due: a client's time limits are tested with it.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::{Body, Bytes, Frame, SizeHint};
use tokio::time::{Sleep, sleep};

/// How the length of a body is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Length {
    /// `Content-Length`, known before.
    Told(u64),
    /// Chunked.
    Open,
}

/// A body that is played frame by frame.
pub(super) struct Reel {
    frames: VecDeque<Bytes>,
    length: Length,
    pause: Duration,
    waiting: Option<Pin<Box<Sleep>>>,
}

impl Reel {
    /// One frame, sent at once.
    pub(super) fn whole(body: Vec<u8>) -> Self {
        let length = Length::Told(body.len() as u64);
        Self { frames: VecDeque::from([Bytes::from(body)]), length, pause: Duration::ZERO, waiting: None }
    }

    /// A stream of server-sent events with `pause` before each but the first.
    pub(super) fn events(events: Vec<String>, pause: Duration) -> Self {
        let frames = events.into_iter().map(Bytes::from).collect();
        Self { frames, length: Length::Open, pause, waiting: None }
    }

    /// The same bytes in eighths, with `pause` before each.
    pub(super) fn slowly(mut self, pause: Duration) -> Self {
        let body = self.drain();
        let piece = body.len().div_ceil(8).max(1);
        self.frames = body.chunks(piece).map(Bytes::copy_from_slice).collect();
        self.pause = pause;
        self.waiting = Some(Box::pin(sleep(pause)));
        self
    }

    /// The first half of the bytes under the length of the whole: hyper closes the connection when they run out.
    /// A moment passes before that, in which the half is sent: hyper throws away what it still holds.
    pub(super) fn cut(mut self) -> Self {
        let mut body = self.drain();
        self.length = Length::Told(body.len() as u64);
        body.truncate(body.len() / 2);
        self.frames = VecDeque::from([Bytes::from(body), Bytes::new()]);
        self.pause = Duration::from_millis(20);
        self
    }

    fn drain(&mut self) -> Vec<u8> {
        self.frames.drain(..).flatten().collect()
    }
}

impl Body for Reel {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(waiting) = &mut self.waiting {
            std::task::ready!(waiting.as_mut().poll(context));
            self.waiting = None;
        }
        let frame = self.frames.pop_front();
        if frame.is_some() && !self.frames.is_empty() && !self.pause.is_zero() {
            self.waiting = Some(Box::pin(sleep(self.pause)));
        }
        Poll::Ready(frame.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.frames.is_empty() && self.length == Length::Open
    }

    fn size_hint(&self) -> SizeHint {
        match self.length {
            Length::Told(length) => SizeHint::with_exact(length),
            Length::Open => SizeHint::default(),
        }
    }
}
