//! `sixty narrow`: a virtual key in, a narrower one out. Nobody is asked: the daemon learns of it when it is used.
//! It must never take the key from argv.

use std::num::NonZeroU32;
use std::str::FromStr;

use clap::{ArgAction, Args};
use serde_json::Map;

use super::entry;
use super::failure::Failure;
use super::output::exactly;
use super::words::{self, NoSecret, ScopeWord};
use crate::clock::Clock;
use crate::model::{Narrowing, Ttl};
use crate::wire::narrow::{NarrowFault, narrow as derive};

/// `sixty narrow`.
#[derive(Debug, Args)]
pub(super) struct NarrowArguments {
    #[arg(hide = true, value_parser = NoSecret)]
    stray: Option<NoSecret>,
    #[command(flatten)]
    away: Away,
    /// Print the key with its id, by which it can be revoked, as JSON
    #[arg(long)]
    json: bool,
}

/// What is taken away: something.
#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
struct Away {
    /// Calls that it is good for: methods=POST, paths=/v1/*, models=qwen-*; once for each value
    #[arg(long, value_name = "PART=VALUE", action = ArgAction::Append)]
    scope: Vec<ScopeWord>,
    /// Providers that it is good for; once for each
    #[arg(long, value_name = "NAME", action = ArgAction::Append)]
    provider: Vec<String>,
    /// How often it, and all that is derived from it, may be used
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    uses: Option<u32>,
    /// How long it lives from now: 60s, 5m; never longer than the key that it is derived from
    #[arg(long, value_name = "SPAN", value_parser = Ttl::from_str)]
    ttl: Option<Ttl>,
}

/// `sixty narrow`.
pub(super) fn narrow(arguments: NarrowArguments) -> Result<(), Failure> {
    let narrowing = narrowing(arguments.away, Clock::system().wall())?;
    let key = entry::secret("virtual key: ")?;
    let (narrower, id) = derive(&key, &narrowing).map_err(|fault| Failure::Input {
        what: fault.to_string(),
        advice: match fault {
            NarrowFault::Damaged => {
                "`sixty mint KEY --kind virtual` gives one; the provider's own tokens can't be narrowed"
            }
            NarrowFault::TooLarge => "a key is narrowed at most 64 times and has at most 8192 bytes",
        },
    })?;
    narrower.expose(|text| match arguments.json {
        true => {
            let plain = Map::from_iter([("id".to_owned(), id.to_string().into())]);
            exactly(&entry::body(&plain, "token", text)?)
        }
        false => exactly(text),
    })
}

fn narrowing(away: Away, now: u64) -> Result<Narrowing, Failure> {
    let Away { scope, provider, uses, ttl } = away;
    let narrowing = Narrowing {
        providers: (!provider.is_empty()).then_some(provider),
        scope: words::scope(scope),
        uses: uses.and_then(NonZeroU32::new),
        until: ttl.map(|ttl| now + u64::from(ttl.seconds())),
    };
    // As the daemon will read it: a scope that it would refuse makes a key that is good for nothing.
    let read = serde_json::to_vec(&narrowing).ok().and_then(|text| serde_json::from_slice::<Narrowing>(&text).ok());
    read.ok_or(Failure::Input {
        what: "a scope has at most 32 values of a part, each of 1 to 256 bytes with at most eight stars".into(),
        advice: "narrow it in two steps: each must allow a call",
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        narrow: NarrowArguments,
    }

    fn read(words: &str) -> Result<Narrowing, Failure> {
        narrowing(Line::parse_from(["narrow"].into_iter().chain(words.split(' '))).narrow.away, 1000)
    }

    #[test]
    fn what_is_taken_away_is_what_was_said() {
        let told = serde_json::to_value(read("--scope models=qwen-* --uses 3 --ttl 5m --provider dashscope").unwrap());
        let want =
            serde_json::json!({"providers": ["dashscope"], "scope": {"models": ["qwen-*"]}, "uses": 3, "until": 1300});
        assert_eq!(told.unwrap(), want);
        assert!(Line::try_parse_from(["narrow"]).is_err(), "a copy is no narrower key");
        assert!(read("--scope paths=/********* --uses 3").is_err(), "the daemon would not read it");
    }
}
