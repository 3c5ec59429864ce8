//! What a person sees: each command's help, each mistake with what is said of it, and the happy paths.
//! The texts lie in `tests/cli/`; `UPDATE_SNAPSHOTS=1` writes them anew, and then they are to be read.

use crate::{
    harness::{MINE, World, random_key},
    snapshot::Tale,
};
use serde_json::Value;

/// Every command that has a help of its own.
const COMMANDS: [&str; 35] = [
    "",
    "demo",
    "init",
    "daemon",
    "check",
    "doctor",
    "key",
    "key add",
    "key list",
    "key show",
    "key rotate",
    "key remove",
    "decoy",
    "decoy add",
    "decoy list",
    "decoy remove",
    "key test",
    "mint",
    "exec",
    "leases",
    "revoke",
    "approve",
    "lock",
    "unlock",
    "selftest",
    "status",
    "top",
    "usage",
    "whoami",
    "why",
    "audit",
    "audit verify",
    "manual",
    "completions",
    "-V",
];

/// Commands that ask a daemon, with what they need on stdin.
const ASKING: [&str; 21] = [
    "key list",
    "key show a",
    "key rotate a",
    "key remove a",
    "key test a",
    "decoy add a --provider p",
    "decoy list",
    "decoy remove a",
    "mint a",
    "exec a -- true",
    "leases",
    "leases --all",
    "revoke --all",
    "approve",
    "lock",
    "unlock",
    "selftest",
    "status",
    "top",
    "usage",
    "why a",
];

#[test]
fn help_begins_with_examples() {
    let world = World::new(MINE);
    for command in COMMANDS {
        let name = format!(
            "help{}",
            command
                .replace(' ', "-")
                .split('-')
                .filter(|word| !word.is_empty())
                .fold(String::new(), |all, word| all + "-" + word)
        );
        let words = if command == "-V" { command.to_owned() } else { format!("{command} --help") };
        let mut tale = Tale::of(&world);
        tale.run(words.trim());
        tale.check(&name);
    }
}

#[test]
fn the_happy_path_in_words() {
    let world = World::new(MINE);
    let (key, next) = (random_key(), random_key());
    world.studio.register(&key);
    world.studio.register(&next);
    let mut tale = Tale::of(&world);
    tale.run("key list");
    tale.run_with(
        "key add dashscope/main --provider dashscope --region singapore --workspace ws-1 --owner ops --endpoint STUDIO",
        &key,
    );
    for words in [
        "key list",
        "key show dashscope/main",
        "mint dashscope/main",
        "mint dashscope/main --kind virtual --uses 3 --detached",
    ] {
        tale.run(words);
    }
    tale.run("mint dashscope/main --kind virtual --scope methods=POST --scope models=qwen-* --detached --json");
    for words in ["leases", "leases --all", "why dashscope/main", "whoami", "key test dashscope/main"] {
        tale.run(words);
    }
    tale.run_with("key rotate dashscope/main", &next);
    for words in
        ["revoke --key dashscope/main", "revoke --all", "leases", "lock", "unlock", "audit", "audit --json", "status"]
    {
        tale.run(words);
    }
    tale.run("key remove dashscope/main");
    tale.run("manual");
    tale.check("happy-path");
}

#[test]
fn a_secret_on_the_command_line_is_refused_and_not_repeated() {
    let world = World::new(MINE);
    let mut tale = Tale::of(&world);
    for words in [
        "key add dashscope/main sk-0123456789abcdef0123456789abcdef --provider dashscope",
        "key add dashscope/main --provider dashscope --set secret=sk-0123456789abcdef0123456789abcdef",
        "key add sk-0123456789abcdef0123456789abcdef --provider dashscope",
        "unlock hunter2",
        "mint st-0123456789abcdef0123456789abcdef",
    ] {
        let said = tale.run(words);
        assert!(!said.contains("0123456789abcdef") && !said.contains("hunter2"), "{said}");
    }
    tale.check_words(
        "secret-on-argv",
        &[("sk-0123456789abcdef0123456789abcdef", "SECRET"), ("st-0123456789abcdef0123456789abcdef", "SECRET")],
    );
}

