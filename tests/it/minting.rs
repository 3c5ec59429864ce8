//! Minting against a provider that misbehaves in every way it can be told to: what the caller hears, how often the
//! provider is asked, and what is known of the key afterwards.

use crate::harness::{Answer, MINE, Upstream, World, is_root, program, random_key, request, soon};
use crate::needs::missing;
use sixty::demo::studio::Fault;
use std::{
    collections::HashSet,
    io::{Read, Write},
    os::unix::{net::UnixStream, process::CommandExt},
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

const UPSTREAM: &str = r#"{"key":"dashscope/main","kind":"upstream"}"#;
const VIRTUAL: &str = r#"{"key":"dashscope/main","kind":"virtual"}"#;
const SECOND: Duration = Duration::from_secs(1);

fn world() -> World {
    let world = World::new(MINE);
    world.add_key("dashscope/main");
    world
}

/// A world whose calls to the provider have other bounds.
fn bounded(upstream: &str) -> World {
    let always = "ca_file = \"DIRECTORY/ca.pem\"\nallow_loopback = true";
    let world = World::new(&format!("[upstream]\n{always}\n{upstream}\n{MINE}"));
    world.add_key("dashscope/main");
    world
}

fn refused(answer: &Answer) -> (u16, String) {
    (answer.status, answer.code())
}

fn upstream_failed() -> (u16, String) {
    (502, "upstream".into())
}

fn retry_after(answer: &Answer) -> u64 {
    let value = answer.head.lines().find_map(|line| line.strip_prefix("retry-after: "));
    value.unwrap_or_else(|| panic!("{}", answer.head)).parse().unwrap()
}

fn quarantined(world: &World) -> Vec<String> {
    serde_json::from_value(world.status()["quarantined"].clone()).unwrap()
}

fn rotate(world: &World, key: &str) {
    let body = format!(r#"{{"secret":"{key}"}}"#);
    let answer = world.control_http("POST", "/v1/keys/dashscope/main/rotate", Some(&body));
    assert_eq!(answer.status, 200, "{}", answer.text());
}

/// Asks from so many threads at once.
fn at_once<'a>(world: &World, bodies: impl Iterator<Item = &'a str>) -> Vec<Answer> {
    std::thread::scope(|scope| {
        let asking: Vec<_> = bodies.map(|body| scope.spawn(move || world.mint(body))).collect();
        asking.into_iter().map(|asking| asking.join().unwrap()).collect()
    })
}

#[test]
fn a_throttled_key_rests_and_nobody_hammers() {
    let world = world();
    world.studio.always(Fault::Throttled);
    let busy = world.mint(UPSTREAM);
    assert_eq!(refused(&busy), (429, "busy".into()));
    assert!((1..=2).contains(&retry_after(&busy)));
    for _ in 0..20 {
        assert_eq!(world.mint(UPSTREAM).status, 429);
    }
    assert_eq!(world.studio.requests(), 1, "one caller's throttling is every caller's");
    assert_eq!(world.mint(VIRTUAL).status, 201, "what needs no provider goes on");
    world.studio.clear();
    assert!(soon(4 * SECOND, || world.mint(UPSTREAM).status == 201));
    assert_eq!(world.studio.requests(), 2);
}

#[test]
fn throttling_of_one_key_does_not_hold_back_another() {
    let world = world();
    let other = world.add_key("dashscope/other");
    world.studio.always_for(&other, Fault::Throttled);
    assert_eq!(world.mint(r#"{"key":"dashscope/other"}"#).status, 429);
    assert_eq!(world.mint(UPSTREAM).status, 201);
}

#[test]
fn a_bill_is_not_retried_not_even_as_a_429() {
    for fault in [Fault::PrepaidBillOverdue, Fault::Arrearage] {
        let world = world();
        world.studio.always(fault);
        for _ in 0..5 {
            assert_eq!(refused(&world.mint(UPSTREAM)), upstream_failed(), "{fault:?}");
        }
        assert_eq!(world.studio.requests(), 1, "{fault:?}");
        assert!(quarantined(&world).is_empty(), "the key is good");
        // Paid: its owner need not wait to see it.
        world.studio.clear();
        assert!(world.sixty(&["key", "test", "dashscope/main"]).status.success());
        assert_eq!(world.mint(UPSTREAM).status, 201);
    }
}

#[test]
fn a_key_that_its_provider_refuses_is_quarantined_for_all_to_see() {
    let world = world();
    world.studio.next(Fault::BadKey);
    assert_eq!(refused(&world.mint(UPSTREAM)), upstream_failed());
    for body in [UPSTREAM, VIRTUAL] {
        assert_eq!(refused(&world.mint(body)), upstream_failed());
    }
    assert_eq!(world.studio.requests(), 1, "a key in quarantine is not sent");
    assert_eq!(quarantined(&world), ["dashscope/main"]);
    assert!(world.control_http("GET", "/metrics", None).text().contains("sixty_quarantined_keys 1"));
    assert!(world.control_http("GET", "/v1/keys/dashscope/main", None).text().contains("quarantine"));
    assert!(world.log().lines().any(|line| line.contains("WARN") && line.contains("dashscope/main")));
    assert!(world.audit().iter().any(|record| record.to_string().contains("quarantine")));
    let tested = world.sixty(&["key", "test", "dashscope/main"]);
    assert!(tested.status.success(), "{}", String::from_utf8_lossy(&tested.stderr));
    assert!(quarantined(&world).is_empty());
    assert_eq!(world.mint(UPSTREAM).status, 201);
}

#[test]
fn a_test_that_fails_lifts_no_quarantine_and_a_rotation_does() {
    let world = world();
    world.studio.always(Fault::BadKey);
    assert_eq!(world.mint(UPSTREAM).status, 502);
    assert!(!world.sixty(&["key", "test", "dashscope/main"]).status.success());
    assert_eq!(quarantined(&world), ["dashscope/main"]);
    // A provider that is down says nothing good of the key.
    world.studio.clear();
    world.studio.next(Fault::InternalError);
    assert!(!world.sixty(&["key", "test", "dashscope/main"]).status.success());
    assert_eq!(quarantined(&world), ["dashscope/main"]);
    let fresh = random_key();
    world.studio.register(&fresh);
    rotate(&world, &fresh);
    assert!(quarantined(&world).is_empty());
    assert_eq!(world.mint(UPSTREAM).status, 201);
}

#[test]
fn an_answer_that_gives_no_token_is_asked_for_once_and_gives_no_lease() {
    let world = world();
    let faults = [
        Fault::Denied,
        Fault::InternalError,
        Fault::SystemError,
        Fault::CodeInOk,
        Fault::Garbage,
        Fault::Huge(1 << 20),
        Fault::Huge(60 << 10),
        Fault::Redirect,
        Fault::NoExpiry,
        Fault::ZeroExpiry,
        Fault::ExpiresIn(0),
        Fault::StrangeToken,
        Fault::CutBody,
    ];
    for fault in faults {
        let before = world.studio.requests();
        world.studio.next(fault);
        let answer = world.mint(UPSTREAM);
        assert_eq!(refused(&answer), upstream_failed(), "{fault:?}: {}", answer.text());
        assert_eq!(answer.json()["retry"], "later", "{fault:?}");
        assert_eq!(world.studio.requests() - before, 1, "{fault:?}");
    }
    assert_eq!(world.studio.uses(), 0, "a redirect was followed");
    assert_eq!((world.status()["leases"]["live"].as_u64(), quarantined(&world).len()), (Some(0), 0));
    assert_eq!(world.mint(UPSTREAM).status, 201, "none of it sticks");
}

#[test]
fn the_providers_expiry_counts_when_it_is_earlier_and_ours_when_it_is_later() {
    let world = world();
    let minted = |fault, body: &str| {
        world.studio.next(fault);
        world.mint(body)
    };
    let now = || std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let short = minted(Fault::ExpiresIn(30), UPSTREAM).json();
    assert!((29..=31).contains(&(short["expires_at"].as_u64().unwrap() - now())), "{short}");
    assert!(short["expires_in"].as_u64().unwrap() <= 32, "{short}");
    let long = minted(Fault::ExpiresIn(1800), UPSTREAM).json();
    assert!((59..=60).contains(&(long["expires_at"].as_u64().unwrap() - now())), "{long}");
    assert!(long["expires_in"].as_u64().unwrap() <= 60, "{long}");
    // A token with less life than the caller can use is not handed out: a third of what was asked, or what it said.
    assert_eq!(refused(&minted(Fault::ExpiresIn(10), UPSTREAM)), upstream_failed());
    let need = |seconds: u32| format!(r#"{{"key":"dashscope/main","min_remaining":{seconds}}}"#);
    assert_eq!(minted(Fault::ExpiresIn(10), &need(5)).status, 201);
    assert_eq!(minted(Fault::ExpiresIn(40), &need(50)).status, 502);
    assert_eq!(minted(Fault::ExpiresIn(40), &need(30)).status, 201);
}

#[test]
fn a_provider_that_is_too_slow_is_given_up_and_not_asked_again() {
    for fault in [Fault::SlowHead(3 * SECOND), Fault::SlowBody(SECOND), Fault::Hang] {
        let world = bounded("total_time = \"1s\"");
        world.studio.next(fault);
        let began = Instant::now();
        assert_eq!(refused(&world.mint(UPSTREAM)), upstream_failed(), "{fault:?}");
        assert!((900..1900).contains(&began.elapsed().as_millis()), "{fault:?}: {:?}", began.elapsed());
        assert_eq!(world.studio.requests(), 1, "{fault:?}: it may have been answered");
        assert_eq!(world.mint(UPSTREAM).status, 201);
    }
}

#[test]
fn a_provider_that_does_not_even_shake_hands_is_tried_twice_and_given_up() {
    let world = bounded("connect_time = \"1s\"");
    world.studio.always(Fault::HangOnAccept);
    let began = Instant::now();
    assert_eq!(refused(&world.mint(UPSTREAM)), upstream_failed());
    assert!(began.elapsed() < 3 * SECOND, "{:?}", began.elapsed());
    assert_eq!(world.studio.connections(), 2);
}

#[test]
fn what_was_surely_not_answered_is_asked_once_more_and_only_once() {
    for fault in [Fault::CloseOnRequest, Fault::ResetOnRequest, Fault::ResetOnAccept] {
        let world = bounded("warm_idle = \"0s\"");
        world.studio.next(fault);
        assert_eq!(world.mint(UPSTREAM).status, 201, "{fault:?}");
        assert_eq!(world.studio.connections(), 2, "{fault:?}");
        world.studio.always(fault);
        assert_eq!(refused(&world.mint(UPSTREAM)), upstream_failed(), "{fault:?}");
        assert_eq!(world.studio.connections(), 4, "{fault:?}");
        assert_eq!(world.studio.mints(), 1, "{fault:?}");
        world.studio.clear();
        assert_eq!(world.mint(UPSTREAM).status, 201, "{fault:?}");
    }
}

#[test]
fn a_provider_that_was_dead_is_used_as_soon_as_it_is_back() {
    let world = World::new(MINE);
    // A port that nobody has: it was somebody's a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let key = world.add_key_at("dashscope/main", &format!("http://127.0.0.1:{port}"));
    for _ in 0..3 {
        let began = Instant::now();
        assert_eq!(refused(&world.mint(UPSTREAM)), upstream_failed());
        assert!(began.elapsed() < SECOND);
    }
    let back = Upstream::plain(port);
    back.studio.register(&key);
    assert_eq!(world.mint(UPSTREAM).status, 201);
    back.studio.stop();
    assert_eq!(refused(&world.mint(UPSTREAM)), upstream_failed());
}

#[test]
fn a_provider_with_another_authoritys_certificate_is_not_spoken_to() {
    let world = World::new(MINE);
    let folder = tempfile::tempdir().unwrap();
    let impostor = Upstream::start(folder.path().join("ca.pem"));
    let key = world.add_key_at("dashscope/main", &impostor.studio.url());
    impostor.studio.register(&key);
    assert_eq!(refused(&world.mint(UPSTREAM)), upstream_failed());
    assert_eq!((impostor.studio.requests(), impostor.studio.handshakes()), (0, 0));
}

#[test]
fn a_herd_of_120_callers_is_a_few_calls() {
    let world = world();
    world.studio.always(Fault::SlowHead(Duration::from_millis(100)));
    let answers = at_once(&world, std::iter::repeat_n(UPSTREAM, 120));
    let tokens: HashSet<String> = answers.iter().map(Answer::token).collect();
    assert_eq!(answers.len(), 120);
    assert!(world.studio.mints() <= 12, "{}", world.studio.mints());
    assert_eq!(tokens.len() as u64, world.studio.mints());
    let ids: HashSet<String> = answers.iter().map(|answer| answer.json()["id"].to_string()).collect();
    assert_eq!(ids.len(), 120, "each has a lease of its own");
}

#[test]
fn one_callers_leaving_does_not_end_the_call_for_the_others() {
    let world = world();
    world.studio.next(Fault::SlowHead(Duration::from_millis(400)));
    let mut leaving = UnixStream::connect(world.broker()).unwrap();
    leaving.write_all(request("POST", "/v1/leases", Some(UPSTREAM), "close").as_bytes()).unwrap();
    assert!(soon(5 * SECOND, || world.studio.requests() == 1));
    let answer = std::thread::scope(|scope| {
        let staying = scope.spawn(|| world.mint(UPSTREAM));
        std::thread::sleep(Duration::from_millis(100));
        drop(leaving);
        staying.join().unwrap()
    });
    assert_eq!(answer.status, 201);
    assert_eq!(world.studio.requests(), 1);
}

#[test]
fn one_failure_is_shared_and_does_not_poison_what_comes_after() {
    let world = world();
    world.studio.next(Fault::SlowHead(Duration::from_millis(50)));
    world.studio.next(Fault::InternalError);
    for _ in 0..2 {
        at_once(&world, std::iter::repeat_n(UPSTREAM, 30));
    }
    assert!(world.studio.requests() <= 30, "{}", world.studio.requests());
    assert_eq!(world.studio.waiting_faults(), 0);
    let answers = at_once(&world, std::iter::repeat_n(UPSTREAM, 30));
    assert!(answers.iter().all(|answer| answer.status == 201));
}

#[test]
fn no_more_mints_of_one_key_are_under_way_than_allowed() {
    let world = bounded("mints_per_key = 2");
    world.studio.always(Fault::SlowHead(Duration::from_millis(50)));
    let bodies: Vec<_> = (60..76).map(|ttl| format!(r#"{{"key":"dashscope/main","ttl":{ttl}}}"#)).collect();
    let answers = at_once(&world, bodies.iter().map(String::as_str));
    assert!(answers.iter().all(|answer| answer.status == 201));
    assert_eq!((world.studio.mints(), world.studio.most_busy()), (16, 2));
}

#[test]
fn one_who_asks_twice_gets_two_tokens() {
    let world = world();
    assert_ne!(world.mint(UPSTREAM).token(), world.mint(UPSTREAM).token());
}

/// The tokens that two users get who ask in one moment.
fn two_users(rule: &str) -> Option<(HashSet<String>, u64)> {
    if !is_root() {
        missing("not root", "two users who ask in one moment");
        return None;
    }
    let world = World::new(rule);
    world.add_key("dashscope/main");
    world.studio.always(Fault::SlowHead(Duration::from_millis(700)));
    let ours = crate::actor::copied(&program(), &world.path("bin/sixty"));
    let asking: Vec<_> = [12345, 12346]
        .into_iter()
        .map(|uid| {
            let mut command = Command::new("sh");
            command.args(["-c", "\"$0\" mint dashscope/main; exit $?"]).arg(&ours);
            command.env("SIXTY_SOCKET", world.broker()).uid(uid).gid(uid);
            command.stdout(std::process::Stdio::piped()).spawn().unwrap()
        })
        .collect();
    let tokens = asking.into_iter().map(|mut child| {
        let mut token = String::new();
        child.stdout.take().unwrap().read_to_string(&mut token).unwrap();
        assert!(child.wait().unwrap().success());
        crate::harness::remember(token.trim());
        token
    });
    Some((tokens.collect(), world.studio.mints()))
}

const ANYBODY: &str =
    "[[rule]]\nname = \"all\"\npeer = { socket = \"broker\" }\nkeys = [\"**\"]\nkinds = [\"upstream\"]\n";

#[test]
fn a_token_is_not_shared_between_users() {
    if let Some((tokens, mints)) = two_users(ANYBODY) {
        assert_eq!((tokens.len(), mints), (2, 2));
    }
}

#[test]
fn a_token_is_shared_between_users_where_the_rule_says_so() {
    if let Some((tokens, mints)) = two_users(&format!("{ANYBODY}share = \"15s\"\n")) {
        assert_eq!((tokens.len(), mints), (1, 1));
    }
}

#[test]
fn a_shared_token_is_given_again_only_for_so_long_and_with_enough_life() {
    let world = World::new(&format!("{MINE}share = \"1s\"\n"));
    world.add_key("dashscope/main");
    let first = world.mint(UPSTREAM).token();
    assert_eq!(world.mint(UPSTREAM).token(), first);
    assert_ne!(world.mint(r#"{"key":"dashscope/main","ttl":61}"#).token(), first);
    let picky = world.mint(r#"{"key":"dashscope/main","min_remaining":60}"#);
    assert_ne!(picky.token(), first, "it has less than 60 s by now");
    std::thread::sleep(Duration::from_millis(1100));
    assert_ne!(world.mint(UPSTREAM).token(), first);
    // What is kept does not outlive a rotation, a lock or a reload.
    let before = world.mint(UPSTREAM).token();
    let fresh = random_key();
    world.studio.register(&fresh);
    rotate(&world, &fresh);
    let after = world.mint(UPSTREAM).token();
    assert_ne!(after, before);
    assert_eq!(world.control_http("POST", "/v1/reload", None).status, 200);
    assert_ne!(world.mint(UPSTREAM).token(), after);
}

#[test]
fn no_client_fails_while_keys_are_rotated_under_them() {
    let world = World::new(MINE);
    let mut key = world.add_key("dashscope/main");
    let over = AtomicBool::new(false);
    let minted = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..6)
            .map(|n| {
                let (world, over) = (&world, &over);
                scope.spawn(move || {
                    let body = format!(r#"{{"key":"dashscope/main","ttl":{}}}"#, 60 + n);
                    let mut minted = 0;
                    while !over.load(Ordering::Relaxed) {
                        let answer = world.mint(&body);
                        assert_eq!(answer.status, 201, "{}", answer.text());
                        minted += 1;
                    }
                    minted
                })
            })
            .collect();
        for _ in 0..8 {
            std::thread::sleep(Duration::from_millis(60));
            let fresh = random_key();
            world.studio.register(&fresh);
            rotate(&world, &fresh);
            // At the provider the old one ends in the same moment.
            world.studio.retire(&std::mem::replace(&mut key, fresh));
        }
        over.store(true, Ordering::Relaxed);
        clients.into_iter().map(|client| client.join().unwrap()).sum::<u32>()
    });
    assert!(minted > 20, "{minted}");
    assert!(quarantined(&world).is_empty());
}

/// Waits until the next connection is ready.
fn warmed(world: &World) -> bool {
    soon(5 * SECOND, || world.studio.open() == 1 && world.studio.handshakes() == world.studio.connections())
}

#[test]
fn the_second_mint_pays_no_handshake() {
    let world = world();
    assert_eq!(world.mint(UPSTREAM).status, 201);
    assert!(warmed(&world));
    let handshakes = world.studio.handshakes();
    // From now on nobody can connect: what is minted is minted on the connection that was ready.
    world.studio.always(Fault::HangOnAccept);
    assert_eq!(world.mint(UPSTREAM).status, 201);
    assert_eq!(world.studio.handshakes(), handshakes);
}

#[test]
fn a_connection_that_carried_a_key_is_never_used_again() {
    let world = world();
    for _ in 0..4 {
        assert_eq!(world.mint(UPSTREAM).status, 201);
        assert!(warmed(&world));
    }
    assert_eq!((world.studio.requests(), world.studio.connections()), (4, 5));
    assert!(world.studio.resumptions() >= 3, "{}", world.studio.resumptions());
}

#[test]
fn a_connection_that_nobody_needs_is_dropped_after_warm_idle() {
    let world = bounded("warm_idle = \"1s\"");
    assert_eq!(world.mint(UPSTREAM).status, 201);
    assert!(warmed(&world));
    assert!(soon(3 * SECOND, || world.studio.open() == 0));
    assert_eq!(world.mint(UPSTREAM).status, 201);
    let cold = bounded("warm_idle = \"0s\"");
    assert_eq!(cold.mint(UPSTREAM).status, 201);
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!((cold.studio.open(), cold.studio.connections()), (0, 1));
}

#[test]
fn a_ready_connection_that_the_provider_closed_costs_nobody_a_mint() {
    let world = world();
    for _ in 0..5 {
        assert_eq!(world.mint(UPSTREAM).status, 201);
        assert!(warmed(&world));
        world.studio.hang_up();
        assert!(soon(5 * SECOND, || world.studio.open() == 0));
    }
    assert_eq!(world.mint(UPSTREAM).status, 201);
    assert_eq!(world.studio.requests(), 6);
}

#[test]
fn a_lock_holds_for_a_mint_that_is_under_way_too() {
    let world = world();
    world.studio.next(Fault::SlowHead(Duration::from_millis(400)));
    let answer = std::thread::scope(|scope| {
        let asking = scope.spawn(|| world.mint(UPSTREAM));
        assert!(soon(5 * SECOND, || world.studio.requests() == 1));
        assert!(world.sixty(&["lock"]).status.success());
        asking.join().unwrap()
    });
    assert_eq!(refused(&answer), (423, "locked".into()));
    assert_eq!(world.status()["leases"]["live"], 0);
}

#[test]
fn a_locked_vault_gives_nothing_and_an_unlocked_one_all_again() {
    let world = world();
    assert_eq!(world.http("GET", "/readyz", None).status, 200);
    assert!(world.sixty(&["lock"]).status.success());
    for body in [UPSTREAM, VIRTUAL] {
        let locked = world.mint(body);
        assert_eq!(refused(&locked), (423, "locked".into()));
        assert_eq!(locked.json()["retry"], "after_unlock");
    }
    assert_eq!(world.control_http("GET", "/v1/keys", None).status, 423);
    assert_eq!(world.http("GET", "/readyz", None).status, 503);
    assert_eq!(world.http("GET", "/healthz", None).status, 200);
    assert_eq!(world.sixty(&["mint", "dashscope/main"]).status.code(), Some(75));
    assert_eq!(world.studio.requests(), 0);
    let unlocked = world.sixty(&["unlock"]);
    assert!(unlocked.status.success(), "{}", String::from_utf8_lossy(&unlocked.stderr));
    for body in [UPSTREAM, VIRTUAL] {
        assert_eq!(world.mint(body).status, 201);
    }
}

#[test]
fn a_key_that_is_removed_while_it_mints_gives_nothing() {
    let world = world();
    world.studio.next(Fault::SlowHead(Duration::from_millis(400)));
    let answer = std::thread::scope(|scope| {
        let asking = scope.spawn(|| world.mint(UPSTREAM));
        assert!(soon(5 * SECOND, || world.studio.requests() == 1));
        assert_eq!(world.control_http("DELETE", "/v1/keys/dashscope/main", None).status, 200);
        asking.join().unwrap()
    });
    assert_eq!(answer.code(), "denied");
}

/// Model Studio's own call, made of us.
fn studio_call(world: &World, query: &str, bearer: Option<&str>) -> Answer {
    let bearer = bearer.map(|name| format!("authorization: Bearer {name}\r\n")).unwrap_or_default();
    let head = format!(
        "POST /api/v1/tokens{query} HTTP/1.1\r\nhost: x\r\n{bearer}connection: close\r\ncontent-length: 0\r\n\r\n"
    );
    let mut stream = UnixStream::connect(world.broker()).unwrap();
    stream.write_all(head.as_bytes()).unwrap();
    crate::harness::read_answer(&mut stream).unwrap()
}

#[test]
fn what_mints_at_model_studio_mints_here_too() {
    let world = world();
    for bearer in [None, Some("dashscope/main")] {
        let answer = studio_call(&world, "?expire_in_seconds=120", bearer);
        assert_eq!(answer.status, 200);
        let json = answer.json();
        assert!(answer.token().starts_with("st-"));
        let fields: Vec<_> = json.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(fields, ["expires_at", "token"], "the documented answer and nothing else");
        let left =
            json["expires_at"].as_u64().unwrap() - std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
        assert!((118..=120).contains(&left), "{left}");
    }
    let usual = studio_call(&world, "", None);
    assert_eq!(usual.status, 200);
    usual.token();
}

#[test]
fn model_studios_clients_hear_errors_as_model_studio_says_them() {
    let world = world();
    let assert_error = |answer: Answer, status: u16, code: &str| {
        let json = answer.json();
        let fields: Vec<_> = json.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!((answer.status, json["code"].as_str()), (status, Some(code)), "{json}");
        assert_eq!(fields, ["code", "message", "request_id"]);
        assert!(answer.head.contains("content-type: application/json"));
        answer
    };
    assert_error(studio_call(&world, "", Some("dashscope/none")), 403, "AccessDenied");
    for bad in ["?expire_in_seconds=0", "?expire_in_seconds=1801", "?expire_in_seconds=x", "?ttl=5"] {
        assert_error(studio_call(&world, bad, None), 400, "InvalidParameter");
    }
    assert_error(studio_call(&world, "", Some("NO NAME")), 400, "InvalidParameter");
    world.studio.next(Fault::Throttled);
    let busy = assert_error(studio_call(&world, "", None), 429, "Throttling.RateQuota");
    assert!(retry_after(&busy) >= 1);
    world.add_key("dashscope/second");
    assert_error(studio_call(&world, "", None), 400, "InvalidParameter");
    assert!(world.sixty(&["lock"]).status.success());
    assert_error(studio_call(&world, "", Some("dashscope/main")), 503, "SystemError");
}

#[test]
fn a_token_that_was_minted_works_and_ends() {
    let world = world();
    let token = world.mint(r#"{"key":"dashscope/main","ttl":1,"min_remaining":0}"#).token();
    assert_eq!(world.studio.live_tokens(), 1);
    assert!(token.starts_with("st-"));
    assert!(soon(3 * SECOND, || world.studio.live_tokens() == 0 && world.status()["leases"]["live"] == 0));
}
