//! Whose life a lease shares: it ends with that process, within milliseconds, and hangs on no stranger.

use crate::{
    actor::{Actor, copied, itself, part},
    harness::{MINE, World, program, signal, soon},
    identity::{STRANGER, as_root, assert_denied, id, mint_by, rule},
};
use serde_json::Value;
use std::{
    os::unix::process::CommandExt,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// How long a process's lease outlives it; virtual leases are to be gone within 10 ms, and machines are busy.
fn outlived_by(world: &World, pid: u32, count: usize) -> Duration {
    let live = || world.status()["leases"]["live"].as_u64().unwrap();
    assert_eq!(live(), count as u64);
    signal(pid, "KILL");
    let began = Instant::now();
    while live() > 0 {
        assert!(began.elapsed() < Duration::from_secs(5), "leases outlive their owner");
    }
    began.elapsed()
}

#[test]
fn virtual_leases_die_with_the_process_that_asked() {
    let world = World::with_key(MINE);
    let best = (0..3).map(|_| {
        let mut actor = Actor::start(part(&itself(), "ask", &world.broker()));
        let leases: Vec<_> = (0..20).map(|_| actor.does()).collect();
        assert!(leases.iter().all(|said| said.starts_with("201 ")), "{leases:?}");
        outlived_by(&world, actor.child.id(), 20)
    });
    let best = best.min().unwrap();
    assert!(best < Duration::from_millis(50), "{best:?}");
}

#[test]
fn virtual_leases_die_with_the_shell_and_not_with_the_command_line() {
    let world = World::with_key(MINE);
    let script = "\"$0\" mint dashscope/main --kind virtual --json; read forever";
    let mut command = Command::new("sh");
    command.args(["-c", script]).arg(program()).env("SIXTY_SOCKET", world.broker());
    let mut shell = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let live = || world.status()["leases"]["live"] == 1;
    assert!(soon(Duration::from_secs(5), live));
    std::thread::sleep(Duration::from_millis(50));
    let listed = world.control_http("GET", "/v1/leases", None).json();
    assert_eq!(listed["leases"][0]["owner_pid"], shell.id(), "{listed}");
    let lived = outlived_by(&world, shell.id(), 1);
    shell.wait().unwrap();
    assert!(lived < Duration::from_millis(100), "{lived:?}");
}

#[test]
fn an_upstream_lease_stays_listed_when_its_owner_is_gone_since_its_token_lives_on() {
    let world = World::with_key(MINE);
    let out = mint_by(&world, &program(), "").output().unwrap();
    let id = id(&out);
    let listed = world.control_http("GET", "/v1/leases", None).json();
    assert_eq!((listed["leases"][0]["id"].as_str(), &listed["leases"][0]["owner_pid"]), (Some(&*id), &Value::Null));
}

#[test]
fn a_detached_lease_needs_the_rules_word_and_then_outlives_everybody() {
    let world = World::with_key(MINE);
    let detached = ["mint", "dashscope/main", "--kind", "virtual", "--detached", "--json"];
    assert!(world.sixty(&detached).status.success());
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(world.status()["leases"]["live"], 1);
    world.configure(&MINE.replace("detached = true", ""));
    assert_eq!(world.control_http("POST", "/v1/reload", None).status, 200);
    assert_denied(&world.sixty(&detached));
}

#[test]
fn a_lease_does_not_hang_on_a_strangers_process() {
    if !as_root("a parent of another user") {
        return;
    }
    let world = World::with_key(&rule(&format!("{{ uid = {STRANGER} }}")));
    let ours = copied(&program(), &world.path("bin/sixty"));
    // This test is root's and the parent of somebody else's process, as sudo or a setuid program is.
    let mut direct = Command::new(&ours);
    direct.args(["mint", "dashscope/main"]).env("SIXTY_SOCKET", world.broker()).uid(STRANGER).gid(STRANGER);
    let refused = direct.output().unwrap();
    assert_denied(&refused);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("another user's process"), "the way out is told");
    id(&mint_by(&world, &ours, "").uid(STRANGER).gid(STRANGER).output().unwrap());
    assert_eq!(world.studio.mints(), 1, "the refused one did not reach the provider");
}
