//! Leases: their ends, their owners, their lists, and how they are taken back.

use super::*;

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
