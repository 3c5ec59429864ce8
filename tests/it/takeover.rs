//! `sixty daemon --takeover`: another process serves in the place of the one that does, and nobody notices; and whatever
//! goes wrong on the way, one of them serves.

use crate::{
    harness::{
        Answer, MINE, SECOND, UPSTREAM, VIRTUAL, World, fed, is_root, random_key, read_answer, request, signal, soon,
    },
    http::{over, read_head},
    narrowing::narrowed,
    needs::missing,
    usage::{CHAT, QUESTION, send},
};
use serde_json::Value;
use sixty::{demo::studio::Fault, sys::passing};
use std::{
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    os::{
        fd::AsFd,
        unix::{
            net::UnixStream,
            process::{CommandExt, ExitStatusExt},
        },
    },
    path::Path,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::Duration,
};

const DETACHED: &str = r#"{"key":"dashscope/main","kind":"virtual","owner":"detached","ttl":600}"#;

/// A daemon that is to take over from this world's.
fn successor(world: &World) -> Child {
    let log = std::fs::File::options().create(true).append(true).open(world.path("log")).unwrap();
    let mut command = world.daemon_command();
    command.arg("--takeover").stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap()
}

/// The same, done: the one before has ended well.
fn taken_over(world: &mut World) {
    let before = world.pid();
    let new = successor(world);
    let ended = world.ended();
    assert_eq!(ended.code(), Some(0), "{}", world.log());
    world.adopt(new);
    assert_ne!(world.pid(), before);
}

fn live(world: &World) -> u64 {
    world.status()["leases"]["live"].as_u64().unwrap()
}

fn asked(world: &World, key: &str) -> u16 {
    read_answer(&mut send(world, key, CHAT, QUESTION)).map_or(0, |answer| answer.status)
}

fn records(world: &World, name: &str) -> usize {
    world.audit().iter().filter(|line| line["record"] == name).count()
}

fn verified(world: &World) {
    let out = world.command(&["audit", "verify"]).arg(world.path("state/audit.ndjson")).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
}

/// One more call on a connection to the gateway that is kept.
fn call(stream: &mut UnixStream, key: &str) -> Option<Answer> {
    let head = format!("POST {CHAT} HTTP/1.1\r\nhost: x\r\nx-api-key: {key}\r\ncontent-type: application/json");
    let text = format!("{head}\r\ncontent-length: {}\r\n\r\n{QUESTION}", QUESTION.len());
    over(stream, &text)
}

