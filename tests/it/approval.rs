//! A person's yes, where a rule wants one: asked of real processes, answered from outside of them, and good for nobody else.

mod programs;

use crate::{
    actor::{Actor, copied, itself, part},
    harness::{Answer, MINE, World, exchange, program, soon},
    needs::has,
};
use serde_json::Value;
use std::{
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

const SOON: Duration = Duration::from_secs(10);

fn asks(how: &str) -> String {
    format!("{MINE}approve = \"{how}\"\n")
}

impl World {
    fn asking(&self) -> Vec<Value> {
        self.control_http("GET", "/v1/approvals", None).json()["approvals"].as_array().unwrap().clone()
    }

    /// Waits until as many questions wait.
    fn asked(&self, many: usize) -> Vec<Value> {
        assert!(soon(SOON, || self.asking().len() == many), "{:?}", self.asking());
        self.asking()
    }

    fn answer(&self, approval: &Value, yes: bool) -> Answer {
        let id = approval["id"].as_str().unwrap();
        self.control_http("POST", &format!("/v1/approvals/{id}"), Some(&format!(r#"{{"approve":{yes}}}"#)))
    }

    /// Answers the only question that waits.
    fn says(&self, yes: bool) -> Value {
        let asked = self.asked(1).remove(0);
        assert_eq!(self.answer(&asked, yes).status, 200);
        asked
    }

    fn actor(&self, name: &str) -> Actor {
        Actor::start(part(&itself(), name, &self.broker()))
    }

    /// The decisions on leases, oldest first.
    fn decisions(&self) -> Vec<Value> {
        self.audit().into_iter().filter(|record| record["record"] == "decision").collect()
    }
}

#[test]
fn a_yes_is_one_processs_own_and_lasts_while_it_runs() {
    let world = World::with_key(&asks("once_per_process"));
    let (mut one, mut other) = (world.actor("ask"), world.actor("ask"));
    one.cue();
    let asked = world.says(true);
    assert!(one.says().starts_with("201 "));
    assert!(one.does().starts_with("201 "), "its yes is remembered");
    assert!(world.asking().is_empty());
    other.cue();
    let again = world.says(false);
    assert_eq!(other.says(), "403 denied", "the same program, and another process");
    other.cue();
    world.says(false);
    assert_eq!(other.says(), "403 denied", "a no is not remembered as a yes");
    assert_eq!(
        (&asked["key"], &asked["rule"], &asked["remembered"]),
        (&"dashscope/main".into(), &"mine".into(), &true.into())
    );
    let pids = [&one, &other].map(|actor| Value::from(actor.child.id()));
    assert_eq!([&asked, &again].map(|asked| asked["caller"]["processes"][0]["pid"].clone()), pids);
    let records = world.decisions();
    let by = |record: &Value| (record["verdict"].clone(), record["approved"]["as"].clone());
    assert_eq!(by(&records[0]), ("permit".into(), Value::Null));
    assert_eq!(by(&records[1]), ("permit".into(), "remembered".into()));
    let me = |by: &Value| {
        by["how"] == "control" && by["uid"] == nix::unistd::geteuid().as_raw() && by["pid"] == std::process::id()
    };
    assert!(records[..2].iter().all(|record| me(&record["approved"])), "{records:?}");
    assert_eq!((&records[2]["verdict"], &records[2]["reason"]), (&"denied".into(), &"a person said no".into()));
    assert!(me(&records[2]["by"]), "{records:?}");
}

#[test]
fn who_is_asked_sees_who_asks_and_for_what() {
    let world = World::with_key(&asks("always"));
    let command = "cd /usr; sixty mint dashscope/main --kind virtual --ttl 5m --uses 3 --scope models='qwen-*'; exit 0";
    let mut shell = Command::new("sh");
    shell.args(["-c", &command.replace("sixty", program().to_str().unwrap())]);
    let mut shell = shell.env("SIXTY_SOCKET", world.broker()).stdout(Stdio::null()).spawn().unwrap();
    let asked = world.says(true);
    assert!(shell.wait().unwrap().success());
    let caller = &asked["caller"];
    let this = program().canonicalize().unwrap();
    assert_eq!(caller["directory"], "/usr");
    assert_eq!(caller["processes"][0]["exe"], this.to_str().unwrap());
    assert!(caller["processes"][0]["command"].as_str().unwrap().ends_with("--scope models=qwen-*"), "{caller}");
    assert_eq!(caller["processes"][1]["pid"], shell.id());
    assert_eq!(caller["processes"][2]["pid"], std::process::id());
    let sum = Command::new("sha256sum").arg(&this).output().unwrap().stdout;
    assert_eq!(caller["exe_sha256"].as_str().unwrap(), str::from_utf8(&sum[..64]).unwrap());
    let told = |what: &str| {
        asked["asks"].as_array().unwrap().iter().find(|given| given["what"] == what).map(|given| given["how"].clone())
    };
    for (what, how) in [("kind", "virtual"), ("ttl", "300s"), ("uses", "3"), ("scope.models", "qwen-*")] {
        assert_eq!(told(what), Some(how.into()), "{asked}");
    }
    assert_eq!(asked["remembered"], false);
}

#[test]
fn always_means_each_time() {
    let world = World::with_key(&asks("always"));
    let mut one = world.actor("ask");
    for yes in [true, true, false] {
        one.cue();
        world.says(yes);
        assert!(one.says().starts_with(if yes { "201 " } else { "403 denied" }));
    }
}

#[test]
fn nine_threads_that_ask_are_one_question() {
    for how in ["once_per_process", "always"] {
        let world = World::with_key(&asks(how));
        let mut command = part(&itself(), "ask at once", &world.broker());
        let mut nine = Actor::start({
            command.env("SIXTY_TIMES", "9");
            command
        });
        assert!(
            soon(SOON, || world.asking().first().is_some_and(|asked| asked["callers"] == 9)),
            "{:?}",
            world.asking()
        );
        let asked = world.asked(1).remove(0);
        assert_eq!(world.answer(&asked, true).json()["callers"], 9);
        let said = nine.says();
        assert_eq!(said.matches("201 ").count(), 9, "{said}");
        assert_eq!(world.answer(&asked, true).status, 404, "nothing is answered twice");
    }
}

#[test]
fn silence_is_a_no_and_is_nobodys_request_time() {
    let limits = "[limits]\nrequest_time = \"1s\"\nbody_time = \"1s\"\n[approval]\ntimeout = \"5s\"\n";
    let world = World::with_key(&format!("{limits}{}", asks("once_per_process")));
    let mut one = world.actor("ask");
    let began = Instant::now();
    one.cue();
    assert_eq!(one.says(), "403 denied");
    assert!(began.elapsed() >= Duration::from_millis(4900), "{:?}", began.elapsed());
    assert!(world.asking().is_empty());
    assert_eq!(world.decisions()[0]["reason"], "nobody approved it in time");
    // A yes that comes after the request's own time is still one; and who waits is told what for.
    let waits = minting(&world, "dashscope/main");
    world.asked(1);
    std::thread::sleep(Duration::from_millis(3500));
    world.says(true);
    let waited = waits.wait_with_output().unwrap();
    assert!(waited.status.success() && !waited.stdout.is_empty());
    assert!(String::from_utf8_lossy(&waited.stderr).contains("`sixty approve` answers"), "{waited:?}");
}

#[test]
fn others_are_served_while_a_person_thinks() {
    let rules =
        format!("{}\n{MINE}", asks("always").replace("\"mine\"", "\"asks\"").replace("\"**\"", "\"dashscope/asks\""));
    let world = World::with_key(&rules);
    world.add_key("dashscope/asks");
    let body = r#"{"key":"dashscope/asks"}"#;
    let broker = world.broker();
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| minted(&world, "dashscope/asks"));
        world.asked(1);
        assert!((0..50).all(|_| world.mint(crate::harness::UPSTREAM).status == 201));
        world.says(true);
        assert!(waits.join().unwrap().status.success());
    });
    // Nor is anybody asked about what could not be had.
    assert_eq!(world.control_http("POST", "/v1/lock", None).status, 200);
    assert_eq!(exchange(&broker, "POST", "/v1/leases", Some(body)).unwrap().code(), "locked");
    assert_eq!(
        world.http("POST", "/v1/leases", Some(r#"{"key":"dashscope/asks","min_remaining":5000}"#)).code(),
        "malformed"
    );
}

fn minting(world: &World, key: &str) -> Child {
    let mut command = world.command(&["mint", key, "--kind", "virtual", "--detached"]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn minted(world: &World, key: &str) -> Output {
    minting(world, key).wait_with_output().unwrap()
}

#[test]
fn who_leaves_takes_the_question_back() {
    let world = World::with_key(&asks("once_per_process"));
    let mut gone = minting(&world, "dashscope/main");
    let asked = world.asked(1).remove(0);
    gone.kill().unwrap();
    gone.wait().unwrap();
    world.asked(0);
    assert_eq!(world.answer(&asked, true).status, 404);
    let lost = |record: &Value| record["record"] == "outcome" && record["verdict"] == "lost";
    assert!(soon(SOON, || world.audit().iter().any(lost)));
    assert!(world.decisions().is_empty());
}

#[test]
fn who_becomes_another_program_while_a_person_thinks_gets_nothing() {
    let world = World::with_key(&asks("once_per_process"));
    let (one, two) = (copied(&itself(), &world.path("bin/one")), copied(&itself(), &world.path("bin/two")));
    let mut command = part(&one, "ask then become", &world.broker());
    command.env("SIXTY_BECOME", &two);
    let mut actor = Actor::start(command);
    world.asked(1);
    actor.cue();
    assert_eq!(actor.says(), "another");
    world.says(true);
    assert_eq!(actor.says(), "403 denied");
    assert!(!world.decisions().iter().any(|record| record["verdict"] == "permit"));
}

#[test]
fn who_ends_while_a_person_thinks_gets_nothing_though_a_child_holds_its_connection() {
    let world = World::with_key(&asks("once_per_process"));
    let script = "import os,socket,sys,time\ns=socket.socket(socket.AF_UNIX);s.connect(sys.argv[1])\n\
        b=b'{\"key\":\"dashscope/main\"}'\n\
        s.send(b'POST /v1/leases HTTP/1.1\\r\\nhost: x\\r\\ncontent-length: %d\\r\\n\\r\\n'%len(b)+b)\n\
        input()\n\
        if os.fork(): os._exit(0)\n\
        time.sleep(0.2);print(s.recv(4096).decode().split()[1],flush=True)\n";
    if !has("python3", "an approval for a process that has ended") {
        return;
    }
    let mut command = Command::new("python3");
    command.args(["-c", script]).arg(world.broker()).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut parent = command.spawn().unwrap();
    let asked = world.asked(1).remove(0);
    drop(std::io::Write::write_all(parent.stdin.as_mut().unwrap(), b"\n"));
    parent.wait().unwrap();
    assert!(world.asking().is_empty(), "nobody is shown who is no more");
    world.answer(&asked, true);
    let mut said = String::new();
    std::io::Read::read_to_string(parent.stdout.as_mut().unwrap(), &mut said).unwrap();
    assert_eq!(said, "403\n");
}

#[test]
fn a_lock_a_reload_and_a_revocation_forget_every_yes() {
    let world = World::with_key(&asks("once_per_process"));
    let revoke = |query: &str| world.control_http("DELETE", &format!("/v1/leases?{query}"), None).status;
    let reload = || world.control_http("POST", "/v1/reload", None).status;
    let relock = || {
        assert_eq!(world.control_http("POST", "/v1/lock", None).status, 200);
        world.control_http("POST", "/v1/unlock", None).status
    };
    let mut one = world.actor("ask");
    let all: [&dyn Fn() -> u16; 5] =
        [&relock, &reload, &|| revoke("key=dashscope%2Fmain"), &|| revoke("all=true"), &|| {
            revoke(&format!("peer=uid:{}", nix::unistd::geteuid()))
        }];
    for forget in all {
        one.cue();
        world.says(true);
        assert!(one.says().starts_with("201 "));
        assert!(one.does().starts_with("201 "));
        assert_eq!(forget(), 200);
        // And what waits is taken back.
        one.cue();
        world.asked(1);
        assert_eq!(forget(), 200);
        let said = one.says();
        assert!(["403 denied", "423 locked"].contains(&said.as_str()), "{said}");
    }
    // Another key's revocation, and a lease that is given up, are no reason.
    one.cue();
    world.says(true);
    let said = one.says();
    let id = said.strip_prefix("201 ").unwrap();
    assert_eq!(revoke("key=dashscope%2Fother"), 200);
    assert_eq!(world.http("DELETE", &format!("/v1/leases/{id}"), None).status, 200);
    assert!(one.does().starts_with("201 "));
}

#[test]
fn a_lease_ends_when_its_rule_begins_to_ask() {
    let world = World::with_key(MINE);
    let live = || world.control_http("GET", "/v1/leases", None).json()["leases"].as_array().unwrap().len();
    assert!(minted(&world, "dashscope/main").status.success());
    assert_eq!(live(), 1);
    world.configure(&asks("once_per_process"));
    assert_eq!((world.control_http("POST", "/v1/reload", None).status, live()), (200, 0));
}

#[test]
fn no_more_questions_wait_than_may() {
    for limits in ["approvals = 2", "approvals_per_uid = 2"] {
        let world = World::with_key(&format!("[limits]\n{limits}\n{}", asks("once_per_process")));
        let mut waiting: Vec<_> = (0..2).map(|_| minting(&world, "dashscope/main")).collect();
        world.asked(2);
        let over = minted(&world, "dashscope/main");
        assert_eq!(over.status.code(), Some(75), "{limits}: {}", String::from_utf8_lossy(&over.stderr));
        let first = world.asking().remove(0);
        assert_eq!(world.answer(&first, false).status, 200);
        world.asked(1);
        waiting.push(minting(&world, "dashscope/main"));
        world.asked(2);
        world.asking().iter().for_each(|one| drop(world.answer(one, false)));
        for child in waiting {
            assert_eq!(child.wait_with_output().unwrap().status.code(), Some(77));
        }
    }
}

#[test]
fn no_more_yeses_are_remembered_than_may() {
    let world = World::with_key(&format!("[limits]\napprovals_kept = 1\n{}", asks("once_per_process")));
    let mut actors = [world.actor("ask"), world.actor("ask")];
    for actor in &mut actors {
        actor.cue();
        world.says(true);
        assert!(actor.says().starts_with("201 "));
    }
    assert!(actors[1].does().starts_with("201 "));
    actors[0].cue();
    world.says(false);
    assert_eq!(actors[0].says(), "403 denied", "the older one is asked for again");
}

#[test]
fn who_asks_cannot_answer_nor_what_it_started() {
    let world = World::with_key(&asks("once_per_process"));
    std::thread::scope(|scope| {
        // This very process asks.
        let asks = scope.spawn(|| world.mint(crate::harness::VIRTUAL));
        let asked = world.asked(1).remove(0);
        let own = world.answer(&asked, true);
        assert_eq!((own.status, own.code().as_str()), (403, "denied"));
        let child = world.sixty(&["approve", asked["id"].as_str().unwrap()]);
        assert_eq!(child.status.code(), Some(77), "{}", String::from_utf8_lossy(&child.stderr));
        assert_eq!(world.asked(1).len(), 1);
        world.control_http("POST", "/v1/reload", None);
        assert_eq!(asks.join().unwrap().code(), "denied");
    });
}

#[test]
fn a_risky_call_may_need_a_yes_of_its_own() {
    let world = World::with_key(&format!("{MINE}risky = \"approve\"\n"));
    let mut caller = Caller::new(&world, "DELETE /dashscope/compatible-mode/v1/files/file-1");
    caller.actor.cue();
    let asked = world.says(false);
    assert_eq!(caller.actor.says(), "403 denied");
    let told: Vec<_> = asked["asks"].as_array().unwrap().iter().map(|given| given["how"].as_str().unwrap()).collect();
    assert_eq!(told, ["DELETE", "/compatible-mode/v1/files/file-1"]);
    let before = world.studio.requests();
    caller.actor.cue();
    world.says(true);
    assert_ne!(caller.actor.says(), "403 denied");
    assert_eq!(world.studio.requests(), before + 1, "it went out");
    let uses: Vec<_> = world.decisions().into_iter().filter(|record| record["verdict"] == "use").collect();
    assert_eq!(uses.len(), 1);
    assert_eq!(uses[0]["approved"]["how"], "control");
    let mut plain = Caller::new(&world, "GET /dashscope/compatible-mode/v1/models");
    plain.actor.cue();
    assert!(plain.actor.says().starts_with("200"), "no one is asked about what is not risky");
}

/// A process that calls with a virtual key of its own.
struct Caller {
    actor: Actor,
}

impl Caller {
    fn new(world: &World, target: &str) -> Self {
        // The shell owns the key, and becomes the caller.
        let mint =
            format!("SIXTY_KEY=$({} mint dashscope/main --kind virtual) exec \"$0\" \"$@\"", program().display());
        let inner = part(&itself(), "call", &world.path("run/gateway.sock"));
        let mut command = Command::new("sh");
        command
            .args(["-c", &format!("export SIXTY_PART=call; {mint}")])
            .arg(inner.get_program())
            .args(inner.get_args());
        command.env("SIXTY_TARGET", target).env("SIXTY_SOCKET", world.broker());
        command.env("SIXTY_GATEWAY", world.path("run/gateway.sock"));
        let mut actor = Actor::start(command);
        actor.says();
        Self { actor }
    }
}

#[test]
fn it_is_told_beforehand_that_a_person_is_asked() {
    let world = World::with_key(&asks("once_per_process"));
    let why = world.sixty(&["why", "dashscope/main"]);
    let text = String::from_utf8(why.stdout).unwrap();
    assert!(text.contains("approve  ") && text.contains("a person is asked for each process"), "{text}");
    assert_eq!(world.http("GET", "/v1/whoami", None).json()["approve"]["dashscope/main"], "once_per_process");
    let who = String::from_utf8(world.sixty(&["whoami"]).stdout).unwrap();
    assert!(who.contains("dashscope/main (a person is asked: once_per_process)"), "{who}");
    assert!(World::with_key(MINE).http("GET", "/v1/whoami", None).json()["approve"].as_object().unwrap().is_empty());
}

/// Runs `sixty approve` on a terminal of its own, answers each question in turn, and gives all that was shown.
fn at_a_terminal(world: &World, words: &[&str], answers: &str) -> String {
    const TYPIST: &str = "\
import os,pty,sys
pid,fd=pty.fork()
if pid==0: os.execvp(sys.argv[2],sys.argv[2:])
s=b'';n=0
while True:
 try: b=os.read(fd,4096)
 except OSError: break
 if not b: break
 s+=b
 if s.count(b'[y/N]')>n and n<len(sys.argv[1]):
  os.write(fd,sys.argv[1][n].encode()+b'\\n'); n+=1
 elif s.count(b'[y/N]')>n: os.write(fd,b'\\x04')
sys.stdout.buffer.write(s);sys.stdout.write('\\nEXIT %d\\n'%os.waitstatus_to_exitcode(os.waitpid(pid,0)[1]))
";
    let inner = world.command(&[&["approve"], words].concat());
    let mut command = Command::new("timeout");
    command.args(["30", "python3", "-c", TYPIST, answers]).arg(inner.get_program()).args(inner.get_args());
    command.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_person_at_a_terminal_sees_all_and_answers() {
    if !has("python3", "approvals at a terminal") {
        return;
    }
    let world = World::with_key(&asks("once_per_process"));
    let (first, second) = (minting(&world, "dashscope/main"), {
        world.asked(1);
        minting(&world, "dashscope/main")
    });
    world.asked(2);
    let shown = at_a_terminal(&world, &[], "yn");
    assert!(shown.contains("let it have dashscope/main? [y/N]") && shown.contains("EXIT 0"), "{shown}");
    for fact in [
        "exe sha256",
        "directory",
        "started by",
        "for all of this until the process ends",
        "approved: 1 request",
        "denied: 1 request",
    ] {
        assert!(shown.contains(fact), "{fact}: {shown}");
    }
    assert_eq!(first.wait_with_output().unwrap().status.code(), Some(0));
    assert_eq!(second.wait_with_output().unwrap().status.code(), Some(77));
    let nothing = world.sixty(&["approve"]);
    assert_eq!(String::from_utf8_lossy(&nothing.stderr), "nothing waits for approval\n");
}

#[test]
fn what_asks_cannot_steer_the_terminal_of_who_answers() {
    if !has("python3", "approvals at a terminal") {
        return;
    }
    let world = World::with_key(&asks("once_per_process"));
    let hostile = world.path("\u{1b}[2J\u{1b}]0;x\u{7}\u{202e}dir\nid  ap_0000000000000000\n");
    std::fs::create_dir(&hostile).unwrap();
    let program = copied(&program(), &hostile.join("\u{1b}[31msixty\r"));
    let mut command = Command::new("sh");
    command.arg("-c").arg(
        "cd \"$1\"; \"$0\" mint dashscope/main --kind virtual '--scope' \"$(printf 'models=\\033[2Ja\\nkey  x')\"",
    );
    command.arg(&program).arg(&hostile).env("SIXTY_SOCKET", world.broker());
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    world.asked(1);
    let shown = at_a_terminal(&world, &[], "n");
    assert_eq!(child.wait().unwrap().code(), Some(77));
    let ours: String =
        shown.replace("\r\n", "\n").replace("\u{1b}[1m", "").replace("\u{1b}[0m", "").replace("\u{1b}[31m", "");
    assert!(!ours.chars().any(|letter| letter.is_control() && letter != '\n' || letter == '\u{202e}'), "{ours:?}");
    assert!(ours.contains("\\u{1b}[2J") && ours.contains("\\u{202e}"), "{ours}");
    assert_eq!(ours.matches("\nid ").count() + usize::from(ours.starts_with("id ")), 1, "{ours}");
    let asked_as = ours.lines().filter(|line| line.starts_with("key ")).count();
    assert_eq!(asked_as, 1, "{ours}");
}

#[test]
fn a_command_lists_and_answers_without_a_terminal() {
    let world = World::with_key(&asks("once_per_process"));
    let one = minting(&world, "dashscope/main");
    let asked = world.asked(1).remove(0);
    let id = asked["id"].as_str().unwrap();
    let list = world.sixty(&["approve"]);
    let text = String::from_utf8(list.stdout).unwrap();
    assert!(list.status.success() && text.contains(id) && text.contains("started by"), "{text}");
    let json: Value = serde_json::from_slice(&world.sixty(&["approve", "--json"]).stdout).unwrap();
    assert_eq!(json["approvals"][0]["id"], id);
    let yes = world.sixty(&["approve", id, "--json"]);
    assert_eq!(serde_json::from_slice::<Value>(&yes.stdout).unwrap()["approved"], true);
    assert!(one.wait_with_output().unwrap().status.success());
    let late = world.sixty(&["approve", id]);
    assert!(!late.status.success() && String::from_utf8_lossy(&late.stderr).contains("nothing waits for approval as"));
    let one = minting(&world, "dashscope/main");
    let id = world.asked(1).remove(0)["id"].as_str().unwrap().to_owned();
    assert!(world.sixty(&["approve", &id, "--deny"]).status.success());
    assert_eq!(one.wait_with_output().unwrap().status.code(), Some(77));
}
