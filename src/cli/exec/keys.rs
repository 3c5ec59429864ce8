//! The keys of one job: minted before it begins, taken back when it ends.
//! It must never let a job begin that has not got all of them.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::process::Command;

use serde::Deserialize;
use zeroize::Zeroizing;

use super::variables::{Clients, Variables};
use crate::cli::ask::{Doors, ask, ask_people, json, read};
use crate::cli::environment::variable;
use crate::cli::failure::Failure;
use crate::cli::output::say;
use crate::cli::time::span;
use crate::client::Method;
use crate::model::{KeyName, Kind, Request, Ttl};
use crate::recipe::{ClientEnv, Variable};

/// The longest life there is: what is over the rule's is cut to it.
const LONGEST: &str = "366d";

/// Taken back when dropped.
pub(super) struct Keys<'a> {
    doors: &'a Doors,
    clients: Clients,
    held: Vec<Held>,
}

struct Held {
    key: KeyName,
    id: String,
    provider: String,
    token: Zeroizing<String>,
}

/// What a job needs of a lease. Not `Debug`: it holds the token.
#[derive(Deserialize)]
struct Minted<'a> {
    id: String,
    #[serde(borrow)]
    token: Cow<'a, str>,
    provider: String,
    expires_in: u64,
}

/// What the daemon knows of providers.
#[derive(Deserialize)]
struct Known {
    providers: BTreeMap<String, Provider>,
}

#[derive(Deserialize)]
struct Provider {
    client: ClientEnv,
}

impl<'a> Keys<'a> {
    /// One virtual key for each name, owned by this process.
    ///
    /// # Errors
    /// One can't be had; those before it are taken back.
    pub(super) fn mint(doors: &'a Doors, names: Vec<KeyName>, ttl: Option<Ttl>) -> Result<Self, Failure> {
        let answer = ask(&doors.broker, Method::GET, "/v1/providers", None)?;
        let Known { providers } = read(&answer)?;
        let clients = providers.into_iter().map(|(name, provider)| (name, provider.client)).collect();
        let mut keys = Self { doors, clients, held: Vec::new() };
        let longest = LONGEST.parse().ok();
        for key in names {
            keys.add(key, ttl.or(longest))?;
        }
        Ok(keys)
    }

    fn add(&mut self, key: KeyName, ttl: Option<Ttl>) -> Result<(), Failure> {
        let advice = format!("`sixty why {key}` shows which rule decides; its kinds must have \"virtual\"");
        let request = Request {
            key: key.clone(),
            kind: Some(Kind::Virtual),
            ttl,
            min_remaining: None,
            uses: None,
            owner: None,
            scope: None,
            recipient: None,
            ticket: false,
        };
        let answer = ask_people(&self.doors.broker, Method::POST, "/v1/leases", Some(json(&request)));
        let answer = answer.map_err(|failure| failure.advising("denied", advice))?;
        let Minted { id, token, provider, expires_in } = read(&answer)?;
        let token = Zeroizing::new(token.into_owned());
        if let Err(failure) = self.fits(&key, &provider) {
            self.revoke(&id);
            return Err(failure);
        }
        say(format_args!(
            "{key}: good for {} and not longer than the command; then calls are refused",
            span(expires_in)
        ));
        self.held.push(Held { key, id, provider, token });
        Ok(())
    }

    /// Whether clients of this key's provider read variables, and none that another key stands in already.
    fn fits(&self, key: &KeyName, provider: &str) -> Result<(), Failure> {
        let client = |provider: &str| self.clients.get(provider).filter(|client| !client.key.is_empty());
        let ours = client(provider).ok_or_else(|| unknown(key, provider))?;
        let shared = |held: &Held| client(&held.provider).and_then(|theirs| theirs.shared_with(ours));
        match self.held.iter().find_map(|held| Some((held, shared(held)?))) {
            Some((held, variable)) => Err(clashing(&held.key, key, variable)),
            None => Ok(()),
        }
    }

    /// Puts them into a command's environment, in the place of real ones; says which those were, by name. `authority` is
    /// where the command finds the gateway.
    pub(super) fn put(&self, command: &mut Command, authority: &str) {
        let keys: Vec<_> = self.held.iter().map(|held| (held.provider.as_str(), held.token.as_str())).collect();
        let Variables { set, cleared, by_hand } = Variables::of(&self.clients, &keys, authority);
        let real: Vec<_> = cleared.iter().copied().filter(|name| variable(name).is_some()).collect();
        if !real.is_empty() {
            say(format_args!("not passed on: {}", real.join(", ")));
        }
        for (provider, url) in by_hand {
            say(format_args!("{provider}: its own clients read no base URL from the environment; give them {url}"));
        }
        for name in cleared {
            command.env_remove(name);
        }
        command.envs(set);
        past_proxies(command);
    }

    fn revoke(&self, id: &str) {
        // Where the daemon can't be asked, it takes them back itself as soon as this process ends.
        let _ = self.doors.broker.request(Method::DELETE, &format!("/v1/leases/{id}"), None);
    }
}

impl Drop for Keys<'_> {
    fn drop(&mut self) {
        self.held.iter().for_each(|held| self.revoke(&held.id));
    }
}

/// Clients that go through a proxy must not ask it for 127.0.0.1: the key would go there too.
fn past_proxies(command: &mut Command) {
    for name in ["NO_PROXY", "no_proxy"] {
        let mut list = variable(name).unwrap_or_default();
        list.push(if list.is_empty() { "127.0.0.1,localhost" } else { ",127.0.0.1,localhost" });
        command.env(name, list);
    }
}

fn unknown(key: &KeyName, provider: &str) -> Failure {
    let what = format!("{key}: it is not known which variables the clients of {provider} read");
    Failure::Input { what, advice: "`sixty mint KEY --kind virtual --json` gives the key and its base URLs" }
}

fn clashing(one: &KeyName, other: &KeyName, variable: &Variable) -> Failure {
    let what = format!("{one} and {other} would both stand in {}", variable.as_str());
    Failure::Input { what, advice: "name one of them, or give one a provider of its own: `sixty manual providers`" }
}
