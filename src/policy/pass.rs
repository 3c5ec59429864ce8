//! Whether one use of a virtual key is within what its lease was judged to be good for. Pure; the second maker of a
//! permit, and only out of what an earlier judgement granted.

use super::{Approve, Permit, Risky};
use crate::{
    clock::Boottime,
    model::{Budget, KeyName, Kind, Owner, Pattern, Scope, Ttl},
};

/// What an earlier judgement granted, as the ledger kept it.
pub struct Granted<'a> {
    /// The key.
    pub key: &'a KeyName,
    /// The rule.
    pub rule: &'a str,
    /// Every one must allow the use.
    pub scopes: &'a [Scope],
    /// What it takes to make a risky call.
    pub risky: Risky,
    /// How much may be used.
    pub budget: &'a Budget,
}

/// One call that a virtual key is to be used for.
#[derive(Debug, Clone, Copy)]
pub struct Use<'a> {
    /// The HTTP method.
    pub method: &'a str,
    /// The provider's own path, without a query.
    pub path: &'a str,
    /// Every model that may serve it, as path and body name them; none where nobody could read it.
    pub models: &'a [&'a str],
    /// Whether somebody could read how much it may use.
    pub read: bool,
    /// Tokens that one answer may have, as far as the body says.
    pub max_output: Option<u64>,
    /// Whether it deletes, uploads, trains, or starts work that goes on alone.
    pub risky: bool,
}

/// Which of a key's uses a call takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Taking {
    /// Any one.
    #[default]
    Any,
    /// The last one, after which the key is good for nothing; not one of several.
    Last,
}

/// What a scope does not allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OutOfScope {
    /// The method.
    #[error("the method is out of the key's scope")]
    Method,
    /// The path.
    #[error("the path is out of the key's scope")]
    Path,
    /// The model, or that none could be read.
    #[error("the model is out of the key's scope, or was not named")]
    Model,
    /// The rule wants more for it.
    #[error("the call deletes, uploads or trains, and the key's rule wants more for that")]
    Risky,
    /// What it may use, which nobody could read.
    #[error("nobody can read what the call may use, and the key has a budget")]
    Unread,
    /// The length of the answer.
    #[error("the call asks for a longer answer than the key's budget allows")]
    Output,
}

/// Judges one use.
pub fn pass(granted: &Granted<'_>, wanted: &Use<'_>, now: Boottime) -> Result<Permit, OutOfScope> {
    for scope in granted.scopes {
        allows(scope, wanted)?;
    }
    let (takes, approve) = match (wanted.risky, granted.risky) {
        (false, _) | (true, Risky::Allowed) => (Taking::Any, Approve::Never),
        (true, Risky::Approved) => (Taking::Any, Approve::Always),
        // Which one that is, only who takes it can tell.
        (true, Risky::SingleUse) => (Taking::Last, Approve::Never),
        (true, Risky::Refused) => return Err(OutOfScope::Risky),
    };
    if granted.budget.weighs() && !wanted.read {
        return Err(OutOfScope::Unread);
    }
    // A wish of which nothing is said has no length, and none is longer than where nothing is bounded.
    if granted.budget.max_output.zip(wanted.max_output).is_some_and(|(most, wish)| wish > most) {
        return Err(OutOfScope::Output);
    }
    Ok(Permit {
        key: granted.key.clone(),
        rule: granted.rule.to_owned(),
        kind: Kind::Virtual,
        ttl: Ttl::DEFAULT,
        min_remaining: 0,
        uses: None,
        owner: Owner::Caller,
        recipient: None,
        ticket: false,
        scopes: Vec::new(),
        risky: granted.risky,
        budget: Budget::default(),
        share: None,
        rate: None,
        holder: String::new(),
        takes,
        approve,
        judged: now,
    })
}

/// Whether some scope looks at the model, so that the body must be looked into.
pub fn looks_at_models(scopes: &[Scope]) -> bool {
    scopes.iter().any(|scope| scope.models.is_some())
}

fn allows(scope: &Scope, wanted: &Use<'_>) -> Result<(), OutOfScope> {
    let Scope { methods, paths, models } = scope;
    if methods.as_ref().is_some_and(|methods| !methods.iter().any(|method| method == wanted.method)) {
        return Err(OutOfScope::Method);
    }
    if paths.as_ref().is_some_and(|paths| !fits(paths, wanted.path)) {
        return Err(OutOfScope::Path);
    }
    match models {
        Some(_) if wanted.models.is_empty() => Err(OutOfScope::Model),
        Some(models) if !wanted.models.iter().all(|model| fits(models, model)) => Err(OutOfScope::Model),
        _ => Ok(()),
    }
}

