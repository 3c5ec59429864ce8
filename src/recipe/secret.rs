//! Whether some bytes can be a key of a provider, before they are stored. It never quotes them, and refuses only what is
//! surely something else.

use super::{Recipe, decoy::Look, read};
use serde::Deserialize;

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SecretShape {
    /// How its keys begin.
    #[serde(default)]
    prefix: Vec<String>,
    #[serde(default)]
    check: Check,
    #[serde(default)]
    refuse: Vec<RefusedPrefix>,
    /// How they look, for decoys.
    #[serde(default)]
    pub(super) decoy: Option<Look>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Check {
    /// Every key begins with one of the prefixes.
    Always,
    /// Keys that begin like another provider's are refused.
    #[default]
    Known,
    /// Anything that fits into a header.
    Never,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct RefusedPrefix {
    prefix: String,
    why: String,
}

impl SecretShape {
    /// The prefixes that no other one begins.
    fn shortest(&self) -> Vec<&str> {
        let longer = |one: &&String| self.prefix.iter().any(|other| *one != other && one.starts_with(other.as_str()));
        self.prefix.iter().filter(|prefix| !longer(prefix)).map(String::as_str).collect()
    }
}

/// How keys of well-known providers begin. `sk-` is missing: half of them use it.
const MARKS: [(&str, &str); 17] = [
    ("sk-ant-", "an Anthropic key"),
    ("sk-or-", "an OpenRouter key"),
    ("sk-proj-", "an OpenAI key"),
    ("sk-svcacct-", "an OpenAI key"),
    ("sk-ws-", "a Model Studio key"),
    ("sk-sp-", "a key of a Model Studio plan"),
    ("AIza", "a Google key"),
    ("gsk_", "a Groq key"),
    ("xai-", "an xAI key"),
    ("hf_", "a Hugging Face token"),
    ("ghp_", "a GitHub token"),
    ("gho_", "a GitHub token"),
    ("ghs_", "a GitHub token"),
    ("ghu_", "a GitHub token"),
    ("github_pat_", "a GitHub token"),
    ("glpat-", "a GitLab token"),
    ("AKIA", "the public half of an AWS key"),
];

/// Why a key cannot be one of this provider's. Never quotes the key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyFault {
    /// One of the prefixes that are refused with a reason.
    #[error("a key that begins {0} is refused: {1}")]
    Refused(String, String),
    /// No known prefix.
    #[error("a {0} key begins with {1}")]
    Prefix(String, String),
    /// It begins like another provider's.
    #[error("this looks like {1}, and is stored for {0}: is it the right one?")]
    Foreign(String, &'static str),
    /// One of ours.
    #[error("this is a virtual key of sixty's own: store the provider's key")]
    Virtual,
    /// Letters that cannot stand in a header.
    #[error("a key has 16 to 4096 visible ASCII letters, without quotes and backslashes")]
    Letters,
}

impl Recipe {
    /// Whether these bytes can be a key of this provider.
    ///
    /// # Errors
    /// The operator's: they cannot, and why.
    pub fn check_key(&self, key: &[u8]) -> Result<(), KeyFault> {
        let begins = |prefix: &str| key.starts_with(prefix.as_bytes());
        let secret = &self.secret;
        if let Some(refused) = secret.refuse.iter().find(|refused| begins(&refused.prefix)) {
            return Err(KeyFault::Refused(refused.prefix.clone(), refused.why.clone()));
        }
        if begins("sixty_") {
            return Err(KeyFault::Virtual);
        }
        if !read::fits_a_header(key) {
            return Err(KeyFault::Letters);
        }
        let own = secret.prefix.iter().filter(|prefix| begins(prefix)).map(String::len).max();
        match (secret.check, own) {
            (Check::Never, _) => Ok(()),
            (Check::Always, None) => Err(KeyFault::Prefix(self.name.clone(), secret.shortest().join(" or "))),
            (Check::Always | Check::Known, own) => {
                // The longer beginning says more: sk-ant- is Anthropic's, although sk- is OpenAI's.
                let foreign = MARKS.iter().find(|(mark, _)| begins(mark) && own.is_none_or(|own| mark.len() > own));
                foreign.map_or(Ok(()), |(_, whose)| Err(KeyFault::Foreign(self.name.clone(), whose)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::tests::{dashscope, named},
        *,
    };

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

    /// Own keys as documented, also those that no mark knows.
    #[test]
    fn each_providers_own_keys_are_taken() {
        let all = [
            ("openai", "sk-"),
            ("openai", "sk-proj-"),
            ("openai", "sk-svcacct-"),
            ("anthropic", "sk-ant-api03-"),
            ("anthropic", "sk-ant-oat01-"),
            ("gemini", "AIza"),
            ("gemini", "AQ."),
            ("mistral", ""),
            ("deepseek", "sk-"),
            ("openrouter", "sk-or-v1-"),
            ("groq", "gsk_"),
            ("xai", "xai-"),
            ("huggingface", "hf_"),
            ("github", "ghp_"),
            ("github", "github_pat_"),
            ("github", ""),
            ("azure-openai", ""),
            ("generic", "sk-ant-"),
            ("generic", ""),
        ];
        for (name, prefix) in all {
            let key = format!("{prefix}0123456789abcdef0123456789abcdef");
            assert_eq!(named(name).check_key(key.as_bytes()), Ok(()), "{name} {prefix}");
        }
    }

    #[test]
    fn another_providers_key_is_told_and_not_quoted() {
        let all = [
            ("openai", "sk-ant-api03-"),
            ("openai", "sk-or-v1-"),
            ("openai", "AIza"),
            ("openai", "ghp_"),
            ("anthropic", "sk-proj-"),
            ("gemini", "sk-proj-"),
            ("deepseek", "sk-proj-"),
            ("github", "hf_"),
            ("groq", "xai-"),
            ("mistral", "gsk_"),
            ("azure-openai", "sk-proj-"),
            ("openrouter", "sk-ant-"),
        ];
        for (name, prefix) in all {
            let key = format!("{prefix}0123456789abcdef0123456789abcdef");
            let told = named(name).check_key(key.as_bytes()).unwrap_err();
            assert!(matches!(told, KeyFault::Foreign(..)) && !told.to_string().contains("0123"), "{name} {told}");
        }
    }

    #[test]
    fn a_virtual_key_is_nobodys_key() {
        for (name, recipe) in Recipe::shipped().unwrap() {
            assert_eq!(recipe.check_key(b"sixty_0123456789abcdef"), Err(KeyFault::Virtual), "{name}");
        }
    }
}
