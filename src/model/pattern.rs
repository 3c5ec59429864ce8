//! Patterns with `*` over key names, units, paths and models. Never a regular expression: a rule must be readable.

use super::Malformed;
use std::{fmt, str::FromStr};

/// Text in which `*` stands for any run of letters without `/`, and `**` for any run at all. Case matters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(String);

impl Pattern {
    /// Whether the whole of `text` fits.
    pub fn matches(&self, text: &str) -> bool {
        fits(self.0.as_bytes(), text.as_bytes())
    }

    /// The pattern as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Pattern {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        if text.is_empty() || text.len() > 256 || text.contains("***") || text.matches('*').count() > 8 {
            return Err(Malformed::new(
                "a pattern is 1 to 256 bytes with at most eight stars; * stops at /, ** does not",
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Greedy-free matching; the number of stars is bounded by the parser, so the work is too.
fn fits(pattern: &[u8], text: &[u8]) -> bool {
    match pattern {
        [] => text.is_empty(),
        [b'*', b'*', rest @ ..] => (0..=text.len()).any(|n| fits(rest, &text[n..])),
        [b'*', rest @ ..] => {
            let reach = text.iter().position(|b| *b == b'/').unwrap_or(text.len());
            (0..=reach).any(|n| fits(rest, &text[n..]))
        }
        [letter, rest @ ..] => text.first() == Some(letter) && fits(rest, &text[1..]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_star_stops_at_a_slash_and_two_do_not() {
        let fits = |pattern: &str, text| pattern.parse::<Pattern>().unwrap().matches(text);
        assert!(fits("dashscope/*", "dashscope/main"));
        assert!(!fits("dashscope/*", "dashscope/a/b"));
        assert!(fits("dashscope/**", "dashscope/a/b"));
        assert!(fits("*", "main") && !fits("*", "a/b"));
        assert!(fits("qwen-*", "qwen-plus") && !fits("qwen-*", "gwen-plus"));
        assert!(!fits("dashscope/main", "dashscope/main2"));
        assert!("".parse::<Pattern>().is_err() && "a***".parse::<Pattern>().is_err());
    }
}
