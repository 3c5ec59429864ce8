//! Listening Unix sockets: in a directory of ours, with the right mode from their first moment, never over a live one.
//! It must never remove a socket that somebody answers on, nor anything that is not a socket.

use std::ffi::OsStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag, openat};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, connect, listen, socket};
use nix::sys::stat::{FchmodatFlags, Mode, SFlag, fchmod, fchmodat, lstat};
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::dir::{self, DirError};

/// Room for a path in `sockaddr_un`, unix(7): 108 bytes with the final zero.
const LONGEST: usize = 107;

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another daemon answers there.
    #[error("{path}: another daemon answers there; stop it, or choose another path")]
    InUse {
        /// The socket.
        path: PathBuf,
    },
    /// Something else has that name.
    #[error("{path} exists and is not a socket; move it away")]
    NotASocket {
        /// The path.
        path: PathBuf,
    },
    /// The kernel has no room for such a path.
    #[error("{path} has {len} bytes and a socket's path may have {LONGEST}; choose a shorter one")]
    TooLong {
        /// The path.
        path: PathBuf,
        /// Its length in bytes.
        len: usize,
    },
    /// The directory won't do.
    #[error(transparent)]
    Directory(#[from] DirError),
    /// The kernel refused.
    #[error("{path}: no socket can be made: {errno}")]
    Kernel {
        /// The socket.
        path: PathBuf,
        /// What the kernel said.
        errno: Errno,
    },
}

/// Permission bits of a socket, and of its directory if that has to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Modes {
    /// Of the socket.
    pub socket: u32,
    /// Of a directory that is made for it.
    pub directory: u32,
}

impl Modes {
    /// For the owner alone: 0600 in 0700.
    pub const PRIVATE: Self = Self { socket: 0o600, directory: 0o700 };
    /// For everyone, where policy decides: 0666 in 0755.
    pub const PUBLIC: Self = Self { socket: 0o666, directory: 0o755 };
}

/// A listening, close-on-exec, non-blocking socket at `path`, in the place of one that nobody answers on.
///
/// # Errors
/// See [`BindError`].
pub fn bind_unix(path: &Path, modes: Modes) -> Result<(UnixListener, Place), BindError> {
    let len = path.as_os_str().as_bytes().len();
    if len > LONGEST {
        return Err(BindError::TooLong { path: path.to_owned(), len });
    }
    let name = path.file_name().ok_or_else(|| BindError::NotASocket { path: path.to_owned() })?;
    let parent = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let kernel = |errno| BindError::Kernel { path: path.to_owned(), errno };
    // One daemon at a time looks and binds here: two that start together would each take the other's for stale.
    let dir = dir::own(parent, modes.directory)?;
    let _alone = lock(&dir, name).map_err(kernel)?;
    if is_stale(path)? {
        unlinkat(dir.as_fd(), name, UnlinkatFlags::NoRemoveDir).map_err(kernel)?;
    }
    let socket = new_socket(SockFlag::SOCK_NONBLOCK).map_err(kernel)?;
    // bind(2) gives the file the socket's own mode less the umask, so it is never too wide; chmod then opens it up.
    fchmod(&socket, Mode::from_bits_truncate(modes.socket)).map_err(kernel)?;
    let address = UnixAddr::new(path).map_err(kernel)?;
    bind(socket.as_raw_fd(), &address).map_err(kernel)?;
    listen(&socket, Backlog::MAXCONN).map_err(kernel)?;
    let mode = Mode::from_bits_truncate(modes.socket);
    fchmodat(dir.as_fd(), name, mode, FchmodatFlags::FollowSymlink).map_err(kernel)?;
    let place = Place::of(path).ok_or_else(|| kernel(Errno::ENOENT))?;
    Ok((UnixListener::from(socket), place))
}

