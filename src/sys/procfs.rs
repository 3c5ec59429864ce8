//! Facts about one process from /proc, read through one directory descriptor that never comes to mean another process.
//! It must never read without a bound, nor trust what a process can write there (its name, its cgroup's name).

pub mod parse;

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, readlink};
use nix::sys::stat::{Mode, fstat, fstatat, stat};

use super::lookout::{self, Question};

/// No file that is read here comes near this, in bytes.
const BOUND: u64 = 64 * 1024;
/// Bytes of a command line.
const COMMAND: u64 = 2048;
const DELETED: &[u8] = b" (deleted)";

/// Why a fact is not to be had.
#[derive(Debug, thiserror::Error)]
pub enum ProcError {
    /// The process has ended.
    #[error("process {pid} has ended")]
    Gone {
        /// Its number.
        pid: i32,
    },
    /// We may not look: another user's process, or /proc mounted with hidepid.
    #[error("/proc/{pid}/{name} may not be read; the daemon needs the same uid, or CAP_SYS_PTRACE")]
    Denied {
        /// Its number.
        pid: i32,
        /// The file.
        name: &'static str,
    },
    /// The kernel wrote something that we don't understand.
    #[error("/proc/{pid}/{name} is not as proc(5) says")]
    Malformed {
        /// Its number.
        pid: i32,
        /// The file.
        name: &'static str,
    },
    /// More processes stand above it than are looked at.
    #[error("process {pid} has more ancestors than are looked at")]
    Deep {
        /// Its number.
        pid: i32,
    },
    /// Anything else.
    #[error("/proc/{pid}/{name} can't be read: {errno}")]
    Kernel {
        /// Its number.
        pid: i32,
        /// The file.
        name: &'static str,
        /// What the kernel said.
        errno: Errno,
    },
}

/// The file that a process runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exe {
    /// The very file that we find at this path: same device, same inode.
    At(PathBuf),
    /// Not what we find at this path: removed or replaced since, or mounted there in a namespace of the process's own,
    /// which anybody may make. The path proves nothing.
    Elsewhere(PathBuf),
}

impl Exe {
    /// The path of a program, and whether that is the file that we find there.
    ///
    /// # Errors
    /// /proc is not mounted.
    pub fn of(program: &File) -> Result<Self, Errno> {
        let link = readlink(format!("/proc/self/fd/{}", program.as_raw_fd()).as_str())?;
        let runs = fstat(program)?;
        if stat(link.as_os_str()).is_ok_and(|found| (found.st_dev, found.st_ino) == (runs.st_dev, runs.st_ino)) {
            return Ok(Exe::At(link.into()));
        }
        let path = link.as_bytes().strip_suffix(DELETED).unwrap_or(link.as_bytes());
        Ok(Exe::Elsewhere(OsStr::from_bytes(path).into()))
    }
}

/// /proc/PID, opened. After that process ends every read gives [`ProcError::Gone`], even if its number is used again.
#[derive(Debug)]
pub struct ProcDir {
    dir: OwnedFd,
    pid: i32,
}

