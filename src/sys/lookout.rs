//! Looks into other processes that Landlock forbids whoever is confined by it (ptrace(2), "access mode checking"): a
//! child that is posted before, stays outside, and answers a few questions. It must never hold a secret, do anything
//! but look, nor be posted beside other threads. Without one, this process looks for itself.
#![allow(unsafe_code)]

use std::fs::File;
use std::io::IoSlice;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, recv, sendmsg, setsockopt, socketpair, sockopt,
};
use nix::sys::stat::Mode;
use nix::sys::time::{TimeVal, TimeValLike};
use nix::unistd::{ForkResult, fork};
use tracing::error;

use super::{child, holders, passing, seccomp};

/// What can be asked. Processes go by their number: whoever asks makes sure, after the answer, that it still was theirs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Question {
    /// The file that a process runs, as a place: it can't be read.
    Program(i32),
    /// The same file, open for reading.
    ProgramToRead(i32),
    /// The pid namespace of a process, as a place.
    PidNamespace(i32),
    /// The directory that a process works in, as a place.
    Directory(i32),
    /// Which processes hold the socket with this inode, which that user made.
    Holders { inode: u32, uid: u32 },
    /// Whether a process holds the socket with this inode.
    Holds { pid: i32, inode: u32 },
}

/// What was seen.
#[derive(Debug, Default)]
pub(super) struct Sight {
    pub(super) file: Option<File>,
    pub(super) numbers: Vec<i32>,
}

/// What a lookout looks at; each has its own, since one of them takes milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Post {
    /// What processes run.
    Programs,
    /// Who holds sockets.
    Sockets,
}

impl Post {
    /// How long an answer is waited for. One that comes later is thrown away.
    fn patience(self) -> TimeVal {
        match self {
            Self::Programs => TimeVal::seconds(1),
            Self::Sockets => TimeVal::seconds(10),
        }
    }
}

static POSTED: [OnceLock<Lookout>; 2] = [OnceLock::new(), OnceLock::new()];
static LOST: AtomicBool = AtomicBool::new(false);

/// Processes that can be told of in one answer. Of a socket that more of them hold, no one is: all of them count.
const MOST: usize = 1024;
/// Numbers in a question, and before the processes in an answer.
const ASKED: usize = 5;
const TOLD: usize = 2;

/// Posts a child that looks from now on in this process's place, until this process ends.
///
/// # Errors
/// No child, or no socket to it; this process looks for itself.
pub fn post(post: Post) -> Result<(), Errno> {
    let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
    let us = nix::unistd::getpid();
    // SAFETY: there are no other threads, so the child may do whatever this process may.
    match unsafe { fork() }? {
        ForkResult::Child => {
            let _ = stand(&theirs, us);
            // SAFETY: it ends the process, and nothing of it runs any more.
            unsafe { libc::_exit(0) }
        }
        ForkResult::Parent { child } => {
            setsockopt(&ours, sockopt::ReceiveTimeout, &post.patience())?;
            setsockopt(&ours, sockopt::SendTimeout, &post.patience())?;
            let mut line = Line { socket: ours, asked: 0 };
            // It sees at least itself, or is of no use. It may not see us: we are not dumpable.
            line.ask(Question::Program(child.as_raw()))?;
            let lookout = Lookout(Mutex::new(line));
            POSTED[post as usize].set(lookout).map_err(|_| Errno::EALREADY)
        }
    }
}

/// Whether a lookout was posted and is no more: then nobody sees which programs callers run.
pub fn is_lost() -> bool {
    LOST.load(Ordering::Relaxed)
}

/// Asks the lookout, or looks where none is posted.
///
/// # Errors
/// `ENOENT`, `ESRCH`: there is none; `EACCES`: it may not be looked at; `EPIPE`: the lookout is lost.
pub(super) fn ask(question: Question) -> Result<Sight, Errno> {
    match POSTED[question.post() as usize].get() {
        Some(lookout) => lookout.ask(question),
        None => look(question),
    }
}

fn look(question: Question) -> Result<Sight, Errno> {
    let file = |path: String, how| {
        let file = open(path.as_str(), how | OFlag::O_CLOEXEC, Mode::empty())?;
        Ok(Sight { file: Some(file.into()), ..Sight::default() })
    };
    match question {
        Question::Program(pid) => file(format!("/proc/{pid}/exe"), OFlag::O_PATH),
        Question::ProgramToRead(pid) => file(format!("/proc/{pid}/exe"), OFlag::O_RDONLY),
        Question::PidNamespace(pid) => file(format!("/proc/{pid}/ns/pid"), OFlag::O_PATH),
        Question::Directory(pid) => file(format!("/proc/{pid}/cwd"), OFlag::O_PATH),
        Question::Holders { inode, uid } => match holders::numbers(inode, uid)? {
            numbers if numbers.len() > MOST => Err(Errno::E2BIG),
            numbers => Ok(Sight { file: None, numbers }),
        },
        Question::Holds { pid, inode } => match holders::holds(pid, inode) {
            true => Ok(Sight::default()),
            false => Err(Errno::ENOENT),
        },
    }
}

