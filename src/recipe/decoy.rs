//! How a provider's keys look, as data, and one that looks so and is none. It must never make one that could be guessed.

use super::Recipe;
use crate::sys::scrub;
use serde::{Deserialize, Deserializer, de::Error};
use zeroize::Zeroizing;

/// `sk-{hex:32}`: text, and runs of random letters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Look(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Random(&'static [u8], usize),
}

/// The alphabets that there are.
const LETTERS: [(&str, &[u8]); 4] = [
    ("hex", b"0123456789abcdef"),
    ("letters", b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"),
    ("base62", b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"),
    ("base64url", b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"),
];
/// Random letters of one look: fewer could be met by chance.
const LEAST: usize = 24;
const MOST: usize = 512;

/// Why there is no decoy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoLook {
    /// The recipe does not say.
    #[error("nobody knows how a {0} key looks: its recipe has no `decoy` under [secret]")]
    Unknown(String),
    /// No random numbers.
    #[error("the kernel gives no random numbers")]
    Random,
}

impl Recipe {
    /// A text that looks like a key of this provider.
    ///
    /// # Errors
    /// See [`NoLook`].
    pub fn decoy(&self) -> Result<Zeroizing<Vec<u8>>, NoLook> {
        let Look(parts) = self.secret.decoy.as_ref().ok_or_else(|| NoLook::Unknown(self.name.clone()))?;
        let mut text = Zeroizing::new(Vec::with_capacity(MOST));
        scrub::apart(|| {
            for part in parts {
                match part {
                    Part::Text(known) => text.extend_from_slice(known.as_bytes()),
                    Part::Random(letters, count) => random(letters, *count, &mut text)?,
                }
            }
            Ok(text)
        })
    }
}

/// Each letter as likely as every other: bytes beyond the last whole run of the alphabet are drawn anew.
fn random(letters: &[u8], count: usize, text: &mut Vec<u8>) -> Result<(), NoLook> {
    let fair = 256 / letters.len() * letters.len();
    let end = text.len() + count;
    while text.len() < end {
        let mut bytes = Zeroizing::new([0_u8; 64]);
        getrandom::fill(&mut *bytes).map_err(|_| NoLook::Random)?;
        let drawn = bytes.iter().map(|byte| usize::from(*byte)).filter(|byte| *byte < fair);
        text.extend(drawn.take(end - text.len()).map(|byte| letters[byte % letters.len()]));
    }
    Ok(())
}

impl<'de> Deserialize<'de> for Look {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        let fault = "a decoy is text and runs of letters, at least 24 of them and at most 512: sk-{hex:32}; \
                     the letters are hex, letters, base62 and base64url";
        parsed(&text).ok_or_else(|| D::Error::custom(fault))
    }
}

fn parsed(text: &str) -> Option<Look> {
    let (mut parts, mut rest) = (Vec::new(), text);
    while let Some((known, behind)) = rest.split_once('{') {
        let (run, behind) = behind.split_once('}')?;
        let (name, count) = run.split_once(':')?;
        let letters = LETTERS.iter().find(|(known, _)| *known == name)?.1;
        parts.extend([Part::Text(known.to_owned()), Part::Random(letters, count.parse().ok()?)]);
        rest = behind;
    }
    parts.push(Part::Text(rest.to_owned()));
    let random = |part: &Part| if let Part::Random(_, count) = part { *count } else { 0 };
    let drawn = parts.iter().map(random).try_fold(0_usize, usize::checked_add)?;
    (drawn >= LEAST && drawn <= MOST - text.len().min(MOST)).then_some(Look(parts))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::tests::named;

    #[test]
    fn every_shipped_providers_decoy_passes_for_one_of_its_keys_and_no_two_are_alike() {
        for (name, recipe) in Recipe::shipped().unwrap() {
            let (one, other) = (recipe.decoy().unwrap(), recipe.decoy().unwrap());
            assert_eq!(recipe.check_key(&one), Ok(()), "{name}");
            assert_ne!(one, other, "{name}");
            assert_eq!(one.len(), other.len(), "{name}");
        }
        let github = named("github").decoy().unwrap();
        assert!(github.len() == 40 && github.starts_with(b"ghp_") && github[4..].iter().all(u8::is_ascii_alphanumeric));
        let hex = named("dashscope").decoy().unwrap();
        assert!(hex.len() == 35 && hex[3..].iter().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(b)));
        let openai = named("openai").decoy().unwrap();
        assert_eq!((openai.len(), &openai[82..90]), (164, &b"T3BlbkFJ"[..]));
    }

    #[test]
    fn a_look_that_could_be_met_by_chance_or_is_none_is_refused() {
        for bad in [
            "",
            "sk-",
            "sk-{hex:23}",
            "{hex:32",
            "{oct:32}",
            "{hex:x}",
            "{hex:600}",
            "hex:32}",
            "{hex:18446744073709551615}{hex:2}",
        ] {
            assert_eq!(parsed(bad), None, "{bad}");
        }
        assert!(parsed("a{hex:12}b{base62:12}c").is_some());
    }

    #[test]
    fn every_letter_of_an_alphabet_turns_up() {
        let mut text = Vec::new();
        random(LETTERS[3].1, 4000, &mut text).unwrap();
        assert!(text.len() == 4000 && LETTERS[3].1.iter().all(|letter| text.contains(letter)));
    }
}
