//! What is handed out. A `Lease` holds its token and is spent by the answer; a `LeaseSummary` may be shown.

use super::{KeyName, Kind, Malformed, Selector, hex::Hex};
use crate::secret::Secret;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// The name of a lease: not a secret, not guessable in order, `ls_` and 16 hex digits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LeaseId(pub u64);

impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ls_")?;
        f.write_str(Hex::from(self.0).as_str())
    }
}

impl FromStr for LeaseId {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        text.strip_prefix("ls_")
            .filter(|hex| hex.len() == 16 && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)))
            .and_then(|hex| u64::from_str_radix(hex, 16).ok())
            .map(Self)
            .ok_or_else(|| Malformed::new("a lease's id is ls_ and 16 hex digits"))
    }
}

impl Serialize for LeaseId {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for LeaseId {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(from)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A yes with its token. Moved into the answer and gone; neither copied nor shown.
#[must_use = "a lease that is not answered must be revoked"]
pub struct Lease {
    /// Its name.
    pub id: LeaseId,
    /// The key behind it.
    pub key: KeyName,
    /// The key's provider.
    pub provider: String,
    /// Who made the token.
    pub kind: Kind,
    /// The secret bytes.
    pub token: Secret,
    /// Whether they are a ticket, for which the key is given.
    pub ticket: bool,
    /// Unix seconds; never later than the provider's own.
    pub expires_at: u64,
    /// Whole seconds left when the answer was made, rounded down.
    pub expires_in: u32,
    /// Whether `revoke` kills the token itself.
    pub revocable: bool,
    /// Name → base URL to use the token with.
    pub base_urls: Vec<(String, String)>,
}

/// A lease as lists show it: without its token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LeaseSummary {
    /// Its name.
    pub id: LeaseId,
    /// The key behind it.
    pub key: KeyName,
    /// Who made the token.
    pub kind: Kind,
    /// The rule that allowed it.
    pub rule: String,
    /// Unix seconds.
    pub expires_at: u64,
    /// Whole seconds left.
    pub expires_in: u32,
    /// The user it was given to.
    pub uid: u32,
    /// The process it lives and dies with, for people to read; none when detached.
    pub owner_pid: Option<u32>,
    /// Whom a virtual key is good for instead of that process's own.
    #[serde(rename = "for", skip_serializing_if = "Option::is_none")]
    pub recipient: Option<Selector>,
    /// Uses left of a virtual key; none when unlimited or upstream.
    pub uses_left: Option<u32>,
    /// `live`, `revoked`, `expired` or `frozen`: ended because a stranger tried its key.
    pub state: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_and_nothing_else_does() {
        let id = LeaseId(0x12ab);
        assert_eq!(id.to_string().parse::<LeaseId>().unwrap(), id);
        for bad in ["", "ls_", "ls_00000000000012AB", "ls_+0000000000012ab", "00000000000012ab"] {
            assert!(bad.parse::<LeaseId>().is_err(), "{bad}");
        }
    }
}
