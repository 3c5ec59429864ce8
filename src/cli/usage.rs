//! `sixty usage`: what was called, read, written and paid, as the daemon counted it.
//! It must never show an estimate as a provider's own count.

use clap::Args;
use clap::builder::PossibleValuesParser;
use serde::Deserialize;

use super::arguments::Show;
use super::ask::{Doors, ask, read};
use super::failure::Failure;
use super::output::{BOLD, exactly, say, show as print};
use super::table::{Cell, Side, Table};
use crate::client::{Method, encoded};
use crate::model::By;

/// What `sixty usage` is asked.
#[derive(Debug, Args)]
pub(super) struct UsageArguments {
    /// What sums are told by
    #[arg(long, default_value = "key", value_parser = PossibleValuesParser::new(By::NAMES.map(|(name, _)| name)))]
    pub(super) by: String,
    /// From this day on: 2026-11-01, or 7d for the last seven (UTC) [default: all that is kept]
    #[arg(long, value_name = "DAY")]
    pub(super) since: Option<String>,
    #[command(flatten)]
    pub(super) show: Show,
}

#[derive(Deserialize)]
struct Usage {
    usage: Vec<Row>,
}

#[derive(Clone, Default, Deserialize)]
struct Row {
    name: String,
    calls: u64,
    input: u64,
    output: u64,
    total: u64,
    cost_micros: u64,
    estimated: u64,
}

/// `sixty usage`.
pub(super) fn usage(doors: &Doors, arguments: &UsageArguments) -> Result<(), Failure> {
    let since = arguments.since.as_ref().map(|since| format!("&since={}", encoded(since))).unwrap_or_default();
    let answer = ask(&doors.control, Method::GET, &format!("/v1/usage?by={}{since}", arguments.by), None)?;
    if arguments.show.json {
        return exactly(&answer);
    }
    let Usage { usage } = read(&answer)?;
    if usage.is_empty() {
        say("nothing was used");
        return Ok(());
    }
    if usage.iter().any(|row| row.estimated > 0) {
        say("~ some calls did not tell what they used, or not to the end: their tokens are estimated");
    }
    print(table(&arguments.by, &usage))
}

fn table(by: &str, rows: &[Row]) -> Table {
    let by = ["OWNER", "WORKSPACE", "KEY", "PEER", "MODEL"].into_iter().find(|head| head.eq_ignore_ascii_case(by));
    let right = |head| (head, Side::Right);
    let heads = ["CALLS", "INPUT", "OUTPUT", "TOTAL", "COST"].map(right);
    let mut table = Table::new(&[&[(by.unwrap_or("NAME"), Side::Left)], &heads[..]].concat());
    rows.iter().for_each(|row| table.row(cells(row, Cell::maybe(Some(&row.name).filter(|name| !name.is_empty())))));
    if rows.len() > 1 {
        let all = rows.iter().fold(Row::default(), |sum, row| sum.and(row));
        table.row(cells(&all, Cell::new("all").styled(BOLD)));
    }
    table
}

fn cells(row: &Row, name: Cell) -> [Cell; 6] {
    let about = if row.estimated > 0 { "~" } else { "" };
    let tokens = |count: u64| Cell::new(format!("{about}{count}"));
    let cost = match row.cost_micros {
        0 => Cell::maybe(None::<&str>),
        micros => Cell::new(format!("{about}{}", money(micros))),
    };
    [name, Cell::new(row.calls.to_string()), tokens(row.input), tokens(row.output), tokens(row.total), cost]
}

/// Millionths, exactly; at least two digits behind the point.
fn money(micros: u64) -> String {
    let all = format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000);
    let least = all.len() - 4;
    let digits = all.trim_end_matches('0').len().max(least);
    all[..digits].to_owned()
}

impl Row {
    fn and(self, more: &Self) -> Self {
        Self {
            name: self.name,
            calls: self.calls.saturating_add(more.calls),
            input: self.input.saturating_add(more.input),
            output: self.output.saturating_add(more.output),
            total: self.total.saturating_add(more.total),
            cost_micros: self.cost_micros.saturating_add(more.cost_micros),
            estimated: self.estimated.saturating_add(more.estimated),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_estimate_is_marked_and_a_sum_stands_below() {
        let row = |name: &str, estimated| Row {
            name: name.into(),
            calls: 2,
            input: 10,
            output: 5,
            total: 15,
            cost_micros: 1_230_000,
            estimated,
        };
        let table = table("owner", &[row("a", 0), row("", 1)]);
        let want = "OWNER  CALLS  INPUT  OUTPUT  TOTAL   COST\na          2     10       5     15   1.23\n\
            -          2    ~10      ~5    ~15  ~1.23\nall        4    ~20     ~10    ~30  ~2.46\n";
        assert_eq!(anstream::adapter::strip_str(&table.to_string()).to_string(), want);
    }

    #[test]
    fn money_is_exact() {
        assert_eq!([1, 500_000, 2_000_000, 12_345_678].map(money), ["0.000001", "0.50", "2.00", "12.345678"]);
    }
}
