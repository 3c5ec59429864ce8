//! The writer: records are staged in memory, in order, and written together.
//! It must never go back: what is staged keeps its place in the chain, and a write that stopped half-way goes on there.

use super::AuditError;
use super::chain::Link;
use super::disk::{Disk, Round};
use super::head::{Head, Mark};
use super::line::{self, Body, Unrecorded};
use super::stamp::Stamp;
use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::{broadcast, oneshot};

/// The most bytes that wait for a disk with room.
const STAGED_MAX: usize = 256 << 10;
/// What an idle buffer may keep.
const STAGED_KEPT: usize = 32 << 10;

/// Where lines go: a file opened for appending, or a test's stand-in.
pub(super) trait Sink: Send + Sync {
    /// Appends what it can, and tells how much that was: one write(2).
    fn append(&self, bytes: &[u8]) -> io::Result<usize>;
    /// Waits until all is on the disk: fdatasync(2).
    fn sync(&self) -> io::Result<()>;
}

impl Sink for File {
    fn append(&self, bytes: &[u8]) -> io::Result<usize> {
        (&mut &*self).write(bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}

/// Where lines go while another process writes the audit: nowhere.
pub(super) struct LetGo;

impl Sink for LetGo {
    fn append(&self, _: &[u8]) -> io::Result<usize> {
        Err(io::Error::other("another process writes the audit"))
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

/// What is counted when a record finds no room.
#[derive(Clone, Copy)]
pub(super) enum Class {
    Decision,
    Outcome,
    Action,
}

/// The writer's state.
pub(super) struct Log {
    pub path: PathBuf,
    pub sink: Arc<dyn Sink>,
    pub inode: u64,
    /// Bytes that the file has, up to the last write.
    pub length: u64,
    pub head: Head,
    pub stamp: Stamp,
    /// Where a decision waits for the disk; none: it does not.
    pub disk: Option<Disk>,
    /// Behind the last record that was staged.
    pub at: Link,
    /// Lines that are not in the file, or only to the half.
    pub staged: Vec<u8>,
    /// How many bytes of them are in the file.
    pub begun: usize,
    /// Records that the file has, and the head counts.
    pub written: u64,
    /// Records that are on the disk.
    pub durable: u64,
    pub unrecorded: Unrecorded,
    /// Why the last write failed; none when it did not.
    pub unwritten: Option<String>,
    /// Why the disk did not take what was written; none when it did.
    pub unsynced: Option<String>,
    pub live: broadcast::Sender<Arc<str>>,
}

impl Log {
    /// Gives a record its place. Fails only when memory and disk are both full.
    pub(super) fn stage(&mut self, class: Class, body: &Body<'_>) -> Result<(), AuditError> {
        if self.staged.len() + line::LINE_MAX > STAGED_MAX {
            self.write().inspect_err(|_| self.count(class))?;
        }
        if self.unrecorded != Unrecorded::default() {
            let unrecorded = std::mem::take(&mut self.unrecorded);
            self.push(&Body::Unrecorded(unrecorded));
        }
        self.push(body);
        Ok(())
    }

    /// Appends a line to what is staged.
    pub(super) fn push(&mut self, body: &Body<'_>) {
        let start = self.staged.len();
        line::write(&mut self.staged, self.at, &mut self.stamp, body);
        self.at = self.at.past(&self.staged[start..]);
    }

    /// A place where the disk is waited for, for all that is written; none where nothing is to be waited for.
    pub(super) fn wait(&mut self) -> Option<oneshot::Receiver<io::Result<()>>> {
        let due = self.durable < self.written || self.unsynced.is_some();
        self.disk.as_mut().filter(|_| due).map(Disk::wait)
    }

    /// What the disk is to take now.
    pub(super) fn round(&mut self) -> Option<Round> {
        self.disk.as_mut()?.round(&self.sink, self.written)
    }

    /// What came of it.
    pub(super) fn ended(&mut self, round: &mut Round, synced: &io::Result<()>) {
        self.unsynced = synced.as_ref().err().map(ToString::to_string);
        match (synced, &mut self.disk) {
            (Ok(()), _) => self.durable = self.durable.max(round.written),
            (Err(_), Some(disk)) => round.before().for_each(|file| disk.leave(file)),
            (Err(_), None) => {}
        }
    }

    /// Goes on in another file.
    pub(super) fn turn_to(&mut self, sink: Arc<dyn Sink>, inode: u64) {
        let before = std::mem::replace(&mut self.sink, sink);
        if let Some(disk) = &mut self.disk {
            disk.leave(before);
        }
        self.inode = inode;
        self.length = 0;
    }

    /// Writes what is staged, then the head.
    pub(super) fn write(&mut self) -> Result<(), AuditError> {
        if self.written == self.at.seq {
            return Ok(());
        }
        self.tried(Self::append_staged)?;
        self.tried(Self::mark)?;
        self.written = self.at.seq;
        self.unwritten = None;
        Ok(())
    }

    /// Writes the head; all that is staged is in the file.
    pub(super) fn mark(&mut self) -> io::Result<()> {
        self.head.put(&Mark { link: self.at, length: self.length, inode: self.inode })
    }

    fn append_staged(&mut self) -> io::Result<()> {
        while self.begun < self.staged.len() {
            match self.sink.append(&self.staged[self.begun..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(more) => {
                    self.begun += more;
                    self.length += more as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.tell_followers();
        self.staged.clear();
        self.staged.shrink_to(STAGED_KEPT);
        self.begun = 0;
        Ok(())
    }

    fn tell_followers(&self) {
        if self.live.receiver_count() == 0 {
            return;
        }
        // A newline that closes a torn line stands alone at the front.
        for line in self.staged.split_inclusive(|b| *b == b'\n').filter(|line| line.len() > 1) {
            let line = str::from_utf8(line).expect("invariant: serde_json writes UTF-8");
            let _ = self.live.send(line.into());
        }
    }

    fn tried(&mut self, attempt: impl FnOnce(&mut Self) -> io::Result<()>) -> Result<(), AuditError> {
        attempt(self).map_err(|source| {
            self.unwritten = Some(source.to_string());
            AuditError::Write { path: self.path.clone(), source }
        })
    }

    fn count(&mut self, class: Class) {
        match class {
            Class::Decision => self.unrecorded.decisions += 1,
            Class::Outcome => self.unrecorded.outcomes += 1,
            Class::Action => self.unrecorded.actions += 1,
        }
    }
}

impl Drop for Log {
    /// The last outcomes.
    fn drop(&mut self) {
        if self.write().is_ok() && self.disk.is_some() {
            let _ = self.sink.sync();
        }
    }
}
