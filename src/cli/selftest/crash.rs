//! An attack by SIGABRT, the signal that asks for a core. It goes to a daemon that is started for it, without a key: one that
//! serves must never end for a test.

use super::{Outcome, Target};
use nix::{
    sys::{
        resource::{Resource, getrlimit, setrlimit},
        signal::{Signal, kill},
    },
    unistd::{Pid, mkdtemp},
};
use std::{
    io,
    os::unix::{net::UnixStream, process::ExitStatusExt},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

/// How often it is looked whether it serves, ten milliseconds apart.
const LOOKS: usize = 500;

pub(super) fn abort(_: &Target) -> Outcome {
    let tried = allow_cores().and_then(|()| Folder::new()?.tried());
    tried.unwrap_or_else(|fault| Outcome::Untried(fault.to_string()))
}

/// What this process starts may leave a core as far as anything may.
fn allow_cores() -> io::Result<()> {
    let (_, most) = getrlimit(Resource::RLIMIT_CORE)?;
    Ok(setrlimit(Resource::RLIMIT_CORE, most, most)?)
}

/// A home for the daemon, in which a core would lie too. It goes away with all in it.
struct Folder(PathBuf);

impl Folder {
    fn new() -> io::Result<Self> {
        Ok(Self(mkdtemp(&std::env::temp_dir().join("sixty-selftest-XXXXXX"))?))
    }

    fn tried(&self) -> io::Result<Outcome> {
        let shell = aborted(self.start(Command::new("sleep").arg("60"))?)?;
        if !shell.core_dumped() {
            return Ok(Outcome::Untried("no program at all leaves a core here".into()));
        }
        self.start(Command::new("/proc/self/exe").arg("init"))?.wait()?;
        let mut daemon = self.start(Command::new("/proc/self/exe").arg("daemon"))?;
        if let Some(status) = ended_before(&mut daemon, &self.0.join("sixty/broker.sock"))? {
            return Ok(Outcome::Untried(format!("a daemon that is started for this ends: {status}")));
        }
        Ok(told(aborted(daemon)?))
    }

    fn start(&self, command: &mut Command) -> io::Result<Child> {
        command.current_dir(&self.0).env_clear().env("HOME", &self.0).env("XDG_RUNTIME_DIR", &self.0);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// How it ended, if it did so before it served. One that does neither is killed.
fn ended_before(daemon: &mut Child, socket: &Path) -> io::Result<Option<ExitStatus>> {
    for _ in 0..LOOKS {
        if UnixStream::connect(socket).is_ok() {
            return Ok(None);
        }
        if let Some(status) = daemon.try_wait()? {
            return Ok(Some(status));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    daemon.kill()?;
    daemon.wait().map(Some)
}

fn aborted(mut child: Child) -> io::Result<ExitStatus> {
    if let Ok(pid) = i32::try_from(child.id()) {
        kill(Pid::from_raw(pid), Signal::SIGABRT)?;
    }
    child.wait()
}

fn told(status: ExitStatus) -> Outcome {
    match (status.signal(), status.core_dumped()) {
        (_, true) => Outcome::Failed("SIGABRT left a core of a daemon that was started for this".into()),
        (Some(libc::SIGABRT), false) => {
            Outcome::Held("SIGABRT ended a daemon that was started for this, and left no core".into())
        }
        (..) => Outcome::Untried(format!("SIGABRT did not end a daemon that was started for this: {status}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_leaves_a_core_is_found_out() {
        let folder = Folder::new().unwrap();
        // Not this process, whose other children would leave theirs.
        let script = "ulimit -c $(ulimit -H -c); : >ready; exec sleep 60";
        let child = folder.start(Command::new("sh").args(["-c", script])).unwrap();
        while !folder.0.join("ready").exists() {
            std::thread::sleep(Duration::from_millis(1));
        }
        let status = aborted(child).unwrap();
        if getrlimit(Resource::RLIMIT_CORE).unwrap().1 == 0 {
            return eprintln!("not tried: nothing may leave a core here");
        }
        assert!(matches!(told(status), Outcome::Failed(_)), "{status}");
        let gone = folder.0.clone();
        drop(folder);
        assert!(!gone.exists());
    }
}
