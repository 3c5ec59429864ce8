//! Which program a process runs: the identity of its file and the SHA-256 of its bytes, remembered.
//! It never reads more than its bound, however large the program, nor keeps the loop waiting while it reads.

use crate::sys::{procfs::ProcDir, scrub};
use sha2::{Digest, Sha256};
use std::{
    collections::HashMap,
    fs::{File, Metadata},
    io::Read,
    os::unix::fs::MetadataExt,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::{OnceCell, Semaphore, oneshot};

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
    /// A cell that is empty is being filled by one of those who wait for it.
    known: Mutex<HashMap<FileId, Arc<OnceCell<String>>>>,
    turns: Arc<Semaphore>,
    largest: u64,
}

/// Programs that are remembered; all but those that are waited for are dropped when there are more.
const REMEMBERED: usize = 256;

/// Programs that are hashed at once, each on a thread of its own.
const AT_ONCE: usize = 2;

/// There is no hash of this file in this state.
struct Unhashed;

impl Hashes {
    /// Hashes of programs of up to `largest` bytes.
    pub(super) fn new(largest: u64) -> Self {
        Self { known: Mutex::default(), turns: Arc::new(Semaphore::new(AT_ONCE)), largest }
    }

    /// Lower-case hex; none when the program can't be read or is too large. However many ask, a file is read once.
    pub(super) async fn of(&self, process: &ProcDir) -> Option<String> {
        let file = process.exe_file().ok()?;
        let id = FileId::of(&file.metadata().ok()?);
        if id.size > self.largest {
            return None;
        }
        let cell = self.cell(id);
        let hash = cell.get_or_try_init(|| self.read(file, id)).await;
        hash.ok().cloned()
    }

    fn cell(&self, id: FileId) -> Arc<OnceCell<String>> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= REMEMBERED {
            known.retain(|_, cell| Arc::strong_count(cell) > 1);
        }
        known.entry(id).or_default().clone()
    }

    /// Reads the file on a thread, which stops when nobody waits for it any more.
    async fn read(&self, file: File, id: FileId) -> Result<String, Unhashed> {
        let turn = self.turns.clone().acquire_owned().await.map_err(|_| Unhashed)?;
        let (tell, told) = oneshot::channel();
        let largest = self.largest;
        let work = move || {
            let _turn = turn;
            let hash = digest(&file, largest, || !tell.is_closed());
            // Written to while we read it: the hash is of no state at all.
            let same = file.metadata().is_ok_and(|now| FileId::of(&now) == id);
            let _ = tell.send(hash.filter(|_| same));
        };
        scrub::thread(work).map_err(|_| Unhashed)?;
        told.await.ok().flatten().ok_or(Unhashed)
    }
}

fn digest(mut file: &File, largest: u64, wanted: impl Fn() -> bool) -> Option<String> {
    let mut hasher = Sha256::new();
    let mut chunk = vec![0; 64 * 1024];
    let mut total = 0;
    while wanted() {
        match file.read(&mut chunk).ok()? {
            0 => return Some(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()),
            n => {
                total += n as u64;
                if total > largest {
                    return None;
                }
                hasher.update(&chunk[..n]);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_program_over_the_bound_has_no_hash() {
        let own = ProcDir::own().unwrap();
        assert_eq!(Hashes::new(1).of(&own).await, None);
        let hashes = Hashes::new(1 << 30);
        let first = hashes.of(&own).await.unwrap();
        assert_eq!(first.len(), 64);
        assert_eq!(hashes.of(&own).await.as_ref(), Some(&first));
    }

    #[tokio::test]
    async fn many_who_run_one_program_wait_for_one_reading_of_it() {
        let (hashes, own) = (Hashes::new(1 << 30), ProcDir::own().unwrap());
        let all = async { tokio::join!(hashes.of(&own), hashes.of(&own), hashes.of(&own)) };
        let turns = async {
            tokio::task::yield_now().await;
            hashes.turns.available_permits()
        };
        let ((one, two, three), left) = tokio::join!(all, turns);
        assert!(one.is_some() && one == two && two == three);
        assert_eq!(left, AT_ONCE - 1);
    }

    #[tokio::test]
    async fn who_leaves_ends_the_reading_and_takes_no_ones_turn() {
        let (hashes, own) = (Hashes::new(1 << 30), ProcDir::own().unwrap());
        for _ in 0..100 {
            tokio::select! {
                biased;
                _ = hashes.of(&own) => unreachable!("it is not read within one poll"),
                () = tokio::task::yield_now() => {}
            }
        }
        assert!(hashes.of(&own).await.is_some());
    }
}
