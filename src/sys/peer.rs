//! Who is at the other end of a Unix socket, as the kernel vouches for it: unix(7), SO_PEERCRED and SO_PEERPIDFD.
//! It must never fall back to a weaker method because the stronger one failed for this peer.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, OnceLock};

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
    /// On TCP: the holders of the socket that sock_diag(7) names, each by a pidfd. See [`super::tcp`].
    SocketHolder,
    /// On TCP, where its holders can't be seen: nothing but the user is known.
    Unseen,
}

impl Method {
    /// For `status`.
    pub fn name(self) -> &'static str {
        match self {
            Self::PeerPidfd => "SO_PEERPIDFD",
            Self::ProcStartTime => "/proc start time",
            Self::SocketHolder => "sock_diag and /proc/PID/fd",
            Self::Unseen => "none: the user alone",
        }
    }
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
    /// The handle on it; there whenever `method` is [`Method::PeerPidfd`] or [`Method::SocketHolder`].
    pub pidfd: Option<Arc<Pidfd>>,
    /// Its /proc directory, opened before the last look at whether it was alive, so surely its own.
    /// Absent when we may not see it (hidepid).
    pub proc: Option<ProcDir>,
    /// How it is held on to.
    pub method: Method,
    start_time: Option<u64>,
}

impl PeerCredentials {
    /// A process that holds the socket of a TCP connection's other end.
    pub(super) fn held(uid: u32, gid: u32, pid: i32, (pidfd, proc): (Arc<Pidfd>, ProcDir)) -> Self {
        let (pidfd, proc, method) = (Some(pidfd), Some(proc), Method::SocketHolder);
        Self { uid, gid, pid, pidfd, proc, method, start_time: None }
    }

    /// Somebody of this user. Nothing can be asked about it: it is never alive.
    pub fn unseen(uid: u32) -> Self {
        // The last number means "none" to the kernel (chown(2)); no group has it.
        Self { uid, gid: u32::MAX, pid: 0, pidfd: None, proc: None, method: Method::Unseen, start_time: None }
    }

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
            pidfd: Some(Arc::new(pidfd)),
            proc: ProcDir::open(pid).ok(),
            method: Method::PeerPidfd,
            start_time: None,
        }),
        None => by_start_time(uid, gid, pid),
    }
}

