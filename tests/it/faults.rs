//! What a machine can do to a daemon: a disk that fails or takes no writes, no descriptors, a clock that jumps, signals
//! without end, a log that nobody reads. After each no key is lost, no lease outlives its deadline, the audit verifies,
//! and the daemon serves again without help.

use crate::{
    attack::upstream::{Provider, Then},
    audit::SmallDisk,
    disk::Faults,
    harness::{MINE, SECOND, UPSTREAM, VIRTUAL, World, random_key, signal, soon},
};
use nix::errno::Errno;
use std::{
    io::{Read, Write},
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, SystemTime},
};

/// The keys with their fingerprints.
fn keys(world: &World) -> serde_json::Value {
    let listed = world.control_http("GET", "/v1/keys", None).json();
    let told = |key: &serde_json::Value| serde_json::json!([key["name"], key["fingerprint"]]);
    listed["keys"].as_array().unwrap_or_else(|| panic!("{listed}")).iter().map(told).collect()
}

fn put(world: &World, name: &str) -> (u16, String) {
    let (url, secret) = (world.studio.url(), random_key());
    let body = format!(r#"{{"provider":"dashscope","region":"singapore","endpoint":"{url}","secret":"{secret}"}}"#);
    world.studio.register(&secret);
    let answer = world.control_http("PUT", &format!("/v1/keys/{name}"), Some(&body));
    (answer.status, answer.text())
}

/// It serves as before, by itself, and after a restart too; nothing that was given lives on, nothing is lost.
fn is_unharmed(mut world: World, before: &serde_json::Value) {
    let serves = |world: &World| {
        let serves = [UPSTREAM, VIRTUAL].iter().all(|body| world.mint(body).status == 201);
        serves && world.http("GET", "/readyz", None).status == 200
    };
    assert!(soon(5 * SECOND, || serves(&world)), "{}", world.status());
    assert_eq!(&keys(&world), before, "a key is lost");
    assert_eq!(put(&world, "dashscope/afterwards").0, 201);
    let short = world.mint(r#"{"key":"dashscope/main","kind":"virtual","ttl":1,"owner":"detached"}"#);
    let id = short.json()["id"].as_str().unwrap().to_owned();
    let over = || !world.http("GET", "/v1/leases", None).text().contains(&id);
    assert!(soon(2 * SECOND, over), "a lease outlives its deadline");
    assert!(soon(5 * SECOND, || world.status()["audit"]["failing"].is_null()));
    world.stop();
    let verified = world.sixty(&["audit", "verify", world.path("state/audit.ndjson").to_str().unwrap()]);
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
    world.start();
    assert_eq!(keys(&world).as_array().unwrap().len(), before.as_array().unwrap().len() + 1, "lost by the restart");
    assert!(serves(&world));
}

fn on_a_faulty_disk(config: &str) -> (World, Faults, serde_json::Value) {
    let mut world = World::asleep(&format!("{MINE}{config}"), &[]);
    let faults = Faults::under(&mut world);
    world.add_key("dashscope/main");
    let before = keys(&world);
    (world, faults, before)
}

#[test]
fn an_audit_that_cannot_be_written_lets_nothing_out_and_heals() {
    let each = "\n[audit]\nsync = \"each\"\n";
    for (config, call, file) in
        [("", "write", "audit.ndjson"), ("", "pwrite", "audit.head"), (each, "fdatasync", "audit.ndjson")]
    {
        let (world, faults, before) = on_a_faulty_disk(config);
        let sent = world.status()["answers"]["sent"].as_u64();
        faults.are(&[(call, file, Errno::EIO as i32, 0)]);
        for body in [UPSTREAM, VIRTUAL, VIRTUAL] {
            assert_eq!(world.mint(body).refused(), (503, "unavailable".into()), "{call}");
        }
        assert_eq!(put(&world, "dashscope/late").0, 503, "a change that cannot be put on record is not made: {call}");
        assert_eq!((world.http("GET", "/healthz", None).status, world.http("GET", "/readyz", None).status), (200, 503));
        assert!(world.status()["audit"]["failing"].as_str().unwrap().contains("Input/output"), "{}", world.status());
        assert_eq!((world.status()["answers"]["sent"].as_u64(), world.studio.requests()), (sent, 0), "{call}");
        faults.are(&[]);
        is_unharmed(world, &before);
    }
}

#[test]
fn a_vault_that_cannot_be_written_stays_as_it_was_and_heals() {
    for (call, part, errno) in [
        ("write", "vault.sealed", Errno::EIO),
        ("fsync", "vault.sealed", Errno::EIO),
        ("write", "vault.sealed", Errno::ENOSPC),
        ("open", "vault.sealed.new", Errno::EROFS),
        ("open", "vault.sealed.new", Errno::EMFILE),
    ] {
        let (world, faults, before) = on_a_faulty_disk("");
        faults.are(&[(call, part, errno as i32, 0)]);
        let (status, said) = put(&world, "dashscope/late");
        assert_eq!(status, 503, "{call} {errno}: {said}");
        let rotated = world.control_http(
            "POST",
            "/v1/keys/dashscope/main/rotate",
            Some(&format!(r#"{{"secret":"{}"}}"#, random_key())),
        );
        assert_eq!(rotated.status, 503, "{call} {errno}");
        assert_eq!(world.control_http("DELETE", "/v1/keys/dashscope/main", None).status, 503, "{call} {errno}");
        for body in [UPSTREAM, VIRTUAL] {
            assert_eq!(world.mint(body).status, 201, "{call} {errno}: the old key is in use");
        }
        assert_eq!(world.control_http("POST", "/v1/lock", None).status, 200);
        assert_eq!(world.control_http("POST", "/v1/unlock", None).status, 200, "{call} {errno}");
        faults.are(&[]);
        is_unharmed(world, &before);
    }
}

#[test]
fn on_a_disk_that_became_read_only_what_is_there_goes_on() {
    let mut world = World::asleep("", &[]);
    let Some(disk) = SmallDisk::mounted(world.path("disk"), "1m") else { return };
    let (run, state, log) = (world.path("run"), disk.0.join("state"), world.path("state/audit.ndjson"));
    std::fs::create_dir(world.path("state")).unwrap();
    world.configure(&format!(
        "[daemon]\nruntime_dir = \"{}\"\nstate_dir = \"{}\"\n[audit]\npath = \"{}\"\n{MINE}",
        run.display(),
        state.display(),
        log.display()
    ));
    world.start();
    world.add_key("dashscope/main");
    let before = keys(&world);
    disk.remount("ro");
    let (status, said) = put(&world, "dashscope/late");
    assert!(status == 503 && said.contains("Read-only"), "{status} {said}");
    for restart in [false, true] {
        if restart {
            world.kill();
            world.start();
        }
        assert_eq!(keys(&world), before);
        assert!([UPSTREAM, VIRTUAL].iter().all(|body| world.mint(body).status == 201), "restart {restart}");
        assert_eq!(world.control_http("POST", "/v1/lock", None).status, 200);
        assert_eq!(world.control_http("POST", "/v1/unlock", None).status, 200);
    }
    disk.remount("rw");
    is_unharmed(world, &before);
}

#[test]
fn without_descriptors_nothing_is_lost_and_with_them_all_goes_on() {
    if !crate::harness::is_root() {
        // Who else may look into the daemon, and count?
        return crate::needs::missing("not root", "a daemon that has no descriptors left is");
    }
    let world = World::with_key(MINE);
    let before = keys(&world);
    let limit = |descriptors: &str| {
        let pid = world.pid().to_string();
        let done = Command::new("prlimit").args(["--pid", &pid, &format!("--nofile={descriptors}")]).status();
        done.is_ok_and(|status| status.success())
    };
    let open = std::fs::read_dir(format!("/proc/{}/fd", world.pid())).unwrap().count();
    if !limit(&format!("{}:", open + 2)) {
        return crate::needs::missing("prlimit", "a daemon that has no descriptors left");
    }
    // Two are left: for whoever asks, and not for what that needs.
    let answers: Vec<_> = (0..20)
        .map(|_| world.try_http("POST", "/v1/leases", Some(UPSTREAM)).map_or(0, |answer| answer.status))
        .collect();
    assert!(answers.iter().all(|status| [0, 201, 403, 502, 503].contains(status)), "{answers:?}");
    let changed = |name: &str| {
        let body = format!(r#"{{"provider":"dashscope","region":"singapore","secret":"{}"}}"#, random_key());
        let answer = crate::harness::exchange(&world.control(), "PUT", &format!("/v1/keys/{name}"), Some(&body));
        answer.map_or(0, |answer| answer.status)
    };
    assert_ne!(changed("dashscope/late"), 201, "there is no descriptor to write it by");
    assert!(limit("1024:"));
    is_unharmed(world, &before);
}

#[test]
fn a_wall_clock_that_jumps_lengthens_no_lease_and_loses_none() {
    const DAY: i64 = 86_400;
    let (world, faults, before) = on_a_faulty_disk("");
    for jump in [DAY, -DAY, 50 * 365 * DAY, -50 * 365 * DAY] {
        let ttl = r#"{"key":"dashscope/main","kind":"virtual","ttl":2,"owner":"detached"}"#;
        let listed = |id: &str| world.http("GET", "/v1/leases", None).text().contains(id);
        let id = |answer: crate::harness::Answer| answer.json()["id"].as_str().unwrap().to_owned();
        let old = id(world.mint(ttl));
        faults.are(&[("clock", "wall", 0, jump)]);
        assert!(listed(&old), "{jump}: it ended before its deadline");
        let young = id(world.mint(ttl));
        // The provider's end, and its certificate's, are of another time: then there is no token, or one of a right length.
        let token = world.mint(r#"{"key":"dashscope/main","kind":"upstream","ttl":60}"#);
        let of_right_length = || token.json()["expires_in"].as_u64().is_some_and(|seconds| seconds <= 60);
        assert!(token.status == 502 || token.status == 201 && of_right_length(), "{jump}: {}", token.text());
        std::thread::sleep(2 * SECOND);
        assert!(soon(SECOND, || !listed(&old) && !listed(&young)), "{jump}: it outlived its deadline");
        faults.are(&[]);
        let lease = world.mint(UPSTREAM);
        let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
        assert!(lease.json()["expires_at"].as_u64().is_some_and(|at| at <= now + 60), "{jump}: {}", lease.text());
        world.control_http("DELETE", "/v1/leases?all=true", None);
    }
    is_unharmed(world, &before);
}

#[test]
fn a_storm_of_reloads_fails_nobody_and_the_last_one_counts() {
    let world = World::with_key(MINE);
    let before = keys(&world);
    let over = AtomicBool::new(false);
    let minted = std::thread::scope(|scope| {
        let minting: Vec<_> = (0..4)
            .map(|n| {
                let (world, over) = (&world, &over);
                scope.spawn(move || {
                    let mut minted = 0;
                    while !over.load(Ordering::Relaxed) {
                        let answer = world.mint(if n % 2 == 0 { VIRTUAL } else { UPSTREAM });
                        assert_eq!(answer.status, 201, "{}", answer.text());
                        minted += 1;
                    }
                    minted
                })
            })
            .collect();
        for round in 0..200 {
            // A file with a fault leaves the old rules in force.
            world.configure(if round % 3 == 0 { "nonsense" } else { MINE });
            signal(world.pid(), "HUP");
        }
        over.store(true, Ordering::Relaxed);
        minting.into_iter().map(|one| one.join().unwrap()).sum::<usize>()
    });
    assert!(minted > 20, "{minted}");
    world.configure(&MINE.replace("\"mine\"", "\"last\""));
    signal(world.pid(), "HUP");
    assert!(soon(5 * SECOND, || {
        world.mint(VIRTUAL);
        world.http("GET", "/v1/leases", None).text().contains("\"rule\":\"last\"")
    }));
    is_unharmed(world, &before);
}

#[test]
fn a_provider_that_stops_at_any_byte_of_its_answer_gives_no_lease_and_holds_up_nobody() {
    let times = "connect_time = \"1s\"\ntotal_time = \"1s\"\nmints_per_key = 256\n";
    let world = World::new(&format!(
        "[upstream]\nca_file = \"DIRECTORY/ca.pem\"\nallow_loopback = true\n{times}\
         [limits]\nconnections_per_uid = 1000\n{MINE}"
    ));
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let body = format!(r#"{{"token":"st-{}","expires_at":{}}}"#, &random_key()[3..], now + 1800);
    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let whole = answer.len();
    for then in [Then::Keep, Then::Close] {
        let (provider, answer) = (Provider::start(), answer.clone());
        provider.script(move |seen, stream| {
            // The life that is asked for says at which byte it stops.
            let asked = seen.line.split("expire_in_seconds=").nth(1).unwrap().split([' ', '&']).next().unwrap();
            let stop = asked.parse::<usize>().unwrap() - 60;
            let _ = stream.write_all(&answer.as_bytes()[..stop]);
            if then == Then::Keep {
                let _ = stream.read(&mut [0]);
            }
            Then::Close
        });
        let key = format!("dashscope/{then:?}").to_lowercase();
        world.add_key_at(&key, &provider.url());
        let mint = |stop: usize| world.mint(&format!(r#"{{"key":"{key}","kind":"upstream","ttl":{}}}"#, 60 + stop));
        let statuses: Vec<_> = std::thread::scope(|scope| {
            let minting: Vec<_> = (0..=whole).map(|stop| scope.spawn(move || mint(stop).status)).collect();
            assert!(soon(SECOND, || world.mint(&format!(r#"{{"key":"{key}","kind":"virtual"}}"#)).status == 201));
            minting.into_iter().map(|one| one.join().unwrap()).collect()
        });
        let wanted: Vec<u16> = (0..=whole).map(|stop| if stop == whole { 201 } else { 502 }).collect();
        assert_eq!(statuses, wanted, "{then:?}");
        assert_eq!(
            world.control_http("DELETE", &format!("/v1/leases?key={key}"), None).json()["residual"]["leases"],
            1
        );
    }
    assert!(world.quarantined().is_empty());
    world.add_key("dashscope/main");
    let before = keys(&world);
    is_unharmed(world, &before);
}

#[test]
fn a_log_and_a_listing_that_nobody_reads_hold_up_nobody() {
    let mut world = World::asleep(MINE, &[]);
    let mut command = world.daemon_command();
    let daemon = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    world.adopt(daemon);
    assert!(soon(20 * SECOND, || world.try_http("GET", "/healthz", None).is_some_and(|answer| answer.status == 200)));
    world.add_key("dashscope/main");
    let before = keys(&world);
    let mut follower = world.command(&["audit", "--follow"]).stdout(Stdio::piped()).spawn().unwrap();
    // What is said of these fills a pipe some times over.
    let began = std::time::Instant::now();
    for _ in 0..1500 {
        assert_ne!(world.mint(r#"{"key":"dashscope/none","kind":"virtual"}"#).status, 201);
        assert_eq!(world.mint(VIRTUAL).status, 201);
    }
    assert!(began.elapsed() < 60 * SECOND);
    assert!(follower.try_wait().unwrap().is_none(), "it waits for whoever reads it");
    follower.kill().unwrap();
    follower.wait().unwrap();
    std::thread::sleep(Duration::from_millis(10));
    is_unharmed(world, &before);
}
