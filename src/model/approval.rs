//! The words of an approval: its name, and who gave it. Plain data; it approves nothing.

use super::{Malformed, hex::Hex};
use serde::Serialize;
use std::{fmt, str::FromStr};

/// The name of an approval that is waited for: not guessable in order, `ap_` and 16 hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ApprovalId(pub u64);

impl fmt::Display for ApprovalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ap_")?;
        f.write_str(Hex::from(self.0).as_str())
    }
}

impl FromStr for ApprovalId {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        text.strip_prefix("ap_")
            .filter(|hex| hex.len() == 16 && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)))
            .and_then(|hex| u64::from_str_radix(hex, 16).ok())
            .map(Self)
            .ok_or_else(|| Malformed::new("an approval's id is ap_ and 16 hex digits"))
    }
}

impl Serialize for ApprovalId {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

/// Who answered, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Approver {
    /// `control` (the socket, where `sixty approve` asks), `pinentry` or `askpass`.
    pub how: &'static str,
    /// The user.
    pub uid: u32,
    /// On the control socket the process.
    pub pid: Option<u32>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_and_nothing_else_does() {
        let id = ApprovalId(0x12ab);
        assert_eq!(id.to_string().parse::<ApprovalId>().unwrap(), id);
        for bad in ["", "ap_", "ls_00000000000012ab", "ap_00000000000012AB", "ap_+0000000000012ab"] {
            assert!(bad.parse::<ApprovalId>().is_err(), "{bad}");
        }
    }
}
