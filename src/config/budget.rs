//! `[[budget]]`: what calls with a key, a workspace's keys or an owner's keys may use together. A bound that cannot be
//! read is a fault, never no bound.

use super::{bounds, table::Table, value::Value};
use crate::{
    model::{Pattern, Per, Purse, SharedBudget},
    recipe::Prices,
};

const ONE: &str = "name one: key = \"dashscope/*\", workspace = \"ws-*\" or owner = \"*\"";

/// Reads all budgets; `value` is the whole list.
pub(super) fn budgets(value: Value<'_>, prices: &Prices) -> Vec<SharedBudget> {
    let tables = value.tables("[[budget]]").unwrap_or_default();
    tables.into_iter().filter_map(|mut table| budget(&mut table, prices)).collect()
}

/// Everything is read before anything is given up, so that all faults are told.
fn budget(table: &mut Table<'_>, prices: &Prices) -> Option<SharedBudget> {
    let whose = whose(table);
    let (tokens, cost) = (table.take("tokens"), table.take("cost"));
    let per = table.need("per", "\"day\"").and_then(|per| per.word(&[("day", Per::Day), ("month", Per::Month)]));
    if tokens.is_none() && cost.is_none() {
        table.lacks::<()>("[[budget]] bounds nothing", "add: tokens = 1000000, or cost = 20.00");
    }
    if let Some(cost) = cost.filter(|_| prices.0.is_empty()) {
        let advice = "a model without a price is refused: add a [[price]], or bound tokens alone";
        cost.warning("`cost` lets no call through: there is no [[price]]", advice);
    }
    let (tokens, cost_micros) = (tokens.and_then(bounds::tokens), cost.and_then(bounds::money));
    let (purse, names) = whose?;
    Some(SharedBudget { purse, names, per: per?, tokens, cost_micros })
}

/// Exactly one of the three.
fn whose(table: &mut Table<'_>) -> Option<(Purse, Pattern)> {
    let key = table.take("key").map(|value| (Purse::Key, value));
    let workspace = table.take("workspace").map(|value| (Purse::Workspace, value));
    let owner = table.take("owner").map(|value| (Purse::Owner, value));
    let mut named = [key, workspace, owner].into_iter().flatten();
    let (purse, value) = match named.next() {
        Some(first) => first,
        None => return table.lacks("[[budget]] does not say whose it is", ONE),
    };
    if let Some((_, second)) = named.next() {
        return second
            .fault("a budget is of one thing", "write another [[budget]] for it: calls are held to all that fit");
    }
    value.parse("\"dashscope/*\"", str::parse).map(|names| (purse, names))
}
