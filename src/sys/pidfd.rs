//! A pidfd: a handle on one process that never comes to mean another, whatever happens to its number.
//! It must never be opened from a number without checking afterwards that the number still meant that process.
#![allow(unsafe_code)]

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;

/// A handle on one process: pidfd_open(2). Readable (poll, epoll) once that process has ended.
#[derive(Debug)]
pub struct Pidfd(OwnedFd);

/// What the kernel tells of a pidfd's process: `PIDFD_GET_INFO`, Linux 6.13.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PidfdInfo {
    /// Process id in our pid namespace.
    pub pid: u32,
    /// Its parent's process id; 0 when that is outside of our pid namespace.
    pub parent: u32,
    /// Effective user id.
    pub uid: u32,
    /// Inode of the cgroup's directory, when the kernel told it.
    pub cgroup: Option<u64>,
}

impl Pidfd {
    /// Opens the process that has this number now.
    ///
    /// # Errors
    /// `ESRCH`: none has; `EINVAL`: no process (a thread) or not a number of one.
    pub fn open(pid: i32) -> Result<Self, Errno> {
        // SAFETY: no pointers; the result is a new descriptor (CLOEXEC by itself) or an error.
        let fd = Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
        let fd = RawFd::try_from(fd).map_err(|_| Errno::EBADF)?;
        // SAFETY: the kernel just gave us this descriptor, nobody else has it.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Whether the process has not ended. A zombie has. False when the kernel can't tell.
    pub fn is_alive(&self) -> bool {
        let mut fds = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
        loop {
            match poll(&mut fds, PollTimeout::ZERO) {
                Ok(ready) => return ready == 0,
                Err(Errno::EINTR) => {}
                Err(_) => return false,
            }
        }
    }

    /// Sends a signal to the process, and to no other: pidfd_send_signal(2).
    ///
    /// # Errors
    /// `ESRCH` when it has ended, `EPERM` when it is not ours to send to.
    pub fn signal(&self, signal: Signal) -> Result<(), Errno> {
        let (fd, nothing) = (self.0.as_raw_fd(), std::ptr::null::<libc::siginfo_t>());
        // SAFETY: no siginfo is given, which the call takes for "as kill does".
        let sent = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd, signal as libc::c_int, nothing, 0) };
        Errno::result(sent).map(drop)
    }

    /// Asks the kernel about the process; nothing where it can't be asked or the process is reaped.
    pub fn info(&self) -> Option<PidfdInfo> {
        let wanted = u64::from(libc::PIDFD_INFO_PID | libc::PIDFD_INFO_CREDS | libc::PIDFD_INFO_CGROUPID);
        // SAFETY: a struct of integers, for which zero is a value.
        let mut info: libc::pidfd_info = unsafe { std::mem::zeroed() };
        info.mask = wanted;
        // SAFETY: `info` is a writable struct of the size that the request's number names.
        Errno::result(unsafe { libc::ioctl(self.0.as_raw_fd(), libc::PIDFD_GET_INFO, &raw mut info) }).ok()?;
        let told = |bit: u32| info.mask & u64::from(bit) != 0;
        (told(libc::PIDFD_INFO_PID) && told(libc::PIDFD_INFO_CREDS)).then(|| PidfdInfo {
            pid: info.pid,
            parent: info.ppid,
            uid: info.euid,
            cgroup: told(libc::PIDFD_INFO_CGROUPID).then_some(info.cgroupid),
        })
    }
}

impl From<OwnedFd> for Pidfd {
    /// From a descriptor that the kernel gave as a pidfd.
    fn from(fd: OwnedFd) -> Self {
        Self(fd)
    }
}

impl AsFd for Pidfd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Pidfd {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn sleeper() -> (std::process::Child, Pidfd) {
        let child = Command::new("sleep").arg("30").spawn().unwrap();
        let pidfd = Pidfd::open(i32::try_from(child.id()).unwrap()).unwrap();
        (child, pidfd)
    }

    #[test]
    fn a_killed_process_is_dead_before_it_is_reaped_and_after() {
        let (mut child, pidfd) = sleeper();
        assert!(pidfd.is_alive());
        pidfd.signal(Signal::SIGKILL).unwrap();
        let mut fds = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
        assert_eq!(poll(&mut fds, 5000_u16).unwrap(), 1, "its end wakes a poll");
        assert!(!pidfd.is_alive(), "a zombie is not alive");
        child.wait().unwrap();
        assert!(!pidfd.is_alive());
        assert_eq!(pidfd.signal(Signal::SIGKILL), Err(Errno::ESRCH));
    }

    #[test]
    fn the_kernel_tells_who_it_is() {
        let (mut child, pidfd) = sleeper();
        if let Some(info) = pidfd.info() {
            let ours = (child.id(), std::process::id(), nix::unistd::geteuid().as_raw());
            assert_eq!((info.pid, info.parent, info.uid), ours);
        }
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(pidfd.info(), None, "a reaped process has no credentials");
    }

    #[test]
    fn no_process_no_handle() {
        assert_eq!(Pidfd::open(i32::MAX).err(), Some(Errno::ESRCH));
        assert_eq!(Pidfd::open(-1).err(), Some(Errno::EINVAL));
    }

    #[test]
    fn the_handle_is_not_passed_on_by_exec() {
        let pidfd = Pidfd::open(nix::unistd::getpid().as_raw()).unwrap();
        let flags = nix::fcntl::fcntl(&pidfd, nix::fcntl::FcntlArg::F_GETFD).unwrap();
        assert_eq!(flags & libc::FD_CLOEXEC, libc::FD_CLOEXEC);
    }
}
