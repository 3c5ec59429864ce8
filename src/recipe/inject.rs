//! The one header in which a provider takes its key. Never one that frames or routes a request.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Deserialize;
use std::str::FromStr;

/// A pinned place for a key, written `authorization: Bearer`, `x-api-key` or `authorization: Basic USER`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Inject {
    /// The header's name, lower-case.
    pub header: String,
    /// What stands before the key in it: a scheme and a space, or nothing.
    pub prefix: String,
    /// How the key itself is written.
    pub encoding: Encoding,
}

/// How a key is written in its header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// As it is.
    Plain,
    /// As the password of HTTP's Basic scheme, RFC 7617. The user's name and its colon have a multiple of three bytes, so
    /// that their base64 stands before the key's, and the key is written alone.
    Base64,
}

impl Encoding {
    /// Bytes that a key of so many is written in.
    pub fn length(self, key: usize) -> usize {
        match self {
            Self::Plain => key,
            Self::Base64 => key.div_ceil(3) * 4,
        }
    }

    /// Writes a key into a place of just its length; whether it fits.
    pub fn write(self, key: &[u8], place: &mut [u8]) -> bool {
        if self.length(key.len()) != place.len() {
            return false;
        }
        match self {
            Self::Plain => {
                place.copy_from_slice(key);
                true
            }
            Self::Base64 => STANDARD.encode_slice(key, place).is_ok(),
        }
    }
}

/// Headers in which clients put keys, whatever the provider: the virtual key is looked for in each.
pub const KEY_HEADERS: [&str; 8] = [
    "authorization",
    "x-api-key",
    "api-key",
    "x-goog-api-key",
    "xi-api-key",
    "x-auth-token",
    "private-token",
    "proxy-authorization",
];

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

/// Whether a header's name is written as it must be, and is none that frames, routes or describes a request.
pub(super) fn stands_alone(header: &str) -> bool {
    let letters = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
    let family = ["proxy-", "sec-", "x-forwarded-"].iter().any(|family| header.starts_with(family));
    (1..=64).contains(&header.len()) && header.bytes().all(letters) && !NEVER.contains(&header) && !family
}

impl FromStr for Inject {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (header, scheme) = match text.split_once(": ") {
            Some((header, scheme)) => (header, Some(scheme)),
            None => (text, None),
        };
        if !stands_alone(header) {
            return Err(
                "a key stands in a header of its own, in small letters: authorization: Bearer, x-api-key".into()
            );
        }
        let word = |scheme: &str| {
            (1..=32).contains(&scheme.len()) && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        };
        if let Some(user) = scheme.and_then(|scheme| scheme.strip_prefix("Basic ")) {
            if !word(user) || !(user.len() + 1).is_multiple_of(3) {
                return Err(
                    "Basic goes with a user's name of 2, 5, 8, … letters: authorization: Basic x-access-token".into()
                );
            }
            let prefix = format!("Basic {}", STANDARD.encode(format!("{user}:")));
            return Ok(Self { header: header.to_owned(), prefix, encoding: Encoding::Base64 });
        }
        match scheme {
            Some(scheme) if !word(scheme) => Err("before a key stands one word: authorization: Bearer".into()),
            scheme => {
                let prefix = scheme.map(|scheme| format!("{scheme} ")).unwrap_or_default();
                Ok(Self { header: header.to_owned(), prefix, encoding: Encoding::Plain })
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

impl InjectShape {
    /// The header, where it is the same for every key.
    pub(super) fn header(&self) -> Option<&str> {
        match self {
            Self::Fixed(inject) => Some(&inject.header),
            Self::Set(_) => None,
        }
    }
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
    fn a_password_is_written_as_http_has_it() {
        let inject: Inject = "authorization: Basic x-access-token".parse().unwrap();
        for key in ["k", "ke", "key", "ghp_0123456789"] {
            let mut place = vec![0; inject.encoding.length(key.len())];
            assert!(inject.encoding.write(key.as_bytes(), &mut place));
            let whole = format!("{}{}", inject.prefix, String::from_utf8(place).unwrap());
            assert_eq!(whole, format!("Basic {}", STANDARD.encode(format!("x-access-token:{key}"))));
        }
        assert!(!inject.encoding.write(b"four", &mut [0; 4]));
        for bad in ["authorization: Basic git", "authorization: Basic ", "authorization: Basic a b"] {
            assert!(bad.parse::<Inject>().is_err(), "{bad}");
        }
    }

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
