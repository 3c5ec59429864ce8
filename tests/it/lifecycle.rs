//! The daemon's own life: start, sockets, signals, what the service manager is told, and its end.

use crate::{
    harness::{Answer, MINE, SECOND, UPSTREAM, VIRTUAL, World, read_answer, request, signal, soon},
    http::over,
};
use serde_json::Value;
use sixty::demo::studio::Fault;
use std::{
    io::{Read, Write},
    os::unix::{
        fs::{FileTypeExt, MetadataExt},
        net::{UnixListener, UnixStream},
    },
    time::{Duration, Instant},
};

fn verified(world: &World, files: &[&str]) -> Result<(), String> {
    let mut command = world.command(&["audit", "verify"]);
    command.args(files.iter().map(|file| world.path(file)));
    let out = command.output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    if out.status.success() { Ok(()) } else { Err(said) }
}

#[test]
fn a_mint_in_flight_is_answered_before_the_daemon_ends() {
    let mut world = World::with_key(MINE);
    world.studio.next(Fault::SlowHead(Duration::from_millis(600)));
    let mut stream = UnixStream::connect(world.broker()).unwrap();
    stream.write_all(request("POST", "/v1/leases", Some(UPSTREAM), "keep-alive").as_bytes()).unwrap();
    assert!(soon(5 * SECOND, || world.studio.requests() == 1));
    signal(world.pid(), "TERM");
    // Nobody new is let in while it drains.
    assert!(soon(SECOND, || world.try_http("GET", "/healthz", None).is_none()));
    let answer = read_answer(&mut stream).unwrap();
    assert_eq!(answer.status, 201);
    answer.token();
    let began = Instant::now();
    assert_eq!(world.stop(), Some(0));
    assert!(began.elapsed() < SECOND, "{:?}", began.elapsed());
    assert!(!world.broker().exists() && !world.control().exists(), "its sockets go with it");
    verified(&world, &["state/audit.ndjson"]).unwrap();
    let audit = std::fs::read_to_string(world.path("state/audit.ndjson")).unwrap();
    assert!(audit.lines().last().unwrap().contains("stopped"), "{audit}");
    assert!(audit.contains("\"sent\""), "the answer is on record");
}

#[test]
fn those_who_only_listen_do_not_hold_up_the_end() {
    let mut world = World::with_key(MINE);
    let mut idle = UnixStream::connect(world.broker()).unwrap();
    assert_eq!(over(&mut idle, &request("GET", "/healthz", None, "keep-alive")).unwrap().status, 200);
    let mut silent = UnixStream::connect(world.broker()).unwrap();
    let mut follower = UnixStream::connect(world.control()).unwrap();
    follower.write_all(request("GET", "/v1/audit?follow=true", None, "close").as_bytes()).unwrap();
    assert!(follower.read(&mut [0; 64]).unwrap() > 0);
    let began = Instant::now();
    assert_eq!(world.stop(), Some(0));
    assert!(began.elapsed() < SECOND, "{:?}", began.elapsed());
    assert_eq!((idle.read(&mut [0]).unwrap(), silent.read(&mut [0]).unwrap()), (0, 0));
}

#[test]
fn who_has_just_come_in_is_answered_before_the_daemon_ends() {
    let mut world = World::with_key(MINE);
    let mut fresh = UnixStream::connect(world.broker()).unwrap();
    // Let in, and silent still.
    assert!(soon(SECOND, || world.http("GET", "/healthz", None).status == 200));
    signal(world.pid(), "TERM");
    std::thread::sleep(Duration::from_millis(10));
    fresh.write_all(request("GET", "/healthz", None, "keep-alive").as_bytes()).unwrap();
    assert_eq!(read_answer(&mut fresh).unwrap().status, 200);
    assert_eq!(world.stop(), Some(0));
}

#[test]
fn half_a_request_is_waited_for_only_as_long_as_drain_says() {
    let mut world = World::with_daemon("drain = \"1s\"");
    let mut half = UnixStream::connect(world.broker()).unwrap();
    half.write_all(b"GET /healthz HT").unwrap();
    std::thread::sleep(Duration::from_millis(50));
    let began = Instant::now();
    assert_eq!(world.stop(), Some(0));
    assert!(began.elapsed() < 2 * SECOND, "{:?}", began.elapsed());
}

