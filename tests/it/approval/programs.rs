//! The programs that ask: a real pinentry on a terminal of its own, and scripts that do as an SSH_ASKPASS program does.

use super::{SOON, asks, minted, minting};
use crate::{
    harness::{World, soon},
    needs::has,
};
use nix::{
    poll::{PollFd, PollFlags, poll},
    pty::openpty,
    unistd::ttyname,
};
use std::{
    fs::File,
    io::{Read, Write},
    os::fd::AsFd,
    os::unix::fs::PermissionsExt,
    time::Duration,
};

/// A daemon whose approvals a shell script asks for; `script` finds the question as `$1` and may write beside itself.
fn scripted(how: &str, script: &str) -> World {
    let config = format!("[approval]\nask = \"askpass:DIRECTORY/ask\"\n{}", asks(how));
    let mut world = World::asleep(&config, &[]);
    let text = format!("#!/bin/sh\ncd '{}'\n{script}\n", world.directory.path().display());
    std::fs::write(world.path("ask"), text).unwrap();
    std::fs::set_permissions(world.path("ask"), PermissionsExt::from_mode(0o755)).unwrap();
    world.start();
    world.add_key("dashscope/main");
    world
}

fn reads(world: &World, name: &str) -> String {
    std::fs::read_to_string(world.path(name)).unwrap_or_default()
}

#[test]
fn an_askpass_program_is_asked_with_the_whole_question() {
    let world = scripted("once_per_process", "printf '%s' \"$1\" > question; env > words; echo Yes");
    assert!(minted(&world, "dashscope/main").status.success());
    let question = reads(&world, "question");
    assert!(question.starts_with("Let this process have dashscope/main, until it ends?\n"), "{question}");
    for fact in ["it runs: ", "as: \"", "sha256: ", "started by: ", "it gets: kinds upstream, virtual"] {
        assert!(question.contains(fact), "{fact}: {question}");
    }
    let words = reads(&world, "words");
    assert!(words.contains("SSH_ASKPASS_PROMPT=confirm\n") && !words.contains("SIXTY"), "{words}");
    let approved = world.decisions()[0]["approved"].clone();
    assert_eq!((&approved["how"], &approved["uid"]), (&"askpass".into(), &nix::unistd::geteuid().as_raw().into()));
}

#[test]
fn whatever_a_program_does_but_say_yes_is_a_no() {
    for script in ["exit 1", "echo no", "kill -9 $$", "exit 255"] {
        let world = scripted("always", script);
        assert_eq!(minted(&world, "dashscope/main").status.code(), Some(77), "{script}");
        assert_eq!(world.decisions()[0]["reason"], "a person said no", "{script}");
    }
    let world = scripted("always", "exit 0");
    std::fs::set_permissions(world.path("ask"), PermissionsExt::from_mode(0o644)).unwrap();
    assert_eq!(minted(&world, "dashscope/main").status.code(), Some(77));
    assert_eq!(world.decisions()[0]["reason"], "the program that asks failed");
    assert!(world.log().contains("nobody can be asked for approval"));
}

#[test]
fn the_program_ends_when_nobody_waits_and_one_asks_at_a_time() {
    let world = scripted("once_per_process", "echo $$ >> asking; exec sleep 60");
    let pids = || reads(&world, "asking").lines().map(str::to_owned).collect::<Vec<_>>();
    let runs = |pid: &str| std::fs::metadata(format!("/proc/{pid}")).is_ok();
    let mut first = minting(&world, "dashscope/main");
    world.asked(1);
    let mut second = minting(&world, "dashscope/main");
    let asked = world.asked(2);
    assert!(soon(SOON, || pids().len() == 1));
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(pids().len(), 1, "the second waits for its turn");
    first.kill().unwrap();
    first.wait().unwrap();
    assert!(soon(SOON, || pids().len() == 2 && !runs(&pids()[0])), "it asked on for who had left");
    assert!(runs(&pids()[1]));
    // Where a program asks, who has the control socket can say no alone.
    let id = asked[1]["id"].as_str().unwrap();
    let yes = world.sixty(&["approve", id]);
    assert_eq!(yes.status.code(), Some(77), "{}", String::from_utf8_lossy(&yes.stderr));
    assert!(world.sixty(&["approve", id, "--deny"]).status.success());
    assert_eq!(second.wait().unwrap().code(), Some(77));
    assert!(soon(SOON, || !runs(&pids()[1])));
}

