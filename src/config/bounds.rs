//! The bounds of a rule: how long, how often, what for. A bound that cannot be read is a fault, never no bound.

use super::{
    rule::gathered,
    table::Table,
    value::{Value, shown_span},
};
use crate::{
    model::{Budget, Malformed, Pattern, Per, Scope, Ttl},
    policy::TtlRange,
    recipe::PerMillion,
};
use std::time::Duration;

const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/// More tokens than anybody uses in a day.
const TOKENS: u32 = 4_000_000_000;

/// A lifetime and where its upper bound was written.
pub(super) struct TtlFields<'a> {
    pub(super) range: TtlRange,
    pub(super) max: Option<Value<'a>>,
}

/// `ttl = { default, max }`; each follows the other where only one is written, and 60 s where none is.
pub(super) fn ttl<'a>(table: &mut Table<'a>) -> TtlFields<'a> {
    let advice = "write ttl = { default = \"60s\", max = \"60s\" }";
    let fields = table.take("ttl").and_then(|value| value.table("`ttl`", advice));
    let (default, max) = fields.map(|mut fields| (fields.take("default"), fields.take("max"))).unwrap_or_default();
    let read = |value: Option<Value<'_>>| value.and_then(lifetime);
    let range = match (read(default), read(max)) {
        (None, None) => TtlRange { default: Ttl::DEFAULT, max: Ttl::DEFAULT },
        (None, Some(max)) => TtlRange { default: Ttl::DEFAULT.min(max), max },
        (Some(default), None) => TtlRange { default, max: Ttl::DEFAULT.max(default) },
        (Some(default), Some(max)) => TtlRange { default, max },
    };
    if let Some(value) = default.filter(|_| range.default > range.max) {
        let most = shown_span(range.max.duration());
        let advice = format!("a lease lives {most} at most by this rule: lower default or raise max");
        value.fault::<()>("`default` is more than `max`", advice);
    }
    TtlFields { range, max }
}

fn lifetime(value: Value<'_>) -> Option<Ttl> {
    value.has_unit("s")?;
    value.parse("\"60s\"", str::parse)
}

/// `share`: how long one token may be given to further principals; empty is never.
pub(super) fn share(table: &mut Table<'_>, ttl: &TtlFields<'_>) -> Option<Duration> {
    let value = table.take("share").filter(|value| !value.is_empty_text())?;
    let life = ttl.range.max.duration();
    let share = value.span(Duration::from_secs(15).min(life), Duration::from_secs(1)..=Duration::from_secs(1800))?;
    match share < life {
        true => Some(share),
        false => value.fault(
            format!("`share` is no less than the lease's whole life of {}", shown_span(life)),
            "a token must have some of its life left when it is given again: choose less",
        ),
    }
}

/// `uses = { max }`.
pub(super) fn uses(value: Value<'_>) -> Option<u32> {
    let mut fields = value.table("`uses`", "write uses = { max = 100 }")?;
    fields.need("max", "100")?.count(100, 1..=1_000_000_000)
}

const BUDGET: &str = "write budget = { tokens = 100000, cost = 2.50, per = \"day\", max_output = 4096 }";

/// `budget = { tokens, cost, per, calls, concurrent, max_output }`; what is left out has no bound.
pub(super) fn budget(value: Value<'_>) -> Budget {
    let Some(mut fields) = value.table("`budget`", BUDGET) else { return Budget::default() };
    if fields.is_empty() {
        value.fault::<()>("`budget` is empty", "name what it bounds, or leave it out to bound nothing");
    }
    let (whole, cost) = (fields.take("tokens"), fields.take("cost"));
    let per = match whole.or(cost) {
        Some(_) => fields.need("per", "\"day\""),
        None => fields.take("per").and_then(|per| {
            per.fault(
                "`per` says for what tokens or cost are, and there are none",
                "add tokens or cost, or leave it out",
            )
        }),
    };
    Budget {
        per: per
            .and_then(|per| per.word(&[("day", Per::Day), ("month", Per::Month), ("lease", Per::Lease)]))
            .unwrap_or_default(),
        tokens: whole.and_then(tokens),
        cost_micros: cost.and_then(money),
        calls: fields.take("calls").and_then(|value| value.parse("\"60/min\"", str::parse)),
        concurrent: fields.take("concurrent").and_then(|value| value.count(4, 1..=65_536)),
        max_output: fields.take("max_output").and_then(|value| value.count(4096, 1..=TOKENS)).map(u64::from),
    }
}

pub(super) fn tokens(value: Value<'_>) -> Option<u64> {
    value.count(100_000, 1..=TOKENS).map(u64::from)
}

/// In the unit of [[price]], read as exactly as prices are.
pub(super) fn money(value: Value<'_>) -> Option<u64> {
    let text = value.decimal("2.50")?;
    match text.parse::<PerMillion>() {
        Ok(PerMillion(micros @ 1..)) => Some(micros),
        Ok(_) | Err(_) => value
            .cannot_be(text, "it is more than 0 and at most 1000000, with at most six digits behind the point: 2.50"),
    }
}

/// `scope = { methods, paths, models }`; a list that is left out allows all.
pub(super) fn scope(value: Value<'_>) -> Scope {
    let advice = "write scope = { methods = [\"POST\"], paths = [\"/v1/**\"], models = [\"qwen-*\"] }";
    let Some(mut fields) = value.table("`scope`", advice) else { return Scope::default() };
    if fields.is_empty() {
        value.fault::<()>("`scope` is empty", "name methods, paths or models, or leave it out to allow all");
    }
    let mut list = |key, example, read: fn(&str) -> Result<String, Malformed>| {
        let none = "an empty list allows nothing: name some, or leave it out to allow all";
        let items = fields.take(key)?.list(example, none)?;
        items.iter().map(|item| item.parse(example, read)).fold(Some(Vec::new()), gathered)
    };
    Scope {
        methods: list("methods", "\"POST\"", method),
        paths: list("paths", "\"/v1/**\"", path),
        models: list("models", "\"qwen-*\"", |text| text.parse::<Pattern>().map(|_| text.to_owned())),
    }
}

fn method(text: &str) -> Result<String, Malformed> {
    let capitals = text.to_ascii_uppercase();
    match METHODS.contains(&capitals.as_str()) {
        true if capitals == text => Ok(capitals),
        true => Err(Malformed(format!("methods are written in capitals: \"{capitals}\""))),
        false => Err(Malformed(format!("it is one of: {}", METHODS.join(", ")))),
    }
}

fn path(text: &str) -> Result<String, Malformed> {
    match text.starts_with('/') || text.starts_with("**") {
        _ if text.contains(['?', '#']) => Err(Malformed("a path ends before ? and #".to_owned())),
        true => text.parse::<Pattern>().map(|_| text.to_owned()),
        false => Err(Malformed(format!("a path begins with /: \"/{text}\""))),
    }
}
