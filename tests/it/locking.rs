//! Lock and unlock, by hand and by the clock, also while a mint is under way.

use crate::harness::{MINE, SECOND, UPSTREAM, VIRTUAL, World, soon};
use sixty::{
    demo::studio::Fault,
    ledger::{Ended, Ledger, Page},
};
use std::time::Duration;

#[test]
fn a_lock_holds_for_a_mint_that_is_under_way_too() {
    let world = World::with_key(MINE);
    world.studio.next(Fault::SlowHead(Duration::from_millis(400)));
    let answer = std::thread::scope(|scope| {
        let asking = scope.spawn(|| world.mint(UPSTREAM));
        assert!(soon(5 * SECOND, || world.studio.requests() == 1));
        assert!(world.sixty(&["lock"]).status.success());
        asking.join().unwrap()
    });
    assert_eq!(answer.refused(), (423, "locked".into()));
    assert_eq!(world.status()["leases"]["live"], 0);
}

#[test]
fn what_was_asked_before_a_lock_is_not_given_after_the_unlock() {
    let world = World::with_key(MINE);
    world.studio.next(Fault::SlowHead(Duration::from_millis(600)));
    let answer = std::thread::scope(|scope| {
        let asking = scope.spawn(|| world.mint(UPSTREAM));
        assert!(soon(5 * SECOND, || world.studio.requests() == 1));
        assert!(world.sixty(&["lock"]).status.success() && world.sixty(&["unlock"]).status.success());
        asking.join().unwrap()
    });
    assert_eq!(answer.refused(), (503, "unavailable".into()));
    assert_eq!((world.status()["leases"]["live"].as_u64(), world.mint(UPSTREAM).status), (Some(0), 201));
}

#[test]
fn a_locked_vault_gives_nothing_and_an_unlocked_one_all_again() {
    let world = World::with_key(MINE);
    assert_eq!(world.http("GET", "/readyz", None).status, 200);
    assert!(world.sixty(&["lock"]).status.success());
    for body in [UPSTREAM, VIRTUAL] {
        let locked = world.mint(body);
        assert_eq!(locked.refused(), (423, "locked".into()));
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
    let world = World::with_key(MINE);
    world.studio.next(Fault::SlowHead(Duration::from_millis(400)));
    let answer = std::thread::scope(|scope| {
        let asking = scope.spawn(|| world.mint(UPSTREAM));
        assert!(soon(5 * SECOND, || world.studio.requests() == 1));
        assert_eq!(world.control_http("DELETE", "/v1/keys/dashscope/main", None).status, 200);
        asking.join().unwrap()
    });
    assert_eq!(answer.code(), "denied");
}

#[test]
fn a_vault_that_was_rolled_back_is_not_waited_for_and_its_owner_is_told_what_to_do() {
    let world = World::with_key(MINE);
    let older = std::fs::read(world.path("state/vault.sealed")).unwrap();
    world.add_key("dashscope/second");
    assert!(world.sixty(&["lock"]).status.success());
    std::fs::write(world.path("state/vault.sealed"), older).unwrap();
    let answer = world.control_http("POST", "/v1/unlock", None);
    assert_eq!((answer.status, answer.json()["retry"].as_str()), (503, Some("never")));
    let refused = world.sixty(&["unlock"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("`sixty unlock --accept-rollback`") && !said.contains("mends itself"), "{said}");
    assert!(world.sixty(&["unlock", "--accept-rollback"]).status.success());
}

#[test]
fn a_vault_that_nobody_uses_locks_itself() {
    // A minute is the shortest that can be configured, so the clock is wound by hand.
    let folder = tempfile::tempdir().unwrap();
    let (clock, winder) = sixty::clock::Clock::manual(1_800_000_000);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (broker, _) = by_hand(folder.path(), &clock).await;
        broker.unlock(None, None, sixty::broker::Rollback::Refuse).await.unwrap();
        winder.advance(Duration::from_secs(59));
        broker.lock_if_idle();
        assert_eq!(broker.unready(), None);
        assert_eq!(broker.readiness()[0].says, "open; unused it locks itself in 1 s");
        winder.advance(SECOND);
        broker.lock_if_idle();
        assert_eq!(broker.unready(), Some("the vault is locked"));
        broker.unlock(None, None, sixty::broker::Rollback::Refuse).await.unwrap();
        assert_eq!(broker.unready(), None);
        winder.jump_wall(-1_000_000_000);
        assert_eq!(broker.unready(), Some("the wall clock was never set"));
        assert!(broker.readiness()[2].bars);
        winder.jump_wall(1_000_000_000);
        // A night's sleep counts: the clock goes on while the machine is suspended.
        winder.advance(Duration::from_secs(8 * 3600));
        broker.lock_if_idle();
        assert_eq!(broker.unready(), Some("the vault is locked"));
    });
}

