//! A long-lived key's name and what is known of it. Never holds the key itself.

use super::Malformed;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The name of a key: `provider/name`-like words of `a-z 0-9 . _ -`, joined by `/`, 1 to 128 bytes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KeyName(String);

impl KeyName {
    /// The longest name, in bytes.
    pub const MAX: usize = 128;

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for KeyName {
    type Error = Malformed;

    fn try_from(text: String) -> Result<Self, Malformed> {
        let word = |word: &str| {
            word.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
                && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b))
        };
        if text.len() > Self::MAX || !text.split('/').all(word) {
            // The text is not quoted: a key pasted in the place of its name must not reach a log.
            return Err(Malformed::new("not a key name: words of a-z 0-9 . _ - joined by /, at most 128 bytes"));
        }
        if ["sk-", "st-", "sixty_"].iter().any(|prefix| text.split('/').any(|word| word.starts_with(prefix))) {
            // A client that thinks it talks to the provider sends its key here: it must not become a name in the audit.
            return Err(Malformed::new("this looks like a key itself: say its name, and never send a key"));
        }
        if matches!(text.rsplit('/').next(), Some("rotate" | "test")) && text.contains('/') {
            return Err(Malformed::new("a key's name may not end in /rotate or /test: those are routes"));
        }
        Ok(Self(text))
    }
}

impl std::str::FromStr for KeyName {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        text.to_owned().try_into()
    }
}

impl From<KeyName> for String {
    fn from(name: KeyName) -> Self {
        name.0
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where a provider keeps a key; a key's rights are its workspace's.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Place {
    /// The provider's account, as the owner calls it.
    pub account: Option<String>,
    /// The provider's workspace; becomes a DNS label, so a recipe checks its letters.
    pub workspace: Option<String>,
    /// The provider's region, or the recipe's alias of it (`singapore`).
    pub region: Option<String>,
    /// Replaces the provider's host: `https://…`, or `http://` on loopback for stand-ins.
    pub endpoint: Option<String>,
}

/// The first 16 hex digits of the SHA-256 of a key: tells two keys apart, tells nothing of either.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Fingerprint(pub String);

/// All that may be shown of a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyMeta {
    /// Its name.
    pub name: KeyName,
    /// The provider's (recipe's) name.
    pub provider: String,
    /// Where the provider keeps it.
    #[serde(flatten)]
    pub place: Place,
    /// Who pays for it, as the owner calls them.
    pub owner: Option<String>,
    /// Unix seconds.
    pub created: u64,
    /// Unix seconds of the last rotation, if any.
    pub rotated: Option<u64>,
    /// Unix seconds of the last mint; kept in memory and written with the next change of the vault.
    pub last_used: Option<u64>,
    /// Tells whether two keys are the same.
    pub fingerprint: Fingerprint,
    /// Further values of `--set k=v`, as the recipe names them.
    #[serde(default)]
    pub set: std::collections::BTreeMap<String, String>,
    /// Whether it is no key but a trap: never lent, and an alarm when somebody tries. No list shows it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub decoy: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_in_place_of_a_name_is_not_quoted_back() {
        for secret in ["sk-ABCDEF", "sk-abcdef", "st-abcdef", "sixty_abcdef", "dashscope/sk-abcdef"] {
            let fault = secret.parse::<KeyName>().unwrap_err();
            assert!(!fault.to_string().to_lowercase().contains("abcdef"));
        }
    }

    #[test]
    fn names_are_words_joined_by_slashes() {
        for good in ["a", "dashscope/main", "a/b/c-1_2.3"] {
            assert_eq!(good.parse::<KeyName>().unwrap().as_str(), good);
        }
        for bad in ["", "/", "a/", "/a", "a//b", "A", "a b", "../x", "a/rotate", "a/test", &"a".repeat(129)] {
            assert!(bad.parse::<KeyName>().is_err(), "{bad}");
        }
    }
}
