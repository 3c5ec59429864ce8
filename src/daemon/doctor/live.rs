//! What the daemon says of itself, as findings.

use crate::{
    client::{Client, ClientError, Method},
    model::Finding,
};
use serde_json::Value;
use std::path::Path;

pub(super) fn all(control: &Path) -> Vec<Finding> {
    let status = match Client::control(control).request(Method::GET, "/v1/status", None).map(|answer| answer.accepted())
    {
        Ok(Ok(body)) => serde_json::from_slice(&body).unwrap_or_default(),
        Ok(Err(problem)) => {
            return vec![Finding::bad("daemon", problem.title, "run this as the daemon's user or root")];
        }
        Err(fault) => return vec![unreachable(control, &fault)],
    };
    told(&status)
}

fn unreachable(control: &Path, fault: &ClientError) -> Finding {
    Finding::bad(
        "daemon",
        format!("nobody answers at {}: {fault}", control.display()),
        "start one: `sixty daemon`, or systemctl start sixty (--user for your own)",
    )
}

fn told(status: &Value) -> Vec<Finding> {
    let mut findings = vec![version(status)];
    findings.extend(vault(status));
    findings.extend(confinement(&status["confinement"]));
    findings.extend(POINTS.iter().filter_map(|(pointer, about, says, advice)| {
        let seen = status.pointer(pointer).filter(|seen| !empty(seen))?;
        Some(Finding::bad(about, format!("{says}: {}", brief(seen)), *advice))
    }));
    findings.extend(status["upstream"].as_object().into_iter().flatten().filter_map(provider));
    if status.pointer("/memory/readable") == Some(&Value::Bool(true)) {
        findings.push(Finding::bad(
            "daemon",
            "its memory is readable for others: it is a demo's",
            "never keep a key in it",
        ));
    }
    findings
}

/// Where `status` says that something is wrong, and what to do about it.
const POINTS: [(&str, &str, &str, &str); 5] = [
    ("/audit/failing", "audit", "it cannot be written", "make room or mend the disk; it goes on by itself"),
    ("/audit/meddled", "audit", "other hands were at it", "`sixty audit verify` names the first bad line"),
    ("/policy/fault", "policy", "the last reload was refused, old rules hold", "`sixty check`, then reload again"),
    ("/quarantined", "keys", "refused by their provider", "`sixty key test` or `rotate` each"),
    ("/echoed", "keys", "sent back by their provider in an answer", "rotate them: `sixty key rotate`"),
];

fn version(status: &Value) -> Finding {
    let (theirs, ours) = (status["version"].as_str().unwrap_or("?"), env!("CARGO_PKG_VERSION"));
    match theirs == ours {
        true => Finding::good("daemon", format!("version {ours} answers")),
        false => Finding::weak("daemon", format!("it is version {theirs}, this program {ours}"), "restart the daemon"),
    }
}

fn vault(status: &Value) -> Option<Finding> {
    let vault = &status["vault"];
    Some(match (vault["state"].as_str()?, vault["keys"].as_u64()) {
        ("open", Some(0)) => Finding::weak("vault", "it is open and holds no key", "`sixty key add`"),
        ("open", keys) => Finding::good("vault", format!("open, {} keys", keys.unwrap_or_default())),
        _ => Finding::bad("vault", "it is locked: nothing can be minted", "`sixty unlock`"),
    })
}

fn confinement(told: &Value) -> Option<Finding> {
    Some(match (told["wanted"].as_str()?, &told["missing"]) {
        ("off", _) => Finding::weak(
            "confinement",
            "it is switched off: whoever breaks into the daemon can do what its user can",
            "leave `confinement` out of [daemon]",
        ),
        (_, missing) if !empty(missing) => {
            Finding::weak("confinement", brief(missing), "`sixty manual confinement` says what needs which kernel")
        }
        _ => Finding::good("confinement", "seccomp and Landlock are in force"),
    })
}

fn provider((address, reached): (&String, &Value)) -> Option<Finding> {
    let fault = reached["fault"].as_str()?;
    let says = if fault.contains(address.as_str()) { fault.to_owned() } else { format!("{address}: {fault}") };
    Some(Finding::bad("provider", says, "look at the network, the proxy and `[upstream] ca_file`"))
}

fn empty(seen: &Value) -> bool {
    seen.is_null() || seen.as_array().is_some_and(Vec::is_empty)
}

/// The first line, or the names of a list.
fn brief(seen: &Value) -> String {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned);
    match seen {
        Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(", "),
        one => text(one).lines().next().unwrap_or_default().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Health;
    use serde_json::json;

    fn status() -> Value {
        json!({
            "version": env!("CARGO_PKG_VERSION"), "vault": {"state": "open", "keys": 3}, "memory": {"readable": false},
            "confinement": {"wanted": "best", "missing": []},
            "audit": {"failing": null, "meddled": null}, "policy": {"fault": null}, "quarantined": [], "echoed": [],
            "upstream": {"https://a.example": {"answered_at": 9, "failed_at": null, "fault": null}},
        })
    }

    #[test]
    fn a_daemon_that_is_well_gives_nothing_to_mend() {
        assert!(told(&status()).iter().all(|finding| finding.health == Health::Good));
    }

    #[test]
    fn each_thing_that_is_wrong_is_found_and_has_its_advice() {
        for (pointer, wrong) in [
            ("/version", json!("0.0.1")),
            ("/vault/state", json!("locked")),
            ("/vault/keys", json!(0)),
            ("/audit/failing", json!("No space left on device")),
            ("/audit/meddled", json!("it was cut")),
            ("/policy/fault", json!("error: there is no `peer`\n --> sixty.toml:4:1")),
            ("/quarantined", json!(["dashscope/main"])),
            ("/echoed", json!(["openai/main"])),
            ("/memory/readable", json!(true)),
            ("/confinement/wanted", json!("off")),
            ("/confinement/missing", json!(["files are not bounded (Landlock): Function not implemented"])),
            ("/upstream/https:~1~1a.example/fault", json!("cannot connect to https://a.example: refused")),
        ] {
            let mut status = status();
            *status.pointer_mut(pointer).unwrap() = wrong;
            let wrong: Vec<_> = told(&status).into_iter().filter(|finding| finding.health > Health::Good).collect();
            assert_eq!(wrong.len(), 1, "{pointer}: {wrong:?}");
            assert!(wrong[0].advice.is_some());
        }
    }
}
