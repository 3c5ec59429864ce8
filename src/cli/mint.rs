//! `sixty mint`: one token on stdout, or on the clipboard. It must never put the token into a text of its own.

use std::{borrow::Cow, num::NonZeroU32};

use serde::Deserialize;
use zeroize::Zeroizing;

use super::arguments::MintArguments;
use super::ask::{Doors, ask, json, read};
use super::failure::Failure;
use super::output::{exactly, say};
use super::time::span;
use super::{clipboard, words};
use crate::client::Method;
use crate::model::{Owner, Request};

/// What `mint` needs of a lease. Not `Debug`: it holds the token.
#[derive(Deserialize)]
struct Minted<'a> {
    #[serde(borrow)]
    token: Cow<'a, str>,
    expires_in: u32,
}

/// `sixty mint`.
pub(super) fn mint(doors: &Doors, arguments: MintArguments) -> Result<(), Failure> {
    let advice = format!("`sixty why {}` shows which rule decides; `sixty audit` has the reason", arguments.key);
    let (as_json, copy) = (arguments.json, arguments.copy);
    let body = json(&request(arguments));
    let asked = ask(&doors.broker, Method::POST, "/v1/leases", Some(body));
    let answer = asked.map_err(|failure| failure.advising("denied", advice))?;
    if as_json {
        return exactly(&answer);
    }
    let Minted { token, expires_in } = read(&answer)?;
    let token = Zeroizing::new(token.into_owned());
    if !copy {
        return exactly(token.as_bytes());
    }
    let tool = clipboard::copy(token.as_bytes(), expires_in)?;
    say(format_args!("copied with {}; cleared in {}", tool.name(), span(expires_in.into())));
    Ok(())
}

fn request(arguments: MintArguments) -> Request {
    let MintArguments { key, ttl, kind, uses, min_remaining, scope, detached, .. } = arguments;
    Request {
        key,
        kind,
        ttl,
        min_remaining: min_remaining.map(|span| span.seconds()),
        uses: uses.and_then(NonZeroU32::new),
        owner: if detached { Owner::Detached } else { Owner::Parent },
        scope: words::scope(scope),
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
