//! Long-lived keys: sealed in one file, and while unlocked in memory, each in a page of its own.
//! [`Vault::lend`] with a [`Permit`] is the only way to a key's bytes; nothing here may ever show, log or return them.
//!
//! The file's format, what it keeps from whom and a test vector are in the manual (`sixty manual vault-format`).

mod decoy;
mod delay;
mod derive;
mod entry;
mod error;
mod files;
mod head;
mod header;
mod seal;
mod state;
mod unlock;
mod write;

pub use derive::{Means, UnlockWith, create_key_file};
pub use entry::{Listed, Quarantine, fingerprint};
pub use error::{ChangeError, LendError, OpenError, SaveError, UnlockError};
pub use header::{Cost, HeaderError};
#[cfg(fuzzing)]
pub use seal::fuzz;
pub use unlock::Rollback;

use crate::{
    clock::Clock,
    model::{Fingerprint, KeyMeta, KeyName},
    policy::Permit,
    recipe::Limits,
    secret::Secret,
    sys::scrub,
};
use delay::Delay;
use entry::{Entry, KEY_MAX, Kept, Mark, Trap};
use files::Files;
use state::{Open, Since, State};
use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// The vault. Share it as `Arc<Vault>`; every call is short, but those that change keys wait for the disk, one at a time
/// and off the loop: loans go on meanwhile.
///
/// A name is not enough to see a key:
/// ```compile_fail,E0308
/// fn taken(vault: &sixty::vault::Vault, name: &sixty::model::KeyName) {
///     let _ = vault.lend(name, |key| key.to_vec());
/// }
/// ```
/// A permit is:
/// ```
/// fn measured(vault: &sixty::vault::Vault, permit: &sixty::policy::Permit) -> Option<usize> {
///     vault.lend(permit, |key| key.len()).ok()
/// }
/// ```
pub struct Vault {
    files: Files,
    clock: Clock,
    delay: Mutex<Delay>,
    /// Never held over a write.
    state: Arc<Mutex<State>>,
    /// Held by who writes, or reads what is written; taken before `state`.
    writing: Arc<tokio::sync::Mutex<()>>,
    /// Quarantines of the keys that are locked away, by what may be known of those. Taken under `state` alone.
    quarantined: Mutex<BTreeMap<Mark, Quarantine>>,
    /// Decoys of the keys that are locked away.
    traps: Mutex<Vec<Trap>>,
}

/// A change that is on the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// The key as it is now, or was to the end.
    pub key: Listed,
    /// The number of the write.
    pub generation: u64,
}

impl From<(Listed, u64)> for Changed {
    fn from((key, generation): (Listed, u64)) -> Self {
        Self { key, generation }
    }
}

impl Vault {
    /// A locked vault over the file `vault.sealed` at this path; its head is `vault.head` beside it.
    ///
    /// # Errors
    /// There is none, or its header can't be read.
    pub fn open(path: PathBuf, clock: Clock) -> Result<Self, OpenError> {
        let vault = Self::at(path, clock);
        vault.files.read()?;
        Ok(vault)
    }

    /// Lends a key's bytes for the length of one call. The closure must not call the vault: `lock` waits for it.
    ///
    /// # Errors
    /// Locked, unknown or in quarantine.
    pub fn lend<R>(&self, permit: &Permit, look: impl FnOnce(&[u8]) -> R) -> Result<R, LendError> {
        let key = self.key(permit)?;
        // Shown outside the mutex. Empty: locked since then, or the shield found no memory to unseal in.
        key.expose(|bytes| if bytes.is_empty() { Err(LendError::Locked) } else { Ok(look(bytes)) })
    }

    /// How many bytes [`Vault::lend`] would lend.
    ///
    /// # Errors
    /// As for `lend`.
    pub fn lend_length(&self, permit: &Permit) -> Result<usize, LendError> {
        match self.key(permit)?.len() {
            0 => Err(LendError::Locked),
            length => Ok(length),
        }
    }