/// The child's whole life: it ends with the process that posted it.
fn stand(socket: &OwnedFd, us: nix::unistd::Pid) -> Result<(), Errno> {
    child::settle(us, socket.as_raw_fd())?;
    let _ = nix::sys::prctl::set_name(c"sixty-lookout");
    match seccomp::confine(seccomp::Program::Lookout) {
        // A kernel without filters: the daemon finds that out too, and tells.
        Ok(()) | Err(Errno::ENOSYS | Errno::EINVAL) => {}
        Err(errno) => return Err(errno),
    }
    let mut asked = [0; 4 * ASKED];
    loop {
        match recv(socket.as_raw_fd(), &mut asked, MsgFlags::empty()) {
            Ok(len) if len == asked.len() => tell(socket, &asked)?,
            Ok(_) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

fn tell(socket: &OwnedFd, asked: &[u8]) -> Result<(), Errno> {
    let words = words(asked);
    let seen = Question::from_words(&words).ok_or(Errno::EINVAL).and_then(look);
    let (errno, seen) = match seen {
        Ok(seen) => (0, seen),
        Err(errno) => (errno as i32, Sight::default()),
    };
    let told: Vec<u8> = [words[0], errno].iter().chain(&seen.numbers).flat_map(|word| word.to_ne_bytes()).collect();
    let fds: Vec<RawFd> = seen.file.iter().map(AsRawFd::as_raw_fd).collect();
    let with = [ControlMessage::ScmRights(&fds)];
    let with = if fds.is_empty() { &[][..] } else { &with[..] };
    match sendmsg::<()>(socket.as_raw_fd(), &[IoSlice::new(&told)], with, MsgFlags::MSG_NOSIGNAL, None) {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(errno) => Err(errno),
    }
}

impl Question {
    fn post(self) -> Post {
        match self {
            Self::Program(_) | Self::ProgramToRead(_) | Self::PidNamespace(_) | Self::Directory(_) => Post::Programs,
            Self::Holders { .. } | Self::Holds { .. } => Post::Sockets,
        }
    }

    fn to_words(self, number: i32) -> [i32; ASKED] {
        match self {
            Self::Program(pid) => [number, 1, pid, 0, 0],
            Self::ProgramToRead(pid) => [number, 2, pid, 0, 0],
            Self::PidNamespace(pid) => [number, 3, pid, 0, 0],
            Self::Holders { inode, uid } => [number, 4, 0, inode.cast_signed(), uid.cast_signed()],
            Self::Holds { pid, inode } => [number, 5, pid, inode.cast_signed(), 0],
            Self::Directory(pid) => [number, 6, pid, 0, 0],
        }
    }

    fn from_words(words: &[i32]) -> Option<Self> {
        let [_, kind, pid, inode, uid] = *words else { return None };
        let (inode, uid) = (inode.cast_unsigned(), uid.cast_unsigned());
        match kind {
            1 => Some(Self::Program(pid)),
            2 => Some(Self::ProgramToRead(pid)),
            3 => Some(Self::PidNamespace(pid)),
            4 => Some(Self::Holders { inode, uid }),
            5 => Some(Self::Holds { pid, inode }),
            6 => Some(Self::Directory(pid)),
            _ => None,
        }
    }
}

fn words(bytes: &[u8]) -> Vec<i32> {
    bytes.as_chunks::<4>().0.iter().map(|word| i32::from_ne_bytes(*word)).collect()
}

/// The daemon's end: one question at a time.
struct Lookout(Mutex<Line>);

struct Line {
    socket: OwnedFd,
    asked: i32,
}

impl Lookout {
    fn ask(&self, question: Question) -> Result<Sight, Errno> {
        let mut line = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = line.ask(question);
        if let Err(Errno::EPIPE | Errno::ECONNRESET) = answer
            && !LOST.swap(true, Ordering::Relaxed)
        {
            error!("the daemon's lookout has ended: no program is seen any more, and no rule on one holds; restart");
        }
        answer
    }
}

impl Line {
    fn ask(&mut self, question: Question) -> Result<Sight, Errno> {
        self.asked = self.asked.wrapping_add(1);
        let bytes = question.to_words(self.asked).map(i32::to_ne_bytes);
        let fd = self.socket.as_raw_fd();
        retried(|| sendmsg::<()>(fd, &[IoSlice::new(bytes.as_flattened())], &[], MsgFlags::MSG_NOSIGNAL, None))?;
        let most = if let Question::Holders { .. } = question { MOST } else { 0 };
        loop {
            let (words, file) = retried(|| self.hear(most))?;
            match words[..] {
                [] => return Err(Errno::EPIPE),
                [number, 0, ref numbers @ ..] if number == self.asked => {
                    return Ok(Sight { file, numbers: numbers.to_vec() });
                }
                [number, errno, ..] if number == self.asked => return Err(Errno::from_raw(errno)),
                // The answer to a question that was given up.
                _ => {}
            }
        }
    }

    fn hear(&self, most: usize) -> Result<(Vec<i32>, Option<File>), Errno> {
        let mut told = vec![0; 4 * (TOLD + most)];
        let (len, passed) = passing::receive(self.socket.as_fd(), &mut told)?;
        Ok((words(&told[..len]), passed.into_iter().next_back().map(File::from)))
    }
}

fn retried<T>(mut call: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    loop {
        match call() {
            Err(Errno::EINTR) => {}
            done => return done,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::os::unix::fs::MetadataExt;
    use std::process::{Child, Command, Stdio};

    use nix::sys::signal::{Signal, kill};
    use nix::unistd::Pid;

    use super::super::landlock::{Access, Bounds, Ruleset};
    use super::super::scratch::alone;
    use super::*;

    /// It ends when nobody writes to it any more: who is bounded can't signal it.
    fn cat() -> (Child, i32) {
        let child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let pid = child.id().cast_signed();
        (child, pid)
    }

    fn bounded() {
        nix::sys::prctl::set_no_new_privs().unwrap();
        let ruleset = Ruleset::new(Bounds::default()).unwrap();
        ruleset.allow(std::path::Path::new("/proc"), Access::Read).unwrap();
        ruleset.restrict().unwrap();
    }

    #[test]
    fn who_is_bounded_sees_no_other_program_and_its_lookout_does() {
        alone("sys::lookout::tests::posted");
        alone("sys::lookout::tests::not_posted");
    }

    #[test]
    #[ignore = "bounds the process it runs in; a test above runs it alone"]
    fn not_posted() {
        let (mut child, pid) = cat();
        bounded();
        assert_eq!(ask(Question::Program(pid)).unwrap_err(), Errno::EACCES);
        assert_eq!(child.kill().unwrap_err().raw_os_error(), Some(libc::EPERM));
    }

    #[test]
    #[ignore = "bounds the process it runs in; a test above runs it alone"]
    fn posted() {
        let (mut child, pid) = cat();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let inode = std::fs::metadata(format!("/proc/self/fd/{}", client.as_raw_fd())).unwrap().ino() as u32;
        post(Post::Programs).unwrap();
        post(Post::Sockets).unwrap();
        let us = std::process::id().cast_signed();
        let inode_of = |question| ask(question).unwrap().file.unwrap().metadata().unwrap().ino();
        let cat = std::fs::metadata("/bin/cat").unwrap().ino();
        let children = std::fs::read_to_string("/proc/thread-self/children").unwrap();
        let lookout = Pid::from_raw(children.split_whitespace().nth(1).unwrap().parse().unwrap());
        kill(lookout, Signal::SIGSTOP).unwrap();
        assert_eq!(ask(Question::Program(us)).unwrap_err(), Errno::EAGAIN, "nobody waits for long");
        kill(lookout, Signal::SIGCONT).unwrap();
        assert_eq!(inode_of(Question::Program(pid)), cat, "a late answer is of no other question");
        bounded();
        assert_eq!(inode_of(Question::Program(pid)), cat);
        assert_eq!(inode_of(Question::ProgramToRead(pid)), cat);
        assert!(inode_of(Question::PidNamespace(pid)) > 0);
        assert_eq!(inode_of(Question::Directory(pid)), std::fs::metadata(".").unwrap().ino());
        let uid = nix::unistd::geteuid().as_raw();
        assert!(ask(Question::Holders { inode, uid }).unwrap().numbers.contains(&us));
        assert!(ask(Question::Holds { pid: us, inode }).is_ok());
        assert_eq!(ask(Question::Holds { pid, inode }).unwrap_err(), Errno::ENOENT);
        drop(child.stdin.take());
        child.wait().unwrap();
        assert_eq!(ask(Question::Program(pid)).unwrap_err(), Errno::ENOENT);
        assert!(!is_lost());
    }
}
