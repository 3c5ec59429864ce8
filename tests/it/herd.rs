//! Many who ask at one moment, for one token or for several, also while the key is swapped under them.

use crate::{
    harness::{Answer, MINE, SECOND, UPSTREAM, World, is_root, program, random_key, request, soon},
    needs::missing,
};
use sixty::demo::studio::Fault;
use std::{
    collections::HashSet,
    io::{Read, Write},
    os::unix::{net::UnixStream, process::CommandExt},
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

#[test]
fn a_herd_of_120_callers_is_a_few_calls() {
    let world = World::with_key(MINE);
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
    let world = World::with_key(MINE);
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
    let world = World::with_key(MINE);
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
    let world = World::with_upstream("mints_per_key = 2");
    world.studio.always(Fault::SlowHead(Duration::from_millis(50)));
    let bodies: Vec<_> = (60..76).map(|ttl| format!(r#"{{"key":"dashscope/main","ttl":{ttl}}}"#)).collect();
    let answers = at_once(&world, bodies.iter().map(String::as_str));
    assert!(answers.iter().all(|answer| answer.status == 201));
    assert_eq!((world.studio.mints(), world.studio.most_busy()), (16, 2));
}

#[test]
fn one_who_asks_twice_gets_two_tokens() {
    let world = World::with_key(MINE);
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
    let world = World::new(&format!("{MINE}share = \"2s\"\n"));
    world.add_key("dashscope/main");
    let first = world.mint(UPSTREAM).token();
    assert_eq!(world.mint(UPSTREAM).token(), first);
    assert_ne!(world.mint(r#"{"key":"dashscope/main","ttl":61}"#).token(), first);
    std::thread::sleep(Duration::from_millis(1100));
    let picky = world.mint(r#"{"key":"dashscope/main","min_remaining":59}"#);
    assert_ne!(picky.token(), first, "it has less than 59 s by now");
    std::thread::sleep(Duration::from_millis(2100));
    assert_ne!(world.mint(UPSTREAM).token(), first);
    // What is kept does not outlive a rotation, a lock or a reload.
    let before = world.mint(UPSTREAM).token();
    let fresh = random_key();
    world.studio.register(&fresh);
    world.rotate(&fresh);
    let after = world.mint(UPSTREAM).token();
    assert_ne!(after, before);
    assert_eq!(world.control_http("POST", "/v1/reload", None).status, 200);
    assert_ne!(world.mint(UPSTREAM).token(), after);
}

#[test]
fn a_token_that_was_revoked_is_not_given_again() {
    let world = World::new(&format!("{MINE}share = \"15s\"\n"));
    world.add_key("dashscope/main");
    world.add_key("dashscope/other");
    let other = r#"{"key":"dashscope/other","kind":"upstream"}"#;
    let untouched = world.mint(other).token();
    let mut given = world.mint(UPSTREAM).token();
    assert_eq!(world.mint(UPSTREAM).token(), given);
    let uid = nix::unistd::geteuid();
    for which in ["key=dashscope/main".to_owned(), format!("peer=uid:{uid}"), "all=true".to_owned()] {
        let revoked = world.control_http("DELETE", &format!("/v1/leases?{which}"), None).json();
        assert!(revoked["revoked"].as_u64() > Some(0), "{revoked}");
        let next = world.mint(UPSTREAM).token();
        assert_ne!(std::mem::replace(&mut given, next.clone()), next, "{which}");
        if which.starts_with("key") {
            assert_eq!(world.mint(other).token(), untouched, "another key's token is");
        }
    }
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
            world.rotate(&fresh);
            // At the provider the old one ends in the same moment.
            world.studio.retire(&std::mem::replace(&mut key, fresh));
        }
        over.store(true, Ordering::Relaxed);
        clients.into_iter().map(|client| client.join().unwrap()).sum::<u32>()
    });
    assert!(minted > 20, "{minted}");
    assert!(world.quarantined().is_empty());
}

/// Asks from so many threads at once.
fn at_once<'a>(world: &World, bodies: impl Iterator<Item = &'a str>) -> Vec<Answer> {
    std::thread::scope(|scope| {
        let asking: Vec<_> = bodies.map(|body| scope.spawn(move || world.mint(body))).collect();
        asking.into_iter().map(|asking| asking.join().unwrap()).collect()
    })
}
