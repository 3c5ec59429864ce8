//! How a child process begins, between fork and exec: bound to its starter, hearing signals, with a descriptor.
//! It must never allocate there, nor be used for a daemon that is to outlive its starter.
#![allow(unsafe_code)]

use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigHandler, Signal, signal};
use nix::unistd::{Pid, getpid, getppid};

use super::signals::all;

/// Has the kernel kill what `command` starts as soon as the calling thread ends, even by SIGKILL.
pub fn dies_with_us(command: &mut Command) -> &mut Command {
    let us = getpid();
    let bind = move || Ok(bind(us)?);
    // SAFETY: between fork and exec it makes two system calls and allocates nothing.
    unsafe { command.pre_exec(bind) }
}

/// The same from within a child.
fn bind(starter: Pid) -> Result<(), Errno> {
    set_pdeathsig(Signal::SIGKILL)?;
    // Whoever started us may be gone already; then no signal comes any more.
    if getppid() == starter { Ok(()) } else { Err(Errno::ESRCH) }
}

/// What a service manager and a terminal tell the daemon and its children alike, while the daemon is still to be served.
const IGNORED: [Signal; 5] = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGUSR1, Signal::SIGPIPE];

/// Makes a forked child one that is posted: it ends with its starter and by nothing else, and has one descriptor.
pub(super) fn settle(starter: Pid, fd: RawFd) -> Result<(), Errno> {
    bind(starter)?;
    for ignored in IGNORED {
        // SAFETY: to ignore a signal runs no code of ours.
        unsafe { signal(ignored, SigHandler::SigIgn) }?;
    }
    // Inherited as ignored, the kernel itself would throw away how a child ended.
    // SAFETY: the default action runs no code of ours.
    unsafe { signal(Signal::SIGCHLD, SigHandler::SigDfl) }?;
    keep_only(fd);
    let _ = nix::unistd::chdir("/");
    Ok(())
}

/// Puts nothing where a program looks for stdin, stdout and stderr, once [`keep_only`] has closed them.
pub(super) fn null_stdio() -> Result<(), Errno> {
    for _ in 0..3 {
        std::mem::forget(nix::fcntl::open("/dev/null", OFlag::O_RDWR, nix::sys::stat::Mode::empty())?);
    }
    Ok(())
}

/// Has what `command` starts ignore no signal, and see the limit on open files that programs expect: select(2).
pub(super) fn begins_afresh(command: &mut Command) -> &mut Command {
    let begin = || {
        for ignored in IGNORED {
            // SAFETY: the default action runs no code of ours.
            unsafe { signal(ignored, SigHandler::SigDfl) }?;
        }
        if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
            let _ = setrlimit(Resource::RLIMIT_NOFILE, hard.min(1024), hard);
        }
        Ok(())
    };
    // SAFETY: between fork and exec it makes system calls and allocates nothing.
    unsafe { command.pre_exec(begin) }
}

/// Closes every descriptor but one.
fn keep_only(fd: RawFd) {
    let close = |first: RawFd, last: libc::c_uint| {
        // SAFETY: no pointers; nothing uses what is closed, since this process goes on with `fd` alone.
        unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
    };
    if fd > 0 {
        close(0, fd.cast_unsigned() - 1);
    }
    close(fd + 1, libc::c_uint::MAX);
}

/// Has what `command` starts hear what [`super::signals::Signals`] has blocked here; else it would inherit that.
pub fn hears(command: &mut Command) -> &mut Command {
    let set = all();
    let unblock = move || Ok(set.thread_unblock()?);
    // SAFETY: between fork and exec it makes one system call and allocates nothing.
    unsafe { command.pre_exec(unblock) }
}

/// Passes a descriptor on to what `command` starts, under its own number; gives the number.
pub fn keep(command: &mut Command, fd: OwnedFd) -> RawFd {
    let number = fd.as_raw_fd();
    let pass = move || {
        fcntl(&fd, FcntlArg::F_SETFD(FdFlag::empty()))?;
        Ok(())
    };
    // SAFETY: between fork and exec it makes one system call and allocates nothing.
    unsafe { command.pre_exec(pass) };
    number
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;

    #[test]
    fn a_descriptor_is_passed_on_by_its_number_and_no_other_is() {
        let (mut ours, theirs) = std::io::pipe().unwrap();
        let mut command = Command::new("sh");
        let number = keep(&mut command, theirs.into());
        // By its path: many a shell knows no number above 9 in `>&`.
        command
            .args(["-c", &format!("echo hello >/proc/self/fd/{number}; test ! -e /proc/self/fd/{}", ours.as_raw_fd())]);
        assert!(command.status().unwrap().success());
        drop(command);
        let mut text = String::new();
        std::io::Read::read_to_string(&mut ours, &mut text).unwrap();
        assert_eq!(text, "hello\n");
    }

    #[test]
    fn a_child_hears_what_its_starter_has_blocked_only_if_told_to() {
        std::thread::spawn(|| {
            let _signals = super::super::signals::Signals::block().unwrap();
            let interrupted = |command: &mut Command| command.args(["-c", "kill -INT $$; exit 3"]).status().unwrap();
            assert_eq!(interrupted(&mut Command::new("sh")).code(), Some(3));
            assert_eq!(interrupted(hears(&mut Command::new("sh"))).signal(), Some(libc::SIGINT));
        })
        .join()
        .unwrap();
    }

    #[test]
    fn a_child_does_not_outlive_its_starter() {
        let start = || dies_with_us(Command::new("sleep").arg("60")).spawn().unwrap();
        let mut child = std::thread::spawn(start).join().unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGKILL));
    }
}
