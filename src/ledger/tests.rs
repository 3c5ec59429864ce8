//! What the ledger promises, by a hand-wound clock.

use super::*;
use crate::model::{Budget, KeyName, Kind, Node, NodeId, Per, Purse};
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

#[test]
fn a_lease_is_over_at_its_deadline_even_before_the_reaper_comes() {
    let (ledger, winder, clock) = ledger(9, 9);
    ledger.enter(lease(&clock, 1, Kind::Virtual, 60, 7), None).unwrap();
    winder.advance(Duration::from_secs(59));
    assert!(ledger.held(&[7; 32]).is_ok());
    winder.advance(Duration::from_secs(1));
    assert!(ledger.held(&[7; 32]).is_err() && ledger.list(None, Ended::Left).is_empty());
    winder.advance(Duration::from_secs(1));
    assert_eq!((ledger.count(), ledger.reap(512)), (1, None));
    assert_eq!((ledger.count(), ledger.list(None, Ended::Shown)[0].state), (0, "expired"));
}

#[test]
fn a_jump_of_the_wall_clock_changes_no_deadline() {
    let (ledger, winder, clock) = ledger(9, 9);
    ledger.enter(lease(&clock, 1, Kind::Virtual, 60, 7), None).unwrap();
    winder.jump_wall(50 * 366 * 86_400);
    assert!(ledger.held(&[7; 32]).is_ok());
    winder.jump_wall(-100 * 366 * 86_400);
    winder.advance(Duration::from_secs(60));
    assert!(ledger.held(&[7; 32]).is_err());
}

#[test]
fn reaping_is_done_in_small_portions() {
    let (ledger, winder, clock) = ledger(9999, 9999);
    for n in 0..2000 {
        ledger.enter(lease(&clock, n % 7, Kind::Upstream, 1 + u64::from(n % 3), 0), None).unwrap();
    }
    winder.advance(Duration::from_secs(10));
    let mut rounds = 0;
    while ledger.count() > 0 {
        let before = ledger.count();
        ledger.reap(512);
        assert!(before - ledger.count() <= 512 && before > ledger.count());
        rounds += 1;
    }
    assert_eq!(rounds, 4);
}

#[test]
fn one_user_cannot_take_all_leases() {
    let (ledger, winder, clock) = ledger(3, 2);
    let enter = |uid| ledger.enter(lease(&clock, uid, Kind::Upstream, 5, 0), None);
    assert!(enter(1).is_ok() && enter(1).is_ok());
    assert_eq!(enter(1), Err(Full::Uid));
    assert!(enter(2).is_ok());
    assert_eq!(enter(2), Err(Full::All));
    winder.advance(Duration::from_secs(6));
    ledger.reap(512);
    assert!(enter(1).is_ok() && enter(1).is_ok() && enter(2).is_ok());
}

#[test]
fn revoking_tells_what_lives_on_upstream() {
    let (ledger, winder, clock) = ledger(9, 9);
    ledger.enter(lease(&clock, 1, Kind::Upstream, 60, 0), None).unwrap();
    ledger.enter(lease(&clock, 2, Kind::Upstream, 30, 0), None).unwrap();
    let id = ledger.enter(lease(&clock, 1, Kind::Virtual, 600, 9), None).unwrap();
    winder.advance(Duration::from_secs(19));
    assert_eq!(ledger.revoke(&Which::OwnId(id, 2)), Revoked::default(), "another user's lease is not theirs to end");
    assert_eq!(
        ledger.revoke(&Which::Peer("uid:2".parse().unwrap())),
        Revoked { leases: 1, upstream: 1, upstream_seconds: 11, unread: 0 }
    );
    let unknown = ledger.revoke(&Which::Peer("unit:ci.service".parse().unwrap()));
    assert_eq!(unknown, Revoked { unread: 2, ..Revoked::default() }, "nobody looked at the unit of these");
    assert_eq!(ledger.revoke(&Which::All), Revoked { leases: 2, upstream: 1, upstream_seconds: 41, unread: 0 });
    assert!(ledger.held(&[9; 32]).is_err());
    assert_eq!(ledger.revoke(&Which::Id(id)), Revoked::default(), "an id never comes to mean another lease");
}

