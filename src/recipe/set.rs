//! Values that a key brings along (`sixty key add --set name=value`), each checked by the recipe that asks for it.
//! None may change more than the one place it was made for.

use super::{Inject, Recipe, inject::InjectShape};
use serde::Deserialize;
use std::collections::BTreeMap;

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SetShape {
    /// What it is, for people: "the name of the resource".
    what: String,
    kind: SetKind,
    /// Left out: every key must say it.
    default: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum SetKind {
    /// One label of a DNS name.
    Label,
    /// Where the key stands: see [`Inject`].
    Inject,
}

/// A value of `--set` that cannot be right. The value is not quoted: a key may have been pasted in its place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SetFault {
    /// Nobody asked for it.
    #[error("provider `{provider}` knows no value `{name}`; it knows {known}")]
    Unknown {
        /// The provider.
        provider: String,
        /// What was given.
        name: String,
        /// What there is.
        known: String,
    },
    /// It is asked for.
    #[error("{provider} needs {what}: give --set {name}=…")]
    Missing {
        /// The provider.
        provider: String,
        /// What is missing.
        name: String,
        /// What it is.
        what: String,
    },
    /// It cannot stand where it should.
    #[error("--set {name}: {why}")]
    Value {
        /// Which.
        name: String,
        /// What is wrong with it.
        why: String,
    },
}

/// The values of one key.
pub(super) type Set = BTreeMap<String, String>;

impl Recipe {
    /// Whether a new key's values are all known, all there and all right.
    ///
    /// # Errors
    /// The operator's: the first that is not.
    pub fn check_set(&self, set: &Set) -> Result<(), SetFault> {
        if let Some(name) = set.keys().find(|name| !self.set.contains_key(*name)) {
            let known: Vec<_> = self.set.keys().map(String::as_str).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            return Err(SetFault::Unknown { provider: self.name.clone(), name: name.clone(), known });
        }
        self.set.keys().try_for_each(|name| self.value(name, set).map(drop))
    }

    /// One value, checked: the key's own, or the recipe's default.
    pub(super) fn value<'s>(&'s self, name: &str, set: &'s Set) -> Result<&'s str, SetFault> {
        let missing = |what: &str| SetFault::Missing {
            provider: self.name.clone(),
            name: name.to_owned(),
            what: what.to_owned(),
        };
        let shape = self.set.get(name).ok_or_else(|| missing("a value"))?;
        let value = set.get(name).or(shape.default.as_ref()).ok_or_else(|| missing(&shape.what))?;
        match shape.kind {
            SetKind::Label => label(value).map_err(str::to_owned),
            SetKind::Inject => value.parse::<Inject>().map(drop),
        }
        .map_err(|why| SetFault::Value { name: name.to_owned(), why })?;
        Ok(value)
    }

    /// Where a key with these values stands.
    pub(super) fn placed(&self, shape: &InjectShape, set: &Set) -> Result<Inject, SetFault> {
        match shape {
            InjectShape::Fixed(inject) => Ok(inject.clone()),
            InjectShape::Set(name) => {
                self.value(name, set)?.parse().map_err(|why| SetFault::Value { name: name.clone(), why })
            }
        }
    }
}

/// A label of RFC 1123, so that no value can lead to another domain.
fn label(text: &str) -> Result<(), &'static str> {
    let inner = text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if inner && (1..=63).contains(&text.len()) && !text.starts_with('-') && !text.ends_with('-') {
        return Ok(());
    }
    Err("it is one label of a host name: 1 to 63 letters, digits and -")
}

#[cfg(test)]
mod tests {
    use super::{super::tests::named, *};

    fn set(pairs: &[(&str, &str)]) -> Set {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_value_is_known_there_and_right() {
        let azure = named("azure-openai");
        assert_eq!(azure.check_set(&set(&[("resource", "my-resource")])), Ok(()));
        assert!(azure.check_set(&set(&[])).unwrap_err().to_string().contains("--set resource="));
        for evil in ["evil.example/", "a.b", "", "-a", "a-", "a@b", &"a".repeat(64)] {
            assert!(matches!(azure.check_set(&set(&[("resource", evil)])), Err(SetFault::Value { .. })), "{evil}");
        }
        let unknown = azure.check_set(&set(&[("resource", "a"), ("x", "sk-pasted")])).unwrap_err().to_string();
        assert!(unknown.contains("`x`") && unknown.contains("resource") && !unknown.contains("pasted"), "{unknown}");
    }

    #[test]
    fn a_generic_key_stands_where_its_owner_says() {
        let generic = named("generic");
        let at = |pairs: &[(&str, &str)]| generic.placed(&InjectShape::Set("inject".into()), &set(pairs));
        assert_eq!(at(&[]), Ok("authorization: Bearer".parse().unwrap()));
        assert_eq!(at(&[("inject", "xi-api-key")]), Ok("xi-api-key".parse().unwrap()));
        assert_eq!(at(&[("inject", "authorization: Token")]), Ok("authorization: Token".parse().unwrap()));
        assert!(at(&[("inject", "host")]).is_err());
        assert!(generic.check_set(&set(&[("inject", "content-length")])).is_err());
    }
}
