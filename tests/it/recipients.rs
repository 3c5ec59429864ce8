//! Virtual keys and tickets for somebody else, with real users and units; and what becomes of a key that a stranger tries.

use crate::{
    actor::copied,
    gateway::Holder,
    harness::{Answer, MINE, SECOND, World, program, read_answer, remember, soon},
    identity::{Cgroup, STRANGER, as_root},
    needs::missing,
};
use serde_json::Value;
use std::{
    io::Write,
    os::unix::process::CommandExt,
    path::Path,
    process::{Command, Output, Stdio},
    sync::Barrier,
};

const CHAT: &str = "/dashscope/compatible-mode/v1/chat/completions";
const QUESTION: &str = r#"{"model":"qwen-plus","messages":[{"role":"user","content":"Who are you?"}]}"#;

/// A daemon whose owner may mint for these.
fn world(recipients: &str) -> World {
    World::with_key(&format!("{MINE}for = [{recipients}]\n"))
}

fn wish(recipient: &str, more: &str) -> String {
    format!(r#"{{"key":"dashscope/main","kind":"virtual","for":"{recipient}"{more}}}"#)
}

fn own() -> String {
    format!("uid:{}", nix::unistd::geteuid())
}

/// A ticket, and its lease's id.
fn ticket(world: &World, recipient: &str) -> (String, String) {
    let answer = world.mint(&wish(recipient, r#","ticket":true"#));
    assert_eq!(answer.status, 201, "{}", answer.text());
    let lease = answer.json();
    assert!(lease.get("token").is_none(), "a ticket stands in the key's place");
    let text = |name: &str| lease[name].as_str().unwrap().to_owned();
    remember(&text("ticket"));
    (text("ticket"), text("id"))
}

fn redeem(world: &World, ticket: &str) -> Answer {
    world.http("POST", "/v1/tickets/redeem", Some(&format!(r#"{{"ticket":"{ticket}"}}"#)))
}

/// A call by this process.
fn call(world: &World, key: &str) -> Answer {
    let mut stream = world.gateway();
    let length = QUESTION.len();
    let head = format!("POST {CHAT} HTTP/1.1\r\nhost: x\r\nx-api-key: {key}\r\ncontent-length: {length}\r\n\r\n");
    stream.write_all(format!("{head}{QUESTION}").as_bytes()).unwrap();
    read_answer(&mut stream).expect("the gateway answers")
}

/// A call by another process, as this user and after this; whether the provider answered it.
fn calls(world: &World, uid: u32, before: &str, key: &str) -> bool {
    let socket = world.path("run/gateway.sock");
    let script = format!(
        "{before} exec curl -s --unix-socket {} -H \"x-api-key: $0\" -d '{QUESTION}' http://x{CHAT}",
        socket.display()
    );
    let mut command = Command::new("sh");
    let said = command.args(["-c", &script, key]).uid(uid).gid(uid).output().unwrap().stdout;
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(said.contains("pretend ") || said.contains("error"), "{said}");
    said.contains("pretend ")
}

/// `sixty redeem` as this user.
fn redeems(world: &World, uid: u32, before: &str, ticket: &str) -> Output {
    let ours = copied(&program(), &world.path(&format!("bin/sixty-{uid}")));
    let mut command = Command::new("sh");
    command.args(["-c", &format!("{before} exec \"$0\" redeem")]).arg(ours).env("SIXTY_SOCKET", world.broker());
    let child = command.uid(uid).gid(uid).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = child.spawn().unwrap();
    child.stdin.take().unwrap().write_all(ticket.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

fn has(world: &World, record: &str) -> usize {
    world.audit().iter().filter(|line| line["record"] == record).count()
}

#[test]
fn a_key_is_minted_for_whom_the_rule_names_and_for_nobody_else() {
    let world = world("\"unit:job-*.service\", \"uid:4321\"");
    for good in ["unit:job-1.service", "uid:4321", "uid:04321"] {
        world.mint(&wish(good, "")).token();
    }
    for bad in [own().as_str(), "unit:ci.service", "uid:4322", "gid:4321", "exe:/bin/sh", "socket:gateway"] {
        assert_eq!(world.mint(&wish(bad, "")).refused(), (403, "denied".into()), "{bad}");
    }
    for bad in ["uid:me", "me", "exe:", &format!("unit:job-{}", "x".repeat(2000))] {
        assert_eq!(world.mint(&wish(bad, "")).refused(), (400, "malformed".into()), "{bad}");
    }
    let upstream = world.mint(r#"{"key":"dashscope/main","kind":"upstream","for":"uid:4321"}"#);
    assert_eq!((upstream.status, upstream.text().contains("nor bound to anybody")), (400, true), "{}", upstream.text());
    assert_eq!(world.mint(&wish("uid:4321", r#","owner":"caller""#)).refused(), (400, "malformed".into()));
    assert_eq!(world.studio.mints(), 0);
    let permits: Vec<Value> = world.audit().into_iter().filter(|line| line["verdict"] == "permit").collect();
    assert!(permits.iter().all(|line| line.get("as").is_none()), "no ticket was asked for");
    assert_eq!(permits[0]["for"]["unit"], "job-1.service", "{}", permits[0]);
    let told = String::from_utf8(world.sixty(&["leases"]).stdout).unwrap();
    assert!(told.contains("unit:job-1.service") && told.contains("uid:4321"), "{told}");
    // It is found by whom it is for.
    let revoked = world.control_http("DELETE", "/v1/leases?peer=uid%3A4321", None).json();
    assert_eq!(revoked["revoked"], 2, "{revoked}");
}

#[test]
fn a_key_for_oneself_outlives_who_asked_and_is_any_process_of_that_users() {
    let world = world("\"uid:self\"");
    let mint = || world.sixty(&["mint", "dashscope/main", "--kind", "virtual", "--for", &own()]);
    let key = String::from_utf8(mint().stdout).unwrap().trim().to_owned();
    remember(&key);
    assert_eq!(call(&world, &key).status, 200, "the command that minted it has ended");
    world.configure(MINE);
    assert_eq!(world.control_http("POST", "/v1/reload", None).status, 200);
    assert_eq!(call(&world, &key).code(), "revoked", "no rule lets anybody mint for that user any more");
    assert_eq!(mint().status.code(), Some(77));
}

#[test]
fn a_key_for_another_user_is_that_users_and_not_the_minters() {
    if !as_root("a key for another user") {
        return;
    }
    let world = world(&format!("\"uid:{STRANGER}\""));
    let key = world.mint(&wish(&format!("uid:{STRANGER}"), "")).token();
    assert_eq!(call(&world, &key).refused(), (403, "denied".into()), "the minter is not whom it is for");
    assert!(calls(&world, STRANGER, "", &key));
    assert!(!calls(&world, STRANGER + 1, "", &key) && !calls(&world, 0, "", &key));
    assert!(calls(&world, STRANGER, "", &key), "its rule does not freeze it");
    assert_eq!(has(&world, "frozen"), 0);
}

#[test]
fn a_key_and_a_ticket_for_a_unit_are_good_in_that_unit_alone() {
    let name = format!("sixty-for-{}.service", std::process::id());
    let (Some(group), Some(other)) = (Cgroup::new(&name), Cgroup::new(&format!("other-{name}"))) else {
        return missing("not root, or no cgroup 2", "a key for a unit");
    };
    let world = world("\"unit:sixty-for-*.service\"");
    let recipient = format!("unit:{name}");
    let key = world.mint(&wish(&recipient, "")).token();
    assert!(
        calls(&world, 0, &group.enter(), &key)
            && !calls(&world, 0, &other.enter(), &key)
            && !calls(&world, 0, "", &key)
    );
    let (ticket, _) = ticket(&world, &recipient);
    let out = redeems(&world, 0, &group.enter(), &ticket);
    let redeemed = String::from_utf8(out.stdout).unwrap().trim().to_owned();
    remember(&redeemed);
    assert!(calls(&world, 0, &group.enter(), &redeemed) && !calls(&world, 0, &other.enter(), &redeemed));
}

#[test]
fn by_tcp_too_a_key_is_whose_it_is_and_a_bearer_alone_is_nobody() {
    let rule = format!("bearer_alone = true\nfor = [\"uid:self\", \"uid:{STRANGER}\"]\n");
    let world = World::with_key(&format!("[gateway]\nlisten = \"127.0.0.1:0\"\n{MINE}{rule}"));
    let address = world.status()["gateway"]["listen"].as_str().unwrap().to_owned();
    let call = |key: &str| {
        let mut stream = std::net::TcpStream::connect(&address).unwrap();
        let length = QUESTION.len();
        let head =
            format!("POST {CHAT} HTTP/1.1\r\nhost: localhost\r\nx-api-key: {key}\r\ncontent-length: {length}\r\n\r\n");
        stream.write_all(format!("{head}{QUESTION}").as_bytes()).unwrap();
        read_answer(&mut stream).unwrap().status
    };
    assert_eq!(call(&world.mint(&wish(&own(), "")).token()), 200);
    assert_eq!(call(&world.mint(&wish(&format!("uid:{STRANGER}"), "")).token()), 403);
}

#[test]
fn a_ticket_is_redeemed_once_and_the_second_time_ends_its_lease() {
    let world = world("\"uid:self\"");
    let (ticket, id) = ticket(&world, &own());
    assert_eq!(call(&world, &ticket).refused(), (403, "denied".into()), "a ticket is no key");
    let first = redeem(&world, &ticket);
    assert_eq!((first.status, first.json()["id"].as_str()), (201, Some(&*id)), "{}", first.text());
    assert!(first.head.contains("connection: close"), "nothing of it stays in a connection's buffers");
    let key = first.token();
    assert_eq!(call(&world, &key).status, 200);
    assert_eq!(redeem(&world, &ticket).refused(), (401, "revoked".into()));
    assert_eq!(call(&world, &key).refused(), (401, "revoked".into()));
    assert_eq!(redeem(&world, &ticket).refused(), (401, "revoked".into()));
    assert!(
        world.audit().iter().any(|line| line["as"] == "ticket")
            && world.audit().iter().any(|line| line["verdict"] == "redeem")
    );
    let abused: Vec<Value> = world.audit().into_iter().filter(|line| line["record"] == "ticket_abused").collect();
    assert_eq!(abused.len(), 1, "{abused:?}");
    assert_eq!((abused[0]["lease"].as_str(), abused[0]["why"].as_str()), (Some(&*id), Some("it was redeemed before")));
    assert_eq!(abused[0]["by"]["uid"], nix::unistd::geteuid().as_raw());
    assert_eq!(redeem(&world, &key).refused(), (400, "malformed".into()), "a key is no ticket");
    assert_eq!(redeem(&world, &ticket[..61]).refused(), (400, "malformed".into()));
}

#[test]
fn a_ticket_that_another_user_tries_is_dead_for_everybody() {
    if !as_root("another user with a ticket") {
        return;
    }
    let world = world(&format!("\"uid:{STRANGER}\""));
    let recipient = format!("uid:{STRANGER}");
    let (stolen, _) = ticket(&world, &recipient);
    assert_eq!(redeems(&world, STRANGER + 1, "", &stolen).status.code(), Some(77));
    assert_eq!(redeems(&world, STRANGER, "", &stolen).status.code(), Some(1), "whom it was for learns of it");
    let (tried, _) = ticket(&world, &recipient);
    assert_eq!(redeem(&world, &tried).refused(), (403, "denied".into()), "not even by who minted it");
    assert_eq!(has(&world, "ticket_abused"), 2);
    let (good, _) = ticket(&world, &recipient);
    let out = redeems(&world, STRANGER, "", &good);
    assert_eq!(out.status.code(), Some(0), "{}", String::from_utf8_lossy(&out.stderr));
    let key = String::from_utf8(out.stdout).unwrap().trim().to_owned();
    remember(&key);
    assert!(calls(&world, STRANGER, "", &key) && !calls(&world, 0, "", &key));
}

#[test]
fn a_ticket_survives_what_is_not_its_bearers_fault() {
    let world = world("\"uid:self\"");
    let (ticket, id) = ticket(&world, &own());
    assert_eq!(world.control_http("POST", "/v1/lock", None).status, 200);
    assert_eq!(redeem(&world, &ticket).refused(), (423, "locked".into()));
    assert_eq!(world.control_http("POST", "/v1/unlock", Some("{}")).status, 200);
    assert_eq!(redeem(&world, &ticket).status, 201);
    assert_eq!(world.http("DELETE", &format!("/v1/leases/{id}"), None).status, 200);
    let (late, _) = self::ticket(&world, &own());
    assert_eq!(world.control_http("DELETE", "/v1/leases?all=true", None).status, 200);
    assert_eq!(redeem(&world, &late).refused(), (401, "revoked".into()));
}

#[test]
fn of_64_who_race_for_a_ticket_over_sockets_one_wins() {
    let world = world("\"uid:self\"");
    for _ in 0..8 {
        let (ticket, _) = ticket(&world, &own());
        let gate = Barrier::new(64);
        let won = std::thread::scope(|scope| {
            let race = || {
                gate.wait();
                redeem(&world, &ticket).status
            };
            let all: Vec<_> = (0..64).map(|_| scope.spawn(race)).collect();
            all.into_iter().map(|one| one.join().unwrap()).filter(|status| *status == 201).count()
        });
        assert_eq!(won, 1);
    }
    assert_eq!(world.status()["leases"]["live"], 0, "the others ended it");
    assert_eq!(has(&world, "ticket_abused"), 8);
}

#[test]
fn a_key_that_a_stranger_tries_is_frozen_where_the_rule_says_so() {
    let world = World::with_key(&format!("{MINE}on_theft = \"freeze\"\n"));
    let holder = Holder::new(&world);
    let key = world.virtual_key("");
    assert_eq!(call(&world, &holder.key).refused(), (403, "denied".into()));
    assert_eq!(world.status()["leases"]["frozen"], 1);
    let metrics = world.control_http("GET", "/metrics", None).text();
    assert!(metrics.contains("sixty_leases_frozen_total 1\n"), "{metrics}");
    assert_eq!(call(&world, &holder.key).refused(), (401, "revoked".into()), "for everybody from now on");
    assert_eq!(call(&world, &key).status, 200, "other leases live on");
    let frozen = || world.audit().into_iter().find(|line| line["record"] == "frozen");
    assert!(soon(SECOND, || frozen().is_some()));
    let frozen = frozen().unwrap();
    assert_eq!(frozen["by"]["pid"], std::process::id(), "{frozen}");
    let leases = world.control_http("GET", "/v1/leases?all=true", None).json();
    let state = leases["leases"].as_array().unwrap().iter().find(|lease| lease["id"] == frozen["lease"]).unwrap();
    assert_eq!(state["state"], "frozen");
    let shown = String::from_utf8(world.sixty(&["leases", "--all"]).stdout).unwrap();
    assert!(shown.contains("frozen"), "{shown}");
}

#[test]
fn who_cannot_be_told_is_refused_and_freezes_nothing() {
    let bin = tempfile::tempdir().unwrap();
    let which = Command::new("sh").args(["-c", "command -v curl"]).output().unwrap().stdout;
    let program = copied(Path::new(String::from_utf8(which).unwrap().trim()), &bin.path().join("curl"));
    let recipient = format!("exe:{}", program.display());
    let world = World::with_key(&format!("{MINE}on_theft = \"freeze\"\nfor = [\"{recipient}\"]\n"));
    // Seventy generations below its owner, a process may be anybody's.
    let key = world.virtual_key("");
    let down = "n=$(($1 - 1)); if [ $n -gt 0 ]; then sh -c \"$0\" \"$0\" $n \"$2\"; exit; fi;";
    let curl = format!(
        "curl -s --unix-socket {} -H \"x-api-key: $2\" -d '{QUESTION}' http://x{CHAT}; exit",
        world.path("run/gateway.sock").display()
    );
    let script = format!("{down} {curl}");
    let from = |generation: &str| {
        let output = Command::new("sh").args(["-c", &script, &script, generation, &key]).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert!(from("70").contains("error") && from("30").contains("pretend "), "{} {}", from("70"), from("30"));
    assert_eq!(call(&world, &key).status, 200);
    // A program whose file is gone may have been the one that the key is for.
    let key = world.mint(&wish(&recipient, "")).token();
    let runs = |before: &dyn Fn()| {
        let mut curl = Command::new(&program);
        let curl = curl.args(["-sK", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut curl = curl.spawn().unwrap();
        before();
        let socket = world.path("run/gateway.sock");
        let config = format!(
            "url = \"http://x/dashscope/api/v1/tasks/1\"\nheader = \"x-api-key: {key}\"\nunix-socket = \"{}\"\n\
             write-out = \"%{{http_code}}\"\noutput = \"/dev/null\"\n",
            socket.display()
        );
        curl.stdin.take().unwrap().write_all(config.as_bytes()).unwrap();
        String::from_utf8(curl.wait_with_output().unwrap().stdout).unwrap()
    };
    let gone = || std::fs::remove_file(&program).unwrap();
    assert_eq!([runs(&|| ()), runs(&gone)], ["404", "403"], "the stand-in has no such task");
    let told = |line: &Value| line["reason"] == "whether the key is the peer's cannot be told";
    assert!(world.audit().iter().any(told));
    assert_eq!(world.status()["leases"]["frozen"], 0);
    assert_eq!(call(&world, &key).refused(), (403, "denied".into()));
    assert_eq!(world.status()["leases"]["frozen"], 1, "another program is a stranger");
}
