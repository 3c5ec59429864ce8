//! Proof of one yes. Only `judge` makes it, and minting spends it.

use super::{Approve, Risky, Taking};
use crate::{
    clock::Boottime,
    model::{Budget, KeyName, Kind, Owner, Rate, Scope, Selector, Ttl},
};
use std::time::Duration;

/// One judgement in the caller's favour, good for one lease.
///
/// It cannot be made elsewhere, copied, or used twice:
///
/// ```compile_fail
/// let forged = sixty::policy::Permit { key: "a".parse().unwrap() };
/// ```
///
/// ```compile_fail
/// fn copied(permit: sixty::policy::Permit) -> (sixty::policy::Permit, sixty::policy::Permit) {
///     (permit, permit)
/// }
/// ```
///
/// ```compile_fail
/// fn cloned(permit: &sixty::policy::Permit) -> sixty::policy::Permit {
///     Clone::clone(permit)
/// }
/// ```
#[must_use = "a permit that is not spent was judged for nothing"]
pub struct Permit {
    pub(super) key: KeyName,
    pub(super) rule: String,
    pub(super) kind: Kind,
    pub(super) ttl: Ttl,
    pub(super) min_remaining: u32,
    pub(super) uses: Option<u32>,
    pub(super) owner: Owner,
    pub(super) recipient: Option<Selector>,
    pub(super) ticket: bool,
    pub(super) scopes: Vec<Scope>,
    pub(super) risky: Risky,
    pub(super) budget: Budget,
    pub(super) share: Option<Duration>,
    pub(super) rate: Option<Rate>,
    pub(super) holder: String,
    pub(super) takes: Taking,
    pub(super) approve: Approve,
    pub(super) judged: Boottime,
}

impl Permit {
    /// The key that may be used.
    pub fn key(&self) -> &KeyName {
        &self.key
    }
    /// The rule that said yes.
    pub fn rule(&self) -> &str {
        &self.rule
    }
    /// Who makes the token.
    pub fn kind(&self) -> Kind {
        self.kind
    }
    /// The life that the lease may have at most, already capped by the rule.
    pub fn ttl(&self) -> Ttl {
        self.ttl
    }
    /// Seconds that the token must still have when it is answered.
    pub fn min_remaining(&self) -> u32 {
        self.min_remaining
    }
    /// Uses of a virtual key, already capped; none: no limit.
    pub fn uses(&self) -> Option<u32> {
        self.uses
    }
    /// Whose life the lease shares.
    pub fn owner(&self) -> Owner {
        self.owner
    }
    /// Whom a virtual key is good for instead of the owner's processes.
    pub fn recipient(&self) -> Option<&Selector> {
        self.recipient.as_ref()
    }
    /// Whether the recipient redeems a ticket for it.
    pub fn ticket(&self) -> bool {
        self.ticket
    }
    /// What a virtual key is good for: every one of these must allow it.
    pub fn scopes(&self) -> &[Scope] {
        &self.scopes
    }
    /// What it takes to make a risky call.
    pub fn risky(&self) -> Risky {
        self.risky
    }
    /// How much a virtual key may use.
    pub fn budget(&self) -> &Budget {
        &self.budget
    }
    /// How long the token may be given to further principals of the rule.
    pub fn share(&self) -> Option<Duration> {
        self.share
    }
    /// How often the holder may ask.
    pub fn rate(&self) -> Option<Rate> {
        self.rate
    }
    /// The principal as this rule sees it: the rule, the uid and the values of the facts that it names.
    /// Rates are counted, and tokens shared, by this.
    pub fn holder(&self) -> &str {
        &self.holder
    }
    /// Which of a virtual key's uses it is good for.
    pub fn takes(&self) -> Taking {
        self.takes
    }
    /// Whether a person must say yes before it is spent.
    pub fn approve(&self) -> Approve {
        self.approve
    }
    /// When the judgement was made.
    pub fn judged(&self) -> Boottime {
        self.judged
    }
}
