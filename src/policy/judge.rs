//! The one function that says yes. Pure, deny by default; whatever it is given, it answers.

use super::{Detach, Permit, Rule, Rules, Taking};
use crate::{
    clock::Boottime,
    model::{Fact, Kind, Owner, Principal, Request, Ttl},
};
use std::num::NonZeroU32;

/// Why not, for the audit and the operator; the caller hears only `denied` (or `malformed` for `TooShort` and `Unnarrowed`).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denial {
    /// Nobody spoke for this peer and key.
    #[error("no rule matches this peer and key")]
    NoRule,
    /// The deciding rule gives no such kind.
    #[error("rule `{rule}` gives no {kind} lease")]
    Kind {
        /// The deciding rule.
        rule: String,
        /// What was asked.
        kind: &'static str,
    },
    /// The deciding rule wants leases to die with a process.
    #[error("rule `{rule}` gives no detached lease")]
    Detached {
        /// The deciding rule.
        rule: String,
    },
    /// The deciding rule lets nobody mint for this recipient.
    #[error("rule `{rule}` gives no lease for that recipient")]
    Recipient {
        /// The deciding rule.
        rule: String,
    },
    /// The caller wants a lease for somebody else to hang on a process of its own, or a ticket for nobody.
    #[error("rule `{rule}` gives a lease for somebody else without an owner, and a ticket for somebody alone")]
    Owned {
        /// The deciding rule.
        rule: String,
    },
    /// The caller wants to narrow what only the provider could narrow.
    #[error("rule `{rule}` gives an upstream token, which cannot be narrowed by scope or uses, nor bound to anybody")]
    Unnarrowed {
        /// The deciding rule.
        rule: String,
    },
    /// The caller wants a token to have more left than it may ever have.
    #[error("min_remaining is no less than the {ttl} that rule `{rule}` gives")]
    TooShort {
        /// The deciding rule.
        rule: String,
        /// Its longest life.
        ttl: Ttl,
    },
}

impl Denial {
    /// The rule that decided, if one did.
    pub fn rule(&self) -> Option<&str> {
        match self {
            Denial::NoRule => None,
            Denial::Kind { rule, .. }
            | Denial::Detached { rule }
            | Denial::Recipient { rule }
            | Denial::Owned { rule }
            | Denial::Unnarrowed { rule }
            | Denial::TooShort { rule, .. } => Some(rule),
        }
    }
}

/// Judges one request: the first rule whose peer and key match decides.
pub fn judge(rules: &Rules, principal: &Principal, request: &Request, now: Boottime) -> Result<Permit, Denial> {
    let rule = rules.0.iter().find(|rule| rule.speaks_of(principal, &request.key)).ok_or(Denial::NoRule)?;
    let kind = match request.kind.or(rule.kinds.first().copied()) {
        Some(kind) if rule.kinds.contains(&kind) => kind,
        asked => {
            return Err(Denial::Kind { rule: rule.name.clone(), kind: asked.map_or("such", |kind| kind.name()) });
        }
    };
    let bound = request.recipient.is_some() || request.ticket;
    if kind == Kind::Upstream && (request.scope.is_some() || request.uses.is_some() || bound) {
        return Err(Denial::Unnarrowed { rule: rule.name.clone() });
    }
    let owner = owner(rule, request)?;
    let ttl = request.ttl.unwrap_or(rule.ttl.default).min(rule.ttl.max);
    let min_remaining = request.min_remaining.unwrap_or(ttl.seconds() / 3);
    // Minting takes time: a whole life is never left.
    if min_remaining >= ttl.seconds() {
        return Err(Denial::TooShort { rule: rule.name.clone(), ttl });
    }
    Ok(Permit {
        key: request.key.clone(),
        rule: rule.name.clone(),
        kind,
        ttl,
        min_remaining,
        uses: least(request.uses.map(NonZeroU32::get), rule.uses),
        owner,
        recipient: request.recipient.clone(),
        ticket: request.ticket,
        scopes: std::iter::once(rule.scope.clone()).chain(request.scope.clone()).collect(),
        risky: rule.risky,
        budget: rule.budget,
        share: rule.share,
        rate: rule.rate,
        holder: holder(rule, principal),
        takes: Taking::Any,
        approve: rule.approve,
        judged: now,
    })
}

/// Whose life the lease shares. A lease for somebody else has no owner: whom it is for may be started later, and again.
fn owner(rule: &Rule, request: &Request) -> Result<Owner, Denial> {
    let name = || rule.name.clone();
    match (&request.recipient, request.owner) {
        (Some(recipient), _) if !rule.gives_to(recipient) => Err(Denial::Recipient { rule: name() }),
        (Some(_), Some(Owner::Caller | Owner::Parent)) => Err(Denial::Owned { rule: name() }),
        (Some(_), None | Some(Owner::Detached)) => Ok(Owner::Detached),
        (None, _) if request.ticket => Err(Denial::Owned { rule: name() }),
        (None, Some(Owner::Detached)) if rule.detach == Detach::Refused => Err(Denial::Detached { rule: name() }),
        (None, owner) => Ok(owner.unwrap_or_default()),
    }
}

