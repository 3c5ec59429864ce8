//! What a look at one thing of this machine or its daemon came to.

use serde::Serialize;

/// How it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// As it should be.
    Good,
    /// It works, with less than it could have.
    Weak,
    /// It does not work.
    Bad,
}

/// One look.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// At what.
    pub about: &'static str,
    /// How it is.
    pub health: Health,
    /// What was seen.
    pub says: String,
    /// How to mend it; none where nothing is to be mended.
    pub advice: Option<String>,
}

impl Finding {
    /// Nothing to mend.
    pub fn good(about: &'static str, says: impl Into<String>) -> Self {
        Self { about, health: Health::Good, says: says.into(), advice: None }
    }

    /// It could be better.
    pub fn weak(about: &'static str, says: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { about, health: Health::Weak, says: says.into(), advice: Some(advice.into()) }
    }

    /// It does not work.
    pub fn bad(about: &'static str, says: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { about, health: Health::Bad, says: says.into(), advice: Some(advice.into()) }
    }
}