#[test]
fn a_provider_that_hangs_does_not_hold_up_the_end_for_longer_than_drain() {
    let mut world = World::with_daemon("drain = \"1s\"");
    world.studio.always(Fault::Hang);
    let mut stuck = UnixStream::connect(world.broker()).unwrap();
    stuck.write_all(request("POST", "/v1/leases", Some(UPSTREAM), "close").as_bytes()).unwrap();
    assert!(soon(5 * SECOND, || world.studio.requests() == 1));
    let began = Instant::now();
    assert_eq!(world.stop(), Some(0));
    assert!((900..2000).contains(&began.elapsed().as_millis()), "{:?}", began.elapsed());
    verified(&world, &["state/audit.ndjson"]).unwrap();
}

#[test]
fn a_socket_that_was_removed_is_there_again() {
    let world = World::with_key(MINE);
    for socket in [world.broker(), world.control()] {
        std::fs::remove_file(&socket).unwrap();
        assert!(soon(4 * SECOND, || socket.exists()));
        assert!(socket.metadata().unwrap().file_type().is_socket());
    }
    assert_eq!(world.mint(VIRTUAL).status, 201);
    assert_eq!(world.status()["vault"]["state"], "open");
}

#[test]
fn a_socket_that_another_took_is_left_to_it() {
    let world = World::with_key(MINE);
    std::fs::remove_file(world.broker()).unwrap();
    let other = UnixListener::bind(world.broker()).unwrap();
    let inode = world.broker().metadata().unwrap().ino();
    std::thread::sleep(Duration::from_millis(2500));
    assert_eq!(world.broker().metadata().unwrap().ino(), inode);
    let complaints = world.log().lines().filter(|line| line.contains("another daemon")).count();
    assert_eq!(complaints, 1, "{}", world.log());
    drop(other);
}

#[test]
fn a_dead_daemons_sockets_are_replaced_and_its_leases_are_gone() {
    let mut world = World::with_key(MINE);
    let detached = r#"{"key":"dashscope/main","kind":"virtual","owner":"detached"}"#;
    assert_eq!(world.mint(detached).status, 201);
    world.kill();
    assert!(world.broker().exists(), "it had no time to tidy up");
    world.start();
    assert_eq!(world.status()["leases"]["live"], 0);
    assert_eq!(world.mint(UPSTREAM).status, 201, "the key is still there");
    verified(&world, &["state/audit.ndjson"]).unwrap();
}

#[test]
fn a_live_daemons_sockets_are_not_taken_from_it() {
    let world = World::with_key(MINE);
    let second = world.daemon_command().output().unwrap();
    assert_eq!(second.status.code(), Some(69), "{}", String::from_utf8_lossy(&second.stderr));
    // Nor by one that keeps its vault elsewhere.
    let text = std::fs::read_to_string(world.path("sixty.toml")).unwrap();
    std::fs::write(world.path("other.toml"), text.replace("/state\"", "/other-state\"")).unwrap();
    let third = world.sixty(&["daemon", "--config", world.path("other.toml").to_str().unwrap()]);
    assert_eq!(third.status.code(), Some(69), "{}", String::from_utf8_lossy(&third.stderr));
    assert!(String::from_utf8_lossy(&third.stderr).contains("another daemon"));
    assert_eq!(world.mint(UPSTREAM).status, 201);
}

#[test]
fn a_faulty_config_keeps_the_daemon_from_starting() {
    let world = World::asleep("[limits]\nconnections = \"many\"\n", &[]);
    let out = world.daemon_command().output().unwrap();
    assert_eq!(out.status.code(), Some(78));
    assert!(String::from_utf8_lossy(&out.stderr).contains("sixty.toml:"));
    assert!(!world.broker().exists() && !world.path("state").exists(), "nothing was touched");
}

