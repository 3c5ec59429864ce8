//! Programs that a confined daemon has run for it: those that its config named when it started, and alarms by them.

use crate::harness::{MINE, SECOND, World, is_root, soon};
use serde_json::Value;
use std::{os::unix::fs::PermissionsExt, path::PathBuf, process::Command};

/// A world whose alarms are told to a script of this text, and that has a decoy.
fn alarmed(script: &str, more: &str) -> World {
    let config = format!("[alarm]\nprogram = \"DIRECTORY/page-me\"\nrate = \"100/min\"\n{more}{MINE}");
    let mut world = World::asleep(&config, &[]);
    write_script(&world, script);
    world.start();
    lay(&world);
    world
}

fn write_script(world: &World, script: &str) {
    let path = world.path("page-me");
    let script = script.replace("DIRECTORY", &world.directory.path().display().to_string());
    std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
}

fn lay(world: &World) {
    let answer = world.control_http("PUT", "/v1/decoys/d", Some(r#"{"provider":"dashscope"}"#));
    assert_eq!(answer.status, 201, "{}", answer.text());
}

fn step_on_it(world: &World) {
    assert_eq!(world.mint(r#"{"key":"d"}"#).status, 403);
}

fn untold(world: &World) -> u64 {
    world.status()["alarms"]["untold"].as_u64().unwrap()
}

fn come(path: &PathBuf) -> String {
    let there = || std::fs::read_to_string(path).is_ok_and(|text| text.ends_with('\n'));
    assert!(soon(10 * SECOND, there), "nobody wrote {}", path.display());
    std::fs::read_to_string(path).unwrap()
}

/// The numbers of the daemon's children of this name.
fn children(world: &World, name: &str) -> Vec<u32> {
    let pid = world.pid();
    let all = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    let is_it = |pid: &u32| std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.trim() == name);
    all.split_whitespace().filter_map(|pid| pid.parse().ok()).filter(is_it).collect()
}

#[test]
fn an_alarm_is_told_to_the_program_of_the_config_by_a_daemon_that_may_run_none() {
    let script = "cat >DIRECTORY/alarm.new; echo >>DIRECTORY/alarm.new; mv DIRECTORY/alarm.new DIRECTORY/alarm\n\
        (tr '\\0' '\\n' </proc/$$/environ; grep NoNewPrivs /proc/self/status) >DIRECTORY/env.new\n\
        mv DIRECTORY/env.new DIRECTORY/env";
    let mut world = World::asleep(&format!("[alarm]\nprogram = \"DIRECTORY/page-me\"\n{MINE}"), &[]);
    write_script(&world, script);
    let mut command = world.daemon_command();
    command.env("LANG", "C").env("SECRET", "hunter2").env("LD_LIBRARY_PATH", "/nowhere");
    world.start_by(command);
    lay(&world);
    assert_eq!(world.status()["confinement"]["missing"], serde_json::json!([]));
    assert_eq!(world.status()["launcher"], "ready");
    step_on_it(&world);
    let told: Value = serde_json::from_str(&come(&world.path("alarm"))).unwrap();
    assert_eq!((&told["cause"], &told["key"], &told["untold"]), (&"decoy".into(), &"d".into(), &0.into()));
    assert_eq!(told["pid"], std::process::id());
    assert!(told["says"].as_str().unwrap().starts_with("a decoy was used"));
    let mut env: Vec<_> = come(&world.path("env")).lines().map(ToOwned::to_owned).collect();
    env.sort();
    assert_eq!(env, ["LANG=C", "NoNewPrivs:\t1", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]);
    assert_eq!(untold(&world), 0);
}

#[test]
fn no_launcher_stands_where_nothing_is_named_and_a_program_named_later_takes_a_restart() {
    let world = World::new(MINE);
    assert!(children(&world, "sixty-launcher").is_empty());
    assert_eq!(world.status()["launcher"], Value::Null);
    world.configure(&format!("[alarm]\nprogram = \"/bin/true\"\n{MINE}"));
    assert_eq!(world.control_http("POST", "/v1/reload", None).status, 200);
    assert!(world.log().contains("run after a restart only"), "{}", world.log());
}

#[test]
fn a_program_that_hangs_or_fails_keeps_nobody_waiting_and_the_next_one_is_told() {
    let script = "if test -e DIRECTORY/ok; then cat >DIRECTORY/said; echo >>DIRECTORY/said; exit 0; fi\n\
        test -e DIRECTORY/fail && exit 1\nsleep 60 & echo $! >DIRECTORY/child; wait";
    let world = alarmed(script, "time = \"1s\"\n");
    step_on_it(&world);
    let child: u32 = come(&world.path("child")).trim().parse().unwrap();
    let ended = || !std::fs::read_to_string(format!("/proc/{child}/stat")).is_ok_and(|stat| !stat.contains(") Z "));
    assert!(soon(10 * SECOND, ended), "what it started ends with it");
    assert!(soon(5 * SECOND, || untold(&world) == 1));
    std::fs::write(world.path("fail"), "").unwrap();
    step_on_it(&world);
    assert!(soon(5 * SECOND, || untold(&world) == 2));
    std::fs::write(world.path("ok"), "").unwrap();
    step_on_it(&world);
    let told: Value = serde_json::from_str(&come(&world.path("said"))).unwrap();
    assert_eq!(told["untold"], 2);
    assert!(soon(5 * SECOND, || untold(&world) == 0));
}

#[test]
fn no_more_programs_run_at_once_than_allowed_nor_more_often() {
    let world = alarmed("sleep 2", "[limits]\nprograms = 1\n");
    step_on_it(&world);
    std::thread::sleep(SECOND / 2);
    step_on_it(&world);
    assert!(soon(SECOND, || untold(&world) == 1), "{}", world.status());
    let config = format!("[alarm]\nprogram = \"DIRECTORY/page-me\"\nrate = \"2/h\"\n{MINE}");
    let mut world = World::asleep(&config, &[]);
    write_script(&world, "echo >>DIRECTORY/runs");
    world.start();
    lay(&world);
    for _ in 0..5 {
        step_on_it(&world);
    }
    assert!(soon(5 * SECOND, || std::fs::read_to_string(world.path("runs")).is_ok_and(|runs| runs.len() == 2)));
    assert_eq!(untold(&world), 3);
}

#[test]
fn a_launcher_ends_with_the_daemon_and_without_it_status_says_so() {
    let mut world = alarmed("exit 0", "");
    let launcher = children(&world, "sixty-launcher")[0];
    // The terminal and the service manager tell it what they tell the daemon.
    crate::harness::signal(launcher, "TERM");
    crate::harness::signal(launcher, "INT");
    step_on_it(&world);
    assert_eq!(world.status()["launcher"], "ready");
    crate::harness::signal(launcher, "KILL");
    assert!(soon(5 * SECOND, || world.status()["launcher"] != "ready"));
    step_on_it(&world);
    assert!(soon(5 * SECOND, || world.log().contains("the daemon's launcher has ended")));
    assert_eq!(world.stop(), Some(0));
    world.start();
    let launcher = children(&world, "sixty-launcher")[0];
    world.kill();
    assert!(soon(5 * SECOND, || !PathBuf::from(format!("/proc/{launcher}")).exists()));
}

#[test]
fn with_a_user_of_its_own_the_daemon_has_programs_run_as_that_user() {
    if !is_root() {
        println!("not tested: needs root");
        return;
    }
    let places = "runtime_dir = \"DIRECTORY/run\"\nstate_dir = \"DIRECTORY/state\"";
    let config = format!(
        "[daemon]\n{places}\nuser = \"65534\"\n[alarm]\nprogram = \"DIRECTORY/page-me\"\n{}",
        MINE.replace("\"self\"", "0")
    );
    let mut world = World::asleep(&config, &[]);
    let out = world.path("out");
    std::fs::create_dir(&out).unwrap();
    write_script(&world, "id -u >DIRECTORY/out/who");
    std::fs::set_permissions(world.path("sixty.toml"), PermissionsExt::from_mode(0o644)).unwrap();
    for path in [out, world.path("ca.pem"), world.path("vault.key")] {
        assert!(Command::new("chown").arg("65534").arg(path).status().unwrap().success());
    }
    world.start();
    lay(&world);
    step_on_it(&world);
    assert_eq!(come(&world.path("out/who")).trim(), "65534");
}
