//! What the service manager is told: sd_notify(3). Without one, nothing happens.

use crate::{config::environment, sys::passing};
use sd_notify::NotifyState;
use std::{
    io::Write,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixDatagram,
    },
    time::Duration,
};
use tracing::debug;

/// Where it listens.
const SOCKET: &str = "NOTIFY_SOCKET";

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

/// Leaves a descriptor with it for the process after this one, under a name: its file descriptor store.
pub(super) fn store(name: &str, fd: BorrowedFd<'_>) {
    let Some(manager) = environment(SOCKET) else { return };
    let sent = UnixDatagram::unbound().and_then(|socket| {
        socket.connect(manager)?;
        Ok(passing::send(socket.as_fd(), format!("FDSTORE=1\nFDNAME={name}").as_bytes(), &[fd])?)
    });
    told(sent);
}

/// Has it forget what was left under a name. Whether it was told.
pub(super) fn forget(name: &str) -> bool {
    told(sd_notify::notify(&[NotifyState::Custom(&format!("FDSTOREREMOVE=1\nFDNAME={name}"))]))
}

/// Whether there is one.
pub(super) fn is_there() -> bool {
    environment(SOCKET).is_some()
}

/// For people, when there is no log yet or no more: stderr that is gone is no reason to fail.
pub(super) fn last_words(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
}

fn send(states: &[NotifyState<'_>]) {
    told(sd_notify::notify(states));
}

fn told(sent: std::io::Result<()>) -> bool {
    sent.inspect_err(|fault| debug!(%fault, "the service manager was not told")).is_ok()
}
