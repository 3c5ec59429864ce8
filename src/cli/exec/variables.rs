//! What clients of a provider read from their environment: data, and how it is filled in.
//! It must never leave a real key where one of ours is to stand.

/// What the clients of one provider look at. In values, `{base}` is the gateway's URL for the provider, `{key}` the
/// virtual key.
pub(super) struct Client {
    /// The recipe's name.
    provider: &'static str,
    set: &'static [(&'static str, &'static str)],
    /// Variables that would be taken before the ones that are set, and hold a real key or lead to one.
    unset: &'static [&'static str],
}

const CLIENTS: [Client; 1] = [Client {
    provider: "dashscope",
    set: &[
        ("OPENAI_BASE_URL", "{base}/compatible-mode/v1"),
        ("OPENAI_API_KEY", "{key}"),
        ("DASHSCOPE_HTTP_BASE_URL", "{base}/api/v1"),
        ("DASHSCOPE_API_KEY", "{key}"),
        ("ANTHROPIC_BASE_URL", "{base}/apps/anthropic"),
        ("ANTHROPIC_AUTH_TOKEN", "{key}"),
    ],
    unset: &["DASHSCOPE_API_KEY_FILE_PATH", "ANTHROPIC_API_KEY", "CLAUDE_CODE_API_KEY_FILE_DESCRIPTOR"],
}];

/// The clients of a provider, if any are known.
pub(super) fn of(provider: &str) -> Option<&'static Client> {
    CLIENTS.iter().find(|client| client.provider == provider)
}

impl Client {
    /// The variables that get a value.
    pub(super) fn names(&self) -> impl Iterator<Item = &'static str> {
        self.set.iter().map(|(name, _)| *name)
    }

    /// The variables that are taken out.
    pub(super) fn unset(&self) -> &'static [&'static str] {
        self.unset
    }

    /// Variables with their values; `gateway` is `http://127.0.0.1:PORT`.
    pub(super) fn filled(&self, gateway: &str, key: &str) -> impl Iterator<Item = (&'static str, String)> {
        let base = format!("{gateway}/{}", self.provider);
        self.set.iter().map(move |(name, value)| (*name, value.replace("{base}", &base).replace("{key}", key)))
    }

    /// The variables that hold a key of the user's now, by `has`.
    pub(super) fn real_keys(&self, has: impl Fn(&str) -> bool) -> Vec<&'static str> {
        let keys = self.set.iter().filter(|(_, value)| value.contains("{key}")).map(|(name, _)| *name);
        keys.chain(self.unset.iter().copied()).filter(|name| has(name)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_variable_gets_its_value_and_real_keys_are_told_by_name() {
        let client = of("dashscope").unwrap();
        let filled: Vec<_> = client.filled("http://127.0.0.1:7", "K").collect();
        assert_eq!(filled[0], ("OPENAI_BASE_URL", "http://127.0.0.1:7/dashscope/compatible-mode/v1".to_owned()));
        assert_eq!(filled[3], ("DASHSCOPE_API_KEY", "K".to_owned()));
        assert!(filled.iter().all(|(_, value)| !value.contains('{')));
        let found = client.real_keys(|name| ["ANTHROPIC_API_KEY", "OPENAI_API_KEY", "OPENAI_BASE_URL"].contains(&name));
        assert_eq!(found, ["OPENAI_API_KEY", "ANTHROPIC_API_KEY"]);
        assert!(of("nobody").is_none());
    }
}
