//! What we know of a provider, as data: where it lives, how it mints, what its errors mean. Pure: it renders requests
//! and reads answers, and never sends one.

mod place;
mod read;

pub use place::{Endpoint, Loopback, PlaceFault, Scheme};
pub use read::{Class, Minted, Rejected};

use crate::model::Ttl;
use serde::Deserialize;
use std::collections::BTreeMap;

/// A provider's recipe, version 1 of the format.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    schema: u32,
    /// The provider's name, as in `--provider`.
    pub name: String,
    /// For people.
    pub title: String,
    secret: SecretShape,
    ttl: TtlBounds,
    /// How many keys the provider allows.
    pub limits: Limits,
    region: Vec<Region>,
    workspace: WorkspaceHost,
    request: RequestShape,
    response: ResponseShape,
    errors: BTreeMap<Class, Vec<String>>,
    base_urls: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct SecretShape {
    prefix: Vec<String>,
    refuse: Vec<RefusedPrefix>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct RefusedPrefix {
    prefix: String,
    why: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct TtlBounds {
    min: u64,
    max: u64,
}

/// How many workspaces an account, and keys a workspace, may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Workspaces an account.
    pub workspaces_per_account: usize,
    /// Keys a workspace.
    pub keys_per_workspace: usize,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Region {
    name: String,
    #[serde(default)]
    alias: Vec<String>,
    host: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct WorkspaceHost {
    host: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct RequestShape {
    method: String,
    path: String,
    query: String,
    header: String,
    prefix: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct ResponseShape {
    token: String,
    token_prefix: String,
    expires_at: String,
    code: String,
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
}

/// A recipe, or a key for it, that cannot be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecipeError {
    /// The text is no recipe.
    #[error("not a recipe: {0}")]
    Text(String),
    /// A format that this version does not know.
    #[error("recipe `{0}` has schema {1}; this version reads schema 1")]
    Schema(String, u32),
}

/// Why a key cannot be one of this provider's. Never quotes the key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyFault {
    /// One of the prefixes that are refused with a reason.
    #[error("a key that begins {0} is refused: {1}")]
    Refused(String, String),
    /// No known prefix.
    #[error("a {0} key begins with {1}")]
    Prefix(String, String),
    /// Letters that cannot stand in a header.
    #[error("a key has 16 to 4096 visible ASCII letters, without quotes and backslashes")]
    Letters,
}

impl Recipe {
    /// Reads a recipe's text.
    pub fn parse(text: &str) -> Result<Self, RecipeError> {
        let recipe: Self = toml::from_str(text).map_err(|fault| RecipeError::Text(fault.to_string()))?;
        match recipe.schema {
            1 => Ok(recipe),
            other => Err(RecipeError::Schema(recipe.name, other)),
        }
    }

    /// The recipes that ship with the program, by name.
    pub fn shipped() -> Result<BTreeMap<String, Recipe>, RecipeError> {
        let texts = [include_str!("../../config/providers/dashscope.toml")];
        texts.iter().map(|text| Self::parse(text).map(|recipe| (recipe.name.clone(), recipe))).collect()
    }

    /// Whether these bytes can be a key of this provider.
    pub fn check_key(&self, key: &[u8]) -> Result<(), KeyFault> {
        if let Some(refused) = self.secret.refuse.iter().find(|refused| key.starts_with(refused.prefix.as_bytes())) {
            return Err(KeyFault::Refused(refused.prefix.clone(), refused.why.clone()));
        }
        if !read::fits_a_header(key) {
            return Err(KeyFault::Letters);
        }
        if !self.secret.prefix.iter().any(|prefix| key.starts_with(prefix.as_bytes())) {
            return Err(KeyFault::Prefix(self.name.clone(), self.secret.prefix.join(" or ")));
        }
        Ok(())
    }

    /// The life that the provider will be asked for.
    pub fn clamp(&self, ttl: Ttl) -> Ttl {
        let seconds = u64::from(ttl.seconds()).clamp(self.ttl.min, self.ttl.max);
        Ttl::try_from(seconds).unwrap_or(ttl)
    }

    /// The request that mints a token.
    pub fn mint(&self, endpoint: &Endpoint, ttl: Ttl) -> Call {
        let query = self.request.query.replace("{ttl}", &self.clamp(ttl).seconds().to_string());
        Call {
            method: self.request.method.clone(),
            endpoint: endpoint.clone(),
            target: format!("{}?{query}", self.request.path),
            header: self.request.header.clone(),
            prefix: self.request.prefix.clone(),
        }
    }

    /// Where a token may be used, by protocol; `base` is the provider's own endpoint or the gateway's.
    pub fn base_urls(&self, base: &str) -> Vec<(String, String)> {
        self.base_urls.iter().map(|(name, path)| (name.clone(), format!("{base}{path}"))).collect()
    }

    /// The one header that carries the key, lower-case, and what stands before the key in it.
    pub fn inject(&self) -> (&str, &str) {
        (&self.request.header, &self.request.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn dashscope() -> Recipe {
        Recipe::shipped().unwrap().remove("dashscope").unwrap()
    }

    #[test]
    fn a_temporary_or_plan_key_is_refused_with_the_reason() {
        let recipe = dashscope();
        assert!(recipe.check_key(b"sk-0123456789abcdef").is_ok());
        assert!(recipe.check_key(b"sk-ws-0123456789abcdef").is_ok());
        let told = recipe.check_key(b"st-0123456789abcdef").unwrap_err().to_string();
        assert!(told.contains("temporary") && !told.contains("0123"));
        assert!(recipe.check_key(b"sk-sp-0123456789").unwrap_err().to_string().contains("Plan"));
        assert!(matches!(recipe.check_key(b"AKIA0123456789abcdef"), Err(KeyFault::Prefix(..))));
        assert!(matches!(recipe.check_key(b"sk-0123456789\r\nHost: evil"), Err(KeyFault::Letters)));
    }

    #[test]
    fn the_request_is_the_documented_one() {
        let recipe = dashscope();
        let endpoint = recipe.endpoint(&Default::default(), Loopback::Refused).unwrap();
        let call = recipe.mint(&endpoint, "60s".parse().unwrap());
        assert_eq!(call.target, "/api/v1/tokens?expire_in_seconds=60");
        assert_eq!(
            (call.method.as_str(), call.header.as_str(), call.prefix.as_str()),
            ("POST", "authorization", "Bearer ")
        );
        assert_eq!(recipe.mint(&endpoint, "2h".parse().unwrap()).target, "/api/v1/tokens?expire_in_seconds=1800");
    }

    #[test]
    fn a_recipe_of_tomorrow_is_not_guessed_at() {
        let text = include_str!("../../config/providers/dashscope.toml").replace("schema = 1", "schema = 2");
        assert!(matches!(Recipe::parse(&text), Err(RecipeError::Schema(_, 2))));
    }
}
