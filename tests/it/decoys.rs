//! Decoys: whoever asks for one, or shows one as a key, is told on and hears nothing of it.

use crate::{
    gateway::Holder,
    harness::{Answer, MINE, SECOND, VIRTUAL, World, read_answer, remember, soon},
    narrowing::narrowed,
    needs::has,
};
use serde_json::Value;
use sixty::wire::key::{Form, generate};
use std::{io::Write, os::unix::fs::PermissionsExt, process::Command};

/// Lays a decoy and gives its text.
fn laid(world: &World, name: &str, kind: &str) -> String {
    let body = format!(r#"{{"provider":"dashscope","region":"singapore","kind":"{kind}"}}"#);
    let answer = world.control_http("PUT", &format!("/v1/decoys/{name}"), Some(&body));
    assert_eq!(answer.status, 201, "{}", answer.text());
    let text = answer.json()["secret"].as_str().unwrap().to_owned();
    remember(&text);
    text
}

/// A no, without the name of its request.
fn told(answer: &Answer) -> (u16, String) {
    let text = answer.text();
    let words = text.split_inclusive(|c: char| !c.is_ascii_hexdigit());
    let is_id = |word: &&str| word.trim_end_matches(|c: char| !c.is_ascii_hexdigit()).len() != 16;
    (answer.status, words.filter(is_id).collect())
}

/// How a key is shown.
type Way<'a> = (&'a str, &'a dyn Fn(&str) -> Answer);

fn raised(world: &World) -> u64 {
    world.status()["alarms"]["raised"].as_u64().unwrap()
}

fn records(world: &World) -> Vec<Value> {
    world.audit().into_iter().filter(|line| line["record"] == "decoy_used").collect()
}

fn at_gateway(world: &World, head: &str) -> Answer {
    let mut stream = world.gateway();
    let lines = format!("POST /dashscope/compatible-mode/v1/chat/completions HTTP/1.1\r\nhost: x\r\n{head}\r\n\r\n");
    stream.write_all(lines.as_bytes()).unwrap();
    read_answer(&mut stream).expect("the gateway answers")
}

#[test]
fn who_asks_for_a_decoy_is_refused_like_anybody_and_told_on() {
    let world = World::with_key(MINE);
    let secret = laid(&world, "dashscope/backup", "upstream");
    let key = world.virtual_key("");
    assert_eq!(world.mint(VIRTUAL).status, 201);
    for kind in ["upstream", "virtual"] {
        let ask = |name| world.mint(&format!(r#"{{"key":"{name}","kind":"{kind}"}}"#));
        let (decoy, unknown) = (ask("dashscope/backup"), ask("dashscope/nothing"));
        assert_eq!(told(&decoy), told(&unknown));
        assert_eq!(decoy.json()["code"], "denied");
    }
    // The leases have ended, with what runs on them.
    assert_eq!(at_gateway(&world, &format!("authorization: Bearer {key}")).json()["error"]["code"], "revoked");
    let leases = world.control_http("GET", "/v1/leases?all=true", None).json();
    let states: Vec<_> = leases["leases"].as_array().unwrap().iter().map(|lease| &lease["state"]).collect();
    assert_eq!(states, ["frozen", "frozen"]);
    // On record, with who stands above it.
    let records = records(&world);
    let first = &records[0];
    assert_eq!(
        (&first["key"], &first["leases"], &first["how"]),
        (&"dashscope/backup".into(), &2.into(), &"it was asked for".into())
    );
    assert_eq!(first["by"]["pid"], std::process::id());
    let line = first["ancestry"][0].as_str().unwrap();
    assert!(line.starts_with(&format!("pid {} uid ", std::process::id())) && line.contains("/it-"), "{line}");
    assert!(first["ancestry"].as_array().unwrap().len() > 1);
    // An alarm in each place.
    let alarms = &world.status()["alarms"];
    assert_eq!((&alarms["raised"], &alarms["last"][0]["cause"]), (&2.into(), &"decoy".into()));
    assert_eq!(alarms["last"][0]["key"], "dashscope/backup");
    assert!(world.control_http("GET", "/metrics", None).text().contains("\nsixty_alarms_total 2\n"));
    assert!(world.log().contains("ERROR") && world.log().contains("alarm: a decoy was used"));
    assert_eq!(world.studio.mints(), 0, "{secret} never left");
    let audit = world.path("state/audit.ndjson");
    assert_eq!(world.sixty(&["audit", "verify", audit.to_str().unwrap()]).status.code(), Some(0));
}

#[test]
fn no_list_tells_a_decoy_from_a_key() {
    let world = World::with_key(MINE);
    laid(&world, "dashscope/backup", "upstream");
    let keys = world.control_http("GET", "/v1/keys", None).json();
    let fields = |at: usize| keys["keys"][at].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(fields(0), fields(1));
    assert_eq!(keys["keys"][0]["name"], "dashscope/backup");
    assert!(!keys.to_string().contains("decoy"));
    assert_eq!(
        world.http("GET", "/v1/whoami", None).json()["keys"],
        serde_json::json!(["dashscope/backup", "dashscope/main"])
    );
    // Who names no key is given the one that there is, and has done nothing.
    assert_eq!(world.http("POST", "/api/v1/tokens", None).status, 200);
    assert_eq!(raised(&world), 0);
}

#[test]
fn a_decoy_that_is_shown_as_a_key_is_known_wherever_it_stands() {
    let mut world = World::with_key(MINE);
    let (provider, ours) = (laid(&world, "a/one", "upstream"), laid(&world, "a/two", "virtual"));
    // Others that look the same and were never laid.
    let like = format!("sk-{}", "0123456789abcdef".repeat(2));
    let (unknown, _) = generate(Form::Key).unwrap();
    let unknown = unknown.expose(|text| String::from_utf8(text.to_vec()).unwrap());
    remember(&unknown);
    world.stop();
    world.start();
    let narrower = |key: &str| narrowed(key, &["--uses", "3"]).0;
    let bearer = |key: &str| at_gateway(&world, &format!("authorization: Bearer {key}"));
    let header = |key: &str| at_gateway(&world, &format!("x-api-key: {key}"));
    let bare = |key: &str| at_gateway(&world, &format!("authorization: {key}"));
    let redeemed = |key: &str| world.http("POST", "/v1/tickets/redeem", Some(&format!(r#"{{"ticket":"{key}"}}"#)));
    let at_broker = |key: &str| {
        let mut stream = std::os::unix::net::UnixStream::connect(world.broker()).unwrap();
        let head = format!("POST /api/v1/tokens HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        read_answer(&mut stream).unwrap()
    };
    let narrow = |key: &str| bearer(&narrower(key));
    let ways: [Way<'_>; 6] = [
        ("bearer", &bearer),
        ("header", &header),
        ("bare", &bare),
        ("redeemed", &redeemed),
        ("at the broker", &at_broker),
        ("narrowed", &narrow),
    ];
    let mut count = 0;
    for (decoy, other) in [(&provider, &like), (&ours, &unknown)] {
        for (way, show) in ways {
            if way == "narrowed" && decoy == &provider {
                continue;
            }
            assert_eq!(told(&show(decoy)), told(&show(other)), "{way}");
            count += 1;
            assert_eq!(raised(&world), count, "{way}");
            assert_eq!(records(&world).last().unwrap()["how"], "it was shown as a key", "{way}");
        }
    }
    // What it is known by outlives a lock, and its name does not.
    assert_eq!(world.control_http("POST", "/v1/lock", None).status, 200);
    bearer(&provider);
    assert_eq!(raised(&world), count + 1);
    let records = records(&world);
    let (locked, open) = (records.last().unwrap(), &records[0]);
    assert_eq!((&locked["key"], &locked["fingerprint"]), (&Value::Null, &open["fingerprint"]));
    assert_eq!(open["key"], "a/one");
}

/// A key that another program was given for this process, by a rule that names that program.
#[test]
fn a_key_that_the_process_could_use_ends_too_and_one_that_it_could_not_does_not() {
    let program = crate::harness::program();
    let rules = format!(
        "[[rule]]\nname = \"cli\"\npeer = {{ exe = \"{}\" }}\nkeys = [\"**\"]\nkinds = [\"virtual\"]\n{MINE}",
        program.canonicalize().unwrap().display()
    );
    let world = World::with_key(&rules);
    laid(&world, "dashscope/backup", "upstream");
    let mint = world.sixty(&["mint", "dashscope/main"]);
    let ours = String::from_utf8(mint.stdout).unwrap();
    remember(ours.trim());
    // The shell is its owner, and no ancestor of ours.
    let other = Holder::new(&world);
    assert_eq!(world.mint(r#"{"key":"dashscope/backup"}"#).status, 403);
    assert_eq!(records(&world)[0]["leases"], 1);
    let leases = world.control_http("GET", "/v1/leases?all=true", None).json();
    let states: Vec<_> = leases["leases"].as_array().unwrap().iter().map(|lease| lease["state"].clone()).collect();
    assert!(states.len() == 2 && states.contains(&"live".into()) && states.contains(&"frozen".into()), "{states:?}");
    drop(other);
}

#[test]
fn who_steps_on_decoys_again_and_again_does_not_fill_the_disk() {
    let world = World::with_key(&format!("[limits]\nrefusals_per_uid = \"5/min\"\n{MINE}"));
    laid(&world, "dashscope/backup", "upstream");
    for _ in 0..20 {
        assert!(matches!(world.mint(r#"{"key":"dashscope/backup"}"#).status, 403 | 429));
    }
    assert!(records(&world).len() <= 5 && raised(&world) <= 5);
    assert!(raised(&world) > 0);
}

#[test]
fn who_was_refused_too_often_before_is_told_on_all_the_same() {
    // Where the rules would give it, and where not.
    for keys in ["**", "dashscope/main"] {
        let rule = MINE.replace("**", keys);
        let world = World::with_key(&format!("[limits]\nrefusals_per_uid = \"5/min\"\n{rule}"));
        laid(&world, "dashscope/backup", "upstream");
        let ask = |name: &str| world.mint(&format!(r#"{{"key":"{name}"}}"#));
        (0..9).for_each(|_| drop(ask("dashscope/nothing")));
        assert_eq!(told(&ask("dashscope/backup")), told(&ask("dashscope/nothing")));
        assert_eq!((records(&world).len(), raised(&world)), (1, 1), "{keys}");
    }
}

#[test]
fn who_ends_before_the_decoy_is_looked_at_is_told_on_and_loses_its_leases() {
    if !has("python3", "a decoy that is shown on a dead process's connection") {
        return;
    }
    let world = World::with_key(MINE);
    let decoy = laid(&world, "a/one", "upstream");
    let script = "import os,socket,sys,time\n\
        m=socket.socket(socket.AF_UNIX);m.connect(sys.argv[3]);b=b'{\"key\":\"dashscope/main\",\"kind\":\"virtual\",\"owner\":\"detached\"}'\n\
        m.send(b'POST /v1/leases HTTP/1.1\\r\\nhost: x\\r\\ncontent-length: %d\\r\\n\\r\\n'%len(b)+b);m.recv(4096)\n\
        s=socket.socket(socket.AF_UNIX);s.connect(sys.argv[1])\n\
        time.sleep(0.2)\n\
        if os.fork(): os._exit(0)\n\
        time.sleep(0.5)\n\
        s.send(b'GET /dashscope/x HTTP/1.1\\r\\nhost: x\\r\\nx-api-key: '+sys.argv[2].encode()+b'\\r\\n\\r\\n');s.recv(9)\n";
    let mut thief = Command::new("python3");
    let mut thief =
        thief.args(["-c", script]).arg(world.path("run/gateway.sock")).arg(decoy).arg(world.broker()).spawn().unwrap();
    let pid = thief.id();
    thief.wait().unwrap();
    assert!(soon(10 * SECOND, || raised(&world) == 1));
    assert_eq!(world.status()["alarms"]["last"][0]["pid"], pid);
    assert_eq!((&records(&world)[0]["by"]["pid"], &records(&world)[0]["leases"]), (&pid.into(), &1.into()));
}

#[test]
fn an_owner_lays_lists_and_removes_decoys() {
    let world = World::with_key(MINE);
    let file = world.path("key.txt");
    let add = |more: &[&str]| world.sixty(&[&["decoy", "add", "openai/old", "--provider", "openai"], more].concat());
    let to = ["--to", file.to_str().unwrap()];
    assert_eq!(add(&to).status.code(), Some(0));
    let text = std::fs::read_to_string(&file).unwrap();
    remember(text.trim());
    assert!(text.starts_with("sk-proj-") && text.len() == 165, "{}", text.len());
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    // Never over what is there; and what could not be stored is not left lying about.
    assert_eq!(add(&to).status.code(), Some(1));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
    let second = world.path("second.txt");
    assert_eq!(add(&["--to", second.to_str().unwrap()]).status.code(), Some(1), "the name is taken");
    assert!(!second.exists());
    let listed = world.sixty(&["decoy", "list"]);
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert!(listed.contains("openai/old") && !listed.contains("dashscope/main"), "{listed}");
    // A test asks nobody, and counts as a use.
    assert_ne!(world.sixty(&["key", "test", "openai/old"]).status.code(), Some(0));
    assert_eq!(raised(&world), 1);
    assert_eq!(world.sixty(&["decoy", "remove", "dashscope/main"]).status.code(), Some(1));
    // A key in its place would never be lent to anybody.
    let rotated =
        world.control_http("POST", "/v1/keys/openai/old/rotate", Some(&format!(r#"{{"secret":"{}"}}"#, text.trim())));
    assert!(rotated.status == 400 && rotated.text().contains("is a decoy"), "{}", rotated.text());
    assert_eq!(world.mint(VIRTUAL).status, 201, "no key is removed for a decoy");
    assert_eq!(world.sixty(&["decoy", "remove", "openai/old"]).status.code(), Some(0));
    let kinds: Vec<_> = world.audit().iter().map(|line| line["record"].as_str().unwrap().to_owned()).collect();
    assert!(["decoy_added", "decoy_removed"].iter().all(|kind| kinds.iter().any(|found| found == kind)), "{kinds:?}");
    assert!(!kinds.iter().any(|kind| kind == "key_removed"));
    let printed = world.sixty(&["decoy", "add", "b", "--provider", "github"]);
    let printed = String::from_utf8(printed.stdout).unwrap();
    remember(printed.trim());
    assert!(printed.starts_with("ghp_") && printed.len() == 41);
}
