//! Which program a process runs: the identity of its file and the SHA-256 of its bytes, remembered.
//! It never reads more than its bound, however large the program.

use crate::sys::procfs::ProcDir;
use sha2::{Digest, Sha256};
use std::{
    collections::HashMap,
    fs::{File, Metadata},
    io::Read,
    os::unix::fs::MetadataExt,
    sync::{Mutex, PoisonError},
};

/// A file, and the state in which it was: any write changes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct FileId {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl FileId {
    fn of(meta: &Metadata) -> Self {
        Self {
            device: meta.dev(),
            inode: meta.ino(),
            size: meta.size(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
        }
    }

    /// Whether it is the same file, written to or not: one that runs keeps its inode, even when it is removed.
    pub(super) fn is(&self, other: &Self) -> bool {
        (self.device, self.inode) == (other.device, other.inode)
    }

    /// The file that this very process runs.
    pub(super) fn of_self() -> Option<Self> {
        std::fs::metadata("/proc/self/exe").ok().as_ref().map(Self::of)
    }

    /// The file that another process runs.
    pub(super) fn of_process(pid: i32) -> Option<Self> {
        std::fs::metadata(format!("/proc/{pid}/exe")).ok().as_ref().map(Self::of)
    }
}

/// Hashes of programs, by file and state.
pub(super) struct Hashes {
    known: Mutex<HashMap<FileId, String>>,
    largest: u64,
}

/// Programs that are remembered; the whole memory is dropped when it is full.
const REMEMBERED: usize = 256;

impl Hashes {
    /// Hashes of programs of up to `largest` bytes.
    pub(super) fn new(largest: u64) -> Self {
        Self { known: Mutex::default(), largest }
    }

    /// Lower-case hex; none when the program can't be read or is too large.
    pub(super) fn of(&self, process: &ProcDir) -> Option<String> {
        let file = process.exe_file().ok()?;
        let id = FileId::of(&file.metadata().ok()?);
        if id.size > self.largest {
            return None;
        }
        if let Some(hash) = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&id) {
            return Some(hash.clone());
        }
        let hash = digest(&file, self.largest)?;
        // Written to while we read it: the hash is of no state at all.
        if FileId::of(&file.metadata().ok()?) != id {
            return None;
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= REMEMBERED {
            known.clear();
        }
        known.insert(id, hash.clone());
        Some(hash)
    }
}

fn digest(mut file: &File, largest: u64) -> Option<String> {
    let mut hasher = Sha256::new();
    let mut chunk = vec![0; 64 * 1024];
    let mut total = 0;
    loop {
        match file.read(&mut chunk).ok()? {
            0 => break,
            n => {
                total += n as u64;
                if total > largest {
                    return None;
                }
                hasher.update(&chunk[..n]);
            }
        }
    }
    Some(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_over_the_bound_has_no_hash() {
        let own = ProcDir::own().unwrap();
        assert_eq!(Hashes::new(1).of(&own), None);
        let hashes = Hashes::new(1 << 30);
        let first = hashes.of(&own).unwrap();
        assert_eq!(first.len(), 64);
        assert_eq!(hashes.of(&own).as_ref(), Some(&first));
    }
}
