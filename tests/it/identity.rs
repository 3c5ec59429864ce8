//! Who asks, with real users, programs, cgroups and namespaces: a fact that is not so gives nothing.

use crate::{
    actor::{Actor, copied, itself, part},
    harness::{MINE, World, exchange, is_root, program, soon},
    needs::missing,
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::{
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

pub const STRANGER: u32 = 12345;

/// A rule for everybody who is like this.
pub fn rule(peer: &str) -> String {
    format!(
        "[[rule]]\nname = \"only these\"\npeer = {peer}\nkeys = [\"dashscope/*\"]\nkinds = [\"upstream\", \"virtual\"]\n"
    )
}

/// Whether a test that needs root can be made; one line says so if not.
pub fn as_root(test: &str) -> bool {
    if !is_root() {
        missing("not root", test);
    }
    is_root()
}

/// `sixty mint` by this program, through a shell that is its parent.
pub fn mint_by(world: &World, program: &Path, before: &str) -> Command {
    let mut command = Command::new("sh");
    let script = format!("{before} \"$0\" mint dashscope/main --json; exit $?");
    command.args(["-c", &script]).arg(program).env("SIXTY_SOCKET", world.broker());
    command
}

pub fn id(out: &Output) -> String {
    let lease: Value = serde_json::from_slice(&out.stdout).unwrap_or_default();
    lease["id"].as_str().unwrap_or_else(|| panic!("{}", String::from_utf8_lossy(&out.stderr))).to_owned()
}

pub fn assert_denied(out: &Output) {
    let said = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(77), "{said}");
    assert!(out.stdout.is_empty());
}

/// `POST /v1/why` and `sixty why` about a peer: both name the same selector.
fn assert_why(world: &World, peer: &str, failed: &str) {
    let body = json!({ "key": "dashscope/main", "peer": [peer] }).to_string();
    let told = world.control_http("POST", "/v1/why", Some(&body)).json();
    assert_eq!((&told["decides"], told["steps"][0]["failed"].as_str()), (&Value::Null, Some(failed)), "{told}");
    let said = world.sixty(&["why", "dashscope/main", "--peer", peer]);
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    let row = said.lines().find(|line| line.starts_with("only these")).unwrap_or_else(|| panic!("{said}"));
    assert!(row.contains(failed), "{said}");
}

#[test]
fn another_user_is_denied_and_why_names_the_uid() {
    let world = World::with_key(&rule("{ uid = \"self\" }"));
    assert_why(&world, &format!("uid:{}", nix::unistd::geteuid().as_raw() + 1), "uid");
    assert_eq!(world.mint(r#"{"key":"dashscope/main"}"#).status, 201);
    if !as_root("asking as another user") {
        return;
    }
    let ours = copied(&program(), &world.path("bin/sixty"));
    assert_denied(&mint_by(&world, &ours, "").uid(STRANGER).gid(STRANGER).output().unwrap());
    // A group of root's does not make root of somebody.
    assert_denied(&mint_by(&world, &ours, "").uid(STRANGER).gid(0).output().unwrap());
    let record = world.audit().into_iter().find(|line| line["verdict"] == "denied");
    assert!(record.is_some_and(|line| line.to_string().contains("12345")), "{:#?}", world.audit());
}

#[test]
fn a_refusal_tells_a_stranger_nothing_of_the_rules_or_the_keys() {
    if !as_root("asking as another user") {
        return;
    }
    let world = World::with_key(&rule("{ uid = \"self\" }"));
    let ours = copied(&program(), &world.path("bin/sixty"));
    let ask = |key: &str| {
        let mut command = Command::new(&ours);
        command.args(["mint", key]).env("SIXTY_SOCKET", world.broker()).uid(STRANGER).gid(STRANGER);
        let said = String::from_utf8_lossy(&command.output().unwrap().stderr).into_owned();
        said.split("(request").next().unwrap().to_owned()
    };
    assert_eq!(ask("dashscope/main"), ask("dashscope/none"), "a key that is there and one that is not are the same");
    assert!(!ask("dashscope/main").contains("only these"));
}

#[test]
fn another_program_is_denied_and_why_names_the_exe() {
    let world = World::with_key(&rule("{ uid = \"self\", exe = \"DIRECTORY/bin/trusted\" }"));
    let trusted = copied(&program(), &world.path("bin/trusted"));
    let other = copied(&program(), &world.path("bin/other"));
    id(&mint_by(&world, &trusted, "").output().unwrap());
    assert_denied(&mint_by(&world, &other, "").output().unwrap());
    // A symbolic link is the program that it points to; argv[0] is nothing at all.
    let link = world.path("bin/link");
    std::os::unix::fs::symlink(&other, &link).unwrap();
    assert_denied(&mint_by(&world, &link, "").output().unwrap());
    let uid = nix::unistd::geteuid();
    let body = json!({ "key": "dashscope/main", "peer": [format!("uid:{uid}"), "exe:/usr/bin/curl"] }).to_string();
    let told = world.control_http("POST", "/v1/why", Some(&body)).json();
    assert_eq!(told["steps"][0]["failed"], "exe", "{told}");
    assert_eq!(told["steps"][0]["had"], "/usr/bin/curl");
}

fn sha256(program: &Path) -> String {
    Sha256::digest(std::fs::read(program).unwrap()).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn the_bytes_of_a_program_count_when_a_rule_names_their_hash() {
    let folder = tempfile::tempdir().unwrap();
    let right = copied(&program(), &folder.path().join("right"));
    let hash = sha256(&right);
    let world = World::with_key(&rule(&format!("{{ exe_sha256 = \"{hash}\" }}")));
    id(&mint_by(&world, &right, "").output().unwrap());
    // The same program with one byte more runs as well, and is another.
    let wrong = copied(&right, &folder.path().join("wrong"));
    let append = format!("printf x >> {}", wrong.display());
    assert!(Command::new("sh").args(["-c", &append]).status().unwrap().success());
    assert_denied(&mint_by(&world, &wrong, "").output().unwrap());
    // The same bytes anywhere else are the same program.
    let moved = folder.path().join("moved");
    std::fs::rename(&right, &moved).unwrap();
    id(&mint_by(&world, &moved, "").output().unwrap());
    // A file that was changed in its place is hashed again, although it was known.
    assert!(Command::new("cp").arg(&wrong).arg(&moved).status().unwrap().success());
    assert_denied(&mint_by(&world, &moved, "").output().unwrap());
}

#[test]
fn a_program_over_exe_bytes_has_no_hash_and_one_within_has() {
    let folder = tempfile::tempdir().unwrap();
    let right = copied(&program(), &folder.path().join("right"));
    let rule = rule(&format!("{{ exe_sha256 = \"{}\" }}", sha256(&right)));
    assert!(right.metadata().unwrap().len() > 1 << 20);
    let world = World::with_key(&format!("[limits]\nexe_bytes = \"1MiB\"\n{rule}"));
    assert_denied(&mint_by(&world, &right, "").output().unwrap());
    let world = World::with_key(&format!("[limits]\nexe_hashes = 1\nexe_bytes = \"1024MiB\"\n{rule}"));
    id(&mint_by(&world, &right, "").output().unwrap());
}

#[test]
fn while_a_large_program_is_hashed_others_are_served() {
    let world = World::with_key(&rule(&format!("{{ exe_sha256 = \"{}\" }}", "0".repeat(64))));
    let large = copied(&program(), &world.path("bin/large"));
    std::fs::OpenOptions::new().write(true).open(&large).unwrap().set_len(250 << 20).unwrap();
    let mut mint = mint_by(&world, &large, "").stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let mut longest = Duration::ZERO;
    let code = loop {
        let began = Instant::now();
        assert_eq!(world.http("GET", "/healthz", None).status, 200);
        longest = longest.max(began.elapsed());
        if let Some(status) = mint.try_wait().unwrap() {
            break status.code();
        }
    };
    assert_eq!(code, Some(77));
    assert!(longest < Duration::from_millis(250), "hashing kept others waiting for {longest:?}");
}

#[test]
fn a_program_that_was_deleted_has_no_path_any_more() {
    let world = World::with_key(&rule("{ exe = \"DIRECTORY/bin/trusted\" }"));
    let trusted = copied(&itself(), &world.path("bin/trusted"));
    let mut actor = Actor::start(part(&trusted, "ask", &world.broker()));
    assert!(actor.does().starts_with("201 "));
    std::fs::remove_file(&trusted).unwrap();
    assert_eq!(actor.does(), "403 denied");
    // Another file at its place does not make it the trusted one again.
    copied(&itself(), &trusted);
    assert_eq!(actor.does(), "403 denied");
}

#[test]
fn a_program_mounted_over_the_trusted_path_is_not_trusted() {
    if !as_root("a mount namespace of the caller's own") {
        return;
    }
    let world = World::with_key(&rule("{ exe = \"DIRECTORY/bin/trusted\" }"));
    let trusted = copied(&program(), &world.path("bin/trusted"));
    let evil = copied(&program(), &world.path("bin/evil"));
    id(&mint_by(&world, &trusted, "").output().unwrap());
    let before = format!("mount --bind {} {} &&", evil.display(), trusted.display());
    let shell = mint_by(&world, &trusted, &before);
    let mut command = Command::new("unshare");
    command.arg("-m").arg(shell.get_program()).args(shell.get_args()).env("SIXTY_SOCKET", world.broker());
    assert_denied(&command.output().unwrap());
}

/// A cgroup of version 2 for one test; removed with it.
pub struct Cgroup(PathBuf);

impl Cgroup {
    pub fn new(name: &str) -> Option<Self> {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
        let mount = mounts.lines().find(|line| line.contains(" - cgroup2 "))?.split(' ').nth(4)?;
        let path = Path::new(mount).join(name);
        std::fs::create_dir(&path).ok().map(|()| Self(path))
    }

    pub fn enter(&self) -> String {
        format!("echo $$ > {}/cgroup.procs &&", self.0.display())
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let gone = || std::fs::remove_dir(&self.0).is_ok();
        soon(Duration::from_secs(2), gone);
    }
}

#[test]
fn another_unit_is_denied_and_why_names_the_unit() {
    let name = format!("sixty-test-{}.service", std::process::id());
    let world = World::with_key(&rule("{ unit = \"sixty-test-*.service\" }"));
    assert_why(&world, "unit:cron.service", "unit");
    let ours = program();
    assert_denied(&mint_by(&world, &ours, "").output().unwrap());
    let (Some(group), Some(other)) = (Cgroup::new(&name), Cgroup::new(&format!("other-{name}"))) else {
        missing("not root, or no cgroup 2", "asking from a unit");
        return;
    };
    id(&mint_by(&world, &ours, &group.enter()).output().unwrap());
    assert_denied(&mint_by(&world, &ours, &other.enter()).output().unwrap());
    // Asked about itself, a process is told by what it really is.
    let why = |before: &str| {
        let script = format!("{before} \"$0\" why dashscope/main --json");
        let mut command = Command::new("sh");
        command.args(["-c", &script]).arg(&ours).env("SIXTY_CONTROL_SOCKET", world.control());
        serde_json::from_slice::<Value>(&command.output().unwrap().stdout).unwrap()
    };
    assert_eq!(why(&group.enter())["decides"], "only these");
    assert_eq!(why(&other.enter())["steps"][0]["had"], format!("other-{name}"));
}

#[test]
fn a_cgroup_inside_of_the_named_one_counts_only_by_pattern() {
    let name = format!("sixty-cg-{}", std::process::id());
    let world = World::with_key(&rule(&format!("{{ cgroup = \"/{name}/*\" }}")));
    let Some(group) = Cgroup::new(&name) else {
        missing("not root, or no cgroup 2", "asking from a cgroup");
        return;
    };
    let inner = Cgroup::new(&format!("{name}/inner")).unwrap();
    let ours = program();
    id(&mint_by(&world, &ours, &inner.enter()).output().unwrap());
    assert_denied(&mint_by(&world, &ours, &group.enter()).output().unwrap());
}

/// What was proven of a connection's peer counts only while it stays where it was.
#[test]
fn a_descendant_that_leaves_its_owners_cgroup_has_no_key_on_its_open_connection() {
    let world = World::with_key(MINE);
    let name = format!("sixty-home-{}", std::process::id());
    let (Some(home), Some(away)) = (Cgroup::new(&name), Cgroup::new(&format!("{name}-away"))) else {
        missing("not root, or no cgroup 2", "leaving a cgroup");
        return;
    };
    let inner = Cgroup::new(&format!("{name}/inner")).unwrap();
    let script = format!(
        "{} SIXTY_KEY=$(SIXTY_SOCKET={} {} mint dashscope/main --kind virtual) \"$0\" \"$@\"; exit $?",
        home.enter(),
        world.broker().display(),
        program().display()
    );
    let played = part(&itself(), "call", &world.path("run/gateway.sock"));
    let mut shell = Command::new("sh");
    shell.args(["-c", &script]).arg(played.get_program()).args(played.get_args());
    shell.envs(played.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let mut caller = Actor::start(shell);
    let pid = caller.says();
    let mut moved = |to: &Cgroup| {
        std::fs::write(to.0.join("cgroup.procs"), &pid).unwrap();
        [caller.does(), caller.does()]
    };
    assert_eq!(moved(&home), ["200", "200"]);
    assert_eq!(moved(&inner), ["200", "200"], "below its owner's is with its owner");
    assert_eq!(moved(&away), ["403", "403"].map(|status| format!("{status} denied")));
    assert_eq!(moved(&home), ["200", "200"]);
}

#[test]
fn a_dead_connectors_grandchild_gets_nothing_on_its_connection() {
    let world = World::with_key(MINE);
    for target in ["", "GET /v1/leases", "GET /v1/whoami", "DELETE /v1/leases/ls_0000000000000001"] {
        let mut command = part(&itself(), "hand on", &world.broker());
        command.env("SIXTY_TARGET", target);
        let mut connector = Actor::start(command);
        assert_eq!(connector.says(), "connected 200");
        let said = connector.does();
        assert!(said == "403 denied" || said == "closed", "{target}: {said}");
    }
    assert_eq!(world.status()["leases"]["live"], 0);
}

#[test]
fn an_exec_after_connecting_lends_no_name_to_the_connection() {
    let world = World::with_key(&rule("{ exe = \"DIRECTORY/bin/**\" }"));
    let (one, two) = (copied(&itself(), &world.path("bin/one")), copied(&itself(), &world.path("bin/two")));
    // Both programs may ask, but not one on the other's connection.
    for program in [&one, &two] {
        let mut actor = Actor::start(part(program, "connect then ask", &world.broker()));
        assert_eq!(actor.says(), "connected 200");
        assert!(actor.does().starts_with("201 "));
    }
    let mut command = part(&one, "become", &world.broker());
    command.env("SIXTY_BECOME", &two);
    let mut actor = Actor::start(command);
    assert_eq!(actor.says(), "connected 200");
    assert_eq!(actor.does(), "403 denied");
}

#[test]
fn an_exec_after_connecting_lends_no_hash_to_the_connection() {
    let hash = sha256(&itself());
    let world = World::with_key(&rule(&format!("{{ exe_sha256 = \"{hash}\" }}")));
    let copies = || (copied(&itself(), &world.path("bin/one")), copied(&itself(), &world.path("bin/two")));
    for removed in [false, true] {
        let (one, two) = copies();
        let mut command = part(&one, "become", &world.broker());
        command.env("SIXTY_BECOME", &two);
        if removed {
            // Without a path there is nothing to compare but the file itself.
            command.env("SIXTY_REMOVED", "1");
        }
        let mut actor = Actor::start(command);
        assert_eq!(actor.says(), "connected 200");
        assert_eq!(actor.does(), "403 denied", "removed: {removed}");
    }
}

#[test]
fn a_process_of_another_pid_namespace_is_kept_out_by_a_rule() {
    if !as_root("a pid namespace of the caller's own") {
        return;
    }
    let world = World::with_key(&rule("{ pid_ns = \"self\" }"));
    let ours = program();
    id(&mint_by(&world, &ours, "").output().unwrap());
    let mut inside = Command::new("unshare");
    let shell = mint_by(&world, &ours, "");
    inside.args(["-p", "-f"]).arg(shell.get_program()).args(shell.get_args()).env("SIXTY_SOCKET", world.broker());
    assert_denied(&inside.output().unwrap());
}

#[test]
fn a_peer_that_the_daemons_pid_namespace_cannot_see_is_told_nothing() {
    if !as_root("a daemon in a pid namespace") {
        return;
    }
    let mut world = World::asleep(MINE, &[]);
    let inner = world.daemon_command();
    let mut command = Command::new("unshare");
    command.args(["-p", "-f", "--mount-proc", "--kill-child"]).arg(inner.get_program()).args(inner.get_args());
    world.spawn(command);
    assert!(soon(Duration::from_secs(10), || world.log().contains("serving")), "{}", world.log());
    assert!(world.try_http("GET", "/healthz", None).is_none());
    assert!(exchange(&world.control(), "GET", "/v1/status", None).is_none());
}

#[test]
fn the_control_socket_is_the_owners_even_when_its_mode_is_not() {
    if !as_root("the control socket as another user") {
        return;
    }
    let world = World::with_key(MINE);
    let ours = copied(&program(), &world.path("bin/sixty"));
    let ask = |words: &[&str]| {
        let mut command = Command::new(&ours);
        command.args(words).env("SIXTY_CONTROL_SOCKET", world.control()).uid(STRANGER).gid(STRANGER);
        command.stdin(Stdio::null()).output().unwrap()
    };
    assert!(!ask(&["status"]).status.success());
    // Somebody opened the door: the daemon itself still looks who comes in.
    std::fs::set_permissions(world.control(), PermissionsExt::from_mode(0o666)).unwrap();
    for words in [
        &["status"][..],
        &["lock"],
        &["key", "list"],
        &["key", "remove", "dashscope/main", "--yes"],
        &["revoke", "--all"],
        &["leases", "--all"],
        &["why", "dashscope/main"],
    ] {
        let out = ask(words);
        assert_eq!(out.status.code(), Some(77), "{words:?}: {}", String::from_utf8_lossy(&out.stderr));
    }
    assert_eq!(world.status()["vault"]["state"], "open");
    assert_eq!(world.status()["vault"]["keys"], 1);
}

#[test]
fn the_sockets_modes_are_right_from_the_start() {
    let world = World::new(MINE);
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(&world.broker()), 0o666);
    assert_eq!(mode(&world.control()), 0o600);
    assert_eq!(mode(&world.path("run")), if is_root() { 0o755 } else { 0o700 });
    assert_eq!(mode(&world.path("state")), 0o700);
    assert_eq!(mode(&world.path("state/audit.ndjson")), 0o600);
    assert_eq!(mode(&world.path("state/vault.sealed")), 0o600);
}

#[test]
fn whoami_tells_a_caller_what_it_is() {
    let world = World::with_key(&rule("{ uid = \"self\" }"));
    let who = world.http("GET", "/v1/whoami", None).json();
    let selectors: Vec<_> = who["selectors"].as_array().unwrap().iter().map(|s| s.as_str().unwrap()).collect();
    assert!(selectors.contains(&format!("uid:{}", nix::unistd::geteuid()).as_str()), "{selectors:?}");
    assert!(selectors.contains(&format!("exe:{}", itself().display()).as_str()), "{selectors:?}");
    assert!(selectors.iter().any(|selector| selector.starts_with("pid_ns:")));
    assert_eq!((&who["rules"][0], &who["keys"][0]), (&json!("only these"), &json!("dashscope/main")));
}

#[test]
fn known_limit_an_exec_before_the_daemons_first_look_is_the_program_that_connected() {
    let world = World::with_key(&rule("{ exe = \"DIRECTORY/bin/two\" }"));
    let (one, two) = (copied(&itself(), &world.path("bin/one")), copied(&itself(), &world.path("bin/two")));
    crate::harness::signal(world.pid(), "STOP");
    let mut command = part(&one, "become unseen", &world.broker());
    command.env("SIXTY_BECOME", &two);
    let mut actor = Actor::start(command);
    let runs = format!("/proc/{}/exe", actor.child.id());
    let became = soon(Duration::from_secs(10), || std::fs::read_link(&runs).is_ok_and(|path| path == two));
    crate::harness::signal(world.pid(), "CONT");
    assert!(became);
    // The kernel keeps no program from connect: SECURITY.md says so.
    assert!(actor.says().starts_with("201 "));
}
