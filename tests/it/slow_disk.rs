//! A disk that takes half a second for every fsync: who does not wait for it must not feel it.

use crate::{
    disk::Faults,
    harness::{MINE, SECOND, VIRTUAL, World, is_root, random_key, soon},
    leak::hunt::sees,
};
use std::time::{Duration, Instant};

fn on_a_slow_disk() -> World {
    let mut world = World::asleep(MINE, &[]);
    let half = 500_000;
    Faults::under(&mut world).are(&[("fsync", "vault.", 0, half), ("fsync", "usage.", 0, half)]);
    world
}

#[test]
fn mints_are_answered_while_the_vault_is_written() {
    let world = on_a_slow_disk();
    world.add_key("dashscope/main");
    let put = |name: &str| {
        let body = format!(r#"{{"provider":"dashscope","region":"singapore","secret":"{}"}}"#, random_key());
        let began = Instant::now();
        let status = world.control_http("PUT", &format!("/v1/keys/{name}"), Some(&body)).status;
        (status, began.elapsed())
    };
    let (added, mints, slowest) = std::thread::scope(|scope| {
        let two = ["dashscope/a", "dashscope/b"].map(|name| scope.spawn(move || put(name)));
        let (mut mints, mut slowest) = (0, Duration::ZERO);
        while !two.iter().all(|one| one.is_finished()) {
            let began = Instant::now();
            assert_eq!(world.mint(VIRTUAL).status, 201);
            slowest = slowest.max(began.elapsed());
            mints += 1;
        }
        (two.map(|one| one.join().unwrap()), mints, slowest)
    });
    // Vault and head, one after the other, and the second change after the first.
    assert!(
        added.iter().all(|(status, time)| *status == 201 && *time >= SECOND),
        "told before it was durable: {added:?}"
    );
    assert!(added.iter().any(|(_, time)| *time >= 2 * SECOND), "two changes were written at once: {added:?}");
    assert!(mints > 4 && slowest < SECOND / 2, "{mints} mints, the slowest took {slowest:?}");
    assert_eq!(world.control_http("GET", "/v1/keys", None).json()["keys"].as_array().unwrap().len(), 3);
}

#[test]
fn a_lock_waits_for_no_disk() {
    let world = on_a_slow_disk();
    world.add_key("dashscope/main");
    assert_eq!(world.mint(crate::harness::UPSTREAM).status, 201, "a use to be written down");
    let began = Instant::now();
    assert_eq!(world.control_http("POST", "/v1/lock", None).status, 200);
    assert!(began.elapsed() < SECOND / 2, "{:?}", began.elapsed());
    assert_eq!(world.control_http("POST", "/v1/unlock", None).status, 200);
    let key = world.control_http("GET", "/v1/keys/dashscope/main", None).json();
    assert!(key["last_used"].is_u64(), "the use was written before the vault was read: {key}");
}

#[test]
fn after_a_lock_no_key_is_left_that_was_on_its_way_to_the_disk() {
    let world = on_a_slow_disk();
    let keys = [random_key(), random_key()];
    let put = |name: &str, key: &str| {
        let body = format!(r#"{{"provider":"dashscope","region":"singapore","secret":"{key}"}}"#);
        world.control_http("PUT", &format!("/v1/keys/{name}"), Some(&body)).status
    };
    let statuses = std::thread::scope(|scope| {
        let first = scope.spawn(|| put("dashscope/first", &keys[0]));
        std::thread::sleep(SECOND / 5);
        let second = scope.spawn(|| put("dashscope/second", &keys[1]));
        std::thread::sleep(SECOND / 5);
        assert_eq!(world.control_http("POST", "/v1/lock", None).status, 200);
        assert!(!first.is_finished() && !second.is_finished(), "one is being written, one waits for its turn");
        if is_root() {
            assert_eq!(keys.each_ref().map(|key| sees(world.pid(), &key[3..])), [false; 2]);
        }
        (first.join().unwrap(), second.join().unwrap())
    });
    assert_eq!(statuses, (201, 423));
    assert_eq!(world.control_http("POST", "/v1/unlock", None).status, 200);
    let listed = world.control_http("GET", "/v1/keys", None).json();
    assert_eq!((listed["keys"].as_array().unwrap().len(), &listed["keys"][0]["name"]), (1, &"dashscope/first".into()));
}

/// A vault whose head lags behind, as a crash leaves it: an unlock writes the head, which takes half a second.
fn after_a_crash() -> World {
    let world = on_a_slow_disk();
    let head = std::fs::read(world.path("state/vault.head")).unwrap();
    world.add_key("dashscope/main");
    assert_eq!(world.control_http("POST", "/v1/lock", None).status, 200);
    std::fs::write(world.path("state/vault.head"), head).unwrap();
    world
}

#[test]
fn an_unlock_after_a_crash_holds_up_nobody() {
    let world = after_a_crash();
    let (took, slowest) = std::thread::scope(|scope| {
        let unlocking = scope.spawn(|| {
            let began = Instant::now();
            assert_eq!(world.control_http("POST", "/v1/unlock", None).status, 200);
            began.elapsed()
        });
        let mut slowest = Duration::ZERO;
        while !unlocking.is_finished() {
            let began = Instant::now();
            assert_eq!(world.http("GET", "/healthz", None).status, 200);
            slowest = slowest.max(began.elapsed());
        }
        (unlocking.join().unwrap(), slowest)
    });
    assert!(took >= SECOND / 2, "open before the head was whole: {took:?}");
    assert!(slowest < 2 * SECOND / 5, "{slowest:?}");
    assert_eq!(world.mint(VIRTUAL).status, 201);
}

#[test]
fn a_lock_in_the_middle_of_an_unlock_wins() {
    let world = after_a_crash();
    let refused = std::thread::scope(|scope| {
        let unlocking = scope.spawn(|| world.sixty(&["unlock"]));
        std::thread::sleep(SECOND / 5);
        let began = Instant::now();
        assert_eq!(world.control_http("POST", "/v1/lock", None).status, 200);
        assert!(!unlocking.is_finished() && began.elapsed() < SECOND / 5, "{:?}", began.elapsed());
        unlocking.join().unwrap()
    });
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(75), "{said}");
    assert!(said.contains("locked while it was being opened"), "{said}");
    assert_eq!(world.mint(VIRTUAL).refused(), (423, "locked".into()));
    assert_eq!(world.control_http("POST", "/v1/unlock", None).status, 200);
    assert!(soon(SECOND, || world.mint(VIRTUAL).status == 201));
}

#[test]
fn a_decision_that_waits_for_the_disk_holds_up_nobody_else() {
    let mut world = World::asleep(&format!("{MINE}\n[audit]\nsync = \"each\"\n"), &[]);
    let faults = Faults::under(&mut world);
    world.add_key("dashscope/main");
    faults.are(&[("fdatasync", "audit.", 0, 500_000)]);
    let mint = || {
        let began = Instant::now();
        assert_eq!(world.mint(VIRTUAL).status, 201);
        began.elapsed()
    };
    let (times, slowest) = std::thread::scope(|scope| {
        let minting: Vec<_> = (0..8).map(|_| scope.spawn(mint)).collect();
        let mut slowest = Duration::ZERO;
        while !minting.iter().all(|one| one.is_finished()) {
            let began = Instant::now();
            assert_eq!(world.http("GET", "/healthz", None).status, 200);
            slowest = slowest.max(began.elapsed());
        }
        (minting.into_iter().map(|one| one.join().unwrap()).collect::<Vec<_>>(), slowest)
    });
    assert!(times.iter().all(|time| *time >= SECOND / 2), "let pass before it was on the disk: {times:?}");
    assert!(times.iter().all(|time| *time < 2 * SECOND), "decisions of one moment share a wait: {times:?}");
    assert!(slowest < 2 * SECOND / 5, "{slowest:?}");
}
