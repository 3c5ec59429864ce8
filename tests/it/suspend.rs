//! The machine's sleep: told of by a stand-in for logind on a real bus, to a daemon that is confined altogether.

mod logind;

use crate::locking::by_hand;
use crate::{
    harness::{MINE, SECOND, UPSTREAM, World, soon},
    needs::has,
};
use logind::{Bus, Inhibitor, Logind, lie};
use serde_json::Value;
use sixty::{
    broker::Rollback,
    clock::Clock,
    ledger::{Ended, New, Page, Terms},
};
use std::{
    os::{fd::AsFd, unix::net::UnixStream},
    sync::Arc,
    time::Duration,
};

/// A world whose daemon knows no other bus than this test's.
fn beside(bus: &Bus, daemon: &str, more: &str) -> World {
    let places = "runtime_dir = \"DIRECTORY/run\"\nstate_dir = \"DIRECTORY/state\"";
    let rules = MINE.replace("detached = true", "detached = true\nshare = \"15s\"");
    let config = format!("[daemon]\n{places}\nconfinement = \"require\"\n{daemon}\n{more}\n{rules}");
    let mut world = World::asleep(&config, &[]);
    let mut command = world.daemon_command();
    command.env("DBUS_SYSTEM_BUS_ADDRESS", format!("unix:path={}", bus.socket.display()));
    world.start_by(command);
    world.add_key("dashscope/main");
    world
}

fn sleep(logind: &Logind, inhibitor: &mut Inhibitor) {
    logind.prepare_for_sleep(true);
    assert!(inhibitor.is_let_go(10 * SECOND), "the machine would have waited");
}

fn wake(logind: &Logind) -> Inhibitor {
    logind.prepare_for_sleep(false);
    logind.asked()
}

fn records(world: &World, kind: &str) -> usize {
    world.audit().iter().filter(|line| line["record"] == kind).count()
}

fn vault(world: &World) -> Value {
    world.status()["vault"]["state"].clone()
}

fn no_bus() -> bool {
    !has("dbus-daemon", "what is done before the machine sleeps")
}

#[test]
fn tokens_are_wiped_before_the_machine_sleeps_and_not_a_moment_later() {
    if no_bus() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let bus = Bus::start(folder.path());
    let logind = Logind::start(&bus);
    let world = beside(&bus, "suspend = \"require\"", "");
    let mut inhibitor = logind.asked();
    assert_eq!([0, 1, 3].map(|at| inhibitor.words[at].as_str()), ["sleep", "sixty", "delay"]);
    assert_eq!(world.status()["suspend"], "watched");
    assert_eq!(world.status()["confinement"]["missing"], serde_json::json!([]));
    for _ in 0..2 {
        // Shared while it is fresh.
        for _ in 0..2 {
            world.mint(UPSTREAM).token();
        }
        let minted = world.studio.mints();
        assert!(!inhibitor.is_let_go(SECOND / 5));
        sleep(&logind, &mut inhibitor);
        // The file as it was when the machine could fall asleep.
        let audit = std::fs::read_to_string(world.path("state/audit.ndjson")).unwrap();
        assert!(audit.lines().last().unwrap().contains("\"record\":\"asleep\""), "{audit}");
        world.mint(UPSTREAM).token();
        assert_eq!(world.studio.mints(), minted + 1, "what was kept is gone");
        inhibitor = wake(&logind);
    }
    assert_eq!((vault(&world), world.studio.mints()), ("open".into(), 3));
    assert_eq!(records(&world, "locked"), 0);
}

#[test]
fn a_vault_is_locked_for_the_sleep_where_the_config_says_so_and_a_key_file_opens_it_again() {
    if no_bus() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let bus = Bus::start(folder.path());
    let logind = Logind::start(&bus);
    let vault_options = "[vault]\nunlock = \"file:DIRECTORY/vault.key\"\non_suspend = \"lock\"";
    let world = beside(&bus, "", vault_options);
    let mut inhibitor = logind.asked();
    sleep(&logind, &mut inhibitor);
    assert_eq!((vault(&world), world.mint(UPSTREAM).status), ("locked".into(), 423));
    inhibitor = wake(&logind);
    assert!(soon(5 * SECOND, || vault(&world) == "open"));
    assert_eq!(world.mint(UPSTREAM).status, 201);
    // What its owner locked stays locked, also when it was locked already.
    sleep(&logind, &mut inhibitor);
    assert_eq!(world.control_http("POST", "/v1/lock", None).status, 200);
    inhibitor = wake(&logind);
    assert!(soon(SECOND, || records(&world, "asleep") == 2));
    std::thread::sleep(SECOND / 2);
    assert_eq!(vault(&world), "locked");
    assert_eq!(world.control_http("POST", "/v1/unlock", None).status, 200);
    assert_eq!(world.control_http("POST", "/v1/lock", None).status, 200);
    sleep(&logind, &mut inhibitor);
    wake(&logind);
    assert_eq!(vault(&world), "locked");
    assert_eq!((records(&world, "asleep"), records(&world, "locked"), records(&world, "unlocked")), (3, 4, 3));
}

