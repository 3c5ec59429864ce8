//! What the vault has in memory, and how a lock gets at all of it: also at what is on its way in.
//! It must never let in what began before the last lock, nor forget a page that somebody may still hold.

use super::{
    LendError, SaveError,
    entry::{Entries, Entry, Trap},
    files::Sealed,
    header::Header,
};
use crate::{model::KeyName, policy::Permit, secret::Secret};
use std::sync::{Arc, Weak};

/// The vault's memory.
#[derive(Default)]
pub(super) struct State {
    pub(super) open: Option<Open>,
    locks: u64,
    /// Every secret that the vault made and that somebody may still hold: it, a loan, a change that waits for the disk.
    pub(super) pages: Vec<Weak<Secret>>,
}

/// When something began, counted in locks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Since(u64);

/// A lock came after it had begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Overtaken;

/// What an unlocked vault has.
pub(super) struct Open {
    pub(super) root: Arc<Secret>,
    pub(super) header: Header,
    pub(super) generation: u64,
    pub(super) entries: Entries,
    /// Of the decoys among them: every request asks for these, and mostly there are none.
    pub(super) traps: Vec<(Trap, KeyName)>,
    /// Whether a use was noted since the last write.
    pub(super) used: bool,
}

/// What a lock takes away: the pages are wiped when this is.
#[must_use = "what is only dropped is wiped when its last holder lets go"]
pub(super) struct Taken {
    open: Option<Open>,
    pages: Vec<Weak<Secret>>,
}

impl State {
    /// Now.
    pub(super) fn now(&self) -> Since {
        Since(self.locks)
    }

    /// Whether no lock came since.
    ///
    /// # Errors
    /// Locked meanwhile.
    pub(super) fn stands(&self, since: Since) -> Result<(), Overtaken> {
        if since == self.now() { Ok(()) } else { Err(Overtaken) }
    }

    /// Takes note of secrets that are on their way in: a lock wipes them too.
    ///
    /// # Errors
    /// Locked meanwhile; they must be dropped.
    pub(super) fn hold<'a>(
        &mut self,
        since: Since,
        secrets: impl IntoIterator<Item = &'a Arc<Secret>>,
    ) -> Result<(), Overtaken> {
        self.stands(since)?;
        self.pages.retain(|page| page.strong_count() > 0);
        self.pages.extend(secrets.into_iter().map(Arc::downgrade));
        Ok(())
    }

    /// Takes all away. Nothing that has begun comes to anything.
    pub(super) fn lock(&mut self) -> Taken {
        self.locks += 1;
        Taken { open: self.open.take(), pages: std::mem::take(&mut self.pages) }
    }
}

impl Taken {
    /// Wipes every page, whoever holds it. Waits for loans to end.
    pub(super) fn wipe(self) {
        self.pages.iter().filter_map(Weak::upgrade).for_each(|page| page.wipe());
        drop(self.open);
    }
}

impl Open {
    pub(super) fn new(root: Arc<Secret>, header: Header, generation: u64, entries: Entries) -> Self {
        let traps = traps(&entries);
        Self { root, header, generation, entries, traps, used: false }
    }

    /// Its own key, and all that it keeps.
    pub(super) fn secrets(&self) -> impl Iterator<Item = &Arc<Secret>> {
        std::iter::once(&self.root).chain(self.entries.values().map(|entry| &entry.key))
    }

    /// As it is written.
    pub(super) fn sealed(&self) -> Result<Sealed, SaveError> {
        Sealed::new(&self.root, &self.header, self.generation, &self.entries)
    }

    pub(super) fn entry(&mut self, name: &KeyName) -> Result<&mut Entry, LendError> {
        self.entries.get_mut(name).ok_or_else(|| LendError::Unknown(name.clone()))
    }

    pub(super) fn lent(&mut self, permit: &Permit) -> Result<&Entry, LendError> {
        match self.entry(permit.key())? {
            // Whoever comes so far hears what they would of no key at all.
            entry if entry.meta.decoy => Err(LendError::Unknown(entry.meta.name.clone())),
            entry if entry.quarantine.is_none() => Ok(entry),
            entry => Err(LendError::Quarantined(entry.meta.name.clone())),
        }
    }

    /// Takes a change. What it did not touch has news of its own by now: uses, quarantines.
    pub(super) fn become_of(&mut self, mut entries: Entries) {
        for (name, entry) in &mut entries {
            if let Some(now) = self.entries.get(name).filter(|now| Arc::ptr_eq(&now.key, &entry.key)) {
                *entry = now.clone();
            }
        }
        self.traps = traps(&entries);
        self.entries = entries;
    }
}

fn traps(entries: &Entries) -> Vec<(Trap, KeyName)> {
    entries.values().filter_map(|entry| Some((entry.trap?, entry.meta.name.clone()))).collect()
}