#[tokio::test]
async fn a_hundred_thousand_are_revoked_at_once_and_others_are_served_meanwhile() {
    const REVOKED: usize = 100_000;
    let (ledger, _winder, clock) = ledger(REVOKED + 2, REVOKED);
    for _ in 0..REVOKED {
        ledger.enter(lease(&clock, 1, Kind::Upstream, 60, 0), None).unwrap();
    }
    let other = ledger.enter(lease(&clock, 2, Kind::Virtual, 60, 2), None).unwrap();
    let room = ledger.room(lease(&clock, 1, Kind::Virtual, 60, 1).terms);
    assert!(matches!(room, Err(Full::Uid)));
    let turns = async {
        let mut turns = 0;
        while ledger.count() > 1 {
            // As a caller's call does, between any two portions.
            drop(ledger.take_use(other, &Wanted::default()).unwrap());
            turns += 1;
            tokio::task::yield_now().await;
        }
        turns
    };
    let of_one = Which::Peer("uid:1".parse().unwrap());
    let (revoked, turns) = tokio::join!(biased; ledger.revoke_many(&of_one), turns);
    assert_eq!((revoked.leases, revoked.upstream, ledger.count()), (REVOKED, REVOKED, 1));
    assert!(turns >= REVOKED / 512, "others had {turns} turns");
}

#[tokio::test]
async fn a_revocation_that_nobody_waits_for_is_done_all_the_same() {
    let (ledger, _winder, clock) = ledger(2000, 2000);
    for _ in 0..2000 {
        ledger.enter(lease(&clock, 1, Kind::Upstream, 60, 0), None).unwrap();
    }
    let all = Which::All;
    let given_up = tokio::select! {
        biased;
        _ = ledger.revoke_many(&all) => false,
        () = std::future::ready(()) => true,
    };
    assert!(given_up && ledger.count() == 0);
}

#[test]
fn what_takes_back_leases_takes_back_those_that_are_being_minted() {
    let (ledger, _winder, clock) = ledger(2, 2);
    let new = |uid| lease(&clock, uid, Kind::Virtual, 60, uid as u8);
    let room = |uid| ledger.room(new(uid).terms).unwrap();
    let of_two = Which::Peer("uid:2".parse().unwrap());
    for (which, meant) in [(Which::All, 2), (Which::Key("dashscope/main".parse().unwrap()), 2), (of_two, 1)] {
        let (one, two) = (room(1), room(2));
        assert_eq!(ledger.revoke(&which), Revoked { leases: meant, ..Revoked::default() }, "{which:?}");
        assert_eq!(two.enter(new(2), None), Err(Full::Revoked));
        assert_eq!(one.enter(new(1), None).is_err(), meant == 2, "{which:?}");
        ledger.revoke(&Which::All);
        assert!(ledger.room(new(1).terms).unwrap().enter(new(1), None).is_ok(), "who asks anew is served");
        ledger.revoke(&Which::All);
    }
    let rooms = [room(3), room(3)];
    ledger.cut_all();
    assert!(room(3).enter(new(3), None).is_ok(), "what was taken back keeps nobody's place");
    let ended = rooms.map(|room| room.enter(new(3), None));
    assert_eq!((ended, ledger.count()), ([Err(Full::Revoked); 2], 1));
    let others = [Which::Key("dashscope/other".parse().unwrap()), Which::Peer("unit:ci.service".parse().unwrap())];
    let kept = room(3);
    assert_eq!(others.map(|which| ledger.revoke(&which).unread), [0, 2]);
    assert!(kept.enter(new(4), None).is_ok());
    ledger.revoke(&Which::All);
    let (old, mut new_rules) = (room(3), room(3));
    assert_eq!(ledger.retire(|_| true), 0);
    assert_eq!(old.enter(new(5), None), Err(Full::Rules));
    new_rules.renew();
    assert!(new_rules.enter(new(5), None).is_ok(), "it was judged by the rules of now");
}

#[tokio::test]
async fn virtual_leases_die_with_their_owner_and_upstream_ones_stay_listed() {
    let (ledger, _winder, clock) = ledger(9, 9);
    let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
    let process = || {
        let pidfd = crate::sys::pidfd::Pidfd::open(child.id() as i32).unwrap();
        Process { pidfd: Arc::new(pidfd), pid: child.id() }
    };
    let one = process();
    let two = process();
    let third = process();
    for digest in 1..4 {
        ledger.enter(lease(&clock, 1, Kind::Virtual, 60, digest), None).unwrap();
    }
    ledger.enter(lease(&clock, 1, Kind::Virtual, 60, 10), Some(one)).unwrap();
    ledger.enter(lease(&clock, 1, Kind::Virtual, 60, 11), Some(two)).unwrap();
    ledger.enter(lease(&clock, 1, Kind::Upstream, 60, 0), Some(third)).unwrap();
    child.kill().unwrap();
    for _ in 0..100 {
        tokio::time::sleep(Duration::from_millis(1)).await;
        if ledger.held(&[10; 32]).is_err() && ledger.held(&[11; 32]).is_err() {
            break;
        }
    }
    child.wait().unwrap();
    assert!(ledger.held(&[10; 32]).is_err() && ledger.held(&[11; 32]).is_err());
    assert!(ledger.held(&[1; 32]).is_ok(), "leases without an owner, or of others, live on");
    assert_eq!(ledger.count(), 4);
}

