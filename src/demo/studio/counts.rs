//! Counters of what the pretend Model Studio has seen.
//!
//! They must never decide anything: tests read them, the server does not.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A number that only grows.
#[derive(Default)]
pub(super) struct Tally(AtomicU64);

impl Tally {
    pub(super) fn add(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    pub(super) fn read(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// How many at this moment, and the most there ever were.
#[derive(Default)]
pub(super) struct Level {
    now: AtomicU64,
    most: AtomicU64,
}

impl Level {
    /// One more, until the guard is dropped.
    pub(super) fn enter(&self) -> Inside<'_> {
        let now = self.now.fetch_add(1, Relaxed) + 1;
        self.most.fetch_max(now, Relaxed);
        Inside(self)
    }

    pub(super) fn now(&self) -> u64 {
        self.now.load(Relaxed)
    }

    pub(super) fn most(&self) -> u64 {
        self.most.load(Relaxed)
    }
}

/// One of those counted by a [`Level`].
pub(super) struct Inside<'a>(&'a Level);

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Relaxed);
    }
}

#[derive(Default)]
pub(super) struct Counters {
    pub(super) connections: Tally,
    pub(super) handshakes: Tally,
    pub(super) resumptions: Tally,
    pub(super) requests: Tally,
    pub(super) mints: Tally,
    pub(super) uses: Tally,
    pub(super) unauthorized: Tally,
    pub(super) faults: Tally,
    pub(super) open: Level,
    pub(super) busy: Level,
}
