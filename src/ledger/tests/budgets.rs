//! What a lease, a principal and an owner may use: held, spent, given back.

use super::*;
use crate::model::{Per, Purse};

fn share(per: Per, tokens: Option<u64>, cost_micros: Option<u64>) -> Share {
    Share { purse: Purse::Owner, name: "ops".into(), per, tokens, cost_micros }
}

fn wanted(count: u64) -> Wanted<'static> {
    Wanted { claim: tokens(count), ..Wanted::default() }
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
