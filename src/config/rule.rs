//! `[[rule]]`: text → policy. What this version cannot honour is refused, never left out: no rule may give more
//! than it says.

use super::{
    Context,
    bounds::{self, TtlFields},
    peer, reach,
    table::Table,
    value::{Value, shown_span},
};
use crate::{
    model::{Kind, Malformed, Pattern},
    policy::{Approve, Bearer, Condition, Detach, Risky, Rule, Rules, Theft},
    recipe::Prices,
};

const RISKY: [(&str, Risky); 4] = [
    ("refused", Risky::Refused),
    ("single_use", Risky::SingleUse),
    ("approve", Risky::Approved),
    ("allowed", Risky::Allowed),
];
const THEFT: [(&str, Theft); 2] = [("deny", Theft::Denied), ("freeze", Theft::Frozen)];

/// Reads all rules; `value` is the whole list.
pub(super) fn rules(value: Value<'_>, context: &Context, prices: &Prices) -> Rules {
    let mut names: Vec<&str> = Vec::new();
    let mut rules: Vec<Rule> = Vec::new();
    for mut table in value.tables("[[rule]]").unwrap_or_default() {
        let title = table.need("name", "\"my apps\"");
        let name = title.and_then(name);
        if let (Some(title), Some(name)) = (title, name) {
            if names.contains(&name) {
                title.fault::<()>(format!("there are two rules \"{name}\""), "choose another: the audit names rules");
            }
            names.push(name);
        }
        let rule = rule(&mut table, name, context, prices);
        if let (Some(title), Some(rule)) = (title, &rule) {
            reach::check(title, rule, &rules);
        }
        rules.extend(rule);
    }
    Rules(rules)
}

/// Everything is read before anything is given up, so that all faults are told.
fn rule(table: &mut Table<'_>, name: Option<&str>, context: &Context, prices: &Prices) -> Option<Rule> {
    let peer = table.need("peer", "{ uid = \"self\" }").and_then(|value| peer::conditions(value, context));
    let keys = table.need("keys", "[\"dashscope/*\"]").and_then(keys);
    let kinds = table.need("kinds", "[\"virtual\", \"upstream\"]").and_then(kinds);
    let ttl = bounds::ttl(table);
    let (uses, scope, budget) = (table.take("uses"), table.take("scope"), table.take("budget"));
    let rate = table.take("rate").and_then(|value| value.parse("\"60/min\"", str::parse));
    let share = bounds::share(table, &ttl);
    let detached = table.take("detached").and_then(|value| value.flag()).unwrap_or_default();
    let risky = table.word("risky", &RISKY);
    let alone = table.take("bearer_alone");
    let (others, theft) = (table.take("for"), table.take("on_theft"));
    let approve = table.word("approve", &Approve::ALL.map(|how| (how.name(), how)));
    let mut rule = Rule {
        name: name.unwrap_or_default().to_owned(),
        peer: Vec::new(),
        keys: Vec::new(),
        kinds: Vec::new(),
        ttl: ttl.range,
        uses: uses.and_then(bounds::uses),
        rate,
        scope: scope.map(bounds::scope).unwrap_or_default(),
        share,
        detach: if detached { Detach::Allowed } else { Detach::Refused },
        risky,
        bearer: if alone.and_then(|value| value.flag()) == Some(true) { Bearer::Enough } else { Bearer::NotEnough },
        budget: budget.map(bounds::budget).unwrap_or_default(),
        recipients: Vec::new(),
        theft: theft.and_then(|value| value.word(&THEFT)).unwrap_or_default(),
        approve,
    };
    rule.recipients = others.map_or_else(|| Some(Vec::new()), |value| recipients(value, context))?;
    (rule.peer, rule.keys, rule.kinds) = (peer?, keys?, kinds?);
    only_for_virtual(&rule, [uses, scope, alone, budget, others, theft].into_iter().flatten());
    cap(&mut rule, &ttl, context);
    if let Some(budget) = budget.filter(|_| rule.budget.cost_micros.is_some()) {
        priced(budget, &rule.keys, context, prices);
    }
    name.map(|_| rule)
}

fn name(value: Value<'_>) -> Option<&str> {
    let text = value.text("\"my apps\"")?;
    match text {
        // What the owner may do on the control socket goes by this name in the audit.
        "operator" => value.cannot_be(text, "this name is the broker's own: choose another"),
        _ if text.chars().any(char::is_control) => value.cannot_be(text, "a name is one line of ordinary letters"),
        _ if text.trim().is_empty() || text.len() > 64 => value.cannot_be(text, "a name has 1 to 64 bytes"),
        _ => Some(text),
    }
}

