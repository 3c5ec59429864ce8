//! What we know of a provider, as data: where it lives, how it mints, how it is called through the gateway, what its
//! errors mean. Pure: it renders requests and reads answers, and never sends one.

mod client;
mod decoy;
mod drop;
mod gateway;
mod host;
mod inject;
mod mint;
mod place;
mod price;
mod probe;
mod read;
mod route;
mod secret;
mod set;
#[cfg(test)]
mod shipped;
mod text;

pub use client::{BaseUrl, ClientEnv, Guest, Variable};
pub use decoy::NoLook;
pub use drop::Dropped;
pub use gateway::{Address, Gateway, Risk, Way};
pub use inject::{Encoding, Inject, KEY_HEADERS};
pub use mint::{Call, Expects, Mint, NotMinted};
pub use place::{Endpoint, Loopback, PlaceFault, Scheme};
pub use price::{PerMillion, Price, Prices};
pub use probe::Probe;
pub use read::{Class, Minted, Rejected};
pub use secret::KeyFault;
pub use set::SetFault;
pub use text::RecipeError;

use serde::{Deserialize, Deserializer, de::Error};
use std::collections::BTreeMap;

/// A provider's recipe, version 1 of the format.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    schema: u32,
    /// The provider's name, as in `--provider` and in the gateway's paths.
    #[serde(deserialize_with = "name")]
    pub name: String,
    /// For people.
    pub title: String,
    #[serde(default)]
    secret: secret::SecretShape,
    /// How many keys the provider allows.
    #[serde(default)]
    pub limits: Limits,
    #[serde(default)]
    set: BTreeMap<String, set::SetShape>,
    upstream: host::Hosts,
    mint: Option<Mint>,
    probe: Option<Probe>,
    /// How it is called with a virtual key.
    pub gateway: Gateway,
    /// What its clients read from their environment.
    #[serde(default)]
    pub client: ClientEnv,
}

/// How many workspaces an account, and keys a workspace, may have. No limit where the provider's file has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Workspaces an account.
    pub workspaces_per_account: usize,
    /// Keys a workspace.
    pub keys_per_workspace: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { workspaces_per_account: usize::MAX, keys_per_workspace: usize::MAX }
    }
}

/// The texts of the recipes that ship with the program, with the names of their files.
const SHIPPED: [(&str, &str); 13] = [
    ("anthropic.toml", include_str!("../../config/providers/anthropic.toml")),
    ("azure-openai.toml", include_str!("../../config/providers/azure-openai.toml")),
    ("dashscope.toml", include_str!("../../config/providers/dashscope.toml")),
    ("deepseek.toml", include_str!("../../config/providers/deepseek.toml")),
    ("gemini.toml", include_str!("../../config/providers/gemini.toml")),
    ("generic.toml", include_str!("../../config/providers/generic.toml")),
    ("github.toml", include_str!("../../config/providers/github.toml")),
    ("groq.toml", include_str!("../../config/providers/groq.toml")),
    ("huggingface.toml", include_str!("../../config/providers/huggingface.toml")),
    ("mistral.toml", include_str!("../../config/providers/mistral.toml")),
    ("openai.toml", include_str!("../../config/providers/openai.toml")),
    ("openrouter.toml", include_str!("../../config/providers/openrouter.toml")),
    ("xai.toml", include_str!("../../config/providers/xai.toml")),
];

impl Recipe {
    /// Reads a recipe's text; `file` is its name for people.
    ///
    /// # Errors
    /// The first fault of the text, with line and column.
    pub fn parse(file: &str, text: &str) -> Result<Self, RecipeError> {
        text::parse(file, text)
    }

    /// The recipes that ship with the program, by name.
    ///
    /// # Errors
    /// None that a test lets through.
    pub fn shipped() -> Result<BTreeMap<String, Recipe>, RecipeError> {
        SHIPPED.iter().map(|(file, text)| Self::parse(file, text).map(|recipe| (recipe.name.clone(), recipe))).collect()
    }

    /// How it mints tokens of its own.
    ///
    /// # Errors
    /// It mints none: its keys are used through the gateway alone.
    pub fn minting(&self) -> Result<&Mint, NotMinted> {
        self.mint.as_ref().ok_or_else(|| NotMinted(self.name.clone()))
    }

    /// Where a virtual key may be used, by protocol; `base` is the gateway's address for this provider.
    pub fn base_urls(&self, base: &str) -> Vec<(String, String)> {
        match &self.mint {
            Some(mint) => mint.base_urls(base),
            None => {
                let path = self.client.base.values().find_map(BaseUrl::path).unwrap_or_default();
                vec![(self.name.clone(), format!("{base}{path}"))]
            }
        }
    }
}

/// A provider's name stands in paths, key names and file names.
fn name<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    let name = String::deserialize(from)?;
    let letters = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if letters && name.starts_with(|c: char| c.is_ascii_lowercase()) && name.len() <= 32 {
        return Ok(name);
    }
    Err(D::Error::custom("a provider's name is 1 to 32 of a-z 0-9 - and begins with a letter"))
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn named(name: &str) -> Recipe {
        Recipe::shipped().unwrap().remove(name).unwrap()
    }

    pub(super) fn dashscope() -> Recipe {
        named("dashscope")
    }

    pub(super) fn at(
        provider: &str,
        place: &crate::model::Place,
        set: &[(&str, &str)],
        loopback: Loopback,
    ) -> Result<Endpoint, PlaceFault> {
        let set = set.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        named(provider).endpoint(Address { place, set: &set }, loopback)
    }

    #[test]
    fn only_model_studio_mints() {
        for (name, recipe) in Recipe::shipped().unwrap() {
            assert_eq!(recipe.minting().is_ok(), name == "dashscope", "{name}");
        }
        let told = named("openai").minting().unwrap_err().to_string();
        assert!(told.contains("openai") && told.contains("virtual"), "{told}");
    }
}
