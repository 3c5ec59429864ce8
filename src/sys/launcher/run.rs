//! One run of a program: started, fed, heard, and ended with all of its process group.
//! It must never outlive its time, nor whoever asked for it.

use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::super::{child, pidfd::Pidfd, timer::BootTimer};
use super::{Ended, GRACE, How, LaunchError, Posting, order::Order};
use crate::clock::Clock;

/// Where a program looks for others.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Bytes that a pipe takes at once where it takes any: pipe(7), PIPE_BUF.
const AT_ONCE: usize = 4096;
/// Bytes of an answer before the output: what happened, and a number to it.
pub(super) const HEAD: usize = 8;

/// What the daemon is told.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Ended(Ended),
    NotStarted(i32),
    Busy,
}

impl Answer {
    fn to_bytes(&self) -> Vec<u8> {
        let (what, number, output) = match self {
            Self::Ended(Ended { how: How::Exited(status), output }) => (0, *status, &output[..]),
            Self::Ended(Ended { how: How::Killed(signal), output }) => (1, *signal, &output[..]),
            Self::Ended(Ended { how: How::TimeUp, output }) => (2, 0, &output[..]),
            Self::NotStarted(errno) => (3, *errno, &[][..]),
            Self::Busy => (4, 0, &[][..]),
        };
        [i32::to_ne_bytes(what).as_slice(), &number.to_ne_bytes(), output].concat()
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (what, rest) = bytes.split_first_chunk()?;
        let (number, output) = rest.split_first_chunk()?;
        let number = i32::from_ne_bytes(*number);
        let ended = |how| Some(Self::Ended(Ended { how, output: output.to_vec() }));
        match i32::from_ne_bytes(*what) {
            0 => ended(How::Exited(number)),
            1 => ended(How::Killed(number)),
            2 => ended(How::TimeUp),
            3 => Some(Self::NotStarted(number)),
            4 => Some(Self::Busy),
            _ => None,
        }
    }

    pub(super) fn told(self, program: &Path) -> Result<Ended, LaunchError> {
        match self {
            Self::Ended(ended) => Ok(ended),
            Self::NotStarted(errno) => Err(LaunchError::NotStarted(program.to_owned(), Errno::from_raw(errno))),
            Self::Busy => Err(LaunchError::Busy),
        }
    }
}

/// Tells that there is no room for one more.
pub(super) fn refuse(mut line: UnixStream) {
    let _ = line.set_nonblocking(true);
    let _ = line.write_all(&Answer::Busy.to_bytes());
}

/// Does what is ordered on this line, and tells how it went.
pub(super) fn serve(mut line: UnixStream, posting: &Posting) {
    let patient = line.set_nonblocking(false).is_ok()
        && line.set_read_timeout(Some(GRACE)).is_ok()
        && line.set_write_timeout(Some(GRACE)).is_ok();
    let Some(order) = patient.then(|| Order::read(&line)).and_then(Result::ok) else { return };
    let Some(program) = posting.programs.get(order.program) else { return };
    let answer = match start(program, &order, posting) {
        Ok(child) => watch(child, &order, &line).map(Answer::Ended),
        Err(fault) => Some(Answer::NotStarted(fault.raw_os_error().unwrap_or(libc::EINVAL))),
    };
    // Nobody waits any more: then nobody is told.
    let _ = answer.map(|answer| line.write_all(&answer.to_bytes()));
}

fn start(program: &Path, order: &Order, posting: &Posting) -> std::io::Result<Child> {
    let mut command = Command::new(program);
    command.args(&order.arguments).env_clear().env("PATH", PATH).envs(posting.environment.iter().cloned());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    command.process_group(0);
    child::begins_afresh(child::dies_with_us(&mut command)).spawn()
}

/// A program that runs, and what it has not read or told yet.
struct Running<'a> {
    child: Child,
    input: &'a [u8],
    stdin: Option<ChildStdin>,
    stdout: Option<ChildStdout>,
    room: usize,
    output: Vec<u8>,
}

/// What happened first.
enum Seen {
    Ended,
    TimeUp,
    GivenUp,
    Talk,
}