#[test]
fn the_audits_chain_goes_on_across_files() {
    let world = World::with_key(MINE);
    let mut line = UnixStream::connect(world.broker()).unwrap();
    let mint = |line: &mut UnixStream| {
        assert_eq!(over(line, &request("POST", "/v1/leases", Some(VIRTUAL), "keep-alive")).unwrap().status, 201);
    };
    mint(&mut line);
    for turn in ["state/audit.1", "state/audit.2"] {
        std::fs::rename(world.path("state/audit.ndjson"), world.path(turn)).unwrap();
        mint(&mut line);
        signal(world.pid(), "USR1");
        assert!(soon(5 * SECOND, || world.path("state/audit.ndjson").exists()));
        mint(&mut line);
    }
    world.audit();
    assert!(soon(3 * SECOND, || verified(&world, &["state/audit.1", "state/audit.2", "state/audit.ndjson"]).is_ok()));
    let wrong = verified(&world, &["state/audit.2", "state/audit.1", "state/audit.ndjson"]);
    assert!(wrong.is_err(), "the order of files is part of the chain");
    let lines = |file: &str| std::fs::read_to_string(world.path(file)).unwrap().lines().count();
    let minted = ["state/audit.1", "state/audit.2", "state/audit.ndjson"].map(lines);
    assert!(minted.iter().all(|count| *count > 0), "{minted:?}");
}

#[test]
fn an_idle_daemon_does_next_to_nothing() {
    let world = World::with_key(MINE);
    assert_eq!(world.mint(UPSTREAM).status, 201);
    let switches = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", world.pid())).unwrap();
        let field = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")).unwrap();
        field.trim().parse::<u64>().unwrap()
    };
    let size = || world.path("state/audit.ndjson").metadata().unwrap().len();
    std::thread::sleep(1200 * Duration::from_millis(1));
    let before = (switches(), size());
    std::thread::sleep(2 * SECOND);
    assert!(switches() - before.0 < 20, "{}", switches() - before.0);
    assert_eq!(size(), before.1);
}