#[test]
fn words_that_are_wrong_are_told_with_the_right_ones() {
    let world = World::new(MINE);
    let mut tale = Tale::of(&world);
    for words in [
        "",
        "mnt",
        "mint",
        "mint Dashscope/Main",
        "mint dashscope/main --ttl 60",
        "mint dashscope/main --kind both",
        "mint dashscope/main --uses 0",
        "mint dashscope/main --scope verbs=GET",
        "mint dashscope/main --copy --json",
        "revoke",
        "revoke ls_12",
        "revoke --peer uid",
        "key add dashscope/main",
        "leases --ttl 5s",
        "why dashscope/main --peer uid=0",
        "why dashscope/main --peer uid:me",
        "check --socket /tmp/x",
        "manual nothing",
        "audit verify /nonexistent/audit.ndjson",
    ] {
        tale.run(words);
    }
    tale.check("wrong-words");
}

#[test]
fn a_key_that_cannot_be_stored_is_told_why() {
    let world = World::new(MINE);
    let mut tale = Tale::of(&world);
    let add = "key add dashscope/main --provider dashscope --region singapore";
    tale.run(add);
    for secret in [
        "st-0123456789abcdef0123456789abcdef",
        "sk-sp-0123456789abcdef01234567",
        "AKIAIOSFODNN7EXAMPLE",
        "sk-two\nlines",
        "",
    ] {
        tale.run_with(add, secret);
    }
    tale.run_with("key add dashscope/main --provider opneai", &random_key());
    tale.run_with("key add dashscope/main --provider dashscope --region atlantis", &random_key());
    tale.run_with("key add dashscope/main --provider dashscope --region singapore --workspace a.b", &random_key());
    tale.run_with("key add dashscope/main --provider dashscope --endpoint http://evil.example", &random_key());
    tale.run_with("key add dashscope/main --provider dashscope --region singapore --set colour=blue", &random_key());
    tale.run_with(add, &random_key());
    tale.run_with(add, &random_key());
    tale.run("key show dashscope/none");
    tale.run("key remove dashscope/none");
    tale.run_with("key rotate dashscope/none", &random_key());
    tale.check("key-mistakes");
}

#[test]
fn the_21st_key_of_a_workspace_is_told_whose_limit_it_is() {
    let world = World::new(MINE);
    let add = |name: &str, workspace: &str| {
        let body = format!(
            r#"{{"provider":"dashscope","region":"singapore","workspace":"{workspace}","secret":"{}"}}"#,
            random_key()
        );
        world.control_http("PUT", &format!("/v1/keys/{name}"), Some(&body)).status
    };
    (1..=20).for_each(|number| assert_eq!(add(&format!("dashscope/k{number}"), "ws-1"), 201, "{number}"));
    let mut tale = Tale::of(&world);
    tale.run_with("key add dashscope/k21 --provider dashscope --region singapore --workspace ws-1", &random_key());
    (2..=10).for_each(|number| assert_eq!(add(&format!("dashscope/w{number}"), &format!("ws-{number}")), 201));
    tale.run_with("key add dashscope/w11 --provider dashscope --region singapore --workspace ws-11", &random_key());
    tale.check("key-limits");
}

#[test]
fn no_daemon_is_69_for_every_command_that_asks_one() {
    let mut world = World::new(MINE);
    world.stop();
    for words in ASKING {
        let output = world.sixty_with(&words.split(' ').collect::<Vec<_>>(), "secret");
        assert_eq!(output.status.code(), Some(69), "{words}: {}", String::from_utf8_lossy(&output.stderr));
        assert!(output.stdout.is_empty(), "{words}");
    }
    let mut tale = Tale::of(&world);
    tale.run("mint dashscope/main");
    tale.check("no-daemon");
    // A daemon that was killed leaves its sockets behind.
    world.start();
    world.kill();
    let mut tale = Tale::of(&world);
    tale.run("mint dashscope/main");
    tale.check("killed-daemon");
}

