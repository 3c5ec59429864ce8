//! The wait for the disk, on a thread of its own: each round is one fdatasync(2) for all who wait by then.
//! It must never tell somebody that the disk has a record before it has, nor hold the audit while it waits.

use super::{Shared, log::Sink};
use crate::sys::scrub;
use std::{
    io,
    sync::{Arc, Mutex, PoisonError, Weak, mpsc},
};
use tokio::sync::oneshot;

/// Who waits, and how the thread is woken. The thread ends when this is dropped.
pub(super) struct Disk {
    bell: mpsc::Sender<()>,
    waiting: Vec<oneshot::Sender<io::Result<()>>>,
    /// Files that the audit went on from, and that may have lines which the disk has not.
    before: Vec<Arc<dyn Sink>>,
}

/// What one fdatasync is made for.
pub(super) struct Round {
    files: Vec<Arc<dyn Sink>>,
    waiting: Vec<oneshot::Sender<io::Result<()>>>,
    /// Records that are in the files.
    pub(super) written: u64,
}

impl Disk {
    /// Starts the thread, which finds the audit once it is woken.
    ///
    /// # Errors
    /// The system gives no thread.
    pub(super) fn start(audit: Weak<Mutex<Shared>>) -> io::Result<Self> {
        let (bell, rings) = mpsc::channel();
        scrub::thread(move || {
            while rings.recv().is_ok()
                && let Some(audit) = audit.upgrade()
            {
                serve(&audit);
            }
        })?;
        Ok(Self { bell, waiting: Vec::new(), before: Vec::new() })
    }

    /// A place in the next round.
    pub(super) fn wait(&mut self) -> oneshot::Receiver<io::Result<()>> {
        let (tell, told) = oneshot::channel();
        self.waiting.push(tell);
        // The thread lives as long as this.
        let _ = self.bell.send(());
        told
    }

    /// The audit goes on in another file.
    pub(super) fn leave(&mut self, file: Arc<dyn Sink>) {
        self.before.push(file);
    }

    /// What is due now, if anybody waits.
    pub(super) fn round(&mut self, file: &Arc<dyn Sink>, written: u64) -> Option<Round> {
        if self.waiting.is_empty() {
            return None;
        }
        let waiting = std::mem::take(&mut self.waiting);
        let files = self.before.drain(..).chain([Arc::clone(file)]).collect();
        Some(Round { files, waiting, written })
    }
}

fn serve(audit: &Mutex<Shared>) {
    let lock = || audit.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(mut round) = lock().log.round() else { return };
    let synced = round.files.iter().try_for_each(|file| file.sync());
    lock().log.ended(&mut round, &synced);
    for one in round.waiting {
        // Whoever left does not need to know.
        let _ = one.send(match &synced {
            Ok(()) => Ok(()),
            Err(fault) => Err(fault.raw_os_error().map_or(fault.kind().into(), io::Error::from_raw_os_error)),
        });
    }
}

impl Round {
    /// The files that are not written to any more, for another try.
    pub(super) fn before(&mut self) -> impl Iterator<Item = Arc<dyn Sink>> {
        let current = self.files.len() - 1;
        self.files.drain(..current)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        audit::{
            Audit, AuditError, AuditOptions, Decision, Judged, Sync,
            fixture::{Dir, kill, options, outcome, permit, principal, text, verified},
        },
        clock::Clock,
        model::RequestId,
    };
    use std::{
        fs::File,
        sync::atomic::{AtomicBool, AtomicUsize, Ordering},
        time::Duration,
    };

    /// A disk that takes 20 ms, and nothing at all while it is broken; behind the real file.
    struct Slow {
        file: File,
        disk: Arc<Platter>,
    }

    #[derive(Default)]
    struct Platter {
        syncs: AtomicUsize,
        broken: AtomicBool,
    }

    impl Sink for Slow {
        fn append(&self, bytes: &[u8]) -> io::Result<usize> {
            self.file.append(bytes)
        }

        fn sync(&self) -> io::Result<()> {
            std::thread::sleep(Duration::from_millis(20));
            match self.disk.broken.load(Ordering::Relaxed) {
                true => Err(io::Error::from_raw_os_error(nix::libc::EIO)),
                false => {
                    self.disk.syncs.fetch_add(1, Ordering::Relaxed);
                    Ok(())
                }
            }
        }
    }