#[tokio::test]
async fn a_process_without_leases_is_let_go() {
    let (ledger, winder, clock) = ledger(9, 9);
    let own = || {
        let pidfd = crate::sys::pidfd::Pidfd::open(std::process::id() as i32).unwrap();
        Process { pidfd: Arc::new(pidfd), pid: std::process::id() }
    };
    let (one, two) = (own(), own());
    let id = ledger.enter(lease(&clock, 1, Kind::Virtual, 60, 1), Some(one.clone())).unwrap();
    ledger.enter(lease(&clock, 1, Kind::Upstream, 5, 0), Some(two.clone())).unwrap();
    assert_eq!(ledger.book().owners.count(), 1, "both handles are one process");
    ledger.revoke(&Which::Id(id));
    assert_eq!(ledger.book().owners.count(), 1);
    winder.advance(Duration::from_secs(6));
    ledger.reap(512);
    assert_eq!(ledger.book().owners.count(), 0);
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!([Arc::strong_count(&one.pidfd), Arc::strong_count(&two.pidfd)], [1; 2], "nobody waits for its end");
    ledger.enter(lease(&clock, 1, Kind::Virtual, 60, 2), Some(one)).unwrap();
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert!(ledger.held(&[2; 32]).is_ok(), "it may come back");
}

#[test]
fn a_users_list_is_as_long_as_the_users_leases() {
    let (ledger, winder, clock) = ledger(200_000, 200_000);
    for n in 0..150_000_u32 {
        let new = lease(&clock, 7 + n % 2, Kind::Virtual, 60 + u64::from(n % 60), 0);
        ledger.enter(New { digest: Some(wide(n)), ..new }, None).unwrap();
    }
    let ids: Vec<_> =
        (0..5).map(|n| ledger.enter(lease(&clock, 1, Kind::Upstream, 10 + n, 0), None).unwrap()).collect();
    ledger.revoke(&Which::Id(ids[2]));
    winder.advance(Duration::from_secs(10));
    let (watch, began) = (Clock::system(), Clock::system().boot());
    for _ in 0..100 {
        let listed: Vec<_> = ledger.list(Some(1), Ended::Left).iter().map(|summary| summary.id).collect();
        assert_eq!(listed, [ids[4], ids[3], ids[1]]);
    }
    let took = watch.boot().since(began);
    assert!(took < Duration::from_millis(50), "others' leases are walked: {took:?}");
    ledger.revoke(&Which::All);
    assert!(ledger.list(Some(1), Ended::Left).is_empty() && ledger.count() == 0);
}

#[test]
fn no_list_forgets_or_keeps_a_lease_that_it_should_not() {
    let (ledger, winder, clock) = ledger(10_000, 10_000);
    let mut ids = Vec::new();
    for n in 0..5000_u32 {
        let new = lease(&clock, n % 3, Kind::Virtual, 1 + u64::from(n % 50), (n % 251) as u8);
        ids.push(ledger.enter(New { digest: Some(wide(n)), ..new }, None).unwrap());
        if n % 4 == 0 {
            let at = (n as usize * 7919) % ids.len();
            ledger.revoke(&Which::Id(ids.swap_remove(at)));
        }
        if n % 1000 == 0 {
            winder.advance(Duration::from_secs(3));
            ledger.reap(512);
        }
    }
    winder.advance(Duration::from_secs(100));
    while ledger.reap(512).is_some() {}
    assert_eq!(ledger.count(), 0);
    assert!((0..5000).all(|n| ledger.held(&wide(n)).is_err()));
    assert_eq!(ledger.book().deadlines.entries(), 0);
}

#[test]
fn a_lease_that_ends_early_leaves_no_deadline_behind_for_long() {
    let (ledger, winder, clock) = ledger(10_000, 10_000);
    let within = || {
        let book = ledger.book();
        book.deadlines.entries() <= 2 * book.count()
    };
    let mut ids = std::collections::VecDeque::new();
    for n in 0..20_000_u32 {
        // Many of one second, whose slots are taken again and again, and some of others.
        let seconds = if n % 3 == 0 { 1800 + u64::from(n % 7) } else { 1800 };
        let new = lease(&clock, 1, Kind::Virtual, seconds, 0);
        ids.push_back(ledger.enter(New { digest: Some(wide(n)), ..new }, None).unwrap());
        if ids.len() > 100 {
            let at = n as usize * 7919 % ids.len();
            ledger.revoke(&Which::Id(ids.swap_remove_back(at).unwrap()));
        }
        assert!(within(), "{n}");
    }
    winder.advance(Duration::from_secs(1800));
    assert!(ledger.reap(3).is_some() && within());
    ledger.revoke(&Which::All);
    assert_eq!(ledger.count(), 0);
    assert_eq!(ledger.book().deadlines.entries(), 0);
}

fn wide(n: u32) -> [u8; 32] {
    let mut digest = [0; 32];
    digest[..4].copy_from_slice(&n.to_le_bytes());
    digest[8] = 1;
    digest
}

