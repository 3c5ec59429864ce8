//! The ledger's book: slots, owners' and users' lists, deadlines by the second, and what ended of late.
//! Every change goes through `enter` and `remove`, so that no list can forget a lease.

use super::{
    Ended, LedgerOptions, Listed, Page,
    deadlines::Deadlines,
    index::Index,
    limit::Meter,
    node::{Bell, Ends, Nodes},
    owners::Owners,
    rate::Rates,
    room::Rooms,
    slots::{self, Links, NONE, Slot, Slots, Uses},
    terms::{Shelf, Terms},
    ticket::Tickets,
};
use crate::{
    clock::Boottime,
    model::{Kind, LeaseId, LeaseSummary},
    sys::{chance, pidfd::Pidfd, process::Process},
    wire::narrow::mark,
};
use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};
use subtle::ConstantTimeEq;
use tokio::{sync::Notify, task::AbortHandle};

/// A lease to be entered.
pub struct New {
    /// What it has in common with others.
    pub terms: Arc<Terms>,
    /// SHA-256 of a virtual key's token.
    pub digest: Option<[u8; 32]>,
    /// What its narrower keys are told by, sealed.
    pub seal: [u8; 16],
    /// SHA-256 of a ticket, for which a key will be given.
    pub ticket: Option<[u8; 32]>,
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
    /// It was kept, and what it was kept for was taken back.
    #[error("the lease was taken back while it was minted")]
    Revoked,
    /// It was kept, and what it was kept for was judged by other rules than those of now.
    #[error("the rules changed while the lease was minted")]
    Rules,
}

/// Ended leases that `leases --all` still shows.
const REMEMBERED: usize = 1024;

pub(super) struct Book {
    pub(super) options: LedgerOptions,
    pub(super) slots: Slots,
    pub(super) index: Index,
    pub(super) shelf: Shelf,
    pub(super) owners: Owners,
    pub(super) deadlines: Deadlines,
    users: HashMap<u32, User>,
    pub(super) rooms: Rooms,
    pub(super) ended: VecDeque<Entry>,
    /// By slot; a sender that is dropped cuts what runs on its lease.
    pub(super) cuts: HashMap<u32, Bell>,
    /// Of leases whose narrower keys something is remembered of, by slot.
    pub(super) nodes: HashMap<u32, Nodes>,
    pub(super) ends: Ends,
    /// When the reaper looks next; none when it waits for a deadline.
    next_look: Option<Boottime>,
    /// Told when it must look before that.
    pub(super) earlier: Arc<Notify>,
    pub(super) tickets: Tickets,
    pub(super) rates: Rates,
    pub(super) meter: Meter,
}

struct User {
    /// Leases and kept rooms.
    count: usize,
    /// The newest lease.
    first: u32,
}

impl User {
    const NEW: Self = Self { count: 0, first: NONE };
}

