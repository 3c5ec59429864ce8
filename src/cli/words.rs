//! Single words of the command line, parsed; and the look-out for a secret among them.
//! It must never quote a word back that may be one.

use std::ffi::{OsStr, OsString};
use std::marker::PhantomData;
use std::str::FromStr;

use clap::builder::TypedValueParser;
use clap::error::ErrorKind;

use crate::model::{Malformed, Scope};

/// Said wherever a secret stands on the command line.
pub(super) const NO_SECRETS: &str = "a secret is never taken from the command line: it is in your shell's history now, \
    and `ps` shows it to everybody\n\n  tip: change that secret at its provider, then give the new one on stdin or at \
    the prompt";

/// How secrets of well-known providers begin, and ours and Model Studio's temporary ones.
const PREFIXES: [&str; 14] = [
    "sk-",
    "sk_",
    "st-",
    "sixty_",
    "gsk_",
    "hf_",
    "xai-",
    "AIza",
    "AKIA",
    "ghp_",
    "gho_",
    "github_pat_",
    "glpat-",
    "xoxb-",
];

/// Whether some word of the command line, or what follows its first `=`, looks like a key.
pub(super) fn holds_secret(words: impl IntoIterator<Item = OsString>) -> bool {
    words.into_iter().any(|word| {
        let text = word.to_string_lossy();
        looks_secret(&text) || text.split_once('=').is_some_and(|(_, value)| looks_secret(value))
    })
}

/// A known beginning, and after it what no name has: a digit or a capital among 8 or more letters, or very many.
fn looks_secret(text: &str) -> bool {
    let rest = PREFIXES.iter().find_map(|prefix| text.strip_prefix(prefix));
    rest.is_some_and(|rest| {
        let odd = rest.bytes().any(|byte| byte.is_ascii_digit() || byte.is_ascii_uppercase());
        !rest.contains('/') && (rest.len() >= 24 || odd && rest.len() >= 8)
    })
}

/// Parses with `FromStr`, and on a fault tells the fault without the word.
pub(super) struct Unquoted<T>(PhantomData<fn() -> T>);

impl<T> Default for Unquoted<T> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T> Clone for Unquoted<T> {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl<T: FromStr<Err = Malformed> + Clone + Send + Sync + 'static> TypedValueParser for Unquoted<T> {
    type Value = T;

    fn parse_ref(&self, command: &clap::Command, arg: Option<&clap::Arg>, word: &OsStr) -> Result<T, clap::Error> {
        let parsed = word.to_str().ok_or_else(|| Malformed("not text (UTF-8)".to_owned())).and_then(str::parse);
        parsed.map_err(|fault: Malformed| {
            let name = arg.map_or_else(String::new, ToString::to_string);
            command.clone().error(ErrorKind::ValueValidation, format!("{name}: {fault}"))
        })
    }
}

/// A place where people put a secret by mistake. Nothing can be put there.
#[derive(Clone, Debug)]
pub(super) struct NoSecret;

impl TypedValueParser for NoSecret {
    type Value = Self;

    fn parse_ref(&self, command: &clap::Command, _: Option<&clap::Arg>, _: &OsStr) -> Result<Self, clap::Error> {
        Err(command.clone().error(ErrorKind::TooManyValues, NO_SECRETS))
    }
}

/// `name=value`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pair(pub(super) String, pub(super) String);

impl FromStr for Pair {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let (name, value) = text
            .split_once('=')
            .filter(|(name, _)| !name.is_empty())
            .ok_or_else(|| Malformed("a value is set as name=value".to_owned()))?;
        Ok(Self(name.to_owned(), value.to_owned()))
    }
}

/// One value of one part of a scope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ScopeWord {
    Method(String),
    Path(String),
    Model(String),
}

impl FromStr for ScopeWord {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        match text.split_once('=') {
            Some(("methods", value)) => Ok(Self::Method(value.to_ascii_uppercase())),
            Some(("paths", value)) => Ok(Self::Path(value.to_owned())),
            Some(("models", value)) => Ok(Self::Model(value.to_owned())),
            _ => Err(Malformed("a scope is methods=…, paths=… or models=…".to_owned())),
        }
    }
}

/// Puts the words together; parts that nobody named stay open.
pub(super) fn scope(words: Vec<ScopeWord>) -> Option<Scope> {
    if words.is_empty() {
        return None;
    }
    let mut scope = Scope::default();
    for word in words {
        let (part, value) = match word {
            ScopeWord::Method(value) => (&mut scope.methods, value),
            ScopeWord::Path(value) => (&mut scope.paths, value),
            ScopeWord::Model(value) => (&mut scope.models, value),
        };
        part.get_or_insert_default().push(value);
    }
    Some(scope)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_seen_wherever_it_stands() {
        for word in [
            "sk-0123456789abcdef",
            "--set=secret=sk-0123456789abcdef",
            "secret=sk-proj-AbCdEfGh",
            "AKIAIOSFODNN7EXAMPLE",
        ] {
            let value = word.strip_prefix("--set=").unwrap_or(word);
            assert!(holds_secret([OsString::from(value)]), "{word}");
        }
    }

    #[test]
    fn names_that_begin_like_keys_are_names() {
        for word in ["sk-production", "dashscope/sk-2024-main", "sk-a/0123456789abcdef", "st-", "--scope=paths=/v1/*"] {
            assert!(!holds_secret([OsString::from(word)]), "{word}");
        }
    }

    #[test]
    fn a_scope_is_gathered_by_its_parts_and_the_others_stay_open() {
        let words = ["methods=post", "paths=/a=b", "methods=GET"].map(|word| word.parse().unwrap());
        let scope = scope(words.to_vec()).unwrap();
        assert_eq!(scope.methods.unwrap(), ["POST", "GET"]);
        assert_eq!(scope.paths.unwrap(), ["/a=b"]);
        assert_eq!(scope.models, None);
        assert!("verbs=GET".parse::<ScopeWord>().is_err());
    }
}