#[test]
fn the_last_use_is_taken_once() {
    let (ledger, winder, clock) = ledger(9, 9);
    let new = lease(&clock, 1, Kind::Virtual, 60, 7);
    let id = ledger.enter(New { uses: Some(2), ..new }, None).unwrap();
    let take = || ledger.take_use(id, &Wanted::default());
    let spend = || take().map(|taken| taken.settle(&Claim::default()));
    drop(take().unwrap());
    assert!(spend().is_ok() && spend().is_ok());
    assert_eq!(spend().err(), Some(Spent::Exhausted));
    winder.advance(Duration::from_secs(60));
    assert_eq!(spend().err(), Some(Spent::Expired));
    ledger.reap(9);
    assert_eq!(
        (ledger.held(&[7; 32]).err(), ledger.held(&[8; 32]).err()),
        (Some(Spent::Expired), Some(Spent::Unknown))
    );
}

#[test]
fn a_use_that_comes_back_lets_no_second_call_out_beside_the_last_one() {
    let (ledger, _, clock) = ledger(9, 9);
    let new = lease(&clock, 1, Kind::Virtual, 60, 7);
    let id = ledger.enter(New { uses: Some(2), ..new }, None).unwrap();
    let take = |taking| ledger.take_use(id, &Wanted { taking, ..Wanted::default() });
    assert_eq!(take(Taking::Last).err(), Some(Spent::NotLast), "two are left");
    let first = take(Taking::Any).unwrap();
    let last = take(Taking::Last).unwrap();
    drop(first);
    assert_eq!(take(Taking::Any).err(), Some(Spent::Exhausted), "the last one was the last one");
    assert_eq!(take(Taking::Last).err(), Some(Spent::Exhausted));
    assert_eq!(ledger.list(None, Ended::Left)[0].uses_left, Some(0));
    drop(last);
    take(Taking::Last).unwrap().settle(&Claim::default());
    let unbounded = ledger.enter(lease(&clock, 1, Kind::Virtual, 60, 8), None).unwrap();
    let last = Wanted { taking: Taking::Last, ..Wanted::default() };
    assert_eq!(ledger.take_use(unbounded, &last).err(), Some(Spent::NotLast), "it has no last one");
}

