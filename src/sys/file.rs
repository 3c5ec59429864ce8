//! Files that are opened first and judged after, by descriptor, so that nobody can swap them in between.
//! It must never read a secret that others could read or write, nor change a file in place.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, renameat};
use nix::sys::stat::{FileStat, Mode, SFlag, fchmod, fstat};
use nix::unistd::{Uid, UnlinkatFlags, unlinkat};
use zeroize::Zeroizing;

/// Why a file is not read or not written.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// There is none.
    #[error("{path} does not exist")]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// A directory, a device, a symbolic link.
    #[error("{path} is not a regular file; name the file itself, not a link to it")]
    NotRegular {
        /// The file.
        path: PathBuf,
    },
    /// It belongs to somebody else.
    #[error("{path} belongs to uid {owner}; it must be yours or root's: chown it, or copy it")]
    Foreign {
        /// The file.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
    },
    /// Others may read or write it.
    #[error("{path} is open to others (mode {mode:04o}); {advice} {path}")]
    Open {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// The command that mends it.
        advice: &'static str,
    },
    /// It is too big to be what it should be.
    #[error("{path} has more than {max} bytes; is it the right file?")]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The bound, in bytes.
        max: usize,
    },
    /// The kernel refused.
    #[error("{path}: {errno}")]
    Kernel {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        errno: Errno,
    },
}

/// Reads a secret file of at most `max` bytes: regular, ours or root's, with no permission for group or others.
///
/// # Errors
/// See [`FileError`].
pub fn read_private(path: &Path, max: usize) -> Result<Zeroizing<Vec<u8>>, FileError> {
    let file = open_checked(path, 0o077, "chmod 600")?;
    read_all(file.as_fd(), max).map_err(|fault| fault.at(path, max))
}

/// Reads a config file of at most `max` bytes: regular, ours or root's, not writable by group or others.
///
/// # Errors
/// See [`FileError`].
pub fn read_config(path: &Path, max: usize) -> Result<Vec<u8>, FileError> {
    let file = open_checked(path, 0o022, "chmod go-w")?;
    read_all(file.as_fd(), max).map(|mut bytes| std::mem::take(&mut *bytes)).map_err(|fault| fault.at(path, max))
}

/// Reads a secret to its end from a descriptor that we were given (a pipe, stdin), past every buffer of std.
///
/// # Errors
/// See [`FileError`]; `name` stands for the path.
pub fn read_from(fd: BorrowedFd<'_>, name: &str, max: usize) -> Result<Zeroizing<Vec<u8>>, FileError> {
    read_all(fd, max).map_err(|fault| fault.at(Path::new(name), max))
}