impl ProcDir {
    /// Opens the directory of the process that has this number now.
    ///
    /// # Errors
    /// [`ProcError::Gone`] when none has (or hidepid hides it).
    pub fn open(pid: i32) -> Result<Self, ProcError> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let dir = nix::fcntl::open(format!("/proc/{pid}").as_str(), flags, Mode::empty())
            .map_err(|errno| fault(pid, "", errno))?;
        Ok(Self { dir, pid })
    }

    /// This process's own directory.
    ///
    /// # Errors
    /// /proc is not mounted.
    pub fn own() -> Result<Self, ProcError> {
        Self::open(nix::unistd::getpid().as_raw())
    }

    /// The number it was opened by.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// The executable as a place: a program need not be readable to be run.
    ///
    /// # Errors
    /// See [`ProcError`].
    pub fn program(&self) -> Result<File, ProcError> {
        self.seen("exe", Question::Program(self.pid))
    }

    /// The executable itself, whatever stands at its path by now, for hashing.
    ///
    /// # Errors
    /// See [`ProcError`].
    pub fn exe_file(&self) -> Result<File, ProcError> {
        self.seen("exe", Question::ProgramToRead(self.pid))
    }

    /// The unified cgroup, such as `/system.slice/ci.service`: cgroups(7).
    ///
    /// # Errors
    /// See [`ProcError`]; `Malformed` where only version 1 is mounted.
    pub fn cgroup(&self) -> Result<String, ProcError> {
        self.parsed("cgroup", |text| parse::cgroup(text).map(str::to_owned))
    }

    /// When it started, in clock ticks since boot: field 22 of proc_pid_stat(5).
    ///
    /// # Errors
    /// See [`ProcError`].
    pub fn start_time(&self) -> Result<u64, ProcError> {
        self.parsed("stat", |text| parse::stat_field(text, 22))
    }

    /// The directory that it works in, for people: by its path, which a namespace of its own may give another meaning.
    ///
    /// # Errors
    /// See [`ProcError`].
    pub fn directory(&self) -> Result<PathBuf, ProcError> {
        let name = "cwd";
        let place = self.seen(name, Question::Directory(self.pid))?;
        let link = readlink(format!("/proc/self/fd/{}", place.as_raw_fd()).as_str());
        link.map(PathBuf::from).map_err(|errno| self.fault(name, errno))
    }

    /// Its parent's number now; 0 when that is outside of our pid namespace.
    ///
    /// # Errors
    /// See [`ProcError`].
    pub fn parent(&self) -> Result<i32, ProcError> {
        self.parsed("stat", |text| parse::stat_field(text, 4))
    }

    /// Real, effective, saved and file-system uid.
    ///
    /// # Errors
    /// See [`ProcError`].
    pub fn uids(&self) -> Result<[u32; 4], ProcError> {
        self.parsed("status", parse::uids)
    }

    /// Real, effective, saved and file-system gid.
    ///
    /// # Errors
    /// See [`ProcError`].
    pub fn gids(&self) -> Result<[u32; 4], ProcError> {
        self.parsed("status", parse::gids)
    }

    /// The process that traces it, 0 for none.
    ///
    /// # Errors
    /// See [`ProcError`].
    pub fn tracer(&self) -> Result<u32, ProcError> {
        self.parsed("status", |text| parse::status(text, "TracerPid:")?.parse().ok())
    }

    /// Every capability that it has or could take up, as bits: capabilities(7).
    ///
    /// # Errors
    /// See [`ProcError`].
    pub fn capabilities(&self) -> Result<u64, ProcError> {
        let one = |text: &str, name| u64::from_str_radix(parse::status(text, name)?, 16).ok();
        self.parsed("status", |text| {
            ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"]
                .iter()
                .map(|name| one(text, name))
                .try_fold(0, |all, held| Some(all | held?))
        })
    }

    /// Inode of its pid namespace: namespaces(7).
    ///
    /// # Errors
    /// See [`ProcError`].
    pub fn pid_namespace(&self) -> Result<u64, ProcError> {
        let name = "ns/pid";
        let place = self.seen(name, Question::PidNamespace(self.pid))?;
        fstat(place).map(|found| found.st_ino).map_err(|errno| self.fault(name, errno))
    }

    /// Whose it is, as file systems see it: root's, for a process that may not be dumped.
    ///
    /// # Errors
    /// See [`ProcError`].
    pub fn owner(&self) -> Result<u32, ProcError> {
        fstat(&self.dir).map(|found| found.st_uid).map_err(|errno| self.fault("", errno))
    }

    /// Its name, which it can change at will: for people's eyes, never for a rule. At most 15 bytes.
    ///
    /// # Errors
    /// See [`ProcError`].
    pub fn comm(&self) -> Result<String, ProcError> {
        self.parsed("comm", |text| Some(text.strip_suffix('\n').unwrap_or(text).to_owned()))
    }

    /// The words of its command line, of which it may make what it likes: for people's eyes, never for a rule. The first
    /// `COMMAND` bytes of them.
    ///
    /// # Errors
    /// See [`ProcError`].
    pub fn command(&self) -> Result<Vec<Vec<u8>>, ProcError> {
        let mut text = Vec::new();
        let read = self.open_below("cmdline", OFlag::O_RDONLY)?.take(COMMAND).read_to_end(&mut text);
        read.map_err(|error| self.fault("cmdline", error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)))?;
        let words = text.strip_suffix(b"\0").unwrap_or(&text);
        Ok(if words.is_empty() { Vec::new() } else { words.split(|b| *b == 0).map(<[u8]>::to_vec).collect() })
    }

    /// What is asked for by the number was of this process if its directory still is there afterwards.
    fn seen(&self, name: &'static str, question: Question) -> Result<File, ProcError> {
        let seen = lookout::ask(question).map_err(|errno| self.fault(name, errno))?;
        fstatat(&self.dir, "stat", AtFlags::empty()).map_err(|errno| self.fault(name, errno))?;
        // No room for another descriptor.
        seen.file.ok_or_else(|| self.fault(name, Errno::EMFILE))
    }

    fn parsed<T>(&self, name: &'static str, parse: impl FnOnce(&str) -> Option<T>) -> Result<T, ProcError> {
        let mut text = Vec::new();
        self.open_below(name, OFlag::O_RDONLY)?
            .take(BOUND + 1)
            .read_to_end(&mut text)
            .map_err(|error| self.fault(name, error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)))?;
        if text.len() as u64 > BOUND {
            return Err(self.malformed(name));
        }
        // A process chooses its comm's bytes, and they need not be UTF-8.
        parse(&String::from_utf8_lossy(&text)).ok_or(self.malformed(name))
    }

    fn open_below(&self, name: &'static str, how: OFlag) -> Result<File, ProcError> {
        openat(self.dir.as_fd(), name, how | OFlag::O_CLOEXEC, Mode::empty())
            .map(File::from)
            .map_err(|errno| self.fault(name, errno))
    }

    fn malformed(&self, name: &'static str) -> ProcError {
        ProcError::Malformed { pid: self.pid, name }
    }

    fn fault(&self, name: &'static str, errno: Errno) -> ProcError {
        fault(self.pid, name, errno)
    }
}

impl AsFd for ProcDir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }
}

fn fault(pid: i32, name: &'static str, errno: Errno) -> ProcError {
    match errno {
        Errno::ESRCH | Errno::ENOENT => ProcError::Gone { pid },
        Errno::EACCES | Errno::EPERM => ProcError::Denied { pid, name },
        errno => ProcError::Kernel { pid, name, errno },
    }
}

#[cfg(test)]
mod tests;
