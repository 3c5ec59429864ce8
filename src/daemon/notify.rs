//! What the service manager is told: sd_notify(3). Without one, nothing happens.

use sd_notify::NotifyState;
use std::{io::Write, time::Duration};
use tracing::debug;

/// Ready, with counts.
pub(super) fn ready(status: &str) {
    send(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// Only the counts.
pub(super) fn status(status: &str) {
    send(&[NotifyState::Status(status)]);
}

/// A reload begins; `ready` ends it.
pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => send(&[NotifyState::Reloading, now]),
        Err(_) => send(&[NotifyState::Reloading]),
    }
}

/// The daemon drains.
pub(super) fn stopping() {
    send(&[NotifyState::Stopping, NotifyState::Status("draining")]);
}

/// Still alive.
pub(super) fn watchdog() {
    send(&[NotifyState::Watchdog]);
}

/// How often the watchdog wants to hear: half of its limit.
pub(super) fn watchdog_period() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|limit| limit / 2)
}

/// For people, when there is no log yet or no more: stderr that is gone is no reason to fail.
pub(super) fn last_words(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
}

fn send(states: &[NotifyState<'_>]) {
    if let Err(fault) = sd_notify::notify(states) {
        debug!(%fault, "the service manager was not told");
    }
}
