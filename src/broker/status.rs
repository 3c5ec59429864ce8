//! What the broker can tell of itself: counts and states, never a secret, a path of a caller or a policy reason.

use super::Broker;
use crate::{
    audit::AuditStatus,
    ledger::{Counts, Row},
    model::{Code, KeyName},
    recipe::ClientEnv,
};
use serde::Serialize;
use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
};

/// Counts since the start.
#[derive(Debug, Default)]
pub struct Counters {
    /// Tokens that reached their caller.
    pub sent: AtomicU64,
    /// Tokens whose caller was gone.
    pub lost: AtomicU64,
    /// Leases that ended because a stranger tried their key.
    pub frozen: AtomicU64,
    /// Refusals by code, in the order of `Code`.
    refused: [AtomicU64; Self::CODES.len()],
}

impl Counters {
    /// All codes.
    pub const CODES: [Code; 10] = [
        Code::Denied,
        Code::Locked,
        Code::Expired,
        Code::Revoked,
        Code::Exhausted,
        Code::Busy,
        Code::Malformed,
        Code::TooLarge,
        Code::Unavailable,
        Code::Upstream,
    ];

    /// The counter of a code.
    fn refused(&self, code: Code) -> &AtomicU64 {
        let place = Self::CODES.iter().position(|known| *known == code).unwrap_or_default();
        &self.refused[place]
    }
}

/// A snapshot.
#[derive(Debug, Serialize)]
pub struct Status {
    /// Keys and lock.
    pub vault: VaultStatus,
    /// Rules.
    pub policy: PolicyStatus,
    /// Live leases.
    pub leases: LeaseStatus,
    /// What waits for a person.
    pub approvals: ApprovalStatus,
    /// Records.
    pub audit: AuditStatus,
    /// Keys that their provider refused.
    pub quarantined: Vec<KeyName>,
    /// Keys that their provider sent back in an answer, and that were not rotated since.
    pub echoed: Vec<KeyName>,
    /// Counts since the start.
    pub answers: Answers,
}

/// Keys and lock.
#[derive(Debug, Serialize)]
pub struct VaultStatus {
    /// `open` or `locked`.
    pub state: &'static str,
    /// How many keys; none while locked.
    pub keys: Option<usize>,
    /// The number of the last write; none while locked.
    pub generation: Option<u64>,
}

/// Rules in force.
#[derive(Debug, Serialize)]
pub struct PolicyStatus {
    /// How many.
    pub rules: usize,
    /// How many budgets that principals share.
    pub budgets: usize,
    /// Unix seconds.
    pub loaded_at: u64,
    /// Why the last reload was not taken.
    pub fault: Option<String>,
}

/// Live leases.
#[derive(Debug, Serialize)]
pub struct LeaseStatus {
    /// How many.
    pub live: usize,
    /// How many ended since the start because a stranger tried their key.
    pub frozen: u64,
}

/// What waits for a person.
#[derive(Debug, Serialize)]
pub struct ApprovalStatus {
    /// Questions that nobody has answered.
    pub waiting: usize,
}

/// Counts since the start.
#[derive(Debug, Serialize)]
pub struct Answers {
    /// Tokens that reached their caller.
    pub sent: u64,
    /// Tokens whose caller was gone.
    pub lost: u64,
    /// By code.
    pub refused: BTreeMap<&'static str, u64>,
}

/// A provider as anybody may know it.
#[derive(Debug, Serialize)]
pub struct Provider {
    /// For people.
    pub title: String,
    /// What its clients read from their environment.
    pub client: ClientEnv,
}

impl Broker {
    /// All providers by name.
    pub fn providers(&self) -> BTreeMap<String, Provider> {
        let told = |(name, recipe): (String, std::sync::Arc<crate::recipe::Recipe>)| {
            (name, Provider { title: recipe.title.clone(), client: recipe.client.clone() })
        };
        self.0.issuer.recipes().into_iter().map(told).collect()
    }

    /// How the broker fares.
    pub fn status(&self) -> Status {
        let inner = &self.0;
        let policy = self.policy();
        let keys = inner.vault.list().ok();
        let refused = keys.iter().flatten().filter(|key| key.quarantine.is_some());
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Status {
            echoed: inner.echoes().iter().cloned().collect(),
            quarantined: refused.map(|key| key.meta.name.clone()).collect(),
            vault: VaultStatus {
                state: if inner.vault.is_locked() { "locked" } else { "open" },
                keys: keys.map(|keys| keys.len()),
                generation: inner.vault.generation(),
            },
            policy: PolicyStatus {
                rules: policy.rules.0.len(),
                budgets: policy.budgets.len(),
                loaded_at: policy.loaded_at,
                fault: policy.fault.clone(),
            },
            leases: LeaseStatus { live: inner.ledger.count(), frozen: read(&inner.counters.frozen) },
            approvals: ApprovalStatus { waiting: inner.approvals.count() },
            audit: inner.audit.status(),
            answers: Answers {
                sent: read(&inner.counters.sent),
                lost: read(&inner.counters.lost),
                refused: Counters::CODES
                    .iter()
                    .map(|code| (code.name(), read(inner.counters.refused(*code))))
                    .collect(),
            },
        }
    }

    /// What was used since the start, by key and model.
    pub fn series(&self) -> Vec<(Row, Counts)> {
        self.0.usage.series()
    }

    /// Counts a refusal that a caller is told.
    pub fn count_refusal(&self, code: Code) {
        self.0.counters.refused(code).fetch_add(1, Ordering::Relaxed);
    }
}
