//! Uses of virtual keys: who a key belongs to, the last use taken once, and the signal that cuts what runs on it.
//! A use is taken under the ledger's one lock, so that of many who race for the last one exactly one wins.

use super::{
    Claim, Over, Terms,
    book::Book,
    limit::{Line, lines},
};
use crate::{
    clock::Boottime,
    model::{Day, Kind, LeaseId},
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
    /// Whether it has one use left.
    pub last: bool,
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
    /// No use is left.
    #[error("the lease has no uses left")]
    Exhausted,
    /// A limit has no room.
    #[error(transparent)]
    Over(#[from] Over),
}

/// Ends when the lease does, however that comes about, and when the vault is locked.
#[derive(Clone)]
pub struct Cut(watch::Receiver<()>);

impl Cut {
    /// Returns when what runs on the lease must end.
    pub async fn wait(&mut self) {
        while self.0.changed().await.is_ok() {}
    }
}

impl Book {
    /// The lease of a virtual key with this digest.
    pub(super) fn held(&self, digest: &[u8; 32], now: Boottime) -> Result<Held, Spent> {
        let (number, slot) = self.with_digest(digest).ok_or_else(|| self.ended_as(digest))?;
        if slot.deadline <= now.nanos() {
            return Err(Spent::Expired);
        }
        Ok(Held {
            lease: super::slots::id(number, slot.tag),
            terms: self.shelf.at(slot.terms).ok_or(Spent::Unknown)?.clone(),
            owner: self.owners.process(slot.owner).cloned(),
            deadline: Boottime::from_nanos(slot.deadline),
            last: slot.uses == 1,
        })
    }

    /// Takes one use and holds what the call may use; all of it or nothing.
    pub(super) fn take_use(
        &mut self,
        lease: LeaseId,
        claim: &Claim,
        now: Boottime,
        wall: u64,
    ) -> Result<(Cut, Vec<Line>), Spent> {
        let number = self.slots.find(lease).ok_or(Spent::Revoked)?;
        let slot = self.slots.at_mut(number).ok_or(Spent::Revoked)?;
        if slot.deadline <= now.nanos() {
            return Err(Spent::Expired);
        }
        if slot.uses == 0 {
            return Err(Spent::Exhausted);
        }
        let terms = self.shelf.at(slot.terms).ok_or(Spent::Revoked)?;
        let lines = lines(terms, lease, claim, Day::of(wall));
        self.meter.fits(&lines, Day::left(wall))?;
        if let Some(rate) = terms.budget.calls {
            self.rates.take(&format!("calls of {}", terms.holder), rate, now).map_err(Over::Rate)?;
        }
        self.meter.hold(&lines, Day::of(wall));
        if slot.uses != super::slots::NONE {
            slot.uses -= 1;
        }
        let sender = self.cuts.entry(number).or_insert_with(|| watch::channel(()).0);
        Ok((Cut(sender.subscribe()), lines))
    }

    /// Gives back a use of which nothing came.
    pub(super) fn give_back(&mut self, lease: LeaseId) {
        let slot = self.slots.find(lease).and_then(|number| self.slots.at_mut(number));
        if let Some(slot) = slot.filter(|slot| slot.uses != super::slots::NONE) {
            slot.uses += 1;
        }
    }

    /// Takes back the virtual leases that the rules do not give any more.
    pub(super) fn retire(&mut self, keep: impl Fn(&Terms) -> bool) -> usize {
        let doomed = self.numbers(|terms| terms.kind == Kind::Virtual && !keep(terms));
        for number in &doomed {
            self.remove(*number, "revoked");
        }
        doomed.len()
    }

    /// Everything that runs on a lease ends; the leases themselves stay.
    pub(super) fn cut_all(&mut self) {
        self.cuts.clear();
    }

    /// How the key with this digest ended, if that is remembered.
    fn ended_as(&self, digest: &[u8; 32]) -> Spent {
        match self.ended.iter().rev().find(|entry| entry.slot.digest == *digest).map(|entry| entry.state) {
            Some("expired") => Spent::Expired,
            Some(_) => Spent::Revoked,
            None => Spent::Unknown,
        }
    }
}
