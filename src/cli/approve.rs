//! `sixty approve`: what waits for a person's yes, shown whole, and the answer. It must never answer what was not shown or
//! named, nor let the text of a process that asks steer the terminal.

use std::collections::BTreeSet;
use std::io::{BufRead, IsTerminal};
use std::os::fd::AsFd;
use std::time::Duration;

use clap::Args;
use nix::sys::termios::{FlushArg, tcflush};
use serde::Deserialize;
use serde_json::json as object;

use super::arguments::Show;
use super::ask::{Doors, Json, ask, json, read};
use super::failure::Failure;
use super::output::{BAD, BOLD, GOOD, exactly, plain, say, show as print};
use super::table::Table;
use super::time::span;
use super::words::Unquoted;
use crate::client::Method;
use crate::model::{ApprovalId, cut};

/// `sixty approve`.
#[derive(Debug, Args)]
pub(super) struct ApproveArguments {
    /// Answer this one, without asking
    #[arg(value_name = "ID", value_parser = Unquoted::<ApprovalId>::default())]
    id: Option<ApprovalId>,
    /// Say no
    #[arg(long, requires = "id")]
    deny: bool,
    /// Go on for those to come
    #[arg(long, short, conflicts_with_all = ["id", "json"])]
    follow: bool,
    #[command(flatten)]
    show: Show,
}

#[derive(Deserialize)]
struct Waiting {
    approvals: Vec<Approval>,
}

#[derive(Deserialize)]
struct Approval {
    id: String,
    key: String,
    rule: String,
    remembered: bool,
    callers: u64,
    expires_in: u64,
    asks: Vec<Given>,
    caller: Portrait,
}

#[derive(Deserialize)]
struct Given {
    what: String,
    how: String,
}

#[derive(Deserialize)]
struct Portrait {
    uid: u32,
    unit: Option<String>,
    directory: Option<String>,
    exe_sha256: Option<String>,
    processes: Vec<Kin>,
    #[serde(default)]
    beside: Vec<u32>,
}

#[derive(Deserialize)]
struct Kin {
    pid: u32,
    uid: Option<u32>,
    exe: Option<String>,
    name: Option<String>,
    command: Option<String>,
}

#[derive(Deserialize)]
struct Answered {
    callers: u64,
}

/// What a person said.
enum Said {
    Yes,
    No,
    /// Nothing more: the end of the input.
    Nothing,
}

/// How often `--follow` looks.
const LOOK: Duration = Duration::from_millis(500);

/// `sixty approve`.
pub(super) fn approve(doors: &Doors, arguments: &ApproveArguments) -> Result<(), Failure> {
    let Show { json } = arguments.show;
    if let Some(id) = arguments.id {
        let answer = answer(doors, &id.to_string(), !arguments.deny)?;
        return if json { exactly(&answer) } else { told(&answer, !arguments.deny) };
    }
    let list = list(doors)?;
    if json {
        return exactly(&list);
    }
    let Waiting { approvals } = read(&list)?;
    if approvals.is_empty() && !arguments.follow {
        say("nothing waits for approval");
        return Ok(());
    }
    match std::io::stdin().is_terminal() {
        true => interview(doors, approvals, arguments.follow),
        false if arguments.follow => Err(Failure::Input {
            what: "there is no terminal to answer in".to_owned(),
            advice: "`sixty approve --json` lists what waits, `sixty approve ID` answers it",
        }),
        false => approvals.iter().try_for_each(|one| print(shown(one))),
    }
}

/// Asks about each, once.
fn interview(doors: &Doors, mut approvals: Vec<Approval>, follow: bool) -> Result<(), Failure> {
    let mut seen = BTreeSet::new();
    loop {
        for one in approvals.into_iter().filter(|one| seen.insert(one.id.clone())) {
            print(shown(&one))?;
            match said(&one) {
                Said::Nothing => return Ok(()),
                said => heard(doors, &one.id, matches!(said, Said::Yes))?,
            }
        }
        if !follow {
            return Ok(());
        }
        std::thread::sleep(LOOK);
        approvals = read::<Waiting>(&list(doors)?)?.approvals;
    }
}

fn said(one: &Approval) -> Said {
    // What was typed before the question is no answer to it.
    let _ = tcflush(std::io::stdin().as_fd(), FlushArg::TCIFLUSH);
    say(format_args!("{BOLD}let it have {}?{BOLD:#} [y/N]", plain(&one.key)));
    let mut line = String::new();
    match std::io::stdin().lock().read_line(&mut line) {
        Ok(0) | Err(_) => Said::Nothing,
        Ok(_) if matches!(line.trim(), "y" | "Y" | "yes") => Said::Yes,
        Ok(_) => Said::No,
    }
}

