//! Attacks on the daemon's memory by its own user, who is nearest: all through /proc and ptrace(2). Nothing that is read
//! is kept.

use super::{Outcome, Target, attacker};
use crate::sys::trace::Held;
use std::{fs::File, io, path::PathBuf};

pub(super) fn memory(target: &Target) -> Outcome {
    on(target, |pid| refused("opening /proc/PID/mem", File::open(proc(pid, "mem"))))
}

pub(super) fn ptrace(target: &Target) -> Outcome {
    // Let go at once if it should work.
    on(target, |pid| refused("PTRACE_SEIZE", Held::seize(pid)))
}

pub(super) fn environ(target: &Target) -> Outcome {
    on(target, |pid| refused("opening /proc/PID/environ", File::open(proc(pid, "environ"))))
}

pub(super) fn descriptors(target: &Target) -> Outcome {
    on(target, |pid| refused("listing /proc/PID/fd", std::fs::read_dir(proc(pid, "fd"))))
}

/// It is not killed to see: what keeps a core from being written is looked at.
pub(super) fn core(target: &Target) -> Outcome {
    on(target, |pid| {
        let Ok(limits) = std::fs::read_to_string(proc(pid, "limits")) else {
            return Outcome::Untried("/proc/PID/limits can't be read".into());
        };
        let line = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap_or_default();
        match line.split_whitespace().filter(|word| *word == "0").count() {
            2 => Outcome::Held("RLIMIT_CORE is 0, soft and hard".into()),
            _ => Outcome::Failed(format!("cores are allowed: {line}")),
        }
    })
}

fn on(target: &Target, attack: impl FnOnce(i32) -> Outcome) -> Outcome {
    let unknown = "the service manager made the socket: which process serves is told to root and the daemon's owner";
    target.pid.map_or_else(|| Outcome::Untried(unknown.into()), attack)
}

fn proc(pid: i32, name: &str) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/{name}"))
}

fn refused<T>(what: &str, tried: io::Result<T>) -> Outcome {
    match tried {
        Err(fault) if matches!(fault.raw_os_error(), Some(libc::EACCES | libc::EPERM)) => {
            Outcome::Held(format!("{what} {}: {fault}", attacker()))
        }
        Err(fault) => Outcome::Untried(format!("{what} {}: {fault}", attacker())),
        Ok(_) => Outcome::Failed(format!("{what} {} works", attacker())),
    }
}
