//! What the kernel tells of a process: its CPU time and its memory; and the one CPU that all of them share.

use crate::Done;
use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    fs,
    process::{Child, Command},
};

/// Pins this process to one CPU, and with it every thread and child that it has from here on.
pub(crate) fn share_one_cpu() -> Done {
    let ours = Pid::from_raw(0);
    let allowed = sched_getaffinity(ours)?;
    // The last one: the kernel's own work gathers on the first.
    let cpu = (0..CpuSet::count()).rev().find(|cpu| allowed.is_set(*cpu).unwrap_or(false)).unwrap_or_default();
    let mut one = CpuSet::new();
    one.set(cpu)?;
    Ok(sched_setaffinity(ours, &one)?)
}

/// Nanoseconds that all threads of a process were on a CPU: proc_pid_schedstat(5).
pub(crate) fn cpu_nanos(pid: u32) -> Done<f64> {
    let mut sum = 0.0;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let text = fs::read_to_string(thread?.path().join("schedstat"))?;
        sum += text.split(' ').next().unwrap_or_default().parse::<f64>()?;
    }
    Ok(sum)
}

/// Kilobytes that a process has in memory.
pub(crate) fn resident_kb(pid: u32) -> Done<f64> {
    status_kb(pid, "VmRSS:")
}

/// The most kilobytes that it ever had.
pub(crate) fn most_resident_kb(pid: u32) -> Done<f64> {
    status_kb(pid, "VmHWM:")
}

fn status_kb(pid: u32, name: &str) -> Done<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)).ok_or("no such line in /proc/PID/status")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

/// A child that does not outlive its handle.
pub(crate) struct Guarded(Child);

impl Guarded {
    pub(crate) fn spawn(command: &mut Command) -> Done<Self> {
        Ok(Self(command.spawn()?))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }

    pub(crate) fn child(&mut self) -> &mut Child {
        &mut self.0
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // Softly: a daemon removes its sockets.
        let _ = i32::try_from(self.0.id()).map(|pid| kill(Pid::from_raw(pid), Signal::SIGTERM));
        let _ = self.0.wait();
    }
}

/// This program once more, in another role.
pub(crate) fn again() -> Done<Command> {
    Ok(Command::new(std::env::current_exe()?))
}