    /// The provider of a key that would be lent.
    ///
    /// # Errors
    /// As for `lend`.
    pub fn provider(&self, permit: &Permit) -> Result<String, LendError> {
        self.with(|open| Ok(open.lent(permit)?.meta.provider.clone()))
    }

    /// Wipes every key and the vault's own from memory, names too, also those that are on their way in: an unlock or a
    /// change that has begun comes to nothing, unless it is being written already. Waits for loans to end: they last
    /// microseconds.
    pub fn lock(&self) {
        // Taken first, so that nobody has to wait for the mutex while a loan ends.
        let taken = {
            let mut state = self.state();
            if let Some(open) = state.open.as_ref() {
                *self.traps() = open.traps.iter().map(|(trap, _)| *trap).collect();
                *self.quarantined() = open.entries.values().filter_map(Entry::quarantined).collect();
            }
            state.lock()
        };
        taken.wipe();
    }

    /// Whether there is nothing to lend.
    pub fn is_locked(&self) -> bool {
        self.state().open.is_none()
    }

    /// The number of the last write, for the audit's record; none while locked.
    pub fn generation(&self) -> Option<u64> {
        self.state().open.as_ref().map(|open| open.generation)
    }

    /// All keys in the order of their names.
    ///
    /// # Errors
    /// Locked: then not even the names are known.
    pub fn list(&self) -> Result<Vec<Listed>, LendError> {
        self.with(|open| Ok(open.entries.values().map(Entry::listed).collect()))
    }

    /// What may be shown of one key.
    ///
    /// # Errors
    /// Locked or unknown.
    pub fn meta(&self, name: &KeyName) -> Result<Listed, LendError> {
        self.with(|open| open.entry(name).map(|entry| entry.listed()))
    }

    /// Adds a key. `created` and `fingerprint` are set here, whatever `meta` says; the recipe has checked the rest.
    ///
    /// # Errors
    /// The name is taken, a limit is reached, or it can't be written; the vault is then as it was.
    pub async fn put(&self, meta: KeyMeta, key: Secret, limits: Limits) -> Result<Changed, ChangeError> {
        let created = self.clock.wall();
        let (since, kept) = self.kept(key)?;
        self.change(since, |entries| {
            if entries.contains_key(&meta.name) {
                return Err(ChangeError::Exists(meta.name));
            }
            entry::room_for(&meta, entries, limits)?;
            let entry = kept.entry(KeyMeta { created, rotated: None, last_used: None, ..meta });
            let listed = entry.listed();
            entries.insert(entry.meta.name.clone(), entry);
            Ok(listed)
        })
        .await
        .map(Changed::from)
    }

    /// Puts another key in the place of one and lifts its quarantine. Loans that have begun end with the old one.
    ///
    /// # Errors
    /// Locked, unknown, or it can't be written; the old key then stays.
    pub async fn rotate(&self, name: &KeyName, key: Secret) -> Result<Changed, ChangeError> {
        let now = self.clock.wall();
        let (since, kept) = self.kept(key)?;
        self.change(since, |entries| {
            let old = entries.get_mut(name).ok_or_else(|| LendError::Unknown(name.clone()))?;
            *old = kept.entry(KeyMeta { rotated: Some(now), ..old.meta.clone() });
            Ok(old.listed())
        })
        .await
        .map(Changed::from)
    }

    /// Removes a key; its page is wiped when the last loan of it ends.
    ///
    /// # Errors
    /// Locked, unknown, or it can't be written; the key then stays.
    pub async fn remove(&self, name: &KeyName) -> Result<Changed, ChangeError> {
        self.change(self.now(), |entries| match entries.remove(name) {
            Some(entry) => Ok(entry.listed()),
            None => Err(LendError::Unknown(name.clone()).into()),
        })
        .await
        .map(Changed::from)
    }