/// The file of a socket that we made, to notice later that it was removed or replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl Place {
    /// What stands at `path` now; nothing when no socket does.
    pub fn of(path: &Path) -> Option<Self> {
        let found = lstat(path).ok().filter(|found| is_socket(found.st_mode))?;
        Some(Self { path: path.to_owned(), device: found.st_dev, inode: found.st_ino })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether our socket is still there: not removed, not replaced by another daemon's.
    pub fn still_ours(&self) -> bool {
        Self::of(&self.path).as_ref() == Some(self)
    }

    /// Removes the file at the end of a run, unless it is another daemon's by now.
    pub fn remove(self) {
        if self.still_ours() {
            let _ = nix::unistd::unlink(&self.path);
        }
    }
}

/// Whether a connection waits to be accepted.
pub fn somebody_waits(listener: BorrowedFd<'_>) -> bool {
    poll(&mut [PollFd::new(listener, PollFlags::POLLIN)], PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
}

/// Waits for the lock file beside the socket. It stays: removing it would let two hold "the" lock at once. The directory
/// itself won't do: whoever may read it could lock it, and keep us from starting.
fn lock(dir: &OwnedFd, name: &OsStr) -> Result<Flock<OwnedFd>, Errno> {
    let mut hidden = OsStr::new(".").to_os_string();
    hidden.push(name);
    hidden.push(".lock");
    let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let file = openat(dir, &*hidden, flags, Mode::from_bits_truncate(0o600))?;
    Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| errno)
}

/// Whether a socket is there on which nobody answers.
fn is_stale(path: &Path) -> Result<bool, BindError> {
    let kernel = |errno| BindError::Kernel { path: path.to_owned(), errno };
    match lstat(path) {
        Err(Errno::ENOENT) => return Ok(false),
        Err(errno) => return Err(kernel(errno)),
        Ok(found) if !is_socket(found.st_mode) => return Err(BindError::NotASocket { path: path.to_owned() }),
        Ok(_) => {}
    }
    let probe = new_socket(SockFlag::SOCK_NONBLOCK).map_err(kernel)?;
    let address = UnixAddr::new(path).map_err(kernel)?;
    match connect(probe.as_raw_fd(), &address) {
        Err(Errno::ECONNREFUSED) => Ok(true),
        // EAGAIN: its queue is full; somebody is there all the same.
        Ok(()) | Err(Errno::EAGAIN) => Err(BindError::InUse { path: path.to_owned() }),
        Err(errno) => Err(kernel(errno)),
    }
}

fn new_socket(flags: SockFlag) -> Result<OwnedFd, Errno> {
    socket(AddressFamily::Unix, SockType::Stream, flags | SockFlag::SOCK_CLOEXEC, None)
}

