//! Sockets that the service manager passed to us: sd_listen_fds(3).
//! It must never take a descriptor that is not a listening Unix socket.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, RawFd};
use std::os::unix::net::UnixListener;

use nix::sys::socket::{AddressFamily, SockaddrLike, SockaddrStorage, getsockname, getsockopt, sockopt};

/// Takes over one passed descriptor: it must listen on a Unix stream. Made non-blocking and close-on-exec.
///
/// # Errors
/// It is no such socket; it is then left alone.
pub fn inherited(fd: RawFd) -> io::Result<UnixListener> {
    // SAFETY: the service manager passed it, so it is open; it is only looked at here.
    let looked_at = unsafe { BorrowedFd::borrow_raw(fd) };
    let listens = getsockopt(&looked_at, sockopt::AcceptConn)?;
    let address: SockaddrStorage = getsockname(looked_at.as_raw_fd())?;
    if !listens || address.family() != Some(AddressFamily::Unix) {
        return Err(io::Error::other("a passed descriptor is not a listening Unix socket; check ListenStream="));
    }
    nix::fcntl::fcntl(looked_at, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::FD_CLOEXEC))?;
    // SAFETY: passed to us once, by number; nobody else in this process owns it.
    let listener = unsafe { UnixListener::from_raw_fd(fd) };
    listener.set_nonblocking(true)?;
    Ok(listener)
}