#[tokio::test]
async fn whatever_ends_a_lease_cuts_what_runs_on_it() {
    let (ledger, winder, clock) = ledger(9, 9);
    let enter = |digest| ledger.enter(lease(&clock, 1, Kind::Virtual, 60, digest), None).unwrap();
    let (one, two, three) = (enter(1), enter(2), enter(3));
    let [mut first, mut second, mut third] =
        [one, two, three].map(|id| ledger.take_use(id, &Wanted::default()).unwrap().cut());
    async fn runs(cut: &mut Cut) -> bool {
        tokio::time::timeout(Duration::from_millis(1), cut.wait()).await.is_err()
    }
    assert!(runs(&mut first).await && runs(&mut second).await && runs(&mut third).await);
    ledger.revoke(&Which::Id(one));
    assert!(!runs(&mut first).await && runs(&mut second).await);
    ledger.cut_all();
    assert!(!runs(&mut second).await && !runs(&mut third).await);
    let mut again = ledger.take_use(three, &Wanted::default()).unwrap().cut();
    assert!(runs(&mut again).await, "a lease outlives the cut of a lock");
    winder.advance(Duration::from_secs(61));
    ledger.reap(9);
    assert!(!runs(&mut again).await);
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

#[test]
fn of_64_who_race_for_the_last_use_one_wins_a_thousand_times() {
    let (_, _winder, clock) = ledger(1, 1);
    let new = |digest| New { uses: Some(1), ..lease(&clock, 1, Kind::Virtual, 60, digest) };
    assert!(raced(new, &clock, Claim::default()).iter().all(|won| *won == 1));
}

#[test]
fn of_64_who_race_for_the_last_tokens_as_many_win_as_they_are_enough_for() {
    let (_, _winder, clock) = ledger(1, 1);
    for (tokens, cost, winners) in [(100, 1000, 1), (799, 1000, 7), (9999, 50, 10)] {
        let new = |digest| {
            let budget = Budget { tokens: Some(tokens), cost_micros: Some(cost), per: Per::Lease, ..Budget::default() };
            bounded(lease(&clock, 1, Kind::Virtual, 60, digest), budget)
        };
        let won = raced(new, &clock, Claim { tokens: 100, cost_micros: 5 });
        assert!(won.iter().all(|won| *won == winners), "{winners}: {won:?}");
    }
}

fn share(per: Per, tokens: Option<u64>, cost_micros: Option<u64>) -> Share {
    Share { purse: Purse::Owner, name: "ops".into(), per, tokens, cost_micros }
}

#[test]
fn of_64_principals_who_race_for_the_last_of_their_owners_budget_as_many_win_as_it_is_enough_for() {
    const RACERS: u32 = 64;
    for (share, winners) in [(share(Per::Day, Some(799), None), 7), (share(Per::Month, None, Some(50)), 10)] {
        let (ledger, _winder, clock) = ledger(99, 99);
        let enter = |uid| ledger.enter(lease(&clock, uid, Kind::Virtual, 60, uid as u8), None).unwrap();
        let leases: Vec<LeaseId> = (0..RACERS).map(enter).collect();
        let wanted = Wanted { claim: Claim { tokens: 100, cost_micros: 5 }, shares: &[share], ..Wanted::default() };
        let start = std::sync::Barrier::new(leases.len());
        let race = |id: &LeaseId| {
            start.wait();
            ledger.take_use(*id, &wanted).map(|taken| taken.settle(&wanted.claim)).is_ok()
        };
        let won = std::thread::scope(|scope| {
            let all: Vec<_> = leases.iter().map(|id| scope.spawn(move || race(id))).collect();
            all.into_iter().map(|one| one.join().unwrap()).filter(|won| *won).count()
        });
        assert_eq!(won, winners);
    }
}

#[test]
fn of_64_who_race_for_the_last_ticket_one_wins_a_thousand_times_and_the_lease_ends() {
    let (_, _winder, clock) = ledger(1, 1);
    let ledger = Ledger::new(LedgerOptions { leases: 9, leases_per_uid: 9, narrowed_keys: 4 }, clock.clone());
    let new = |n: u8| New { digest: None, ticket: Some([n; 32]), ..lease(&clock, 1, Kind::Virtual, 60, 0) };
    let race = |round: usize, id: LeaseId| {
        let ticket = [round as u8; 32];
        // Each looks first, as the broker does; whoever is too late for that hears that it is over.
        let held = ledger.ticketed(&ticket)?;
        assert_eq!(held.lease, id);
        ledger.redeem(id, wide(round as u32), [0; 16])
    };
    let won = crowded(&ledger, |n| ledger.enter(new(n), None).unwrap(), race);
    assert!(won.iter().all(|won| *won == 1), "{won:?}");
    assert!((0..1000).all(|n| ledger.held(&wide(n)).err() != Some(Spent::Exhausted)));
    assert_eq!(ledger.count(), 0, "the other 63 ended every one of them");
}

#[test]
fn a_lease_with_a_ticket_has_no_key_before_it_is_redeemed_and_none_after_the_second_time() {
    let (ledger, winder, clock) = ledger(9, 9);
    let new = |ticket: u8| New { digest: None, ticket: Some([ticket; 32]), ..lease(&clock, 1, Kind::Virtual, 60, 0) };
    let (one, two) = (ledger.enter(new(1), None).unwrap(), ledger.enter(new(2), None).unwrap());
    assert_eq!(ledger.held(&[1; 32]).err(), Some(Spent::Unknown), "a ticket is no key");
    assert_eq!(ledger.held(&[0; 32]).err(), Some(Spent::Unknown), "nor is nothing");
    assert_eq!(ledger.ticketed(&[3; 32]).err(), Some(Spent::Unknown));
    assert_eq!((ledger.ticketed(&[1; 32]).unwrap().lease, ledger.redeem(one, [7; 32], [0; 16])), (one, Ok(())));
    assert_eq!(ledger.held(&[7; 32]).unwrap().lease, one);
    assert!(ledger.ticketed(&[1; 32]).is_ok(), "it is remembered");
    assert_eq!(ledger.redeem(one, [8; 32], [0; 16]), Err(Spent::Redeemed));
    assert_eq!(
        (ledger.held(&[7; 32]).err(), ledger.held(&[8; 32]).err()),
        (Some(Spent::Revoked), Some(Spent::Unknown))
    );
    assert_eq!(ledger.ticketed(&[1; 32]).err(), Some(Spent::Revoked));
    winder.advance(Duration::from_secs(60));
    assert_eq!(
        (ledger.ticketed(&[2; 32]).err(), ledger.redeem(two, [9; 32], [0; 16])),
        (Some(Spent::Expired), Err(Spent::Expired))
    );
    winder.advance(Duration::from_secs(1));
    ledger.reap(9);
    assert_eq!(ledger.ticketed(&[2; 32]).err(), Some(Spent::Expired));
}

#[test]
fn a_lease_for_somebody_is_found_by_whom_it_is_for() {
    let (ledger, _winder, clock) = ledger(9, 9);
    let new = lease(&clock, 1, Kind::Virtual, 60, 1);
    let terms = Terms { recipient: "unit:job.service".parse().ok(), ..(*new.terms).clone() };
    ledger.enter(New { terms: Arc::new(terms), ..new }, None).unwrap();
    ledger.enter(lease(&clock, 1, Kind::Virtual, 60, 2), None).unwrap();
    let revoked = ledger.revoke(&Which::Peer("unit:job.service".parse().unwrap()));
    assert_eq!((revoked.leases, revoked.unread), (1, 1), "of the other nobody knows");
    let id = ledger.held(&[2; 32]).unwrap().lease;
    assert!(ledger.freeze(id) && !ledger.freeze(id));
    assert_eq!(ledger.held(&[2; 32]).err(), Some(Spent::Revoked));
    assert_eq!(ledger.list(None, Ended::Shown).last().unwrap().state, "frozen");
}

fn bounded(new: New, budget: Budget) -> New {
    New { terms: Arc::new(Terms { budget, ..(*new.terms).clone() }), ..new }
}

fn wanted(count: u64) -> Wanted<'static> {
    Wanted { claim: tokens(count), ..Wanted::default() }
}

