//! Why a key is given or not, rule by rule, for `sixty why`. It tells what `judge` would do; it makes no permit.

use super::{Given, Rules, given::given};
use crate::model::{KeyName, Principal};
use serde::Serialize;

/// What each rule says, up to and including the one that decides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// The deciding rule's name.
    pub decides: Option<String>,
    /// One for each rule that was looked at, in order.
    pub steps: Vec<Step>,
    /// What the deciding rule gives.
    pub gives: Vec<Given>,
}

/// What one rule says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Step {
    /// The rule's name.
    pub rule: String,
    /// The first selector that failed (`uid`, `exe`, …, `keys`); none when the rule decides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed: Option<&'static str>,
    /// What the rule wanted there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wanted: Option<String>,
    /// What the principal had; absent when the fact could not be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub had: Option<String>,
}

/// Walks the rules as `judge` does and says at each where it failed.
pub fn explain(rules: &Rules, principal: &Principal, key: &KeyName) -> Explanation {
    let mut steps = Vec::new();
    for rule in &rules.0 {
        let mut step = Step { rule: rule.name.clone(), failed: None, wanted: None, had: None };
        if let Some(condition) = rule.first_failure(principal) {
            step.failed = Some(condition.fact().name());
            step.wanted = Some(condition.wanted());
            step.had = principal.fact(condition.fact());
        } else if !rule.keys.iter().any(|pattern| pattern.matches(key.as_str())) {
            step.failed = Some("keys");
            step.wanted = Some(rule.keys.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "));
            step.had = Some(key.to_string());
        }
        let decides = step.failed.is_none();
        steps.push(step);
        if decides {
            return Explanation { decides: Some(rule.name.clone()), steps, gives: given(rule) };
        }
    }
    Explanation { decides: None, steps, gives: Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{Kind, Scope, Ttl},
        policy::{Bearer, Condition, Detach, Rule, TtlRange},
    };

    #[test]
    fn the_first_selector_that_failed_is_named() {
        let rule = |name: &str, peer| Rule {
            name: name.into(),
            peer,
            keys: vec!["dashscope/*".parse().unwrap()],
            kinds: vec![Kind::Upstream],
            ttl: TtlRange { default: Ttl::DEFAULT, max: Ttl::DEFAULT },
            uses: None,
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
        };
        let rules = Rules(vec![
            rule("unit", vec![Condition::Uid(1), Condition::Unit("ci.service".parse().unwrap())]),
            rule("other", vec![Condition::Uid(2)]),
            rule("mine", vec![Condition::Uid(1)]),
        ]);
        let principal = Principal {
            uid: 1,
            gid: 1,
            pid: 9,
            unit: Some("cron.service".into()),
            cgroup: None,
            exe: None,
            exe_sha256: None,
            pid_ns: None,
            socket: "broker",
        };
        let told = explain(&rules, &principal, &"dashscope/main".parse().unwrap());
        let failed: Vec<_> = told.steps.iter().map(|step| (step.failed, step.had.as_deref())).collect();
        assert_eq!(failed, [(Some("unit"), Some("cron.service")), (Some("uid"), Some("1")), (None, None)]);
        assert_eq!(told.decides.as_deref(), Some("mine"));
        let told = explain(&rules, &principal, &"openai/main".parse().unwrap());
        assert_eq!((told.decides, told.steps[2].failed), (None, Some("keys")));
    }
}
