//! What a holder takes away from its virtual key when it derives a narrower one, and the names of such keys.
//! Every word of it can only take away: what is left out stays as it was.

use super::{LeaseId, Malformed, Object, Scope};
use serde::{Deserialize, Deserializer, Serialize};
use std::{fmt, num::NonZeroU32, str::FromStr};

/// One step of narrowing, as it stands in the key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Narrowing {
    /// Providers that may be called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub providers: Option<Vec<String>>,
    /// Calls that may be made.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "scope")]
    pub scope: Option<Scope>,
    /// How often this key, and all that is derived from it, may be used together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uses: Option<NonZeroU32>,
    /// Unix seconds at which it is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<u64>,
}

fn scope<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Scope>, D::Error> {
    Ok(Option::<Object<Scope>>::deserialize(from)?.map(|object| object.0))
}

/// The beginning of the SHA-256 of a virtual key: by it the key is found again.
pub type Mark = [u8; 16];
/// One narrower key among all that are derived from one virtual key.
pub type Node = [u8; 8];

/// The name of a narrower key: `nd_`, its virtual key's mark and its node, in hex. Not a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct NodeId {
    /// Of the virtual key that all began with.
    pub mark: Mark,
    /// Of this key.
    pub node: Node,
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nd_")?;
        self.mark.iter().chain(&self.node).try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for NodeId {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        let digits = text.strip_prefix("nd_").filter(|hex_| hex_.len() == 48 && hex_.bytes().all(hex));
        let digits = digits.ok_or_else(|| Malformed::new("a narrower key's id is nd_ and 48 hex digits"))?;
        let byte = |at: usize| u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).unwrap_or_default();
        Ok(Self { mark: std::array::from_fn(byte), node: std::array::from_fn(|at| byte(16 + at)) })
    }
}

impl Serialize for NodeId {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

/// What can be taken back by its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Revocable {
    /// A lease, and all keys that are derived from its own.
    Lease(LeaseId),
    /// A narrower key, and all that are derived from it.
    Node(NodeId),
}

impl fmt::Display for Revocable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Revocable::Lease(id) => id.fmt(f),
            Revocable::Node(id) => id.fmt(f),
        }
    }
}

impl FromStr for Revocable {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        match text.starts_with("nd_") {
            true => text.parse().map(Self::Node),
            false => text.parse().map(Self::Lease),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_and_nothing_else_does() {
        let id = NodeId { mark: [0xab; 16], node: [7; 8] };
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(id.to_string().parse(), Ok(Revocable::Node(id)));
        assert_eq!("ls_00000000000000ff".parse(), Ok(Revocable::Lease(LeaseId(255))));
        for bad in ["nd_", "nd_ABABABABABABABABABABABABABABABAB0707070707070707", "nd_é", "ls_1"] {
            assert!(bad.parse::<Revocable>().is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_not_understood_is_not_left_out() {
        let read = |text: &str| serde_json::from_str::<Narrowing>(text).is_ok();
        assert!(read("{}") && read(r#"{"scope":{"models":["qwen-*"]},"uses":1,"until":9,"providers":["a"]}"#));
        assert!(!read(r#"{"model":"x"}"#) && !read(r#"{"uses":0}"#) && !read(r#"{"scope":{"verbs":[]}}"#));
    }
}
