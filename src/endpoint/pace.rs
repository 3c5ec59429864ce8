//! How long a connection may take over what it is doing: saying nothing, sending a head, waiting, taking its answer.
//! One look every so often decides; no request pays for a timer of its own.

use super::EndpointOptions;
use crate::clock::{Boottime, Clock};
use hyper::rt::{Read, ReadBufCursor, Write};
use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::sync::Notify;

/// What a connection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Phase {
    /// Nothing, between requests.
    Idle,
    /// Sending a head.
    Head,
    /// Sending a body and waiting for the answer.
    Working,
    /// Taking the answer.
    Answering,
    /// Taking a stream that has no end.
    Following,
}

/// The phase of one connection and when it began. Shared by the stream, the service and the watch.
#[derive(Clone)]
pub(super) struct Pace(Arc<Shared>);

struct Shared {
    phase: AtomicU8,
    since: AtomicU64,
    clock: Clock,
    /// Told when another needs its place.
    dismissed: Notify,
}

/// Who is silent for less may be about to speak.
const MOMENT: Duration = Duration::from_millis(100);

impl Pace {
    pub(super) fn new(clock: Clock) -> Self {
        let since = AtomicU64::new(clock.boot().nanos());
        // A fresh connection owes a head at once.
        Self(Arc::new(Shared { phase: AtomicU8::new(Phase::Head as u8), since, clock, dismissed: Notify::new() }))
    }

    pub(super) fn enter(&self, phase: Phase) {
        self.0.since.store(self.0.clock.boot().nanos(), Ordering::Relaxed);
        self.0.phase.store(phase as u8, Ordering::Relaxed);
    }

    pub(super) fn is(&self, phase: Phase) -> bool {
        self.0.phase.load(Ordering::Relaxed) == phase as u8
    }

    /// Returns when the connection has taken too long, or is silent and another needs its place.
    pub(super) async fn overdue(&self, limits: EndpointOptions) {
        let shortest = limits.header_time.min(limits.idle_time).min(limits.request_time);
        let look = (shortest / 4).clamp(Duration::from_millis(10), Duration::from_secs(1));
        loop {
            tokio::select! {
                () = tokio::time::sleep(look) => {
                    if self.limit(limits).is_some_and(|limit| self.lasted() > limit) {
                        return;
                    }
                }
                // One that began to speak meanwhile stays.
                () = self.0.dismissed.notified() => {
                    if self.silence().is_some() {
                        return;
                    }
                }
            }
        }
    }

    /// How long it has owed us a whole head; none when it owes us nothing, or has for less than a moment.
    pub(super) fn silence(&self) -> Option<Duration> {
        let waits = self.is(Phase::Idle) || self.is(Phase::Head);
        waits.then(|| self.lasted()).filter(|lasted| *lasted >= MOMENT)
    }

    /// Asks it to leave.
    pub(super) fn dismiss(&self) {
        self.0.dismissed.notify_one();
    }

    /// What tells it from every other that is there.
    pub(super) fn name(&self) -> usize {
        Arc::as_ptr(&self.0).addr()
    }

    fn lasted(&self) -> Duration {
        self.0.clock.boot().since(Boottime::from_nanos(self.0.since.load(Ordering::Relaxed)))
    }

    #[cfg(test)]
    pub(super) fn is_dismissed(&self) -> bool {
        let mut told = std::pin::pin!(self.0.dismissed.notified());
        told.as_mut().enable()
    }

    fn limit(&self, limits: EndpointOptions) -> Option<Duration> {
        let limit = |phase| match phase {
            Phase::Idle => Some(limits.idle_time),
            Phase::Head => Some(limits.header_time),
            // The service has limits of its own and answers when they are over: this is behind them.
            Phase::Working => Some(limits.request_time + limits.body_time + Duration::from_secs(1)),
            Phase::Answering => Some(limits.request_time),
            Phase::Following => None,
        };
        let all = [Phase::Idle, Phase::Head, Phase::Working, Phase::Answering, Phase::Following];
        all.into_iter().find(|phase| self.is(*phase)).and_then(limit)
    }
}

/// A stream that tells its pace.
pub(super) struct Paced<T> {
    inner: T,
    pace: Pace,
}

impl<T> Paced<T> {
    pub(super) fn new(inner: T, pace: Pace) -> Self {
        Self { inner, pace }
    }
}

impl<T: Read + Unpin> Read for Paced<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let read = ready!(Pin::new(&mut self.inner).poll_read(cx, buf));
        if self.pace.is(Phase::Idle) {
            self.pace.enter(Phase::Head);
        }
        Poll::Ready(read)
    }
}

impl<T: Write + Unpin> Write for Paced<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = ready!(Pin::new(&mut self.inner).poll_flush(cx));
        if self.pace.is(Phase::Answering) {
            self.pace.enter(Phase::Idle);
        }
        Poll::Ready(flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        false
    }
}
