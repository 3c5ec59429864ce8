//! The ledger's book: slots, owners' lists, deadlines by the second, and what ended of late.
//! Every change goes through `enter` and `remove`, so that no list can forget a lease.

use super::{
    Ended, LedgerOptions,
    index::Index,
    rate::Rates,
    slots::{self, NONE, Slot, Slots},
    terms::{Shelf, Terms},
};
use crate::{
    clock::Boottime,
    model::{KeyName, Kind, LeaseId, LeaseSummary, Selector},
    sys::{chance, process::Process},
};
use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
};
use subtle::ConstantTimeEq;
use tokio::sync::watch;

/// A lease to be entered.
pub struct New {
    /// What it has in common with others.
    pub terms: Arc<Terms>,
    /// SHA-256 of a virtual key's token.
    pub digest: Option<[u8; 32]>,
    /// When it is over.
    pub deadline: Boottime,
    /// The same in Unix seconds, as the caller was told.
    pub expires_at: u64,
    /// Uses of a virtual key; none: no limit.
    pub uses: Option<u32>,
}

/// No room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    /// In all.
    #[error("all leases are out; raise `leases` under [limits]")]
    All,
    /// For this user.
    #[error("this user has all the leases that one may have; raise `leases_per_uid` under [limits]")]
    Uid,
    /// The kernel gave no random number.
    #[error("no random number for a lease's id")]
    Random,
}

/// Which leases to take back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    /// One.
    Id(LeaseId),
    /// One, if it is this user's.
    OwnId(LeaseId, u32),
    /// All of a key.
    Key(KeyName),
    /// All of principals with this selector.
    Peer(Selector),
    /// All.
    All,
}

/// What a revocation did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Revoked {
    /// Leases taken back.
    pub leases: usize,
    /// Of these, tokens that live on at the provider.
    pub upstream: usize,
    /// How long the last of them lives on, in seconds.
    pub upstream_seconds: u64,
}

/// Ended leases that `leases --all` still shows.
const REMEMBERED: usize = 1024;

pub(super) struct Book {
    options: LedgerOptions,
    pub(super) slots: Slots,
    index: Index,
    pub(super) shelf: Shelf,
    owners: Vec<Owner>,
    free_owners: Vec<u32>,
    /// The owner that was last taken under a process number.
    by_number: HashMap<u32, u32>,
    deadlines: BTreeMap<u64, Vec<u32>>,
    /// Leases and kept rooms of each user.
    per_uid: HashMap<u32, usize>,
    /// Rooms that are kept, of all users.
    rooms: usize,
    pub(super) ended: VecDeque<Entry>,
    /// By slot; a sender that is dropped cuts what runs on its lease.
    pub(super) cuts: HashMap<u32, watch::Sender<()>>,
    pub(super) rates: Rates,
}

struct Owner {
    process: Option<Process>,
    first: u32,
}

/// A lease as it is shown.
pub(super) struct Entry {
    id: LeaseId,
    pub(super) slot: Slot,
    terms: Arc<Terms>,
    owner_pid: Option<u32>,
    pub(super) state: &'static str,
}

impl Entry {
    fn summary(&self, now: Boottime) -> LeaseSummary {
        let left = Boottime::from_nanos(self.slot.deadline).since(now).as_secs();
        LeaseSummary {
            id: self.id,
            key: self.terms.key.clone(),
            kind: self.terms.kind,
            rule: self.terms.rule.clone(),
            expires_at: self.slot.expires_at,
            expires_in: if self.state == LIVE { u32::try_from(left).unwrap_or(u32::MAX) } else { 0 },
            uid: self.terms.uid,
            owner_pid: self.owner_pid,
            uses_left: (self.slot.uses != NONE).then_some(self.slot.uses),
            state: self.state,
        }
    }
}

const LIVE: &str = "live";

impl Book {
    pub(super) fn new(options: LedgerOptions) -> Self {
        Self {
            options,
            slots: Slots::new(),
            index: Index::new(),
            shelf: Shelf::default(),
            owners: Vec::new(),
            free_owners: Vec::new(),
            by_number: HashMap::new(),
            deadlines: BTreeMap::new(),
            per_uid: HashMap::new(),
            rooms: 0,
            ended: VecDeque::new(),
            cuts: HashMap::new(),
            rates: Rates::default(),
        }
    }

    pub(super) fn count(&self) -> usize {
        self.slots.live()
    }

