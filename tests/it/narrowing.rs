//! Narrower keys over the gateway's real socket: derived offline, good for less, never for more, and taken back by node.

use crate::{
    gateway::Holder,
    harness::{Answer, MINE, SECOND, World, program, read_answer, remember, soon},
    needs::has,
};
use serde_json::Value;
use sixty::demo::studio::Fault;
use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

const CHAT: &str = "/dashscope/compatible-mode/v1/chat/completions";
const MODELS: &str = "/dashscope/compatible-mode/v1/models";
const QUESTION: &str = r#"{"model":"qwen-plus","messages":[{"role":"user","content":"Who are you?"}]}"#;

/// A key narrowed by the command, which is told of no daemon; and its id.
pub fn narrowed(key: &str, by: &[&str]) -> (String, String) {
    let mut command = Command::new(program());
    command.arg("narrow").args(by).arg("--json").env_clear();
    let out = crate::harness::fed(command, key);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let told: Value = serde_json::from_slice(&out.stdout).unwrap();
    let text = |name: &str| told[name].as_str().unwrap().to_owned();
    remember(&text("token"));
    (text("token"), text("id"))
}

fn send(stream: &mut UnixStream, key: &str, method: &str, target: &str, body: &str) {
    let head =
        format!("{method} {target} HTTP/1.1\r\nhost: x\r\nx-api-key: {key}\r\ncontent-length: {}\r\n\r\n", body.len());
    let _ = stream.write_all(format!("{head}{body}").as_bytes());
}

fn call(world: &World, key: &str, method: &str, target: &str, body: &str) -> Answer {
    let mut stream = world.gateway();
    send(&mut stream, key, method, target, body);
    read_answer(&mut stream).expect("the gateway answers")
}

fn asks(world: &World, key: &str) -> u16 {
    call(world, key, "POST", CHAT, QUESTION).status
}

#[test]
fn a_narrower_key_does_less_and_the_one_that_it_was_derived_from_as_before() {
    let world = World::with_key(&format!("{MINE}scope = {{ paths = [\"/compatible-mode/**\"] }}"));
    let key = world.virtual_key("");
    let (post, _) = narrowed(&key, &["--scope", "methods=POST", "--scope", "models=qwen-p*"]);
    assert_eq!(asks(&world, &post), 200);
    assert_eq!(call(&world, &post, "GET", MODELS, "").refused(), (403, "denied".into()));
    assert_eq!(call(&world, &post, "POST", CHAT, &QUESTION.replace("plus", "max")).refused(), (403, "denied".into()));
    assert_eq!(call(&world, &key, "GET", MODELS, "").status, 200);
    // Wider words add nothing: each step must allow a call, and the rule too.
    let (wide, _) = narrowed(&post, &["--scope", "methods=GET", "--scope", "methods=POST", "--scope", "paths=/**"]);
    assert_eq!((call(&world, &wide, "GET", MODELS, "").status, asks(&world, &wide)), (403, 200));
    let (out, _) = narrowed(&key, &["--scope", "paths=/**"]);
    assert_eq!(call(&world, &out, "GET", "/dashscope/api/v1/tasks/1", "").status, 403);
    let (other, _) = narrowed(&key, &["--provider", "openai"]);
    assert_eq!(asks(&world, &other), 403);
    assert_eq!(asks(&world, &narrowed(&key, &["--provider", "dashscope"]).0), 200);
    let uses: Vec<Value> = world.audit().into_iter().filter(|line| line["verdict"] == "use").collect();
    assert!(uses[0]["node"].as_str().unwrap().starts_with("nd_") && uses[1].get("node").is_none(), "{uses:?}");
}

#[test]
fn uses_are_counted_by_node_and_by_lease() {
    let world = World::with_key(&format!("{MINE}uses = {{ max = 4 }}"));
    let key = world.virtual_key("");
    let (mother, _) = narrowed(&key, &["--uses", "3"]);
    let (son, _) = narrowed(&mother, &["--uses", "2"]);
    assert_eq!([(); 3].map(|()| asks(&world, &son)), [200, 200, 401]);
    assert_eq!(call(&world, &son, "POST", CHAT, QUESTION).code(), "exhausted");
    assert_eq!([(); 2].map(|()| asks(&world, &mother)), [200, 401]);
    assert_eq!([(); 2].map(|()| asks(&world, &key)), [200, 401], "each was the lease's too");
    assert_eq!(world.studio.requests(), 4);
}

