//! The ledger against a model that anybody can check at a glance: a plain list, walked for every question.

use super::{tests::lease, *};
use crate::model::Kind;
use proptest::prelude::*;
use std::{collections::VecDeque, time::Duration};

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
    /// Taken as the last one.
    Last(usize),
    /// Taken, and the call goes on.
    Begin(usize),
    /// The call that began first comes to nothing.
    Lose,
    Revoke(usize),
    RevokeUser(u32),
    RevokeAll,
    Advance(u64),
    JumpWall(i64),
    Reap,
    /// Every call comes to nothing, and another process goes on.
    Restart,
}

fn act() -> impl Strategy<Value = Act> {
    // Mostly the newest two, so that one act meets another's end.
    let which = prop_oneof![3 => 0..2_usize, 1 => 0..12_usize];
    prop_oneof![
        6 => (0..3_u32, 1..60_u64, prop::option::of(1..4_u32)).prop_map(|(uid, seconds, uses)| Act::Mint { uid, seconds, uses }),
        6 => which.clone().prop_map(Act::Use),
        2 => which.clone().prop_map(Act::Fail),
        3 => which.clone().prop_map(Act::Last),
        3 => which.clone().prop_map(Act::Begin),
        3 => Just(Act::Lose),
        2 => which.prop_map(Act::Revoke),
        1 => (0..3_u32).prop_map(Act::RevokeUser),
        1 => Just(Act::RevokeAll),
        3 => (0..40_u64).prop_map(Act::Advance),
        1 => (-2_000_000_000..2_000_000_000_i64).prop_map(Act::JumpWall),
        2 => Just(Act::Reap),
        1 => Just(Act::Restart),
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
    /// The last use was taken as such.
    over: bool,
    revoked: bool,
    reaped: bool,
}

#[derive(Default)]
struct Model {
    all: Vec<Known>,
    /// Seconds that went by.
    now: u64,
    /// Calls that go on, by lease.
    running: VecDeque<(usize, Reservation)>,
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
    // Never all zeros, which no virtual key has.
    let digest = model.all.len() as u8 + 1;
    let new = New { uses, ..lease(clock, uid, Kind::Virtual, seconds, digest) };
    let live = |uid: Option<u32>| model.count(|known| model.lives(known) && uid.is_none_or(|uid| uid == known.uid));
    let kept = |uid: Option<u32>| {
        model.count(|known| !known.revoked && !known.reaped && uid.is_none_or(|uid| uid == known.uid))
    };
    match ledger.enter(new, None) {
        Ok(id) => {
            assert!(live(None) < LEASES && live(Some(uid)) < LEASES_PER_UID, "no more than allowed");
            let ends = model.now + seconds;
            model.all.push(Known { id, digest, uid, ends, left: uses, over: false, revoked: false, reaped: false });
        }
        Err(_) => assert!(kept(None) >= LEASES || kept(Some(uid)) >= LEASES_PER_UID, "only what is full is full"),
    }
}

/// `before` so many others.
fn taken(ledger: &Ledger, model: &mut Model, before: usize, taking: Taking) -> Option<(usize, Reservation)> {
    let which = model.all.len().checked_sub(1 + before)?;
    let lives = model.lives(&model.all[which]);
    let known = &mut model.all[which];
    let taken = ledger.take_use(known.id, &Wanted { taking, ..Wanted::default() });
    let enough = if taking == Taking::Last { known.left == Some(1) } else { known.left != Some(0) };
    assert_eq!(taken.is_ok(), lives && enough, "{known:?}: {:?}", taken.as_ref().err());
    taken.ok().map(|taken| (which, taken))
}

/// The use is gone.
fn spend(model: &mut Model, which: usize) {
    let left = &mut model.all[which].left;
    *left = left.map(|left| left - 1);
}

/// The oldest call gives its use back: for nothing, where the last one was taken since.
fn lose(model: &mut Model) {
    if let Some((which, call)) = model.running.pop_front() {
        drop(call);
        let known = &mut model.all[which];
        known.left = known.left.map(|left| if known.over { left } else { left + 1 });
    }
}

/// What is over takes no room.
fn reaped(model: &mut Model) {
    let now = model.now;
    model.all.iter_mut().filter(|known| now >= known.ends).for_each(|known| known.reaped = true);
}

fn restarted(ledger: &Ledger, options: LedgerOptions, clock: &Clock) -> Ledger {
    let mut estate = Vec::new();
    ledger.leave("here", &mut estate).unwrap();
    let next = Ledger::new(options, clock.clone());
    next.inherit("here", &estate).unwrap();
    next
}

fn spent(model: &mut Model, (which, taken): (usize, Reservation)) {
    taken.settle(&Claim::default());
    spend(model, which);
}

fn play(acts: Vec<Act>) {
    let (clock, winder) = Clock::manual(1_000_000);
    let options = LedgerOptions { leases: LEASES, leases_per_uid: LEASES_PER_UID, narrowed_keys: 4 };
    let (mut ledger, mut model) = (Ledger::new(options, clock.clone()), Model::default());
    for act in acts {
        match act {
            Act::Mint { uid, seconds, uses } => mint(&ledger, &clock, &mut model, (uid, seconds, uses)),
            Act::Use(before) => {
                if let Some(call) = taken(&ledger, &mut model, before, Taking::Any) {
                    spent(&mut model, call);
                }
            }
            Act::Fail(before) => drop(taken(&ledger, &mut model, before, Taking::Any)),
            Act::Last(before) => {
                if let Some(call) = taken(&ledger, &mut model, before, Taking::Last) {
                    model.all[call.0].over = true;
                    spent(&mut model, call);
                }
            }
            Act::Begin(before) => {
                if let Some(begun) = taken(&ledger, &mut model, before, Taking::Any) {
                    spend(&mut model, begun.0);
                    model.running.push_back(begun);
                }
            }
            Act::Lose => lose(&mut model),
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
                reaped(&mut model);
            }
            Act::Restart => {
                (0..model.running.len()).for_each(|_| lose(&mut model));
                ledger = restarted(&ledger, options, &clock);
                reaped(&mut model);
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
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn the_ledger_is_what_a_plain_list_would_be(acts in prop::collection::vec(act(), 1..60)) {
        play(acts);
    }
}
