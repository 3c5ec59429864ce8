//! `sixty selftest` against a real daemon, where all holds, and against daemons that lack what it looks for.

use crate::harness::{World, is_root, program};
use nix::sys::resource::{Resource, getrlimit};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read, Write},
    os::unix::{
        fs::PermissionsExt,
        net::{UnixListener, UnixStream},
    },
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

/// Whoever attacks has a rule that gives a virtual key: as root's test it is `nobody`.
const RULES: &str = r#"
[[rule]]
name = "mine"
peer = { uid = "self" }
keys = ["**"]
kinds = ["virtual"]
[[rule]]
name = "nobody's"
peer = { uid = 65534 }
keys = ["**"]
kinds = ["virtual"]
"#;

/// Each case and its outcome, and the exit code.
fn tested(folder: &Path, connections: &str) -> (BTreeMap<String, String>, Option<i32>, String) {
    let mut command = Command::new(program());
    command.args(["selftest", "--json", "--connections", connections]);
    command.arg("--socket").arg(folder.join("broker.sock")).arg("--control-socket").arg(folder.join("control.sock"));
    let output = command.env_remove("SIXTY_GATEWAY_SOCKET").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let told: Value = serde_json::from_str(&text).unwrap();
    let word = |value: &Value| value.as_str().unwrap().to_owned();
    let cases = told["cases"].as_array().unwrap().iter();
    (cases.map(|case| (word(&case["case"]), word(&case["outcome"]))).collect(), output.status.code(), text)
}

fn with(outcomes: &BTreeMap<String, String>, outcome: &str) -> Vec<String> {
    outcomes.iter().filter(|(_, found)| *found == outcome).map(|(case, _)| case.clone()).collect()
}

#[test]
fn all_holds_against_a_daemon_as_it_is() {
    let world = World::with_key(RULES);
    let (outcomes, code, text) = tested(&world.path("run"), "1000");
    assert_eq!((with(&outcomes, "failed"), code), (vec![], Some(0)), "{text}");
    // Without root there is no other user to be.
    let mut untried: Vec<&str> = if is_root() { vec![] } else { vec!["control", "swap"] };
    if getrlimit(Resource::RLIMIT_CORE).unwrap().1 == 0 {
        untried.insert(0, "abort");
    }
    assert_eq!(with(&outcomes, "untried"), untried, "{text}");
    assert_eq!(world.http("GET", "/healthz", None).status, 200);
    assert_eq!(world.status()["leases"]["live"], 0, "what it minted is revoked");
}

#[test]
fn a_daemon_whose_memory_is_open_to_its_user_is_found_out() {
    if is_root() {
        // Root's daemon can't be read by anybody else in any case: CI runs this as an ordinary user.
        return eprintln!("not tried as root: a daemon that is readable for its own user");
    }
    let world = World::with_arguments(RULES, &["--readable-by-parent"]);
    let (outcomes, code, text) = tested(&world.path("run"), "10");
    let failed = with(&outcomes, "failed");
    assert_eq!(
        (&failed[..], code),
        (&["descriptors", "environ", "memory", "ptrace"].map(String::from)[..], Some(1)),
        "{text}"
    );
}

/// It answers everything with yes, to everybody, and serves twenty connections at most.
#[test]
fn a_daemon_that_keeps_nothing_is_found_out_in_every_case() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o777)).unwrap();
    let open = Arc::new(AtomicUsize::new(0));
    for name in ["broker.sock", "control.sock", "gateway.sock"] {
        let listener = UnixListener::bind(folder.path().join(name)).unwrap();
        std::fs::set_permissions(folder.path().join(name), PermissionsExt::from_mode(0o777)).unwrap();
        let (open, gateway) = (open.clone(), name == "gateway.sock");
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let open = open.clone();
                std::thread::spawn(move || {
                    if open.fetch_add(1, Ordering::SeqCst) < 20 {
                        careless(&stream, gateway);
                    } else {
                        std::thread::sleep(Duration::from_secs(2));
                    }
                    open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
    }
    let (outcomes, code, text) = tested(folder.path(), "100");
    let mut failed: Vec<_> =
        "copy dead-pid flood malformed oversize replay smuggling".split(' ').map(String::from).collect();
    if is_root() {
        failed.extend(["control", "swap"].map(String::from));
    }
    failed.sort();
    let found = with(&outcomes, "failed");
    let missed: Vec<_> = failed.iter().filter(|case| !found.contains(case)).collect();
    assert_eq!((missed, code), (vec![], Some(1)), "{text}");
}

/// Answers each head that it sees in whatever comes, and never looks who asks.
fn careless(stream: &UnixStream, gateway: bool) {
    let mut lines = BufReader::new(stream);
    let mut first = String::new();
    let mut line = Vec::new();
    while lines.by_ref().read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
        let text = String::from_utf8_lossy(&line).into_owned();
        if first.is_empty() {
            first = text.clone();
        }
        if text.trim().is_empty() || text.contains("HTTP/") && text != first {
            let answered = match gateway && first.starts_with("POST /dashscope/") {
                // Not for the key's sake.
                true => say(stream, 400, "{}"),
                false => say(stream, 200, &body(&first)),
            };
            if answered.is_err() {
                return;
            }
            first = if text.trim().is_empty() { String::new() } else { text };
            if first.is_empty() && lines.buffer().is_empty() {
                let _ = stream.shutdown(std::net::Shutdown::Write);
                return;
            }
        }
        line.clear();
    }
}

fn body(first: &str) -> String {
    match first.split(' ').nth(1) {
        Some("/v1/whoami") => r#"{"keys":["dashscope/main"]}"#.into(),
        Some("/v1/leases") => r#"{"id":"ls_1","provider":"dashscope","token":"sixty_x"}"#.into(),
        _ => "{}".into(),
    }
}

fn say(mut stream: &UnixStream, status: u16, body: &str) -> std::io::Result<()> {
    let head = format!("HTTP/1.1 {status} OK\r\nconnection: close\r\ncontent-type: application/json\r\n");
    stream.write_all(format!("{head}content-length: {}\r\n\r\n{body}", body.len()).as_bytes())
}
