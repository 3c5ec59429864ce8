//! Attacks on who is who: orders from another user, a socket in another's place, dead connectors, keys in wrong hands.
//! Keys that are minted for it are revoked before any of them is used, so that nothing goes to a provider.

use super::{Outcome, PATIENCE, Target, attacker};
use crate::client::{Client, ClientError, Method};
use nix::unistd::geteuid;
use serde_json::{Value, json};
use std::{
    io::{Read, Write},
    os::{
        fd::{AsFd, OwnedFd},
        unix::{fs::symlink, net::UnixStream},
    },
    process::Stdio,
    time::Duration,
};
use zeroize::Zeroizing;

/// Calls of the providers we know. Each has the key in its body too: it is refused here, and goes to nobody.
const CALLS: [&str; 3] = ["compatible-mode/v1/chat/completions", "v1/chat/completions", "v1/messages"];

/// The parts of cases that run in processes of their own.
pub(super) fn stage(name: &str) -> Option<fn(&Target) -> Outcome> {
    match name {
        "dead-pid-child" => Some(orphan),
        "copy-child" => Some(go_between),
        "copy-thief" => Some(thief),
        _ => None,
    }
}

pub(super) fn control(target: &Target) -> Outcome {
    if geteuid().as_raw() == target.uid {
        return Outcome::Untried("this is the daemon's own user; root tries it as another".into());
    }
    match Client::control(&target.control).request(Method::GET, "/v1/status", None) {
        Err(fault @ (ClientError::Forbidden { .. } | ClientError::Broken { .. })) => {
            Outcome::Held(format!("{}: {fault}", attacker()))
        }
        Err(fault) => Outcome::Untried(fault.to_string()),
        Ok(answer) if answer.status >= 400 => Outcome::Held(format!("{}: HTTP {}", attacker(), answer.status)),
        Ok(_) => Outcome::Failed(format!("{} was answered on the control socket", attacker())),
    }
}

pub(super) fn swap(target: &Target) -> Outcome {
    if geteuid().as_raw() == target.uid {
        return Outcome::Untried("this is the daemon's own user, whose folder it is; root tries it as another".into());
    }
    let aside = target.broker.with_extension("selftest");
    let link = symlink("/nowhere", &aside);
    let moved = std::fs::rename(&target.broker, target.broker.with_extension("moved"));
    if moved.is_ok() {
        let _ = std::fs::rename(target.broker.with_extension("moved"), &target.broker);
    }
    if link.is_ok() {
        let _ = std::fs::remove_file(&aside);
    }
    match (link, moved) {
        (Err(fault), Err(_)) => Outcome::Held(format!("its folder is closed {}: {fault}", attacker())),
        _ => Outcome::Failed(format!("{} can put another socket in its place", attacker())),
    }
}

/// Connects, hands the connection on to a child and ends: the child speaks as soon as its parent is dead.
pub(super) fn dead_connector(target: &Target) -> Outcome {
    let handed_on = UnixStream::connect(&target.broker).and_then(|connection| {
        // Identified while we live.
        std::thread::sleep(Duration::from_millis(100));
        target.stage("dead-pid-child").stdin(Stdio::from(OwnedFd::from(connection))).spawn()
    });
    match handed_on {
        // The child tells in our place.
        Ok(_) => std::process::exit(0),
        Err(fault) => Outcome::Untried(fault.to_string()),
    }
}

fn orphan(target: &Target) -> Outcome {
    if !alone(target) {
        return Outcome::Untried("the connector lives on".into());
    }
    let Ok(connection) = std::io::stdin().as_fd().try_clone_to_owned() else {
        return Outcome::Untried("the connection was not handed on".into());
    };
    let mut connection = UnixStream::from(connection);
    let ask = b"GET /v1/whoami HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let mut answer = String::new();
    let _ = connection.set_read_timeout(Some(PATIENCE / 10));
    let _ = connection.write_all(ask).and_then(|()| connection.read_to_string(&mut answer).map(drop));
    match answer.starts_with("HTTP/1.1 200 ") {
        true => Outcome::Failed("the child was answered as the one that had connected".into()),
        false => Outcome::Held("the connection of a dead process is worth nothing".into()),
    }
}

/// Waits until whoever started this process has ended.
fn alone(target: &Target) -> bool {
    (0..500).any(|_| {
        std::thread::sleep(Duration::from_millis(10));
        nix::unistd::getppid().as_raw() != target.starter
    })
}

pub(super) fn replay(target: &Target) -> Outcome {
    let (key, path) = match Minted::usable(target) {
        Ok(found) => found,
        Err(untried) => return untried,
    };
    key.revoke(target);
    told(&target.says(&target.gateway, &key.call(path)), "a revoked key")
}

