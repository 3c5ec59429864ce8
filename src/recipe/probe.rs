//! The call that shows whether a key is good where no token can be minted with it: one that costs and changes nothing.
//! It renders the request and judges the status; it never sees the key, and no byte of the answer's body.

use super::{Address, Call, Class, Expects, Inject, Loopback, PlaceFault, Recipe, Rejected, read};
use crate::model::CallPath;
use serde::Deserialize;
use std::collections::BTreeMap;

/// A GET that the provider answers to good keys alone.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Probe {
    path: Path,
    #[serde(default)]
    query: Query,
    /// Headers without which the provider answers nobody.
    #[serde(default)]
    headers: Headers,
    /// The statuses by which it says that the key is no good.
    #[serde(default = "unauthorized")]
    bad_secret: Vec<u16>,
}

impl Probe {
    /// What a status says of the key. Any 2xx: it is good.
    ///
    /// # Errors
    /// What the status means.
    pub fn read(&self, status: u16) -> Result<(), Rejected> {
        let class = match status {
            200..=299 => return Ok(()),
            status if self.bad_secret.contains(&status) => Class::BadSecret,
            // A call that costs nothing is not refused for money.
            429 => Class::Throttled,
            status => read::by_status(status),
        };
        Err(Rejected { class, status, code: None })
    }
}

impl Recipe {
    /// The call that shows whether a key is good, with what reads its answer; none where nobody knows a safe one.
    ///
    /// # Errors
    /// The operator's: the key's address is none that the provider has (any more).
    pub fn probe(&self, address: Address<'_>, loopback: Loopback) -> Result<Option<(&Probe, Call)>, PlaceFault> {
        let Some(probe) = &self.probe else { return Ok(None) };
        let way = self.way("GET", &probe.path.0, address, loopback)?;
        let call = Call {
            method: "GET".into(),
            endpoint: way.endpoint,
            target: format!("{}{}", way.path, probe.query.0),
            header: way.inject.header,
            prefix: way.inject.prefix,
            encoding: way.inject.encoding,
            headers: probe.headers.0.clone(),
            expects: Expects::Status,
        };
        Ok(Some((probe, call)))
    }
}

fn unauthorized() -> Vec<u16> {
    vec![401]
}

#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "String")]
struct Path(CallPath);

impl TryFrom<String> for Path {
    type Error = crate::model::Malformed;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        CallPath::parse(&text).map(Self)
    }
}

/// Nothing, or with its question mark.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(try_from = "String")]
struct Query(String);

impl TryFrom<String> for Query {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        match text.bytes().all(|b| b.is_ascii_graphic() && b != b'#') {
            true => Ok(Self(format!("?{text}"))),
            false => Err("a query is visible ASCII without #"),
        }
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(try_from = "BTreeMap<String, String>")]
struct Headers(BTreeMap<String, String>);

impl TryFrom<BTreeMap<String, String>> for Headers {
    type Error = String;

    fn try_from(headers: BTreeMap<String, String>) -> Result<Self, Self::Error> {
        // No more than where a key may stand: nothing that frames or routes.
        headers.keys().try_for_each(|name| name.parse::<Inject>().map(drop))?;
        match headers.values().all(|value| value.bytes().all(|b| b.is_ascii_graphic() || b == b' ')) {
            true => Ok(Self(headers)),
            false => Err("a header's value is visible ASCII".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tests::named, *};
    use crate::model::Place;

    fn probe(provider: &str) -> Option<(Probe, Call)> {
        let (place, set) = (Place::default(), [("resource".to_owned(), "mine".to_owned())].into());
        let recipe = named(provider);
        let found = recipe.probe(Address { place: &place, set: &set }, Loopback::Refused).unwrap();
        found.map(|(probe, call)| (probe.clone(), call))
    }

    #[test]
    fn every_shipped_provider_but_the_unknown_one_can_be_asked_whether_a_key_is_good() {
        for (name, recipe) in Recipe::shipped().unwrap() {
            assert_eq!(recipe.minting().is_ok() || recipe.probe.is_some(), name != "generic", "{name}");
        }
    }

    #[test]
    fn the_call_goes_where_the_providers_others_go() {
        let (_, call) = probe("anthropic").unwrap();
        assert_eq!((call.target.as_str(), call.header.as_str()), ("/v1/models?limit=1", "x-api-key"));
        assert_eq!(call.headers["anthropic-version"], "2023-06-01");
        let (_, call) = probe("azure-openai").unwrap();
        assert_eq!(call.endpoint.to_string(), "https://mine.openai.azure.com");
        assert_eq!(probe("huggingface").unwrap().1.endpoint.host, "huggingface.co");
    }

    #[test]
    fn each_status_says_what_it_says_of_the_key() {
        let class = |provider: &str, status| probe(provider).unwrap().0.read(status).err().map(|no| no.class);
        assert_eq!(class("openai", 200), None);
        assert_eq!(class("openai", 401), Some(Class::BadSecret));
        assert_eq!(class("openai", 403), Some(Class::Denied), "a narrow key is still a good one");
        assert_eq!(class("gemini", 400), Some(Class::BadSecret), "its answer to an unknown key");
        assert_eq!(class("deepseek", 402), Some(Class::Billing));
        assert_eq!(class("openai", 429), Some(Class::Throttled));
        assert_eq!(class("openai", 503), Some(Class::Transient));
        assert_eq!(class("openai", 302), Some(Class::Broken));
    }

    #[test]
    fn a_probe_cannot_name_another_host_nor_hide_a_path() {
        let text = include_str!("../../config/providers/openai.toml");
        for bad in [
            "path = \"//evil.example/\"",
            "path = \"/a?b\"",
            "path = \"/a\"\nquery = \"a b\"",
            "path = \"/a\"\nheaders = { host = \"evil.example\" }",
            "path = \"/a\"\nheaders = { x = \"a\\r\\nb\" }",
        ] {
            let text = text.replace("path = \"/v1/models\"", bad);
            assert!(Recipe::parse("x.toml", &text).is_err(), "{bad}");
        }
    }
}
