//! How a provider mints a short token from a long-lived key. It renders the request and never sees the key.

use super::{Encoding, Endpoint};
use crate::model::Ttl;
use serde::Deserialize;
use std::collections::BTreeMap;

/// The minting half of a recipe.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mint {
    ttl: TtlBounds,
    request: RequestShape,
    pub(super) response: ResponseShape,
    pub(super) errors: BTreeMap<super::Class, Vec<String>>,
    base_urls: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct TtlBounds {
    min: u64,
    max: u64,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct RequestShape {
    method: String,
    path: String,
    query: String,
    inject: super::Inject,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ResponseShape {
    pub(super) token: String,
    pub(super) token_prefix: String,
    pub(super) expires_at: String,
    pub(super) code: String,
}

/// One request to a provider, complete but for the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// HTTP method.
    pub method: String,
    /// Where it goes.
    pub endpoint: Endpoint,
    /// Path and query.
    pub target: String,
    /// The header that carries the key, lower-case.
    pub header: String,
    /// What stands before the key in it.
    pub prefix: String,
    /// How the key is written in it.
    pub encoding: Encoding,
    /// Further headers, by lower-case name.
    pub headers: BTreeMap<String, String>,
    /// What of the answer is read.
    pub expects: Expects,
}

/// What of an answer is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expects {
    /// All of it, within a bound.
    Body,
    /// Its status: whatever else comes is dropped.
    Status,
}

/// The provider makes no short-lived tokens: nobody can mint one of its keys.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0} mints no tokens of its own: ask for kind virtual, and use it through the gateway")]
pub struct NotMinted(pub String);

impl Mint {
    /// The life that the provider will be asked for.
    pub fn clamp(&self, ttl: Ttl) -> Ttl {
        let seconds = u64::from(ttl.seconds()).clamp(self.ttl.min, self.ttl.max);
        Ttl::try_from(seconds).unwrap_or(ttl)
    }

    /// The request that mints a token.
    pub fn call(&self, endpoint: &Endpoint, ttl: Ttl) -> Call {
        let query = self.request.query.replace("{ttl}", &self.clamp(ttl).seconds().to_string());
        Call {
            method: self.request.method.clone(),
            endpoint: endpoint.clone(),
            target: format!("{}?{query}", self.request.path),
            header: self.request.inject.header.clone(),
            prefix: self.request.inject.prefix.clone(),
            encoding: self.request.inject.encoding,
            headers: BTreeMap::new(),
            expects: Expects::Body,
        }
    }

    /// Where a token may be used, by protocol, below `base`: the provider's own endpoint, or the gateway's.
    pub fn base_urls(&self, base: &str) -> Vec<(String, String)> {
        self.base_urls.iter().map(|(name, path)| (name.clone(), format!("{base}{path}"))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Loopback, tests};

    #[test]
    fn the_request_is_the_documented_one() {
        let recipe = tests::dashscope();
        let endpoint = tests::at("dashscope", &Default::default(), &[], Loopback::Refused).unwrap();
        let mint = recipe.minting().unwrap();
        let call = mint.call(&endpoint, "60s".parse().unwrap());
        assert_eq!(call.target, "/api/v1/tokens?expire_in_seconds=60");
        assert_eq!(
            (call.method.as_str(), call.header.as_str(), call.prefix.as_str()),
            ("POST", "authorization", "Bearer ")
        );
        assert_eq!(mint.call(&endpoint, "2h".parse().unwrap()).target, "/api/v1/tokens?expire_in_seconds=1800");
    }
}