/// One that does not wait any more is no reason to leave the next ones.
fn heard(doors: &Doors, id: &str, yes: bool) -> Result<(), Failure> {
    match answer(doors, id, yes) {
        Err(Failure::Refused { problem, .. }) if problem.status == 404 => {
            say(format_args!("{BAD}too late{BAD:#}: it does not wait any more"));
            Ok(())
        }
        answer => told(&answer?, yes),
    }
}

fn list(doors: &Doors) -> Result<Json, Failure> {
    ask(&doors.control, Method::GET, "/v1/approvals", None)
}

fn answer(doors: &Doors, id: &str, yes: bool) -> Result<Json, Failure> {
    ask(&doors.control, Method::POST, &format!("/v1/approvals/{id}"), Some(json(&object!({ "approve": yes }))))
}

fn told(answer: &[u8], yes: bool) -> Result<(), Failure> {
    let Answered { callers } = read(answer)?;
    let requests = if callers == 1 { "1 request".to_owned() } else { format!("{callers} requests") };
    match yes {
        true => say(format_args!("{GOOD}approved{GOOD:#}: {requests} of it")),
        false => say(format_args!("{BAD}denied{BAD:#}: {requests} of it")),
    }
    Ok(())
}

fn shown(one: &Approval) -> String {
    let mut table = Table::pairs();
    table.pair("id", &one.id);
    table.pair("key", &one.key);
    table.pair("rule", &one.rule);
    for Given { what, how } in &one.asks {
        table.pair(&what.replace(['.', '_'], " "), close(how));
    }
    let yes = if one.remembered { "for all of this until the process ends" } else { "for this once" };
    table.pair("a yes is good", yes);
    table.pair("waits", format!("{} more, {} asking", span(one.expires_in), one.callers));
    let Portrait { uid, unit, directory, exe_sha256, processes, beside } = &one.caller;
    table.pair("user", uid.to_string());
    for (name, value) in [("unit", unit), ("directory", directory), ("exe sha256", exe_sha256)] {
        table.pair(name, value.as_deref().map_or_else(|| "(unknown)".to_owned(), close));
    }
    for (depth, kin) in processes.iter().enumerate() {
        table.pair(if depth == 0 { "asked by" } else { "started by" }, kin.line(*uid));
    }
    for pid in beside {
        table.pair("beside it", format!("{pid}, which holds the same connection"));
    }
    format!("{table}\n")
}

/// Bytes of one value: what is longer would scroll the others off the screen. `--json` has all of it.
const VALUE: usize = 512;

/// Without room that would push what follows to where a line of ours seems to begin.
fn close(text: &str) -> String {
    cut(&text.split_whitespace().collect::<Vec<_>>().join(" "), VALUE)
}

impl Kin {
    /// What it runs by the kernel's word; what it says of itself is dimmed by quotes, and shown all the same.
    fn line(&self, user: u32) -> String {
        let name = self.name.as_deref().unwrap_or("?");
        let exe = self
            .exe
            .as_deref()
            .map(close)
            .unwrap_or_else(|| format!("(a program that is at no path here, called {name})"));
        let other = self.uid.filter(|uid| *uid != user).map(|uid| format!(" of user {uid}")).unwrap_or_default();
        let command = self.command.as_ref().map(|command| format!("  \"{}\"", close(command))).unwrap_or_default();
        format!("{} {exe}{other}{command}", self.pid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_of_the_call_pushes_what_follows_to_where_a_line_seems_to_begin() {
        let how = format!("qwen{}key  other/key", " ".repeat(200));
        let caller = Portrait {
            uid: 7,
            unit: None,
            directory: Some(how.clone()),
            exe_sha256: None,
            processes: Vec::new(),
            beside: Vec::new(),
        };
        let (id, key, rule) = ("ap_0".to_owned(), "dashscope/main".to_owned(), "mine".to_owned());
        let asks = vec![Given { what: "model".into(), how }];
        let one = Approval { id, key, rule, remembered: false, callers: 1, expires_in: 9, asks, caller };
        assert_eq!(shown(&one).matches("qwen key other/key\n").count(), 2, "{}", shown(&one));
        let asks = vec![Given { what: "path".into(), how: "/v1/x".repeat(800) }];
        let long = shown(&Approval { asks, ..one });
        assert!(long.lines().all(|line| line.len() < 600) && long.contains('…'), "{long}");
    }
}