    /// The number of this process as an owner, and whether it is a new one that must be watched.
    pub(super) fn own(&mut self, process: &Process) -> (u32, bool) {
        let known = self.by_number.get(&process.pid).copied();
        let known = known.filter(|number| self.process(*number).is_some_and(|known| known.is(process)));
        if let Some(number) = known {
            return (number, false);
        }
        let owner = Owner { process: Some(process.clone()), first: NONE };
        let number = match self.free_owners.pop() {
            Some(free) => {
                self.owners[free as usize] = owner;
                free
            }
            None => {
                self.owners.push(owner);
                (self.owners.len() - 1) as u32
            }
        };
        self.by_number.insert(process.pid, number);
        (number, true)
    }

    pub(super) fn take_room(&mut self, uid: u32) -> Result<(), Full> {
        if self.slots.live() + self.rooms >= self.options.leases {
            return Err(Full::All);
        }
        let count = self.per_uid.entry(uid).or_default();
        if *count >= self.options.leases_per_uid {
            return Err(Full::Uid);
        }
        *count += 1;
        self.rooms += 1;
        Ok(())
    }

    pub(super) fn give_room(&mut self, uid: u32) {
        self.rooms -= 1;
        self.leave(uid);
    }

    /// Enters a lease that room was kept for.
    pub(super) fn enter(&mut self, new: New, owner: Option<u32>) -> Result<LeaseId, Full> {
        let tag = tag()?;
        *self.per_uid.entry(new.terms.uid).or_default() += 1;
        let owner = owner.unwrap_or(NONE);
        let next = self.owners.get(owner as usize).map_or(NONE, |owner| owner.first);
        let second = second(new.deadline);
        let slot = Slot {
            digest: new.digest.unwrap_or_default(),
            deadline: new.deadline.nanos(),
            expires_at: new.expires_at,
            tag,
            terms: self.shelf.put(new.terms),
            owner,
            next,
            before: NONE,
            uses: new.uses.unwrap_or(NONE),
        };
        let number = self.slots.insert(slot);
        if let Some(digest) = new.digest {
            self.index.put(&digest, number);
        }
        if let Some(after) = self.slots.at_mut(next) {
            after.before = number;
        }
        if let Some(owner) = self.owners.get_mut(owner as usize) {
            owner.first = number;
        }
        self.deadlines.entry(second).or_default().push(number);
        Ok(slots::id(number, tag))
    }

    /// When the reaper must look next.
    pub(super) fn earliest(&self) -> Option<Boottime> {
        let (second, _) = self.deadlines.first_key_value()?;
        Some(Boottime::from_nanos(second.saturating_mul(NANOS)))
    }

    pub(super) fn reap(&mut self, now: Boottime, most: usize) -> Option<Boottime> {
        let mut left = most;
        while let Some(mut bucket) = self.deadlines.first_entry() {
            if bucket.key().saturating_mul(NANOS) > now.nanos() || left == 0 {
                break;
            }
            let numbers = bucket.get_mut();
            let batch = numbers.split_off(numbers.len().saturating_sub(left));
            if numbers.is_empty() {
                bucket.remove();
            }
            left -= batch.len();
            for number in batch {
                // A slot that was freed and taken again has a deadline of its own, and is in another bucket for it.
                if self.slots.at(number).is_some_and(|slot| slot.deadline <= now.nanos()) {
                    self.remove(number, "expired");
                }
            }
        }
        self.earliest()
    }

    pub(super) fn revoke(&mut self, which: &Which, wall: u64) -> Revoked {
        let chosen: Vec<u32> = match which {
            Which::Id(id) => self.slots.find(*id).into_iter().collect(),
            Which::OwnId(id, uid) => {
                let own = |number: &u32| self.terms(*number).is_some_and(|terms| terms.uid == *uid);
                self.slots.find(*id).filter(own).into_iter().collect()
            }
            Which::Key(key) => self.numbers(|terms| terms.key == *key),
            Which::Peer(selector) => {
                let text = selector.to_string();
                self.numbers(|terms| terms.peer.contains(&text))
            }
            Which::All => self.numbers(|_| true),
        };
        let mut revoked = Revoked { leases: chosen.len(), ..Default::default() };
        for number in chosen {
            let upstream = self.terms(number).is_some_and(|terms| terms.kind == Kind::Upstream);
            let slot = self.remove(number, "revoked");
            if upstream {
                revoked.upstream += 1;
                revoked.upstream_seconds = revoked.upstream_seconds.max(slot.expires_at.saturating_sub(wall));
            }
        }
        revoked
    }

