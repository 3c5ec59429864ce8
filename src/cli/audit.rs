//! `sixty audit`: the records as lines for people or as they were written, and the check of their chain.
//! It must never change a file that it reads.

use std::ops::ControlFlow;
use std::path::PathBuf;

use serde_json::{Map, Value};

use super::arguments::{AuditArguments, AuditCommand};
use super::ask::Doors;
use super::environment;
use super::failure::Failure;
use super::output::{BAD, BOLD, DIM, GOOD, WARN, exactly, plain, show as print};

/// Told in columns, or of use to machines alone.
const PLACED: [&str; 7] = ["seq", "time", "record", "verdict", "key", "prev", "peer"];

/// `sixty audit` and `sixty audit verify`.
pub(super) fn audit(doors: &Doors, arguments: &AuditArguments) -> Result<(), Failure> {
    match &arguments.command {
        Some(AuditCommand::Verify { files }) if files.is_empty() => verify(&[environment::audit_file()]),
        Some(AuditCommand::Verify { files }) => verify(files),
        None => stream(doors, arguments),
    }
}

/// The one call into `crate::audit`, to be wired when that lands: verify `files` in the order they were written, say
/// how many records hold, or fail with the file and the number of the first bad line.
fn verify(files: &[PathBuf]) -> Result<(), Failure> {
    let names: Vec<_> = files.iter().map(|file| file.display().to_string()).collect();
    Err(Failure::Audit(format!("this build can't verify {}: the audit is not part of it yet", names.join(", "))))
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
        (_, "denied" | "refused") | ("tail_missing" | "unlock_failed" | "peer_refused" | "reload_refused", _) => BAD,
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
    fn a_line_that_is_no_record_is_shown_and_can_not_steer_the_terminal() {
        assert_eq!(bare("oops\u{1b}[2J"), "oops\\u{1b}[2J\n");
        assert!(bare(r#"{"record":"x","why":"a\u001b[2Jb"}"#).contains("why=a\\u{1b}[2Jb"));
    }
}
