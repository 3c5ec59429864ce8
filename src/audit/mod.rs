//! The audit: one record for each decision, before any secret moves, and one for each outcome; chained by hashes.
//! It must never hold a secret, lose a decision that was let pass, or hide that a part of it is gone.

mod chain;
mod disk;
mod fields;
mod follow;
mod head;
mod line;
mod log;
mod read;
mod record;
mod resume;
mod stamp;
mod text;
mod verify;

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod full;
#[cfg(test)]
mod tamper;
#[cfg(test)]
mod tests;

pub use follow::{Follow, Lines};
pub use line::{LINE_MAX, TailMissing, Unrecorded};
pub use record::{Action, Approval, Decision, Judged, KeyChange, Outcome, Verdict, Which};
pub use text::VALUE_MAX;
pub use verify::{Broken, Verified, VerifyError, verify};

use crate::clock::Clock;
use crate::model::Principal;
use crate::sys::file::{self, FileError};
use disk::Disk;
use head::Head;
use line::Body;
use log::{Class, LetGo, Log};
use resume::{First, Resumed, resume};
use stamp::Stamp;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::broadcast;

/// Lines that a follower may be behind before it loses the oldest.
const FOLLOW_MAX: usize = 1024;

/// Where the audit is written, and how surely.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditOptions {
    /// The records, as NDJSON.
    pub path: PathBuf,
    /// The head: how many there are, and the hash of the last.
    pub head_path: PathBuf,
    /// When a decision counts as recorded.
    pub sync: Sync,
}

/// When a decision counts as recorded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Sync {
    /// When the kernel has it: it survives the daemon, not the machine.
    #[default]
    None,
    /// When the disk has it (fdatasync(2)): it survives a power cut.
    Each,
}

