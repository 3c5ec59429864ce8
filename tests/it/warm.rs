//! The connection to the provider that is kept ready: it saves a handshake and never costs a mint.

use crate::harness::{MINE, SECOND, UPSTREAM, World, soon};
use sixty::demo::studio::Fault;
use std::time::Duration;

/// Waits until so many connections were made, of which the last is ready and all others are closed.
fn warmed(world: &World, connections: u64) -> bool {
    let studio = &world.studio;
    let made = || (studio.connections(), studio.handshakes(), studio.open());
    soon(5 * SECOND, || made() == (connections, connections, 1))
}

#[test]
fn the_second_mint_pays_no_handshake() {
    let world = World::with_key(MINE);
    assert_eq!(world.mint(UPSTREAM).status, 201);
    assert!(warmed(&world, 2));
    let handshakes = world.studio.handshakes();
    // From now on nobody can connect: what is minted is minted on the connection that was ready.
    world.studio.always(Fault::HangOnAccept);
    assert_eq!(world.mint(UPSTREAM).status, 201);
    assert_eq!(world.studio.handshakes(), handshakes);
}

#[test]
fn a_connection_that_carried_a_key_is_never_used_again() {
    let world = World::with_key(MINE);
    for turn in 0..4 {
        assert_eq!(world.mint(UPSTREAM).status, 201);
        assert!(warmed(&world, turn + 2));
    }
    assert_eq!((world.studio.requests(), world.studio.connections()), (4, 5));
    assert!(world.studio.resumptions() >= 3, "{}", world.studio.resumptions());
}

#[test]
fn a_connection_that_nobody_needs_is_dropped_after_warm_idle() {
    let world = World::with_upstream("warm_idle = \"1s\"");
    assert_eq!(world.mint(UPSTREAM).status, 201);
    assert!(warmed(&world, 2));
    assert!(soon(3 * SECOND, || world.studio.open() == 0));
    assert_eq!(world.mint(UPSTREAM).status, 201);
    let cold = World::with_upstream("warm_idle = \"0s\"");
    assert_eq!(cold.mint(UPSTREAM).status, 201);
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!((cold.studio.open(), cold.studio.connections()), (0, 1));
}

#[test]
fn a_ready_connection_that_the_provider_closed_costs_nobody_a_mint() {
    let world = World::with_key(MINE);
    for turn in 0..5 {
        assert_eq!(world.mint(UPSTREAM).status, 201);
        assert!(warmed(&world, 2 * (turn + 1)));
        world.studio.hang_up();
        assert!(soon(5 * SECOND, || world.studio.open() == 0));
    }
    assert_eq!(world.mint(UPSTREAM).status, 201);
    assert_eq!(world.studio.requests(), 6);
}
