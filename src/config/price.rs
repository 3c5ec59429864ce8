//! `[[price]]`: what models cost. A price that cannot be read is told, never taken for nothing.

use super::{nearest::nearest, rule::gathered, table::Table, value::Value};
use crate::recipe::{PerMillion, Price, Prices};

/// Reads all prices; `value` is the whole list, `known` are the recipes' names.
pub(super) fn prices<'k>(value: Value<'_>, known: impl Iterator<Item = &'k str> + Clone) -> Prices {
    let tables = value.tables("[[price]]").unwrap_or_default();
    Prices(tables.into_iter().filter_map(|mut table| price(&mut table, known.clone())).collect())
}

/// Everything is read before anything is given up, so that all faults are told.
fn price<'k>(table: &mut Table<'_>, known: impl Iterator<Item = &'k str> + Clone) -> Option<Price> {
    let provider = table.need("provider", "\"dashscope\"").and_then(|value| provider(value, known));
    let models = table.need("models", "[\"qwen-*\"]").and_then(|value| {
        let list = value.list("\"qwen-*\"", "name the models, for instance models = [\"qwen-*\"]; \"**\" is all")?;
        list.iter().map(|item| item.parse("\"qwen-*\"", str::parse)).fold(Some(Vec::new()), gathered)
    });
    let input = table.need("input", "0.4").and_then(|value| amount(&value));
    let output = table.need("output", "1.2").and_then(|value| amount(&value));
    let mut optional = |key| table.take(key).and_then(|value| amount(&value));
    let (cached_input, cache_write) = (optional("cached_input"), optional("cache_write"));
    Some(Price { provider: provider?, models: models?, input: input?, output: output?, cached_input, cache_write })
}

fn provider<'k>(value: Value<'_>, known: impl Iterator<Item = &'k str> + Clone) -> Option<String> {
    let name = value.text("\"dashscope\"")?;
    if known.clone().any(|known| known == name) {
        return Some(name.to_owned());
    }
    let advice = match nearest(name, known.clone()) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => format!("there are: {}", known.collect::<Vec<_>>().join(", ")),
    };
    value.fault(format!("there is no provider `{name}`"), advice)
}

fn amount(value: &Value<'_>) -> Option<PerMillion> {
    let text = value.decimal("0.4")?;
    text.parse().map_or_else(|fault: crate::model::Malformed| value.cannot_be(text, &fault.0), Some)
}
