//! What one call used, in the same words for every provider. Never what was said in it.

use serde::{Deserialize, Serialize};

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