fn tokens(tokens: u64) -> Claim {
    Claim { tokens, ..Claim::default() }
}

#[test]
fn what_was_held_and_not_used_comes_back() {
    let (ledger, winder, clock) = ledger(9, 9);
    let enter = |uid, digest, per| {
        let budget = Budget { tokens: Some(100), per, ..Budget::default() };
        ledger.enter(bounded(lease(&clock, uid, Kind::Virtual, 200_000, digest), budget), None).unwrap()
    };
    let over = |id, count| ledger.take_use(id, &wanted(count)).err();
    let one = enter(1, 1, Per::Lease);
    let first = ledger.take_use(one, &wanted(60)).unwrap();
    assert_eq!(over(one, 50), Some(Spent::Over(Over::Held)), "it may come back");
    drop(first);
    ledger.take_use(one, &wanted(90)).unwrap().settle(&tokens(30));
    let mut grows = ledger.take_use(one, &wanted(50)).unwrap();
    assert!(grows.cover(&tokens(70)) && !grows.cover(&tokens(71)) && grows.cover(&tokens(5)));
    grows.settle(&tokens(90));
    assert_eq!(over(one, 1), Some(Spent::Over(Over::Lease)), "what was used counts, though it is more than was held");
    assert_eq!(over(enter(1, 2, Per::Lease), 100), None, "another lease has a budget of its own");
    let (day, again, others) = (enter(1, 3, Per::Day), enter(1, 4, Per::Day), enter(2, 5, Per::Day));
    ledger.take_use(day, &wanted(100)).unwrap().settle(&tokens(100));
    let wait = crate::model::Day::left(clock.wall());
    assert_eq!(over(again, 1), Some(Spent::Over(Over::Window(Per::Day, wait))), "a new lease is no new day");
    assert_eq!(over(others, 100), None);
    let restarted = Ledger::new(LedgerOptions { leases: 9, leases_per_uid: 9, narrowed_keys: 4 }, clock.clone());
    restarted.restore(ledger.spendings());
    let budget = Budget { tokens: Some(100), ..Budget::default() };
    let id = restarted.enter(bounded(lease(&clock, 1, Kind::Virtual, 60, 1), budget), None).unwrap();
    assert!(restarted.take_use(id, &wanted(1)).is_err(), "nor is a restart");
    winder.advance(Duration::from_secs(u64::from(wait)));
    assert_eq!(over(again, 100), None);
}

#[test]
fn what_is_shared_is_spent_by_all_and_lasts_to_the_months_end() {
    let (ledger, winder, clock) = ledger(9, 9);
    let enter =
        |ledger: &Ledger, uid| ledger.enter(lease(&clock, uid, Kind::Virtual, 40 * 86_400, uid as u8), None).unwrap();
    let (one, two) = (enter(&ledger, 1), enter(&ledger, 2));
    // Two bounds of the same are one account, and the tighter one holds.
    let shares =
        [share(Per::Month, Some(900), None), share(Per::Month, Some(100), None), share(Per::Day, Some(70), None)];
    let take = |ledger: &Ledger, id, count| {
        ledger.take_use(id, &Wanted { claim: tokens(count), shares: &shares, ..Wanted::default() })
    };
    drop(take(&ledger, one, 60).unwrap());
    take(&ledger, one, 60).unwrap().settle(&tokens(60));
    let no = |ledger: &Ledger, id, count| take(ledger, id, count).err();
    assert_eq!(no(&ledger, two, 20), Some(Spent::Over(Over::Shared(Purse::Owner, Per::Day))), "whoever asks");
    winder.advance(Duration::from_secs(86_400));
    assert_eq!(no(&ledger, two, 50), Some(Spent::Over(Over::Shared(Purse::Owner, Per::Month))), "the day is another");
    let mut runs = take(&ledger, two, 30).unwrap();
    assert!(runs.cover(&tokens(40)) && !runs.cover(&tokens(41)), "what runs is cut there");
    runs.settle(&tokens(40));
    let restarted = Ledger::new(LedgerOptions { leases: 9, leases_per_uid: 9, narrowed_keys: 4 }, clock.clone());
    restarted.restore(ledger.spendings());
    let again = enter(&restarted, 3);
    assert_eq!(no(&restarted, again, 1), Some(Spent::Over(Over::Shared(Purse::Owner, Per::Month))));
    winder.advance(Duration::from_secs(19 * 86_400));
    assert_eq!((no(&ledger, one, 70), no(&restarted, again, 70)), (None, None), "the next month");
}

