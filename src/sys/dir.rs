//! A directory of our own: opened, then checked, then used by descriptor.
//! It must never be one in which others can replace a file.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::{Mode, fchmod, fstat};
use nix::unistd::{Uid, mkdir};

/// Why a directory is not used.
#[derive(Debug, thiserror::Error)]
pub enum DirError {
    /// There is none.
    #[error("{path} does not exist")]
    Missing {
        /// The directory.
        path: PathBuf,
    },
    /// A file, a symbolic link.
    #[error("{path} is no directory; name the directory itself, not a link to it")]
    NotDirectory {
        /// What is there.
        path: PathBuf,
    },
    /// It belongs to somebody else.
    #[error("{path} belongs to uid {owner}, not to uid {us}; choose a directory of your own")]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Who we are.
        us: u32,
    },
    /// Others may put files there.
    #[error("{path} can be written by others (mode {mode:04o}); chmod go-w {path}")]
    Open {
        /// The directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The kernel refused.
    #[error("{path} can't be used as a directory: {errno}")]
    Kernel {
        /// The directory.
        path: PathBuf,
        /// What the kernel said.
        errno: Errno,
    },
}

/// Opens a directory that is ours and that nobody else can change; makes it with `mode` when it is missing
/// (its parent must be there).
///
/// # Errors
/// See [`DirError`].
pub fn own(path: &Path, mode: u32) -> Result<OwnedFd, DirError> {
    let kernel = |errno| DirError::Kernel { path: path.to_owned(), errno };
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let made = match mkdir(path, Mode::from_bits_truncate(mode & 0o700)) {
        Ok(()) => true,
        Err(Errno::EEXIST) => false,
        Err(errno) => return Err(kernel(errno)),
    };
    let dir = open(path, flags, Mode::empty()).map_err(kernel)?;
    if made {
        fchmod(&dir, Mode::from_bits_truncate(mode)).map_err(kernel)?;
    }
    check(path, &fstat(&dir).map_err(kernel)?)?;
    Ok(dir)
}

/// What stands in a directory of config: it is ours or root's, no link, and nobody else can write there, sticky or not.
///
/// # Errors
/// See [`DirError`].
pub fn config_files(path: &Path) -> Result<Vec<PathBuf>, DirError> {
    let kernel = |errno| match errno {
        Errno::ENOENT => DirError::Missing { path: path.to_owned() },
        // Of a link the kernel says either.
        Errno::ENOTDIR | Errno::ELOOP => DirError::NotDirectory { path: path.to_owned() },
        errno => DirError::Kernel { path: path.to_owned(), errno },
    };
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let dir = open(path, flags, Mode::empty()).map_err(kernel)?;
    let found = fstat(&dir).map_err(kernel)?;
    let (owner, us, mode) = (found.st_uid, Uid::effective().as_raw(), found.st_mode & 0o7777);
    if owner != us && owner != 0 {
        return Err(DirError::Foreign { path: path.to_owned(), owner, us });
    }
    if mode & 0o022 != 0 {
        return Err(DirError::Open { path: path.to_owned(), mode });
    }
    let names: Result<Vec<_>, Errno> =
        Dir::from_fd(dir).map_err(kernel)?.into_iter().map(|entry| Ok(entry?.file_name().to_owned())).collect();
    let names = names.map_err(kernel)?.into_iter().filter(|name| ![&b"."[..], b".."].contains(&name.to_bytes()));
    Ok(names.map(|name| path.join(OsStr::from_bytes(name.to_bytes()))).collect())
}

fn check(path: &Path, found: &nix::sys::stat::FileStat) -> Result<(), DirError> {
    let (path, us) = (path.to_owned(), Uid::effective().as_raw());
    if found.st_uid != us {
        return Err(DirError::Foreign { path, owner: found.st_uid, us });
    }
    // In a sticky directory of ours others can add files but not take ours away.
    let (mode, sticky) = (found.st_mode & 0o7777, 0o1000);
    if mode & 0o022 != 0 && mode & sticky == 0 {
        return Err(DirError::Open { path, mode });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, chown};

    use super::*;
    use crate::sys::scratch::Scratch;

    fn mode_of(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn a_missing_directory_is_made_with_the_mode_asked_for() {
        let scratch = Scratch::new();
        for mode in [0o700, 0o755] {
            let path = scratch.join(&format!("{mode:o}"));
            own(&path, mode).unwrap();
            assert_eq!(mode_of(&path), mode);
        }
        assert!(matches!(own(&scratch.join("no/such"), 0o700), Err(DirError::Kernel { errno: Errno::ENOENT, .. })));
    }

    #[test]
    fn a_directory_that_others_can_write_is_refused_unless_sticky() {
        let scratch = Scratch::new();
        let set = |mode| std::fs::set_permissions(scratch.path(), std::fs::Permissions::from_mode(mode)).unwrap();
        for mode in [0o777, 0o770, 0o702] {
            set(mode);
            let refusal = own(scratch.path(), 0o700).unwrap_err();
            assert!(refusal.to_string().contains("chmod go-w"), "{refusal}");
        }
        set(0o1777);
        own(scratch.path(), 0o700).unwrap();
    }

    #[test]
    fn config_is_read_from_a_directory_that_only_we_can_change() {
        let scratch = Scratch::new();
        let set = |mode| std::fs::set_permissions(scratch.path(), std::fs::Permissions::from_mode(mode)).unwrap();
        std::fs::write(scratch.join("a.toml"), "").unwrap();
        set(0o755);
        assert_eq!(config_files(scratch.path()).unwrap(), [scratch.join("a.toml")]);
        for mode in [0o777, 0o775, 0o757, 0o1777] {
            set(mode);
            assert!(matches!(config_files(scratch.path()), Err(DirError::Open { .. })), "{mode:o}");
        }
        set(0o755);
        std::os::unix::fs::symlink(scratch.path(), scratch.join("link")).unwrap();
        for path in ["link", "a.toml"] {
            assert!(matches!(config_files(&scratch.join(path)), Err(DirError::NotDirectory { .. })), "{path}");
        }
        assert!(matches!(config_files(&scratch.join("none")), Err(DirError::Missing { .. })));
        if Uid::effective().is_root() {
            chown(scratch.path(), Some(12345), None).unwrap();
            assert!(matches!(config_files(scratch.path()), Err(DirError::Foreign { owner: 12345, .. })));
        }
    }

    #[test]
    fn somebody_elses_directory_is_refused() {
        let scratch = Scratch::new();
        let foreign = if Uid::effective().is_root() {
            chown(scratch.path(), Some(12345), None).unwrap();
            scratch.path()
        } else {
            Path::new("/etc")
        };
        assert!(matches!(own(foreign, 0o700), Err(DirError::Foreign { .. })));
    }
}
