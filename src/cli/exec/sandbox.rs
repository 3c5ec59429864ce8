//! The sandbox of a command, made by bubblewrap: namespaces of its own, no network but the gateway, a read-only file
//! system. It must never be left out because it can't be had, nor show a folder of ours or a key in a command line.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Deserialize;

use super::job::{Terminal, kernel};
use crate::cli::ask::Doors;
use crate::cli::environment::private_folders;
use crate::cli::failure::{Exit, Failure};
use crate::sys::child::keep;
use crate::sys::pidfd::Pidfd;

/// Where the gateway's socket is in the sandbox.
pub(super) const GATEWAY: &str = "/run/sixty-job/gateway.sock";
const PROGRAM: &str = "/run/sixty-job/sixty";
/// The bridge's port there: in a network of its own every port is free.
pub(super) const PORT: u16 = 6160;
/// Folders that are empty and its own. Sockets of other services are in /run, and a socket on a read-only file system
/// can still be connected to.
const EMPTY: [&str; 3] = ["/tmp", "/run", "/var/tmp"];
/// Whether a terminal can be made to type (ioctl_tty(2), TIOCSTI).
const TYPING: &str = "/proc/sys/dev/tty/legacy_tiocsti";

/// A sandbox that can be made here.
pub(super) struct Sandbox {
    folders: Vec<PathBuf>,
    gateway: PathBuf,
    /// The daemon's own, which it must not reach.
    sockets: Vec<PathBuf>,
    terminal: Terminal,
    /// What bubblewrap tells of the process that it starts.
    info: File,
    tell: OwnedFd,
}

impl Sandbox {
    /// Looks whether it can be made, before anything else is done.
    ///
    /// # Errors
    /// bubblewrap is missing, or may make no namespaces; a folder is none.
    pub(super) fn new(folders: Vec<PathBuf>, gateway: &Path, doors: &Doors) -> Result<Self, Failure> {
        try_one()?;
        let folders = folders.iter().map(|folder| real(folder)).collect::<Result<_, _>>()?;
        let sockets = [doors.broker.path(), doors.control.path(), gateway];
        let sockets = sockets.into_iter().filter_map(|path| path.canonicalize().ok()).collect();
        let (info, tell) = std::io::pipe().map_err(kernel)?;
        // Where that can't be known it is taken for possible.
        let typing = std::fs::read(TYPING).map_or(true, |text| text.trim_ascii() != b"0");
        Ok(Self {
            folders,
            gateway: real(gateway)?,
            sockets,
            terminal: if typing { Terminal::Ours } else { Terminal::Shared },
            info: OwnedFd::from(info).into(),
            tell: tell.into(),
        })
    }

    /// bubblewrap, which runs this program again, which runs the command. Its monitor inherits that signals are
    /// blocked: an interrupt at the terminal is the command's, which may live on.
    pub(super) fn command(&self, words: &[OsString]) -> Result<Command, Failure> {
        let program = std::env::current_exe().map_err(kernel)?;
        let mut bwrap = Command::new("bwrap");
        bwrap.args(["--unshare-all", "--die-with-parent", "--as-pid-1", "--ro-bind", "/", "/"]);
        bwrap.args(["--dev", "/dev", "--proc", "/proc"]);
        if self.terminal == Terminal::Ours {
            bwrap.arg("--new-session");
        }
        for folder in EMPTY.iter().filter(|folder| Path::new(folder).is_dir()) {
            bwrap.args(["--tmpfs", folder]);
        }
        for folder in &self.folders {
            bwrap.args([OsStr::new("--bind"), folder.as_ref(), folder.as_ref()]);
        }
        // Last: a folder that was named above must not show them.
        for folder in private_folders() {
            bwrap.args([OsStr::new("--tmpfs"), folder.as_ref()]);
        }
        for socket in &self.sockets {
            bwrap.args([OsStr::new("--ro-bind"), OsStr::new("/dev/null"), socket.as_ref()]);
        }
        for (from, to) in [(&self.gateway, GATEWAY), (&program, PROGRAM)] {
            bwrap.args([OsStr::new("--ro-bind"), from.as_ref(), to.as_ref()]);
        }
        let tell = self.tell.try_clone().map_err(kernel)?;
        let number = keep(&mut bwrap, tell).to_string();
        bwrap.args(["--info-fd", &number, PROGRAM, "exec-inside", "--"]).args(words);
        for name in ["SIXTY_SOCKET", "SIXTY_CONTROL_SOCKET", "SIXTY_GATEWAY_SOCKET"] {
            bwrap.env_remove(name);
        }
        Ok(bwrap)
    }

    /// The process before the command: what is sent to us is sent to it.
    pub(super) fn inner(self) -> Result<(Pidfd, Terminal), Failure> {
        let Self { info, tell, terminal, .. } = self;
        drop(tell);
        #[derive(Deserialize)]
        #[serde(rename_all = "kebab-case")]
        struct Info {
            child_pid: i32,
        }
        // The end of the file comes only where bubblewrap fails: else its child may hold the other end open.
        let mut told = serde_json::Deserializer::from_reader(info.take(4096)).into_iter::<Info>();
        match told.next() {
            Some(Ok(Info { child_pid })) => Ok((Pidfd::open(child_pid).map_err(kernel)?, terminal)),
            _ => Err(missing("bubblewrap made no sandbox")),
        }
    }
}

/// Makes one and runs nothing in it.
fn try_one() -> Result<(), Failure> {
    let mut bwrap = Command::new("bwrap");
    bwrap.args(["--unshare-all", "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "--", "true"]);
    match bwrap.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(missing(format!("no sandbox: {}", String::from_utf8_lossy(&output.stderr).trim()))),
        Err(_) => Err(missing("no sandbox: bubblewrap (bwrap) is not installed")),
    }
}

fn missing(what: impl Into<String>) -> Failure {
    let advice = "--sandbox needs bubblewrap 0.8 (`apt install bubblewrap`) and user namespaces; nothing was run";
    Failure::Job { what: what.into(), advice, exit: Exit::Unreachable }
}

fn real(path: &Path) -> Result<PathBuf, Failure> {
    path.canonicalize().map_err(|fault| Failure::Input {
        what: format!("{}: {fault}", path.display()),
        advice: "--bind names a folder that is there",
    })
}