fn impatient() -> sixty::upstream::UpstreamOptions {
    sixty::upstream::UpstreamOptions {
        private: Default::default(),
        ports: Vec::new(),
        ca_file: None,
        connect_time: SECOND,
        total_time: SECOND,
        body_bytes: 4096,
        warm_idle: Duration::ZERO,
        kept_connections: 0,
    }
}

/// A broker made of its parts, on a clock that stands still, and its ledger.
pub async fn by_hand(folder: &std::path::Path, clock: &sixty::clock::Clock) -> (sixty::broker::Broker, Ledger) {
    use sixty::{
        attest::{AttestOptions, Attestor},
        audit::{Audit, AuditOptions, Sync},
        broker::{ApprovalOptions, Broker, BrokerOptions, Debugger, Parts},
        issuer::{Issuer, IssuerOptions, IssuerParts, shared},
        ledger::{LedgerOptions, UsageBook, UsageOptions},
        recipe::{Loopback, Recipe},
        upstream::Upstream,
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
    let upstream = Upstream::new(impatient(), clock.clone());
    let issuer = Issuer::new(
        IssuerParts {
            vault: vault.clone(),
            upstream: upstream.unwrap(),
            recipes: shared(Recipe::shipped().unwrap()).into(),
            audit: audit.clone(),
            clock: clock.clone(),
        },
        IssuerOptions {
            loopback: Loopback::Refused,
            clock_tolerance: SECOND,
            mints_per_key: 1,
            gateway: String::new(),
        },
    );
    let ledger = Ledger::new(LedgerOptions { leases: 9, leases_per_uid: 9, narrowed_keys: 9 }, clock.clone());
    let all = Page { after: None, most: 9, ended: Ended::Shown };
    assert!(ledger.page(None, all).unwrap().leases.is_empty());
    let attestor = Attestor::new(AttestOptions { exe_bytes: 1 << 20, exe_hashes: 1, tcp_lookups: 1 });
    let (usage, _) = UsageBook::open(UsageOptions { file: None, rows: 9, days: 9 });
    let (prices, rules, budgets) = Default::default();
    let (kept, clock) = (ledger.clone(), clock.clone());
    let parts = Parts { attestor, vault, issuer, ledger, usage, prices, audit, clock, rules, budgets };
    let options = BrokerOptions {
        confinement: "none",
        alarm: None,
        on_suspend: sixty::broker::OnSuspend::Kept,
        refusals_per_uid: "600/min".parse().unwrap(),
        connections_per_uid: 9,
        owner: nix::unistd::geteuid().as_raw(),
        approval: ApprovalOptions { ask: None, timeout: SECOND, waiting: 9, waiting_per_uid: 9, kept: 9 },
        debugger: Debugger::Expected,
        lock_after: Some(Duration::from_secs(60)),
        unlock: Some(Box::new(with)),
        reload: Box::new(|| Err("no".into())),
    };
    (Broker::new(parts, options), kept)
}