#[test]
fn whoever_revokes_is_told_how_long_the_providers_token_lives_on() {
    let world = World::with_key(MINE);
    let id = |answer: Answer| answer.json()["id"].as_str().unwrap().to_owned();
    let upstream = id(world.mint(r#"{"key":"dashscope/main","ttl":120}"#));
    let gone = world.http("DELETE", &format!("/v1/leases/{upstream}"), None).json();
    assert_eq!(gone["revoked"], true);
    let seconds = gone["residual"]["upstream_seconds"].as_u64().unwrap();
    assert!((117..=120).contains(&seconds), "{gone}");
    let detached = id(world.mint(r#"{"key":"dashscope/main","kind":"virtual","owner":"detached"}"#));
    let gone = world.http("DELETE", &format!("/v1/leases/{detached}"), None).json();
    assert_eq!(gone["residual"]["upstream_seconds"], 0, "{gone}");
    for _ in 0..3 {
        assert_eq!(world.mint(r#"{"key":"dashscope/main","ttl":90}"#).status, 201);
    }
    let all = world.control_http("DELETE", "/v1/leases?key=dashscope/main", None).json();
    assert_eq!((all["revoked"].as_u64(), all["residual"]["leases"].as_u64()), (Some(3), Some(3)), "{all}");
    assert!((87..=90).contains(&all["residual"]["upstream_seconds"].as_u64().unwrap()));
    let uid = nix::unistd::geteuid();
    assert_eq!(world.mint(UPSTREAM).status, 201);
    let by_peer = world.control_http("DELETE", &format!("/v1/leases?peer=uid:{uid}"), None).json();
    assert_eq!(by_peer["revoked"], 1);
    assert_eq!(world.mint(UPSTREAM).status, 201);
    let unread = world.sixty(&["revoke", "--peer", "unit:ci.service"]);
    let said = String::from_utf8_lossy(&unread.stderr).into_owned();
    assert!(said.contains("not looked at: 1 more,") && said.contains("no rule names it"), "{said}");
    for nonsense in ["", "?all=yes", "?peer=uid", "?peer=uid:me", "?id=x", "?who=me"] {
        assert_eq!(world.control_http("DELETE", &format!("/v1/leases{nonsense}"), None).status, 400, "{nonsense}");
    }
}

#[test]
fn a_revocation_reaches_the_mints_that_are_under_way() {
    let world = World::with_key(MINE);
    world.add_key("dashscope/other");
    let uid = nix::unistd::geteuid();
    let all = ["key=dashscope/main".to_owned(), format!("peer=uid:{uid}"), "all=true".to_owned()];
    for (round, which) in all.iter().enumerate() {
        world.studio.next(Fault::SlowHead(Duration::from_millis(400)));
        let (answer, revoked) = std::thread::scope(|scope| {
            let asking = scope.spawn(|| world.mint(UPSTREAM));
            assert!(soon(5 * SECOND, || world.studio.requests() as usize == 2 * round + 1));
            let others = world.control_http("DELETE", "/v1/leases?key=dashscope/other", None).json();
            assert_eq!(others["revoked"], 0, "another key's: {others}");
            let revoked = world.control_http("DELETE", &format!("/v1/leases?{which}"), None).json();
            (asking.join().unwrap(), revoked)
        });
        assert_eq!(revoked["revoked"], 1, "{which}: {revoked}");
        assert_eq!(answer.refused(), (503, "unavailable".into()), "{which}");
        assert_eq!(world.status()["leases"]["live"], 0);
        assert_eq!(world.mint(UPSTREAM).status, 201, "who asks anew is served");
        world.control_http("DELETE", "/v1/leases?all=true", None);
    }
    let why = |line: &Value| line["reason"] == "taken back while it was minted";
    assert_eq!(world.audit().iter().filter(|line| why(line)).count(), 3);
    world.studio.next(Fault::SlowHead(Duration::from_millis(400)));
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| world.mint(UPSTREAM));
        assert!(soon(5 * SECOND, || world.studio.requests() == 7));
        world.control_http("DELETE", "/v1/leases?key=dashscope/other", None);
        assert_eq!(asking.join().unwrap().status, 201, "what was not meant goes on");
    });
}

#[test]
fn a_lease_is_over_when_it_says_so() {
    let world = World::with_key(MINE);
    let body = r#"{"key":"dashscope/main","kind":"virtual","owner":"detached","ttl":1}"#;
    let lease = world.mint(body).json();
    assert!(lease["expires_in"].as_u64().unwrap() <= 1);
    let live = || world.http("GET", "/v1/leases", None).json()["leases"].as_array().unwrap().len();
    assert_eq!(live(), 1);
    let began = Instant::now();
    assert!(soon(3 * SECOND, || live() == 0));
    assert!(began.elapsed() < 1200 * Duration::from_millis(1), "{:?}", began.elapsed());
    assert!(soon(3 * SECOND, || world.status()["leases"]["live"] == 0), "and it takes no room either");
    let all = world.control_http("GET", "/v1/leases?all=true", None).json();
    assert_eq!(all["leases"][0]["state"], "expired", "{all}");
}

#[test]
fn status_and_the_log_say_what_the_daemon_is() {
    let world = World::with_key(MINE);
    let status = world.status();
    for field in
        ["version", "pid", "uptime_seconds", "ready", "vault", "policy", "identity", "memory", "leases", "audit"]
    {
        assert_ne!(status[field], Value::Null, "{field}");
    }
    assert_eq!(status["pid"], world.pid());
    let json = World::new(&format!("[log]\nlevel = \"trace\"\nformat = \"json\"\n{MINE}"));
    json.add_key("dashscope/main");
    assert_eq!(json.mint(UPSTREAM).status, 201);
    assert!(json.log().lines().all(|line| serde_json::from_str::<Value>(line).is_ok()), "{}", json.log());
}

#[test]
fn several_loops_serve_as_one() {
    let mut world = World::with_daemon("workers = 4");
    world.studio.always(Fault::SlowHead(Duration::from_millis(20)));
    let minted = std::thread::scope(|scope| {
        let ask = |n: usize| {
            let world = &world;
            scope.spawn(move || {
                let body = if n.is_multiple_of(2) { UPSTREAM } else { VIRTUAL };
                (0..5).filter(|_| world.mint(body).status == 201).count()
            })
        };
        let asking: Vec<_> = (0..32).map(ask).collect();
        asking.into_iter().map(|asking| asking.join().unwrap()).sum::<usize>()
    });
    assert_eq!(minted, 160);
    assert!(world.studio.mints() < 80, "a flight is one on all loops: {}", world.studio.mints());
    // The caller may have its answer before the daemon has counted it.
    assert!(soon(SECOND, || world.status()["answers"]["sent"] == 160));
    assert_eq!(world.stop(), Some(0));
    verified(&world, &["state/audit.ndjson"]).unwrap();
}
