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
    /// Nothing yet.
    Fresh,
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
        Self(Arc::new(Shared { phase: AtomicU8::new(Phase::Fresh as u8), since, clock, dismissed: Notify::new() }))
    }

    pub(super) fn enter(&self, phase: Phase) {
        self.0.since.store(self.0.clock.boot().nanos(), Ordering::Relaxed);
        self.turn(phase);
    }

    /// Another phase, and the same beginning.
    fn turn(&self, phase: Phase) {
        self.0.phase.store(phase as u8, Ordering::Relaxed);
    }

    pub(super) fn is(&self, phase: Phase) -> bool {
        self.0.phase.load(Ordering::Relaxed) == phase as u8
    }

    /// Returns when the connection has taken too long, or is silent and another needs its place. Whoever waits for it polls
    /// the connection first: what has come in counts.
    pub(super) async fn overdue(&self, limits: EndpointOptions) {
        let shortest = limits.header_time.min(limits.idle_time).min(limits.request_time);
        let look = (shortest / 4).clamp(Duration::from_millis(10), Duration::from_secs(1));
        loop {
            let over = tokio::select! {
                () = tokio::time::sleep(look) => Self::is_over,
                () = self.0.dismissed.notified() => Self::is_silent,
            };
            if over(self, limits) {
                // Where we were kept from looking for so long, a request may lie there unread: it is read first, and
                // who began to speak stays.
                tokio::task::yield_now().await;
                if over(self, limits) {
                    return;
                }
            }
        }
    }

    fn is_over(&self, limits: EndpointOptions) -> bool {
        self.limit(limits).is_some_and(|limit| self.lasted() > limit)
    }

    fn is_silent(&self, _: EndpointOptions) -> bool {
        self.silence().is_some()
    }

    /// How long it has owed us a whole head; none when it owes us nothing, or has for less than a moment.
    pub(super) fn silence(&self) -> Option<Duration> {
        let waits = self.rests() || self.is(Phase::Head);
        waits.then(|| self.lasted()).filter(|lasted| *lasted >= MOMENT)
    }

    /// Whether nothing was read of it that is not answered.
    pub(super) fn rests(&self) -> bool {
        self.is(Phase::Fresh) || self.is(Phase::Idle)
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
            Phase::Fresh | Phase::Head => Some(limits.header_time),
            // The service has limits of its own and answers when they are over: this is behind them.
            Phase::Working => Some(limits.request_time + limits.body_time + Duration::from_secs(1)),
            Phase::Answering => Some(limits.request_time),
            Phase::Following => None,
        };
        let all = [Phase::Fresh, Phase::Idle, Phase::Head, Phase::Working, Phase::Answering, Phase::Following];
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

    pub(super) fn into_inner(self) -> T {
        self.inner
    }
}

impl<T: Read + Unpin> Read for Paced<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let read = ready!(Pin::new(&mut self.inner).poll_read(cx, buf));
        match () {
            () if self.pace.is(Phase::Idle) => self.pace.enter(Phase::Head),
            // It has had its time since it came.
            () if self.pace.is(Phase::Fresh) => self.pace.turn(Phase::Head),
            () => {}
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

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> EndpointOptions {
        let short = Duration::from_millis(40);
        EndpointOptions {
            connections: 1,
            busy_answers: 1,
            request_bytes: 1,
            leases_per_page: 1,
            header_bytes: 1,
            header_time: short,
            body_time: short,
            idle_time: short,
            request_time: short,
        }
    }

    /// Whether a connection that was silent for too long is ended, where a request comes in at this very moment, or none.
    async fn ended(dismissed: bool, speaks: bool) -> bool {
        let (clock, winder) = Clock::manual(1);
        let pace = Pace::new(clock);
        winder.advance(Duration::from_secs(60));
        if dismissed {
            pace.dismiss();
        }
        let reads = async {
            if speaks {
                pace.enter(Phase::Working);
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        };
        tokio::select! {
            biased;
            // First, as where nobody was let look for long: it sees the silence before the request.
            () = pace.overdue(limits()) => true,
            () = reads => false,
        }
    }

    #[tokio::test]
    async fn a_request_that_lies_there_unread_is_not_cut_off() {
        assert!(ended(true, false).await && ended(false, false).await, "silence ends it");
        assert!(!ended(true, true).await, "a request that had come in was dropped for another's place");
    }
}
