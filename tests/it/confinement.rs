//! What the daemon took from itself: seen from outside, on a real one with all of its threads. That nothing else can be
//! done from within is tested where it is taken, in `sys`; that all can be done that must be, by every other test here.

use crate::{
    actor::{Actor, copied, itself, part},
    harness::{MINE, SECOND, UPSTREAM, VIRTUAL, World, is_root, signal, soon},
    needs::{has, missing},
};
use serde_json::{Value, json};
use std::{
    os::unix::{
        fs::{MetadataExt, PermissionsExt, chown},
        process::CommandExt,
    },
    process::{Command, Stdio},
};

const NOBODY: u32 = 65534;

/// A line of /proc/PID/status, or of one of its threads.
fn told(of: &str, name: &str) -> String {
    let status = std::fs::read_to_string(format!("/proc/{of}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim_start_matches(':').split_whitespace().collect::<Vec<_>>().join(" ")
}

fn children(pid: u32) -> Vec<String> {
    let all = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    all.split_whitespace().map(str::to_owned).collect()
}

fn confinement(world: &World) -> Value {
    world.status()["confinement"].clone()
}

/// Whether this machine has all of it; the tests say so where not.
fn whole(world: &World) -> bool {
    let here = confinement(world)["missing"] == json!([]);
    if !here {
        missing(&format!("{}", confinement(world)["missing"]), "confinement by the kernel is");
    }
    here
}

#[test]
fn every_thread_of_the_daemon_and_its_lookouts_are_confined() {
    let world = World::with_daemon("workers = 3");
    if !whole(&world) {
        return;
    }
    let pid = world.pid();
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    let threads: Vec<_> = tasks.map(|task| format!("{pid}/task/{}", task.file_name().to_str().unwrap())).collect();
    assert!(threads.len() >= 3, "{threads:?}");
    let lookouts = children(pid);
    assert_eq!(lookouts.len(), 1);
    for one in threads.iter().chain(&lookouts) {
        assert_eq!((told(one, "Seccomp"), told(one, "NoNewPrivs")), ("2".into(), "1".into()), "{one}");
    }
    assert_eq!(told(&lookouts[0], "Name"), "sixty-lookout");
    let seen = confinement(&world);
    assert_eq!((&seen["wanted"], &seen["seccomp"]), (&json!("best"), &json!(true)));
    assert!(seen["landlock"].as_u64().unwrap() >= 1);
    assert_eq!((&seen["ports"], &seen["user"]), (&Value::Null, &Value::Null));
    assert!(world.http("GET", "/readyz", None).text().contains("confinement: whole"));
    let metrics = world.control_http("GET", "/metrics", None);
    assert!(metrics.text().contains("sixty_confined 1\n"));
}

#[test]
fn off_takes_nothing_that_the_first_lines_have_not() {
    let world = World::with_daemon("confinement = \"off\"");
    let pid = world.pid().to_string();
    assert_eq!((told(&pid, "Seccomp"), told(&pid, "NoNewPrivs")), ("0".into(), "1".into()));
    assert_eq!(children(world.pid()), [] as [&str; 0]);
    assert_eq!(confinement(&world)["landlock"], Value::Null);
    assert_eq!(confinement(&world)["missing"], json!([]));
    assert_eq!(world.mint(UPSTREAM).status, 201);
}

#[test]
fn files_that_are_replaced_are_read_and_written_still() {
    let world = World::with_key(MINE);
    let replace = |name: &str, text: &str| {
        let (new, old) = (world.path(&format!("{name}.new")), world.path(name));
        std::fs::copy(&old, &new).unwrap();
        std::fs::write(&new, std::fs::read_to_string(&old).unwrap() + text).unwrap();
        std::fs::rename(new, old).unwrap();
    };
    assert_eq!(world.mint(UPSTREAM).status, 201);
    replace(
        "sixty.toml",
        "\n[[rule]]\nname = \"two\"\npeer = { uid = \"self\" }\nkeys = [\"**\"]\nkinds = [\"virtual\"]\n",
    );
    replace("vault.key", "");
    assert_eq!(world.control_http("POST", "/v1/reload", None).status, 200);
    assert_eq!(world.status()["policy"]["rules"], 2);
    assert_eq!(world.control_http("POST", "/v1/lock", None).status, 200);
    assert_eq!(world.control_http("POST", "/v1/unlock", None).status, 200);
    world.rotate(&crate::harness::random_key());
    std::fs::rename(world.path("state/audit.ndjson"), world.path("state/audit.1")).unwrap();
    signal(world.pid(), "USR1");
    assert!(soon(5 * SECOND, || world.path("state/audit.ndjson").exists()), "{}", world.log());
    assert_eq!(world.mint(VIRTUAL).status, 201);
}

#[test]
fn each_directory_that_the_config_names_is_written() {
    let mut world = World::asleep(
        &format!(
            "[daemon]\nruntime_dir = \"DIRECTORY/run\"\nstate_dir = \"DIRECTORY/state\"\n\
             gateway_socket = \"DIRECTORY/sockets/gateway.sock\"\n[audit]\npath = \"DIRECTORY/records/audit\"\n{MINE}"
        ),
        &[],
    );
    std::fs::create_dir(world.path("records")).unwrap();
    world.start();
    world.add_key("dashscope/main");
    assert_eq!(world.mint(UPSTREAM).status, 201);
    assert!(world.path("sockets/gateway.sock").exists());
    assert!(world.path("records/audit").metadata().unwrap().len() > 0);
}

#[test]
fn a_config_beside_which_the_daemon_was_started_is_read_again() {
    let mut world = World::asleep(MINE, &[]);
    let mut command = world.command(&["daemon", "--config", "sixty.toml"]);
    command.current_dir(world.directory.path());
    world.start_by(command);
    assert_eq!(world.control_http("POST", "/v1/reload", None).status, 200);
}

#[test]
fn names_are_looked_up_still() {
    let world = World::new(MINE);
    let port = world.studio.address().port();
    world.add_key_at("dashscope/main", &format!("https://localhost:{port}"));
    assert_eq!(world.mint(UPSTREAM).status, 201, "{}", world.log());
}

#[test]
fn a_port_that_the_config_does_not_name_is_refused_when_a_key_comes_and_when_it_is_used() {
    let always = "ca_file = \"DIRECTORY/ca.pem\"\nallow_loopback = true";
    let mut world = World::asleep(MINE, &[]);
    let port = world.studio.address().port();
    world.configure(&format!("[upstream]\n{always}\nports = [443, {port}]\n{MINE}"));
    world.start();
    world.add_key("dashscope/main");
    assert_eq!(world.mint(UPSTREAM).status, 201);
    if whole(&world) {
        assert_eq!(confinement(&world)["ports"], json!([443, port]));
    }
    world.stop();
    world.configure(&format!("[upstream]\n{always}\nports = [443]\n{MINE}"));
    world.start();
    assert_eq!(world.mint(UPSTREAM).status, 502);
    assert!(world.log().contains("its port is not among `ports` under [upstream]"), "{}", world.log());
    let body = format!(
        r#"{{"provider":"dashscope","endpoint":"{}","secret":"{}"}}"#,
        world.studio.url(),
        crate::harness::random_key()
    );
    let answer = world.control_http("PUT", "/v1/keys/dashscope/other", Some(&body));
    assert_eq!(answer.status, 400);
    assert!(answer.text().contains("its port is not among `ports`"), "{}", answer.text());
    // The provider's own are at 443.
    let body = format!(r#"{{"provider":"dashscope","secret":"{}"}}"#, crate::harness::random_key());
    assert_eq!(world.control_http("PUT", "/v1/keys/dashscope/own", Some(&body)).status, 201);
}

/// Runs a program in a world where a system call is not there.
const WITHOUT: &str = r"
import ctypes, os, struct, sys
libc = ctypes.CDLL(None)
rules = [(0x20, 0, 0, 0), (0x15, 0, 1, int(sys.argv[1])), (0x06, 0, 0, 0x50000 | 38), (0x06, 0, 0, 0x7fff0000)]
text = ctypes.create_string_buffer(b''.join(struct.pack('HBBI', *rule) for rule in rules))
program = struct.pack('HxxxxxxQ', len(rules), ctypes.addressof(text))
assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, program, 0, 0) == 0
os.execv(sys.argv[2], sys.argv[2:])
";

fn without(call: i64, inner: &Command) -> Command {
    let mut command = Command::new("python3");
    command.args(["-c", WITHOUT, &call.to_string()]).arg(inner.get_program()).args(inner.get_args());
    command.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command
}

#[test]
fn a_kernel_that_lacks_something_is_told_and_with_require_nothing_starts() {
    if !has("python3", "a kernel without Landlock or seccomp is") {
        return;
    }
    for (call, lacks, field) in
        [(libc::SYS_landlock_create_ruleset, "Landlock", "landlock"), (libc::SYS_seccomp, "seccomp", "seccomp")]
    {
        let mut world = World::asleep(MINE, &[]);
        world.start_by(without(call, &world.daemon_command()));
        let seen = confinement(&world);
        assert!(seen["missing"].to_string().contains(lacks), "{seen}");
        assert!([json!(null), json!(false)].contains(&seen[field]), "{seen}");
        assert!(world.log().contains("not confined altogether"));
        assert!(world.http("GET", "/readyz", None).text().contains("confinement: in part"));
        assert!(world.control_http("GET", "/metrics", None).text().contains("sixty_confined 0\n"));
        world.stop();

        let places = "[daemon]\nruntime_dir = \"DIRECTORY/run\"\nstate_dir = \"DIRECTORY/state\"";
        world.configure(&format!("{places}\nconfinement = \"require\"\n{MINE}"));
        let ended = without(call, &world.daemon_command()).stdin(Stdio::null()).output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(78), "{said}");
        assert!(said.contains("confinement = \"require\"") && said.contains(lacks), "{said}");
    }
}

#[test]
fn require_starts_where_nothing_is_missing() {
    if whole(&World::new(MINE)) {
        let world = World::with_daemon("confinement = \"require\"");
        assert_eq!(world.mint(UPSTREAM).status, 201);
        assert_eq!(confinement(&world)["wanted"], "require");
    }
}

#[test]
fn without_its_lookout_no_rule_on_a_program_matches_and_status_says_so() {
    let rule =
        "[[rule]]\nname = \"one\"\npeer = { exe = \"DIRECTORY/bin/one\" }\nkeys = [\"**\"]\nkinds = [\"virtual\"]\n";
    let world = World::with_key(rule);
    if !whole(&world) {
        return;
    }
    let ask = || Actor::start(part(&copied(&itself(), &world.path("bin/one")), "ask", &world.broker())).does();
    assert!(ask().starts_with("201 "));
    signal(children(world.pid())[0].parse().unwrap(), "TERM");
    assert!(ask().starts_with("201 "), "what is told to all of a service's processes is not for it");
    signal(children(world.pid())[0].parse().unwrap(), "KILL");
    assert!(soon(SECOND, || ask() == "403 denied"));
    assert!(confinement(&world)["missing"].to_string().contains("lookout"));
    assert!(world.control_http("GET", "/metrics", None).text().contains("sixty_confined 0\n"));
}

#[test]
fn a_lookout_that_does_not_answer_keeps_nobody_waiting_for_long() {
    let world = World::with_key(MINE);
    if !whole(&world) {
        return;
    }
    let lookout = children(world.pid())[0].parse().unwrap();
    signal(lookout, "STOP");
    let began = std::time::Instant::now();
    assert_eq!(world.mint(UPSTREAM).status, 201);
    assert!(began.elapsed() < 4 * SECOND, "{:?}", began.elapsed());
    signal(lookout, "CONT");
    let who = || world.http("GET", "/v1/whoami", None).text();
    assert!(soon(5 * SECOND, || who().contains("exe:")), "late answers are of no question");
}

#[test]
fn lookouts_end_with_the_daemon_however_it_ends() {
    let mut world = World::with_key(&format!("[gateway]\nlisten = \"127.0.0.1:0\"\n{MINE}"));
    if !whole(&world) {
        return;
    }
    let mut lookouts = children(world.pid());
    assert_eq!(lookouts.len(), 2, "one for programs, one for sockets");
    world.kill();
    world.start();
    lookouts.extend(children(world.pid()));
    assert_eq!(world.stop(), Some(0));
    let gone = || lookouts.iter().all(|pid| std::fs::metadata(format!("/proc/{pid}")).is_err());
    assert!(soon(5 * SECOND, gone));
}

/// A world whose files are nobody's, and a daemon that root starts and that is to become nobody.
fn for_nobody(files: &[&str]) -> World {
    let places = "[daemon]\nruntime_dir = \"DIRECTORY/run\"\nstate_dir = \"DIRECTORY/state\"\nuser = \"65534\"";
    let world = World::asleep(&format!("{places}\n{MINE}"), &[]);
    for file in files {
        chown(world.path(file), Some(NOBODY), None).unwrap();
    }
    world
}

#[test]
fn root_becomes_the_user_and_serves_as_that_user() {
    if !is_root() {
        missing("not root", "becoming another user is");
        return;
    }
    let mut world = for_nobody(&["vault.key", "ca.pem"]);
    std::fs::set_permissions(world.path("sixty.toml"), PermissionsExt::from_mode(0o644)).unwrap();
    // What `sixty init` or an earlier daemon left as root's.
    std::fs::create_dir(world.path("state")).unwrap();
    std::fs::write(world.path("state/audit.ndjson"), "").unwrap();
    world.start();
    let pid = world.pid().to_string();
    for one in children(world.pid()).into_iter().chain([pid]) {
        let ids = [told(&one, "Uid"), told(&one, "Gid"), told(&one, "Groups")];
        // What may not be dumped is root's.
        assert_eq!(std::fs::metadata(format!("/proc/{one}/mem")).unwrap().uid(), 0, "{one}");
        assert_eq!(ids, ["65534 65534 65534 65534", "65534 65534 65534 65534", "65534"], "{one}");
        for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
            assert_eq!(told(&one, set), "0000000000000000", "{one} {set}");
        }
    }
    world.add_key("dashscope/main");
    assert_eq!(confinement(&world)["user"].as_str().map(str::is_empty), Some(false));
    whole(&world);
    // `uid = "self"` is who serves, not who started it.
    assert_eq!(world.mint(UPSTREAM).status, 403);
    let sixty = copied(&crate::harness::program(), &world.path("bin/sixty"));
    let mut mint = Command::new(sixty);
    mint.args(["mint", "dashscope/main", "--detached", "--json"])
        .env("SIXTY_SOCKET", world.broker())
        .uid(NOBODY)
        .gid(NOBODY);
    let out = mint.output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    // Everybody may ask, as of any machine's daemon: the policy, not a mode, says no.
    assert_eq!(mint.uid(1234).gid(1234).output().unwrap().status.code(), Some(77));
    assert_eq!(world.control_http("POST", "/v1/reload", None).status, 200);
    assert_eq!(world.stop(), Some(0));
}

#[test]
fn what_the_user_can_not_read_is_told_at_the_start() {
    if !is_root() {
        missing("not root", "becoming another user is");
        return;
    }
    let world = for_nobody(&["vault.key"]);
    let ended = world.daemon_command().stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(78), "{said}");
    assert!(said.contains("sixty.toml"), "{said}");
}

#[test]
fn a_user_that_can_not_be_become_is_told() {
    for (name, says) in [("no-such-user", "no user `no-such-user`"), ("root", "root itself")] {
        let places = "[daemon]\nruntime_dir = \"DIRECTORY/run\"\nstate_dir = \"DIRECTORY/state\"";
        let world = World::asleep(&format!("{places}\nuser = \"{name}\"\n{MINE}"), &[]);
        let ended = world.daemon_command().stdin(Stdio::null()).output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(78), "{said}");
        assert!(said.contains(says), "{said}");
    }
}