/// The key goes to a process that does not descend from this one, which holds it.
pub(super) fn copy(target: &Target) -> Outcome {
    let (key, path) = match Minted::usable(target) {
        Ok(found) => found,
        Err(untried) => return untried,
    };
    let Ok(mut go_between) = target.stage("copy-child").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn() else {
        return Outcome::Untried("no other process could be started".into());
    };
    if let Some(mut hand) = go_between.stdin.take() {
        let _ = hand.write_all(&key.call(path));
    }
    let mut said = String::new();
    let _ = go_between.stdout.take().map(|mut out| out.read_to_string(&mut said));
    let _ = go_between.wait();
    key.revoke(target);
    serde_json::from_str(&said).unwrap_or_else(|_| Outcome::Untried("the other process broke off".into()))
}

/// Who descends from a holder is one: the thief is nobody's child.
fn go_between(target: &Target) -> Outcome {
    match target.stage("copy-thief").spawn() {
        Ok(_) => std::process::exit(0),
        Err(fault) => Outcome::Untried(fault.to_string()),
    }
}

fn thief(target: &Target) -> Outcome {
    let mut call = Zeroizing::new(Vec::new());
    let _ = std::io::stdin().read_to_end(&mut call);
    if call.is_empty() || !alone(target) {
        return Outcome::Untried("no key was handed over".into());
    }
    told(&target.says(&target.gateway, &call), "a copied key")
}

/// A virtual key of our own.
struct Minted {
    id: String,
    provider: String,
    token: Zeroizing<String>,
}

impl Minted {
    fn new(target: &Target) -> Result<Self, Outcome> {
        let untried = |why: String| Outcome::Untried(why);
        let broker = Client::broker(&target.broker);
        let ask = |method, path: &str, body: Option<Value>| {
            let body = body.map(|body| Zeroizing::new(body.to_string().into_bytes()));
            let answer = broker.request(method, path, body).map_err(|fault| untried(fault.to_string()))?;
            let body = answer.accepted().map_err(|no| untried(format!("no virtual key was given: {}", no.title)))?;
            serde_json::from_slice::<Value>(&body).map_err(|_| untried("no JSON came".into()))
        };
        let whoami = ask(Method::GET, "/v1/whoami", None)?;
        let keys = whoami["keys"].as_array().cloned().unwrap_or_default();
        let minted = keys.iter().filter_map(Value::as_str).find_map(|key| {
            ask(Method::POST, "/v1/leases", Some(json!({ "key": key, "kind": "virtual", "ttl": 30 }))).ok()
        });
        let minted = minted.ok_or_else(|| untried(format!("no rule gives a virtual key {}", attacker())))?;
        let text = |name: &str| minted[name].as_str().unwrap_or_default().to_owned();
        Ok(Self { id: text("id"), provider: text("provider"), token: Zeroizing::new(text("token")) })
    }

    /// A key and a call that is refused to its holder for its body alone: another refusal later is the key's.
    fn usable(target: &Target) -> Result<(Self, &'static str), Outcome> {
        let key = Self::new(target)?;
        let refused = |path: &&&str| status(&target.says(&target.gateway, &key.call(path))) == Some(400);
        match CALLS.iter().find(refused) {
            Some(path) => Ok((key, path)),
            None => {
                key.revoke(target);
                Err(Outcome::Untried("the gateway lets this key make no call that we know".into()))
            }
        }
    }

    fn call(&self, path: &str) -> Zeroizing<Vec<u8>> {
        let Self { provider, token, .. } = self;
        let token = token.as_str();
        let head = Zeroizing::new(format!(
            "POST /{provider}/{path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\ncontent-length: {}\r\n\
             connection: close\r\n\r\n{token}",
            token.len()
        ));
        Zeroizing::new(head.as_bytes().to_vec())
    }

    fn revoke(&self, target: &Target) {
        let _ = Client::broker(&target.broker).request(Method::DELETE, &format!("/v1/leases/{}", self.id), None);
    }
}

fn status(answer: &std::io::Result<String>) -> Option<u16> {
    answer.as_ref().ok()?.split(' ').nth(1)?.parse().ok()
}

fn told(answer: &std::io::Result<String>, what: &str) -> Outcome {
    match (answer, status(answer)) {
        (Err(fault), _) => Outcome::Untried(format!("the gateway's socket: {fault}")),
        (_, Some(status @ (401 | 403))) => Outcome::Held(format!("{what} is refused: HTTP {status}")),
        (_, Some(status)) => Outcome::Failed(format!("{what} is as good as before: HTTP {status}")),
        (_, None) => Outcome::Untried(format!("{what} is not answered")),
    }
}
