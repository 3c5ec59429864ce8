//! Narrower keys: their uses, their ends, and how they are taken back.

use super::*;
use crate::model::{Node, NodeId};

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
