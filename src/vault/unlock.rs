//! How a vault comes to be, and how it is opened. It must never say yes to an older vault unless told to by name, and
//! never wait under a lock.

use super::{
    Open, OpenError, SaveError, UnlockError, Vault,
    delay::Delay,
    derive::{self, Means, UnlockWith},
    entry::Entries,
    head::{self, Head},
    header::{Cost, Header, Kdf},
    seal::{self, UnsealError},
};
use crate::{clock::Clock, secret::Secret};
use std::{
    path::PathBuf,
    sync::{MutexGuard, PoisonError},
};

/// What is done about a vault that is older than its head says, or has lost its head.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Rollback {
    /// It stays locked.
    #[default]
    Refuse,
    /// It is opened and written anew with a number above all that are known: after restoring a backup.
    Accept,
}

impl Vault {
    /// Makes an empty vault with its head and leaves it unlocked. `cost` counts for a passphrase only.
    ///
    /// # Errors
    /// There is one already, or it can't be written.
    pub async fn create(path: PathBuf, clock: Clock, with: UnlockWith, cost: Cost) -> Result<Self, UnlockError> {
        let vault = Self::at(path, clock);
        vault.files.vacant()?;
        let kdf = match with.means() {
            Means::Passphrase if !cost.within_bounds() => return Err(UnlockError::Cost),
            Means::Passphrase => Kdf::Argon2id(cost),
            Means::Key => Kdf::Hkdf,
        };
        let mut header = Header { kdf, salt: [0; 16], check: [0; 16], nonce: [0; 24] };
        getrandom::fill(&mut header.salt).map_err(|_| UnlockError::Random)?;
        let root = derive::root(with, kdf, header.salt).await?;
        header.check = seal::check_value(&root).ok_or(SaveError::Gone)?;
        let open = Open { root, header, generation: 1, entries: Entries::new(), used: false };
        vault.files.save(&open.root, &open.header, open.generation, &open.entries)?;
        *vault.state() = Some(open);
        Ok(vault)
    }

    /// Whether somebody must type a passphrase, or a key file does. Read from the file anew.
    ///
    /// # Errors
    /// The file is gone or is no vault any more.
    pub fn means(&self) -> Result<Means, OpenError> {
        self.files.read().map(|(_, header)| header.kdf.means())
    }

    /// Opens the vault; nothing happens if it is open. A passphrase is worked on by a thread of its own, and counts as
    /// wrong from the beginning until it proved right: so nobody tries two at a time.
    ///
    /// # Errors
    /// See [`UnlockError`]; [`UnlockError::Wait`] comes at once, nothing sleeps.
    pub async fn unlock(&self, with: UnlockWith, rollback: Rollback) -> Result<(), UnlockError> {
        if !self.is_locked() {
            return Ok(());
        }
        let means = with.means();
        let (_, header) = self.files.read()?;
        if means != header.kdf.means() {
            return Err(UnlockError::Means { needs: header.kdf.means() });
        }
        if means == Means::Passphrase {
            self.delay().begin(self.clock.boot()).map_err(|seconds| UnlockError::Wait { seconds })?;
        }
        let root = derive::root(with, header.kdf, header.salt).await?;
        // A write that is under way ends first: what is read is what will be there.
        let turn = self.writing.lock().await;
        let opened = self.install(root, means, rollback);
        drop(turn);
        match opened {
            Err(UnlockError::WrongPassphrase) => self.delay().wrong(self.clock.boot()),
            // What is found behind the right passphrase is not its guesser's fault.
            Ok(()) | Err(UnlockError::Damaged | UnlockError::RolledBack { .. } | UnlockError::HeadLost { .. }) => {
                self.delay().right();
            }
            Err(_) => {}
        }
        opened
    }

    /// Reads the file anew, under the lock: it may have changed while the passphrase was worked on.
    fn install(&self, root: Secret, means: Means, rollback: Rollback) -> Result<(), UnlockError> {
        let mut state = self.state();
        if state.is_some() {
            return Ok(());
        }
        let (file, header) = self.files.read()?;
        let contents = seal::unseal(&root, &file).map_err(|fault| self.told(fault, means))?;
        let mut open = Open { root, header, generation: contents.generation, entries: contents.entries, used: false };
        let head = self.files.head(&open.root)?;
        match (head::judge(open.generation, head), rollback) {
            (Ok(()), _) if head == Head::At(open.generation) => {}
            // A crash came between the two writes.
            (Ok(()), _) => self.files.save_head(&open.root, open.generation),
            (Err(fault), Rollback::Refuse) => return Err(fault),
            (Err(_), Rollback::Accept) => self.begin_anew(&mut open, head)?,
        }
        let mut quarantined = std::mem::take(&mut *self.quarantined());
        for entry in open.entries.values_mut() {
            entry.quarantine = quarantined.remove(&entry.mark());
        }
        *state = Some(open);
        Ok(())
    }

    fn begin_anew(&self, open: &mut Open, head: Head) -> Result<(), SaveError> {
        let known = match head {
            Head::At(known) => known,
            Head::Lost => 0,
        };
        open.generation = open.generation.max(known) + 1;
        self.files.save(&open.root, &open.header, open.generation, &open.entries)
    }

    fn told(&self, fault: UnsealError, means: Means) -> UnlockError {
        match (fault, means) {
            (UnsealError::Key, Means::Passphrase) => UnlockError::WrongPassphrase,
            (UnsealError::Key, Means::Key) => UnlockError::WrongKey,
            (UnsealError::Damaged | UnsealError::Header, _) => UnlockError::Damaged,
            (UnsealError::Page(fault), _) => UnlockError::Page(fault),
        }
    }

    fn delay(&self) -> MutexGuard<'_, Delay> {
        self.delay.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
