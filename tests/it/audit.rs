//! The audit from outside: what each request leaves, what a full disk does, and whether a forger is found out.

use crate::harness::{MINE, World, is_root, request, signal, soon};
use serde_json::Value;
use sixty::demo::studio::Fault;
use std::{
    io::{BufRead, BufReader, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::Duration,
};

const SOON: Duration = Duration::from_secs(5);

#[test]
fn every_request_leaves_its_decision_and_its_outcome() {
    let world = World::new(&format!("{MINE}\n[limits]\nrequest_time = \"5s\"\n").replace("\"**\"", "\"dashscope/*\""));
    let key = world.add_key("dashscope/main");
    let sent = world.mint(r#"{"key":"dashscope/main"}"#);
    let virtually = world.mint(r#"{"key":"dashscope/main","kind":"virtual"}"#);
    let denied = world.mint(r#"{"key":"other/key"}"#);
    assert_eq!(denied.status, 403);
    world.studio.next_for(&key, Fault::BadKey);
    let refused = world.mint(r#"{"key":"dashscope/main","ttl":59}"#);
    assert_eq!(refused.status, 502, "{}", refused.text());

    let told = pairs(&world);
    let shown: Vec<_> =
        told.iter().map(|(decision, outcome)| (text(decision, "verdict"), text(outcome, "verdict"))).collect();
    let want = [("permit", "sent"), ("permit", "sent"), ("denied", "refused"), ("permit", "refused")];
    assert_eq!(shown, want.map(|(a, b)| (a.to_owned(), b.to_owned())));
    assert_eq!(text(&told[0].1, "lease"), sent.json()["id"].as_str().unwrap());
    assert_eq!(text(&told[1].1, "lease"), virtually.json()["id"].as_str().unwrap());
    assert_eq!(
        text(&told[2].1, "request"),
        denied.json()["request_id"].as_str().unwrap(),
        "the caller can be answered"
    );
    assert_eq!((text(&told[3].1, "code"), told[3].1["reason"].is_string()), ("upstream".into(), true));
    let peer = &told[0].0["peer"];
    assert_eq!(peer["uid"].as_u64(), Some(nix::unistd::geteuid().as_raw().into()));
    assert_eq!(peer["pid"].as_u64(), Some(std::process::id().into()));
}

#[test]
fn a_client_that_vanished_is_on_record_as_lost() {
    let world = World::new(MINE);
    world.add_key("dashscope/main");
    let decided = || world.audit().iter().filter(|line| line["record"] == "decision").count();
    for (before, wait) in [0, 50].into_iter().enumerate() {
        world.studio.next(Fault::SlowHead(Duration::from_millis(300)));
        let mut stream = UnixStream::connect(world.broker()).unwrap();
        let body = Some(r#"{"key":"dashscope/main"}"#);
        stream.write_all(request("POST", "/v1/leases", body, "close").as_bytes()).unwrap();
        // Who leaves before the request is read has asked for nothing.
        assert!(soon(SOON, || decided() > before), "{:?}", world.audit());
        std::thread::sleep(Duration::from_millis(wait));
        drop(stream);
    }
    let lost = || {
        let pairs = pairs(&world);
        pairs.len() == 2 && pairs.iter().all(|(_, outcome)| outcome["verdict"] == "lost")
    };
    assert!(soon(SOON, lost), "{:?}", world.audit());
    assert_eq!(world.http("GET", "/v1/leases", None).json()["leases"].as_array().unwrap().len(), 0);
}

#[test]
fn no_key_and_no_token_is_ever_in_the_file() {
    let world = World::new(MINE);
    let mut secrets = vec![world.add_key("dashscope/main"), world.add_key("dashscope/other")];
    for kind in ["upstream", "virtual"] {
        secrets.push(world.mint(&format!(r#"{{"key":"dashscope/main","kind":"{kind}"}}"#)).token());
    }
    // Where a secret comes in the wrong place, it must not get in by the side.
    for body in
        [r#"{"key":"SECRET"}"#, r#"{"key":"dashscope/main","SECRET":1}"#, r#"{"key":"dashscope/main","ttl":"SECRET"}"#]
    {
        world.mint(&body.replace("SECRET", &secrets[0]));
    }
    world.http("POST", "/api/v1/tokens?expire_in_seconds=60", Some(&secrets[0]));
    let rotated = crate::harness::random_key();
    world.control_http("POST", "/v1/keys/dashscope/other/rotate", Some(&format!(r#"{{"secret":"{rotated}"}}"#)));
    secrets.push(rotated);
    assert!(world.audit().len() > 8);
    for file in ["state/audit.ndjson", "state/audit.head", "log"] {
        let text = std::fs::read_to_string(world.path(file)).unwrap();
        for secret in &secrets {
            assert!(!text.contains(&secret[3..19]), "{file} holds a part of a secret");
        }
    }
}

#[test]
fn what_an_operator_does_is_on_record_with_who_it_was() {
    let world = World::new(MINE);
    world.add_key("dashscope/main");
    world.mint(r#"{"key":"dashscope/main","kind":"virtual","owner":"detached"}"#).token();
    let key = crate::harness::random_key();
    world.studio.register(&key);
    assert!(world.sixty_with(&["key", "rotate", "dashscope/main"], &key).status.success());
    for words in
        ["key test dashscope/main", "revoke --key dashscope/main", "lock", "unlock", "key remove dashscope/main"]
    {
        let done = world.sixty(&words.split(' ').collect::<Vec<_>>());
        assert!(done.status.success(), "{words}: {}", stderr(&done));
    }
    assert_eq!(world.control_http("POST", "/v1/reload", None).status, 200);
    std::fs::write(world.path("sixty.toml"), "[[rule]\n").unwrap();
    assert_ne!(world.control_http("POST", "/v1/reload", None).status, 200);
    let told: Vec<_> = world.audit();
    let by_hand: Vec<_> = told.iter().filter(|line| line["by"].is_object()).map(|line| text(line, "record")).collect();
    let want = [
        "key_added",
        "key_rotated",
        "key_tested",
        "revoked",
        "locked",
        "unlocked",
        "key_removed",
        "revoked",
        "reloaded",
        "reload_refused",
    ];
    assert_eq!(by_hand, want);
    let me = u64::from(nix::unistd::geteuid().as_raw());
    assert!(told.iter().filter(|line| line["by"].is_object()).all(|line| line["by"]["uid"].as_u64() == Some(me)));
}

#[test]
fn a_full_disk_stops_the_keys_and_nothing_else_and_heals_by_itself() {
    let mut world = World::new(MINE);
    world.add_key("dashscope/main");
    world.stop();
    let Some(disk) = SmallDisk::mounted(world.path("small"), "64k") else { return };
    world.configure(&format!("{MINE}\n[audit]\npath = \"{}\"\n", disk.0.join("audit.ndjson").display()));
    world.start();
    world.mint(r#"{"key":"dashscope/main"}"#).token();
    disk.fill();
    let refused = (0..400)
        .map(|_| world.mint(r#"{"key":"dashscope/main","kind":"virtual"}"#))
        .find(|answer| answer.status != 201);
    let refused = refused.expect("a disk of 64 KiB is full after 400 records");
    assert_eq!((refused.status, refused.code().as_str()), (503, "unavailable"));
    assert_eq!(refused.json()["retry"], "later");
    let before = world.status()["answers"]["sent"].as_u64();
    for _ in 0..50 {
        assert_eq!(world.mint(r#"{"key":"dashscope/main"}"#).code(), "unavailable");
    }
    assert_eq!(world.status()["answers"]["sent"].as_u64(), before, "not one key went out unrecorded");
    assert!(world.status()["audit"]["failing"].is_string());
    assert_eq!(world.http("GET", "/readyz", None).status, 503);
    assert_eq!(world.http("GET", "/healthz", None).status, 200);
    // A change that can't be put on record is not made.
    let put = format!(
        r#"{{"provider":"dashscope","region":"singapore","endpoint":"{}","secret":"{}"}}"#,
        world.studio.url(),
        crate::harness::random_key()
    );
    let added = world.control_http("PUT", "/v1/keys/dashscope/late", Some(&put));
    assert_eq!((added.status, added.code().as_str()), (503, "unavailable"), "{}", added.text());
    assert_eq!(world.control_http("GET", "/v1/keys", None).json()["keys"].as_array().unwrap().len(), 1);

    disk.empty();
    assert!(soon(SOON, || world.http("GET", "/readyz", None).status == 200), "{}", world.status());
    world.mint(r#"{"key":"dashscope/main"}"#).token();
    assert_eq!(world.control_http("PUT", "/v1/keys/dashscope/late", Some(&put)).status, 201);
    let verified = verify(&world, &[&disk.0.join("audit.ndjson")]);
    assert!(verified.status.success(), "{}", stderr(&verified));
    world.stop();
}

#[test]
fn a_full_disk_keeps_a_new_key_out_and_the_old_ones_in() {
    let mut world = World::new(MINE);
    world.stop();
    let Some(disk) = SmallDisk::mounted(world.path("small"), "128k") else { return };
    let (at, run, log) = (disk.0.join("state"), world.path("run"), world.path("audit.ndjson"));
    let config = format!(
        "{MINE}\n[daemon]\nruntime_dir = \"{}\"\nstate_dir = \"{}\"\n[audit]\npath = \"{}\"\n",
        run.display(),
        at.display(),
        log.display()
    );
    world.configure(&config);
    world.start();
    world.add_key("dashscope/main");
    disk.fill();
    let key = crate::harness::random_key();
    let place =
        ["--provider", "dashscope", "--region", "singapore", "--endpoint", &world.studio.url()].map(String::from);
    let mut words = vec!["key", "add", "dashscope/late"];
    words.extend(place.iter().map(String::as_str));
    let added = world.sixty_with(&words, &key);
    assert_eq!(added.status.code(), Some(75), "{}", stderr(&added));
    assert!(stderr(&added).contains("the vault can't be written"), "{}", stderr(&added));
    assert!(stderr(&added).contains("No space left"), "{}", stderr(&added));
    let rotated = world.sixty_with(&["key", "rotate", "dashscope/main"], &key);
    assert_eq!(rotated.status.code(), Some(75), "{}", stderr(&rotated));
    world.mint(r#"{"key":"dashscope/main"}"#).token();
    world.kill();
    world.start();
    assert_eq!(world.control_http("GET", "/v1/keys", None).json()["keys"].as_array().unwrap().len(), 1);
    world.mint(r#"{"key":"dashscope/main"}"#).token();
    disk.empty();
    assert!(world.sixty_with(&words, &key).status.success());
    world.stop();
}

#[test]
fn the_chain_goes_on_across_rotated_files() {
    let world = World::new(MINE);
    world.add_key("dashscope/main");
    let (old, new) = (world.path("state/audit.ndjson.1"), world.path("state/audit.ndjson"));
    world.mint(r#"{"key":"dashscope/main"}"#).token();
    std::fs::rename(&new, &old).unwrap();
    world.mint(r#"{"key":"dashscope/main"}"#).token();
    signal(world.pid(), "USR1");
    assert!(soon(SOON, || new.exists()));
    world.mint(r#"{"key":"dashscope/main"}"#).token();
    let told = world.audit();
    assert_eq!(told[0]["record"], "continued");
    let both = verify(&world, &[&old, &new]);
    assert!(both.status.success(), "{}", stderr(&both));
    let alone = verify(&world, &[&new]);
    assert!(stdout(&alone).contains("older files hold the records before"), "{}", stdout(&alone));
    let swapped = verify(&world, &[&new, &old]);
    assert_eq!(swapped.status.code(), Some(1), "{}", stdout(&swapped));
}

#[test]
fn a_forger_is_found_out_at_the_first_bad_line() {
    let mut world = World::new(MINE);
    world.add_key("dashscope/main");
    for _ in 0..5 {
        world.mint(r#"{"key":"dashscope/main","kind":"virtual"}"#).token();
    }
    world.stop();
    let text = std::fs::read_to_string(world.path("state/audit.ndjson")).unwrap();
    let lines: Vec<_> = text.lines().collect();
    assert!(lines.len() > 10);
    let without = |gone: usize| [&lines[..gone], &lines[gone + 1..]].concat();
    let swapped = {
        let mut lines = lines.clone();
        lines.swap(4, 5);
        lines
    };
    let edited = |at: usize| {
        let changed = lines[at].replacen("dashscope/main", "dashscope/mine", 1).replacen("\"uid\":", "\"uid\":9", 1);
        assert_ne!(changed, lines[at]);
        let mut lines: Vec<_> = lines.iter().map(ToString::to_string).collect();
        lines[at] = changed;
        lines
    };
    let owned = |lines: Vec<&str>| lines.into_iter().map(str::to_owned).collect::<Vec<_>>();
    let decision = lines.iter().position(|line| line.contains(r#""record":"decision""#)).unwrap();
    let repeated = [&lines[..4], &lines[3..]].concat();
    let cases = [
        ("an edited line", edited(decision), decision + 1),
        ("a deleted line", owned(without(5)), 6),
        ("a deleted first line", owned(without(0)), 1),
        ("two swapped lines", owned(swapped), 5),
        ("a repeated line", owned(repeated), 5),
        ("a cut tail", owned(lines[..lines.len() - 2].to_vec()), lines.len() - 1),
        (
            "an edited last line",
            {
                let mut all = owned(lines.clone());
                let last = all.len() - 1;
                all[last] = all[last].replacen("stopped", "started", 1);
                all
            },
            lines.len(),
        ),
    ];
    for (what, forged, line) in cases {
        std::fs::write(world.path("forged.ndjson"), forged.join("\n") + "\n").unwrap();
        std::fs::copy(world.path("state/audit.head"), world.path("forged.head")).unwrap();
        let found = verify(&world, &[&world.path("forged.ndjson")]);
        assert_eq!(found.status.code(), Some(1), "{what}: {}", stdout(&found));
        assert!(
            stderr(&found).contains(&format!("forged.ndjson:{line}: ")),
            "{what} is not at {line}: {}",
            stderr(&found)
        );
    }
}

#[test]
fn a_follower_sees_what_was_and_what_comes() {
    let world = World::new(MINE);
    world.add_key("dashscope/main");
    let mut follower =
        world.command(&["audit", "--follow", "--json"]).stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let (tell, told) = std::sync::mpsc::channel();
    let lines = BufReader::new(follower.stdout.take().unwrap()).lines();
    let reader = std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| tell.send(line)));
    let next = || -> Value { serde_json::from_str(&told.recv_timeout(SOON).unwrap()).unwrap() };
    let past: Vec<_> = (0..3).map(|_| text(&next(), "record")).collect();
    assert_eq!(past, ["started", "unlocked", "key_added"]);
    world.mint(r#"{"key":"dashscope/main","kind":"virtual"}"#).token();
    let (decision, outcome) = (next(), next());
    assert_eq!((text(&decision, "verdict"), text(&outcome, "verdict")), ("permit".into(), "sent".into()));
    assert_eq!(outcome["seq"].as_u64(), Some(4), "none was left out and none came twice");
    follower.kill().unwrap();
    follower.wait().unwrap();
    let _ = reader.join();
    let told = world.sixty(&["audit"]);
    assert_eq!(stdout(&told).lines().count(), 5, "{}", stdout(&told));
}

/// Each decision with its outcome, in the order of the decisions.
fn pairs(world: &World) -> Vec<(Value, Value)> {
    let told = world.audit();
    let of = |what: &str| told.iter().filter(|line| line["record"] == what).cloned().collect::<Vec<_>>();
    let outcomes = of("outcome");
    let outcome = |decision: &Value| {
        let mut own = outcomes.iter().filter(|outcome| outcome["request"] == decision["request"]);
        let found = own.next().cloned();
        assert!(own.next().is_none(), "one request, one outcome: {told:?}");
        found
    };
    of("decision").into_iter().filter_map(|decision| outcome(&decision).map(|outcome| (decision, outcome))).collect()
}

fn verify(world: &World, files: &[&Path]) -> Output {
    let files = files.iter().map(|file| file.to_str().unwrap());
    world.sixty(&["audit", "verify"].into_iter().chain(files).collect::<Vec<_>>())
}

fn text(line: &Value, name: &str) -> String {
    line[name].as_str().unwrap_or_default().to_owned()
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A file system of a few pages that can be filled; gone when dropped.
pub struct SmallDisk(pub PathBuf);

impl SmallDisk {
    /// None, and one line that says so, where this user may not mount.
    pub fn mounted(at: PathBuf, size: &str) -> Option<Self> {
        std::fs::create_dir(&at).unwrap();
        let mount = || {
            Command::new("mount")
                .args(["-t", "tmpfs", "-o", &format!("size={size},mode=700"), "sixty"])
                .arg(&at)
                .status()
        };
        if !is_root() || !mount().is_ok_and(|status| status.success()) {
            eprintln!("skipped: a full disk takes a mount, and that takes root");
            return None;
        }
        Some(Self(at))
    }

    /// Nobody can write to it any more, or everybody again.
    pub fn remount(&self, how: &str) {
        let done = Command::new("mount").args(["-o", &format!("remount,{how}")]).arg(&self.0).status();
        assert!(done.unwrap().success());
    }

    fn fill(&self) {
        let mut filler = std::fs::File::create(self.0.join("filler")).unwrap();
        while filler.write_all(&[0; 4096]).is_ok() {}
    }

    fn empty(&self) {
        std::fs::remove_file(self.0.join("filler")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
