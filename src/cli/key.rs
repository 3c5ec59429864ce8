//! `sixty key …`: long-lived keys put in, listed by what is known of them, swapped, tried and taken out.
//! It must never show a key, not even to the one who just typed it.

use std::collections::BTreeMap;
use std::io::{BufRead, IsTerminal};

use serde::Deserialize;
use serde_json::{Map, Value};

use super::arguments::{KeyAdd, KeyRemove, OneKey, Show};
use super::ask::{Doors, Json, ask, read};
use super::entry;
use super::failure::Failure;
use super::lease::Revoked;
use super::output::{BAD, GOOD, exactly, plain, say, show as print};
use super::table::{Cell, Side, Table};
use super::time::{ago, date, span};
use crate::client::Method;
use crate::model::KeyName;

/// What a daemon tells of a key.
#[derive(Deserialize)]
struct Key {
    name: String,
    provider: String,
    account: Option<String>,
    workspace: Option<String>,
    region: Option<String>,
    endpoint: Option<String>,
    owner: Option<String>,
    created: u64,
    rotated: Option<u64>,
    last_used: Option<u64>,
    fingerprint: String,
    #[serde(default)]
    set: BTreeMap<String, String>,
    quarantine: Option<Quarantine>,
}

#[derive(Deserialize)]
struct Quarantine {
    since: u64,
    reason: String,
}

#[derive(Deserialize)]
struct Keys {
    keys: Vec<Key>,
}

/// What a test of a key gave.
#[derive(Deserialize)]
struct Tested {
    expires_in: Option<u64>,
    micros: u64,
}

/// `sixty key add`.
pub(super) fn add(doors: &Doors, arguments: &KeyAdd) -> Result<(), Failure> {
    let secret = entry::secret(&format!("Secret of {}: ", arguments.name))?;
    let body = entry::body(&facts(arguments), "secret", &secret)?;
    let answer = ask(&doors.control, Method::PUT, &route(&arguments.name), Some(body))?;
    if arguments.show.json {
        return exactly(&answer);
    }
    let key: Key = read(&answer)?;
    let name = plain(&key.name);
    say(format_args!("{GOOD}stored{GOOD:#} {name} (fingerprint {}); next: sixty mint {name}", plain(&key.fingerprint)));
    Ok(())
}

/// `sixty key list`.
pub(super) fn list(doors: &Doors, show: &Show) -> Result<(), Failure> {
    let answer = ask(&doors.control, Method::GET, "/v1/keys", None)?;
    if show.json {
        return exactly(&answer);
    }
    let Keys { keys } = read(&answer)?;
    if keys.is_empty() {
        say("no keys yet; `sixty key add --help` shows how to store one");
        return Ok(());
    }
    print(table(&keys))
}

/// `sixty key show`.
pub(super) fn show(doors: &Doors, one: &OneKey) -> Result<(), Failure> {
    let answer = about(doors, Method::GET, &route(&one.name), None)?;
    if one.show.json { exactly(&answer) } else { print(sheet(&read(&answer)?)) }
}

/// `sixty key rotate`.
pub(super) fn rotate(doors: &Doors, one: &OneKey) -> Result<(), Failure> {
    let secret = entry::secret(&format!("New secret of {}: ", one.name))?;
    let body = entry::body(&Map::new(), "secret", &secret)?;
    let answer = about(doors, Method::POST, &format!("{}/rotate", route(&one.name)), Some(body))?;
    if one.show.json {
        return exactly(&answer);
    }
    let key: Key = read(&answer)?;
    let (name, fingerprint) = (plain(&key.name), plain(&key.fingerprint));
    say(format_args!("{GOOD}rotated{GOOD:#} {name} (fingerprint {fingerprint}); the next mint uses the new one"));
    Ok(())
}

/// `sixty key remove`. A person is asked first; a script is taken at its word.
pub(super) fn remove(doors: &Doors, arguments: &KeyRemove) -> Result<(), Failure> {
    if !arguments.yes && std::io::stdin().is_terminal() {
        confirm(&arguments.name)?;
    }
    let answer = about(doors, Method::DELETE, &route(&arguments.name), None)?;
    if arguments.show.json {
        return exactly(&answer);
    }
    let revoked: Revoked = read(&answer)?;
    say(format_args!("{GOOD}removed{GOOD:#} {}; {}", arguments.name, revoked.told()));
    Ok(())
}

/// `sixty key test`.
pub(super) fn test(doors: &Doors, one: &OneKey) -> Result<(), Failure> {
    let asked = about(doors, Method::POST, &format!("{}/test", route(&one.name)), None);
    let answer = asked.map_err(|no| no.about_key(&one.name))?;
    if one.show.json {
        return exactly(&answer);
    }
    let Tested { expires_in, micros } = read(&answer)?;
    let (name, millis) = (&one.name, micros.div_ceil(1000));
    match expires_in.map(span) {
        Some(life) => say(format_args!(
            "{GOOD}works{GOOD:#}: {name} gave a token for {life} within {millis} ms; it was thrown away"
        )),
        None => say(format_args!("{GOOD}works{GOOD:#}: its provider took {name} within {millis} ms")),
    }
    Ok(())
}

/// Asks about one key that should be there.
fn about(doors: &Doors, method: Method, target: &str, body: Option<Json>) -> Result<Json, Failure> {
    ask(&doors.control, method, target, body)
        .map_err(|no| no.advising("denied", "`sixty key list` shows the keys that there are"))
}