#[test]
fn calls_are_bounded_in_time_and_at_a_time() {
    let (ledger, _winder, clock) = ledger(9, 9);
    let budget = Budget { concurrent: Some(2), calls: "3/min".parse().ok(), ..Budget::default() };
    let enter = |digest| ledger.enter(bounded(lease(&clock, 1, Kind::Virtual, 60, digest), budget), None).unwrap();
    let (one, two) = (enter(1), enter(2));
    let take = |id| ledger.take_use(id, &Wanted::default());
    let (first, second) = (take(one).unwrap(), take(two).unwrap());
    assert_eq!(take(two).err(), Some(Spent::Over(Over::Running)), "the bound is the principal's, not the lease's");
    first.settle(&Claim::default());
    drop(second);
    assert!(take(one).is_ok());
    assert!(matches!(take(one).err(), Some(Spent::Over(Over::Rate(1..)))));
}

fn node(name: u8) -> Node {
    [name; 8]
}

fn chain(steps: &[(u8, Option<u32>)]) -> Chain {
    Chain { steps: steps.iter().map(|(name, most)| (node(*name), *most)).collect(), until: None }
}

#[test]
fn a_narrower_keys_uses_are_its_own_and_its_ancestors() {
    let (ledger, winder, clock) = ledger(9, 9);
    let id = ledger.enter(lease(&clock, 1, Kind::Virtual, 60, 7), None).unwrap();
    let take = |steps: &[(u8, Option<u32>)]| ledger.take_narrowed(id, chain(steps), &Wanted::default());
    let spend = |steps: &[(u8, Option<u32>)]| take(steps).map(|taken| taken.settle(&Claim::default())).err();
    let (mother, son, daughter) = ((1, Some(3)), (2, Some(2)), (3, None));
    drop(take(&[mother, son]).unwrap());
    assert_eq!([(); 2].map(|()| spend(&[mother, son])), [None; 2], "what came to nothing was given back");
    assert_eq!(spend(&[mother, son]), Some(Spent::Exhausted), "the son's are gone");
    assert_eq!(
        (spend(&[mother, daughter]), spend(&[mother, daughter])),
        (None, Some(Spent::Exhausted)),
        "the mother's"
    );
    assert_eq!((spend(&[mother]), spend(&[])), (Some(Spent::Exhausted), None));
    let until = |seconds| Chain { until: Some(clock.boot().plus(Duration::from_secs(seconds))), ..Chain::default() };
    let (soon, later) = (until(5), until(100));
    let spend = |chain: &Chain| ledger.take_narrowed(id, chain.clone(), &Wanted::default()).err();
    assert_eq!((spend(&soon), spend(&later)), (None, None));
    winder.advance(Duration::from_secs(5));
    assert_eq!((spend(&soon), spend(&later)), (Some(Spent::Expired), None));
    winder.advance(Duration::from_secs(55));
    assert_eq!(spend(&later), Some(Spent::Expired), "the child never outlives its lease");
}

#[tokio::test]
async fn what_runs_on_a_lease_ends_with_it_to_the_moment_and_not_a_second_later() {
    let (ledger, winder, clock) = ledger(9, 9);
    winder.advance(Duration::from_millis(300));
    let id = ledger.enter(lease(&clock, 1, Kind::Virtual, 5, 7), None).unwrap();
    let running = ledger.take_narrowed(id, Chain::default(), &Wanted::default()).unwrap();
    let mut cut = running.cut();
    winder.advance(Duration::from_millis(4999));
    assert_eq!(ledger.reap(512), Some(clock.boot().plus(Duration::from_millis(1))), "the reaper looks at that moment");
    assert!(tokio::time::timeout(Duration::from_millis(1), cut.wait()).await.is_err() && !cut.is_over());
    winder.advance(Duration::from_millis(1));
    ledger.reap(512);
    assert!(tokio::time::timeout(Duration::from_millis(1), cut.wait()).await.is_ok() && cut.is_over());
}

