//! `sixty usage`: what was called, read, written and paid, as the daemon counted it.
//! It must never show an estimate as a provider's own count.

use clap::Args;
use clap::builder::PossibleValuesParser;
use serde::Deserialize;

use super::arguments::Show;
use super::ask::{Doors, ask, read};
use super::failure::Failure;
use super::output::{BAD, BOLD, exactly, say, show as print};
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
    #[serde(default)]
    budgets: Vec<Budget>,
}

/// A budget that many share.
#[derive(Deserialize)]
struct Budget {
    of: String,
    name: String,
    per: String,
    tokens: Option<u64>,
    tokens_spent: u64,
    cost_micros: Option<u64>,
    cost_micros_spent: u64,
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
    let Usage { usage, budgets } = read(&answer)?;
    if usage.is_empty() {
        say("nothing was used");
    }
    if usage.iter().any(|row| row.estimated > 0) {
        say("~ some calls did not tell what they used, or not to the end: their tokens are estimated");
    }
    let sums = (!usage.is_empty()).then(|| table(&arguments.by, &usage).to_string());
    let bounds = (!budgets.is_empty()).then(|| shared(&budgets).to_string());
    let tables: Vec<String> = sums.into_iter().chain(bounds).collect();
    if tables.is_empty() { Ok(()) } else { print(tables.join("\n")) }
}

/// What is spent of the budgets that many share, each for the day or month that it is now.
fn shared(budgets: &[Budget]) -> Table {
    let heads = [("BUDGET OF", Side::Left), ("PER", Side::Left), ("TOKENS", Side::Right), ("COST", Side::Right)];
    let mut table = Table::new(&heads);
    for budget in budgets {
        let of = |spent: u64, most: Option<u64>, shown: fn(u64) -> String| {
            let cell = Cell::maybe(most.map(|most| format!("{} of {}", shown(spent), shown(most))));
            if most.is_some_and(|most| spent >= most) { cell.styled(BAD) } else { cell }
        };
        table.row([
            Cell::new(format!("{} {}", budget.of, budget.name)),
            Cell::new(&budget.per),
            of(budget.tokens_spent, budget.tokens, |count| count.to_string()),
            of(budget.cost_micros_spent, budget.cost_micros, money),
        ]);
    }
    table
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
pub(super) fn money(micros: u64) -> String {
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
    fn what_is_left_of_a_shared_budget_can_be_seen() {
        let budget = |name: &str, tokens, cost_micros| Budget {
            of: "owner".into(),
            name: name.into(),
            per: "month".into(),
            tokens,
            tokens_spent: 70,
            cost_micros,
            cost_micros_spent: 1_500_000,
        };
        let text = shared(&[budget("ops", Some(70), None), budget("dev", Some(100), Some(2_000_000))]).to_string();
        let want = "BUDGET OF  PER       TOKENS          COST\nowner ops  month   70 of 70             -\n\
            owner dev  month  70 of 100  1.50 of 2.00\n";
        assert_eq!(anstream::adapter::strip_str(&text).to_string(), want);
        assert!(text.contains(&BAD.to_string()), "one that is gone stands out");
    }

    #[test]
    fn money_is_exact() {
        assert_eq!([1, 500_000, 2_000_000, 12_345_678].map(money), ["0.000001", "0.50", "2.00", "12.345678"]);
    }
}
