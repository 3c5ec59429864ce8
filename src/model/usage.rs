//! What one call used, in the same words for every provider. Never what was said in it.

use super::Malformed;
use serde::{Deserialize, Serialize};
use std::str::FromStr;

/// Tokens, and money where the provider tells it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Everything that was read: cached, put into a cache, or neither.
    pub input: u64,
    /// Everything that was written, also what was only thought.
    pub output: u64,
    /// Of the input, what came out of a cache.
    pub cached_input: u64,
    /// Of the input, what was put into a cache.
    pub cache_write: u64,
    /// Input and output, and whatever else the provider counts; never less than both together.
    pub total: u64,
    /// Of the output, what was thought and not said.
    pub reasoning: u64,
    /// Millionths of the provider's unit of money, when it says so itself.
    pub cost_micros: Option<u64>,
}

/// What sums of usage are told by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum By {
    /// Who pays for the key.
    Owner,
    /// Where its provider keeps it.
    Workspace,
    /// The key.
    Key,
    /// Who used it.
    Peer,
    /// The model.
    Model,
}

impl By {
    /// All of them, by name.
    pub const NAMES: [(&'static str, Self); 5] = [
        ("owner", Self::Owner),
        ("workspace", Self::Workspace),
        ("key", Self::Key),
        ("peer", Self::Peer),
        ("model", Self::Model),
    ];
}

impl FromStr for By {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let found = Self::NAMES.iter().find(|(name, _)| *name == text);
        found.map(|(_, by)| *by).ok_or_else(|| Malformed::new("by is owner, workspace, key, peer or model"))
    }
}
