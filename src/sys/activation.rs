//! Descriptors that the service manager passed to us: sd_listen_fds(3).
//! It must never take one that is neither a listening socket nor memory.
#![allow(unsafe_code)]

use std::io;
use std::net::TcpListener;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixListener;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::socket::{AddressFamily, SockaddrLike, SockaddrStorage, getsockname, getsockopt, sockopt};

/// What a descriptor is.
#[derive(Debug)]
pub enum Passed {
    /// A listening Unix socket.
    Unix(UnixListener),
    /// A listening TCP socket.
    Tcp(TcpListener),
    /// Memory that a process before us left: see [`super::memfd`].
    Memory(OwnedFd),
}

/// Takes over one passed descriptor. Made close-on-exec, a socket not to block.
///
/// # Errors
/// It is none of [`Passed`]; it is then left alone.
pub fn inherited(fd: RawFd) -> io::Result<Passed> {
    // SAFETY: the service manager passed it, so it is open; it is only looked at here.
    let looked_at = unsafe { BorrowedFd::borrow_raw(fd) };
    // Only memory, and files of memory's file systems, have seals.
    let memory = fcntl(looked_at, FcntlArg::F_GET_SEALS).is_ok();
    let family = if memory { None } else { listening(looked_at)? };
    let strange = || io::Error::other("a passed descriptor is not a listening Unix socket; check ListenStream=");
    if !memory && family.is_none() {
        return Err(strange());
    }
    fcntl(looked_at, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    // SAFETY: passed to us once, by number; nobody else in this process owns it.
    let owned = unsafe { OwnedFd::from_raw_fd(fd) };
    match family {
        None => Ok(Passed::Memory(owned)),
        Some(AddressFamily::Unix) => {
            let listener = UnixListener::from(owned);
            listener.set_nonblocking(true)?;
            Ok(Passed::Unix(listener))
        }
        Some(_) => {
            let listener = TcpListener::from(owned);
            listener.set_nonblocking(true)?;
            Ok(Passed::Tcp(listener))
        }
    }
}

/// Which kind of socket it is, if it listens.
fn listening(fd: BorrowedFd<'_>) -> io::Result<Option<AddressFamily>> {
    if !getsockopt(&fd, sockopt::AcceptConn)? {
        return Ok(None);
    }
    let address: SockaddrStorage = getsockname(fd.as_raw_fd())?;
    let known = [AddressFamily::Unix, AddressFamily::Inet, AddressFamily::Inet6];
    Ok(address.family().filter(|family| known.contains(family)))
}
