//! The lines of an estate: what leases have in common, and one of each lease. Plain data, and how a lease becomes a line
//! and a line a lease. No field may hold a token.

use crate::{
    ledger::{
        Spending,
        book::Entry,
        node,
        slots::{self, Links, NONE, Slot, Uses},
        terms::{Held, Terms},
        ticket::{self, Halves},
    },
    model::LeaseId,
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The second line: what leases have in common.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Common {
    /// When it was written, in nanoseconds since boot.
    pub(super) at: u64,
    pub(super) terms: Vec<Held>,
    pub(super) owners: Vec<Living>,
    /// When whose bucket is full again.
    pub(super) rates: Vec<(String, u64)>,
    /// Of the budgets of days and months.
    pub(super) spent: Vec<Spending>,
    /// Lines that follow, of leases that live.
    pub(super) leases: usize,
    /// And behind those, of leases that ended of late.
    pub(super) ended: usize,
}

/// A process that was alive.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Living {
    pub(super) pid: u32,
    pub(super) began: u64,
}

/// One lease, a line each. What most lack is left out.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Lease {
    pub(super) id: LeaseId,
    pub(super) digest: u128,
    pub(super) seal: u128,
    pub(super) deadline: u64,
    pub(super) expires_at: u64,
    /// Among the terms.
    pub(super) terms: usize,
    /// Among the owners.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) owner: Option<usize>,
    pub(super) uses: Uses,
    /// The ticket's digest in two halves, and whether it was redeemed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) ticket: Option<Halves>,
    /// Narrower keys with their counted uses, and those that were taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) narrowed: Option<node::Left>,
    /// Tokens and cost of its own budget.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) spent: Option<(u64, u64)>,
    /// How one ended that has, and which process it belonged to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) ended: Option<(State, Option<u32>)>,
}

/// How a lease ended.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum State {
    Expired,
    Revoked,
    Frozen,
}

impl State {
    pub(super) const ALL: [Self; 3] = [Self::Expired, Self::Revoked, Self::Frozen];

    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::Frozen => "frozen",
        }
    }
}

impl Lease {
    pub(super) fn of(id: LeaseId, slot: &Slot) -> Self {
        Self {
            id,
            digest: u128::from_be_bytes(slot.digest),
            seal: u128::from_be_bytes(slot.seal),
            deadline: slot.deadline,
            expires_at: slot.expires_at,
            uses: slot.uses,
            ..Self::default()
        }
    }

    pub(super) fn slot(&self) -> Slot {
        Slot {
            digest: self.digest.to_be_bytes(),
            seal: self.seal.to_be_bytes(),
            deadline: self.deadline,
            expires_at: self.expires_at,
            tag: slots::tag(self.id),
            terms: NONE,
            owner: NONE,
            of_owner: Links::NONE,
            of_user: Links::NONE,
            uses: self.uses,
        }
    }

    pub(super) fn entry(&self, terms: Arc<Terms>, (state, owner_pid): (State, Option<u32>)) -> Entry {
        let ticket = self.ticket.map(ticket::whole);
        Entry { id: self.id, slot: self.slot(), terms, owner_pid, ticket, state: state.word() }
    }
}
