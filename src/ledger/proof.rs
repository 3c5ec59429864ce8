//! The ledger against a model that anybody can check at a glance: a plain list, walked for every question.

use super::{tests::lease, *};
use crate::model::Kind;
use proptest::prelude::*;
use std::time::Duration;

const LEASES: usize = 6;
const LEASES_PER_UID: usize = 3;

#[derive(Debug, Clone)]
enum Act {
    Mint {
        uid: u32,
        seconds: u64,
        uses: Option<u32>,
    },
    Use(usize),
    /// Taken and given back: the provider never heard of the call.
    Fail(usize),
    Revoke(usize),
    RevokeUser(u32),
    RevokeAll,
    Advance(u64),
    JumpWall(i64),
    Reap,
}

fn act() -> impl Strategy<Value = Act> {
    let which = 0..12_usize;
    prop_oneof![
        6 => (0..3_u32, 1..60_u64, prop::option::of(1..4_u32)).prop_map(|(uid, seconds, uses)| Act::Mint { uid, seconds, uses }),
        6 => which.clone().prop_map(Act::Use),
        2 => which.clone().prop_map(Act::Fail),
        2 => which.prop_map(Act::Revoke),
        1 => (0..3_u32).prop_map(Act::RevokeUser),
        1 => Just(Act::RevokeAll),
        3 => (0..40_u64).prop_map(Act::Advance),
        1 => (-2_000_000_000..2_000_000_000_i64).prop_map(Act::JumpWall),
        2 => Just(Act::Reap),
    ]
}

/// What is known of one lease.
#[derive(Debug)]
struct Known {
    id: LeaseId,
    digest: u8,
    uid: u32,
    ends: u64,
    left: Option<u32>,
    revoked: bool,
    reaped: bool,
}

#[derive(Default)]
struct Model {
    all: Vec<Known>,
    /// Seconds that went by.
    now: u64,
}

impl Model {
    fn lives(&self, known: &Known) -> bool {
        !known.revoked && self.now < known.ends
    }

    fn count(&self, counts: impl Fn(&Known) -> bool) -> usize {
        self.all.iter().filter(|known| counts(known)).count()
    }

    fn revoke(&mut self, which: impl Fn(&Known) -> bool) {
        let now = self.now;
        self.all.iter_mut().filter(|known| now < known.ends && which(known)).for_each(|known| known.revoked = true);
    }
}

fn mint(ledger: &Ledger, clock: &Clock, model: &mut Model, (uid, seconds, uses): (u32, u64, Option<u32>)) {
    let digest = model.all.len() as u8;
    let new = New { uses, ..lease(clock, uid, Kind::Virtual, seconds, digest) };
    let live = |uid: Option<u32>| model.count(|known| model.lives(known) && uid.is_none_or(|uid| uid == known.uid));
    let kept = |uid: Option<u32>| {
        model.count(|known| !known.revoked && !known.reaped && uid.is_none_or(|uid| uid == known.uid))
    };
    match ledger.enter(new, None) {
        Ok(id) => {
            assert!(live(None) < LEASES && live(Some(uid)) < LEASES_PER_UID, "no more than allowed");
            let ends = model.now + seconds;
            model.all.push(Known { id, digest, uid, ends, left: uses, revoked: false, reaped: false });
        }
        Err(_) => assert!(kept(None) >= LEASES || kept(Some(uid)) >= LEASES_PER_UID, "only what is full is full"),
    }
}

fn spend(ledger: &Ledger, model: &mut Model, which: usize, keep: bool) {
    let Some(lives) = model.all.get(which).map(|known| model.lives(known)) else { return };
    let known = &mut model.all[which];
    let taken = ledger.take_use(known.id, &Wanted::default());
    assert_eq!(taken.is_ok(), lives && known.left != Some(0), "{known:?}: {:?}", taken.as_ref().err());
    if let (Ok(taken), true) = (taken, keep) {
        taken.settle(&Claim::default());
        known.left = known.left.map(|left| left - 1);
    }
}

fn play(acts: Vec<Act>) {
    let (clock, winder) = Clock::manual(1_000_000);
    let options = LedgerOptions { leases: LEASES, leases_per_uid: LEASES_PER_UID, narrowed_keys: 4 };
    let (ledger, mut model) = (Ledger::new(options, clock.clone()), Model::default());
    for act in acts {
        match act {
            Act::Mint { uid, seconds, uses } => mint(&ledger, &clock, &mut model, (uid, seconds, uses)),
            Act::Use(which) => spend(&ledger, &mut model, which, true),
            Act::Fail(which) => spend(&ledger, &mut model, which, false),
            Act::Revoke(which) => {
                if let Some(id) = model.all.get(which).map(|known| known.id) {
                    ledger.revoke(&Which::Id(id));
                    model.revoke(|known| known.id == id);
                }
            }
            Act::RevokeUser(uid) => {
                ledger.revoke(&Which::Peer(format!("uid:{uid}").parse().unwrap()));
                model.revoke(|known| known.uid == uid);
            }
            Act::RevokeAll => {
                ledger.revoke(&Which::All);
                model.revoke(|_| true);
            }
            Act::Advance(seconds) => {
                winder.advance(Duration::from_secs(seconds));
                model.now += seconds;
            }
            Act::JumpWall(seconds) => winder.jump_wall(seconds),
            Act::Reap => {
                ledger.reap(usize::MAX);
                let now = model.now;
                model.all.iter_mut().filter(|known| now >= known.ends).for_each(|known| known.reaped = true);
            }
        }
        for known in &model.all {
            let held = ledger.held(&[known.digest; 32]).is_ok();
            assert_eq!(held, model.lives(known), "after {act:?}: {known:?}");
        }
        assert_eq!(ledger.list(None, Ended::Left).len(), model.count(|known| model.lives(known)));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn the_ledger_is_what_a_plain_list_would_be(acts in prop::collection::vec(act(), 1..60)) {
        play(acts);
    }
}
