//! Who is at the other end of a Unix socket, as the kernel vouches for it: unix(7), SO_PEERCRED and SO_PEERPIDFD.
//! It must never fall back to a weaker method because the stronger one failed for this peer.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::OnceLock;

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, getsockopt, socketpair, sockopt};

use super::pidfd::Pidfd;
use super::procfs::{ProcDir, ProcError};

/// How a peer is held on to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// A pidfd of the very process that connected: Linux 6.5.
    PeerPidfd,
    /// /proc/PID opened at accept; uid and start time compared there.
    ProcStartTime,
}

/// Why a peer is refused.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// The peer lives in a pid namespace that we can't see into.
    #[error("the peer has no process number here: it is in a foreign pid namespace")]
    Foreign,
    /// The process that connected has ended; who holds the socket now is unknown.
    #[error("process {pid} connected and has ended")]
    Gone {
        /// Its number.
        pid: i32,
    },
    /// The number belongs to another user's process by now.
    #[error("process {pid} is not the one that connected")]
    Replaced {
        /// The number.
        pid: i32,
    },
    /// The kernel failed.
    #[error("the kernel does not say who the peer is: {0}")]
    Kernel(Errno),
    /// /proc failed where the method needs it.
    #[error(transparent)]
    Proc(#[from] ProcError),
}

/// The process that connected, as it was at connect(2).
#[derive(Debug)]
pub struct PeerCredentials {
    /// Effective user id at connect.
    pub uid: u32,
    /// Effective group id at connect.
    pub gid: u32,
    /// Process id in our namespace; a name for people, not a proof.
    pub pid: i32,
    /// The handle on it; there whenever `method` is [`Method::PeerPidfd`].
    pub pidfd: Option<Pidfd>,
    /// Its /proc directory, opened before the last look at whether it was alive, so surely its own.
    /// Absent when we may not see it (hidepid).
    pub proc: Option<ProcDir>,
    /// How it is held on to.
    pub method: Method,
    start_time: Option<u64>,
}

impl PeerCredentials {
    /// Whether the process that connected is still there. False when the kernel can't tell.
    pub fn is_alive(&self) -> bool {
        match (&self.pidfd, &self.proc) {
            (Some(pidfd), _) => pidfd.is_alive(),
            (None, Some(proc)) => proc.start_time().ok() == self.start_time && owned_by(proc, self.uid),
            (None, None) => false,
        }
    }
}

/// Asks the kernel who connected. Take it before a byte is read.
///
/// # Errors
/// [`PeerError`]; each of them means: close the connection.
pub fn credentials(socket: BorrowedFd<'_>) -> Result<PeerCredentials, PeerError> {
    let who = getsockopt(&socket, sockopt::PeerCredentials).map_err(PeerError::Kernel)?;
    let (uid, gid, pid) = (who.uid(), who.gid(), who.pid());
    if pid == 0 {
        return Err(PeerError::Foreign);
    }
    match pidfd(socket, pid)? {
        Some(pidfd) => by_pidfd(PeerCredentials {
            uid,
            gid,
            pid,
            pidfd: Some(pidfd),
            proc: ProcDir::open(pid).ok(),
            method: Method::PeerPidfd,
            start_time: None,
        }),
        None => by_start_time(uid, gid, pid),
    }
}

/// How peers are held on to on this kernel; probed once.
pub fn method() -> Method {
    static PROBED: OnceLock<Method> = OnceLock::new();
    *PROBED.get_or_init(|| {
        let pair = socketpair(AddressFamily::Unix, SockType::Stream, None, SockFlag::SOCK_CLOEXEC);
        match pair.map(|(ours, _theirs)| pidfd(ours.as_fd(), nix::unistd::getpid().as_raw())) {
            Ok(Ok(Some(_))) => Method::PeerPidfd,
            _ => Method::ProcStartTime,
        }
    })
}

/// The peer's pidfd; `None` only where the kernel does not know the option at all.
fn pidfd(socket: BorrowedFd<'_>, pid: i32) -> Result<Option<Pidfd>, PeerError> {
    match getsockopt(&socket, sockopt::PeerPidfd) {
        Ok(fd) => Ok(Some(fd.into())),
        Err(Errno::ENOPROTOOPT) => Ok(None),
        // What kernels up to 6.15 say of a peer that is dead and reaped; later ones give a pidfd that is not alive.
        Err(Errno::ESRCH | Errno::ENODATA | Errno::EINVAL) => Err(PeerError::Gone { pid }),
        Err(errno) => Err(PeerError::Kernel(errno)),
    }
}

/// /proc/PID was opened first: if the process lives now, it lived then, and the directory is its own.
fn by_pidfd(peer: PeerCredentials) -> Result<PeerCredentials, PeerError> {
    if peer.is_alive() { Ok(peer) } else { Err(PeerError::Gone { pid: peer.pid }) }
}

fn by_start_time(uid: u32, gid: u32, pid: i32) -> Result<PeerCredentials, PeerError> {
    let proc = ProcDir::open(pid)?;
    let start_time = Some(proc.start_time()?);
    if !owned_by(&proc, uid) {
        return Err(PeerError::Replaced { pid });
    }
    Ok(PeerCredentials { uid, gid, pid, pidfd: None, proc: Some(proc), method: Method::ProcStartTime, start_time })
}

fn owned_by(proc: &ProcDir, uid: u32) -> bool {
    proc.uids().is_ok_and(|[_, effective, _, _]| effective == uid)
}
