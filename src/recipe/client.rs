//! What a provider's clients read from their environment: where to call, and with which key. It names variables only, and
//! never holds what is in them.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Variables of a provider's own clients.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClientEnv {
    /// Variables that say where to call.
    pub base: BTreeMap<Variable, BaseUrl>,
    /// Variables that are given the virtual key.
    pub key: Vec<Variable>,
    /// Further variables that could hold a real key of this provider, or lead a client past the gateway.
    pub unset: Vec<Variable>,
    /// Clients of other providers that speak to this one as well: for jobs that have no key of theirs.
    pub guest: Vec<Guest>,
}

/// Variables of another provider's clients.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Guest {
    /// The other provider, by name: what its file says of `unset` holds here too.
    pub of: String,
    /// Variables that say where to call.
    pub base: BTreeMap<Variable, BaseUrl>,
    /// Variables that are given the virtual key.
    pub key: Vec<Variable>,
}

impl ClientEnv {
    /// A provider whose file names no variables is given two of its own name: `NAME_API_KEY` and `NAME_BASE_URL`.
    pub(super) fn default_to(&mut self, name: &str) {
        let named = |end: &str| Variable::try_from(name.to_uppercase().replace('-', "_") + end).ok();
        if !self.key.is_empty() {
            return;
        }
        self.key.extend(named("_API_KEY"));
        if self.base.is_empty() {
            let root = BaseUrl { websocket: false, path: String::new() };
            self.base.extend(named("_BASE_URL").map(|variable| (variable, root)));
        }
    }

    /// A variable that both would set.
    pub fn shared_with<'a>(&'a self, other: &'a Self) -> Option<&'a Variable> {
        let theirs = || other.base.keys().chain(&other.key);
        self.base.keys().chain(&self.key).find(|ours| theirs().any(|theirs| theirs == *ours))
    }
}

/// The name of an environment variable: capitals, digits and `_`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct Variable(String);

impl Variable {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Variable {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let letters = text.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
        // A provider's file must not reach what the loader and the shell live by.
        let reserved = ["PATH", "HOME", "SHELL", "IFS", "ENV", "BASH_ENV"].contains(&text.as_str());
        let family = ["LD_", "SIXTY_"].iter().any(|family| text.starts_with(family));
        let begins = text.starts_with(|c: char| c.is_ascii_uppercase());
        if letters && begins && !reserved && !family && text.len() <= 64 {
            return Ok(Self(text));
        }
        Err("a variable is written in capitals, digits and _, and is not one that programs are run by")
    }
}

/// What is put behind the gateway's own address for a client: a path, or `ws:` and a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BaseUrl {
    websocket: bool,
    path: String,
}

impl BaseUrl {
    /// The path behind the provider's name; none of a websocket.
    pub(super) fn path(&self) -> Option<&str> {
        (!self.websocket).then_some(&self.path)
    }

    /// The whole URL. `authority` is where the gateway listens, `127.0.0.1:8060`.
    pub fn at(&self, authority: &str, provider: &str) -> String {
        let scheme = if self.websocket { "ws" } else { "http" };
        format!("{scheme}://{authority}/{provider}{}", self.path)
    }
}

impl TryFrom<String> for BaseUrl {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let (websocket, path) = match text.strip_prefix("ws:") {
            Some(path) => (true, path),
            None => (false, text.as_str()),
        };
        let fits = crate::model::CallPath::parse(path).is_ok_and(|plain| plain.plain() == path);
        if path.is_empty() || fits && path != "/" {
            return Ok(Self { websocket, path: path.to_owned() });
        }
        Err("a base is a path behind the gateway's own, such as /v1, with ws: before it for a websocket")
    }
}

impl From<BaseUrl> for String {
    fn from(base: BaseUrl) -> Self {
        format!("{}{}", if base.websocket { "ws:" } else { "" }, base.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_of_a_client_is_read_as_it_was_written() {
        for recipe in crate::recipe::Recipe::shipped().unwrap().values() {
            let told = serde_json::to_value(&recipe.client).unwrap();
            let read: ClientEnv = serde_json::from_value(told.clone()).unwrap();
            assert_eq!(serde_json::to_value(&read).unwrap(), told, "{}", recipe.name);
        }
    }

    #[test]
    fn a_provider_without_variables_is_given_two_of_its_name() {
        let mut client = ClientEnv::default();
        client.default_to("my-house");
        assert_eq!(client.key, [Variable("MY_HOUSE_API_KEY".into())]);
        assert_eq!(client.base.keys().next().map(Variable::as_str), Some("MY_HOUSE_BASE_URL"));
        let mut reserved = ClientEnv::default();
        reserved.default_to("sixty");
        assert!(reserved.key.is_empty() && reserved.base.is_empty());
    }

    #[test]
    fn a_base_is_the_gateway_with_the_providers_path() {
        let at = |text: &str| BaseUrl::try_from(text.to_owned()).map(|base| base.at("127.0.0.1:1", "openai"));
        assert_eq!(at("/v1").unwrap(), "http://127.0.0.1:1/openai/v1");
        assert_eq!(at("").unwrap(), "http://127.0.0.1:1/openai");
        assert_eq!(at("ws:/v1").unwrap(), "ws://127.0.0.1:1/openai/v1");
        for bad in ["v1", "/", "http://evil.example", "/v1/..", "ws:x"] {
            assert!(at(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_providers_file_reaches_no_variable_that_programs_are_run_by() {
        for bad in ["PATH", "LD_PRELOAD", "SIXTY_SOCKET", "openai", "A=B", "", "1A", "BASH_ENV"] {
            assert!(Variable::try_from(bad.to_owned()).is_err(), "{bad}");
        }
        assert_eq!(Variable::try_from("OPENAI_API_KEY".to_owned()).unwrap().as_str(), "OPENAI_API_KEY");
    }
}
