//! What the ledger promises, by a hand-wound clock; and what these tests make and race with.

mod budgets;
mod leases;
mod narrower;
mod uses;

use super::*;
use crate::model::{Budget, KeyName, Kind};
use std::time::Duration;

pub(super) fn ledger(leases: usize, leases_per_uid: usize) -> (Ledger, crate::clock::Winder, Clock) {
    let (clock, winder) = Clock::manual(1_000_000);
    (Ledger::new(LedgerOptions { leases, leases_per_uid, narrowed_keys: 4 }, clock.clone()), winder, clock)
}

pub(super) fn lease(clock: &Clock, uid: u32, kind: Kind, seconds: u64, digest: u8) -> New {
    let key: KeyName = "dashscope/main".parse().unwrap();
    let peer = vec![format!("uid:{uid}")];
    New {
        terms: Arc::new(Terms {
            key,
            rule: "mine".into(),
            kind,
            peer,
            uid,
            recipient: None,
            scopes: Vec::new(),
            risky: Default::default(),
            approve: Default::default(),
            budget: Default::default(),
            holder: format!("4:mine|1:{uid}").into(),
        }),
        digest: (kind == Kind::Virtual).then_some([digest; 32]),
        deadline: clock.boot().plus(Duration::from_secs(seconds)),
        expires_at: clock.wall() + seconds,
        uses: None,
        ticket: None,
        seal: [0; 16],
    }
}

/// So many ask at the same moment, again and again, each for a use of a fresh lease; how many got it, in each round.
fn raced(new: impl Fn(u8) -> New + Sync, clock: &Clock, claim: Claim) -> Vec<usize> {
    let ledger = Ledger::new(LedgerOptions { leases: 9, leases_per_uid: 9, narrowed_keys: 4 }, clock.clone());
    let enter = |round| ledger.enter(new(round), None).unwrap();
    let wanted = Wanted { claim, ..Wanted::default() };
    let take = |_, id| ledger.take_use(id, &wanted).map(|taken| taken.settle(&claim));
    crowded(&ledger, enter, take)
}

/// The same for whatever they do.
fn crowded(
    ledger: &Ledger,
    enter: impl Fn(u8) -> LeaseId + Sync,
    race: impl Fn(usize, LeaseId) -> Result<(), Spent> + Sync,
) -> Vec<usize> {
    const RACERS: usize = 64;
    const ROUNDS: usize = 1000;
    let (start, end) = (std::sync::Barrier::new(RACERS), std::sync::Barrier::new(RACERS));
    let lease = std::sync::Mutex::new(LeaseId(0));
    let won: Vec<std::sync::atomic::AtomicUsize> = (0..ROUNDS).map(|_| 0.into()).collect();
    std::thread::scope(|scope| {
        for _ in 0..RACERS {
            scope.spawn(|| {
                for (round, won) in won.iter().enumerate() {
                    if end.wait().is_leader() {
                        ledger.revoke(&Which::All);
                        *lease.lock().unwrap() = enter(round as u8);
                    }
                    start.wait();
                    let id = *lease.lock().unwrap();
                    if race(round, id).is_ok() {
                        won.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    }
                }
            });
        }
    });
    won.into_iter().map(std::sync::atomic::AtomicUsize::into_inner).collect()
}

fn bounded(new: New, budget: Budget) -> New {
    New { terms: Arc::new(Terms { budget, ..(*new.terms).clone() }), ..new }
}

fn tokens(tokens: u64) -> Claim {
    Claim { tokens, ..Claim::default() }
}

fn wide(n: u32) -> [u8; 32] {
    let mut digest = [0; 32];
    digest[..4].copy_from_slice(&n.to_le_bytes());
    digest[8] = 1;
    digest
}
