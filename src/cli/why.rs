//! `sixty why` and `sixty whoami`: which rule decides, and what the broker makes of this process.
//! It must never guess: what is shown is what the daemon's own judgement said.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::arguments::{Show, WhyArguments};
use super::ask::{Doors, ask, json, read};
use super::failure::Failure;
use super::output::{BAD, DIM, GOOD, WARN, exactly, plain, show as print};
use super::table::{Cell, Side, Table};
use crate::client::Method;
use crate::model::{KeyName, Selector};

#[derive(Serialize)]
struct Question<'a> {
    key: &'a KeyName,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    peer: &'a [Selector],
}

#[derive(Deserialize)]
struct Explanation {
    decides: Option<String>,
    steps: Vec<Step>,
    #[serde(default)]
    gives: Vec<Given>,
    #[serde(default)]
    selectors: Vec<String>,
    known: Option<bool>,
}

#[derive(Deserialize)]
struct Given {
    what: String,
    how: String,
}

#[derive(Deserialize)]
struct Step {
    rule: String,
    failed: Option<String>,
    wanted: Option<String>,
    had: Option<String>,
}

#[derive(Deserialize)]
struct Who {
    selectors: Vec<String>,
    rules: Vec<String>,
    keys: Vec<String>,
    #[serde(default)]
    approve: BTreeMap<String, String>,
}

impl Who {
    /// A key, and whether a person is asked for it.
    fn told(&self, key: &String) -> String {
        self.approve.get(key).map_or_else(|| key.clone(), |how| format!("{key} (a person is asked: {how})"))
    }
}

/// `sixty why`.
pub(super) fn why(doors: &Doors, arguments: &WhyArguments) -> Result<(), Failure> {
    let question = Question { key: &arguments.key, peer: &arguments.peer };
    let answer = ask(&doors.control, Method::POST, "/v1/why", Some(json(&question)))?;
    if arguments.show.json { exactly(&answer) } else { print(explained(&arguments.key, &read(&answer)?)) }
}

/// `sixty whoami`.
pub(super) fn whoami(doors: &Doors, show: &Show) -> Result<(), Failure> {
    let answer = ask(&doors.broker, Method::GET, "/v1/whoami", None)?;
    if show.json {
        return exactly(&answer);
    }
    let who: Who = read(&answer)?;
    let mut table = Table::pairs();
    listed(&mut table, "you are", &who.selectors);
    listed(&mut table, "rules", &who.rules);
    listed(&mut table, "keys", &who.keys.iter().map(|key| who.told(key)).collect::<Vec<_>>());
    print(table)
}

fn explained(key: &KeyName, told: &Explanation) -> String {
    let mut peer = Table::pairs();
    listed(&mut peer, "peer", &told.selectors);
    let mut steps = Table::new(&["RULE", "SAYS", "FAILED", "WANTED", "HAD"].map(|head| (head, Side::Left)));
    told.steps.iter().for_each(|step| steps.row(row(step)));
    let verdict = match &told.decides {
        Some(rule) => format!("{GOOD}rule {}{GOOD:#} decides on {key}", plain(rule)),
        None => format!("{BAD}no rule{BAD:#} gives this peer {key}: it is denied"),
    };
    let mut gives = Table::pairs();
    told.gives.iter().for_each(|given| gives.pair(&given.what.replace(['.', '_'], " "), &given.how));
    let gives = if told.gives.is_empty() { String::new() } else { format!("\n{gives}") };
    let steps = if told.steps.is_empty() { "there are no rules\n".to_owned() } else { steps.to_string() };
    let unknown = match told.known {
        Some(false) => format!("{WARN}there is no key {key}{WARN:#}: whoever asks for it is denied\n"),
        Some(true) | None => String::new(),
    };
    format!("{peer}\n{steps}\n{verdict}\n{gives}{unknown}")
}

fn row(step: &Step) -> [Cell; 5] {
    let says = match step.failed {
        Some(_) => Cell::new("not this peer").styled(DIM),
        None => Cell::new("decides").styled(GOOD),
    };
    let says = if step.failed.as_deref() == Some("keys") { Cell::new("not this key").styled(DIM) } else { says };
    let had = match (&step.failed, &step.had) {
        (Some(_), None) => Cell::new("(unknown)").styled(DIM),
        (_, had) => Cell::maybe(had.as_ref()),
    };
    [Cell::new(&step.rule), says, Cell::maybe(step.failed.as_ref()), Cell::maybe(step.wanted.as_ref()), had]
}

fn listed(table: &mut Table, name: &str, lines: &[String]) {
    if lines.is_empty() {
        table.pair(name, Cell::new("none").styled(DIM));
    }
    for (number, line) in lines.iter().enumerate() {
        table.pair(if number == 0 { name } else { "" }, line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(json: &str) -> String {
        let told = serde_json::from_str(json).unwrap();
        let text = explained(&"a/b".parse().unwrap(), &told);
        anstream::adapter::strip_str(&text).to_string()
    }

    #[test]
    fn each_rule_before_the_deciding_one_says_what_failed() {
        let text = shown(
            r#"{"decides":"mine","selectors":["uid:7","exe:/bin/x"],"steps":[
                {"rule":"ci","failed":"unit","wanted":"ci.service"},
                {"rule":"two","failed":"keys","wanted":"openai/*","had":"a/b"},{"rule":"mine"}]}"#,
        );
        let want = "peer  uid:7\n      exe:/bin/x\n\n\
            RULE  SAYS           FAILED  WANTED      HAD\n\
            ci    not this peer  unit    ci.service  (unknown)\n\
            two   not this key   keys    openai/*    a/b\n\
            mine  decides        -       -           -\n\n\
            rule mine decides on a/b\n";
        assert_eq!(text, want);
    }

    #[test]
    fn what_the_deciding_rule_gives_stands_below_it() {
        let text = shown(
            r#"{"decides":"mine","selectors":[],"steps":[{"rule":"mine"}],
                "gives":[{"what":"budget.max_output","how":"9 tokens an answer"},{"what":"on_theft","how":"freeze"}]}"#,
        );
        let want = "rule mine decides on a/b\n\nbudget max output  9 tokens an answer\non theft           freeze\n";
        assert!(text.ends_with(want), "{text}");
    }

    #[test]
    fn no_rule_is_a_denial_in_so_many_words() {
        let text = shown(r#"{"decides":null,"steps":[],"selectors":[]}"#);
        assert!(text.ends_with("there are no rules\n\nno rule gives this peer a/b: it is denied\n"), "{text}");
    }
}
