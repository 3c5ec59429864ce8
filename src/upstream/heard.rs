//! Whether a provider has begun to answer: a call that got no byte of an answer may be made again, no other may.
//! It keeps no byte of what it hears.

use super::warm::Stream;
use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    task::yield_now,
};

/// Whether a byte of an answer has come. Clones tell of the same connection.
#[derive(Clone, Default)]
pub(super) struct Heard(Arc<AtomicBool>);

impl Heard {
    /// Another call begins on the connection.
    pub(super) fn forget(&self) {
        self.0.store(false, Ordering::Relaxed);
    }

    pub(super) fn anything(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// A stream that tells it, and that closes only when all who wait for the answer have had their turn: to close wakes the
/// other side, which takes the processor.
pub(super) struct Hearing {
    inner: Box<dyn Stream>,
    heard: Heard,
    others: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl Hearing {
    pub(super) fn new(inner: Box<dyn Stream>, heard: Heard) -> Self {
        Self { inner, heard, others: Some(Box::pin(yield_now())) }
    }
}

impl AsyncRead for Hearing {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = ready!(Pin::new(&mut self.inner).poll_read(cx, buf));
        if buf.filled().len() > before {
            self.heard.0.store(true, Ordering::Relaxed);
        }
        Poll::Ready(read)
    }
}

impl AsyncWrite for Hearing {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(others) = &mut self.others {
            ready!(others.as_mut().poll(cx));
            self.others = None;
        }
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