#[tokio::test]
async fn a_narrower_keys_end_cuts_by_the_clock_that_counts_sleep() {
    let (ledger, winder, clock) = ledger(9, 9);
    let id = ledger.enter(lease(&clock, 1, Kind::Virtual, 60, 7), None).unwrap();
    let until = |seconds| Chain { until: Some(clock.boot().plus(Duration::from_secs(seconds))), ..Chain::default() };
    let take = |chain| ledger.take_narrowed(id, chain, &Wanted::default()).unwrap();
    let (short, long, over) = (take(until(5)), take(until(9)), take(until(3)));
    over.settle(&Claim::default());
    let (mut soon, mut later, mut own) = (short.cut(), long.cut(), take(Chain::default()).cut());
    async fn runs(cut: &mut Cut) -> bool {
        tokio::time::timeout(Duration::from_millis(1), cut.wait()).await.is_err()
    }
    assert!(runs(&mut soon).await && runs(&mut later).await && runs(&mut own).await);
    // As if the machine had slept: no other clock has moved.
    winder.advance(Duration::from_secs(5));
    assert_eq!(ledger.reap(512), Some(clock.boot().plus(Duration::from_secs(4))), "the next one's");
    assert!(!runs(&mut soon).await && soon.is_over());
    assert!(runs(&mut later).await && runs(&mut own).await);
    drop((short, long));
    assert_eq!(ledger.reap(512), Some(clock.boot().plus(Duration::from_secs(55))), "what has ended is forgotten");
}

#[tokio::test]
async fn a_revoked_node_takes_its_subtree_along_and_nobody_else() {
    let (ledger, _winder, clock) = ledger(9, 9);
    let id = ledger.enter(lease(&clock, 1, Kind::Virtual, 60, 7), None).unwrap();
    let take = |steps: &[u8]| {
        let steps: Vec<_> = steps.iter().map(|name| (*name, None)).collect();
        ledger.take_narrowed(id, chain(&steps), &Wanted::default())
    };
    let mut cuts = [&[][..], &[1], &[1, 2], &[1, 2, 3], &[1, 4]].map(|steps| take(steps).unwrap().cut());
    let revoke = |name, uid| ledger.revoke(&Which::Node(NodeId { mark: [7; 16], node: node(name) }, uid)).leases;
    assert_eq!((revoke(2, Some(2)), revoke(2, Some(1)), revoke(2, Some(1))), (0, 1, 0), "its user alone, and once");
    let mut ended = Vec::new();
    for cut in &mut cuts {
        ended.push(tokio::time::timeout(Duration::from_millis(1), cut.wait()).await.is_ok());
    }
    assert_eq!(ended, [false, false, true, true, false], "what runs on the subtree is cut");
    assert_eq!((take(&[1, 2]).err(), take(&[1, 2, 9]).err()), (Some(Spent::Revoked), Some(Spent::Revoked)));
    assert!(take(&[1, 4]).is_ok() && take(&[2, 1]).is_err() && ledger.held(&[7; 32]).is_ok());
    assert_eq!(ledger.revoke(&Which::Node(NodeId { mark: [8; 16], node: node(1) }, None)).leases, 0);
}

#[test]
fn of_narrower_keys_so_many_are_remembered_and_a_revocation_is_never_forgotten() {
    let (ledger, _winder, clock) = ledger(9, 9);
    let id = ledger.enter(lease(&clock, 1, Kind::Virtual, 60, 7), None).unwrap();
    let spend = |steps: &[(u8, Option<u32>)]| {
        ledger.take_narrowed(id, chain(steps), &Wanted::default()).map(|taken| taken.settle(&Claim::default())).err()
    };
    assert_eq!((1..=3).filter_map(|name| spend(&[(name, Some(9))])).next(), None);
    assert_eq!(spend(&[(4, Some(9)), (5, Some(9))]), Some(Spent::Crowded), "two more are one too many");
    assert_eq!(spend(&[(4, None), (5, Some(9))]), None);
    assert_eq!(
        (spend(&[(6, Some(9))]), spend(&[(6, None)]), spend(&[(1, Some(9))])),
        (Some(Spent::Crowded), None, None)
    );
    let revoked = ledger.revoke(&Which::Node(NodeId { mark: [7; 16], node: node(6) }, None));
    assert_eq!((revoked.leases, ledger.held(&[7; 32]).err()), (1, Some(Spent::Revoked)), "rather the whole lease ends");
}

#[test]
fn of_64_who_race_for_a_narrower_keys_last_use_one_wins_a_thousand_times() {
    let (_, _winder, clock) = ledger(1, 1);
    let ledger = Ledger::new(LedgerOptions { leases: 9, leases_per_uid: 9, narrowed_keys: 4 }, clock.clone());
    let enter = |digest| ledger.enter(lease(&clock, 1, Kind::Virtual, 60, digest), None).unwrap();
    let race = |_, id| {
        let taken = ledger.take_narrowed(id, chain(&[(1, Some(9)), (2, Some(1))]), &Wanted::default());
        taken.map(|taken| taken.settle(&Claim::default()))
    };
    assert!(crowded(&ledger, enter, race).iter().all(|won| *won == 1));
}