fn is_socket(mode: libc::mode_t) -> bool {
    SFlag::from_bits_truncate(mode) & SFlag::S_IFMT == SFlag::S_IFSOCK
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::sys::scratch::Scratch;

    fn mode_of(path: &Path) -> u32 {
        std::fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn a_socket_has_its_mode_and_answers() {
        let scratch = Scratch::new();
        for (name, modes) in [("private", Modes::PRIVATE), ("public", Modes::PUBLIC)] {
            let path = scratch.join(name).join("broker.sock");
            let (listener, place) = bind_unix(&path, modes).unwrap();
            assert_eq!((mode_of(&path), mode_of(&scratch.join(name))), (modes.socket, modes.directory));
            UnixStream::connect(&path).unwrap();
            listener.accept().unwrap();
            let error = listener.accept().unwrap_err();
            assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock, "non-blocking, for the event loop");
            assert!(place.still_ours());
        }
    }

    #[test]
    fn no_socket_is_ever_wider_than_asked() {
        // The kernel takes the file's mode from the socket: without that there would be a moment before chmod.
        let scratch = Scratch::new();
        let (path, socket) = (scratch.join("s"), new_socket(SockFlag::empty()).unwrap());
        fchmod(&socket, Mode::from_bits_truncate(0o600)).unwrap();
        bind(socket.as_raw_fd(), &UnixAddr::new(&path).unwrap()).unwrap();
        assert_eq!(mode_of(&path), 0o600);
    }

    #[test]
    fn a_live_daemons_socket_is_left_alone() {
        let scratch = Scratch::new();
        let path = scratch.join("broker.sock");
        let (_listener, place) = bind_unix(&path, Modes::PRIVATE).unwrap();
        assert!(matches!(bind_unix(&path, Modes::PRIVATE), Err(BindError::InUse { .. })));
        assert!(place.still_ours());
    }

    #[test]
    fn a_dead_daemons_socket_is_replaced_and_the_old_place_is_lost() {
        let scratch = Scratch::new();
        let path = scratch.join("broker.sock");
        let (listener, old) = bind_unix(&path, Modes::PRIVATE).unwrap();
        // Keep the inode in use, so that the file system can't give the same number again.
        std::fs::hard_link(&path, scratch.join("kept")).unwrap();
        drop(listener);
        wait_until_stale(&path);
        let (_listener, new) = bind_unix(&path, Modes::PRIVATE).unwrap();
        assert!(new.still_ours() && !old.still_ours());
        old.remove();
        assert!(new.still_ours(), "a daemon that ends late does not remove its successor's socket");
        new.remove();
        assert!(!path.exists());
    }

    #[test]
    fn of_daemons_that_start_at_once_over_a_stale_socket_one_wins() {
        let scratch = Scratch::new();
        let path = scratch.join("broker.sock");
        for _ in 0..200 {
            drop(bind_unix(&path, Modes::PRIVATE).unwrap());
            wait_until_stale(&path);
            let won = std::thread::scope(|scope| {
                let tries = [(); 3].map(|()| scope.spawn(|| bind_unix(&path, Modes::PRIVATE)));
                tries.map(|one| one.join().unwrap().ok()).into_iter().flatten().collect::<Vec<_>>()
            });
            assert_eq!(won.len(), 1);
            assert!(won[0].1.still_ours());
            drop(won);
            wait_until_stale(&path);
        }
    }

    /// Other tests fork: until their children exec they hold a copy of the listener.
    fn wait_until_stale(path: &Path) {
        while UnixStream::connect(path).is_ok() {
            std::thread::yield_now();
        }
    }

    #[test]
    fn nothing_but_a_socket_is_replaced() {
        let scratch = Scratch::new();
        let (file, link) = (scratch.join("file"), scratch.join("link"));
        std::fs::write(&file, b"precious").unwrap();
        std::os::unix::fs::symlink(scratch.join("nowhere"), &link).unwrap();
        for path in [&file, &link] {
            assert!(matches!(bind_unix(path, Modes::PRIVATE), Err(BindError::NotASocket { .. })));
        }
        assert_eq!(std::fs::read(&file).unwrap(), b"precious");
    }

    #[test]
    fn a_removed_socket_is_noticed() {
        let scratch = Scratch::new();
        let path = scratch.join("broker.sock");
        let (_listener, place) = bind_unix(&path, Modes::PRIVATE).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert!(!place.still_ours());
    }

    #[test]
    fn too_long_a_path_is_told_as_such() {
        let path = Scratch::new().join(&"x".repeat(120));
        let told = bind_unix(&path, Modes::PRIVATE).unwrap_err().to_string();
        assert!(told.contains("may have 107"), "{told}");
    }

    #[test]
    fn a_socket_is_not_passed_on_by_exec() {
        let scratch = Scratch::new();
        let (listener, _) = bind_unix(&scratch.join("s"), Modes::PRIVATE).unwrap();
        let flags = nix::fcntl::fcntl(&listener, nix::fcntl::FcntlArg::F_GETFD).unwrap();
        assert_eq!(flags & libc::FD_CLOEXEC, libc::FD_CLOEXEC);
    }
}