/// To its end. None: nobody waits for it any more, or the kernel has nothing left to watch it with.
fn watch(mut child: Child, order: &Order, line: &UnixStream) -> Option<Ended> {
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    let mut running = Running { child, input: &order.input, stdin, stdout, room: order.output, output: Vec::new() };
    let seen = running.stay(order, line);
    // What it left running ends with it. It is not reaped yet: the number is still its own.
    running.kill();
    running.hear_the_rest();
    let status = running.child.wait().ok()?;
    let how = match seen.ok()? {
        Seen::GivenUp | Seen::Talk => return None,
        Seen::TimeUp => How::TimeUp,
        Seen::Ended => status.code().map_or_else(|| How::Killed(status.signal().unwrap_or_default()), How::Exited),
    };
    Some(Ended { how, output: running.output })
}

impl Running<'_> {
    fn stay(&mut self, order: &Order, line: &UnixStream) -> Result<Seen, Errno> {
        let end = Pidfd::open(self.child.id().cast_signed())?;
        let timer = BootTimer::new()?;
        timer.arm(Clock::system().boot().plus(order.within))?;
        loop {
            match self.step(&end, &timer, line)? {
                Seen::Talk => {}
                seen => return Ok(seen),
            }
        }
    }

    fn step(&mut self, end: &Pidfd, timer: &BootTimer, line: &UnixStream) -> Result<Seen, Errno> {
        self.stdin.take_if(|_| self.input.is_empty());
        // In the place of a pipe that is closed: it is asked for nothing.
        let nothing = (timer.as_fd(), PollFlags::empty());
        let (stdin, feeds) = self.stdin.as_ref().map_or(nothing, |pipe| (pipe.as_fd(), PollFlags::POLLOUT));
        let (stdout, hears) = self.stdout.as_ref().map_or(nothing, |pipe| (pipe.as_fd(), PollFlags::POLLIN));
        let mut fds = [
            // The order was all that comes: whatever is seen here is its end.
            PollFd::new(line.as_fd(), PollFlags::POLLIN),
            PollFd::new(end.as_fd(), PollFlags::POLLIN),
            PollFd::new(timer.as_fd(), PollFlags::POLLIN),
            PollFd::new(stdin, feeds),
            PollFd::new(stdout, hears),
        ];
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) => {}
            Err(Errno::EINTR) => return Ok(Seen::Talk),
            Err(errno) => return Err(errno),
        }
        match fds.map(|fd| fd.any().unwrap_or(true)) {
            [true, ..] => return Ok(Seen::GivenUp),
            [_, true, ..] => return Ok(Seen::Ended),
            [_, _, true, ..] => return Ok(Seen::TimeUp),
            [.., feed, hear] => {
                if feed {
                    self.feed();
                }
                if hear {
                    self.hear();
                }
            }
        }
        Ok(Seen::Talk)
    }

    fn feed(&mut self) {
        let Some(pipe) = &mut self.stdin else { return };
        let some = &self.input[..self.input.len().min(AT_ONCE)];
        match pipe.write(some) {
            Ok(written) => self.input = &self.input[written..],
            Err(fault) if fault.kind() == std::io::ErrorKind::Interrupted => {}
            // It reads no more.
            Err(_) => self.stdin = None,
        }
    }

    fn hear(&mut self) {
        let Some(pipe) = &mut self.stdout else { return };
        let mut some = [0; AT_ONCE];
        match pipe.read(&mut some) {
            Ok(read @ 1..) => {
                let kept = read.min(self.room);
                self.output.extend(&some[..kept]);
                self.room -= kept;
            }
            Err(fault) if fault.kind() == std::io::ErrorKind::Interrupted => {}
            Ok(0) | Err(_) => self.stdout = None,
        }
    }

    /// What lies in the pipe: somebody who left the group may keep it open.
    fn hear_the_rest(&mut self) {
        while self.room > 0
            && let Some(pipe) = &self.stdout
            && poll(&mut [PollFd::new(pipe.as_fd(), PollFlags::POLLIN)], PollTimeout::ZERO) == Ok(1)
        {
            self.hear();
        }
    }

    fn kill(&mut self) {
        let _ = killpg(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGKILL);
        // Should it have left its own group.
        let _ = self.child.kill();
    }
}
