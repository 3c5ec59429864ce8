//! Decoys: entries that look like keys and are none. They are sealed with the keys, and known again by their hash, also
//! while the vault is locked. It must never tell a list which they are, nor keep such a hash of a key.

use super::{
    LendError, Vault,
    entry::{Listed, Trap, told},
};
use crate::model::{Fingerprint, KeyName};
use std::sync::{MutexGuard, PoisonError};

impl Vault {
    /// Whether there is a decoy of this name; nobody knows while the vault is locked.
    pub fn is_decoy(&self, name: &KeyName) -> bool {
        self.state().open.as_ref().is_some_and(|open| open.entries.get(name).is_some_and(|entry| entry.meta.decoy))
    }

    /// The decoy whose SHA-256 is, or begins with, this: its fingerprint, and its name unless that is locked away.
    pub fn trapped(&self, hash: &[u8]) -> Option<(Fingerprint, Option<KeyName>)> {
        let state = self.state();
        let Some(open) = state.open.as_ref() else {
            let traps = self.traps();
            return traps.iter().find(|trap| trap.starts_with(hash)).map(|trap| (told(trap), None));
        };
        let (trap, name) = open.traps.iter().find(|(trap, _)| trap.starts_with(hash))?;
        Some((told(trap), Some(name.clone())))
    }

    /// Whether anything shown is to be looked at.
    pub fn has_traps(&self) -> bool {
        let state = self.state();
        state.open.as_ref().map_or_else(|| !self.traps().is_empty(), |open| !open.traps.is_empty())
    }

    /// The decoys alone, in the order of their names.
    ///
    /// # Errors
    /// Locked.
    pub fn decoys(&self) -> Result<Vec<Listed>, LendError> {
        Ok(self.list()?.into_iter().filter(|listed| listed.decoy).collect())
    }

    pub(super) fn traps(&self) -> MutexGuard<'_, Vec<Trap>> {
        self.traps.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
