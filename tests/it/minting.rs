//! Minting against a provider that misbehaves in every way it can be told to: what the caller hears, how often the
//! provider is asked, and what is known of the key afterwards.

use crate::harness::{MINE, SECOND, UPSTREAM, Upstream, VIRTUAL, World, random_key, soon};
use sixty::demo::studio::Fault;
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

fn upstream_failed() -> (u16, String) {
    (502, "upstream".into())
}

#[test]
fn a_throttled_key_rests_and_nobody_hammers() {
    let world = World::with_key(MINE);
    world.studio.always(Fault::Throttled);
    let busy = world.mint(UPSTREAM);
    assert_eq!(busy.refused(), (429, "busy".into()));
    assert!((1..=2).contains(&busy.retry_after()));
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
    let world = World::with_key(MINE);
    let other = world.add_key("dashscope/other");
    world.studio.always_for(&other, Fault::Throttled);
    assert_eq!(world.mint(r#"{"key":"dashscope/other"}"#).status, 429);
    assert_eq!(world.mint(UPSTREAM).status, 201);
}

#[test]
fn a_bill_is_not_retried_not_even_as_a_429() {
    for fault in [Fault::PrepaidBillOverdue, Fault::Arrearage] {
        let world = World::with_key(MINE);
        world.studio.always(fault);
        for _ in 0..5 {
            assert_eq!(world.mint(UPSTREAM).refused(), upstream_failed(), "{fault:?}");
        }
        assert_eq!(world.studio.requests(), 1, "{fault:?}");
        assert!(world.quarantined().is_empty(), "the key is good");
        // Paid: its owner need not wait to see it.
        world.studio.clear();
        assert!(world.sixty(&["key", "test", "dashscope/main"]).status.success());
        assert_eq!(world.mint(UPSTREAM).status, 201);
    }
}

#[test]
fn a_key_that_its_provider_refuses_is_quarantined_for_all_to_see() {
    let world = World::with_key(MINE);
    world.studio.next(Fault::BadKey);
    assert_eq!(world.mint(UPSTREAM).refused(), upstream_failed());
    for body in [UPSTREAM, VIRTUAL] {
        assert_eq!(world.mint(body).refused(), upstream_failed());
    }
    assert_eq!(world.studio.requests(), 1, "a key in quarantine is not sent");
    assert_eq!(world.quarantined(), ["dashscope/main"]);
    assert!(world.control_http("GET", "/metrics", None).text().contains("sixty_quarantined_keys 1"));
    assert!(world.control_http("GET", "/v1/keys/dashscope/main", None).text().contains("quarantine"));
    assert!(world.log().lines().any(|line| line.contains("WARN") && line.contains("dashscope/main")));
    assert!(world.audit().iter().any(|record| record.to_string().contains("quarantine")));
    let tested = world.sixty(&["key", "test", "dashscope/main"]);
    assert!(tested.status.success(), "{}", String::from_utf8_lossy(&tested.stderr));
    assert!(world.quarantined().is_empty());
    assert_eq!(world.mint(UPSTREAM).status, 201);
}

#[test]
fn a_test_that_fails_lifts_no_quarantine_and_a_rotation_does() {
    let world = World::with_key(MINE);
    world.studio.always(Fault::BadKey);
    assert_eq!(world.mint(UPSTREAM).status, 502);
    assert!(!world.sixty(&["key", "test", "dashscope/main"]).status.success());
    assert_eq!(world.quarantined(), ["dashscope/main"]);
    // A provider that is down says nothing good of the key.
    world.studio.clear();
    world.studio.next(Fault::InternalError);
    assert!(!world.sixty(&["key", "test", "dashscope/main"]).status.success());
    assert_eq!(world.quarantined(), ["dashscope/main"]);
    let fresh = random_key();
    world.studio.register(&fresh);
    world.rotate(&fresh);
    assert!(world.quarantined().is_empty());
    assert_eq!(world.mint(UPSTREAM).status, 201);
}

#[test]
fn a_quarantine_outlasts_a_test_that_nobody_waits_for_and_a_lock() {
    let world = World::with_key(MINE);
    world.studio.next(Fault::BadKey);
    assert_eq!(world.mint(UPSTREAM).status, 502);
    let asked = world.studio.requests();
    world.studio.next(Fault::Hang);
    let mut test = world.command(&["key", "test", "dashscope/main"]).spawn().unwrap();
    assert!(soon(5 * SECOND, || world.studio.requests() > asked), "the test is under way");
    test.kill().unwrap();
    test.wait().unwrap();
    assert!(soon(5 * SECOND, || world.quarantined() == ["dashscope/main"]), "it has proved nothing");
    assert_eq!(world.control_http("POST", "/v1/lock", None).status, 200);
    assert!(world.quarantined().is_empty(), "names are locked away");
    assert_eq!(world.control_http("POST", "/v1/unlock", None).status, 200);
    assert_eq!(world.quarantined(), ["dashscope/main"]);
    assert_eq!(world.mint(UPSTREAM).refused(), upstream_failed());
}

#[test]
fn an_answer_that_gives_no_token_is_asked_for_once_and_gives_no_lease() {
    let world = World::with_key(MINE);
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
        assert_eq!(answer.refused(), upstream_failed(), "{fault:?}: {}", answer.text());
        let hint = if fault == Fault::Denied { "never" } else { "later" };
        assert_eq!(answer.json()["retry"], hint, "{fault:?}");
        assert_eq!(world.studio.requests() - before, 1, "{fault:?}");
    }
    assert_eq!(world.studio.uses(), 0, "a redirect was followed");
    assert_eq!((world.status()["leases"]["live"].as_u64(), world.quarantined().len()), (Some(0), 0));
    assert_eq!(world.mint(UPSTREAM).status, 201, "none of it sticks");
}

#[test]
fn the_providers_expiry_counts_when_it_is_earlier_and_ours_when_it_is_later() {
    let world = World::with_key(MINE);
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
    assert_eq!(minted(Fault::ExpiresIn(10), UPSTREAM).refused(), upstream_failed());
    let need = |seconds: u32| format!(r#"{{"key":"dashscope/main","min_remaining":{seconds}}}"#);
    assert_eq!(minted(Fault::ExpiresIn(10), &need(5)).status, 201);
    assert_eq!(minted(Fault::ExpiresIn(40), &need(50)).status, 502);
    assert_eq!(minted(Fault::ExpiresIn(40), &need(30)).status, 201);
    // Exactly: not a second less, and not the tolerance for clocks either.
    assert_eq!(minted(Fault::ExpiresIn(40), &need(41)).status, 502);
    assert_eq!(world.mint(&need(59)).status, 201);
}

#[test]
fn an_answer_that_broke_off_is_not_asked_for_again_and_none_at_all_is() {
    use std::{io::Write, net::TcpListener};
    for (said, asked) in [("HTTP/1.1 200 OK\r\ncontent-le", 1), ("", 2)] {
        let provider = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = provider.local_addr().unwrap();
        let counted = Arc::new(AtomicUsize::new(0));
        let count = counted.clone();
        std::thread::spawn(move || {
            for mut stream in provider.incoming().flatten() {
                let head = crate::http::read_head(&mut stream);
                count.fetch_add(usize::from(head.starts_with("POST ")), Ordering::SeqCst);
                let _ = stream.write_all(said.as_bytes());
            }
        });
        let world = World::with_upstream("warm_idle = \"0s\"");
        world.add_key_at("dashscope/cut", &format!("http://{address}"));
        assert_eq!(world.mint(r#"{"key":"dashscope/cut","kind":"upstream"}"#).refused(), upstream_failed());
        assert_eq!(counted.load(Ordering::SeqCst), asked, "after {said:?}");
    }
}

#[test]
fn a_provider_that_is_too_slow_is_given_up_and_not_asked_again() {
    for fault in [Fault::SlowHead(3 * SECOND), Fault::SlowBody(SECOND), Fault::Hang] {
        let world = World::with_upstream("total_time = \"1s\"");
        world.studio.next(fault);
        let began = Instant::now();
        assert_eq!(world.mint(UPSTREAM).refused(), upstream_failed(), "{fault:?}");
        assert!((900..1900).contains(&began.elapsed().as_millis()), "{fault:?}: {:?}", began.elapsed());
        assert_eq!(world.studio.requests(), 1, "{fault:?}: it may have been answered");
        assert_eq!(world.mint(UPSTREAM).status, 201);
    }
}

#[test]
fn a_provider_that_does_not_even_shake_hands_is_tried_twice_and_given_up() {
    let world = World::with_upstream("connect_time = \"1s\"");
    world.studio.always(Fault::HangOnAccept);
    let began = Instant::now();
    assert_eq!(world.mint(UPSTREAM).refused(), upstream_failed());
    assert!(began.elapsed() < 3 * SECOND, "{:?}", began.elapsed());
    assert_eq!(world.studio.connections(), 2);
}

#[test]
fn what_was_surely_not_answered_is_asked_once_more_and_only_once() {
    for fault in [Fault::CloseOnRequest, Fault::ResetOnRequest, Fault::ResetOnAccept] {
        let world = World::with_upstream("warm_idle = \"0s\"");
        world.studio.next(fault);
        assert_eq!(world.mint(UPSTREAM).status, 201, "{fault:?}");
        assert_eq!(world.studio.connections(), 2, "{fault:?}");
        world.studio.always(fault);
        assert_eq!(world.mint(UPSTREAM).refused(), upstream_failed(), "{fault:?}");
        assert_eq!(world.studio.connections(), 4, "{fault:?}");
        assert_eq!(world.studio.mints(), 1, "{fault:?}");
        world.studio.clear();
        assert_eq!(world.mint(UPSTREAM).status, 201, "{fault:?}");
    }
}

#[test]
fn readiness_says_which_provider_answered_and_tells_a_stranger_only_how_many() {
    let world = World::with_key(MINE);
    let told = |world: &World| world.http("GET", "/readyz", None).text();
    assert!(told(&world).starts_with("ready\nvault: open\naudit: writable\nclock: sane\nidentity: "));
    assert!(told(&world).ends_with("providers: none was asked yet\n"));
    let address = world.studio.url();
    assert_eq!(world.mint(UPSTREAM).status, 201);
    assert!(told(&world).contains("providers: 1 of 1 answered when last asked; the last answer came "));
    let reached = world.status()["upstream"][&address].clone();
    assert!(reached["answered_at"].is_u64() && reached["fault"].is_null(), "{reached}");
    world.studio.stop();
    assert_eq!(world.mint(UPSTREAM).status, 502);
    let text = told(&world);
    assert!(text.contains("providers: 0 of 1 answered") && !text.contains(&address), "{text}");
    let reached = world.status()["upstream"][&address].clone();
    assert!(
        reached["failed_at"].is_u64() && reached["fault"].as_str().unwrap().contains("cannot connect"),
        "{reached}"
    );
}

#[test]
fn a_provider_that_was_dead_is_used_as_soon_as_it_is_back() {
    let world = World::new(MINE);
    // A port that nobody has: it was somebody's a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let key = world.add_key_at("dashscope/main", &format!("http://127.0.0.1:{port}"));
    for _ in 0..3 {
        let began = Instant::now();
        assert_eq!(world.mint(UPSTREAM).refused(), upstream_failed());
        assert!(began.elapsed() < SECOND);
    }
    let back = Upstream::plain(port);
    back.studio.register(&key);
    assert_eq!(world.mint(UPSTREAM).status, 201);
    back.studio.stop();
    assert_eq!(world.mint(UPSTREAM).refused(), upstream_failed());
}

#[test]
fn a_provider_with_another_authoritys_certificate_is_not_spoken_to() {
    let world = World::new(MINE);
    let folder = tempfile::tempdir().unwrap();
    let impostor = Upstream::start(folder.path().join("ca.pem"));
    let key = world.add_key_at("dashscope/main", &impostor.studio.url());
    impostor.studio.register(&key);
    assert_eq!(world.mint(UPSTREAM).refused(), upstream_failed());
    assert_eq!((impostor.studio.requests(), impostor.studio.handshakes()), (0, 0));
}

#[test]
fn a_token_that_was_minted_works_and_ends() {
    let world = World::with_key(MINE);
    let token = world.mint(r#"{"key":"dashscope/main","ttl":2,"min_remaining":0}"#).token();
    assert_eq!(world.studio.live_tokens(), 1);
    assert!(token.starts_with("st-"));
    assert!(soon(4 * SECOND, || world.studio.live_tokens() == 0 && world.status()["leases"]["live"] == 0));
}

#[test]
fn a_provider_that_mints_nothing_gives_virtual_keys_alone() {
    let world = World::new(MINE);
    let add = ["key", "add", "openai/main", "--provider", "openai"];
    assert!(world.sixty_with(&add, &random_key()).status.success());
    let refused = world.mint(r#"{"key":"openai/main"}"#);
    assert_eq!(refused.refused(), (400, "malformed".into()));
    assert!(refused.text().contains("ask for kind virtual"), "{}", refused.text());
    assert_eq!(world.mint(r#"{"key":"openai/main","kind":"virtual"}"#).status, 201);
}

/// A key of another provider, kept at the stand-in.
fn add_elsewhere(world: &World, provider: &str) -> String {
    let (name, key) = (format!("{provider}/main"), random_key());
    world.studio.register(&key);
    let url = world.studio.url();
    let added = world.sixty_with(&["key", "add", &name, "--provider", provider, "--endpoint", &url], &key);
    assert!(added.status.success(), "{}", String::from_utf8_lossy(&added.stderr));
    key
}

#[test]
fn a_key_that_mints_nothing_is_tested_by_a_call_that_costs_nothing() {
    let world = World::new(MINE);
    add_elsewhere(&world, "openai");
    let test = || {
        let tested = world.sixty(&["key", "test", "openai/main"]);
        let told = String::from_utf8_lossy(&[tested.stdout, tested.stderr].concat()).into_owned();
        (tested.status.code(), told)
    };
    let (code, told) = test();
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("took openai/main"), "{told}");
    assert_eq!((world.studio.requests(), world.studio.mints()), (1, 0));
    for (fault, code, advice) in [
        (Fault::Throttled, 75, "again in"),
        (Fault::Denied, 1, "the right"),
        (Fault::InternalError, 75, "nothing of the key"),
        (Fault::CloseOnRequest, 0, "works"),
        (Fault::Redirect, 75, "nothing of the key"),
    ] {
        world.studio.next(fault);
        let told = test();
        assert!(told.0 == Some(code) && told.1.contains(advice), "{fault:?}: {told:?}");
        assert!(world.quarantined().is_empty(), "{fault:?} says nothing bad of the key");
    }
    world.studio.next(Fault::BadKey);
    let (code, told) = test();
    assert!(code == Some(1) && told.contains("key rotate openai/main"), "{told}");
    assert_eq!(world.quarantined(), ["openai/main"]);
    assert_eq!(world.mint(r#"{"key":"openai/main","kind":"virtual"}"#).refused(), upstream_failed());
    assert_eq!(test().0, Some(0));
    assert!(world.quarantined().is_empty());
}

#[test]
fn a_provider_of_which_no_safe_call_is_known_says_so() {
    let world = World::new(MINE);
    add_elsewhere(&world, "generic");
    let tested = world.sixty(&["key", "test", "generic/main"]);
    let told = String::from_utf8_lossy(&tested.stderr).into_owned();
    assert!(!tested.status.success() && told.contains("names no [probe]"), "{told}");
    assert_eq!(world.studio.requests(), 0);
}
