//! The daemon's own life: start, sockets, signals, what the service manager is told, and its end.

use crate::harness::{Answer, MINE, World, read_answer, request, signal, soon};
use serde_json::Value;
use sixty::{
    demo::studio::Fault,
    ledger::{Ended, Ledger},
};
use std::{
    io::{Read, Write},
    os::{
        fd::OwnedFd,
        unix::{
            fs::{FileTypeExt, MetadataExt},
            net::{UnixDatagram, UnixListener, UnixStream},
        },
    },
    process::Command,
    sync::mpsc,
    time::{Duration, Instant},
};

const UPSTREAM: &str = r#"{"key":"dashscope/main"}"#;
const VIRTUAL: &str = r#"{"key":"dashscope/main","kind":"virtual"}"#;
const SECOND: Duration = Duration::from_secs(1);

fn world() -> World {
    let world = World::new(MINE);
    world.add_key("dashscope/main");
    world
}

fn draining(drain: &str) -> World {
    let places = "runtime_dir = \"DIRECTORY/run\"\nstate_dir = \"DIRECTORY/state\"";
    let world = World::new(&format!("[daemon]\n{places}\ndrain = \"{drain}\"\n{MINE}"));
    world.add_key("dashscope/main");
    world
}

fn says(stream: &mut UnixStream, text: &str) -> Option<Answer> {
    stream.write_all(text.as_bytes()).ok()?;
    read_answer(stream)
}

fn verified(world: &World, files: &[&str]) -> Result<(), String> {
    let mut command = world.command(&["audit", "verify"]);
    command.args(files.iter().map(|file| world.path(file)));
    let out = command.output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    if out.status.success() { Ok(()) } else { Err(said) }
}