/// Puts a file with these bytes in the place of `path`, whole or not at all: new file, fsync, rename, fsync.
///
/// # Errors
/// See [`FileError`]; the old file is then as it was.
pub fn replace(path: &Path, mode: u32, bytes: &[u8]) -> Result<(), FileError> {
    let kernel = |errno| FileError::Kernel { path: path.to_owned(), errno };
    let (dir, name) = split(path)?;
    let dir = nix::fcntl::open(dir, OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
        .map_err(kernel)?;
    let mut fresh = name.to_os_string();
    fresh.push(".new");
    let written = write_new(dir.as_fd(), &fresh, mode, bytes).and_then(|()| renameat(&dir, &*fresh, &dir, name));
    if let Err(errno) = written {
        let _ = unlinkat(&dir, &*fresh, UnlinkatFlags::NoRemoveDir);
        return Err(kernel(errno));
    }
    nix::unistd::fsync(&dir).map_err(kernel)
}

/// Opens a file to which bytes are only added; makes it with `mode` when it is missing.
///
/// # Errors
/// See [`FileError`]: not regular, not ours, or writable by others.
pub fn append_only(path: &Path, mode: u32) -> Result<File, FileError> {
    // NONBLOCK: as in `open_checked`; a regular file does not know it.
    let flags = OFlag::O_WRONLY | OFlag::O_APPEND | OFlag::O_NONBLOCK;
    let file = match open_plain(path, flags, 0) {
        Err(FileError::Missing { .. }) => {
            let file = open_plain(path, flags | OFlag::O_CREAT | OFlag::O_EXCL, 0o600)?;
            // Past the umask: the mode is the caller's word.
            let errno = fchmod(&file, Mode::from_bits_truncate(mode)).err();
            errno.map_or(Ok(file), |errno| Err(FileError::Kernel { path: path.to_owned(), errno }))?
        }
        opened => opened?,
    };
    judge(path, &file, 0o022, "chmod go-w")?;
    Ok(file)
}

enum Fault {
    TooLarge,
    Kernel(Errno),
}

impl Fault {
    fn at(self, path: &Path, max: usize) -> FileError {
        let path = path.to_owned();
        match self {
            Self::TooLarge => FileError::TooLarge { path, max },
            Self::Kernel(errno) => FileError::Kernel { path, errno },
        }
    }
}

fn open_checked(path: &Path, forbidden: u32, advice: &'static str) -> Result<File, FileError> {
    // NONBLOCK: a fifo put in the file's place must not hold us up.
    let file = open_plain(path, OFlag::O_RDONLY | OFlag::O_NONBLOCK, 0)?;
    judge(path, &file, forbidden, advice)?;
    Ok(file)
}

fn open_plain(path: &Path, flags: OFlag, mode: u32) -> Result<File, FileError> {
    let flags = flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NOCTTY;
    nix::fcntl::open(path, flags, Mode::from_bits_truncate(mode)).map(File::from).map_err(|errno| {
        let path = path.to_owned();
        match errno {
            Errno::ENOENT => FileError::Missing { path },
            Errno::ELOOP | Errno::EISDIR | Errno::ENXIO => FileError::NotRegular { path },
            errno => FileError::Kernel { path, errno },
        }
    })
}

fn judge(path: &Path, file: &File, forbidden: u32, advice: &'static str) -> Result<(), FileError> {
    let path = path.to_owned();
    let found: FileStat = match fstat(file) {
        Ok(found) => found,
        Err(errno) => return Err(FileError::Kernel { path, errno }),
    };
    if SFlag::from_bits_truncate(found.st_mode) & SFlag::S_IFMT != SFlag::S_IFREG {
        return Err(FileError::NotRegular { path });
    }
    if found.st_uid != 0 && found.st_uid != Uid::effective().as_raw() {
        return Err(FileError::Foreign { path, owner: found.st_uid });
    }
    let mode = found.st_mode & 0o7777;
    if mode & forbidden != 0 { Err(FileError::Open { path, mode, advice }) } else { Ok(()) }
}

/// Reads to the end into one buffer that never grows: a growing one leaves copies behind. It is no larger than the file,
/// since every byte of it is wiped: of 4 MiB that would take 2 ms.
fn read_all(fd: BorrowedFd<'_>, max: usize) -> Result<Zeroizing<Vec<u8>>, Fault> {
    let found = fstat(fd).map_err(Fault::Kernel)?;
    let room = match SFlag::from_bits_truncate(found.st_mode) & SFlag::S_IFMT {
        SFlag::S_IFREG => max.min(usize::try_from(found.st_size).unwrap_or(max)),
        _ => max,
    };
    let mut bytes = Zeroizing::new(vec![0; room.saturating_add(1)]);
    let mut len = 0;
    loop {
        match nix::unistd::read(fd, &mut bytes[len..]) {
            Ok(0) => break,
            Ok(more) => len += more,
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(Fault::Kernel(errno)),
        }
        if len > max {
            return Err(Fault::TooLarge);
        }
        if len > room {
            // It grows while it is read.
            return Err(Fault::Kernel(Errno::EAGAIN));
        }
    }
    bytes.truncate(len);
    Ok(bytes)
}

fn split(path: &Path) -> Result<(&Path, &std::ffi::OsStr), FileError> {
    let name = path.file_name().ok_or_else(|| FileError::NotRegular { path: path.to_owned() })?;
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Ok((dir, name))
}

fn write_new(dir: BorrowedFd<'_>, name: &std::ffi::OsStr, mode: u32, bytes: &[u8]) -> Result<(), Errno> {
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let create = || openat(dir, name, flags, Mode::from_bits_truncate(0o600));
    let fd = create().or_else(|errno| match errno {
        // Left by a run that was killed.
        Errno::EEXIST => unlinkat(dir, name, UnlinkatFlags::NoRemoveDir).and_then(|()| create()),
        errno => Err(errno),
    })?;
    fchmod(&fd, Mode::from_bits_truncate(mode))?;
    let mut file = File::from(fd);
    let io = |error: std::io::Error| error.raw_os_error().map_or(Errno::EIO, Errno::from_raw);
    file.write_all(bytes).map_err(io)?;
    file.sync_all().map_err(io)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, chown, symlink};

    use super::*;
    use crate::sys::scratch::Scratch;

    fn file(scratch: &Scratch, mode: u32) -> PathBuf {
        let path = scratch.join("file");
        std::fs::write(&path, b"word").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    #[test]
    fn a_secret_that_others_may_read_is_refused_with_the_command_that_mends_it() {
        let scratch = Scratch::new();
        assert_eq!(*read_private(&file(&scratch, 0o600), 4).unwrap(), b"word");
        for mode in [0o640, 0o604, 0o610, 0o601, 0o620] {
            let path = file(&scratch, mode);
            let refusal = read_private(&path, 4).unwrap_err().to_string();
            assert!(refusal.ends_with(&format!("chmod 600 {}", path.display())), "{refusal}");
        }
    }

    #[test]
    fn a_config_may_be_read_by_others_and_written_by_us_alone() {
        let scratch = Scratch::new();
        assert_eq!(read_config(&file(&scratch, 0o644), 4).unwrap(), b"word");
        for mode in [0o664, 0o646] {
            assert!(matches!(read_config(&file(&scratch, mode), 4), Err(FileError::Open { .. })));
        }
    }

    #[test]
    fn a_file_over_its_bound_is_refused_not_cut() {
        let scratch = Scratch::new();
        assert!(matches!(read_private(&file(&scratch, 0o600), 3), Err(FileError::TooLarge { max: 3, .. })));
    }

    #[test]
    fn links_fifos_and_devices_are_not_files() {
        let scratch = Scratch::new();
        let (link, fifo) = (scratch.join("link"), scratch.join("fifo"));
        symlink(file(&scratch, 0o600), &link).unwrap();
        nix::unistd::mkfifo(&fifo, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
        for path in [&*link, &*fifo, scratch.path(), Path::new("/dev/null")] {
            assert!(matches!(read_private(path, 9), Err(FileError::NotRegular { .. })), "{path:?}");
            assert!(matches!(append_only(path, 0o600), Err(FileError::NotRegular { .. })), "{path:?}");
        }
        assert!(matches!(read_private(&scratch.join("none"), 9), Err(FileError::Missing { .. })));
    }

    #[test]
    fn a_stranger_can_not_hand_us_a_key_file() {
        if !Uid::effective().is_root() {
            println!("not tested: needs root");
            return;
        }
        let scratch = Scratch::new();
        let path = file(&scratch, 0o600);
        chown(&path, Some(12345), None).unwrap();
        assert!(matches!(read_private(&path, 4), Err(FileError::Foreign { owner: 12345, .. })));
    }

    #[test]
    fn a_replaced_file_is_whole_has_its_mode_and_leaves_no_scraps() {
        let scratch = Scratch::new();
        let path = scratch.join("vault");
        // A run that was killed left this.
        std::fs::write(scratch.join("vault.new"), b"half").unwrap();
        replace(&path, 0o640, b"one").unwrap();
        replace(&path, 0o600, b"two").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_can_not_be_replaced_stays_and_leaves_no_scraps() {
        let scratch = Scratch::new();
        std::fs::create_dir(scratch.join("vault")).unwrap();
        assert!(replace(&scratch.join("vault"), 0o600, b"one").is_err());
        assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 1);
    }

    #[test]
    fn an_append_only_file_grows_and_gets_its_mode_once() {
        let scratch = Scratch::new();
        let path = scratch.join("audit");
        append_only(&path, 0o640).unwrap().write_all(b"one\n").unwrap();
        append_only(&path, 0o600).unwrap().write_all(b"two\n").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"one\ntwo\n");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o640);
    }

    #[test]
    fn a_secret_comes_whole_through_a_pipe() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        let sender = std::thread::spawn(move || {
            writer.write_all(b"sk-").unwrap();
            writer.write_all(b"not-a-real-key").unwrap();
        });
        assert_eq!(*read_from(reader.as_fd(), "stdin", 64).unwrap(), b"sk-not-a-real-key");
        sender.join().unwrap();
    }
}
