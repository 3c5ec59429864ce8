//! How much a virtual key may use, and how fast. Plain data: it counts nothing.

use super::{Day, Pattern, Rate};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Bounds of what calls use; what is none has no bound.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Budget {
    /// Tokens, input and output.
    pub tokens: Option<u64>,
    /// Millionths of the owner's unit of money.
    pub cost_micros: Option<u64>,
    /// For what tokens and cost are.
    pub per: Per,
    /// How often a principal may call.
    pub calls: Option<Rate>,
    /// A principal's calls at the same time.
    pub concurrent: Option<u32>,
    /// Tokens of one answer.
    pub max_output: Option<u64>,
}

/// What has a budget of its own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Per {
    /// Each day in UTC anew.
    #[default]
    Day,
    /// Each month in UTC anew.
    Month,
    /// A lease, for all its life.
    Lease,
}

/// Whose budget for a day or a month it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Purse {
    /// A principal's, as its rule sees it.
    #[default]
    Principal,
    /// A key's, whoever uses it.
    Key,
    /// Of all keys of a workspace.
    Workspace,
    /// Of all keys of an owner.
    Owner,
}

/// A budget that many principals share: each name that fits has one of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedBudget {
    /// What the names are of; never a principal.
    pub purse: Purse,
    /// Which keys, workspaces or owners.
    pub names: Pattern,
    /// A day or a month; never a lease.
    pub per: Per,
    /// Tokens, input and output.
    pub tokens: Option<u64>,
    /// Millionths of the owner's unit of money.
    pub cost_micros: Option<u64>,
}

impl Budget {
    /// Whether a call's body must say what the call may use.
    pub fn weighs(&self) -> bool {
        self.tokens.is_some() || self.cost_micros.is_some() || self.max_output.is_some()
    }
}

impl Per {
    /// The first day of the window that a moment in Unix seconds lies in, and the seconds that are left of it. A lease has
    /// none.
    pub fn window(self, seconds: u64) -> Option<(Day, u32)> {
        let (today, left) = (Day::of(seconds), Day::left(seconds));
        match self {
            Per::Day => Some((today, left)),
            Per::Month => {
                let (before, after) = today.in_month();
                Some((today.before(before), left.saturating_add(after * 86_400)))
            }
            Per::Lease => None,
        }
    }
}

impl fmt::Display for Per {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Per::Day => "day",
            Per::Month => "month",
            Per::Lease => "lease",
        })
    }
}

impl fmt::Display for Purse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Purse::Principal => "principal",
            Purse::Key => "key",
            Purse::Workspace => "workspace",
            Purse::Owner => "owner",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_month_begins_on_its_first_day_and_lasts_to_the_next() {
        let at = |text: &str| text.parse::<jiff::Timestamp>().unwrap().as_second() as u64;
        let window = |per: Per, text| per.window(at(text)).map(|(first, left)| (first.to_string(), left));
        assert_eq!(window(Per::Month, "2028-02-29T23:59:59Z"), Some(("2028-02-01".into(), 1)));
        assert_eq!(window(Per::Month, "2026-12-01T00:00:00Z"), Some(("2026-12-01".into(), 31 * 86_400)));
        assert_eq!(window(Per::Day, "2026-12-31T23:59:00Z"), Some(("2026-12-31".into(), 60)));
        assert_eq!(window(Per::Lease, "2026-12-31T23:59:00Z"), None);
    }
}
