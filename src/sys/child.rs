//! A child process that ends with the thread that started it: `PR_SET_PDEATHSIG`, prctl(2).
//! It must never be used for a daemon that is to outlive its starter.
#![allow(unsafe_code)]

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::{getpid, getppid};

/// Has the kernel kill what `command` starts as soon as the calling thread ends, even by SIGKILL.
pub fn dies_with_us(command: &mut Command) -> &mut Command {
    let us = getpid();
    let bind = move || {
        set_pdeathsig(Signal::SIGKILL)?;
        // Whoever started us may be gone already; then no signal comes any more.
        if getppid() == us { Ok(()) } else { Err(io::Error::from_raw_os_error(libc::ESRCH)) }
    };
    // SAFETY: between fork and exec it makes two system calls and allocates nothing.
    unsafe { command.pre_exec(bind) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;

    #[test]
    fn a_child_does_not_outlive_its_starter() {
        let start = || dies_with_us(Command::new("sleep").arg("60")).spawn().unwrap();
        let mut child = std::thread::spawn(start).join().unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGKILL));
    }
}