/// The smaller of two limits, where none means no limit.
fn least(one: Option<u32>, other: Option<u32>) -> Option<u32> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// Lengths stand before values, so that no value can be read as the end of another.
fn holder(rule: &Rule, principal: &Principal) -> String {
    use std::fmt::Write;
    let mut text = format!("{}:{}", rule.name.len(), rule.name);
    let facts = std::iter::once(Fact::Uid).chain(rule.peer.iter().map(|condition| condition.fact()));
    for value in facts.filter_map(|fact| principal.fact(fact)) {
        let _ = write!(text, "|{}:{value}", value.len());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Kind, Scope};
    use crate::policy::{Bearer, Condition, TtlRange};
    use proptest::prelude::*;

    pub(crate) fn rule(name: &str, peer: Vec<Condition>) -> Rule {
        Rule {
            name: name.into(),
            peer,
            keys: vec!["dashscope/*".parse().unwrap()],
            kinds: vec![Kind::Virtual, Kind::Upstream],
            ttl: TtlRange { default: Ttl::DEFAULT, max: "120s".parse().unwrap() },
            uses: Some(100),
            rate: None,
            scope: Scope::default(),
            share: None,
            detach: Detach::Refused,
            risky: Default::default(),
            bearer: Bearer::NotEnough,
            recipients: Vec::new(),
            theft: Default::default(),
            approve: Default::default(),
            budget: Default::default(),
        }
    }

    fn principal(uid: u32) -> Principal {
        Principal {
            uid,
            gid: uid,
            pid: 7,
            unit: None,
            cgroup: None,
            exe: Some("/usr/bin/curl".into()),
            exe_sha256: None,
            pid_ns: None,
            socket: "broker",
        }
    }

    fn request(text: &str) -> Request {
        serde_json::from_str(text).unwrap()
    }

    fn judged(rules: &Rules, uid: u32, text: &str) -> Result<Permit, Denial> {
        judge(rules, &principal(uid), &request(text), Boottime::from_nanos(0))
    }

    #[test]
    fn no_rule_no_key() {
        assert_eq!(judged(&Rules::default(), 0, r#"{"key":"dashscope/main"}"#).err(), Some(Denial::NoRule));
        let rules = Rules(vec![rule("mine", vec![Condition::Uid(1)])]);
        assert_eq!(judged(&rules, 2, r#"{"key":"dashscope/main"}"#).err(), Some(Denial::NoRule));
        assert_eq!(judged(&rules, 1, r#"{"key":"openai/main"}"#).err(), Some(Denial::NoRule));
    }

    #[test]
    fn the_first_rule_that_matches_decides_even_to_say_no() {
        let mut narrow = rule("narrow", vec![Condition::Uid(1)]);
        narrow.kinds = vec![Kind::Virtual];
        let rules = Rules(vec![narrow, rule("wide", vec![])]);
        let refused = judged(&rules, 1, r#"{"key":"dashscope/main","kind":"upstream"}"#).err();
        assert_eq!(refused, Some(Denial::Kind { rule: "narrow".into(), kind: "upstream" }));
        assert_eq!(judged(&rules, 2, r#"{"key":"dashscope/main","kind":"upstream"}"#).unwrap().rule(), "wide");
    }

    #[test]
    fn an_absent_fact_matches_nothing() {
        let rules = Rules(vec![rule("unit", vec![Condition::Unit("**".parse().unwrap())])]);
        assert_eq!(judged(&rules, 1, r#"{"key":"dashscope/main"}"#).err(), Some(Denial::NoRule));
    }

    #[test]
    fn a_wish_is_cut_to_the_rule() {
        let rules = Rules(vec![rule("mine", vec![])]);
        let permit = judged(&rules, 1, r#"{"key":"dashscope/main","ttl":1800,"uses":500}"#).unwrap();
        assert_eq!((permit.ttl().seconds(), permit.uses(), permit.kind()), (120, Some(100), Kind::Virtual));
        let permit = judged(&rules, 1, r#"{"key":"dashscope/main","ttl":1,"uses":2}"#).unwrap();
        assert_eq!((permit.ttl().seconds(), permit.uses()), (1, Some(2)));
    }

    #[test]
    fn a_detached_lease_needs_the_rules_word() {
        let rules = Rules(vec![rule("mine", vec![])]);
        let refused = judged(&rules, 1, r#"{"key":"dashscope/main","owner":"detached"}"#).err();
        assert_eq!(refused, Some(Denial::Detached { rule: "mine".into() }));
    }

    #[test]
    fn a_lease_for_somebody_else_needs_the_rules_word_and_has_no_owner() {
        let mut mine = rule("mine", vec![]);
        let ask = |rules: &Rules, more: &str| judged(rules, 1, &format!(r#"{{"key":"dashscope/main",{more}}}"#));
        let nobody = Rules(vec![mine.clone()]);
        assert_eq!(
            ask(&nobody, r#""for":"uid:1""#).err(),
            Some(Denial::Recipient { rule: "mine".into() }),
            "not even oneself"
        );
        mine.recipients = vec![Condition::Unit("job-*.service".parse().unwrap()), Condition::Uid(7)];
        let rules = Rules(vec![mine]);
        for good in ["unit:job-1.service", "uid:7", "uid:07"] {
            let permit = ask(&rules, &format!(r#""for":"{good}""#)).unwrap();
            assert_eq!(
                (permit.owner(), permit.ticket()),
                (Owner::Detached, false),
                "the rule allows no detached lease otherwise"
            );
        }
        for bad in [
            "unit:ci.service",
            "unit:job-a/b.service",
            "uid:8",
            "uid:4294967295",
            "gid:7",
            "exe:/job-1.service",
            "socket:broker",
        ] {
            assert_eq!(
                ask(&rules, &format!(r#""for":"{bad}""#)).err(),
                Some(Denial::Recipient { rule: "mine".into() }),
                "{bad}"
            );
        }
        let owned = Some(Denial::Owned { rule: "mine".into() });
        assert_eq!(ask(&rules, r#""for":"uid:7","owner":"parent""#).err(), owned);
        assert_eq!(ask(&rules, r#""ticket":true"#).err(), owned, "a ticket is for somebody");
        assert!(ask(&rules, r#""for":"uid:7","ticket":true"#).unwrap().ticket());
        let upstream = ask(&rules, r#""for":"uid:7","kind":"upstream""#).err();
        assert_eq!(upstream, Some(Denial::Unnarrowed { rule: "mine".into() }));
    }

    #[test]
    fn a_token_is_not_promised_longer_than_it_lives() {
        let rules = Rules(vec![rule("mine", vec![])]);
        assert!(judged(&rules, 1, r#"{"key":"dashscope/main","min_remaining":120,"ttl":500}"#).is_err());
        assert!(judged(&rules, 1, r#"{"key":"dashscope/main","min_remaining":119,"ttl":500}"#).is_ok());
    }

    #[test]
    fn two_principals_never_count_as_one() {
        let rules = Rules(vec![rule("mine", vec![Condition::Exe("**".parse().unwrap())])]);
        let one = judged(&rules, 1, r#"{"key":"dashscope/main"}"#).unwrap();
        let other = judged(&rules, 2, r#"{"key":"dashscope/main"}"#).unwrap();
        assert_ne!(one.holder(), other.holder());
    }

    /// Names, what matters of a grant, or the reason why not.
    fn told(rules: &[Rule], uid: u32, text: &str) -> Result<(String, Kind, u64, Option<u32>), Denial> {
        let permit = judged(&Rules(rules.to_vec()), uid, text)?;
        Ok((permit.rule().to_owned(), permit.kind(), permit.ttl().seconds().into(), permit.uses()))
    }

    fn any_rule() -> impl Strategy<Value = Rule> {
        let key = prop::sample::select(vec!["dashscope/*", "dashscope/main", "openai/*", "**"]);
        let kinds =
            prop::sample::select(vec![vec![Kind::Virtual], vec![Kind::Upstream], vec![Kind::Virtual, Kind::Upstream]]);
        let uid = prop::option::of(0..3_u32);
        let (ttl, uses) = (prop::sample::select(vec!["30s", "60s", "10m"]), prop::option::of(1..9_u32));
        (uid, key, kinds, ttl, uses).prop_map(|(uid, key, kinds, ttl, uses)| Rule {
            keys: vec![key.parse().unwrap()],
            kinds,
            ttl: TtlRange { default: "30s".parse().unwrap(), max: ttl.parse().unwrap() },
            uses,
            ..rule("", uid.map(Condition::Uid).into_iter().collect())
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        /// One rule that decides may be removed, and another one then gives more: that is what the order says. But no
        /// grant is ever made of two rules, and none outlives its own.
        #[test]
        fn a_grant_is_one_rules_own_and_goes_with_it(
            mut rules in prop::collection::vec(any_rule(), 0..7), uid in 0..3_u32,
            kind in prop::option::of(prop::sample::select(vec!["virtual", "upstream"])), ttl in 1..2000_u32,
        ) {
            rules.iter_mut().enumerate().for_each(|(number, rule)| rule.name = number.to_string());
            let kind = kind.map(|kind| format!(r#""kind":"{kind}","#)).unwrap_or_default();
            let text = format!(r#"{{"key":"dashscope/main",{kind}"min_remaining":0,"ttl":{ttl}}}"#);
            let outcome = told(&rules, uid, &text);
            let alone = |rule: &Rule| told(std::slice::from_ref(rule), uid, &text);
            let deciding = rules.iter().position(|rule| alone(rule) != Err(Denial::NoRule));
            prop_assert_eq!(&outcome, &deciding.map_or(Err(Denial::NoRule), |at| alone(&rules[at])));
            for at in (0..rules.len()).filter(|at| Some(*at) != deciding) {
                let mut fewer = rules.clone();
                fewer.remove(at);
                prop_assert_eq!(&told(&fewer, uid, &text), &outcome, "without a rule that had no say");
            }
            let silent: Vec<_> = rules.iter().filter(|rule| alone(rule) == Err(Denial::NoRule)).cloned().collect();
            prop_assert_eq!(told(&silent, uid, &text), Err(Denial::NoRule));
        }
    }
}
