//! The one header in which a provider takes its key. Never one that frames or routes a request.

use serde::Deserialize;
use std::str::FromStr;

/// A pinned place for a key, written `authorization: Bearer` or `x-api-key`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Inject {
    /// The header's name, lower-case.
    pub header: String,
    /// What stands before the key in it: a scheme and a space, or nothing.
    pub prefix: String,
}

/// Headers that say where a request goes, where it ends, or what it is.
const NEVER: [&str; 17] = [
    "accept",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "cookie",
    "date",
    "expect",
    "forwarded",
    "host",
    "keep-alive",
    "origin",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
];

impl FromStr for Inject {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (header, scheme) = match text.split_once(": ") {
            Some((header, scheme)) => (header, Some(scheme)),
            None => (text, None),
        };
        let letters = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
        let proxy = ["proxy-", "sec-", "x-forwarded-"].iter().any(|family| header.starts_with(family));
        if header.is_empty() || header.len() > 64 || !header.bytes().all(letters) || NEVER.contains(&header) || proxy {
            return Err(
                "a key stands in a header of its own, in small letters: authorization: Bearer, x-api-key".into()
            );
        }
        let word = |scheme: &str| {
            (1..=32).contains(&scheme.len()) && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        };
        match scheme {
            Some(scheme) if !word(scheme) => Err("before a key stands one word: authorization: Bearer".into()),
            scheme => {
                let prefix = scheme.map(|scheme| format!("{scheme} ")).unwrap_or_default();
                Ok(Self { header: header.to_owned(), prefix })
            }
        }
    }
}

impl TryFrom<String> for Inject {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// Written in a recipe: a place, or `{name}` of a value that is one.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "String")]
pub(super) enum InjectShape {
    Fixed(Inject),
    Set(String),
}

impl TryFrom<String> for InjectShape {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.strip_prefix('{').and_then(|text| text.strip_suffix('}')) {
            Some(name) => Ok(Self::Set(name.to_owned())),
            None => text.parse().map(Self::Fixed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_header_and_perhaps_a_scheme() {
        let read = |text: &str| text.parse::<Inject>().map(|inject| (inject.header, inject.prefix));
        assert_eq!(read("authorization: Bearer"), Ok(("authorization".into(), "Bearer ".into())));
        assert_eq!(read("x-goog-api-key"), Ok(("x-goog-api-key".into(), String::new())));
    }

    #[test]
    fn a_key_never_stands_where_a_request_is_framed_or_sent() {
        for bad in [
            "",
            "host",
            "content-length",
            "Transfer-Encoding",
            "x-api-key\r\nhost",
            "x api key",
            "proxy-authorization",
            "x-forwarded-host",
            "authorization:Bearer",
            "authorization: ",
            "authorization: Bearer x",
            "authorization: a\r",
        ] {
            assert!(bad.parse::<Inject>().is_err(), "{bad:?}");
        }
    }
}