    /// The owner has ended: its virtual leases are dead; upstream tokens live on and stay listed until their end.
    pub(super) fn bury(&mut self, owner: u32) {
        let Some(grave) = self.owners.get_mut(owner as usize) else { return };
        let mut number = std::mem::replace(&mut grave.first, NONE);
        let Some(process) = grave.process.take() else { return };
        // The number may be another process's by now.
        if self.by_number.get(&process.pid) == Some(&owner) {
            self.by_number.remove(&process.pid);
        }
        while let Some(slot) = self.slots.at_mut(number) {
            let next = std::mem::replace(&mut slot.next, NONE);
            (slot.before, slot.owner) = (NONE, NONE);
            if self.terms(number).is_some_and(|terms| terms.kind == Kind::Virtual) {
                self.remove(number, "revoked");
            }
            number = next;
        }
        self.free_owners.push(owner);
    }

    pub(super) fn list(&self, uid: Option<u32>, ended: Ended, now: Boottime) -> Vec<LeaseSummary> {
        let mine = |summary: &LeaseSummary| uid.is_none_or(|uid| summary.uid == uid);
        let live = self.slots.iter().filter(|(_, slot)| slot.deadline > now.nanos());
        let live = live.filter_map(|(number, slot)| Some(self.entry(number, slot, LIVE)?.summary(now)));
        let over = self.ended.iter().filter(|_| ended == Ended::Shown).map(|entry| entry.summary(now));
        live.chain(over).filter(mine).collect()
    }

    /// The slot of the virtual key with this digest, over or not.
    pub(super) fn with_digest(&self, digest: &[u8; 32]) -> Option<(u32, &Slot)> {
        let number = self.index.at(digest)?;
        let slot = self.slots.at(number)?;
        bool::from(slot.digest.ct_eq(digest)).then_some((number, slot))
    }

    /// The leases whose terms are wanted; asked once for all that have them in common.
    pub(super) fn numbers(&self, wanted: impl Fn(&Terms) -> bool) -> Vec<u32> {
        let terms = self.shelf.numbers(wanted);
        self.slots.iter().filter(|(_, slot)| terms.contains(&slot.terms)).map(|(number, _)| number).collect()
    }

    pub(super) fn process(&self, owner: u32) -> Option<&Process> {
        self.owners.get(owner as usize)?.process.as_ref()
    }

    fn terms(&self, number: u32) -> Option<&Terms> {
        self.shelf.at(self.slots.at(number)?.terms).map(AsRef::as_ref)
    }

    pub(super) fn remove(&mut self, number: u32, state: &'static str) -> Slot {
        let entry = self.slots.at(number).and_then(|slot| self.entry(number, slot, state));
        let slot = self.slots.remove(number);
        if let Some(after) = self.slots.at_mut(slot.next) {
            after.before = slot.before;
        }
        match self.slots.at_mut(slot.before) {
            Some(before) => before.next = slot.next,
            None => {
                if let Some(owner) = self.owners.get_mut(slot.owner as usize) {
                    owner.first = slot.next;
                }
            }
        }
        self.index.remove(&slot.digest, number);
        self.cuts.remove(&number);
        self.shelf.release(slot.terms);
        if let Some(entry) = entry {
            self.leave(entry.terms.uid);
            if self.ended.len() == REMEMBERED {
                self.ended.pop_front();
            }
            self.ended.push_back(entry);
        }
        slot
    }

    fn leave(&mut self, uid: u32) {
        if let Some(count) = self.per_uid.get_mut(&uid) {
            *count -= 1;
            if *count == 0 {
                self.per_uid.remove(&uid);
            }
        }
    }

    fn entry(&self, number: u32, slot: &Slot, state: &'static str) -> Option<Entry> {
        Some(Entry {
            id: slots::id(number, slot.tag),
            slot: slot.clone(),
            terms: self.shelf.at(slot.terms)?.clone(),
            owner_pid: self.process(slot.owner).map(|process| process.pid),
            state,
        })
    }
}

const NANOS: u64 = 1_000_000_000;

/// The second in which the reaper will find a deadline passed.
fn second(deadline: Boottime) -> u64 {
    deadline.nanos().div_ceil(NANOS)
}

fn tag() -> Result<u32, Full> {
    loop {
        match chance::number().map_err(|_| Full::Random)? as u32 {
            0 => {}
            tag => return Ok(tag),
        }
    }
}