#[test]
fn a_no_is_told_with_what_to_do_about_it() {
    let rules = MINE.replace("\"**\"", "\"dashscope/*\"").replace("detached = true", "rate = \"2/min\"");
    let world = World::new(&rules);
    let key = world.add_key("dashscope/main");
    let mut tale = Tale::of(&world);
    tale.run("mint other/key");
    tale.run("why other/key");
    tale.run("mint dashscope/none");
    tale.run("mint dashscope/main --detached --kind virtual");
    tale.run("mint dashscope/main --ttl 31m --min-remaining 31m");
    world.studio.next_for(&key, sixty::demo::studio::Fault::BadKey);
    tale.run("key test dashscope/main");
    tale.run("key list");
    tale.run("key show dashscope/main");
    tale.run("mint dashscope/main");
    tale.run("why dashscope/main --peer uid:4242 exe:/usr/bin/curl");
    let busy = || world.sixty(&["mint", "dashscope/main", "--kind", "virtual"]).status.code() == Some(75);
    assert!((0..3).any(|_| busy()), "two a minute is the rule's rate");
    tale.run("mint dashscope/main --kind virtual");
    tale.check("refusals");
}

#[test]
fn a_locked_vault_says_so_and_how_to_open_it() {
    let world = World::new(MINE);
    world.add_key("dashscope/main");
    let mut tale = Tale::of(&world);
    tale.run("lock");
    for words in ["mint dashscope/main", "key list", "key add a --provider dashscope", "key test dashscope/main"] {
        let text = tale.run_with(words, &random_key());
        assert!(text.contains("exit 75"), "{words}: {text}");
    }
    for words in ["why dashscope/none", "whoami", "leases", "status --json", "lock", "unlock", "mint dashscope/main"] {
        let text = tale.run(words);
        assert!(text.contains("exit 0"), "{words}: {text}");
    }
    tale.check("locked");
}

#[test]
fn a_wrong_config_is_78_and_says_where() {
    let mut world = World::new(MINE);
    world.stop();
    std::fs::write(
        world.path("sixty.toml"),
        "[vault]\nunlock = \"magic\"\n\n[[rule]]\nname = \"a\"\nkeys = [\"**\"]\nttl = \"60\"\n",
    )
    .unwrap();
    let mut tale = Tale::of(&world);
    tale.run("daemon --config DIRECTORY/sixty.toml");
    tale.run("check DIRECTORY/sixty.toml");
    tale.run("daemon --config DIRECTORY/none.toml");
    std::fs::write(world.path("good.toml"), MINE).unwrap();
    tale.run("check DIRECTORY/good.toml");
    tale.check("wrong-config");
}

#[test]
fn json_is_one_object_of_a_stable_shape() {
    let world = World::new(MINE);
    world.add_key("dashscope/main");
    let mut shapes = String::new();
    for words in [
        "key list --json",
        "key show dashscope/main --json",
        "mint dashscope/main --kind virtual --uses 2 --detached --json",
        "mint dashscope/main --json",
        "leases --json",
        "leases --all --json",
        "usage --json",
        "approve --json",
        "whoami --json",
        "why dashscope/main --json",
        "key test dashscope/main --json",
        "revoke --all --json",
        "status --json",
        "top --once --json",
        "audit verify DIRECTORY/state/audit.ndjson --json",
        "lock --json",
        "unlock --json",
        "key remove dashscope/main --json",
    ] {
        let words_here = words.replace("DIRECTORY", &world.directory.path().display().to_string());
        let output = world.sixty(&words_here.split(' ').collect::<Vec<_>>());
        assert!(output.status.success(), "{words}: {}", String::from_utf8_lossy(&output.stderr));
        assert!(output.stderr.is_empty(), "{words}: {}", String::from_utf8_lossy(&output.stderr));
        let value: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert!(value.is_object(), "{words}");
        assert!(output.stdout.ends_with(b"\n"), "{words}");
        shapes.push_str(&format!("$ sixty {words}\n{}\n\n", crate::snapshot::shape(&value, 0)));
    }
    let audit = world.sixty(&["audit", "--json"]);
    assert!(
        String::from_utf8_lossy(&audit.stdout)
            .lines()
            .all(|line| serde_json::from_str::<Value>(line).unwrap().is_object())
    );
    crate::snapshot::compare("json-shapes", &shapes.replace(&world.studio.url(), "STUDIO"));
}