#[test]
fn a_mint_in_flight_is_answered_before_the_daemon_ends() {
    let mut world = world();
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
    let mut world = world();
    let mut idle = UnixStream::connect(world.broker()).unwrap();
    assert_eq!(says(&mut idle, &request("GET", "/healthz", None, "keep-alive")).unwrap().status, 200);
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
fn half_a_request_is_waited_for_only_as_long_as_drain_says() {
    let mut world = draining("1s");
    let mut half = UnixStream::connect(world.broker()).unwrap();
    half.write_all(b"GET /healthz HT").unwrap();
    std::thread::sleep(Duration::from_millis(50));
    let began = Instant::now();
    assert_eq!(world.stop(), Some(0));
    assert!(began.elapsed() < 2 * SECOND, "{:?}", began.elapsed());
}

#[test]
fn a_provider_that_hangs_does_not_hold_up_the_end_for_longer_than_drain() {
    let mut world = draining("1s");
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
    let world = world();
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
    let world = world();
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
    let mut world = world();
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
    let world = world();
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

/// Sockets of a service manager's: known by their names, not by their order, and not the daemon's to remove.
fn activated(world: &mut World, names: &str, sockets: [&UnixListener; 2]) {
    let inner = world.daemon_command();
    let script = format!(
        "exec 3<&0 4>&1 </dev/null >/dev/null; export LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES={names}; exec \"$0\" \"$@\""
    );
    let mut command = Command::new("sh");
    command.args(["-c", &script]).arg(inner.get_program()).args(inner.get_args()).env_clear();
    command.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let [one, two] = sockets.map(|socket| OwnedFd::from(socket.try_clone().unwrap()));
    let log = std::fs::File::options().create(true).append(true).open(world.path("log")).unwrap();
    world.adopt(command.stdin(one).stdout(two).stderr(log).spawn().unwrap());
}

#[test]
fn sockets_of_the_service_manager_are_known_by_their_names() {
    for names in ["broker:control", "control:broker"] {
        let mut world = World::asleep(MINE, &[]);
        std::fs::create_dir(world.path("run")).unwrap();
        let (broker, control) =
            (UnixListener::bind(world.broker()).unwrap(), UnixListener::bind(world.control()).unwrap());
        let sockets = if names == "broker:control" { [&broker, &control] } else { [&control, &broker] };
        // Who asked before there was a daemon is answered by it.
        let mut early = UnixStream::connect(world.broker()).unwrap();
        early.write_all(request("GET", "/healthz", None, "close").as_bytes()).unwrap();
        activated(&mut world, names, sockets);
        assert_eq!(read_answer(&mut early).unwrap().status, 200, "{}", world.log());
        world.add_key("dashscope/main");
        assert_eq!(world.mint(VIRTUAL).status, 201);
        assert_eq!(world.stop(), Some(0));
        assert!(world.broker().exists() && world.control().exists());
    }
}

#[test]
fn a_descriptor_that_is_no_socket_is_not_served() {
    let mut world = World::asleep(MINE, &[]);
    std::fs::create_dir(world.path("run")).unwrap();
    let broker = UnixListener::bind(world.broker()).unwrap();
    let datagram = UnixDatagram::unbound().unwrap();
    let pretend = UnixListener::from(OwnedFd::from(datagram));
    activated(&mut world, "broker:control", [&broker, &pretend]);
    assert!(soon(5 * SECOND, || world.log().contains("not a listening Unix socket")), "{}", world.log());
}

/// What the service manager is told, a line each.
struct Manager(mpsc::Receiver<String>);

impl Manager {
    fn start(world: &mut World, watchdog: &str) -> Self {
        let path = world.path("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        let (tell, told) = mpsc::channel();
        std::thread::spawn(move || {
            let mut text = [0; 4096];
            while let Ok(length) = socket.recv(&mut text) {
                for line in String::from_utf8_lossy(&text[..length]).lines() {
                    let _ = tell.send(line.to_owned());
                }
            }
        });
        let mut command = world.daemon_command();
        command.env("NOTIFY_SOCKET", path).env("WATCHDOG_USEC", watchdog);
        world.start_by(command);
        Self(told)
    }

    /// Waits for a line that begins so; gives all up to it.
    fn hears(&self, wanted: &str) -> Vec<String> {
        let mut heard = Vec::new();
        let end = Instant::now() + 5 * SECOND;
        while let Ok(line) = self.0.recv_timeout(end.saturating_duration_since(Instant::now())) {
            heard.push(line);
            if heard.last().unwrap().starts_with(wanted) {
                return heard;
            }
        }
        panic!("{wanted} was never said: {heard:?}");
    }
}

#[test]
fn the_service_manager_is_told_of_every_turn() {
    let mut world = World::asleep(MINE, &[]);
    let manager = Manager::start(&mut world, "400000");
    manager.hears("READY=1");
    world.add_key("dashscope/main");
    assert_eq!(world.mint(r#"{"key":"dashscope/main","kind":"virtual","owner":"detached"}"#).status, 201);
    let began = Instant::now();
    for _ in 0..4 {
        manager.hears("WATCHDOG=1");
    }
    assert!(began.elapsed() < 4 * Duration::from_millis(400), "within the watchdog's limit: {:?}", began.elapsed());
    manager.hears("STATUS=1 keys, 1 leases, 1 sent");
    signal(world.pid(), "HUP");
    manager.hears("RELOADING=1");
    let monotonic = manager.hears("MONOTONIC_USEC=");
    assert!(monotonic.len() == 1, "in the same message: {monotonic:?}");
    manager.hears("READY=1");
    world.configure("nonsense");
    signal(world.pid(), "HUP");
    manager.hears("RELOADING=1");
    manager.hears("READY=1");
    assert_eq!(world.stop(), Some(0));
    manager.hears("STOPPING=1");
}

#[test]
fn the_audits_chain_goes_on_across_files() {
    let world = world();
    let mut line = UnixStream::connect(world.broker()).unwrap();
    let mint = |line: &mut UnixStream| {
        assert_eq!(says(line, &request("POST", "/v1/leases", Some(VIRTUAL), "keep-alive")).unwrap().status, 201);
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
    let world = world();
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
    let world = world();
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
    for nonsense in ["", "?all=yes", "?peer=uid", "?id=x", "?who=me"] {
        assert_eq!(world.control_http("DELETE", &format!("/v1/leases{nonsense}"), None).status, 400, "{nonsense}");
    }
}

#[test]
fn a_lease_is_over_when_it_says_so() {
    let world = world();
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
fn a_vault_that_nobody_uses_locks_itself() {
    // A minute is the shortest that can be configured, so the clock is wound by hand.
    let folder = tempfile::tempdir().unwrap();
    let (clock, winder) = sixty::clock::Clock::manual(1_700_000_000);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let broker = by_hand(folder.path(), &clock).await;
        broker.unlock(None, None, sixty::broker::Rollback::Refuse).await.unwrap();
        winder.advance(Duration::from_secs(59));
        broker.lock_if_idle(Duration::from_secs(60));
        assert_eq!(broker.unready(), None);
        winder.advance(SECOND);
        broker.lock_if_idle(Duration::from_secs(60));
        assert_eq!(broker.unready(), Some("the vault is locked"));
        broker.unlock(None, None, sixty::broker::Rollback::Refuse).await.unwrap();
        assert_eq!(broker.unready(), None);
        // A night's sleep counts: the clock goes on while the machine is suspended.
        winder.advance(Duration::from_secs(8 * 3600));
        broker.lock_if_idle(Duration::from_secs(60));
        assert_eq!(broker.unready(), Some("the vault is locked"));
    });
}

/// A broker made of its parts, on a clock that stands still.
async fn by_hand(folder: &std::path::Path, clock: &sixty::clock::Clock) -> sixty::broker::Broker {
    use sixty::{
        attest::Attestor,
        audit::{Audit, AuditOptions, Sync},
        broker::{Broker, BrokerOptions, Debugger, Parts},
        issuer::{Issuer, IssuerOptions, IssuerParts},
        ledger::LedgerOptions,
        recipe::{Loopback, Recipe},
        upstream::{Upstream, UpstreamOptions},
        vault::{Cost, UnlockWith, Vault},
    };
    let key = folder.join("key");
    crate::harness::write_key_file(&key);
    let with = move || UnlockWith::KeyFile(key.clone());
    let path = folder.join("vault.sealed");
    let vault = std::sync::Arc::new(Vault::create(path, clock.clone(), with(), Cost::default()).await.unwrap());
    vault.lock();
    let (path, head_path) = (folder.join("audit.ndjson"), folder.join("audit.head"));
    let audit = Audit::open(AuditOptions { path, head_path, sync: Sync::None }, clock.clone()).unwrap();
    let upstream = Upstream::new(UpstreamOptions {
        ca_file: None,
        connect_time: SECOND,
        total_time: SECOND,
        body_bytes: 4096,
        warm_idle: Duration::ZERO,
    });
    let issuer = Issuer::new(
        IssuerParts {
            vault: vault.clone(),
            upstream: upstream.unwrap(),
            recipes: Recipe::shipped().unwrap(),
            audit: audit.clone(),
            clock: clock.clone(),
        },
        IssuerOptions { loopback: Loopback::Refused, clock_tolerance: SECOND, mints_per_key: 1 },
    );
    let ledger = Ledger::new(LedgerOptions { leases: 9, leases_per_uid: 9 }, clock.clone());
    assert!(ledger.list(None, Ended::Shown).is_empty());
    let attestor = Attestor::new(1 << 20);
    let parts = Parts { attestor, vault, issuer, ledger, audit, clock: clock.clone(), rules: Default::default() };
    let options = BrokerOptions {
        connections_per_uid: 9,
        owner: nix::unistd::geteuid().as_raw(),
        debugger: Debugger::Expected,
        unlock: Some(Box::new(with)),
        reload: Box::new(|| Err("no".into())),
    };
    Broker::new(parts, options)
}

#[test]
fn status_and_the_log_say_what_the_daemon_is() {
    let world = world();
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
    let places = "runtime_dir = \"DIRECTORY/run\"\nstate_dir = \"DIRECTORY/state\"";
    let mut world = World::new(&format!("[daemon]\n{places}\nworkers = 4\n{MINE}"));
    world.add_key("dashscope/main");
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
    assert_eq!(world.status()["answers"]["sent"], 160);
    assert_eq!(world.stop(), Some(0));
    verified(&world, &["state/audit.ndjson"]).unwrap();
}
