//! How a vault comes to be, and how it is opened. It must never say yes to an older vault unless told to by name, and
//! never wait under a lock.

use super::{
    Open, OpenError, SaveError, Since, UnlockError, Vault,
    delay::Delay,
    derive::{self, Means, UnlockWith},
    entry::Entries,
    files::{Files, Sealed},
    head::{self, Head},
    header::{Cost, Header, Kdf},
    seal::{self, UnsealError},
    write::Turn,
};
use crate::{clock::Clock, secret::Secret, sys::scrub};
use std::{
    path::PathBuf,
    sync::{Arc, MutexGuard, PoisonError},
};
use zeroize::Zeroizing;

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
        let root = Arc::new(derive::root(with, kdf, header.salt).await?);
        header.check = seal::check_value(&root).ok_or(SaveError::Gone)?;
        let open = Open::new(root, header, 1, Entries::new());
        vault.files.write(&open.sealed()?)?;
        let since = vault.now();
        vault.state().hold(since, open.secrets())?;
        vault.state().open = Some(open);
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
    /// wrong from the beginning until it proved right: so nobody tries two at a time. A lock that comes meanwhile wins.
    ///
    /// # Errors
    /// See [`UnlockError`]; [`UnlockError::Wait`] comes at once, nothing sleeps.
    pub async fn unlock(&self, with: UnlockWith, rollback: Rollback) -> Result<(), UnlockError> {
        let since = self.now();
        if !self.is_locked() {
            return Ok(());
        }
        let (means, files) = (with.means(), self.files.clone());
        let (_, header) = scrub::beside(move || files.read()).await??;
        if means != header.kdf.means() {
            return Err(UnlockError::Means { needs: header.kdf.means() });
        }
        if means == Means::Passphrase {
            self.delay().begin(self.clock.boot()).map_err(|seconds| UnlockError::Wait { seconds })?;
        }
        let root = Arc::new(derive::root(with, header.kdf, header.salt).await?);
        let opened = self.opened(Opening { since, root, means, rollback }).await;
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

    /// Reads the files anew: they may have changed while the passphrase was worked on.
    async fn opened(&self, opening: Opening) -> Result<(), UnlockError> {
        self.state().hold(opening.since, [&opening.root])?;
        // A write that is under way ends first: what is read is what will be there.
        let turn = self.writing.clone().lock_owned().await;
        if !self.is_locked() {
            return Ok(());
        }
        let files = self.files.clone();
        let found = scrub::beside(move || Found::read(&files)).await??;
        let (open, due) = self.unsealed(&opening, &found)?;
        let _turn = match due {
            None => turn,
            Some(due) => self.written(due, turn).await?,
        };
        self.install(opening.since, open)
    }

    /// What the files hold, and what must be written before it counts. From here on a lock gets at its pages.
    fn unsealed(&self, opening: &Opening, found: &Found) -> Result<(Open, Option<Sealed>), UnlockError> {
        let mut state = self.state();
        state.stands(opening.since)?;
        let contents = seal::unseal(&opening.root, &found.file).map_err(|fault| told(fault, opening.means))?;
        let (root, header, generation) = (opening.root.clone(), found.header, contents.generation);
        let mut open = Open::new(root, header, generation, contents.entries);
        let head = found.head.as_ref().map_or(Head::Lost, |bytes| head::read(&open.root, bytes));
        let due = match (head::judge(generation, head), opening.rollback) {
            (Ok(()), _) if head == Head::At(generation) => None,
            // A crash came between the two writes.
            (Ok(()), _) => Some(Sealed::head(&open.root, generation)?),
            (Err(fault), Rollback::Refuse) => return Err(fault),
            (Err(_), Rollback::Accept) => {
                open.generation = generation.max(head.number()) + 1;
                Some(open.sealed()?)
            }
        };
        state.hold(opening.since, open.secrets())?;
        Ok((open, due))
    }

    /// The turn goes along: it ends with the write, though nobody waits for it any more.
    async fn written(&self, due: Sealed, turn: Turn) -> Result<Turn, UnlockError> {
        let files = self.files.clone();
        let (written, turn) = scrub::beside(move || (files.write(&due), turn)).await?;
        Ok(written.map(|()| turn)?)
    }

    fn install(&self, since: Since, mut open: Open) -> Result<(), UnlockError> {
        let mut state = self.state();
        state.stands(since)?;
        let mut quarantined = std::mem::take(&mut *self.quarantined());
        for entry in open.entries.values_mut() {
            entry.quarantine = quarantined.remove(&entry.mark());
        }
        state.open = Some(open);
        Ok(())
    }

    fn delay(&self) -> MutexGuard<'_, Delay> {
        self.delay.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An unlock whose key is there.
struct Opening {
    since: Since,
    root: Arc<Secret>,
    means: Means,
    rollback: Rollback,
}

/// What lies on the disk. Nothing in it is secret.
struct Found {
    file: Zeroizing<Vec<u8>>,
    header: Header,
    head: Option<Zeroizing<Vec<u8>>>,
}

impl Found {
    fn read(files: &Files) -> Result<Self, UnlockError> {
        let (file, header) = files.read()?;
        Ok(Self { file, header, head: files.head()? })
    }
}

fn told(fault: UnsealError, means: Means) -> UnlockError {
    match (fault, means) {
        (UnsealError::Key, Means::Passphrase) => UnlockError::WrongPassphrase,
        (UnsealError::Key, Means::Key) => UnlockError::WrongKey,
        (UnsealError::Damaged | UnsealError::Header, _) => UnlockError::Damaged,
        (UnsealError::Page(fault), _) => UnlockError::Page(fault),
    }
}