/// A name needs no escaping: its letters all stand for themselves in a path (RFC 3986, 3.3).
fn route(name: &KeyName) -> String {
    format!("/v1/keys/{name}")
}

fn facts(arguments: &KeyAdd) -> Map<String, Value> {
    let KeyAdd { provider, workspace, region, owner, account, endpoint, set, .. } = arguments;
    let named = [
        ("provider", Some(provider)),
        ("account", account.as_ref()),
        ("workspace", workspace.as_ref()),
        ("region", region.as_ref()),
        ("endpoint", endpoint.as_ref()),
        ("owner", owner.as_ref()),
    ];
    let given = named.into_iter().filter_map(|(name, text)| Some((name.to_owned(), Value::from(text?.as_str()))));
    let mut facts: Map<_, _> = given.collect();
    if !set.is_empty() {
        let set: Map<_, _> = set.iter().map(|pair| (pair.0.clone(), Value::from(pair.1.as_str()))).collect();
        facts.insert("set".to_owned(), Value::Object(set));
    }
    facts
}

fn confirm(name: &KeyName) -> Result<(), Failure> {
    say(format_args!("{BAD}remove {name} and revoke its leases?{BAD:#} The key can't be had back from here. [y/N]"));
    let mut line = String::new();
    let read = std::io::stdin().lock().read_line(&mut line);
    let yes = read.is_ok() && matches!(line.trim(), "y" | "Y" | "yes");
    if yes { Ok(()) } else { Err(Failure::Declined) }
}

fn table(keys: &[Key]) -> Table {
    let heads = ["KEY", "PROVIDER", "REGION", "WORKSPACE", "OWNER", "LAST USED", "FINGERPRINT", "STATE"];
    let mut table = Table::new(&heads.map(|head| (head, Side::Left)));
    for key in keys {
        table.row([
            Cell::new(&key.name),
            Cell::new(&key.provider),
            Cell::maybe(key.region.as_ref()),
            Cell::maybe(key.workspace.as_ref()),
            Cell::maybe(key.owner.as_ref()),
            Cell::maybe(key.last_used.map(ago)),
            Cell::new(&key.fingerprint),
            if key.quarantine.is_some() {
                Cell::new("quarantined").styled(BAD)
            } else {
                Cell::new("ready").styled(GOOD)
            },
        ]);
    }
    table
}

fn sheet(key: &Key) -> Table {
    let mut sheet = Table::pairs();
    sheet.pair("key", &key.name);
    sheet.pair("provider", &key.provider);
    let places = [("account", &key.account), ("workspace", &key.workspace), ("region", &key.region)];
    for (name, value) in places.into_iter().chain([("endpoint", &key.endpoint), ("owner", &key.owner)]) {
        if let Some(value) = value {
            sheet.pair(name, value);
        }
    }
    sheet.pair("created", date(key.created));
    sheet.pair("rotated", Cell::maybe(key.rotated.map(date)));
    sheet.pair("last used", Cell::maybe(key.last_used.map(ago)));
    sheet.pair("fingerprint", &key.fingerprint);
    key.set.iter().for_each(|(name, value)| sheet.pair(name, value));
    match &key.quarantine {
        None => sheet.pair("state", Cell::new("ready").styled(GOOD)),
        Some(Quarantine { since, reason }) => {
            sheet.pair("state", Cell::new(format!("quarantined {}: {reason}", ago(*since))).styled(BAD));
            sheet.pair("", "the provider refuses it: `sixty key rotate` it, or `sixty key test` it again");
        }
    }
    sheet
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::{Client, fake::Fake};
    use clap::Parser;

    const KEY: &str = r#"{"name":"dashscope/main","provider":"dashscope","region":"singapore","created":1744080369,
        "last_used":null,"fingerprint":"00ff","set":{"plan":"a"},
        "quarantine":{"since":1744080369,"reason":"HTTP 401"}}"#;

    fn doors(fake: &Fake) -> Doors {
        Doors { broker: Client::broker("/nonexistent/broker"), control: Client::control(fake.path()) }
    }

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        add: KeyAdd,
    }

    #[test]
    fn only_what_was_said_of_a_key_is_sent() {
        let words = ["x", "a/b", "--provider", "p", "--region", "r", "--set", "k=v=w"];
        let said = Value::Object(facts(&Line::parse_from(words).add));
        assert_eq!(said, serde_json::json!({"provider": "p", "region": "r", "set": {"k": "v=w"}}));
    }

    #[test]
    fn a_quarantined_key_says_since_when_and_why_and_what_to_do() {
        let key: Key = serde_json::from_str(KEY).unwrap();
        let text = anstream::adapter::strip_str(&sheet(&key).to_string()).to_string();
        assert!(text.contains("ago: HTTP 401\n"), "{text}");
        assert!(text.contains("sixty key rotate"), "{text}");
        assert!(text.contains("created      2025-04-08T02:46:09Z\n"), "{text}");
    }

    #[test]
    fn removal_tells_the_key_by_its_path() {
        let answer = r#"{"removed":true,"revoked":2,"residual":{"leases":1,"upstream_seconds":41}}"#;
        let fake = Fake::answering("200 OK", answer);
        let name: KeyName = "dashscope/main".parse().unwrap();
        let arguments = KeyRemove { name, yes: true, show: Show { json: false } };
        assert!(remove(&doors(&fake), &arguments).is_ok());
        assert!(fake.asked().starts_with("DELETE /v1/keys/dashscope/main HTTP/1.1\r\n"));
    }
}
