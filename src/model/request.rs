//! What is asked for. Never says whether it may be had.

use super::{KeyName, Malformed, Object, Pattern, Selector, Ttl};
use serde::{Deserialize, Deserializer, Serialize};
use std::{num::NonZeroU32, str::FromStr};

/// One wish for a lease, as the caller put it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// Which key.
    pub key: KeyName,
    /// Left out: the rule's first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<Kind>,
    /// Left out: the rule's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<Ttl>,
    /// Never answer with a token that has fewer seconds to live. Left out: a third of the ttl.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_remaining: Option<u32>,
    /// How often a virtual key may be used; left out: the rule's maximum.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uses: Option<NonZeroU32>,
    /// Whose life the lease shares; left out, the caller's, or nobody's where the lease is for somebody else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Owner>,
    /// Narrows what a virtual key is good for.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "scope")]
    pub scope: Option<Scope>,
    /// Whom a virtual key is good for instead of the owner's processes.
    #[serde(default, rename = "for", skip_serializing_if = "Option::is_none")]
    pub recipient: Option<Selector>,
    /// Whether a ticket is given in the key's place, which the recipient redeems once.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ticket: bool,
}

/// Who made the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(try_from = "String", rename_all = "lowercase")]
pub enum Kind {
    /// Minted by the provider; cannot be narrowed or revoked.
    Upstream,
    /// Minted by us; good only at our gateway.
    Virtual,
}

impl Kind {
    /// As in JSON, config and tables.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Upstream => "upstream",
            Kind::Virtual => "virtual",
        }
    }
}

impl FromStr for Kind {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        match text {
            "upstream" => Ok(Kind::Upstream),
            "virtual" => Ok(Kind::Virtual),
            _ => Err(Malformed::new("a kind is upstream or virtual")),
        }
    }
}

impl TryFrom<String> for Kind {
    type Error = Malformed;

    fn try_from(text: String) -> Result<Self, Malformed> {
        text.parse()
    }
}

/// The process whose life a lease shares.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", rename_all = "lowercase")]
pub enum Owner {
    /// The process that asked.
    #[default]
    Caller,
    /// The caller's nearest ancestor that is not `sixty` itself.
    Parent,
    /// Nobody: lives until its deadline; the rule must allow it.
    Detached,
}

impl TryFrom<String> for Owner {
    type Error = Malformed;

    fn try_from(text: String) -> Result<Self, Malformed> {
        match text.as_str() {
            "caller" => Ok(Owner::Caller),
            "parent" => Ok(Owner::Parent),
            "detached" => Ok(Owner::Detached),
            _ => Err(Malformed::new("an owner is caller, parent or detached")),
        }
    }
}

/// What a virtual key is good for; an absent list allows all, an empty one nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Scope {
    /// HTTP methods in capitals.
    #[serde(deserialize_with = "patterns", skip_serializing_if = "Option::is_none")]
    pub methods: Option<Vec<String>>,
    /// Patterns of the provider's paths.
    #[serde(deserialize_with = "patterns", skip_serializing_if = "Option::is_none")]
    pub paths: Option<Vec<String>>,
    /// Patterns of model names.
    #[serde(deserialize_with = "patterns", skip_serializing_if = "Option::is_none")]
    pub models: Option<Vec<String>>,
}

/// Entries of one list of a scope, at most.
const SCOPE_ENTRIES: usize = 32;

/// A list that the gateway can match in bounded time, and the ledger can keep: few entries, each a [`Pattern`].
fn patterns<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Vec<String>>, D::Error> {
    let list = Option::<Vec<String>>::deserialize(from)?;
    let entries = list.as_deref().unwrap_or_default();
    if entries.len() > SCOPE_ENTRIES || entries.iter().any(|entry| entry.parse::<Pattern>().is_err()) {
        return Err(serde::de::Error::custom("a scope's list has at most 32 patterns"));
    }
    Ok(list)
}

fn scope<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Scope>, D::Error> {
    Ok(Option::<Object<Scope>>::deserialize(from)?.map(|object| object.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_is_small_and_made_of_patterns() {
        let read = |models: &str| serde_json::from_str::<Scope>(&format!(r#"{{"models":{models}}}"#)).is_ok();
        assert!(read(r#"["qwen-*"]"#) && read("[]") && read("null"));
        assert!(!read(r#"["********** *"]"#) && !read(&format!("[{:?}]", "a".repeat(257))));
        assert!(!read(&format!("{:?}", vec!["a"; 33])));
    }
}
