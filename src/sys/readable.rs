//! Waiting for our own descriptors in the event loop: epoll(7) by tokio's `AsyncFd`.
//! It must never be given a descriptor that its owner could close or swap while it is registered.
#![allow(unsafe_code)]

use std::io;
use std::sync::Arc;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::pidfd::Pidfd;
use super::timer::BootTimer;

/// Types that own one descriptor from birth to drop and never close, swap or lend it for closing.
pub trait OwnsDescriptor: std::os::fd::AsRawFd + sealed::Sealed {}
impl OwnsDescriptor for Pidfd {}
impl OwnsDescriptor for BootTimer {}
impl<T: OwnsDescriptor> OwnsDescriptor for Arc<T> {}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::Pidfd {}
    impl Sealed for super::BootTimer {}
    impl<T: Sealed> Sealed for super::Arc<T> {}
}

/// Registers a descriptor for reading with the running loop.
///
/// # Errors
/// What epoll_ctl(2) says, mostly `ENOMEM` or `ENOSPC`.
pub fn readable<T: OwnsDescriptor>(owner: T) -> io::Result<AsyncFd<T>> {
    // SAFETY: `OwnsDescriptor` is sealed to types that keep one open descriptor for as long as they live.
    unsafe { AsyncFd::register_with_interest(owner, Interest::READABLE) }.map_err(io::Error::from)
}