fn keys(value: Value<'_>) -> Option<Vec<Pattern>> {
    let list = value.list("\"dashscope/*\"", "name the keys, for instance keys = [\"dashscope/*\"]; \"**\" is all")?;
    list.iter().map(|item| item.parse("\"dashscope/*\"", key_pattern)).fold(Some(Vec::new()), gathered)
}

/// A pattern that no key's name can fit is a slip of the finger.
fn key_pattern(text: &str) -> Result<Pattern, Malformed> {
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-/*".contains(&b);
    match text.bytes().all(fits) && !text.starts_with('/') {
        true => text.parse(),
        false => Err(Malformed("no key fits it: names are words of a-z 0-9 . _ - joined by /".to_owned())),
    }
}

fn kinds(value: Value<'_>) -> Option<Vec<Kind>> {
    let list = value.list("\"virtual\"", "name what may be had: kinds = [\"virtual\", \"upstream\"]")?;
    let words = [Kind::Virtual, Kind::Upstream].map(|kind| (kind.name(), kind));
    let kinds = list.iter().map(|item| item.word(&words)).fold(Some(Vec::new()), gathered)?;
    let twice = list.iter().zip(&kinds).enumerate().find(|(at, (_, kind))| kinds[..*at].contains(kind));
    match twice {
        Some((_, (item, kind))) => item.fault(format!("\"{}\" is named twice", kind.name()), "leave one of them out"),
        None => Some(kinds),
    }
}

/// `for`: whom else virtual keys may be minted for.
fn recipients(value: Value<'_>, context: &Context) -> Option<Vec<Condition>> {
    let none = "name some, for instance for = [\"unit:job-*.service\"], or leave it out: then it is nobody";
    let list = value.list("\"unit:job-*.service\"", none)?;
    let read = |text: &str| peer::recipient(text, context);
    list.iter().map(|item| item.parse("\"unit:job-*.service\"", read)).fold(Some(Vec::new()), gathered)
}

/// Collects like `Option`'s own, but looks at every item.
pub(super) fn gathered<T>(all: Option<Vec<T>>, item: Option<T>) -> Option<Vec<T>> {
    all.zip(item).map(|(mut all, item)| {
        all.push(item);
        all
    })
}

fn only_for_virtual<'a>(rule: &Rule, fields: impl Iterator<Item = Value<'a>>) {
    if rule.kinds.contains(&Kind::Virtual) {
        return;
    }
    for field in fields {
        let message = format!("`{}` is about virtual keys alone, and this rule gives none", field.key());
        field.warning(
            message,
            "the provider's own tokens cannot be narrowed: add \"virtual\" to kinds, or leave it out",
        );
    }
}

/// Warns of a bound of cost where nothing has a price. When it is not sure whose keys they are, any price will do.
fn priced(budget: Value<'_>, keys: &[Pattern], context: &Context, prices: &Prices) {
    let provider = |keys: &Pattern| Some(keys.as_str().split_once('/')?.0.to_owned());
    let known = keys.iter().map(|keys| provider(keys).filter(|name| context.recipes.contains_key(name)));
    let lacks = |name: &Option<String>| match name {
        Some(name) => prices.0.iter().all(|price| price.provider != *name),
        None => prices.0.is_empty(),
    };
    if let Some(lacking) = known.into_iter().find(lacks) {
        let whose = lacking.unwrap_or_else(|| "any provider".to_owned());
        budget.warning(
            format!("`cost` lets no call through: there is no [[price]] of {whose}"),
            "a model without a price is refused: add a [[price]], or bound tokens alone",
        );
    }
}

/// Cuts a lifetime to what the keys' providers give; virtual keys may live longer, so they are not cut.
fn cap(rule: &mut Rule, ttl: &TtlFields<'_>, context: &Context) {
    let Some(max) = ttl.max.filter(|_| rule.kinds.contains(&Kind::Upstream)) else { return };
    let provider = |keys: &Pattern| keys.as_str().split_once('/').and_then(|(name, _)| context.recipes.get(name));
    let Some(recipes) = rule.keys.iter().map(provider).collect::<Option<Vec<_>>>() else { return };
    let minting = || recipes.iter().filter_map(|recipe| Some((recipe, recipe.minting().ok()?)));
    let Some(most) = minting().map(|(_, mint)| mint.clamp(rule.ttl.max)).max() else { return };
    if most >= rule.ttl.max {
        return;
    }
    let names = minting().map(|(recipe, _)| recipe.name.as_str()).collect::<Vec<_>>().join(", ");
    let (wished, most_text) = (shown_span(rule.ttl.max.duration()), shown_span(most.duration()));
    max.warning(
        format!("{names} gives no token for {wished}"),
        format!("upstream tokens are cut to {most_text}: write max = \"{most_text}\""),
    );
    if !rule.kinds.contains(&Kind::Virtual) {
        rule.ttl.max = most;
        rule.ttl.default = rule.ttl.default.min(most);
    }
}