#[test]
fn leases_keys_and_kept_connections_go_on_under_another_process() {
    let mut world = World::with_key(MINE);
    let (key, upstream) = (world.mint(DETACHED).token(), world.mint(UPSTREAM).json());
    let (narrow, _) = narrowed(&key, &["--scope", "models=qwen-p*"]);
    let gone = world.mint(DETACHED).json();
    world.control_http("DELETE", &format!("/v1/leases?id={}", gone["id"].as_str().unwrap()), None);
    let twice = world.mint(r#"{"key":"dashscope/main","kind":"virtual","uses":2}"#).token();
    assert_eq!((asked(&world, &twice), asked(&world, &narrow)), (200, 200));
    let mut asking = UnixStream::connect(world.broker()).unwrap();
    let mut calling = UnixStream::connect(world.path("run/gateway.sock")).unwrap();
    let silent = UnixStream::connect(world.broker()).unwrap();
    let mint = request("POST", "/v1/leases", Some(VIRTUAL), "keep-alive");
    assert_eq!(over(&mut asking, &mint).unwrap().status, 201);
    assert_eq!(call(&mut calling, &key).unwrap().status, 200);
    for _ in 0..2 {
        let before = live(&world);
        taken_over(&mut world);
        assert_eq!((live(&world), world.status()["pid"].as_u64()), (before, Some(world.pid().into())));
        assert_eq!(over(&mut asking, &mint).unwrap().status, 201, "its connection was never closed");
        assert_eq!(call(&mut calling, &key).unwrap().status, 200);
    }
    let mut silent = silent;
    assert_eq!(over(&mut silent, &request("GET", "/healthz", None, "keep-alive")).unwrap().status, 200);
    assert_eq!((asked(&world, &narrow), asked(&world, &twice), asked(&world, &twice)), (200, 200, 401));
    assert_eq!(asked(&world, gone["token"].as_str().unwrap()), 401, "how it ended is still known");
    let out = world.sixty(&["revoke", upstream["id"].as_str().unwrap()]);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    world.control_http("DELETE", "/v1/leases?all=true", None);
    assert_eq!((asked(&world, &key), live(&world)), (401, 0));
    assert_eq!((records(&world, "handed_over"), records(&world, "inherited"), records(&world, "started")), (2, 2, 3));
    verified(&world);
    assert_eq!(world.stop(), Some(0));
    assert!(!world.broker().exists() && !world.control().exists(), "the last one takes the sockets along");
    verified(&world);
}

/// `SIXTY_TAKEOVER=100000`: so many requests, on the build that `SIXTY_BIN` names.
#[test]
fn no_request_fails_while_one_process_follows_another() {
    let most = std::env::var("SIXTY_TAKEOVER").map_or(4000, |text| text.parse::<usize>().unwrap());
    let done: usize = [1, 3].into_iter().map(|workers| under_load(most.div_ceil(2), workers)).sum();
    println!("0 failed of {done} requests");
}

/// How many requests were made, none of which failed, on so many loops.
fn under_load(most: usize, workers: u32) -> usize {
    let places = "runtime_dir = \"DIRECTORY/run\"\nstate_dir = \"DIRECTORY/state\"";
    let limits = "[limits]\nleases = 1000000\nleases_per_uid = 1000000";
    let mut world = World::with_key(&format!("[daemon]\n{places}\nworkers = {workers}\n{limits}\n{MINE}"));
    let key = world.mint(DETACHED).token();
    let (done, over_by_now) = (AtomicUsize::new(0), AtomicBool::new(false));
    let places = (world.broker(), world.path("run/gateway.sock"));
    let failed = std::thread::scope(|scope| {
        let load = |n: usize| {
            let (done, over_by_now, key, (broker, gateway)) = (&done, &over_by_now, &key, &places);
            scope.spawn(move || {
                let mut failed = Vec::new();
                let mut kept = [broker, gateway].map(|path| UnixStream::connect(path).unwrap());
                for turn in n.. {
                    if done.fetch_add(1, Ordering::Relaxed) >= most && over_by_now.load(Ordering::Relaxed) {
                        break;
                    }
                    if let Err(why) = one(turn, &mut kept, (broker, gateway), key) {
                        failed.push(why);
                    }
                }
                failed
            })
        };
        let loads: Vec<_> = (0..8).map(load).collect();
        let mut takeovers = 0;
        while takeovers < 3 || done.load(Ordering::Relaxed) < most {
            std::thread::sleep(Duration::from_millis(300));
            taken_over(&mut world);
            takeovers += 1;
        }
        over_by_now.store(true, Ordering::Relaxed);
        loads.into_iter().flat_map(|load| load.join().unwrap()).collect::<Vec<_>>()
    });
    let done = done.load(Ordering::Relaxed);
    assert!(
        failed.is_empty(),
        "{} of {done} failed: {:?}\n{}",
        failed.len(),
        &failed[..failed.len().min(5)],
        world.log()
    );
    verified(&world);
    done
}

/// One request, on a connection of its own now and then. Whose last answer said that it ends is made anew, as by any client.
fn one(turn: usize, kept: &mut [UnixStream; 2], paths: (&Path, &Path), key: &str) -> Result<(), String> {
    let mint =
        request("POST", "/v1/leases", Some(r#"{"key":"dashscope/main","kind":"virtual","ttl":1}"#), "keep-alive");
    let fresh = |path: &Path| UnixStream::connect(path).map_err(|fault| fault.to_string());
    let [asking, calling] = kept;
    let (answer, wanted) = match turn % 8 {
        0 => (over(&mut fresh(paths.0)?, &mint), 201),
        1 => (over(&mut fresh(paths.0)?, &request("GET", "/v1/whoami", None, "close")), 200),
        2 => (call(&mut fresh(paths.1)?, key), 200),
        3 | 4 => {
            let answer = call(calling, key);
            renewed(&answer, calling, || fresh(paths.1))?;
            (answer, 200)
        }
        _ => {
            let answer = over(asking, &mint);
            renewed(&answer, asking, || fresh(paths.0))?;
            (answer, 201)
        }
    };
    match answer {
        Some(answer) if answer.status == wanted => Ok(()),
        other => Err(format!("turn {turn}: {other:?} instead of {wanted}")),
    }
}

fn renewed(
    answer: &Option<Answer>,
    stream: &mut UnixStream,
    fresh: impl FnOnce() -> Result<UnixStream, String>,
) -> Result<(), String> {
    if answer.as_ref().is_none_or(|answer| answer.head.contains("connection: close")) {
        *stream = fresh()?;
    }
    Ok(())
}

/// What a daemon that asks for a takeover sends, and the status that it is answered with.
fn asks_for_it(world: &World) -> (UnixStream, String) {
    let mut stream = UnixStream::connect(world.control()).unwrap();
    let head = "POST /v1/takeover HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: sixty-takeover-1\r\n";
    stream.write_all(format!("{head}content-length: 0\r\n\r\n").as_bytes()).unwrap();
    let answered = read_head(&mut stream);
    (stream, answered.split(' ').nth(1).unwrap_or_default().to_owned())
}

/// Takes all that is handed over.
fn handed(stream: &UnixStream) -> Vec<u8> {
    let mut lots = Vec::new();
    let mut byte = [0];
    while byte != *b"." && passing::receive(stream.as_fd(), &mut byte).unwrap().0 > 0 {
        lots.push(byte[0]);
    }
    lots
}

#[test]
fn a_process_that_dies_on_the_way_leaves_the_old_one_serving() {
    let mut world = World::with_daemon("takeover = \"1s\"");
    let key = world.mint(DETACHED).token();
    let mut kept = UnixStream::connect(world.broker()).unwrap();
    let mint = request("POST", "/v1/leases", Some(VIRTUAL), "keep-alive");
    for (round, way) in ["at once", "with everything", "in silence"].into_iter().enumerate() {
        assert_eq!(over(&mut kept, &mint).unwrap().status, 201);
        let (before, began) = (live(&world), std::time::Instant::now());
        let (stream, status) = asks_for_it(&world);
        assert_eq!(status, "101");
        if way != "at once" {
            let lots = handed(&stream);
            assert!(lots.ends_with(b"*.") && lots.contains(&b'0'), "a connection at rest was given: {lots:?}");
        }
        let silent = (way == "in silence").then_some(stream);
        assert_eq!(over(&mut kept, &mint).unwrap().status, 201, "{way}: its connection was never closed");
        assert!(began.elapsed() < 2 * SECOND, "nobody is waited for but the silent one: {:?}", began.elapsed());
        assert_eq!((asked(&world, &key), live(&world)), (200, before + 1), "{way}");
        drop(silent);
        assert!(world.log().matches("the takeover failed").count() == round + 1, "{}", world.log());
    }
    // Whoever is gone at once may be gone before anything was let go of.
    let begun = records(&world, "handed_over");
    assert!((2..=3).contains(&begun) && records(&world, "takeover_failed") == begun, "{:?}", world.audit());
    verified(&world);
    taken_over(&mut world);
    assert_eq!(over(&mut kept, &mint).unwrap().status, 201);
    assert_eq!(asked(&world, &key), 200);
}

#[test]
fn a_process_that_cannot_serve_leaves_the_old_one_serving() {
    let world = World::with_key(MINE);
    let key = world.mint(DETACHED).token();
    let (vault, aside) = (world.path("state/vault.sealed"), world.path("aside"));
    std::fs::copy(&vault, &aside).unwrap();
    std::fs::write(&vault, "not a vault").unwrap();
    assert_eq!(successor(&world).wait().unwrap().code(), Some(78), "{}", world.log());
    std::fs::copy(&aside, &vault).unwrap();
    assert_eq!((asked(&world, &key), world.mint(UPSTREAM).status), (200, 201));
    let (file, right) = (world.path("vault.key"), std::fs::read(world.path("vault.key")).unwrap());
    std::fs::write(&file, [7; 32]).unwrap();
    assert_eq!(successor(&world).wait().unwrap().code(), Some(1), "{}", world.log());
    std::fs::write(&file, right).unwrap();
    assert_eq!((asked(&world, &key), world.mint(UPSTREAM).status), (200, 201), "a vault that is open stays so");
    let mut killed = successor(&world);
    killed.kill().unwrap();
    assert_eq!(killed.wait().unwrap().signal(), Some(9));
    assert_eq!(asked(&world, &key), 200);
    world.add_key("dashscope/other");
    verified(&world);
}

#[test]
fn of_two_that_take_over_at_once_one_serves() {
    let mut world = World::with_key(MINE);
    let key = world.mint(DETACHED).token();
    for _ in 0..3 {
        let mut both = [successor(&world), successor(&world)];
        assert_eq!(world.ended().code(), Some(0), "{}", world.log());
        let serving = || world.try_http("GET", "/healthz", None).is_some_and(|answer| answer.status == 200);
        assert!(soon(10 * SECOND, serving), "{}", world.log());
        let one_left = |both: &mut [Child; 2]| {
            both.iter_mut().map(|one| one.try_wait().unwrap().is_none()).filter(|runs| *runs).count()
        };
        let end = std::time::Instant::now() + 10 * SECOND;
        while one_left(&mut both) != 1 && std::time::Instant::now() < end {
            std::thread::sleep(Duration::from_millis(10));
        }
        let [mut one, two] = both;
        let (serves, mut ended) = if one.try_wait().unwrap().is_none() { (one, two) } else { (two, one) };
        // Turned away, or served for a moment and was taken over from.
        assert!([Some(69), Some(0)].contains(&ended.wait().unwrap().code()), "{}", world.log());
        world.adopt(serves);
        assert_eq!((world.status()["pid"].as_u64(), asked(&world, &key)), (Some(world.pid().into()), 200));
    }
    verified(&world);
}

#[test]
fn a_second_asker_is_told_to_wait() {
    let world = World::with_key(MINE);
    world.studio.always(Fault::SlowHead(Duration::from_millis(800)));
    let key = world.mint(DETACHED).token();
    // What is under way holds the first one up; the second one's connection waits until that has gone.
    let mut running = send(&world, &key, CHAT, QUESTION);
    assert!(soon(5 * SECOND, || world.studio.requests() == 1));
    let (first, status) = asks_for_it(&world);
    assert_eq!(status, "101");
    drop(first);
    assert_eq!(read_answer(&mut running).unwrap().status, 200, "what was under way goes on");
    let without = world.control_http("POST", "/v1/takeover", None);
    assert_eq!(without.refused(), (400, "malformed".into()), "it is asked for by the name of the protocol");
}

#[test]
fn a_call_that_is_under_way_is_answered_by_the_one_that_began_it() {
    let mut world = World::with_key(MINE);
    let key = world.mint(DETACHED).token();
    world.studio.next(Fault::SlowHead(Duration::from_millis(900)));
    let mut running = send(&world, &key, CHAT, QUESTION);
    assert!(soon(5 * SECOND, || world.studio.requests() == 1));
    let new = successor(&world);
    std::thread::sleep(Duration::from_millis(300));
    // Who comes meanwhile waits, and is answered by the next one.
    let mut early = send(&world, &key, CHAT, QUESTION);
    assert_eq!(read_answer(&mut running).unwrap().status, 200);
    assert_eq!(read_answer(&mut early).unwrap().status, 200);
    assert_eq!(world.ended().code(), Some(0));
    world.adopt(new);
    let sent = world.audit().iter().filter(|line| line["record"] == "outcome" && line["status"] == 200).count();
    assert_eq!(sent, 2, "both are on record: {:?}", world.audit());
    verified(&world);
}

#[test]
fn what_takes_longer_than_drain_is_cut_and_on_record() {
    let mut world = World::with_daemon("drain = \"1s\"");
    let key = world.mint(DETACHED).token();
    world.studio.next(Fault::Hang);
    let mut stuck = send(&world, &key, CHAT, QUESTION);
    assert!(soon(5 * SECOND, || world.studio.requests() == 1));
    taken_over(&mut world);
    assert!(read_answer(&mut stuck).is_none());
    assert_eq!(asked(&world, &key), 200);
    verified(&world);
}

#[test]
fn another_user_takes_over_nothing() {
    if !is_root() {
        return missing("not root", "a takeover by another user is");
    }
    let world = World::with_key(MINE);
    std::fs::set_permissions(world.path("run"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let sixty = world.path("sixty");
    std::fs::copy(crate::harness::program(), &sixty).unwrap();
    std::fs::set_permissions(&sixty, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let config = world.path("theirs.toml");
    let text = std::fs::read_to_string(world.path("sixty.toml")).unwrap().replace("/state\"", "/theirs\"");
    std::fs::write(&config, text).unwrap();
    std::os::unix::fs::chown(&config, Some(65534), Some(65534)).unwrap();
    let mut command = Command::new(sixty);
    command.args(["daemon", "--takeover", "--config", config.to_str().unwrap()]).env_clear().uid(65534).gid(65534);
    command.env("HOME", world.path("nowhere"));
    let out = command.output().unwrap();
    assert!(!out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    // Where the mode of the socket does not keep it out, the daemon does.
    std::fs::set_permissions(world.control(), std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
    let mut shell = Command::new("python3");
    let ask = "import socket,sys;s=socket.socket(socket.AF_UNIX);s.connect(sys.argv[1]);s.send(b'POST /v1/takeover HTTP/1.1\\r\\nhost: x\\r\\nconnection: upgrade\\r\\nupgrade: sixty-takeover-1\\r\\ncontent-length: 0\\r\\n\\r\\n');print(s.recv(99).split()[1].decode())";
    let told = shell.args(["-c", ask, world.control().to_str().unwrap()]).uid(65534).gid(65534).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&told.stdout).trim(), "403", "{}", String::from_utf8_lossy(&told.stderr));
    assert_eq!(world.mint(UPSTREAM).status, 201);
    assert_eq!(records(&world, "handed_over"), 0);
}

#[test]
fn a_passphrase_is_asked_for_again_and_the_leases_are_there_meanwhile() {
    let mut world = World::asleep(&format!("[vault]\nunlock = \"passphrase\"\n{MINE}"), &[]);
    let words = random_key();
    assert!(fed(world.command(&["init", "--passphrase"]), &words).status.success());
    std::fs::rename(world.path(".local/state/sixty"), world.path("state")).unwrap();
    world.start();
    let unlock = |world: &World| {
        let body = format!("{{\"passphrase\":\"{words}\"}}");
        assert_eq!(world.control_http("POST", "/v1/unlock", Some(&body)).status, 200);
    };
    unlock(&world);
    world.add_key("dashscope/main");
    let key = world.mint(DETACHED).token();
    let (narrow, _) = narrowed(&key, &["--scope", "models=qwen-p*"]);
    let other = world.mint(DETACHED).json()["id"].as_str().unwrap().to_owned();
    taken_over(&mut world);
    assert_eq!(
        (asked(&world, &key), asked(&world, &narrow), live(&world)),
        (423, 423, 2),
        "no key of the vault's came along"
    );
    assert!(world.sixty(&["revoke", &other]).status.success());
    unlock(&world);
    assert_eq!((asked(&world, &key), asked(&world, &narrow), live(&world)), (200, 200, 1));
}

#[test]
fn a_lease_is_over_at_its_time_in_the_next_process_too() {
    let mut world = World::with_key(MINE);
    let key = world.mint(r#"{"key":"dashscope/main","kind":"virtual","owner":"detached","ttl":2}"#).token();
    taken_over(&mut world);
    assert_eq!((asked(&world, &key), live(&world)), (200, 1));
    assert!(soon(3 * SECOND, || live(&world) == 0), "nobody asks for it, and it takes no room");
    assert_eq!(asked(&world, &key), 401);
    let ended = world.control_http("GET", "/v1/leases?all=true", None).json();
    assert_eq!(ended["leases"][0]["state"], "expired", "{ended}");
}

#[test]
fn the_lease_of_a_process_ends_with_it_in_the_next_process_too() {
    let mut world = World::with_key(MINE);
    // The key belongs to the shell that has it minted.
    let line =
        format!("'{}' mint dashscope/main --kind virtual >/dev/null && read line", crate::harness::program().display());
    let mut owner = Command::new("sh");
    owner.args(["-c", &line]).env_clear().env("SIXTY_SOCKET", world.broker());
    let mut owner = owner.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    assert!(soon(10 * SECOND, || live(&world) == 1), "{}", world.log());
    taken_over(&mut world);
    assert_eq!(live(&world), 1);
    owner.kill().unwrap();
    owner.wait().unwrap();
    assert!(soon(2 * SECOND, || live(&world) == 0), "it is watched again");
}

#[test]
fn a_vault_that_was_locked_stays_so() {
    let mut world = World::with_key(MINE);
    let key = world.mint(DETACHED).token();
    assert!(world.sixty(&["lock"]).status.success());
    taken_over(&mut world);
    assert_eq!((asked(&world, &key), live(&world)), (423, 1));
    assert!(world.sixty(&["unlock"]).status.success());
    assert_eq!(asked(&world, &key), 200);
}

#[test]
fn where_nobody_serves_there_is_nothing_to_take_over() {
    let world = World::asleep(MINE, &[]);
    let out = world.daemon_command().arg("--takeover").output().unwrap();
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(69), "{said}");
    assert!(said.contains("start this one without --takeover"), "{said}");
}

#[test]
fn the_port_of_the_gateway_goes_along_and_new_rules_bite() {
    let tcp = "[gateway]\nlisten = \"127.0.0.1:0\"\n";
    let mut world = World::with_key(MINE);
    world.configure(&format!("{tcp}{MINE}"));
    taken_over(&mut world);
    let status = world.status();
    let port = |status: &Value| status["gateway"]["listen"].as_str().map(str::to_owned);
    let before = port(&status);
    assert!(before.is_some(), "{status}");
    world.mint(DETACHED).token();
    taken_over(&mut world);
    assert_eq!((port(&world.status()), live(&world)), (before, 1));
    world.configure(&format!("{tcp}{}", MINE.replace("\"mine\"", "\"renamed\"")));
    taken_over(&mut world);
    assert_eq!(live(&world), 0, "no rule of now gave it");
}

#[test]
fn a_port_that_is_not_wanted_any_more_is_closed() {
    let mut world = World::with_key(&format!("[gateway]\nlisten = \"127.0.0.1:0\"\n{MINE}"));
    let place = world.status()["gateway"]["listen"].as_str().unwrap().to_owned();
    let mut resting = TcpStream::connect(&place).unwrap();
    resting.set_read_timeout(Some(5 * SECOND)).unwrap();
    world.configure(MINE);
    taken_over(&mut world);
    assert_eq!(live(&world), 0, "it serves by now");
    assert_eq!(TcpStream::connect(&place).unwrap_err().kind(), ErrorKind::ConnectionRefused, "nobody listens there");
    assert_eq!(resting.read(&mut [0]).unwrap_or_default(), 0, "nobody is left to wait");
}

#[test]
fn a_process_that_waits_for_its_turn_can_be_interrupted() {
    let world = World::with_key(MINE);
    let key = world.mint(DETACHED).token();
    world.studio.next(Fault::SlowHead(3 * SECOND));
    let mut running = send(&world, &key, CHAT, QUESTION);
    assert!(soon(5 * SECOND, || world.studio.requests() == 1));
    let mut waits = successor(&world);
    assert!(soon(5 * SECOND, || world.log().contains("another daemon takes over")), "{}", world.log());
    signal(waits.id(), "INT");
    assert_eq!(waits.wait().unwrap().signal(), Some(2), "{}", world.log());
    assert_eq!(read_answer(&mut running).unwrap().status, 200, "what was under way goes on");
    assert_eq!((asked(&world, &key), world.status()["pid"].as_u64()), (200, Some(world.pid().into())));
}

/// A daemon that takes over and is held up until the one before has gone on without it.
fn too_late(world: &World) -> Child {
    world.studio.next(Fault::SlowHead(SECOND));
    let mut running = send(world, &world.mint(DETACHED).token(), CHAT, QUESTION);
    assert!(soon(5 * SECOND, || world.studio.requests() == 1));
    let late = successor(world);
    assert!(soon(5 * SECOND, || world.log().contains("another daemon takes over")), "{}", world.log());
    signal(late.id(), "STOP");
    assert_eq!(read_answer(&mut running).unwrap().status, 200);
    assert!(soon(5 * SECOND, || world.log().contains("the takeover failed")), "{}", world.log());
    late
}

#[test]
fn one_that_comes_too_late_does_not_serve_beside_the_other() {
    let world = World::with_daemon("takeover = \"1s\"");
    let places = "runtime_dir = \"DIRECTORY/run\"\nstate_dir = \"DIRECTORY/state\"";
    // Nor where another audit is nobody's.
    world.configure(&format!("[daemon]\n{places}\n[audit]\npath = \"DIRECTORY/state/other.ndjson\"\n{MINE}"));
    let mut late = too_late(&world);
    signal(late.id(), "CONT");
    assert_eq!(late.wait().unwrap().code(), Some(69), "{}", world.log());
    assert!(world.log().contains("waited no longer and goes on"), "{}", world.log());
    assert_eq!((world.mint(DETACHED).status, live(&world)), (201, 2));
}

#[test]
fn one_that_comes_too_late_brings_back_no_lease() {
    let mut world = World::with_daemon("takeover = \"1s\"");
    let mut late = too_late(&world);
    world.control_http("DELETE", "/v1/leases?all=true", None);
    assert_eq!(world.stop(), Some(0));
    signal(late.id(), "CONT");
    assert_eq!(late.wait().unwrap().code(), Some(69), "{}", world.log());
    verified(&world);
}

#[test]
fn a_socket_that_is_to_lie_elsewhere_is_made_there() {
    let mut world = World::with_key(MINE);
    let mut resting = UnixStream::connect(world.broker()).unwrap();
    let elsewhere = world.path("run/elsewhere.sock");
    let mut command = world.daemon_command();
    let new = command.args(["--takeover", "--socket"]).arg(&elsewhere).stderr(Stdio::null()).spawn().unwrap();
    assert_eq!(world.ended().code(), Some(0), "{}", world.log());
    world.adopt(new);
    let whoami = request("GET", "/v1/whoami", None, "keep-alive");
    assert_eq!(over(&mut resting, &whoami).unwrap().status, 200);
    assert_eq!(over(&mut UnixStream::connect(&elsewhere).unwrap(), &whoami).unwrap().status, 200);
    assert!(UnixStream::connect(world.broker()).is_err(), "nobody is left to wait there");
}

#[test]
fn who_waits_for_a_person_holds_nobody_up_and_is_answered() {
    let mut world = World::with_key(&format!("{MINE}approve = \"always\"\n"));
    let mut waits = UnixStream::connect(world.broker()).unwrap();
    waits.write_all(request("POST", "/v1/leases", Some(VIRTUAL), "close").as_bytes()).unwrap();
    let asked = || world.control_http("GET", "/v1/approvals", None).json()["approvals"].as_array().unwrap().len();
    assert!(soon(10 * SECOND, || asked() == 1));
    let began = std::time::Instant::now();
    taken_over(&mut world);
    assert!(began.elapsed() < 4 * SECOND, "`drain` is five: {:?}", began.elapsed());
    assert_eq!(read_answer(&mut waits).unwrap().status, 403);
}
