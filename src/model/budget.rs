//! How much a virtual key may use, and how fast. Plain data: it counts nothing.

use super::Rate;

/// Bounds of what calls use; what is none has no bound.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
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
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Per {
    /// A principal, and each day in UTC anew.
    #[default]
    Day,
    /// A lease, for all its life.
    Lease,
}

impl Budget {
    /// Whether a call's body must say what the call may use.
    pub fn weighs(&self) -> bool {
        self.tokens.is_some() || self.cost_micros.is_some() || self.max_output.is_some()
    }
}