/// A lease as it is shown.
pub(super) struct Entry {
    pub(super) id: LeaseId,
    pub(super) slot: Slot,
    pub(super) terms: Arc<Terms>,
    pub(super) owner_pid: Option<u32>,
    /// Of what was redeemed for its key, or would have been.
    pub(super) ticket: Option<[u8; 32]>,
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
            recipient: self.terms.recipient.clone(),
            uses_left: self.slot.uses.left(),
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
            owners: Owners::default(),
            deadlines: Deadlines::default(),
            users: HashMap::new(),
            rooms: Rooms::default(),
            ended: VecDeque::new(),
            cuts: HashMap::new(),
            nodes: HashMap::new(),
            ends: Ends::default(),
            tickets: Tickets::default(),
            next_look: None,
            earlier: Arc::default(),
            rates: Rates::default(),
            meter: Meter::default(),
        }
    }

    pub(super) fn count(&self) -> usize {
        self.slots.live()
    }

    /// Enters a lease that room was kept for. `watch` begins to wait for the end of an owner that is new.
    pub(super) fn enter(
        &mut self,
        new: New,
        owner: Option<Process>,
        watch: impl FnOnce(u32, Process) -> AbortHandle,
    ) -> Result<LeaseId, Full> {
        let tag = tag()?;
        let number = self.slots.insert(Slot {
            digest: new.digest.as_ref().map(mark).unwrap_or_default(),
            seal: new.seal,
            deadline: new.deadline.nanos(),
            expires_at: new.expires_at,
            tag,
            terms: NONE,
            owner: NONE,
            of_owner: Links::NONE,
            of_user: Links::NONE,
            uses: Uses::new(new.uses),
        });
        if let Some(digest) = new.digest {
            self.index.put(&digest, number);
        }
        if let Some(ticket) = new.ticket {
            self.tickets.put(ticket, number);
        }
        self.enlist(number, new.terms, owner, watch);
        Ok(slots::id(number, tag))
    }

    /// Puts a lease that has its slot into every list that it belongs to.
    pub(super) fn enlist(
        &mut self,
        number: u32,
        terms: Arc<Terms>,
        owner: Option<Process>,
        watch: impl FnOnce(u32, Process) -> AbortHandle,
    ) {
        let uid = terms.uid;
        let owner = owner.map_or(NONE, |process| self.owners.own(process, watch));
        let Some(slot) = self.slots.at_mut(number) else { return };
        (slot.terms, slot.owner) = (self.shelf.put(terms), owner);
        let deadline = slot.deadline;
        if let Some(owner) = self.owners.at_mut(owner) {
            self.slots.link(number, &mut owner.first, Slot::of_owner);
        }
        let user = self.users.entry(uid).or_insert(User::NEW);
        user.count += 1;
        self.slots.link(number, &mut user.first, Slot::of_user);
        let over = self.deadlines.put(deadline, number);
        self.look_by(over);
    }

    /// The reaper must look at this moment, if not before.
    pub(super) fn look_by(&mut self, when: Boottime) {
        if self.next_look.is_none_or(|next| when < next) {
            self.next_look = Some(when);
            self.earlier.notify_one();
        }
    }

    pub(super) fn reap(&mut self, now: Boottime, most: usize) -> Option<Boottime> {
        let mut left = most - self.ring_over(now, most);
        while left > 0
            && let Some(due) = self.deadlines.due(now, left, &self.slots)
        {
            left -= due.taken;
            for number in due.over {
                if self.slots.at(number).is_some() {
                    self.take_out(number, "expired");
                }
            }
        }
        self.next_look = [self.deadlines.earliest(), self.ends.earliest()].into_iter().flatten().min();
        self.next_look
    }

    /// The owner has ended: its virtual leases are dead; upstream tokens live on and stay listed until their end.
    pub(super) fn bury(&mut self, owner: u32, ended: &Arc<Pidfd>) {
        let Some(mut number) = self.owners.bury(owner, ended) else { return };
        while let Some(slot) = self.slots.at_mut(number) {
            let next = std::mem::replace(&mut slot.of_owner, Links::NONE).next;
            slot.owner = NONE;
            if self.terms(number).is_some_and(|terms| terms.kind == Kind::Virtual) {
                self.remove(number, "revoked");
            }
            number = next;
        }
    }

    /// One page of the leases of a user, or of all; none when the lease that it is to go on after has ended.
    pub(super) fn page(&self, uid: Option<u32>, page: Page, now: Boottime) -> Option<Listed> {
        let live = |found: &(u32, &Slot)| found.1.deadline > now.nanos();
        let found: Box<dyn Iterator<Item = (u32, &Slot)>> = match (uid, page.after) {
            (None, after) => Box::new(self.slots.iter_from(after.map_or(0, |id| slots::number(id).saturating_add(1)))),
            (Some(uid), None) => Box::new(self.of_user(uid)),
            (Some(uid), Some(id)) => {
                let own = |number: &u32| self.terms(*number).is_some_and(|terms| terms.uid == uid);
                Box::new(self.linked(self.slots.find(id).filter(own)?).skip(1))
            }
        };
        let mut found = found.filter(live).peekable();
        let shown = |(number, slot)| self.entry(number, slot, LIVE).map(|entry| entry.summary(now));
        let mut leases: Vec<LeaseSummary> = found.by_ref().take(page.most).filter_map(shown).collect();
        let next = leases.last().filter(|_| found.peek().is_some()).map(|last| last.id);
        if next.is_none() && page.ended == Ended::Shown {
            let of = |entry: &&Entry| uid.is_none_or(|uid| entry.terms.uid == uid);
            leases.extend(self.ended.iter().filter(of).map(|entry| entry.summary(now)));
        }
        Some(Listed { leases, next })
    }

    #[cfg(test)]
    pub(super) fn list(&self, uid: Option<u32>, ended: Ended, now: Boottime) -> Vec<LeaseSummary> {
        self.page(uid, Page { after: None, most: usize::MAX, ended }, now).map(|all| all.leases).unwrap_or_default()
    }

    /// A user's leases, the newest first.
    fn of_user(&self, uid: u32) -> impl Iterator<Item = (u32, &Slot)> {
        self.linked(self.users.get(&uid).map_or(NONE, |user| user.first))
    }

    /// A lease and those of its user that are older.
    fn linked(&self, first: u32) -> impl Iterator<Item = (u32, &Slot)> {
        let at = |number| Some((number, self.slots.at(number)?));
        std::iter::successors(at(first), move |(_, slot)| at(slot.of_user.next))
    }

    /// The slot of the virtual key with this digest, over or not.
    pub(super) fn with_digest(&self, digest: &[u8; 32]) -> Option<(u32, &Slot)> {
        let number = self.index.at(digest)?;
        let slot = self.slots.at(number)?;
        bool::from(slot.digest.ct_eq(&mark(digest))).then_some((number, slot))
    }

    /// The leases whose terms are wanted; asked once for all that have them in common.
    pub(super) fn numbers(&self, wanted: impl Fn(&Terms) -> bool) -> Vec<u32> {
        let terms = self.shelf.numbers(wanted);
        self.slots.iter().filter(|(_, slot)| terms.contains(&slot.terms)).map(|(number, _)| number).collect()
    }

    pub(super) fn terms(&self, number: u32) -> Option<&Terms> {
        self.shelf.at(self.slots.at(number)?.terms).map(AsRef::as_ref)
    }

    /// Ends a lease before its time.
    pub(super) fn remove(&mut self, number: u32, state: &'static str) -> Slot {
        let slot = self.take_out(number, state);
        self.deadlines.forget(slot.deadline, &self.slots);
        slot
    }

    /// The same for one that its deadline is forgotten of already.
    fn take_out(&mut self, number: u32, state: &'static str) -> Slot {
        let entry = self.slots.at(number).and_then(|slot| self.entry(number, slot, state));
        let slot = self.slots.remove(number);
        if let Some(owner) = self.owners.at_mut(slot.owner) {
            self.slots.unlink(slot.of_owner, &mut owner.first, Slot::of_owner);
            self.owners.let_go(slot.owner);
        }
        self.index.remove(&slot.digest, number);
        self.cuts.remove(&number);
        self.nodes.remove(&number);
        let ticket = self.tickets.remove(number);
        self.shelf.release(slot.terms);
        if let Some(entry) = entry.map(|entry| Entry { ticket, ..entry }) {
            self.meter.forget(entry.id);
            if let Some(user) = self.users.get_mut(&entry.terms.uid) {
                self.slots.unlink(slot.of_user, &mut user.first, Slot::of_user);
            }
            self.leave(entry.terms.uid);
            self.note_end(entry);
        }
        slot
    }

    /// Remembers for a while how a lease ended.
    pub(super) fn note_end(&mut self, entry: Entry) {
        if self.ended.len() == REMEMBERED {
            self.ended.pop_front();
        }
        self.ended.push_back(entry);
    }

    /// Leases and kept rooms of a user.
    pub(super) fn of_uid(&self, uid: u32) -> usize {
        self.users.get(&uid).map_or(0, |user| user.count)
    }

    pub(super) fn join(&mut self, uid: u32) {
        self.users.entry(uid).or_insert(User::NEW).count += 1;
    }

    pub(super) fn leave(&mut self, uid: u32) {
        if let Some(user) = self.users.get_mut(&uid) {
            user.count -= 1;
            if user.count == 0 {
                self.users.remove(&uid);
            }
        }
    }

    fn entry(&self, number: u32, slot: &Slot, state: &'static str) -> Option<Entry> {
        Some(Entry {
            id: slots::id(number, slot.tag),
            slot: slot.clone(),
            terms: self.shelf.at(slot.terms)?.clone(),
            owner_pid: self.owners.pid(slot.owner),
            ticket: None,
            state,
        })
    }
}

fn tag() -> Result<u32, Full> {
    loop {
        match chance::number().map_err(|_| Full::Random)? as u32 {
            0 => {}
            tag => return Ok(tag),
        }
    }
}
