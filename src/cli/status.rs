//! `sixty status`: whatever a daemon tells of itself, what is wrong with it standing out.
//! It must never hide a field because it does not know it.

use serde_json::{Map, Value};

use super::arguments::Show;
use super::ask::{Doors, ask, read};
use super::failure::Failure;
use super::output::{BAD, BOLD, GOOD, WARN, exactly, show as print};
use super::table::{Cell, Table};
use super::time::{ago, date, span};
use crate::client::Method;

/// What comes first, at any depth; all else follows by the alphabet.
const FIRST: [&str; 19] = [
    "version",
    "pid",
    "uptime_seconds",
    "state",
    "vault",
    "policy",
    "identity",
    "confinement",
    "memory",
    "leases",
    "audit",
    "upstream",
    "quarantined",
    "echoed",
    "alarms",
    "limits",
    "rules",
    "live",
    "records",
];

/// `sixty status`.
pub(super) fn status(doors: &Doors, show: &Show) -> Result<(), Failure> {
    let answer = ask(&doors.control, Method::GET, "/v1/status", None)?;
    if show.json {
        return exactly(&answer);
    }
    let told: Map<String, Value> = read(&answer)?;
    let mut table = Table::pairs();
    lines(&mut table, &told, 0);
    print(table)
}

fn lines(table: &mut Table, members: &Map<String, Value>, depth: usize) {
    let mut names: Vec<_> = members.keys().collect();
    names.sort_by_key(|name| (FIRST.iter().position(|first| first == name).unwrap_or(FIRST.len()), name.as_str()));
    for name in names {
        let value = &members[name];
        let words = name.strip_suffix("_seconds").unwrap_or(name).replace('_', " ");
        let head = Cell::new(format!("{:1$}{words}", "", depth * 2));
        match value {
            Value::Object(inner) if !inner.is_empty() => {
                table.row([head.styled(BOLD)]);
                lines(table, inner, depth + 1);
            }
            value => table.row([if depth == 0 { head.styled(BOLD) } else { head }, cell(name, value)]),
        }
    }
}

fn cell(name: &str, value: &Value) -> Cell {
    let text = match value {
        Value::Null => return Cell::maybe(None::<&str>),
        Value::Bool(yes) => if *yes { "yes" } else { "no" }.to_owned(),
        Value::Number(number) => counted(name, number),
        Value::String(text) if name == "fault" => first_fault(text),
        Value::String(text) => text.clone(),
        Value::Array(items) if items.is_empty() => return Cell::new("none"),
        Value::Array(items) => items.iter().map(brief).collect::<Vec<_>>().join(", "),
        Value::Object(_) => return Cell::new("none"),
    };
    let cell = Cell::new(text);
    match (name, value) {
        ("fault" | "quarantined" | "echoed", _) | ("writable", Value::Bool(false)) => cell.styled(BAD),
        ("frozen" | "raised" | "untold", Value::Number(count)) if count.as_u64() != Some(0) => cell.styled(BAD),
        ("readable", Value::Bool(true)) | ("missing", _) => cell.styled(WARN),
        ("state", Value::String(state)) => cell.styled(if state == "open" { GOOD } else { WARN }),
        _ => cell,
    }
}

/// A refused config's faults are many lines: a table has room for the first and its place.
fn first_fault(text: &str) -> String {
    let mut lines = text.lines();
    match (lines.next(), lines.next()) {
        (Some(first), Some(second)) => {
            let place = second.trim_start().strip_prefix("--> ").map(|place| format!(" at {place}"));
            format!("{first}{}; see `sixty check`", place.unwrap_or_default())
        }
        _ => text.to_owned(),
    }
}

fn counted(name: &str, number: &serde_json::Number) -> String {
    match number.as_u64() {
        Some(seconds) if name.ends_with("_seconds") => span(seconds),
        Some(moment) if name.ends_with("_at") => format!("{} ({})", date(moment), ago(moment)),
        _ => number.to_string(),
    }
}

fn brief(value: &Value) -> String {
    let words = value.as_str().or_else(|| value["says"].as_str());
    words.map_or_else(|| value.to_string(), ToOwned::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(json: Value) -> String {
        let Value::Object(members) = json else { panic!("an object") };
        let mut table = Table::pairs();
        lines(&mut table, &members, 0);
        anstream::adapter::strip_str(&table.to_string()).to_string()
    }

    #[test]
    fn the_vault_comes_before_the_limits_and_the_unknown_is_shown_last() {
        let text = shown(serde_json::json!({
            "aura": {"colour": "blue"}, "limits": {"connections": 64}, "uptime_seconds": 200,
            "vault": {"path": "/v", "keys": 3, "state": "open"}, "version": "0.1.0", "quarantined": [],
        }));
        let want = "version        0.1.0\nuptime         3m 20s\nvault\n  state        open\n  keys         3\n  \
            path         /v\nquarantined    none\nlimits\n  connections  64\naura\n  colour       blue\n";
        assert_eq!(text, want);
    }

    #[test]
    fn a_fault_of_the_policy_stands_out() {
        let text = cell("fault", &Value::from("line 3")).to_string();
        assert!(text.starts_with('\u{1b}'), "{text:?}");
        let many = Value::from("error: there is no `peer`\n --> sixty.toml:4:1\n  |\n");
        assert!(cell("fault", &many).to_string().contains("there is no `peer` at sixty.toml:4:1; see `sixty check`"));
        assert_eq!(cell("fault", &Value::Null).to_string(), Cell::maybe(None::<&str>).to_string());
    }
}
