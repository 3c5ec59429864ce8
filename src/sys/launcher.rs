//! Runs programs for a daemon that may run none itself: a child that is posted before, stays outside, and starts those
//! that were named then. It must never start another one, nor a shell for one, nor hold a secret; nor be posted beside
//! other threads.
//!
//! How it is confined: as the daemon was when it was posted (its user, no new privileges, no core), and by Landlock, so
//! that neither it nor a program can look into a process outside, signal one, or make a device. Not by more: what a
//! program opens and whom it calls is its own affair (a pager calls out, a prompt opens a display), and a filter of
//! system calls would outlive exec and be wrong for the next one.
#![allow(unsafe_code)]

mod order;
mod run;

use std::ffi::OsString;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::socket::{AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, send, sendmsg, socketpair};
use nix::unistd::{ForkResult, Pid, fork};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::landlock::Ruleset;
use super::pidfd::Pidfd;
use super::{child, passing, scrub};
use order::Order;

/// What may be run, and how.
#[derive(Debug, Clone, Default)]
pub struct Posting {
    /// The programs, by their absolute paths.
    pub programs: Vec<PathBuf>,
    /// All that they find in their environment beside `PATH`.
    pub environment: Vec<(OsString, OsString)>,
    /// How many may run at once.
    pub at_once: usize,
}

/// One run of a program.
#[derive(Debug, Clone, Copy)]
pub struct Errand<'a> {
    /// Its arguments, without its own name.
    pub arguments: &'a [&'a str],
    /// What it reads from stdin.
    pub input: &'a [u8],
    /// When it is killed, with all of its process group. Counted by CLOCK_BOOTTIME.
    pub within: Duration,
    /// Bytes of its stdout that are told; more are thrown away.
    pub output: usize,
}

/// How a program ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Its exit status.
    pub how: How,
    /// What it wrote to stdout, as far as it was to be told.
    pub output: Vec<u8>,
}

/// The end of a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// By itself, with this status.
    Exited(i32),
    /// By this signal.
    Killed(i32),
    /// It took longer than it may, and was killed.
    TimeUp,
}

/// Why no program ran to its end.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum LaunchError {
    /// It was not named at the start.
    #[error("{0} was not named when the daemon started; restart it")]
    NotNamed(PathBuf),
    /// It is not there, or can't be run.
    #[error("{0} can't be run: {1}; name a program that the daemon's user may run")]
    NotStarted(PathBuf, Errno),
    /// As many run as may.
    #[error("as many programs run as may at once; raise [limits] programs")]
    Busy,
    /// Arguments and input are too long.
    #[error("a program can't be given {0} bytes")]
    TooMuch(usize),
    /// The child that starts programs is no more.
    #[error("the daemon's launcher has ended: no program can be run any more; restart the daemon")]
    Lost,
}

/// The daemon's end. Clones are the same launcher.
#[derive(Debug, Clone)]
pub struct Launcher(Arc<Posted>);

#[derive(Debug)]
struct Posted {
    socket: OwnedFd,
    child: Pidfd,
    programs: Vec<PathBuf>,
}

/// How long the child may take to stand, and to tell what is over.
const GRACE: Duration = Duration::from_secs(5);

impl Launcher {
    /// Posts the child. It ends with this process, and what runs then ends with it.
    ///
    /// # Errors
    /// No child, or no socket to it: nothing can be run.
    pub fn post(posting: Posting) -> Result<Self, Errno> {
        let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
        let us = nix::unistd::getpid();
        // SAFETY: there are no other threads, so the child may do whatever this process may.
        match unsafe { fork() }? {
            ForkResult::Child => {
                let _ = stand(&theirs, us, posting);
                // SAFETY: it ends the process, and nothing of it runs any more.
                unsafe { libc::_exit(0) }
            }
            ForkResult::Parent { child } => {
                drop(theirs);
                let child = Pidfd::open(child.as_raw())?;
                // It tells when it stands; its end would be readable too.
                let mut fds = [PollFd::new(ours.as_fd(), PollFlags::POLLIN)];
                let told = poll(&mut fds, 5000_u16)? == 1 && hear(&ours).is_ok_and(|(len, _)| len == 1);
                if !told {
                    return Err(Errno::ECHILD);
                }
                Ok(Self(Arc::new(Posted { socket: ours, child, programs: posting.programs })))
            }
        }
    }

