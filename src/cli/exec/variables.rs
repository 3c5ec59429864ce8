//! The environment of a job, by what the daemon's recipes say that clients read: which variables get a value, which are taken out.
//! It must never leave a real key where one of ours is to stand.

use std::collections::{BTreeMap, BTreeSet};

use crate::recipe::{BaseUrl, ClientEnv, Variable};

/// What clients of each provider read.
pub(super) type Clients = BTreeMap<String, ClientEnv>;

/// What becomes of a job's environment.
#[derive(Default)]
pub(super) struct Variables<'a> {
    /// Each with its value.
    pub(super) set: BTreeMap<&'a str, String>,
    /// All that could hold a real key, or lead a client elsewhere; those that are set too.
    pub(super) cleared: BTreeSet<&'a str>,
    /// Providers whose own clients read no base URL, each with the one that they must be given by hand.
    pub(super) by_hand: Vec<(&'a str, String)>,
}

impl<'a> Variables<'a> {
    /// For these providers, each with its virtual key; `authority` is where the gateway listens. Clients of a provider
    /// that has no key here are lent to the first one that they can speak to.
    pub(super) fn of(clients: &'a Clients, keys: &[(&'a str, &str)], authority: &str) -> Self {
        let mut all = Self::default();
        for (provider, key) in keys {
            let Some(client) = clients.get(*provider) else { continue };
            all.clear(client);
            all.put((&client.base, &client.key), (authority, provider, key));
            if client.base.is_empty() {
                all.by_hand.push((provider, format!("http://{authority}/{provider}")));
            }
            for guest in &client.guest {
                let taken = guest.base.keys().chain(&guest.key).any(|variable| all.set.contains_key(variable.as_str()));
                if taken || keys.iter().any(|(other, _)| *other == guest.of) {
                    continue;
                }
                if let Some(host) = clients.get(&guest.of) {
                    all.clear(host);
                }
                all.put((&guest.base, &guest.key), (authority, provider, key));
            }
        }
        all
    }

    fn clear(&mut self, client: &'a ClientEnv) {
        self.cleared.extend(client.key.iter().chain(&client.unset).map(Variable::as_str));
    }

    fn put(
        &mut self,
        (bases, keys): (&'a BTreeMap<Variable, BaseUrl>, &'a [Variable]),
        (authority, provider, key): (&str, &str, &str),
    ) {
        self.set.extend(bases.iter().map(|(name, base)| (name.as_str(), base.at(authority, provider))));
        self.set.extend(keys.iter().map(|name| (name.as_str(), key.to_owned())));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::Recipe;

    fn clients() -> Clients {
        Recipe::shipped().unwrap().into_iter().map(|(name, recipe)| (name, recipe.client)).collect()
    }

    #[test]
    fn every_client_finds_the_gateway_and_no_real_key() {
        let clients = clients();
        let one = Variables::of(&clients, &[("dashscope", "K")], "127.0.0.1:7");
        let set = |name: &str| one.set.get(name).map(String::as_str);
        assert_eq!(set("OPENAI_BASE_URL"), Some("http://127.0.0.1:7/dashscope/compatible-mode/v1"));
        assert_eq!(set("DASHSCOPE_HTTP_BASE_URL"), Some("http://127.0.0.1:7/dashscope/api/v1"));
        assert_eq!((set("OPENAI_API_KEY"), set("ANTHROPIC_AUTH_TOKEN")), (Some("K"), Some("K")));
        assert_eq!(set("ANTHROPIC_API_KEY"), None);
        assert!(one.cleared.contains("ANTHROPIC_API_KEY") && one.cleared.contains("DASHSCOPE_API_KEY_FILE_PATH"));
    }

    #[test]
    fn a_provider_with_a_key_of_its_own_lends_its_clients_to_nobody() {
        let clients = clients();
        for keys in [[("dashscope", "D"), ("openai", "O")], [("openai", "O"), ("dashscope", "D")]] {
            let both = Variables::of(&clients, &keys, "h");
            assert_eq!((both.set["OPENAI_API_KEY"].as_str(), both.set["DASHSCOPE_API_KEY"].as_str()), ("O", "D"));
            assert_eq!(both.set["OPENAI_BASE_URL"], "http://h/openai/v1");
        }
        let first = Variables::of(&clients, &[("dashscope", "D"), ("deepseek", "S")], "h");
        assert_eq!((first.set["OPENAI_API_KEY"].as_str(), first.set["DEEPSEEK_API_KEY"].as_str()), ("D", "S"));
        assert_eq!(first.by_hand, [("deepseek", "http://h/deepseek".to_owned())]);
    }

    #[test]
    fn clients_that_read_no_base_url_are_told_of() {
        let clients = clients();
        let all = Variables::of(&clients, &[("mistral", "M")], "h");
        assert_eq!(all.by_hand, [("mistral", "http://h/mistral".to_owned())]);
        let any = Variables::of(&clients, &[("generic", "G")], "h");
        assert_eq!((any.set["GENERIC_API_KEY"].as_str(), any.set["OPENAI_API_KEY"].as_str()), ("G", "G"));
        assert_eq!(any.set["GENERIC_BASE_URL"], "http://h/generic");
    }
}