    /// Stops lending a key that its provider refused. Nothing happens if it was rotated since: `refused` is the
    /// fingerprint that [`Vault::meta`] gave before the loan. If the vault was locked since, it counts from the unlock on.
    ///
    /// # Errors
    /// Unknown.
    pub fn quarantine(&self, name: &KeyName, refused: &Fingerprint, reason: &str) -> Result<(), LendError> {
        let quarantine = Quarantine { since: self.clock.wall(), reason: reason.to_owned() };
        match self.state().open.as_mut() {
            None => drop(self.quarantined().entry(entry::mark(name, refused)).or_insert(quarantine)),
            Some(open) => {
                let entry = open.entry(name)?;
                if entry.meta.fingerprint == *refused {
                    entry.quarantine.get_or_insert(quarantine);
                }
            }
        }
        Ok(())
    }

    /// Lends a key again.
    ///
    /// # Errors
    /// Locked or unknown.
    pub fn lift(&self, name: &KeyName) -> Result<(), LendError> {
        self.with(|open| {
            open.entry(name)?.quarantine = None;
            Ok(())
        })
    }

    /// A secret for one purpose of somebody else's, that only this vault makes, and always the same. It is of no use for
    /// opening the vault.
    ///
    /// # Errors
    /// Locked.
    pub fn derived(&self, purpose: &str) -> Result<Secret, LendError> {
        let root = self.with(|open| Ok(Arc::clone(&open.root)))?;
        let secret = scrub::apart(|| {
            let bytes = derive::subkey(&root, "sixty vault v1 for others", purpose.as_bytes())?;
            Secret::keep(&bytes).ok()
        });
        secret.ok_or(LendError::Locked)
    }

    /// Waits for what is being written; nothing more is until what this gives is dropped.
    pub async fn rest(&self) -> impl Send + use<> {
        self.writing.clone().lock_owned().await
    }

    /// Notes when a key was last used, in Unix seconds; written with the next change or by [`Vault::flush`].
    ///
    /// # Errors
    /// Locked or unknown.
    pub fn note_use(&self, name: &KeyName, at: u64) -> Result<(), LendError> {
        self.with(|open| {
            open.entry(name)?.meta.last_used = Some(at);
            open.used = true;
            Ok(())
        })
    }

    fn at(path: PathBuf, clock: Clock) -> Self {
        Self {
            files: Files::new(path),
            clock,
            delay: Mutex::default(),
            state: Arc::default(),
            writing: Arc::default(),
            quarantined: Mutex::default(),
            traps: Mutex::default(),
        }
    }

    fn key(&self, permit: &Permit) -> Result<Arc<Secret>, LendError> {
        self.with(|open| Ok(Arc::clone(&open.lent(permit)?.key)))
    }

    fn with<R>(&self, see: impl FnOnce(&mut Open) -> Result<R, LendError>) -> Result<R, LendError> {
        see(self.state().open.as_mut().ok_or(LendError::Locked)?)
    }

    /// A key in a page of its own, before anything is waited for: from here on a lock gets at it. What it came in is wiped.
    fn kept(&self, key: Secret) -> Result<(Since, Kept), ChangeError> {
        let since = {
            let state = self.state();
            // Not into a vault that is locked, where it would wait for its turn in vain.
            state.open.as_ref().ok_or(LendError::Locked)?;
            state.now()
        };
        let kept = key.expose(|bytes| match bytes.len() {
            1..=KEY_MAX => Kept::new(bytes).map_err(|fault| ChangeError::Save(fault.into())),
            found => Err(ChangeError::Length { found, max: KEY_MAX }),
        })?;
        self.state().hold(since, [&kept.key])?;
        Ok((since, kept))
    }

    fn now(&self) -> Since {
        self.state().now()
    }

    fn quarantined(&self) -> MutexGuard<'_, BTreeMap<Mark, Quarantine>> {
        self.quarantined.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
