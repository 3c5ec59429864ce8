//! Words of a call that choose whose account it is for: another organization, project or workspace than the key's own.
//! Never a key's place, nor a header that frames or routes a request.

use super::inject::{KEY_HEADERS, stands_alone};
use serde::Deserialize;
use std::sync::Arc;

/// Names that no call is passed on with. The same word may stand in a header, in a parameter of the query (Google's
/// system parameters have a `$` before it too) or, followed by a dot and its value, in a websocket's subprotocol (OpenAI).
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Vec<String>")]
pub struct Dropped(Arc<[String]>);

impl Dropped {
    /// The names, in small letters.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// Whether a header of this name is dropped.
    pub fn header(&self, name: &str) -> bool {
        self.names().any(|known| known == name)
    }

    /// Whether a parameter of this name, in small letters, is dropped.
    pub fn parameter(&self, name: &str) -> bool {
        self.header(name.strip_prefix('$').unwrap_or(name))
    }

    /// Whether a subprotocol is dropped.
    pub fn protocol(&self, text: &str) -> bool {
        text.split_once('.').is_some_and(|(name, _)| self.header(&name.to_ascii_lowercase()))
    }
}

impl TryFrom<Vec<String>> for Dropped {
    type Error = String;

    fn try_from(names: Vec<String>) -> Result<Self, String> {
        match names.iter().find(|name| !stands_alone(name) || KEY_HEADERS.contains(&name.as_str())) {
            None => Ok(Self(names.into())),
            Some(name) => Err(format!(
                "`{name}` is no name to drop: a header of its own in small letters, x-acme-project, and no key's place"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str) -> Result<Dropped, String> {
        vec![name.to_owned()].try_into()
    }

    #[test]
    fn neither_a_key_nor_the_frame_of_a_request_is_dropped() {
        for bad in
            ["", "X-Project", "x project", "x:y", "authorization", "x-api-key", "host", "content-length", "sec-a"]
        {
            assert!(read(bad).is_err(), "{bad:?}");
        }
        assert!(read("openai-project").is_ok());
    }

    #[test]
    fn one_word_is_known_wherever_it_stands() {
        let dropped = read("userproject").unwrap();
        assert!(dropped.header("userproject") && dropped.parameter("userproject") && dropped.parameter("$userproject"));
        assert!(
            dropped.protocol("UserProject.p1") && !dropped.protocol("userproject") && !dropped.protocol("realtime")
        );
        assert!(!dropped.parameter("project") && !Dropped::default().header(""));
    }
}
