//! `sixty decoy …`: what looks like a key and is a trap, made, listed and taken out.
//! It must never lay a decoy over a file that is there.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::arguments::{OneKey, Show};
use super::ask::{Doors, Json, ask, read};
use super::failure::{Exit, Failure};
use super::help;
use super::output::{GOOD, exactly, plain, say, show as print};
use super::table::{Cell, Side, Table};
use super::time::date;
use super::words::Unquoted;
use crate::client::Method;
use crate::model::KeyName;

/// `sixty decoy …`.
#[derive(Debug, Subcommand)]
pub(super) enum DecoyCommand {
    /// Make a decoy, and print it or put it into a file
    #[command(before_help = help::DECOY_ADD)]
    Add(DecoyAdd),
    /// List the decoys
    #[command(before_help = help::DECOY_LIST)]
    List(Show),
    /// Remove a decoy
    #[command(before_help = help::DECOY_REMOVE)]
    Remove(OneKey),
}

/// `sixty decoy add`.
#[derive(Debug, Args)]
pub(super) struct DecoyAdd {
    /// What to call it, like any key of yours
    #[arg(value_parser = Unquoted::<KeyName>::default())]
    name: KeyName,
    /// Whose key it looks like: the name of a recipe
    #[arg(long, value_name = "RECIPE")]
    provider: String,
    /// Whether it looks like the provider's key, or like a virtual key of ours
    #[arg(long, value_parser = ["upstream", "virtual"], default_value = "upstream")]
    kind: String,
    /// The provider's workspace
    #[arg(long)]
    workspace: Option<String>,
    /// The provider's region
    #[arg(long)]
    region: Option<String>,
    /// Who would pay for it
    #[arg(long)]
    owner: Option<String>,
    /// The provider's account
    #[arg(long)]
    account: Option<String>,
    /// Write it to a new file (0600) instead of to stdout
    #[arg(long, value_name = "FILE", conflicts_with = "json")]
    to: Option<PathBuf>,
    #[command(flatten)]
    show: Show,
}

#[derive(Deserialize)]
struct Made {
    decoy: Decoy,
    secret: String,
}

#[derive(Deserialize)]
struct Decoys {
    decoys: Vec<Decoy>,
}

#[derive(Deserialize)]
struct Decoy {
    name: String,
    provider: String,
    workspace: Option<String>,
    region: Option<String>,
    owner: Option<String>,
    created: u64,
    fingerprint: String,
}

/// Does one of them.
pub(super) fn decoy(doors: &Doors, command: DecoyCommand) -> Result<(), Failure> {
    match command {
        DecoyCommand::Add(arguments) => add(doors, &arguments),
        DecoyCommand::List(show) => list(doors, &show),
        DecoyCommand::Remove(one) => remove(doors, &one),
    }
}

fn add(doors: &Doors, arguments: &DecoyAdd) -> Result<(), Failure> {
    // Made first: a decoy that cannot be laid out is of no use.
    let file = arguments.to.as_deref().map(Fresh::make).transpose()?;
    let body = Value::Object(facts(arguments)).to_string().into_bytes();
    let answer = ask(&doors.control, Method::PUT, &route(&arguments.name), Some(body.into()))?;
    if arguments.show.json {
        return exactly(&answer);
    }
    let Made { decoy, secret } = read(&answer)?;
    let fingerprint = plain(&decoy.fingerprint);
    say(format_args!(
        "{GOOD}laid{GOOD:#} {} (fingerprint {fingerprint}); whoever uses it is told on",
        plain(&decoy.name)
    ));
    match file {
        Some(file) => file.fill(secret.as_bytes()),
        None => exactly(secret.as_bytes()),
    }
}

fn list(doors: &Doors, show: &Show) -> Result<(), Failure> {
    let answer = ask(&doors.control, Method::GET, "/v1/decoys", None)?;
    if show.json {
        return exactly(&answer);
    }
    let Decoys { decoys } = read(&answer)?;
    if decoys.is_empty() {
        say("no decoys; `sixty decoy add --help` shows how to lay one");
        return Ok(());
    }
    let heads = ["KEY", "PROVIDER", "REGION", "WORKSPACE", "OWNER", "CREATED", "FINGERPRINT"];
    let mut table = Table::new(&heads.map(|head| (head, Side::Left)));
    for decoy in &decoys {
        table.row([
            Cell::new(&decoy.name),
            Cell::new(&decoy.provider),
            Cell::maybe(decoy.region.as_ref()),
            Cell::maybe(decoy.workspace.as_ref()),
            Cell::maybe(decoy.owner.as_ref()),
            Cell::new(date(decoy.created)),
            Cell::new(&decoy.fingerprint),
        ]);
    }
    print(table)
}

fn remove(doors: &Doors, one: &OneKey) -> Result<(), Failure> {
    let asked: Result<Json, Failure> = ask(&doors.control, Method::DELETE, &route(&one.name), None);
    let answer = asked.map_err(|no| no.advising("denied", "`sixty decoy list` shows the decoys that there are"))?;
    if one.show.json {
        return exactly(&answer);
    }
    say(format_args!("{GOOD}removed{GOOD:#} {}; take it away from where it lies, too", one.name));
    Ok(())
}

fn route(name: &KeyName) -> String {
    format!("/v1/decoys/{name}")
}

fn facts(arguments: &DecoyAdd) -> Map<String, Value> {
    let DecoyAdd { provider, kind, workspace, region, owner, account, .. } = arguments;
    let named = [
        ("provider", Some(provider)),
        ("kind", Some(kind)),
        ("account", account.as_ref()),
        ("workspace", workspace.as_ref()),
        ("region", region.as_ref()),
        ("owner", owner.as_ref()),
    ];
    named.into_iter().filter_map(|(name, text)| Some((name.to_owned(), Value::from(text?.as_str())))).collect()
}

/// A new file; gone again if it is not filled.
struct Fresh<'a> {
    path: &'a Path,
    file: Option<std::fs::File>,
}

impl<'a> Fresh<'a> {
    fn make(path: &'a Path) -> Result<Self, Failure> {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        Ok(Self { path, file: Some(file.map_err(|fault| unmade(path, &fault))?) })
    }

    fn fill(mut self, text: &[u8]) -> Result<(), Failure> {
        let Some(mut file) = self.file.take() else { return Ok(()) };
        file.write_all(text).and_then(|()| file.write_all(b"\n")).map_err(|fault| unmade(self.path, &fault))
    }
}

impl Drop for Fresh<'_> {
    fn drop(&mut self) {
        if self.file.is_some() {
            let _ = std::fs::remove_file(self.path);
        }
    }
}

fn unmade(path: &Path, fault: &std::io::Error) -> Failure {
    Failure::Job {
        what: format!("{} can't be written: {fault}", path.display()),
        advice: "name a file that is not there yet, in a folder that you may write to",
        exit: Exit::Other,
    }
}
