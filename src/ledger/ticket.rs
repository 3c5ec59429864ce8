//! Tickets: each is redeemed once for the virtual key of its lease. A lease with a ticket that is not redeemed has no key.
//! It holds digests alone, and remembers a redeemed one for as long as its lease lives: a second try is a theft.

use super::{
    book::Book,
    index::Index,
    pass::{Held, Spent},
};
use crate::{clock::Boottime, model::LeaseId, wire::narrow::mark};
use std::collections::HashMap;
use subtle::ConstantTimeEq;

/// The tickets of live leases.
pub(super) struct Tickets {
    index: Index,
    by_slot: HashMap<u32, Ticket>,
}

/// A digest in two halves, and whether its ticket was redeemed.
pub(super) type Halves = (u128, u128, bool);

/// A digest as two numbers.
pub(super) fn halves(digest: &[u8; 32], redeemed: bool) -> Halves {
    let half = |half: &[u8]| half.iter().fold(0, |number, byte| number << 8 | u128::from(*byte));
    (half(&digest[..16]), half(&digest[16..]), redeemed)
}

/// The digest again.
pub(super) fn whole((first, second, _): Halves) -> [u8; 32] {
    let (first, second) = (first.to_be_bytes(), second.to_be_bytes());
    std::array::from_fn(|at| if at < 16 { first[at] } else { second[at - 16] })
}

struct Ticket {
    digest: [u8; 32],
    redeemed: bool,
}

impl Default for Tickets {
    fn default() -> Self {
        Self { index: Index::new(), by_slot: HashMap::new() }
    }
}

impl Tickets {
    pub(super) fn put(&mut self, digest: [u8; 32], number: u32) {
        self.index.put(&digest, number);
        self.by_slot.insert(number, Ticket { digest, redeemed: false });
    }

    /// Forgets the ticket of a lease that has ended.
    pub(super) fn remove(&mut self, number: u32) -> Option<[u8; 32]> {
        let Ticket { digest, .. } = self.by_slot.remove(&number)?;
        self.index.remove(&digest, number);
        Some(digest)
    }

    /// The ticket of a lease, as [`halves`].
    pub(super) fn left(&self, number: u32) -> Option<Halves> {
        self.by_slot.get(&number).map(|ticket| halves(&ticket.digest, ticket.redeemed))
    }

    /// Puts back what was left.
    pub(super) fn restore(&mut self, number: u32, left: Halves) {
        let digest = whole(left);
        self.index.put(&digest, number);
        self.by_slot.insert(number, Ticket { digest, redeemed: left.2 });
    }

    fn at(&self, digest: &[u8; 32]) -> Option<u32> {
        let number = self.index.at(digest)?;
        bool::from(self.by_slot.get(&number)?.digest.ct_eq(digest)).then_some(number)
    }
}

impl Book {
    /// The lease that a ticket is for, redeemed or not.
    pub(super) fn ticketed(&self, digest: &[u8; 32], now: Boottime) -> Result<Held, Spent> {
        let number = self.tickets.at(digest).ok_or_else(|| self.ended_as(digest))?;
        self.held_at(number, now)
    }

    /// Gives a lease the key that its ticket is redeemed for. The second time the lease ends.
    pub(super) fn redeem(&mut self, lease: LeaseId, key: [u8; 32], seal: [u8; 16], now: Boottime) -> Result<(), Spent> {
        let number = self.slots.find(lease).ok_or(Spent::Revoked)?;
        let ticket = self.tickets.by_slot.get_mut(&number).ok_or(Spent::Unknown)?;
        if ticket.redeemed {
            self.remove(number, "revoked");
            return Err(Spent::Redeemed);
        }
        let slot = self.slots.at_mut(number).ok_or(Spent::Revoked)?;
        if slot.deadline <= now.nanos() {
            return Err(Spent::Expired);
        }
        ticket.redeemed = true;
        slot.digest = mark(&key);
        slot.seal = seal;
        self.index.put(&key, number);
        Ok(())
    }
}
