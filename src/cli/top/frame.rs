//! One look at a daemon: how it is, who holds what, and what of it was used today. It must never call a count that it
//! has not compared a rate.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::cli::ask::{ask, read};
use crate::cli::failure::Failure;
use crate::cli::lease;
use crate::cli::output::{BAD, BOLD, DIM, GOOD, WARN, plain};
use crate::cli::table::{Cell, Side, Table};
use crate::cli::time::span;
use crate::cli::usage::money;
use crate::client::{Client, Method};
use crate::clock::{Boottime, Clock};

/// Who looks, and what was seen last.
pub(super) struct Watch {
    control: Client,
    by: String,
    clock: Clock,
    before: Option<(Boottime, BTreeMap<String, u64>)>,
}

/// What was seen.
#[derive(Debug, Serialize)]
pub(super) struct Frame {
    /// Unix seconds.
    time: u64,
    version: String,
    state: String,
    ready: bool,
    uptime_seconds: u64,
    /// None while the vault is locked.
    keys: Option<u64>,
    rules: u64,
    leases: u64,
    /// Since the daemon's start.
    refused: u64,
    /// What an owner should look at.
    warnings: Vec<String>,
    by: String,
    rows: Vec<Line>,
}

/// One key, or one user.
#[derive(Debug, Default, Serialize)]
pub(super) struct Line {
    name: String,
    leases: u64,
    /// Until the first of them ends.
    ends_in: Option<u64>,
    /// Of today, in UTC; so are tokens and cost.
    calls: u64,
    /// Since the last look.
    calls_per_minute: Option<f64>,
    tokens: u64,
    cost_micros: u64,
    /// Calls that did not tell what they used.
    estimated: u64,
}

#[derive(Deserialize)]
struct Status {
    version: String,
    ready: bool,
    uptime_seconds: u64,
    vault: Vault,
    policy: Policy,
    leases: Leases,
    quarantined: Vec<String>,
    echoed: Vec<String>,
    #[serde(default)]
    alarms: Alarms,
    answers: Answers,
}

#[derive(Deserialize)]
struct Vault {
    state: String,
    keys: Option<u64>,
}

#[derive(Deserialize)]
struct Policy {
    rules: u64,
    fault: Option<String>,
}

#[derive(Deserialize)]
struct Leases {
    live: u64,
    frozen: u64,
}

/// A daemon of an earlier version tells of none.
#[derive(Default, Deserialize)]
struct Alarms {
    raised: u64,
}

#[derive(Deserialize)]
struct Answers {
    refused: BTreeMap<String, u64>,
}

#[derive(Deserialize)]
struct Held {
    key: String,
    uid: u32,
    expires_in: u64,
    state: String,
}

#[derive(Deserialize)]
struct Usage {
    usage: Vec<Used>,
}

#[derive(Deserialize)]
struct Used {
    name: String,
    calls: u64,
    total: u64,
    cost_micros: u64,
    estimated: u64,
}

impl Watch {
    pub(super) fn new(control: Client, by: String) -> Self {
        Self { control, by, clock: Clock::system(), before: None }
    }

    /// Looks once.
    ///
    /// # Errors
    /// No daemon, or not this user's.
    pub(super) fn look(&mut self) -> Result<Frame, Failure> {
        let status: Status = read(&self.asked("/v1/status")?)?;
        let Usage { usage } = read(&self.asked(&format!("/v1/usage?by={}&since=1d", self.by))?)?;
        let held: Vec<Held> = lease::everybodys(&self.control)?;
        let now = self.clock.boot();
        let mut rows = lines(&self.by, &held, &usage);
        let calls: BTreeMap<_, _> = rows.iter().map(|row| (row.name.clone(), row.calls)).collect();
        if let Some((then, before)) = self.before.replace((now, calls)) {
            let minutes = now.since(then).as_secs_f64() / 60.0;
            for row in rows.iter_mut().filter(|_| minutes > 0.0) {
                // Fewer than before: the day is another.
                let more = row.calls.checked_sub(before.get(&row.name).copied().unwrap_or(0));
                row.calls_per_minute = more.map(|more| (more as f64 / minutes * 10.0).round() / 10.0);
            }
        }
        Ok(Frame::of(status, self.clock.wall(), self.by.clone(), rows))
    }

