//! The command itself: started, sent what is sent to us, and waited for; its descendants stay below us while it lives.
//! What our own starter ignores the command ignores too, as under env(1): no disposition is changed.
//! It must never end before the command does, but by a signal that nobody can take.

use std::io::ErrorKind;
use std::process::{Child, Command};

use nix::errno::Errno;
use nix::sys::prctl::set_child_subreaper;
use nix::sys::signal::{Signal, raise};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::cli::failure::{Exit, Failure};
use crate::cli::output::{BAD, say};
use crate::sys::pidfd::Pidfd;
use crate::sys::signals::{Caught, Signals};

/// A command that runs.
pub(super) struct Job {
    signals: Signals,
    child: Child,
}

/// Whether it runs, or with which code it could not.
pub(super) enum Started {
    Running(Job),
    Not(u8),
}

/// Who hears what is typed at the terminal.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Terminal {
    /// The command too: it is sent to both of us.
    Shared,
    /// We alone: the command is in a session of its own.
    Ours,
}

/// Starts it, and takes its orphans as ours: whatever it leaves behind stays our descendant.
pub(super) fn start(mut command: Command, signals: Signals) -> Result<Started, Failure> {
    set_child_subreaper(true).map_err(kernel)?;
    match command.spawn() {
        Ok(child) => Ok(Started::Running(Job { signals, child })),
        // As env(1): not found, or found and not to be run.
        Err(fault) => {
            say(format_args!("{BAD}error:{BAD:#} {}: {fault}", command.get_program().to_string_lossy().escape_debug()));
            Ok(Started::Not(if fault.kind() == ErrorKind::NotFound { 127 } else { 126 }))
        }
    }
}

impl Job {
    /// The process itself.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for its end; signals go to the process `within` its sandbox, if it is in one. Gives the exit code, 128+n
    /// for a signal.
    pub(super) fn wait(self, within: Option<(Pidfd, Terminal)>) -> Result<u8, Failure> {
        let sandboxed = within.is_some();
        let (target, terminal) = match within {
            Some(inner) => inner,
            None => (Pidfd::open(self.pid().cast_signed()).map_err(kernel)?, Terminal::Shared),
        };
        loop {
            match self.signals.next().map_err(kernel)? {
                Caught { signal: Signal::SIGCHLD, .. } => {
                    if let Some(code) = reap(self.pid()) {
                        return Ok(code);
                    }
                }
                Caught { signal, by_kernel } => {
                    if !by_kernel || terminal == Terminal::Ours {
                        let _ = target.signal(signal);
                    }
                    // Nothing tells that a process in there has stopped.
                    if sandboxed && signal == Signal::SIGTSTP {
                        stop();
                    }
                }
            }
        }
    }
}

/// Lets whoever controls the job see that it has stopped; what wakes us wakes the command.
fn stop() {
    let _ = raise(Signal::SIGSTOP);
}

/// Takes all that has ended; among it perhaps the command. Stops with the command.
fn reap(command: u32) -> Option<u8> {
    let mut code = None;
    loop {
        let (pid, ended) = match waitpid(Pid::from_raw(-1), Some(WaitPidFlag::WNOHANG | WaitPidFlag::WUNTRACED)) {
            Ok(WaitStatus::Stopped(pid, _)) => {
                if pid.as_raw().unsigned_abs() == command {
                    stop();
                }
                continue;
            }
            Ok(WaitStatus::Exited(pid, status)) => (pid, status),
            Ok(WaitStatus::Signaled(pid, signal, _)) => (pid, 128 + signal as i32),
            Err(Errno::EINTR) => continue,
            _ => return code,
        };
        if pid.as_raw().unsigned_abs() == command {
            code = u8::try_from(ended & 0xff).ok();
        }
    }
}

pub(super) fn kernel(fault: impl std::fmt::Display) -> Failure {
    Failure::Job {
        what: format!("the command can't be run: {fault}"),
        advice: "this is the system's",
        exit: Exit::Other,
    }
}