#[test]
fn nobody_but_logind_is_believed_and_a_new_one_is_asked_again() {
    if no_bus() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut bus = Bus::start(folder.path());
    let logind = Logind::start(&bus);
    let world = beside(&bus, "", "");
    let mut first = logind.asked();
    lie(&bus, &first.whose);
    assert!(!first.is_let_go(SECOND / 2));
    assert_eq!((records(&world, "asleep"), &world.status()["suspend"]), (0, &"watched".into()));
    assert!(logind.is_left_alone());
    drop(logind);
    assert!(soon(5 * SECOND, || world.status()["suspend"] == "not watched: logind has ended"));
    let logind = Logind::start(&bus);
    let mut second = logind.asked();
    assert!(soon(5 * SECOND, || world.status()["suspend"] == "watched"));
    sleep(&logind, &mut second);
    assert_eq!(records(&world, "asleep"), 1);
    // Without a bus it serves on, and says what is missing.
    bus.end();
    let told = || world.status()["suspend"].as_str().unwrap().starts_with("not watched: the bus has ended");
    assert!(soon(5 * SECOND, told));
    assert_eq!(world.mint(UPSTREAM).status, 201);
}

#[test]
fn where_nobody_tells_of_a_sleep_that_is_said_and_with_require_nothing_starts() {
    let world = World::with_daemon("suspend = \"off\"");
    assert_eq!(world.status()["suspend"], "off");
    let places = "runtime_dir = \"DIRECTORY/run\"\nstate_dir = \"DIRECTORY/state\"";
    for (wanted, starts) in [("best", true), ("require", false)] {
        let mut world = World::asleep(&format!("[daemon]\n{places}\nsuspend = \"{wanted}\"\n{MINE}"), &[]);
        let mut command = world.daemon_command();
        command.env("DBUS_SYSTEM_BUS_ADDRESS", format!("unix:path={}", world.path("no bus").display()));
        if starts {
            world.start_by(command);
            let told = world.status()["suspend"].as_str().unwrap().to_owned();
            assert!(told.starts_with("not watched: logind can't be reached"), "{told}");
        } else {
            let out = command.output().unwrap();
            let said = String::from_utf8_lossy(&out.stderr).into_owned();
            assert!(out.status.code() == Some(1) && said.contains("suspend = \"require\""), "{said}");
        }
    }
}

#[test]
fn a_bus_without_logind_holds_up_no_start() {
    if no_bus() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let bus = Bus::start(folder.path());
    let began = std::time::Instant::now();
    let world = beside(&bus, "", "");
    assert!(began.elapsed() < 10 * SECOND);
    let told = world.status()["suspend"].as_str().unwrap().to_owned();
    assert!(told.starts_with("not watched") && told.contains("Inhibit"), "{told}");
}

fn terms() -> Terms {
    Terms {
        key: "a/b".parse().unwrap(),
        rule: "r".into(),
        kind: sixty::model::Kind::Virtual,
        peer: Vec::new(),
        uid: nix::unistd::geteuid().as_raw(),
        recipient: None,
        scopes: Vec::new(),
        approve: Default::default(),
        risky: Default::default(),
        budget: Default::default(),
        holder: "".into(),
    }
}

/// Told of or not: the clocks show that it is over.
#[test]
fn after_a_sleep_deadlines_are_looked_at_before_anything_is_served() {
    let folder = tempfile::tempdir().unwrap();
    let (clock, winder) = Clock::manual(1_800_000_000);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (broker, ledger) = by_hand(folder.path(), &clock).await;
        broker.unlock(None, None, Rollback::Refuse).await.unwrap();
        let (_peer, ours) = UnixStream::pair().unwrap();
        let session = broker.admit(ours.as_fd(), "broker").ok().unwrap();
        let enter = |seconds| {
            let deadline = clock.boot().plus(Duration::from_secs(seconds));
            let expires_at = clock.wall() + seconds;
            let (terms, seal) = (Arc::new(terms()), [0; 16]);
            ledger
                .enter(New { terms, digest: None, seal, ticket: None, deadline, expires_at, uses: None }, None)
                .unwrap()
        };
        let (short, long) = (enter(30), enter(7200));
        let all = || session.leases(Page { after: None, most: 9, ended: Ended::Left }).ok().unwrap().leases;
        // Awake, nothing but the reaper removes what is over.
        winder.advance(Duration::from_secs(31));
        assert_eq!((all().len(), ledger.count()), (1, 2));
        winder.sleep(Duration::from_secs(3600));
        assert_eq!(all().iter().map(|lease| lease.id).collect::<Vec<_>>(), [long]);
        assert_eq!(ledger.count(), 1, "{short} was removed before the answer");
        // So is what the vault's own time limit has come to: a minute.
        assert_eq!(broker.unready(), Some("the vault is locked"));
        let records = || std::fs::read_to_string(folder.path().join("audit.ndjson")).unwrap();
        let awake = |text: &str| text.lines().filter(|line| line.contains("\"record\":\"awake\"")).count();
        assert!(records().contains("\"record\":\"awake\",\"seconds\":3600"), "{}", records());
        all();
        assert_eq!(awake(&records()), 1, "once for each sleep");
        winder.sleep(SECOND);
        broker.after_sleep().await;
        assert_eq!((awake(&records()), ledger.count()), (2, 1));
    });
}