    /// Whether this program was named.
    pub fn knows(&self, program: &Path) -> bool {
        self.0.programs.iter().any(|named| named == program)
    }

    /// Whether the child has ended.
    pub fn is_lost(&self) -> bool {
        !self.0.child.is_alive()
    }

    /// Runs a program that was named, to its end. Whoever stops waiting ends it. Never blocks; several run at once.
    ///
    /// # Errors
    /// See [`LaunchError`].
    pub async fn run(&self, program: &Path, errand: Errand<'_>) -> Result<Ended, LaunchError> {
        let number = self.0.programs.iter().position(|named| named == program);
        let number = number.ok_or_else(|| LaunchError::NotNamed(program.to_owned()))?;
        let order = Order::of(number, errand).to_bytes().map_err(LaunchError::TooMuch)?;
        let answer = tokio::time::timeout(errand.within + GRACE, self.ask(&order, errand.output));
        let answer = answer.await.map_err(|_| LaunchError::Lost)?.map_err(|fault| match fault.kind() {
            io::ErrorKind::WouldBlock => LaunchError::Busy,
            _ => LaunchError::Lost,
        })?;
        run::Answer::from_bytes(&answer).ok_or(LaunchError::Lost)?.told(program)
    }

    /// Each run has a line of its own: the child ends what it runs when that is closed.
    async fn ask(&self, order: &[u8], output: usize) -> io::Result<Vec<u8>> {
        let (mut ours, theirs) = tokio::net::UnixStream::pair()?;
        let theirs = theirs.into_std()?;
        let (fds, flags) = ([theirs.as_raw_fd()], MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT);
        let with = [ControlMessage::ScmRights(&fds)];
        sendmsg::<()>(self.0.socket.as_raw_fd(), &[IoSlice::new(&[0])], &with, flags, None)?;
        drop(theirs);
        // An order that is refused unread breaks the line once the answer is read: unix(7).
        let _ = ours.write_all(order).await;
        let mut answer = Vec::new();
        match ours.take((run::HEAD + output) as u64).read_to_end(&mut answer).await {
            Err(fault) if answer.is_empty() => Err(fault),
            _ => Ok(answer),
        }
    }
}

/// The child's whole life.
fn stand(socket: &OwnedFd, us: Pid, posting: Posting) -> Result<(), Errno> {
    child::settle(us, socket.as_raw_fd())?;
    child::null_stdio()?;
    // Of its own: no terminal to read from, and no signal from one.
    nix::unistd::setsid()?;
    let _ = nix::sys::prctl::set_name(c"sixty-launcher");
    nix::sys::prctl::set_no_new_privs()?;
    match Ruleset::apart().and_then(Ruleset::restrict) {
        // A kernel without Landlock: the daemon finds that out too, and tells.
        Ok(_) | Err(Errno::ENOSYS | Errno::EOPNOTSUPP) => {}
        Err(errno) => return Err(errno),
    }
    send(socket.as_raw_fd(), &[0], MsgFlags::MSG_NOSIGNAL)?;
    let posting = Arc::new(posting);
    loop {
        match hear(socket) {
            Ok((0, _)) => return Ok(()),
            // Each run holds the posting: that counts them.
            Ok((_, Some(line))) if Arc::strong_count(&posting) > posting.at_once => run::refuse(line),
            Ok((_, Some(line))) => {
                let posting = posting.clone();
                let _ = scrub::thread(move || run::serve(line, &posting));
            }
            Ok((_, None)) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// A message, and the line that came with it.
fn hear(socket: &OwnedFd) -> Result<(usize, Option<UnixStream>), Errno> {
    let (len, passed) = passing::receive(socket.as_fd(), &mut [0])?;
    Ok((len, passed.into_iter().next_back().map(UnixStream::from)))
}

#[cfg(test)]
mod tests;