    fn asked(&self, target: &str) -> Result<super::super::ask::Json, Failure> {
        ask(&self.control, Method::GET, target, None)
    }
}

impl Frame {
    fn of(status: Status, time: u64, by: String, rows: Vec<Line>) -> Self {
        let Status { vault, policy, leases, alarms, .. } = status;
        let named = |what: &str, keys: &[String]| (!keys.is_empty()).then(|| format!("{what}: {}", keys.join(", ")));
        let warnings = [
            policy.fault.map(|_| "the last reload was not taken: see `sixty check`".to_owned()),
            named("quarantined", &status.quarantined),
            named("sent back by their provider", &status.echoed),
            (leases.frozen > 0).then(|| format!("frozen since the start: {}", leases.frozen)),
            (alarms.raised > 0).then(|| format!("alarms since the start: {}: see `sixty status`", alarms.raised)),
        ];
        Self {
            time,
            version: status.version,
            state: vault.state,
            ready: status.ready,
            uptime_seconds: status.uptime_seconds,
            keys: vault.keys,
            rules: policy.rules,
            leases: leases.live,
            refused: status.answers.refused.values().sum(),
            warnings: warnings.into_iter().flatten().collect(),
            by,
            rows,
        }
    }
}

/// Who has live leases, or used something today; who holds most first. A user's units are one.
fn lines(by: &str, held: &[Held], usage: &[Used]) -> Vec<Line> {
    let mut lines: BTreeMap<String, Line> = BTreeMap::new();
    let named = |name: &str| Line { name: name.to_owned(), ..Line::default() };
    for lease in held.iter().filter(|lease| lease.state == "live") {
        let name = if by == "peer" { format!("uid:{}", lease.uid) } else { lease.key.clone() };
        let line = lines.entry(name.clone()).or_insert_with(|| named(&name));
        line.leases += 1;
        line.ends_in = line.ends_in.into_iter().chain([lease.expires_in]).min();
    }
    for used in usage {
        let name = if by == "peer" { used.name.split(' ').next().unwrap_or_default() } else { &used.name };
        let line = lines.entry(name.to_owned()).or_insert_with(|| named(name));
        line.calls += used.calls;
        line.tokens += used.total;
        line.cost_micros += used.cost_micros;
        line.estimated += used.estimated;
    }
    let mut lines: Vec<Line> = lines.into_values().collect();
    lines.sort_by_key(|line| std::cmp::Reverse((line.leases, line.tokens, line.calls)));
    lines
}

impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { version, state, leases, rules, refused, .. } = self;
        let style = if self.ready { GOOD } else { WARN };
        let keys = self.keys.map_or_else(String::new, |keys| format!(", {keys} keys"));
        let (state, up) = (plain(state), span(self.uptime_seconds));
        writeln!(f, "{BOLD}sixty {}{BOLD:#}  {style}{state}{style:#}{keys}, {rules} rules  up {up}", plain(version))?;
        writeln!(f, "{leases} leases live, {refused} refusals since the start")?;
        self.warnings.iter().try_for_each(|warning| writeln!(f, "{BAD}{}{BAD:#}", plain(warning)))?;
        match self.rows.is_empty() {
            true => writeln!(f, "\n{DIM}nothing is live, and nothing was used today{DIM:#}"),
            false => write!(f, "\n{}", self.table()),
        }
    }
}

