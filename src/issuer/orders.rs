//! Shared flights in every order in which loops can come to their lock: loom tries them all (`.ci/run`). They are the
//! flights themselves and no picture of them; what is here is who boards, lands and forgets.

use super::{
    flight::{
        Boarding, Flights, Landed, Place,
        tests::{landed, permit},
    },
    upstream::wait,
};
use crate::clock::Boottime;
use loom::{
    future::block_on,
    sync::atomic::{AtomicUsize, Ordering},
    thread::spawn,
};
use std::{sync::Arc, time::Duration};

const NOW: Boottime = Boottime::from_nanos(1);
const SHARED: Option<Duration> = Some(Duration::from_secs(15));

/// What a caller does, and the token it has from it. `calls` are under way at this moment, and all there were.
fn ask(flights: &Flights, shared: Option<Duration>, calls: &[AtomicUsize; 2]) -> Arc<Landed> {
    let permit = permit(NOW, shared);
    let place = Place::of(&permit);
    match flights.board(&place, &permit, NOW) {
        Boarding::Kept(landed) => landed,
        Boarding::Wait(seat) => block_on(wait(seat)).expect("whoever waits is told"),
        Boarding::Fly(tell, seat) => {
            assert_eq!(calls[0].fetch_add(1, Ordering::SeqCst), 0, "two calls at once");
            calls[1].fetch_add(1, Ordering::SeqCst);
            calls[0].fetch_sub(1, Ordering::SeqCst);
            flights.land(&place, &permit, landed(NOW), &tell);
            block_on(wait(seat)).expect("whoever flew is told too")
        }
    }
}

/// Everybody asks once, at one moment. Gives how many calls were made of it.
fn asked_together(askers: usize, shared: Option<Duration>) -> usize {
    let (flights, calls) = (Flights::default(), Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]));
    let asker = || {
        let (flights, calls) = (flights.clone(), calls.clone());
        spawn(move || drop(ask(&flights, shared, &calls)))
    };
    let others: Vec<_> = (1..askers).map(|_| asker()).collect();
    ask(&flights, shared, &calls);
    others.into_iter().for_each(|other| other.join().unwrap());
    calls[1].load(Ordering::SeqCst)
}

#[test]
fn all_who_ask_while_a_token_is_shared_make_one_call() {
    loom::model(|| assert_eq!(asked_together(2, SHARED), 1));
}

#[test]
fn who_ask_for_tokens_of_their_own_call_one_after_the_other() {
    loom::model(|| assert!((1..=2).contains(&asked_together(2, None))));
}

#[test]
fn a_token_that_was_forgotten_while_it_was_minted_is_shared_with_nobody() {
    loom::model(|| {
        let (flights, permit) = (Flights::default(), permit(NOW, SHARED));
        let place = Place::of(&permit);
        let Boarding::Fly(tell, seat) = flights.board(&place, &permit, NOW) else { unreachable!() };
        let other = flights.clone();
        // A lock, a rotation, a reload.
        let forget = spawn(move || other.forget());
        flights.land(&place, &permit, landed(NOW), &tell);
        forget.join().unwrap();
        assert!(block_on(wait(seat)).is_ok(), "who waited for it has it");
        assert!(matches!(flights.board(&place, &permit, NOW), Boarding::Fly(..)));
    });
}

#[test]
fn an_old_flight_never_lands_in_the_place_of_a_new_one() {
    loom::model(|| {
        let (flights, permit) = (Flights::default(), Arc::new(permit(NOW, SHARED)));
        let place = Place::of(&permit);
        let Boarding::Fly(old, _) = flights.board(&place, &permit, NOW) else { unreachable!() };
        let (later, with, there) = (flights.clone(), permit.clone(), place.clone());
        let again = spawn(move || {
            later.forget();
            let Boarding::Fly(new, _) = later.board(&there, &with, NOW) else { unreachable!() };
            let token = landed(NOW);
            later.land(&there, &with, token.clone(), &new);
            token.unwrap()
        });
        flights.land(&place, &permit, landed(NOW), &old);
        let new = again.join().unwrap();
        let Boarding::Kept(kept) = flights.board(&place, &permit, NOW) else { unreachable!() };
        assert!(Arc::ptr_eq(&kept, &new));
    });
}