/// Whose process connected, whatever became of it.
pub fn user(socket: BorrowedFd<'_>) -> Option<u32> {
    getsockopt(&socket, sockopt::PeerCredentials).ok().map(|who| who.uid())
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

#[cfg(test)]
#[allow(unsafe_code)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::os::fd::{AsRawFd, OwnedFd};
    use std::os::unix::net::{UnixListener, UnixStream};
    use std::os::unix::process::CommandExt;
    use std::process::{Child, Command, Stdio};

    use nix::sys::signal::{Signal, kill};
    use nix::sys::socket::{UnixAddr, connect, socket};
    use nix::unistd::Pid;

    use super::*;
    use crate::sys::scratch::Scratch;

    /// A listener and a shell that has connected to it by itself; the connection is the shell's descriptor 9.
    fn shell_at_the_door(scratch: &Scratch, script: &str) -> (UnixStream, Child) {
        let path = scratch.join("s");
        let listener = UnixListener::bind(&path).unwrap();
        let address = UnixAddr::new(&path).unwrap();
        let mut shell = Command::new("sh");
        shell.args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let enter = move || {
            let door = socket(AddressFamily::Unix, SockType::Stream, SockFlag::empty(), None)?;
            connect(door.as_raw_fd(), &address)?;
            // SAFETY: both are descriptors of the child's own.
            Errno::result(unsafe { libc::dup2(door.as_raw_fd(), 9) })?;
            Ok(())
        };
        // SAFETY: system calls alone, no allocation, between fork and exec.
        let shell = unsafe { shell.pre_exec(enter) }.spawn().unwrap();
        (listener.accept().unwrap().0, shell)
    }

    fn end(mut shell: Child) {
        shell.kill().unwrap();
        shell.wait().unwrap();
    }

    #[test]
    fn the_process_that_connected_is_told_and_held() {
        let scratch = Scratch::new();
        let (stream, shell) = shell_at_the_door(&scratch, "read line");
        let peer = credentials(stream.as_fd()).unwrap();
        assert_eq!(peer.pid.unsigned_abs(), shell.id());
        assert_eq!((peer.uid, peer.gid), (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw()));
        assert_eq!(peer.method, method());
        assert_eq!(peer.pidfd.is_some(), method() == Method::PeerPidfd);
        assert_eq!(peer.proc.as_ref().unwrap().parent().unwrap(), nix::unistd::getpid().as_raw());
        assert!(peer.is_alive());
        end(shell);
        assert!(!peer.is_alive());
    }

    #[test]
    fn a_dead_connector_with_a_living_grandchild_on_the_socket_is_refused() {
        for reaped in [true, false] {
            let scratch = Scratch::new();
            let (stream, mut shell) = shell_at_the_door(&scratch, "sleep 30 & echo $!");
            let mut grandchild = String::new();
            BufReader::new(shell.stdout.take().unwrap()).read_line(&mut grandchild).unwrap();
            let grandchild = Pid::from_raw(grandchild.trim().parse().unwrap());
            let watched = Pidfd::open(i32::try_from(shell.id()).unwrap()).unwrap();
            while watched.is_alive() {
                std::thread::yield_now();
            }
            if reaped {
                shell.wait().unwrap();
            }
            assert!(kill(grandchild, None).is_ok(), "the grandchild lives and has the socket");
            let refused = credentials(stream.as_fd());
            kill(grandchild, Signal::SIGKILL).unwrap();
            shell.wait().unwrap();
            assert!(matches!(refused, Err(PeerError::Gone { pid }) if pid.unsigned_abs() == shell.id()));
        }
    }

    #[test]
    fn exec_does_not_lose_the_caller() {
        let scratch = Scratch::new();
        let (stream, shell) = shell_at_the_door(&scratch, "read line; exec sleep 30");
        let peer = credentials(stream.as_fd()).unwrap();
        shell.stdin.as_ref().unwrap().write_all(b"go\n").unwrap();
        let proc = peer.proc.as_ref().unwrap();
        while proc.comm().unwrap() != "sleep" {
            std::thread::yield_now();
        }
        assert!(peer.is_alive(), "same process, another program: attestation looks at that");
        end(shell);
    }

    #[test]
    fn without_pidfds_a_dead_callers_pid_is_not_trusted() {
        let scratch = Scratch::new();
        let (_stream, shell) = shell_at_the_door(&scratch, "read line");
        let (uid, gid, pid) =
            (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw(), i32::try_from(shell.id()).unwrap());
        let peer = by_start_time(uid, gid, pid).unwrap();
        assert!(peer.is_alive() && peer.pidfd.is_none() && peer.method == Method::ProcStartTime);
        assert!(matches!(by_start_time(uid + 1, gid, pid), Err(PeerError::Replaced { .. })), "another user's process");
        end(shell);
        assert!(!peer.is_alive());
        assert!(matches!(by_start_time(uid, gid, pid), Err(PeerError::Proc(ProcError::Gone { .. }))));
    }

    #[test]
    fn a_pid_that_is_used_again_is_another_process() {
        let scratch = Scratch::new();
        let (stream, shell) = shell_at_the_door(&scratch, "read line");
        let by_pidfd = credentials(stream.as_fd()).unwrap();
        let by_start = by_start_time(by_pidfd.uid, by_pidfd.gid, by_pidfd.pid).unwrap();
        end(shell);
        let Some(second) = born_as(by_pidfd.pid) else {
            println!("not tested: needs root, to choose the next process number");
            return;
        };
        assert!(kill(Pid::from_raw(by_pidfd.pid), None).is_ok(), "the number is in use");
        assert!(!by_pidfd.is_alive() && !by_start.is_alive());
        assert!(matches!(credentials(stream.as_fd()), Err(PeerError::Gone { .. })));
        end(second);
    }

    /// A process with this number: proc_sys_kernel(5), ns_last_pid.
    fn born_as(pid: i32) -> Option<Child> {
        for _ in 0..200 {
            std::fs::write("/proc/sys/kernel/ns_last_pid", (pid - 1).to_string()).ok()?;
            let child = Command::new("sleep").arg("30").spawn().unwrap();
            if child.id() == pid.unsigned_abs() {
                return Some(child);
            }
            end(child);
        }
        None
    }

    #[test]
    fn a_peer_from_outside_of_our_pid_namespace_is_refused() {
        let scratch = Scratch::new();
        let (ours, _client) = {
            let listener = UnixListener::bind(scratch.join("s")).unwrap();
            let client = UnixStream::connect(scratch.join("s")).unwrap();
            (listener.accept().unwrap().0, client)
        };
        let run = Command::new("unshare")
            .args(["-Urfp", "--mount-proc"])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "sys::peer::tests::inside_a_namespace", "--ignored"])
            .stdin(OwnedFd::from(ours))
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&run.stdout);
        if told.is_empty() {
            println!("not tested: this machine gives no pid namespace");
            return;
        }
        assert!(run.status.success() && told.contains("1 passed"), "{told}");
    }

    #[test]
    #[ignore = "has a peer of another namespace on stdin; the test above runs it so"]
    fn inside_a_namespace() {
        assert!(matches!(credentials(std::io::stdin().as_fd()), Err(PeerError::Foreign)));
    }

    #[test]
    fn what_is_not_a_socket_has_no_peer() {
        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(matches!(credentials(file.as_fd()), Err(PeerError::Kernel(Errno::ENOTSOCK))));
    }
}