impl Frame {
    fn table(&self) -> Table {
        let right = |head| (head, Side::Right);
        let by = if self.by == "peer" { "PEER" } else { "KEY" };
        let heads = ["LEASES", "ENDS IN", "CALLS", "PER MIN", "TOKENS", "COST"].map(right);
        let mut table = Table::new(&[&[(by, Side::Left)], &heads[..]].concat());
        for line in &self.rows {
            let about = if line.estimated > 0 { "~" } else { "" };
            table.row([
                Cell::maybe(Some(&line.name).filter(|name| !name.is_empty())),
                Cell::new(line.leases.to_string()),
                Cell::maybe(line.ends_in.map(span)),
                Cell::new(line.calls.to_string()),
                Cell::maybe(line.calls_per_minute.map(|rate| format!("{rate:.1}"))),
                Cell::new(format!("{about}{}", line.tokens)),
                Cell::maybe((line.cost_micros > 0).then(|| format!("{about}{}", money(line.cost_micros)))),
            ]);
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::fake::Fake;

    fn held(key: &str, uid: u32, expires_in: u64) -> Held {
        Held { key: key.into(), uid, expires_in, state: "live".into() }
    }

    fn used(name: &str, calls: u64, estimated: u64) -> Used {
        Used { name: name.into(), calls, total: 10 * calls, cost_micros: 250_000 * calls, estimated }
    }

    fn status(json: serde_json::Value) -> Status {
        let mut whole = serde_json::json!({
            "version": "0.1.0", "ready": true, "uptime_seconds": 200, "vault": {"state": "open", "keys": 2},
            "policy": {"rules": 3, "fault": null}, "leases": {"live": 3, "frozen": 0}, "quarantined": [], "echoed": [],
            "answers": {"refused": {"denied": 2, "busy": 2}},
        });
        json.as_object().unwrap().iter().for_each(|(name, value)| whole[name] = value.clone());
        serde_json::from_value(whole).unwrap()
    }

    fn shown(frame: &Frame) -> String {
        anstream::adapter::strip_str(&frame.to_string()).to_string()
    }

    #[test]
    fn who_holds_most_comes_first_with_what_was_used() {
        let leases = [held("a/b", 7, 41), held("c/d", 8, 9), held("c/d", 7, 200)];
        let ended = Held { state: "revoked".into(), ..held("c/d", 7, 1) };
        let leases: Vec<_> = leases.into_iter().chain([ended]).collect();
        let mut rows = lines("key", &leases, &[used("c/d", 4, 1), used("gone", 1, 0)]);
        rows[0].calls_per_minute = Some(6.0);
        let frame = Frame::of(status(serde_json::json!({})), 1, "key".into(), rows);
        let want = "sixty 0.1.0  open, 2 keys, 3 rules  up 3m 20s\n3 leases live, 4 refusals since the start\n\n\
            KEY   LEASES  ENDS IN  CALLS  PER MIN  TOKENS   COST\n\
            c/d        2       9s      4      6.0     ~40  ~1.00\n\
            a/b        1      41s      0        -       0      -\n\
            gone       0        -      1        -      10   0.25\n";
        assert_eq!(shown(&frame), want);
        let by_peer = lines("peer", &leases, &[used("uid:7 unit:a.service", 1, 0), used("uid:7 unit:b.service", 2, 0)]);
        let told: Vec<_> = by_peer.iter().map(|line| (line.name.as_str(), line.leases, line.calls)).collect();
        assert_eq!(told, [("uid:7", 2, 3), ("uid:8", 1, 0)]);
    }

    #[test]
    fn what_an_owner_should_see_stands_out() {
        let told = serde_json::json!({
            "ready": false, "vault": {"state": "locked", "keys": null}, "policy": {"rules": 1, "fault": "x"},
            "leases": {"live": 0, "frozen": 2}, "quarantined": ["a/b"], "echoed": ["c/d\u{1b}[2J"],
            "alarms": {"raised": 1},
        });
        let text = shown(&Frame::of(status(told), 1, "key".into(), Vec::new()));
        let want = "sixty 0.1.0  locked, 1 rules  up 3m 20s\n0 leases live, 4 refusals since the start\n\
            the last reload was not taken: see `sixty check`\nquarantined: a/b\n\
            sent back by their provider: c/d\\u{1b}[2J\nfrozen since the start: 2\nalarms since the start: 1: see `sixty status`\n\n\
            nothing is live, and nothing was used today\n";
        assert_eq!(text, want);
    }

    #[test]
    fn a_daemon_that_says_no_is_told() {
        let fake = Fake::answering("403 Forbidden", "{}");
        assert!(Watch::new(Client::control(fake.path()), "key".into()).look().is_err());
    }
}
