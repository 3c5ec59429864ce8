//! Which processes hold a socket: those among whose descriptors its inode is found, proc_pid_fd(5).
//! It must never stop at the first one: a socket that is shared belongs to all of them.

use std::ffi::CStr;
use std::os::fd::AsFd;
use std::sync::Arc;

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, readlinkat};
use nix::sys::stat::Mode;

use super::lookout::{self, Question};
use super::pidfd::Pidfd;
use super::procfs::ProcDir;

/// One process that holds the socket. Its directory in /proc and the handle are on the same process, alive when found.
#[derive(Debug)]
pub struct Holder {
    /// Its number.
    pub pid: i32,
    /// Its directory.
    pub proc: ProcDir,
    /// The handle.
    pub pidfd: Arc<Pidfd>,
}

/// All processes that we can see to hold the socket with this inode, which `uid` made.
///
/// Looked for among that user's processes and root's (and all of them if root made it): other users can have it only as
/// a gift. Empty where /proc hides them: hidepid, another pid namespace, or a user whose descriptors we may not read.
///
/// # Errors
/// /proc can't be read at all.
pub fn holders(inode: u32, uid: u32) -> Result<Vec<Holder>, Errno> {
    let numbers = lookout::ask(Question::Holders { inode, uid })?.numbers;
    Ok(numbers.into_iter().filter_map(|pid| holder(pid, inode)).collect())
}

fn holder(pid: i32, inode: u32) -> Option<Holder> {
    let proc = ProcDir::open(pid).ok()?;
    let pidfd = Arc::new(Pidfd::open(pid).ok()?);
    // What held the socket after both were opened, and lives now, is what they are on.
    let held = lookout::ask(Question::Holds { pid, inode }).is_ok() && pidfd.is_alive();
    held.then_some(Holder { pid, proc, pidfd })
}

/// The look itself: [`Question::Holders`].
pub(super) fn numbers(inode: u32, uid: u32) -> Result<Vec<i32>, Errno> {
    let errno = |fault: std::io::Error| fault.raw_os_error().map_or(Errno::EIO, Errno::from_raw);
    let numbers = std::fs::read_dir("/proc").map_err(errno)?;
    let numbers = numbers.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    // A process that may not be dumped seems to be root's.
    let looked_at = |pid: &i32| {
        let owner = ProcDir::open(*pid).and_then(|proc| proc.owner());
        uid == 0 || owner.is_ok_and(|owner| owner == uid || owner == 0)
    };
    Ok(numbers.filter(looked_at).filter(|pid| holds(*pid, inode)).collect())
}

/// The look itself: [`Question::Holds`].
pub(super) fn holds(pid: i32, inode: u32) -> bool {
    let link = format!("socket:[{inode}]");
    let found = || {
        let proc = ProcDir::open(pid).ok()?;
        let mut fds = Dir::from_fd(open(&proc, c"fd")?).ok()?;
        fds.iter().flatten().find(|entry| is(&proc, entry.file_name(), link.as_bytes()))
    };
    found().is_some()
}

fn open(proc: &ProcDir, name: &CStr) -> Option<std::os::fd::OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    openat(proc.as_fd(), name, flags, Mode::empty()).ok()
}

fn is(proc: &ProcDir, number: &CStr, link: &[u8]) -> bool {
    use std::os::unix::ffi::OsStrExt;
    let mut path = b"fd/".to_vec();
    path.extend(number.to_bytes());
    let found: Result<_, Errno> = readlinkat(proc.as_fd(), &path[..]);
    found.is_ok_and(|found| found.as_bytes() == link)
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::{AsRawFd, OwnedFd};
    use std::os::unix::fs::MetadataExt;
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn every_process_that_holds_a_socket_is_found_and_no_other() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let inode = std::fs::metadata(format!("/proc/self/fd/{}", client.as_raw_fd())).unwrap().ino();
        let inode = u32::try_from(inode).unwrap();
        let uid = nix::unistd::geteuid().as_raw();
        // Other tests fork, and until their children exec they hold it too.
        let is_held_by = |wanted: &[u32]| {
            let mut wanted = wanted.to_vec();
            wanted.sort_unstable();
            let look = || {
                let mut pids: Vec<_> = holders(inode, uid).unwrap().iter().map(|one| one.pid.unsigned_abs()).collect();
                pids.sort_unstable();
                pids
            };
            assert!((0..100).any(|_| look() == wanted), "{:?} {wanted:?}", look());
        };
        is_held_by(&[std::process::id()]);
        let theirs = OwnedFd::from(client.try_clone().unwrap());
        let mut child = Command::new("sleep").arg("30").stdin(Stdio::from(theirs)).spawn().unwrap();
        is_held_by(&[std::process::id(), child.id()]);
        drop(client);
        is_held_by(&[child.id()]);
        child.kill().unwrap();
        child.wait().unwrap();
        is_held_by(&[]);
    }
}
