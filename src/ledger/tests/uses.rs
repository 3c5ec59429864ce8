//! Uses and tickets: who gets the last one, and what runs on a lease that ends.

use super::*;

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

#[test]
fn of_64_who_race_for_the_last_use_one_wins_a_thousand_times() {
    let (_, _winder, clock) = ledger(1, 1);
    let new = |digest| New { uses: Some(1), ..lease(&clock, 1, Kind::Virtual, 60, digest) };
    assert!(raced(new, &clock, Claim::default()).iter().all(|won| *won == 1));
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
