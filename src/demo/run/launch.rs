//! A real broker as a child process: the program that runs, started once more as `sixty daemon`.
//! It must never outlive the demo, nor be given anything of the environment that points to another broker.

use std::fs::File;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::step::{StepError, system};
use crate::clock::{Boottime, Clock};
use crate::sys::child::dies_with_us;

/// This very program, even where its file lies in a folder that another user may not enter.
pub(super) const OURSELVES: &str = "/proc/self/exe";
/// How long a drain may take, and a little more.
const PATIENCE: Duration = Duration::from_secs(7);
/// How often we look whether it has ended.
const LOOK: Duration = Duration::from_millis(5);

/// A broker that runs. Dropping it ends it.
pub(super) struct Launched {
    child: Child,
    clock: Clock,
}

impl Launched {
    /// Starts it; it says what it has to say into `log`.
    ///
    /// # Errors
    /// The process cannot be started.
    pub(super) fn start(config: &Path, home: &Path, log: File, clock: &Clock) -> Result<Self, StepError> {
        let mut command = Command::new(std::env::current_exe().unwrap_or_else(|_| OURSELVES.into()));
        command.arg0("sixty").arg("daemon").arg("--config").arg(config).arg("--readable-by-parent");
        command.env_clear().env("HOME", home);
        // A group of its own: Ctrl-C is for us, and we end it in good order.
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).process_group(0);
        let child = dies_with_us(&mut command).spawn().map_err(system("the broker cannot be started"))?;
        Ok(Self { child, clock: clock.clone() })
    }

    /// Its process id.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it did.
    pub(super) fn ended(&mut self) -> Option<ExitStatus> {
        // A child that cannot be waited for is gone.
        self.child.try_wait().unwrap_or(Some(ExitStatus::from_raw(0)))
    }

    /// Tells it to end, and waits; one that does not end is killed.
    pub(super) fn stop(&mut self) -> Option<ExitStatus> {
        if let (None, Ok(pid)) = (self.ended(), i32::try_from(self.pid())) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
        let late = self.clock.boot().plus(PATIENCE);
        self.wait(late).or_else(|| {
            let _ = self.child.kill();
            self.child.wait().ok()
        })
    }

    fn wait(&mut self, late: Boottime) -> Option<ExitStatus> {
        loop {
            let ended = self.ended();
            if ended.is_some() || self.clock.boot() >= late {
                return ended;
            }
            std::thread::sleep(LOOK);
        }
    }
}

impl Drop for Launched {
    fn drop(&mut self) {
        self.stop();
    }
}