/// Why the audit cannot be opened or written.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The file of records cannot be opened.
    #[error(transparent)]
    File(#[from] FileError),
    /// It or its head cannot be opened or read.
    #[error("{path}: {source}; the audit needs a directory that the daemon may write to")]
    Open {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// Another process writes this audit.
    #[error("{0} is in use by another daemon; stop it, or give this one an audit of its own")]
    Busy(PathBuf),
    /// The file that `reopen` found is not new.
    #[error("{0} has lines already; rotate by renaming (not copytruncate), then send SIGUSR1")]
    NotEmpty(PathBuf),
    /// A record could not be written; the next one tries again.
    #[error("{path}: {source}; requests are refused until the audit can be written")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

/// How the audit fares, for `status`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct AuditStatus {
    /// Records in the chain.
    pub records: u64,
    /// Records that still wait to be written: outcomes, and all of them while the disk is full.
    pub waiting: u64,
    /// Why the last write failed; none when it did not.
    pub failing: Option<String>,
    /// What the file lacked when it was opened.
    pub tail_missing: Option<TailMissing>,
    /// What other hands did to the file since.
    pub meddled: Option<&'static str>,
    /// What found no room at all and is not told in a record yet.
    pub unrecorded: Unrecorded,
}

/// The audit, open for writing. Cheap to clone; clones write the same chain.
#[derive(Clone)]
pub struct Audit {
    shared: Arc<Mutex<Shared>>,
    /// How it was opened.
    opening: Arc<(AuditOptions, Clock)>,
}

struct Shared {
    log: Log,
    reading: Arc<File>,
    tail_missing: Option<TailMissing>,
    /// Whether a `reopen` waits until the old file has all its lines.
    reopen_due: bool,
}

impl Audit {
    /// Opens or makes the audit, and goes on where its head says: see the manual for what a kill, a rotation or a cut
    /// leaves, and which record tells of it.
    ///
    /// # Errors
    /// See [`AuditError`]; a full disk is none, since the audit recovers by itself.
    pub fn open(options: AuditOptions, clock: Clock) -> Result<Self, AuditError> {
        let (shared, resumed) = Shared::open(&options, &clock)?;
        let audit = Self { shared: Arc::new(Mutex::new(shared)), opening: Arc::new((options, clock)) };
        audit.begin(&resumed)?;
        Ok(audit)
    }

    /// Lets another process write the audit; this one can't any more.
    ///
    /// # Errors
    /// Something waits that cannot be written: then nothing has changed.
    pub async fn let_go(&self) -> Result<(), AuditError> {
        self.settle().await?;
        let mut shared = self.lock();
        shared.log.write()?;
        let fault = |source| AuditError::Open { path: self.opening.0.head_path.clone(), source };
        shared.log.head.unlock().map_err(fault)?;
        shared.log.sink = Arc::new(LetGo);
        Ok(())
    }

    /// Takes the audit again after [`Self::let_go`], and goes on where it ends by now.
    ///
    /// # Errors
    /// [`AuditError::Busy`]: another process writes it. Else as [`Self::open`].
    pub fn take_again(&self) -> Result<(), AuditError> {
        let (options, clock) = &*self.opening;
        let (shared, resumed) = Shared::open(options, clock)?;
        *self.lock() = shared;
        self.begin(&resumed)
    }

    fn begin(&self, resumed: &Resumed) -> Result<(), AuditError> {
        let (options, _) = &*self.opening;
        if options.sync == Sync::Each {
            let fault = |source| AuditError::Open { path: options.path.clone(), source };
            self.lock().log.disk = Some(Disk::start(Arc::downgrade(&self.shared)).map_err(fault)?);
        }
        self.lock().tell(resumed);
        Ok(())
    }

    /// Records a decision: when this returns, it is in the file, and with it all outcomes before it; where that is wanted,
    /// the disk has it. Others that decide in the same turn of the loop, or while the disk is busy, share one wait for it.
    ///
    /// # Errors
    /// [`AuditError::Write`]: the request must be refused. The record keeps its place and is written once that can be.
    pub async fn decide(&self, decision: &Decision<'_>) -> Result<(), AuditError> {
        let waits = {
            let mut shared = self.lock();
            shared.log.stage(Class::Decision, &Body::Decision(decision))?;
            shared.log.disk.is_some()
        };
        if waits {
            tokio::task::yield_now().await;
        }
        self.settle().await
    }

    /// Writes all that waits, and comes back when it is as sure as it is wanted to be.
    ///
    /// # Errors
    /// As [`Audit::decide`]; nothing is lost.
    pub async fn settle(&self) -> Result<(), AuditError> {
        let (waiting, path) = {
            let mut shared = self.lock();
            shared.log.write()?;
            match shared.log.wait() {
                None => return Ok(()),
                Some(waiting) => (waiting, shared.log.path.clone()),
            }
        };
        let told = waiting.await.unwrap_or_else(|_| Err(io::ErrorKind::Interrupted.into()));
        told.map_err(|source| AuditError::Write { path, source })
    }

    /// Records an outcome in memory; it is written with the next decision or by [`Audit::flush`].
    pub fn outcome(&self, outcome: &Outcome<'_>) {
        // A failure is counted, and told by an `unrecorded` record: the answer is already given.
        let _ = self.lock().log.stage(Class::Outcome, &Body::Outcome(outcome));
    }

    /// Records what was done to the broker, and by whom, where that was somebody on a socket. It is in the file when this
    /// returns; the disk has it a moment later.
    ///
    /// # Errors
    /// As [`Audit::decide`].
    pub fn action(&self, by: Option<&Principal>, action: Action<'_>) -> Result<(), AuditError> {
        let mut shared = self.lock();
        shared.log.stage(Class::Action, &Body::Action(by, action))?;
        shared.log.write()?;
        drop(shared.log.wait());
        Ok(())
    }

    /// Writes the outcomes that wait, and does a `reopen` that is due; for a timer of about a second. A disk that has room
    /// again is noticed here before anybody asks.
    ///
    /// # Errors
    /// As [`Audit::decide`]; nothing is lost.
    pub fn flush(&self) -> Result<(), AuditError> {
        let mut shared = self.lock();
        shared.log.write()?;
        if shared.log.unsynced.is_some() {
            drop(shared.log.wait());
        }
        if shared.reopen_due { shared.reopen() } else { Ok(()) }
    }

    /// Goes on in a new file after the old one was renamed (logrotate; SIGUSR1). Its first record is `continued`.
    ///
    /// # Errors
    /// See [`AuditError`]; the old file stays in use, and where it was only full, [`Audit::flush`] tries again.
    pub fn reopen(&self) -> Result<(), AuditError> {
        self.lock().reopen()
    }

    /// How the audit fares.
    pub fn status(&self) -> AuditStatus {
        let shared = self.lock();
        let log = &shared.log;
        AuditStatus {
            records: log.at.seq,
            waiting: log.at.seq - log.written,
            failing: log.unwritten.as_ref().or(log.unsynced.as_ref()).cloned(),
            tail_missing: shared.tail_missing,
            meddled: shared.meddled(),
            unrecorded: log.unrecorded,
        }
    }

    /// The lines of this file so far, and a channel of those to come: none is in both, none is left out.
    pub fn follow(&self) -> Follow {
        let mut shared = self.lock();
        // Outcomes that wait are part of the past; if they cannot be written now, they come by the channel.
        let _ = shared.log.write();
        let whole = shared.log.length - shared.log.begun as u64;
        Follow { past: Lines::new(Arc::clone(&shared.reading), whole), next: shared.log.live.subscribe() }
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        // A panic aborts the program; in tests the state is whole, since staging and writing keep it so.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    fn open(options: &AuditOptions, clock: &Clock) -> Result<(Self, Resumed), AuditError> {
        let AuditOptions { path, head_path, .. } = options.clone();
        let (head, mark) = Head::open(&head_path).map_err(|source| match source.kind() {
            io::ErrorKind::WouldBlock => AuditError::Busy(head_path),
            _ => AuditError::Open { path: head_path, source },
        })?;
        let Opened { sink, reading, inode } = Opened::at(&path)?;
        let fault = |source| AuditError::Open { path: path.clone(), source };
        let resumed = resume(&path, &reading, mark).map_err(fault)?;
        let length = reading.metadata().map_err(fault)?.len();
        let seq = resumed.at.seq;
        let mut log = Log {
            path: path.clone(),
            sink: Arc::new(sink),
            inode,
            length,
            head,
            stamp: Stamp::new(clock.clone()),
            disk: None,
            at: resumed.at,
            staged: Vec::new(),
            begun: 0,
            written: seq,
            durable: seq,
            unrecorded: Unrecorded::default(),
            unwritten: None,
            unsynced: None,
            live: broadcast::Sender::new(FOLLOW_MAX),
        };
        if mark.is_none() && length == 0 {
            // So that a kill in the first write of all is told from a lost head. A full disk is no fault here.
            let _ = log.mark();
        }
        Ok((Self { log, reading: Arc::new(reading), tail_missing: None, reopen_due: false }, resumed))
    }

    /// Tells in a record what was found at the start.
    fn tell(&mut self, resumed: &Resumed) {
        let first = match resumed.first {
            First::Nothing => return,
            First::Continued => Body::Continued,
            First::Recovered(recovered) => Body::Recovered(recovered),
            First::TailMissing(missing) => {
                self.tail_missing = Some(missing);
                Body::TailMissing(missing)
            }
        };
        if resumed.open_ended {
            self.log.staged.push(b'\n');
        }
        self.log.push(&first);
        // A full disk does not keep the daemon from starting: it refuses requests until there is room.
        let _ = self.log.write();
    }

    fn reopen(&mut self) -> Result<(), AuditError> {
        self.reopen_due = true;
        self.log.write()?;
        self.reopen_due = false;
        let Opened { sink, reading, inode } = Opened::at(&self.log.path)?;
        if inode == self.log.inode {
            return Ok(());
        }
        if reading.metadata().is_ok_and(|found| found.len() > 0) {
            return Err(AuditError::NotEmpty(self.log.path.clone()));
        }
        self.log.turn_to(Arc::new(sink), inode);
        self.reading = Arc::new(reading);
        self.log.push(&Body::Continued);
        self.log.write()?;
        drop(self.log.wait());
        Ok(())
    }

    fn meddled(&self) -> Option<&'static str> {
        let found = self.reading.metadata().ok()?;
        if found.len() < self.log.length {
            Some("the file was cut while in use; rotate by renaming, not copytruncate")
        } else if found.len() > self.log.length {
            Some("something else writes to the file")
        } else if found.nlink() == 0 {
            Some("the file was removed while in use; send SIGUSR1 to begin a new one")
        } else {
            None
        }
    }
}

/// One file, open for appending and for reading back.
struct Opened {
    sink: File,
    reading: File,
    inode: u64,
}

impl Opened {
    fn at(path: &Path) -> Result<Self, AuditError> {
        let fault = |source| AuditError::Open { path: path.to_owned(), source };
        let sink = file::append_only(path, 0o600)?;
        let reading = File::open(path).map_err(fault)?;
        let (written, read) = (sink.metadata().map_err(fault)?, reading.metadata().map_err(fault)?);
        if written.ino() != read.ino() || written.dev() != read.dev() {
            return Err(fault(io::Error::other("it was replaced while it was opened")));
        }
        Ok(Self { sink, reading, inode: written.ino() })
    }
}
