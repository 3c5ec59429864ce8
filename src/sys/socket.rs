//! Listening Unix sockets: in a directory of ours, with the right mode from their first moment, never over a live one.
//! It must never remove a socket that somebody answers on, nor anything that is not a socket.

use std::ffi::OsStr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag, openat};
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
