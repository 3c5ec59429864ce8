//! Nothing of a key or a token stays in the memory of the release build, whatever went wrong with it. The scanner is
//! our own, `demo::scan`. No test here may pass because it could not look: a build that does not wipe its heap, and one
//! that does not scrub its tasks, must be caught by the same looks.

mod builds;
mod calls;
pub mod hunt;
mod life;
mod soak;
mod stack;

use crate::harness::{World, fed, is_root, random_key};
use builds::Build;
use hunt::Finds;
use life::Life;
use sixty::{
    demo::{scan::Needle, studio::Fault},
    model::span::span,
};
use std::{
    os::unix::process::ExitStatusExt,
    process::{Command, Stdio},
    time::Duration,
};

/// As many as a busy afternoon's.
const MINTS: usize = 1000;
/// Calls through the gateway.
const CALLS: usize = 10_000;
/// One look at the registers is luck.
const ROUNDS: usize = 20;

#[test]
fn the_release_build_leaves_nothing_in_memory() {
    let Some(seen) = Build::Sound.looked_at("a_life_leaves_nothing") else { return };
    assert!(seen.clean, "{}", seen.text);
}

#[test]
fn a_build_whose_heap_is_not_wiped_is_caught() {
    let Some(seen) = Build::LeakyAllocator.looked_at("a_life_leaves_nothing") else { return };
    assert!(!seen.clean && seen.text.contains(hunt::FOUND), "{}", seen.text);
}

/// What it leaves in the vector registers is found as soon as it sleeps.
#[test]
fn a_build_whose_tasks_are_not_scrubbed_is_caught() {
    let Some(seen) = Build::LeakyTasks.looked_at("a_life_leaves_nothing") else { return };
    assert!(!seen.clean && seen.text.contains(hunt::FOUND), "{}", seen.text);
}

#[test]
fn calls_through_the_gateway_leave_no_key_in_memory() {
    let Some(seen) = Build::Sound.looked_at("many_calls_leave_nothing") else { return };
    assert!(seen.clean, "{}", seen.text);
    let Some(seen) = Build::LeakyAllocator.looked_at("many_calls_leave_nothing") else { return };
    assert!(!seen.clean && seen.text.contains(hunt::FOUND), "{}", seen.text);
}

#[test]
fn a_core_taken_in_the_middle_of_a_request_holds_no_key() {
    let Some(seen) = Build::Sound.looked_at("a_request_in_flight_shows_no_key") else { return };
    assert!(seen.clean, "{}", seen.text);
}

#[test]
fn a_passphrase_leaves_nothing_in_memory() {
    let Some(seen) = Build::Sound.looked_at("a_passphrase_that_was_typed_is_gone") else { return };
    assert!(seen.clean, "{}", seen.text);
}

/// The control is again the build that does not scrub its tasks.
#[test]
fn the_scrub_reaches_as_deep_as_the_stack_was_used() {
    let Some(seen) = Build::Sound.looked_at("no_poll_goes_deeper_than_the_scrub") else { return };
    assert!(seen.clean, "{}", seen.text);
    let Some(seen) = Build::LeakyTasks.looked_at("no_poll_goes_deeper_than_the_scrub") else { return };
    assert!(!seen.clean && seen.text.contains(stack::FOUND), "{}", seen.text);
}

/// What one build is looked at for: run by the tests above, each with its own `SIXTY_BIN`.
///
/// No panic is provoked: in the release profile a panic ends the process at once, and its memory with it.
#[test]
#[ignore = "run by the others, for each build"]
fn a_life_leaves_nothing() {
    let mut life = Life::begin();
    life.keys_come_in();
    life.many_mint_at_once(MINTS);
    life.callers_misbehave();
    life.the_provider_misbehaves();
    life.the_operator_acts();
    life.tickets_and_narrower_keys();
    for round in 0..ROUNDS {
        life.mint_some(round);
        life.look(&format!("after {} further mints", round + 1));
    }
    for _ in 0..5 {
        life.mint_in_a_storm_of_signals();
        assert!(life.look_in_the_middle_of_a_request().join().unwrap(), "the request went on afterwards");
    }
    life.the_kept_connections_still_serve();
    life.look_for_every_token();
    life.finds.are_none();
}

