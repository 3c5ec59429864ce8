//! What a rule gives, and what a request asks of it, in the words of the config: for `sixty why`, and for whoever is
//! asked to approve. It decides nothing.

use super::{Approve, Bearer, Detach, Permit, Risky, Rule, Theft};
use crate::model::{Budget, Kind, Owner, Scope};
use serde::Serialize;

/// One thing that a rule gives or bounds, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Given {
    /// As the config calls it: `kinds`, `ttl`, `scope.paths`, `budget.tokens`, …
    pub what: &'static str,
    /// As it stands.
    pub how: String,
}

/// All that a rule says beside its peer and its keys; bounds that it has not are left out.
pub fn given(rule: &Rule) -> Vec<Given> {
    let ttl = &rule.ttl;
    let kinds: Vec<_> = rule.kinds.iter().map(|kind| kind.name()).collect();
    let recipients = rule.recipients.iter().map(|who| format!("{}:{}", who.fact().name(), who.wanted()));
    // Said where it could be asked for: `mint --for` is denied else without a word of why.
    let nobody = rule.kinds.contains(&Kind::Virtual).then(|| "nobody else".to_owned());
    let own = [
        ("kinds", Some(kinds.join(", "))),
        ("ttl", Some(format!("{}, at most {}", ttl.default, ttl.max))),
        ("uses", rule.uses.map(|uses| format!("at most {uses} of a virtual key"))),
        ("rate", rule.rate.map(|rate| rate.to_string())),
        ("detached", (rule.detach == Detach::Allowed).then(|| "allowed".to_owned())),
        ("bearer_alone", (rule.bearer == Bearer::Enough).then(|| "enough".to_owned())),
        ("for", listed(recipients.collect()).or(nobody)),
        ("on_theft", Some(if rule.theft == Theft::Frozen { "freeze" } else { "deny" }.to_owned())),
        ("risky", Some(risky(rule.risky).to_owned())),
        ("approve", (rule.approve != Approve::Never).then(|| approve(rule.approve).to_owned())),
    ];
    let all = own.into_iter().chain(scope(&rule.scope)).chain(budget(&rule.budget));
    all.filter_map(|(what, how)| how.map(|how| Given { what, how })).collect()
}

/// What one permit is for: what a person is to know who is asked each time.
pub fn asked(permit: &Permit) -> Vec<Given> {
    let owner = match permit.owner() {
        Owner::Caller => "the process that asks",
        Owner::Parent => "the parent of the process that asks",
        Owner::Detached => "none",
    };
    let recipient = permit.recipient().map(ToString::to_string);
    let own = [
        ("kind", Some(permit.kind().name().to_owned())),
        ("ttl", Some(permit.ttl().to_string())),
        ("uses", permit.uses().map(|uses| uses.to_string())),
        ("owner", Some(owner.to_owned())),
        ("for", recipient.map(|who| if permit.ticket() { format!("{who}, by a ticket") } else { who })),
    ];
    let scopes = permit.scopes().iter().flat_map(scope);
    own.into_iter().chain(scopes).filter_map(|(what, how)| how.map(|how| Given { what, how })).collect()
}

type Words = (&'static str, Option<String>);

fn scope(scope: &Scope) -> [Words; 3] {
    let list = |list: &Option<Vec<String>>| list.as_ref().and_then(|list| listed(list.clone()));
    [
        ("scope.methods", list(&scope.methods)),
        ("scope.paths", list(&scope.paths)),
        ("scope.models", list(&scope.models)),
    ]
}

fn budget(budget: &Budget) -> [Words; 5] {
    let per = format!("a {}", budget.per);
    let money = |micros: u64| {
        let text = format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000);
        format!("{} {per}", text.trim_end_matches('0').trim_end_matches('.'))
    };
    [
        ("budget.tokens", budget.tokens.map(|tokens| format!("{tokens} {per}"))),
        ("budget.cost", budget.cost_micros.map(money)),
        ("budget.calls", budget.calls.map(|rate| rate.to_string())),
        ("budget.concurrent", budget.concurrent.map(|calls| calls.to_string())),
        ("budget.max_output", budget.max_output.map(|tokens| format!("{tokens} tokens an answer"))),
    ]
}

fn risky(risky: Risky) -> &'static str {
    match risky {
        Risky::Refused => "refused",
        Risky::SingleUse => "single_use",
        Risky::Approved => "approve: a person is asked for each",
        Risky::Allowed => "allowed",
    }
}

fn approve(approve: Approve) -> &'static str {
    match approve {
        Approve::Never => "never",
        Approve::OncePerProcess => "once_per_process: a person is asked for each process",
        Approve::Always => "always: a person is asked for each lease",
    }
}

fn listed(list: Vec<String>) -> Option<String> {
    (!list.is_empty()).then(|| list.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{Per, Scope},
        policy::Rules,
    };

    #[test]
    fn what_a_rule_bounds_is_told_and_what_it_does_not_is_not() {
        let mut rule = Rules::operator(1).0.remove(0);
        let plain: Vec<_> = given(&rule).into_iter().map(|given| (given.what, given.how)).collect();
        let text = |what, how: &str| (what, how.to_owned());
        let least = [
            text("kinds", "upstream"),
            text("ttl", "60s, at most 60s"),
            text("detached", "allowed"),
            text("on_theft", "deny"),
            text("risky", "refused"),
        ];
        assert_eq!(plain, least);
        rule.kinds = vec![Kind::Virtual];
        assert!(given(&rule).into_iter().any(|given| (given.what, given.how) == text("for", "nobody else")));
        rule.recipients = vec![super::super::Condition::Uid(7)];
        rule.scope = Scope { models: Some(vec!["qwen-*".into(), "x".into()]), ..Scope::default() };
        rule.budget =
            Budget { cost_micros: Some(2_500_000), concurrent: Some(4), per: Per::Lease, ..Budget::default() };
        let all: Vec<_> = given(&rule).into_iter().map(|given| (given.what, given.how)).collect();
        for told in [
            text("for", "uid:7"),
            text("scope.models", "qwen-*, x"),
            text("budget.cost", "2.5 a lease"),
            text("budget.concurrent", "4"),
        ] {
            assert!(all.contains(&told), "{told:?} is not in {all:?}");
        }
    }
}