/// A daemon whose approvals a pinentry asks for on a new terminal, and that terminal.
fn with_pinentry(program: &str) -> (World, File) {
    let config = format!("[approval]\nask = \"pinentry:{program}\"\n{}", asks("once_per_process"));
    let mut world = World::asleep(&config, &[]);
    let terminal = openpty(None, None).unwrap();
    let mut command = world.daemon_command();
    command.env("GPG_TTY", ttyname(&terminal.slave).unwrap()).env("TERM", "xterm").env("LANG", "C.UTF-8");
    world.start_by(command);
    // Kept open, so that the terminal stays.
    std::mem::forget(terminal.slave);
    world.add_key("dashscope/main");
    (world, terminal.master.into())
}

/// Reads what is shown until this stands there, and types.
fn typed(terminal: &mut File, until: &str, keys: &str) -> String {
    let mut shown = Vec::new();
    while !String::from_utf8_lossy(&shown).contains(until) {
        let mut some = [0; 4096];
        let ready = poll(&mut [PollFd::new(terminal.as_fd(), PollFlags::POLLIN)], 20_000_u16).unwrap();
        assert_eq!(ready, 1, "nothing more was shown: {}", String::from_utf8_lossy(&shown));
        let read = terminal.read(&mut some).unwrap();
        shown.extend(&some[..read]);
    }
    terminal.write_all(keys.as_bytes()).unwrap();
    String::from_utf8_lossy(&shown).into_owned()
}

#[test]
fn a_real_pinentry_is_shown_the_question_and_its_answer_is_taken() {
    if !has("pinentry-tty", "approval by pinentry") {
        return;
    }
    let (world, mut terminal) = with_pinentry("/usr/bin/pinentry-tty");
    for (keys, code) in [("a\n", 0), ("d\n", 77)] {
        let child = minting(&world, "dashscope/main");
        let shown = typed(&mut terminal, "[ad]?", keys);
        assert_eq!(child.wait_with_output().unwrap().status.code(), Some(code), "{shown}");
        assert!(shown.contains("Let this process have dashscope/main, until it ends?"), "{shown}");
        assert!(shown.contains("sha256: ") && shown.contains("it gets: kinds"), "{shown}");
    }
    let records = world.decisions();
    assert_eq!(records[0]["approved"]["how"], "pinentry");
    assert_eq!((&records[1]["reason"], &records[1]["by"]["how"]), (&"a person said no".into(), &"pinentry".into()));
}

#[test]
fn a_pinentry_that_cannot_show_the_question_approves_nothing() {
    let script = "printf 'OK hello\\n'; while read -r word rest; do case $word in SETDESC) echo 'ERR 1 no';; *) echo OK;; esac; done";
    let late = script.replace("SETDESC) echo 'ERR 1 no'", "CONFIRM) echo 'ERR 83886142 Timeout <Pinentry>'");
    let config = format!("[approval]\nask = \"pinentry:DIRECTORY/ask\"\n{}", asks("always"));
    for (script, reason) in [
        (script, "a person said no"),
        (&late, "nobody approved it in time"),
        ("exit 0", "the program that asks failed"),
        ("echo OK; exit 0", "the program that asks failed"),
    ] {
        let mut world = World::asleep(&config, &[]);
        std::fs::write(world.path("ask"), format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(world.path("ask"), PermissionsExt::from_mode(0o755)).unwrap();
        world.start();
        world.add_key("dashscope/main");
        assert_eq!(minted(&world, "dashscope/main").status.code(), Some(77), "{script}");
        assert_eq!(world.decisions()[0]["reason"], reason, "{script}");
    }
}