/// The real keys are looked for while every connection is open that either side keeps, and when the vault is locked.
#[test]
#[ignore = "run by the others, for each build"]
fn many_calls_leave_nothing() {
    let mut life = Life::begin();
    life.keys_come_in();
    let held = life.call_through_the_gateway(CALLS);
    life.a_buffer_in_use_is_seen();
    life.look(&format!("after {CALLS} calls, with connections kept on both sides"));
    life.the_provider_spoils_calls();
    life.the_key_comes_back_in_disguise();
    life.websockets_pass();
    for round in 0..ROUNDS / 2 {
        drop(life.call_through_the_gateway(80));
        life.look(&format!("after {} rounds of further calls", round + 1));
    }
    assert_eq!(life.world.control_http("POST", "/v1/lock", None).status, 200);
    life.look("while locked");
    drop(held);
    life.finds.are_none();
}

/// `SIXTY_SOAK=8m`: for so long, on the shipped build. A day: `SIXTY_SOAK=24h cargo test --test it soak`.
#[test]
fn a_soak_with_everything_at_once_grows_nothing() {
    if std::env::var_os("SIXTY_SOAK").is_none() {
        return eprintln!("no soak: set SIXTY_SOAK to a length of time, such as 8m");
    }
    let Some(seen) = Build::Sound.looked_at("soaks") else { return };
    assert!(seen.clean, "{}", seen.text);
}

#[test]
#[ignore = "run by the other, for the release build"]
fn soaks() {
    let time = std::env::var("SIXTY_SOAK").map_or(Duration::from_secs(10), |time| span(&time).unwrap());
    let mut life = Life::begin();
    life.keys_come_in();
    life.soak(time);
    life.finds.are_none();
}

/// The right one, which is worked on by a thread of its own, and a wrong one.
#[test]
#[ignore = "run by the others, for each build"]
fn a_passphrase_that_was_typed_is_gone() {
    let mut world = World::asleep("[vault]\nunlock = \"passphrase\"\n", daemon_arguments());
    let [right, wrong] = [random_key(), random_key()];
    assert!(fed(world.command(&["init", "--passphrase"]), &right).status.success());
    std::fs::rename(world.path(".local/state/sixty"), world.path("state")).unwrap();
    world.start();
    let unlock = |words: &str| {
        let body = format!("{{\"passphrase\":\"{words}\"}}");
        world.control_http("POST", "/v1/unlock", Some(&body)).status
    };
    assert_eq!((unlock(&right), world.control_http("POST", "/v1/lock", None).status, unlock(&wrong)), (200, 200, 403));
    let (finds, needles) = (Finds::default(), [right, wrong].map(|words| Needle::new("passphrase", words.as_bytes())));
    finds.look(world.pid(), &needles, "after a right and a wrong passphrase");
    finds.are_none();
}

#[test]
#[ignore = "run by the others, for each build"]
fn a_request_in_flight_shows_no_key() {
    let mut life = Life::begin();
    life.keys_come_in();
    life.many_mint_at_once(64);
    let flying = life.look_in_the_middle_of_a_request();
    life.look_into_a_core();
    assert!(flying.join().unwrap(), "the request went on afterwards");
    life.world.studio.next(Fault::SlowHead(Duration::from_secs(3)));
    let _flying = life.mint_in_background();
    std::thread::sleep(Duration::from_millis(200));
    a_crash_leaves_no_core(&mut life.world);
    life.finds.are_none();
}

#[test]
#[ignore = "run by the others, for each build"]
fn no_poll_goes_deeper_than_the_scrub() {
    let mut life = Life::begin();
    life.keys_come_in();
    life.many_mint_at_once(64);
    stack::callers_stay_within_the_shallow_scrub(&life.world);
    let paint = stack::paint(life.world.pid());
    life.many_mint_at_once(200);
    drop(life.call_through_the_gateway(400));
    life.callers_misbehave();
    life.the_operator_acts();
    stack::deepest_trace_is_a_wipe(life.world.pid(), &paint);
}

/// SIGABRT, with a control that shows whether this machine writes cores at all.
fn a_crash_leaves_no_core(world: &mut World) {
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", world.pid())).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().filter(|word| *word == "0").count(), 2, "{core}");
    let mut control = Command::new("sh");
    control.args(["-c", "ulimit -c unlimited && kill -ABRT $$"]).stderr(Stdio::null());
    if !control.current_dir(world.directory.path()).status().unwrap().core_dumped() {
        eprintln!("this machine writes no cores: that the daemon leaves none shows less");
    }
    let ended = world.end_by("ABRT");
    assert_eq!((ended.signal(), ended.core_dumped()), (Some(nix::libc::SIGABRT), false));
}

/// Whether the daemon must be left readable for us to scan it.
fn daemon_arguments() -> &'static [&'static str] {
    if is_root() { &[] } else { &["--readable-by-parent"] }
}
