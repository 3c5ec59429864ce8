//! A directory of our own: opened, then checked, then used by descriptor.
//! It must never be one in which others can replace a file.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::{Mode, fchmod, fstat};
use nix::unistd::{Uid, mkdir};

/// Why a directory is not used.
#[derive(Debug, thiserror::Error)]
pub enum DirError {
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
