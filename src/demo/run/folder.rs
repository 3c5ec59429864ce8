//! A private folder for one run: closed to others, short enough for sockets, and gone afterwards.
//! It must never be one that was there before.

use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// What the kernel takes as a socket's path, without the zero at its end (unix(7)).
const SOCKET_PATH: usize = 107;

/// A folder of mode 0700 with a name that nobody guesses. It is removed, with all in it, when this is dropped.
#[derive(Debug)]
pub(super) struct Folder(PathBuf);

impl Folder {
    /// Makes one below the user's runtime folder, else below the one for temporary files.
    ///
    /// # Errors
    /// None of them takes it: why the last one does not.
    pub(super) fn new() -> io::Result<Self> {
        let runtime = directories::BaseDirs::new().and_then(|dirs| dirs.runtime_dir().map(Path::to_owned));
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        for above in runtime.into_iter().chain([std::env::temp_dir(), "/tmp".into()]) {
            match Self::below(&above) {
                Ok(folder) => return Ok(folder),
                Err(fault) => last = fault,
            }
        }
        Err(last)
    }

    /// The folder, or a file in it.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn below(above: &Path) -> io::Result<Self> {
        let mut random = [0_u8; 6];
        getrandom::fill(&mut random).map_err(io::Error::other)?;
        let name: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        // The config names it, and TOML is UTF-8; links are followed now, so that every name of it is the same.
        let path = above.canonicalize()?.join(format!("sixty-demo-{name}"));
        if path.to_str().is_none() || path.join("control.sock").as_os_str().len() > SOCKET_PATH {
            return Err(io::ErrorKind::InvalidFilename.into());
        }
        std::fs::DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What can't be removed holds no secret of anybody's: the key was made up.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn it_is_closed_to_others_and_gone_afterwards() {
        let folder = Folder::new().unwrap();
        let path = folder.path("");
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o700);
        std::fs::write(folder.path("file"), b"x").unwrap();
        drop(folder);
        assert!(!path.exists());
    }

    #[test]
    fn a_folder_too_deep_for_a_socket_is_not_taken() {
        let above = tempfile::tempdir().unwrap();
        let deep = above.path().join("d".repeat(90));
        std::fs::create_dir(&deep).unwrap();
        assert_eq!(Folder::below(&deep).unwrap_err().kind(), io::ErrorKind::InvalidFilename);
        assert!(deep.read_dir().unwrap().next().is_none());
    }
}
