//! Budgets that many principals share: which of them a call with some key is charged to, and what is spent of them. They
//! count by names alone, and give nobody anything.

use super::{Broker, Inner, Policy};
use crate::{
    ledger::{Share, Spending},
    model::{Budget, Day, KeyMeta, KeyName, Per, Purse},
    policy::Given,
};
use serde::Serialize;
use std::collections::BTreeMap;

/// All that bounds the calls of one virtual key.
#[derive(Debug, Clone, Default)]
pub(super) struct Bounds {
    /// The tightest of each kind: whether a call must be weighed goes by it.
    pub(super) budget: Budget,
    pub(super) shares: Vec<Share>,
}

/// A shared budget as it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BudgetStatus {
    /// Of a key, a workspace or an owner.
    pub of: Purse,
    /// Its name.
    pub name: String,
    /// A day or a month.
    pub per: Per,
    /// The first day, in UTC.
    pub since: Day,
    /// Tokens that may be used.
    pub tokens: Option<u64>,
    /// Tokens that were.
    pub tokens_spent: u64,
    /// Millionths that may be paid.
    pub cost_micros: Option<u64>,
    /// Millionths that were.
    pub cost_micros_spent: u64,
}

impl Inner {
    /// What bounds calls with this key beside the budget of their rule.
    pub(super) fn bounds(&self, policy: &Policy, key: &KeyName, budget: Budget) -> Bounds {
        let meta = || self.vault.meta(key).ok().map(|listed| listed.meta);
        let shares =
            if policy.budgets.is_empty() { Vec::new() } else { meta().map_or_else(Vec::new, |of| shares(policy, &of)) };
        let tighter = |all: Option<u64>, one: Option<u64>| all.into_iter().chain(one).min();
        let budget = shares.iter().fold(budget, |budget, share| Budget {
            tokens: tighter(budget.tokens, share.tokens),
            cost_micros: tighter(budget.cost_micros, share.cost_micros),
            ..budget
        });
        Bounds { budget, shares }
    }
}

/// The budgets that calls with a key are charged to.
fn shares(policy: &Policy, key: &KeyMeta) -> Vec<Share> {
    let name = |purse| match purse {
        Purse::Key => Some(key.name.as_str()),
        Purse::Workspace => key.place.workspace.as_deref(),
        Purse::Owner => key.owner.as_deref(),
        Purse::Principal => None,
    };
    let share = |budget: &crate::model::SharedBudget| {
        let name = name(budget.purse).filter(|name| budget.names.matches(name))?;
        let (purse, per, tokens, cost_micros) = (budget.purse, budget.per, budget.tokens, budget.cost_micros);
        Some(Share { purse, name: name.into(), per, tokens, cost_micros })
    };
    policy.budgets.iter().filter_map(share).collect()
}

impl Broker {
    /// All shared budgets of the keys that there are; none while the vault is locked.
    pub(super) fn budgets(&self) -> Vec<BudgetStatus> {
        let policy = self.policy();
        if policy.budgets.is_empty() {
            return Vec::new();
        }
        let keys = self.0.vault.list().unwrap_or_default();
        let shares = keys.iter().flat_map(|listed| shares(&policy, &listed.meta));
        self.standing(shares)
    }

    /// The shared budgets of one key, in words, as `why` tells a rule's.
    pub(super) fn shared_by(&self, key: &KeyName) -> Vec<Given> {
        let policy = self.policy();
        let bounds = self.0.bounds(&policy, key, Budget::default());
        self.standing(bounds.shares.into_iter()).iter().flat_map(told).collect()
    }

    /// What is spent of each, once for each name; of two bounds of the same the tighter one.
    fn standing(&self, shares: impl Iterator<Item = Share>) -> Vec<BudgetStatus> {
        let (wall, spendings) = (self.0.clock.wall(), self.0.ledger.spendings());
        let mut all: BTreeMap<(Purse, String, Per), BudgetStatus> = BTreeMap::new();
        for share in shares {
            let Some((since, _)) = share.per.window(wall) else { continue };
            let is_it = |spent: &&Spending| {
                (spent.purse, spent.per, spent.day) == (share.purse, share.per, since) && spent.holder == *share.name
            };
            let spent = spendings.iter().find(is_it);
            let status = all.entry((share.purse, share.name.to_string(), share.per)).or_insert_with(|| BudgetStatus {
                of: share.purse,
                name: share.name.to_string(),
                per: share.per,
                since,
                tokens: None,
                tokens_spent: spent.map_or(0, |spent| spent.tokens),
                cost_micros: None,
                cost_micros_spent: spent.map_or(0, |spent| spent.cost_micros),
            });
            status.tokens = status.tokens.into_iter().chain(share.tokens).min();
            status.cost_micros = status.cost_micros.into_iter().chain(share.cost_micros).min();
        }
        all.into_values().collect()
    }
}

fn told(status: &BudgetStatus) -> Vec<Given> {
    let (tokens, cost) = match status.of {
        Purse::Workspace => ("workspace.tokens", "workspace.cost"),
        Purse::Owner => ("owner.tokens", "owner.cost"),
        Purse::Key | Purse::Principal => ("key.tokens", "key.cost"),
    };
    let per = status.per;
    let bound = |spent: String, most: String| format!("{spent} of {most} a {per}");
    let tokens = status.tokens.map(|most| (tokens, bound(status.tokens_spent.to_string(), most.to_string())));
    let cost = status.cost_micros.map(|most| (cost, bound(money(status.cost_micros_spent), money(most))));
    tokens.into_iter().chain(cost).map(|(what, how)| Given { what, how }).collect()
}

fn money(micros: u64) -> String {
    let text = format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