    fn on_slow_disk(dir: &Dir) -> (Audit, Arc<Platter>) {
        let audit = Audit::open(AuditOptions { sync: Sync::Each, ..options(dir) }, Clock::system()).unwrap();
        let disk = Arc::<Platter>::default();
        let file = crate::sys::file::append_only(&options(dir).path, 0o600).unwrap();
        audit.lock().log.sink = Arc::new(Slow { file, disk: disk.clone() });
        (audit, disk)
    }

    async fn decide(audit: &Audit, request: u64) -> Result<(), AuditError> {
        let (permit, principal) = (permit("dashscope/main"), principal("/usr/bin/curl"));
        let judged = Judged::Permit(&permit, None);
        audit.decide(&Decision { request: RequestId(request), principal: &principal, judged }).await
    }

    /// So many at one moment, on one loop.
    async fn decide_together(audit: &Audit, count: u64) -> usize {
        let mut deciding = tokio::task::JoinSet::new();
        for request in 0..count {
            let audit = audit.clone();
            #[allow(clippy::disallowed_methods, reason = "nothing here is secret")]
            deciding.spawn(async move { decide(&audit, request).await });
        }
        deciding.join_all().await.into_iter().filter(Result::is_ok).count()
    }

    #[tokio::test]
    async fn decisions_of_one_moment_share_a_wait_for_the_disk_and_none_is_let_pass_before_it() {
        let dir = Dir::new();
        let (audit, disk) = on_slow_disk(&dir);
        decide(&audit, 0).await.unwrap();
        assert_eq!(disk.syncs.load(Ordering::Relaxed), 1);
        assert_eq!(decide_together(&audit, 64).await, 64);
        let syncs = disk.syncs.load(Ordering::Relaxed);
        assert!((2..=3).contains(&syncs), "whoever came too late for a round waits for the next: {syncs}");
        audit.outcome(&outcome(1));
        audit.flush().unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(disk.syncs.load(Ordering::Relaxed), syncs, "an outcome need not wait for the disk");
        assert_eq!(verified(&dir).unwrap().records, 66);
    }

    #[tokio::test]
    async fn the_loop_goes_on_while_the_disk_is_waited_for() {
        let dir = Dir::new();
        let (audit, _) = on_slow_disk(&dir);
        let mut deciding = std::pin::pin!(decide(&audit, 1));
        let mut turns = 0;
        while tokio::time::timeout(Duration::from_millis(1), &mut deciding).await.is_err() {
            audit.outcome(&outcome(1));
            assert!(audit.status().records > 0, "nobody holds the audit meanwhile");
            turns += 1;
        }
        assert!(turns > 5, "{turns}");
    }

    #[tokio::test]
    async fn a_disk_that_fails_refuses_and_recovers() {
        let dir = Dir::new();
        let (audit, disk) = on_slow_disk(&dir);
        disk.broken.store(true, Ordering::Relaxed);
        let Err(AuditError::Write { source, .. }) = decide(&audit, 1).await else { panic!("it was let pass") };
        assert_eq!(source.raw_os_error(), Some(nix::libc::EIO));
        assert_eq!(decide_together(&audit, 9).await, 0);
        assert!(audit.settle().await.is_err() && audit.status().failing.is_some());
        disk.broken.store(false, Ordering::Relaxed);
        audit.flush().unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(audit.status().failing, None, "it is noticed before anybody asks");
        decide(&audit, 2).await.unwrap();
        assert_eq!(verified(&dir).unwrap().records, 11);
    }

    #[tokio::test]
    async fn a_file_that_was_put_aside_is_on_the_disk_before_its_last_decision_counts() {
        let dir = Dir::new();
        let (audit, disk) = on_slow_disk(&dir);
        disk.broken.store(true, Ordering::Relaxed);
        assert!(decide(&audit, 1).await.is_err());
        std::fs::rename(options(&dir).path, dir.path("old")).unwrap();
        audit.reopen().unwrap();
        assert!(decide(&audit, 2).await.is_err(), "the new file is fine, and the old one is not on the disk yet");
        disk.broken.store(false, Ordering::Relaxed);
        decide(&audit, 3).await.unwrap();
        assert_eq!((disk.syncs.load(Ordering::Relaxed), text(&dir).lines().count()), (1, 3));
    }

    #[tokio::test]
    async fn the_thread_ends_with_the_audit() {
        let dir = Dir::new();
        let (audit, _) = on_slow_disk(&dir);
        decide(&audit, 1).await.unwrap();
        let left = Arc::downgrade(&audit.shared);
        // The thread may hold it for a moment after it has answered.
        tokio::time::sleep(Duration::from_millis(20)).await;
        kill(audit);
        assert!(left.upgrade().is_none());
    }
}
