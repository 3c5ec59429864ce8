//! `sixty lock` and `sixty unlock`. The passphrase goes from the prompt into one request; it must never stay anywhere.

use serde_json::{Map, Value};

use super::arguments::{Show, UnlockArguments};
use super::ask::{Doors, ask};
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

/// `sixty unlock`.
pub(super) fn unlock(doors: &Doors, arguments: &UnlockArguments) -> Result<(), Failure> {
    let passphrase = entry::secret("Passphrase of the vault: ")?;
    let plain = Map::from_iter([("accept_rollback".to_owned(), Value::from(arguments.accept_rollback))]);
    let body = entry::body(&plain, "passphrase", &passphrase)?;
    drop(passphrase);
    let asked = ask(&doors.control, Method::POST, "/v1/unlock", Some(body));
    let answer =
        asked.map_err(|failure| failure.advising("is it the right passphrase? each wrong one takes longer"))?;
    if arguments.show.json {
        return exactly(&answer);
    }
    say(format_args!("{GOOD}unlocked{GOOD:#}"));
    Ok(())
}
