//! The client's end of a connection: it waits only so long for a client that takes nothing, and is closed in a way that
//! lets the last answer arrive. A socket that is closed with something unread resets the connection, and the client
//! loses what it has not read yet (RFC 9112 §9.6); so what still comes is read for a while, and thrown away.

use super::{arriving::Course, patience::Patience};
use std::{
    future::Future,
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

/// How a connection's end is closed.
#[derive(Debug, Clone, Copy)]
pub struct Lingering {
    /// How long what still comes is read.
    pub time: Duration,
    /// How much of it, in bytes.
    pub bytes: usize,
}

/// One connection.
pub(super) struct Line<S> {
    stream: S,
    patience: Patience,
    lingering: Lingering,
    course: Course,
    rest: Option<Rest>,
}

/// What comes after the last answer.
struct Rest {
    end: Pin<Box<Sleep>>,
    room: usize,
    piece: Vec<u8>,
}

/// What is thrown away at once, in bytes.
const PIECE: usize = 16 * 1024;

impl<S> Line<S> {
    /// `taking` is how long the client may take nothing; `course` tells whether a body is still to come.
    pub(super) fn new(stream: S, taking: Duration, lingering: Lingering, course: Course) -> Self {
        Self { stream, patience: Patience::new(taking), lingering, course, rest: None }
    }

    pub(super) fn into_inner(self) -> S {
        self.stream
    }
}

impl<S: AsyncRead + Unpin> Line<S> {
    /// Ready when nothing more comes, or more than is waited for.
    fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Lingering { time, bytes } = self.lingering;
        let rest =
            self.rest.get_or_insert_with(|| Rest { end: Box::pin(sleep(time)), room: bytes, piece: vec![0; PIECE] });
        while rest.room > 0 && rest.end.as_mut().poll(cx).is_pending() {
            let mut piece = ReadBuf::new(&mut rest.piece);
            let read = match Pin::new(&mut self.stream).poll_read(cx, &mut piece) {
                // Nothing is there, and nothing was on its way.
                Poll::Pending if rest.room == bytes && !self.course.unread() => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
                Poll::Ready(read) => read.map_or(0, |()| piece.filled().len()),
            };
            rest.room = if read == 0 { 0 } else { rest.room.saturating_sub(read) };
        }
        Poll::Ready(())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Line<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Line<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let me = &mut *self;
        me.course.keep(false);
        let polled = Pin::new(&mut me.stream).poll_write(cx, bytes);
        me.patience.bound(cx, polled).map(io::Result::flatten)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let me = &mut *self;
        me.course.keep(false);
        let polled = Pin::new(&mut me.stream).poll_write_vectored(cx, bytes);
        me.patience.bound(cx, polled).map(io::Result::flatten)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.course.is_kept() {
            return Poll::Ready(Ok(()));
        }
        if self.rest.is_none() {
            ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
        }
        if self.course.switched() { Poll::Ready(Ok(())) } else { self.poll_rest(cx).map(Ok) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Waker;
    use tokio::io::{AsyncWriteExt, duplex};

    const LINGERING: Lingering = Lingering { time: Duration::from_secs(5), bytes: 100_000 };

    #[tokio::test]
    async fn what_still_comes_is_read_until_it_is_too_much() {
        let (mut client, stream) = duplex(1 << 20);
        let mut line = Line::new(stream, Duration::from_secs(60), LINGERING, Course::default());
        client.write_all(&[0; 50_000]).await.unwrap();
        let cx = &mut Context::from_waker(Waker::noop());
        assert!(Pin::new(&mut line).poll_shutdown(cx).is_pending(), "where something came more may come");
        client.write_all(&[0; 60_000]).await.unwrap();
        assert!(Pin::new(&mut line).poll_shutdown(cx).is_ready());
    }

    #[tokio::test]
    async fn who_was_silent_is_not_waited_for() {
        let (_client, stream) = duplex(64);
        let mut line = Line::new(stream, Duration::from_secs(60), LINGERING, Course::default());
        let cx = &mut Context::from_waker(Waker::noop());
        assert!(Pin::new(&mut line).poll_shutdown(cx).is_ready());
    }

    #[tokio::test]
    async fn a_client_that_takes_nothing_is_left() {
        let (_client, stream) = duplex(64);
        let mut line = Line::new(stream, Duration::from_millis(20), LINGERING, Course::default());
        let fault = line.write_all(&[0; 65]).await.unwrap_err();
        assert_eq!(fault.kind(), io::ErrorKind::TimedOut);
    }
}
