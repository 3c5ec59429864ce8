//! Which program a process runs: the identity of its file and the SHA-256 of its bytes, remembered.
//! It never reads more than its bound, however large the program, nor keeps the loop waiting while it reads, nor one
//! user for what another one runs.

use crate::sys::{
    procfs::{Exe, ProcDir},
    scrub,
};
use sha2::{Digest, Sha256};
use std::{
    collections::HashMap,
    fs::{File, Metadata},
    io::Read,
    os::unix::fs::MetadataExt,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
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
    pub(super) fn of(meta: &Metadata) -> Self {
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
    pub(super) fn of_process(process: &ProcDir) -> Option<Self> {
        process.program().ok()?.metadata().ok().as_ref().map(Self::of)
    }
}

/// What a process runs.
pub(super) struct Program {
    pub(super) file: FileId,
    /// Its path, if that very file stands there for us too: not a deleted one, nor one that a mount namespace of the
    /// process's own put there.
    pub(super) path: Option<PathBuf>,
}

impl Program {
    /// What it runs now; none when that can't be told.
    pub(super) fn of(process: &ProcDir) -> Option<Self> {
        let place = process.program().ok()?;
        let path = match Exe::of(&place) {
            Ok(Exe::At(path)) => Some(path),
            _ => None,
        };
        Some(Self { file: FileId::of(&place.metadata().ok()?), path })
    }
}

/// Hashes of programs, by user, file and state.
pub(super) struct Hashes {
    known: Mutex<HashMap<u32, User>>,
    turns: Arc<Semaphore>,
    largest: u64,
}

/// What one user's processes run.
struct User {
    /// A cell that is empty is being filled by one of those who wait for it.
    cells: HashMap<FileId, Arc<OnceCell<String>>>,
    /// One program of this user's is read at a time: who runs many waits for his own.
    turn: Arc<Semaphore>,
}

/// Programs that are remembered. When there are more, the user who runs the most loses his, but for those that are
/// waited for.
const REMEMBERED: usize = 256;

/// There is no hash of this file in this state.
struct Unhashed;

impl Hashes {
    /// Hashes of programs of up to `largest` bytes, so many at once: each on a thread of its own, by turns of the users that
    /// wait.
    pub(super) fn new(largest: u64, at_once: usize) -> Self {
        Self { known: Mutex::default(), turns: Arc::new(Semaphore::new(at_once)), largest }
    }

    /// Lower-case hex; none when the program can't be read or is too large. However many ask, a file is read once.
    pub(super) async fn of(&self, process: &ProcDir, uid: u32) -> Option<String> {
        self.of_file(process.exe_file().ok()?, uid).await
    }

    async fn of_file(&self, file: File, uid: u32) -> Option<String> {
        let id = FileId::of(&file.metadata().ok()?);
        if id.size > self.largest {
            return None;
        }
        let (cell, turn) = self.cell(uid, id);
        let hash = cell.get_or_try_init(|| self.read(file, id, turn)).await;
        hash.ok().cloned()
    }

    fn cell(&self, uid: u32, id: FileId) -> (Arc<OnceCell<String>>, Arc<Semaphore>) {
        let mut known = self.known();
        if known.values().map(|user| user.cells.len()).sum::<usize>() >= REMEMBERED {
            if let Some(most) = known.values_mut().max_by_key(|user| user.cells.len()) {
                most.cells.retain(|_, cell| Arc::strong_count(cell) > 1);
            }
            known.retain(|_, user| !user.cells.is_empty());
        }
        let user = known.entry(uid).or_insert_with(User::new);
        (user.cells.entry(id).or_default().clone(), user.turn.clone())
    }

    /// What is known of a file, whoever ran it.
    fn told(&self, id: FileId) -> Option<String> {
        self.known().values().find_map(|user| user.cells.get(&id)?.get().cloned())
    }

    /// Reads the file on a thread, which stops when nobody waits for it any more.
    async fn read(&self, file: File, id: FileId, own: Arc<Semaphore>) -> Result<String, Unhashed> {
        let own = own.acquire_owned().await.map_err(|_| Unhashed)?;
        if let Some(hash) = self.told(id) {
            return Ok(hash);
        }
        let turn = self.turns.clone().acquire_owned().await.map_err(|_| Unhashed)?;
        let (tell, told) = oneshot::channel();
        let largest = self.largest;
        let work = move || {
            let _turns = (turn, own);
            let hash = digest(&file, largest, || !tell.is_closed());
            // Written to while we read it: the hash is of no state at all.
            let same = file.metadata().is_ok_and(|now| FileId::of(&now) == id);
            let _ = tell.send(hash.filter(|_| same));
        };
        scrub::thread(work).map_err(|_| Unhashed)?;
        told.await.ok().flatten().ok_or(Unhashed)
    }

    fn known(&self) -> MutexGuard<'_, HashMap<u32, User>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl User {
    fn new() -> Self {
        Self { cells: HashMap::new(), turn: Arc::new(Semaphore::new(1)) }
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
    use std::{
        io::{Seek, Write},
        sync::atomic::{AtomicUsize, Ordering},
    };

    const AT_ONCE: usize = 2;

    #[tokio::test]
    async fn a_program_over_the_bound_has_no_hash() {
        let own = ProcDir::own().unwrap();
        assert_eq!(Hashes::new(1, AT_ONCE).of(&own, 1).await, None);
        let hashes = Hashes::new(1 << 30, AT_ONCE);
        let first = hashes.of(&own, 1).await.unwrap();
        assert_eq!(first.len(), 64);
        assert_eq!(hashes.of(&own, 1).await.as_ref(), Some(&first));
    }

    #[tokio::test]
    async fn many_who_run_one_program_wait_for_one_reading_of_it() {
        let (hashes, own) = (Hashes::new(1 << 30, AT_ONCE), ProcDir::own().unwrap());
        let all = async { tokio::join!(hashes.of(&own, 1), hashes.of(&own, 1), hashes.of(&own, 1)) };
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
        let (hashes, own) = (Hashes::new(1 << 30, AT_ONCE), ProcDir::own().unwrap());
        for _ in 0..100 {
            tokio::select! {
                biased;
                _ = hashes.of(&own, 1) => unreachable!("it is not read within one poll"),
                () = tokio::task::yield_now() => {}
            }
        }
        assert!(hashes.of(&own, 1).await.is_some());
    }

    /// Files that nobody has read yet.
    fn files(many: usize, bytes: usize) -> Vec<File> {
        let file = |n| {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&vec![n as u8; bytes]).unwrap();
            file.rewind().unwrap();
            file
        };
        (0..many).map(file).collect()
    }

    #[tokio::test]
    async fn who_runs_many_programs_waits_for_his_own_and_lets_others_pass() {
        let hashes = Arc::new(Hashes::new(1 << 30, AT_ONCE));
        let done = Arc::new(AtomicUsize::new(0));
        for file in files(30, 1 << 20) {
            let (hashes, done) = (hashes.clone(), done.clone());
            scrub::spawn(async move {
                assert!(hashes.of_file(file, 1).await.is_some());
                done.fetch_add(1, Ordering::Relaxed);
            });
        }
        tokio::task::yield_now().await;
        assert_eq!(hashes.turns.available_permits(), AT_ONCE - 1, "one user has one turn");
        let other = files(1, 1 << 20).remove(0);
        assert!(hashes.of_file(other, 2).await.is_some());
        assert!(done.load(Ordering::Relaxed) < 15, "another user waited for all that one runs");
    }

    #[tokio::test]
    async fn who_runs_many_programs_makes_nobody_elses_be_forgotten() {
        let hashes = Hashes::new(1 << 30, AT_ONCE);
        let own = ProcDir::own().unwrap();
        let first = hashes.of(&own, 2).await.unwrap();
        for file in files(REMEMBERED + 10, 1) {
            assert!(hashes.of_file(file, 1).await.is_some());
        }
        let id = FileId::of(&own.exe_file().unwrap().metadata().unwrap());
        assert_eq!(hashes.known()[&2].cells[&id].get(), Some(&first));
        let all: usize = hashes.known().values().map(|user| user.cells.len()).sum();
        assert!(all <= REMEMBERED, "{all}");
        // Another user's reading will do, even where none is allowed.
        hashes.turns.forget_permits(AT_ONCE);
        assert_eq!(hashes.of(&own, 3).await, Some(first));
    }

    #[tokio::test]
    async fn no_more_programs_are_hashed_at_once_than_allowed() {
        let (hashes, own) = (Hashes::new(1 << 30, 1), ProcDir::own().unwrap());
        let turn = hashes.turns.clone().acquire_owned().await.unwrap();
        let mut waiting = std::pin::pin!(hashes.of(&own, 2));
        let short = std::time::Duration::from_millis(50);
        assert!(tokio::time::timeout(short, &mut waiting).await.is_err());
        drop(turn);
        assert!(waiting.await.is_some());
    }
}
