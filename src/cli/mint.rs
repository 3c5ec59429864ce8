//! `sixty mint`: one token on stdout, or on the clipboard. It must never put the token into a text of its own.

use std::{borrow::Cow, num::NonZeroU32, str::FromStr};

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{ArgAction, Args};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::ask::{Doors, ask_people, json, read};
use super::failure::Failure;
use super::output::{exactly, say};
use super::time::span;
use super::words::{ScopeWord, Unquoted};
use super::{clipboard, words};
use crate::client::Method;
use crate::model::{KeyName, Kind, Owner, Request, Selector, Ttl};

/// `sixty mint`.
#[derive(Debug, Args)]
pub(super) struct MintArguments {
    /// Which key
    #[arg(value_parser = Unquoted::<KeyName>::default())]
    pub(super) key: KeyName,
    /// How long it lives: 60s, 5m [default: the rule's]
    #[arg(long, value_name = "SPAN", value_parser = Ttl::from_str)]
    pub(super) ttl: Option<Ttl>,
    /// Who makes the token [default: the rule's first]
    #[arg(long, value_parser = PossibleValuesParser::new(["upstream", "virtual"]).try_map(|kind| kind.parse::<Kind>()))]
    pub(super) kind: Option<Kind>,
    /// How often a virtual key may be used
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) uses: Option<u32>,
    /// Never a token that has less than this to live: 20s
    #[arg(long, value_name = "SPAN", value_parser = Ttl::from_str)]
    pub(super) min_remaining: Option<Ttl>,
    /// Narrow a virtual key: methods=POST, paths=/v1/*, models=qwen-*; once for each value
    #[arg(long, value_name = "PART=VALUE", action = ArgAction::Append)]
    pub(super) scope: Vec<ScopeWord>,
    /// Let it outlive the calling process; the rule must allow it
    #[arg(long)]
    pub(super) detached: bool,
    /// A virtual key for another peer alone: unit:job.service, uid:1001; the rule must allow it
    #[arg(long = "for", value_name = "PEER", conflicts_with = "detached", value_parser = Unquoted::<Selector>::default())]
    pub(super) recipient: Option<Selector>,
    /// A ticket in the key's place: that peer redeems it, once
    #[arg(long, requires = "recipient")]
    pub(super) ticket: bool,
    /// Print the whole lease as JSON
    #[arg(long, conflicts_with = "copy")]
    pub(super) json: bool,
    /// Put it on the clipboard, and clear that when it is over
    #[arg(long)]
    pub(super) copy: bool,
}

/// What `mint` needs of a lease. Not `Debug`: it holds the token.
#[derive(Deserialize)]
struct Minted<'a> {
    #[serde(borrow, alias = "ticket")]
    token: Cow<'a, str>,
    expires_in: u32,
}

/// `sixty mint`.
pub(super) fn mint(doors: &Doors, arguments: MintArguments) -> Result<(), Failure> {
    let advice = format!("`sixty why {}` shows which rule decides; `sixty audit` has the reason", arguments.key);
    let (as_json, copy) = (arguments.json, arguments.copy);
    let body = json(&request(arguments));
    let asked = ask_people(&doors.broker, Method::POST, "/v1/leases", Some(body));
    let answer = asked.map_err(|failure| failure.advising("denied", advice))?;
    if as_json {
        return exactly(&answer);
    }
    let (token, expires_in) = token(&answer)?;
    if !copy {
        return exactly(token.as_bytes());
    }
    let tool = clipboard::copy(token.as_bytes(), expires_in)?;
    say(format_args!("copied with {}; cleared in {}", tool.name(), span(expires_in.into())));
    Ok(())
}

/// The token, or the ticket, of a lease, and how long it is good.
pub(super) fn token(answer: &[u8]) -> Result<(Zeroizing<String>, u32), Failure> {
    let Minted { token, expires_in } = read(answer)?;
    Ok((Zeroizing::new(token.into_owned()), expires_in))
}

fn request(arguments: MintArguments) -> Request {
    let MintArguments { key, ttl, kind, uses, min_remaining, scope, detached, recipient, ticket, .. } = arguments;
    let own = if detached { Owner::Detached } else { Owner::Parent };
    Request {
        key,
        kind,
        ttl,
        min_remaining: min_remaining.map(|span| span.seconds()),
        uses: uses.and_then(NonZeroU32::new),
        owner: recipient.is_none().then_some(own),
        scope: words::scope(scope),
        recipient,
        ticket,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::{Client, fake::Fake};
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        mint: MintArguments,
    }

    fn arguments(words: &str) -> MintArguments {
        Line::parse_from(["mint"].into_iter().chain(words.split(' '))).mint
    }

    #[test]
    fn a_lease_lives_with_the_shell_unless_detached() {
        let sent = |words| serde_json::to_value(request(arguments(words))).unwrap();
        assert_eq!(sent("a"), serde_json::json!({"key": "a", "owner": "parent"}));
        assert_eq!(
            sent("a --ttl 5m --kind virtual --uses 3 --min-remaining 20s --scope methods=post --detached"),
            serde_json::json!({"key": "a", "kind": "virtual", "ttl": 300, "min_remaining": 20, "uses": 3,
                "owner": "detached", "scope": {"methods": ["POST"]}})
        );
        let other = sent("a --for unit:job.service --ticket");
        assert_eq!(other, serde_json::json!({"key": "a", "for": "unit:job.service", "ticket": true}));
    }

    #[test]
    fn a_denial_points_to_why() {
        let body = r#"{"title":"no rule allows this","status":403,"code":"denied","retry":"never","request_id":"7"}"#;
        let fake = Fake::answering("403 Forbidden", body);
        let doors = Doors { broker: Client::broker(fake.path()), control: Client::control("/nonexistent") };
        let failure = mint(&doors, arguments("a/b")).unwrap_err();
        assert_eq!(failure.to_string(), "denied: no rule allows this (request id 7)");
        assert!(matches!(failure, Failure::Refused { advice: Some(text), .. } if text.contains("`sixty why a/b`")));
        fake.asked();
    }

    #[test]
    fn an_answer_that_is_not_understood_is_not_quoted() {
        let fake = Fake::answering("201 Created", r#"{"token":"st-hunter2","expires_in":"st-hunter2"}"#);
        let doors = Doors { broker: Client::broker(fake.path()), control: Client::control("/nonexistent") };
        let said = mint(&doors, arguments("a")).unwrap_err().to_string();
        assert!(!said.contains("hunter2"), "{said}");
        fake.asked();
    }
}