#[test]
fn a_narrower_key_ends_at_its_own_time_and_with_its_lease() {
    let world = World::with_key(MINE);
    let key = world.virtual_key("");
    let (short, _) = narrowed(&key, &["--ttl", "2s"]);
    assert_eq!(asks(&world, &short), 200);
    // What runs is cut when the key is over.
    world.studio.next(Fault::SlowBody(SECOND));
    let mut stream = world.gateway();
    send(&mut stream, &short, "POST", CHAT, &QUESTION.replace("{\"model", "{\"stream\":true,\"model"));
    let (began, mut rest) = (Instant::now(), Vec::new());
    let _ = stream.read_to_end(&mut rest);
    assert!(
        began.elapsed() < 4 * SECOND && !String::from_utf8_lossy(&rest).contains("[DONE]"),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(call(&world, &short, "POST", CHAT, QUESTION).refused(), (401, "expired".into()));
    assert_eq!(asks(&world, &key), 200);
    let brief = world.virtual_key(r#","ttl":1"#);
    let (long, _) = narrowed(&brief, &["--ttl", "10m"]);
    std::thread::sleep(Duration::from_millis(1100));
    assert_eq!(
        call(&world, &long, "POST", CHAT, QUESTION).refused(),
        (401, "expired".into()),
        "no longer than its lease"
    );
}

#[test]
fn a_node_is_revoked_with_its_subtree_and_what_runs_on_it() {
    let world = World::with_key(MINE);
    let key = world.virtual_key("");
    let (mother, id) = narrowed(&key, &["--uses", "9"]);
    let (daughter, _) = narrowed(&mother, &["--scope", "methods=POST"]);
    let (beside, other) = narrowed(&key, &["--uses", "9"]);
    assert_eq!(id, other, "the same step of the same key is the same key");
    assert_eq!(mother, beside);
    let (beside, other) = narrowed(&key, &["--uses", "8"]);
    world.studio.next(Fault::SlowBody(SECOND));
    let mut stream = world.gateway();
    send(&mut stream, &daughter, "POST", CHAT, &QUESTION.replace("{\"model", "{\"stream\":true,\"model"));
    let mut first = [0; 300];
    stream.read_exact(&mut first).unwrap();
    let began = Instant::now();
    let out = world.sixty(&["revoke", &id]);
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success() && said.contains("1 narrower key revoked"), "{said}");
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
    assert!(began.elapsed() < SECOND && !String::from_utf8_lossy(&rest).contains("[DONE]"), "{:?}", began.elapsed());
    for dead in [&mother, &daughter, &narrowed(&daughter, &["--uses", "1"]).0] {
        assert_eq!(call(&world, dead, "POST", CHAT, QUESTION).refused(), (401, "revoked".into()));
    }
    assert_eq!((asks(&world, &beside), asks(&world, &key)), (200, 200));
    assert_eq!(world.http("DELETE", &format!("/v1/leases/{other}"), None).json()["revoked"], true);
    assert_eq!((asks(&world, &beside), asks(&world, &key)), (401, 200));
    assert_eq!(world.http("DELETE", &format!("/v1/leases/{other}"), None).code(), "denied", "it is over");
    let revoked = |line: &Value| line["record"] == "revoked" && line["which"]["node"] == id.as_str();
    assert!(soon(SECOND, || world.audit().iter().any(revoked)));
}

#[test]
fn a_narrower_key_is_its_holders_alone_and_found_where_it_does_not_belong() {
    let world = World::with_key(&format!("{MINE}on_theft = \"freeze\""));
    let key = world.virtual_key("");
    let (narrower, _) = narrowed(&key, &["--uses", "9"]);
    assert_eq!(call(&world, &narrower, "POST", &format!("{CHAT}?q={narrower}"), QUESTION).refused().0, 400);
    // In the body, over the border of what is read at once.
    let leak = QUESTION.replace("Who are you?", &format!("{}{narrower}", "x".repeat(9000)));
    assert_eq!(call(&world, &narrower, "POST", CHAT, &leak).refused(), (400, "malformed".into()));
    let other = world.virtual_key("");
    let two = format!("{narrower}\r\nauthorization: Bearer {other}");
    assert_eq!(call(&world, &two, "POST", CHAT, QUESTION).status, 403, "one key, not two");
    let mut typo = narrower.clone();
    typo.replace_range(60..61, if &narrower[60..61] == "0" { "1" } else { "0" });
    assert_eq!(call(&world, &typo, "POST", CHAT, QUESTION).refused(), (400, "malformed".into()));
    assert_eq!(world.studio.requests(), 0);
    let holder = Holder::new(&world);
    let (stolen, _) = narrowed(&holder.key, &["--uses", "9"]);
    assert_eq!(call(&world, &stolen, "POST", CHAT, QUESTION).refused(), (403, "denied".into()));
    assert_eq!(
        call(&world, &holder.key, "POST", CHAT, QUESTION).refused(),
        (401, "revoked".into()),
        "it has got around"
    );
    assert_eq!(asks(&world, &narrower), 200);
}

#[test]
fn a_narrower_key_that_is_dead_takes_no_other_with_it() {
    let world = World::with_key(&format!("{MINE}on_theft = \"freeze\""));
    let holder = Holder::new(&world);
    let (stolen, id) = narrowed(&holder.key, &["--uses", "9"]);
    assert!(world.sixty(&["revoke", &id]).status.success());
    // Whoever got hold of it is told that it is over, and cannot end the lease that it once was of.
    assert_eq!(call(&world, &stolen, "POST", CHAT, QUESTION).refused(), (401, "revoked".into()));
    let leases = world.http("GET", "/v1/leases", None).json();
    assert_eq!(leases["leases"][0]["state"], "live", "{leases}");
    // One that lives is another matter.
    let (stolen, _) = narrowed(&holder.key, &["--uses", "8"]);
    assert_eq!(asks(&world, &stolen), 403);
    assert_eq!(world.http("GET", "/v1/leases", None).json()["leases"], serde_json::json!([]));
}

#[test]
fn narrower_keys_are_bounded_by_the_config() {
    let limits = "[limits]\nnarrowed_steps = 2\nnarrowed_bytes = \"512B\"\nnarrowed_keys = 2\n";
    let world = World::with_key(&format!("{limits}{MINE}"));
    let key = world.virtual_key("");
    let (one, _) = narrowed(&key, &["--uses", "9"]);
    let (two, _) = narrowed(&one, &["--uses", "9"]);
    let (three, _) = narrowed(&two, &["--uses", "9"]);
    assert_eq!((asks(&world, &two), asks(&world, &three)), (200, 413));
    assert_eq!(call(&world, &three, "POST", CHAT, QUESTION).refused(), (413, "too_large".into()));
    let (long, _) = narrowed(&key, &["--scope", &format!("models=qwen-*{}", "x".repeat(220))]);
    assert!(long.len() > 512);
    assert_eq!(call(&world, &long, "POST", CHAT, QUESTION).refused(), (413, "too_large".into()));
    let (third, _) = narrowed(&key, &["--uses", "8"]);
    assert_eq!(call(&world, &third, "POST", CHAT, QUESTION).refused(), (429, "busy".into()), "two are counted already");
    assert_eq!(asks(&world, &key), 200);
}

#[test]
fn python_narrows_as_the_manual_says() {
    if !has("python3", "the manual's construction by other code") {
        return;
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let run = |arguments: &[&str]| {
        let mut command = Command::new("python3");
        let out = command.arg(folder.join("tests/clients/narrow.py")).args(arguments).output().unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap().trim().to_owned()
    };
    assert_eq!(run(&[folder.join("src/manual/narrow.md").to_str().unwrap()]), "2 vectors");
    let world = World::with_key(MINE);
    let key = world.virtual_key("");
    let narrower = run(&[&key, r#"{ "uses": 2 }"#, r#"{"scope":{"methods":["POST"]}}"#]);
    remember(&narrower);
    assert_eq!(asks(&world, &narrower), 200);
    assert_eq!(call(&world, &narrower, "GET", MODELS, "").status, 403);
    let (again, _) = narrowed(&narrower, &["--uses", "1"]);
    assert_eq!([(); 2].map(|()| asks(&world, &again)), [200, 401]);
    let unknown = run(&[&key, r#"{"colour":"blue"}"#]);
    remember(&unknown);
    assert_eq!(call(&world, &unknown, "POST", CHAT, QUESTION).refused(), (403, "denied".into()), "it fails closed");
}
