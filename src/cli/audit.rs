//! `sixty audit`: the records as lines for people or as they were written, and the check of their chain.
//! It must never change a file that it reads.

use std::ops::ControlFlow;
use std::path::PathBuf;

use serde_json::{Map, Value};

use super::arguments::{AuditArguments, AuditCommand, VerifyArguments};
use super::ask::{Doors, json};
use super::environment;
use super::failure::Failure;
use super::output::{BAD, BOLD, DIM, GOOD, WARN, exactly, plain, say, show as print};
use crate::audit::{self, Verified};

/// Told in columns, or of use to machines alone.
const PLACED: [&str; 7] = ["seq", "time", "record", "verdict", "key", "prev", "peer"];

/// `sixty audit` and `sixty audit verify`.
pub(super) fn audit(doors: &Doors, arguments: &AuditArguments) -> Result<(), Failure> {
    match &arguments.command {
        Some(AuditCommand::Verify(arguments)) => verify(arguments),
        None => stream(doors, arguments),
    }
}

/// Reads the files itself: who doubts the audit does not ask the daemon.
fn verify(arguments: &VerifyArguments) -> Result<(), Failure> {
    let usual = [environment::audit_file()];
    let files = if arguments.files.is_empty() { &usual[..] } else { &arguments.files };
    let beside = || files.last().map(|file| file.with_extension("head")).filter(|head| head.exists());
    let head = arguments.head.clone().or_else(beside);
    let found = audit::verify(files, head.as_deref()).map_err(|fault| Failure::Audit(fault.to_string()))?;
    if head.is_none() {
        say(format_args!("{WARN}no head{WARN:#} beside the audit: a cut tail can't show; name it with --head"));
    }
    if arguments.json { exactly(&json(&found)) } else { print(summary(files, &found)) }
}

fn summary(files: &[PathBuf], found: &Verified) -> String {
    let files: Vec<_> = files.iter().map(|file| file.display().to_string()).collect();
    let files = plain(&files.join(", "));
    let Verified { records, first, last, recovered, torn, beyond_head } = *found;
    if records == 0 {
        return format!("{GOOD}holds{GOOD:#}: {files} has no records yet\n");
    }
    let mut text = format!("{GOOD}holds{GOOD:#}: {files}, {records} records, {first} to {last}\n");
    let notes = [
        (first, format!("older files hold the records before {first}; name them first to check those too")),
        (recovered, format!("{recovered} torn lines were made good when the daemon came back")),
        (torn, format!("{torn} bytes of a torn line at the end: its writer was killed, or is writing")),
        (beyond_head, format!("{beyond_head} records at the end are not in the head yet")),
    ];
    for (_, note) in notes.iter().filter(|(count, _)| *count > 0) {
        text.push_str(&format!("  {note}\n"));
    }
    text
}

fn stream(doors: &Doors, arguments: &AuditArguments) -> Result<(), Failure> {
    let target = if arguments.follow { "/v1/audit?follow=true" } else { "/v1/audit" };
    let mut failed = None;
    let answer = doors.control.stream(target, |line| {
        let printed = if arguments.json { exactly(line) } else { print(told(line)) };
        match printed {
            Ok(()) => ControlFlow::Continue(()),
            Err(failure) => {
                failed = Some(failure);
                ControlFlow::Break(())
            }
        }
    })?;
    answer.accepted().map_err(Failure::refused)?;
    failed.map_or(Ok(()), Err)
}

/// One record as one line; a line that is no record is shown as it is.
fn told(line: &[u8]) -> String {
    let Ok(record) = serde_json::from_slice::<Map<String, Value>>(line) else {
        return format!("{}\n", plain(&String::from_utf8_lossy(line)));
    };
    let text = |name: &str| record.get(name).map(brief).unwrap_or_default();
    let (what, verdict) = (text("record"), text("verdict"));
    let style = match (what.as_str(), verdict.as_str()) {
        (_, "permit" | "sent") => GOOD,
        (_, "denied" | "refused")
        | ("tail_missing" | "decoy_used" | "ticket_abused" | "unlock_failed" | "peer_refused" | "reload_refused", _) => {
            BAD
        }
        (_, "lost") | ("unrecorded" | "recovered" | "key_quarantined", _) => WARN,
        _ => BOLD,
    };
    let what = if verdict.is_empty() { what } else { format!("{what} {verdict}") };
    let key = text("key");
    let rest = rest(&record);
    format!("{DIM}{}{DIM:#}  {style}{what:<17}{style:#}  {key:<20}  {rest}", text("time")).trim_end().to_owned() + "\n"
}

fn rest(record: &Map<String, Value>) -> String {
    let unplaced = record.iter().filter(|(name, _)| !PLACED.contains(&name.as_str()));
    let peer = ["peer", "by"].into_iter().filter_map(|name| record.get(name)?.as_object());
    let facts = peer.flat_map(|facts| facts.iter().filter(|(name, _)| ["uid", "unit", "exe"].contains(&name.as_str())));
    let words = unplaced.filter(|(name, _)| *name != "by").chain(facts);
    words.map(|(name, value)| format!("{}={}", plain(name), brief(value))).collect::<Vec<_>>().join(" ")
}

fn brief(value: &Value) -> String {
    match value {
        Value::String(text) if text.contains(' ') => format!("\"{}\"", plain(text)),
        Value::String(text) => plain(text),
        value => plain(&value.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bare(line: &str) -> String {
        anstream::adapter::strip_str(&told(line.as_bytes())).to_string()
    }

    #[test]
    fn a_record_is_one_line_with_its_peer_at_the_end() {
        let line = r#"{"seq":4,"time":"2025-04-08T02:46:09.000000Z","record":"decision","request":"00ff",
            "verdict":"permit","key":"dashscope/main","rule":"my apps","ttl":60,
            "peer":{"uid":1000,"gid":1000,"pid":77,"exe":"/usr/bin/curl"},"prev":"00"}"#;
        assert_eq!(
            bare(line),
            "2025-04-08T02:46:09.000000Z  decision permit    dashscope/main        \
             request=00ff rule=\"my apps\" ttl=60 exe=/usr/bin/curl uid=1000\n"
        );
    }

    #[test]
    fn what_could_not_be_checked_is_said() {
        let found = Verified { records: 3, first: 7, last: 9, beyond_head: 1, ..Verified::default() };
        let text = anstream::adapter::strip_str(&summary(&["a.ndjson".into()], &found)).to_string();
        assert!(
            text.starts_with("holds: a.ndjson, 3 records, 7 to 9\n  older files hold the records before 7;"),
            "{text}"
        );
        assert_eq!(text.lines().count(), 3, "{text}");
    }

    #[test]
    fn a_line_that_is_no_record_is_shown_and_can_not_steer_the_terminal() {
        assert_eq!(bare("oops\u{1b}[2J"), "oops\\u{1b}[2J\n");
        assert!(bare(r#"{"record":"x","why":"a\u001b[2Jb"}"#).contains("why=a\\u{1b}[2Jb"));
    }
}
