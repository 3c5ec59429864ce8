//! `sixty lock` and `sixty unlock`. The passphrase goes from the prompt into one request; it must never stay anywhere.

use serde_json::{Map, Value};

use super::arguments::{Show, UnlockArguments};
use super::ask::{Doors, Json, ask, json};
use super::entry;
use super::failure::Failure;
use super::output::{GOOD, exactly, say};
use crate::client::Method;

/// `sixty lock`.
pub(super) fn lock(doors: &Doors, show: &Show) -> Result<(), Failure> {
    let answer = ask(&doors.control, Method::POST, "/v1/lock", None)?;
    if show.json {
        return exactly(&answer);
    }
    say(format_args!("{GOOD}locked{GOOD:#}: every key is wiped from memory; `sixty unlock` brings them back"));
    Ok(())
}

/// `sixty unlock`. Nobody is asked for a passphrase where a key file or a credential opens the vault.
pub(super) fn unlock(doors: &Doors, arguments: &UnlockArguments) -> Result<(), Failure> {
    let plain = Map::from_iter([("accept_rollback".to_owned(), Value::from(arguments.accept_rollback))]);
    let answer = match ask(&doors.control, Method::POST, "/v1/unlock", Some(json(&plain))) {
        Err(Failure::Refused { problem, .. }) if problem.code == "locked" => by_passphrase(doors, &plain)?,
        other => other?,
    };
    if arguments.show.json {
        return exactly(&answer);
    }
    say(format_args!("{GOOD}unlocked{GOOD:#}"));
    Ok(())
}

fn by_passphrase(doors: &Doors, plain: &Map<String, Value>) -> Result<Json, Failure> {
    let passphrase = entry::secret("Passphrase of the vault: ")?;
    let body = entry::body(plain, "passphrase", &passphrase)?;
    drop(passphrase);
    let asked = ask(&doors.control, Method::POST, "/v1/unlock", Some(body));
    asked.map_err(|failure| failure.advising("denied", "each wrong passphrase makes the next wait longer, up to 10 s"))
}
