//! Uses of virtual keys: who a key belongs to, the last use taken once, and the signal that cuts what runs on it.
//! A use is taken under the ledger's one lock, so that of many who race for the last one exactly one wins.

use super::{
    Chain, Over, Terms, Wanted,
    book::{Book, Entry},
    limit::{Line, lines},
    node::End,
};
use crate::{
    clock::{Boottime, Clock},
    model::{Kind, LeaseId, Node},
    policy::Taking,
    sys::process::Process,
};
use std::sync::Arc;
use tokio::sync::watch;

/// A live virtual key, as the ledger knows it.
pub struct Held {
    /// Its lease.
    pub lease: LeaseId,
    /// What it is good for.
    pub terms: Arc<Terms>,
    /// The process it lives and dies with; none when detached.
    pub owner: Option<Process>,
    /// When it is over.
    pub deadline: Boottime,
    /// The same in Unix seconds, as the caller was told.
    pub expires_at: u64,
    /// What its narrower keys are told by, sealed.
    pub seal: [u8; 16],
}

/// Why a virtual key is good for nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Spent {
    /// It never was one, or ended so long ago that nobody remembers.
    #[error("no lease has this key")]
    Unknown,
    /// Its deadline has passed.
    #[error("the lease is over")]
    Expired,
    /// It was taken back, or its owner ended.
    #[error("the lease was revoked")]
    Revoked,
    /// Its ticket was redeemed already; whoever tried again, somebody has it who should not.
    #[error("the ticket was redeemed before, so its lease was revoked")]
    Redeemed,
    /// More of its narrower keys would have to be counted than are.
    #[error("more narrower keys of the lease are counted than `narrowed_keys` allows")]
    Crowded,
    /// No use is left.
    #[error("the lease has no uses left")]
    Exhausted,
    /// Uses are left, and the call takes a key's last one alone.
    #[error("the call deletes, uploads or trains, and the lease has more than one use left")]
    NotLast,
    /// A limit has no room.
    #[error(transparent)]
    Over(#[from] Over),
}

/// What a call was given of a lease.
pub(super) struct Taken {
    pub(super) cut: Cut,
    pub(super) lines: Vec<Line>,
    pub(super) end: End,
}

/// Ends when the lease does, however that comes about, when the narrower key does, and when the vault is locked.
#[derive(Clone)]
pub struct Cut {
    pub(super) bell: watch::Receiver<Vec<Node>>,
    pub(super) chain: Chain,
    pub(super) clock: Clock,
}

impl Book {
    /// The lease of a virtual key with this digest.
    pub(super) fn held(&self, digest: &[u8; 32], now: Boottime) -> Result<Held, Spent> {
        let (number, _) = self.with_digest(digest).ok_or_else(|| self.ended_as(digest))?;
        self.held_at(number, now)
    }

    /// The lease in a slot, if it is not over.
    pub(super) fn held_at(&self, number: u32, now: Boottime) -> Result<Held, Spent> {
        let slot = self.slots.at(number).ok_or(Spent::Unknown)?;
        if slot.deadline <= now.nanos() {
            return Err(Spent::Expired);
        }
        Ok(Held {
            lease: super::slots::id(number, slot.tag),
            terms: self.shelf.at(slot.terms).ok_or(Spent::Unknown)?.clone(),
            owner: self.owners.process(slot.owner).cloned(),
            deadline: Boottime::from_nanos(slot.deadline),
            expires_at: slot.expires_at,
            seal: slot.seal,
        })
    }

    /// Takes one use and holds what the call may use; all of it or nothing.
    pub(super) fn take_use(
        &mut self,
        lease: LeaseId,
        chain: &Chain,
        wanted: &Wanted<'_>,
        clock: &Clock,
    ) -> Result<Taken, Spent> {
        let (now, wall) = (clock.boot(), clock.wall());
        let number = self.slots.find(lease).ok_or(Spent::Revoked)?;
        self.may_go(number, chain, now)?;
        let slot = self.slots.at_mut(number).ok_or(Spent::Revoked)?;
        if slot.deadline <= now.nanos() {
            return Err(Spent::Expired);
        }
        let over = Boottime::from_nanos(slot.deadline);
        let left = slot.uses.after(wanted.taking)?;
        let terms = self.shelf.at(slot.terms).ok_or(Spent::Revoked)?;
        let lines = lines(terms, lease, wanted, wall);
        self.meter.fits(&lines, wall)?;
        if let Some(rate) = terms.budget.calls {
            self.rates.take(&format!("calls of {}", terms.holder), rate, now).map_err(Over::Rate)?;
        }
        self.meter.hold(&lines, wall);
        slot.uses = left;
        self.go(number, chain);
        let bell = self.cuts.entry(number).or_insert_with(|| watch::Sender::new(Vec::new()));
        let until = chain.until.map_or(over, |until| until.min(over));
        let cut = Cut::new(bell, Chain { until: Some(until), ..chain.clone() }, clock.clone());
        self.look_by(until);
        Ok(Taken { cut, lines, end: self.ends.put(until, number) })
    }

    /// Gives back a use of which nothing came.
    pub(super) fn give_back(&mut self, lease: LeaseId, chain: &Chain, taking: Taking) {
        let Some(number) = self.slots.find(lease) else { return };
        self.come_back(number, chain);
        if let Some(slot) = self.slots.at_mut(number) {
            slot.uses = slot.uses.back(taking);
        }
    }

    /// Takes back the virtual leases that the rules do not give any more.
    pub(super) fn retire(&mut self, keep: impl Fn(&Terms) -> bool) -> usize {
        self.outdate_rooms();
        let doomed = self.numbers(|terms| terms.kind == Kind::Virtual && !keep(terms));
        for number in &doomed {
            self.remove(*number, "revoked");
        }
        doomed.len()
    }

    /// A stranger has the key: the lease ends. Whether it was live.
    pub(super) fn freeze(&mut self, lease: LeaseId) -> bool {
        let number = self.slots.find(lease);
        number.map(|number| self.remove(number, "frozen")).is_some()
    }

    /// The same for all leases of such terms.
    pub(super) fn freeze_all(&mut self, whose: impl Fn(&Terms) -> bool) -> usize {
        let coming = self.clear_rooms(&whose);
        let all = self.numbers(&whose);
        for number in &all {
            self.remove(*number, "frozen");
        }
        coming + all.len()
    }

    /// The same for all leases of one owner.
    pub(super) fn freeze_owned(&mut self, owner: &Process) -> usize {
        let at = |number| Some((number, self.slots.at(number)?.of_owner.next));
        let first = self.owners.first(owner).and_then(at);
        let all: Vec<u32> = std::iter::successors(first, |(_, next)| at(*next)).map(|(number, _)| number).collect();
        for number in &all {
            self.remove(*number, "frozen");
        }
        all.len()
    }

    /// Everything that runs on a lease or is on its way to be one ends; the leases themselves stay.
    pub(super) fn cut_all(&mut self) {
        self.cuts.clear();
        self.clear_rooms(|_| true);
    }

    /// How the key or the ticket with this digest ended, if that is remembered.
    pub(super) fn ended_as(&self, digest: &[u8]) -> Spent {
        let is_it = |entry: &&Entry| {
            digest.starts_with(&entry.slot.digest) || entry.ticket.as_ref().is_some_and(|ticket| ticket == digest)
        };
        match self.ended.iter().rev().find(is_it).map(|entry| entry.state) {
            Some("expired") => Spent::Expired,
            Some(_) => Spent::Revoked,
            None => Spent::Unknown,
        }
    }
}
