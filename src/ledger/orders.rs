//! The ledger in every order in which loops can come to its lock: loom tries them all (`.ci/run`). It is the ledger
//! itself and no picture of it; what is here is who calls it, and what must be true whoever came first.

use super::{tests::lease, *};
use crate::model::{Budget, Kind, Per};
use loom::{
    future::block_on,
    sync::atomic::{AtomicBool, Ordering},
    thread::{JoinHandle, spawn},
};
use std::time::Duration;

const TOKENS: Claim = Claim { tokens: 6, cost_micros: 0 };

fn ledger(leases_per_uid: usize) -> Ledger {
    let options = LedgerOptions { leases: 9, leases_per_uid, narrowed_keys: 4 };
    Ledger::new(options, Clock::manual(1_000_000).0)
}

fn new(ledger: &Ledger) -> New {
    lease(&ledger.clock, 1, Kind::Virtual, 60, 7)
}

/// A lease of a budget.
fn with_budget(ledger: &Ledger, budget: Budget) -> New {
    let new = new(ledger);
    New { terms: Arc::new(Terms { budget, ..(*new.terms).clone() }), ..new }
}

fn wanted(claim: Claim) -> Wanted<'static> {
    Wanted { claim, ..Wanted::default() }
}

fn together<T: 'static>(loops: impl IntoIterator<Item = JoinHandle<T>>) -> Vec<T> {
    loops.into_iter().map(|one| one.join().unwrap()).collect()
}

#[test]
fn the_last_use_is_taken_once_and_what_is_given_back_is_there_again() {
    loom::model(|| {
        let ledger = ledger(9);
        let id = ledger.enter(New { uses: Some(1), ..new(&ledger) }, None).unwrap();
        let call = |kept: bool| {
            let ledger = ledger.clone();
            spawn(move || match ledger.take_use(id, &wanted(Claim::default())) {
                Ok(taken) if kept => {
                    taken.settle(&Claim::default());
                    1
                }
                Ok(_) | Err(Spent::Exhausted) => 0,
                Err(other) => unreachable!("{other}"),
            })
        };
        let made: u32 = together([call(true), call(false), call(true)]).iter().sum();
        let left = ledger.list(None, Ended::Left)[0].uses_left;
        assert!(made <= 1 && left == Some(1 - made), "{made} calls, {left:?} left");
    });
}

#[test]
fn what_calls_hold_and_spend_together_is_within_the_budget() {
    loom::model(|| {
        let ledger = ledger(9);
        let budget = Budget { tokens: Some(10), per: Per::Lease, ..Budget::default() };
        let id = ledger.enter(with_budget(&ledger, budget), None).unwrap();
        let call = || {
            let ledger = ledger.clone();
            spawn(move || match ledger.take_use(id, &wanted(Claim { tokens: 4, ..TOKENS })) {
                // The answer grows longer than was thought, as far as it may.
                Ok(mut taken) => {
                    let used = if taken.cover(&TOKENS) { TOKENS } else { Claim { tokens: 4, ..TOKENS } };
                    taken.settle(&used);
                    used.tokens
                }
                Err(Spent::Over(_)) => 0,
                Err(other) => unreachable!("{other}"),
            })
        };
        let used: u64 = together([call(), call()]).iter().sum();
        assert_eq!(used, 10, "one of the two could grow");
        assert!(ledger.take_use(id, &wanted(Claim { tokens: 1, ..TOKENS })).is_err(), "nothing is left");
    });
}

#[test]
fn no_more_calls_run_at_once_than_may() {
    loom::model(|| {
        let ledger = ledger(9);
        let budget = Budget { concurrent: Some(1), ..Budget::default() };
        let id = ledger.enter(with_budget(&ledger, budget), None).unwrap();
        let running = Arc::new(AtomicBool::new(false));
        let call = || {
            let (ledger, running) = (ledger.clone(), running.clone());
            spawn(move || {
                if let Ok(taken) = ledger.take_use(id, &wanted(Claim::default())) {
                    assert!(!running.swap(true, Ordering::SeqCst), "two calls at once");
                    running.store(false, Ordering::SeqCst);
                    drop(taken);
                }
            })
        };
        together([call(), call()]);
        assert!(ledger.take_use(id, &wanted(Claim::default())).is_ok(), "nobody runs any more");
    });
}

#[test]
fn room_for_one_is_given_to_one() {
    loom::model(|| {
        let ledger = ledger(1);
        let mint = || {
            let ledger = ledger.clone();
            spawn(move || usize::from(ledger.enter(new(&ledger), None).is_ok()))
        };
        let minted: usize = together([mint(), mint(), mint()]).iter().sum();
        assert_eq!((minted, ledger.count()), (1, 1));
    });
}