fn fits(patterns: &[String], text: &str) -> bool {
    patterns.iter().any(|pattern| pattern.parse::<Pattern>().is_ok_and(|pattern| pattern.matches(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(scopes: &[&str], method: &str, path: &str, models: &[&str]) -> Result<(), OutOfScope> {
        let scopes: Vec<Scope> = scopes.iter().map(|text| serde_json::from_str(text).unwrap()).collect();
        let key = "dashscope/main".parse().unwrap();
        let budget = Budget::default();
        let granted = Granted { key: &key, rule: "mine", scopes: &scopes, risky: Risky::Refused, budget: &budget };
        let wanted = Use { method, path, models, read: false, max_output: None, risky: false };
        pass(&granted, &wanted, Boottime::from_nanos(1)).map(drop)
    }

    #[test]
    fn every_scope_must_allow_a_use() {
        let (wide, narrow) = (r#"{"paths":["/v1/**"]}"#, r#"{"methods":["POST"],"paths":["/v1/chat/*"]}"#);
        assert_eq!(judged(&[wide, narrow], "POST", "/v1/chat/completions", &[]), Ok(()));
        assert_eq!(judged(&[wide, narrow], "GET", "/v1/chat/completions", &[]), Err(OutOfScope::Method));
        assert_eq!(judged(&[wide, narrow], "POST", "/v1/files", &[]), Err(OutOfScope::Path));
        assert_eq!(judged(&[wide, narrow], "POST", "/admin", &[]), Err(OutOfScope::Path));
        assert_eq!(judged(&[], "DELETE", "/anything", &[]), Ok(()));
        assert_eq!(judged(&[r#"{"methods":[]}"#], "GET", "/", &[]), Err(OutOfScope::Method), "an empty list: nothing");
    }

    #[test]
    fn a_risky_call_takes_what_the_rule_wants() {
        let key = "dashscope/main".parse().unwrap();
        let takes = |risky| {
            let budget = Budget::default();
            let granted = Granted { key: &key, rule: "mine", scopes: &[], risky, budget: &budget };
            let (method, path) = ("DELETE", "/v1/files/1");
            let wanted = Use { method, path, models: &[], read: false, max_output: None, risky: true };
            let permit = pass(&granted, &wanted, Boottime::from_nanos(1));
            permit.map(|permit| (permit.takes(), permit.approve())).ok()
        };
        let all = [Risky::Refused, Risky::SingleUse, Risky::Approved, Risky::Allowed].map(takes);
        let (any, last) = (Taking::Any, Taking::Last);
        let (never, always) = (Approve::Never, Approve::Always);
        assert_eq!(all, [None, Some((last, never)), Some((any, always)), Some((any, never))]);
    }

    #[test]
    fn what_nobody_can_weigh_has_no_budget() {
        let key = "dashscope/main".parse().unwrap();
        let pass = |budget: Budget, read, max_output| {
            let granted = Granted { key: &key, rule: "mine", scopes: &[], risky: Risky::Refused, budget: &budget };
            let (method, path) = ("POST", "/");
            let wanted = Use { method, path, models: &[], read, max_output, risky: false };
            super::pass(&granted, &wanted, Boottime::from_nanos(1)).map(drop)
        };
        let tokens = Budget { tokens: Some(9), ..Budget::default() };
        let output = Budget { max_output: Some(9), ..Budget::default() };
        assert_eq!((pass(tokens, false, None), pass(tokens, true, Some(10))), (Err(OutOfScope::Unread), Ok(())));
        assert_eq!((pass(output, false, None), pass(output, true, Some(9))), (Err(OutOfScope::Unread), Ok(())));
        assert_eq!((pass(output, true, None), pass(output, true, Some(10))), (Ok(()), Err(OutOfScope::Output)));
        assert_eq!(pass(Budget { concurrent: Some(1), ..Budget::default() }, false, None), Ok(()));
    }

    #[test]
    fn a_model_that_nobody_could_read_is_out_of_scope() {
        let scope = &[r#"{"models":["qwen-*"]}"#];
        assert_eq!(judged(scope, "POST", "/", &["qwen-plus"]), Ok(()));
        assert_eq!(judged(scope, "POST", "/", &["qwen-plus", "gpt-5"]), Err(OutOfScope::Model));
        assert_eq!(judged(scope, "POST", "/", &[]), Err(OutOfScope::Model));
    }
}