#[test]
fn a_ticket_is_good_for_one_key_and_a_second_try_ends_it() {
    loom::model(|| {
        let ledger = ledger(9);
        let id = ledger.enter(New { digest: None, ticket: Some([5; 32]), ..new(&ledger) }, None).unwrap();
        let redeem = |key: u8| {
            let ledger = ledger.clone();
            spawn(move || usize::from(ledger.redeem(id, [key; 32], [0; 16]).is_ok()))
        };
        let redeemed: usize = together([redeem(1), redeem(2)]).iter().sum();
        assert_eq!((redeemed, ledger.count()), (1, 0));
        assert!(ledger.held(&[1; 32]).is_err() && ledger.held(&[2; 32]).is_err());
    });
}

#[test]
fn a_call_on_a_lease_that_is_revoked_is_refused_or_cut() {
    loom::model(|| {
        let ledger = ledger(9);
        let id = ledger.enter(new(&ledger), None).unwrap();
        let other = ledger.clone();
        let revoke = spawn(move || ledger.revoke(&Which::Id(id)));
        match other.take_use(id, &wanted(Claim::default())) {
            // Whoever waits for nothing here waits for ever, and loom says so.
            Ok(taken) => block_on(taken.cut().wait()),
            Err(why) => assert_eq!(why, Spent::Revoked),
        }
        assert_eq!((revoke.join().unwrap().leases, other.count()), (1, 0));
    });
}

#[test]
fn a_call_with_a_narrower_key_that_is_revoked_is_refused_or_cut() {
    loom::model(|| {
        let ledger = ledger(9);
        let id = ledger.enter(new(&ledger), None).unwrap();
        let node = [1; 8];
        let chain = Chain { steps: vec![(node, Some(3))], until: None };
        let other = ledger.clone();
        let narrower = crate::model::NodeId { mark: crate::wire::narrow::mark(&[7; 32]), node };
        let revoke = spawn(move || ledger.revoke(&Which::Node(narrower, None)));
        if let Ok(taken) = other.take_narrowed(id, chain, &wanted(Claim::default())) {
            block_on(taken.cut().wait());
        }
        assert_eq!((revoke.join().unwrap().leases, other.count()), (1, 1), "the lease itself lives on");
    });
}

/// As the broker and the issuer do: a use is taken before the vault is asked, and the vault locked before calls are cut.
#[test]
fn a_call_while_the_vault_is_locked_gets_no_key_or_is_cut() {
    loom::model(|| {
        let ledger = ledger(9);
        let id = ledger.enter(new(&ledger), None).unwrap();
        let locked = Arc::new(AtomicBool::new(false));
        let (other, vault) = (ledger.clone(), locked.clone());
        let lock = spawn(move || {
            vault.store(true, Ordering::SeqCst);
            other.cut_all();
        });
        let taken = ledger.take_use(id, &wanted(Claim::default())).unwrap();
        if !locked.load(Ordering::SeqCst) {
            block_on(taken.cut().wait());
        }
        lock.join().unwrap();
    });
}

#[test]
fn what_is_revoked_while_it_is_minted_never_lives() {
    loom::model(|| {
        let ledger = ledger(1);
        let room = ledger.room(new(&ledger).terms).unwrap();
        let other = ledger.clone();
        let revoke = spawn(move || other.revoke(&Which::All).leases);
        let entered = room.enter(new(&ledger), None);
        assert_eq!(revoke.join().unwrap(), 1, "it is told of, minted or not");
        assert_eq!((ledger.count(), ledger.held(&[7; 32]).is_ok()), (0, false), "{entered:?}");
        assert!(ledger.enter(new(&ledger), None).is_ok(), "its room is free again");
    });
}

/// As the broker does: the room is renewed before the rules are looked at, and rules are in force before leases are retired.
#[test]
fn what_is_minted_by_rules_that_are_over_never_lives() {
    loom::model(|| {
        let ledger = ledger(9);
        let mut room = ledger.room(new(&ledger).terms).unwrap();
        let allowed = Arc::new(AtomicBool::new(true));
        let (other, rules) = (ledger.clone(), allowed.clone());
        let reload = spawn(move || {
            rules.store(false, Ordering::SeqCst);
            other.retire(|_| false)
        });
        room.renew();
        if allowed.load(Ordering::SeqCst) {
            let _ = room.enter(new(&ledger), None);
        }
        reload.join().unwrap();
        assert_eq!(ledger.count(), 0);
    });
}

/// As the reaper does when it has nothing to wait for.
#[test]
fn the_reaper_hears_of_the_first_lease() {
    loom::model(|| {
        let ledger = ledger(9);
        let other = ledger.clone();
        let mint = spawn(move || other.enter(new(&other), None).unwrap());
        let next = loop {
            match ledger.reap(512) {
                Some(next) => break next,
                None => {
                    // What may come between: loom does not see into what is awaited.
                    loom::thread::yield_now();
                    block_on(ledger.earlier.notified());
                }
            }
        };
        assert_eq!(next, ledger.clock.boot().plus(Duration::from_secs(60)));
        mint.join().unwrap();
    });
}
