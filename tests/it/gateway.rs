//! The gateway over its real socket: a virtual key in, the pretend Model Studio's answer out, and everything else refused.

use crate::harness::{Answer, MINE, SECOND, World, read_answer, remember, soon};
use sixty::demo::studio::Fault;
use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
    process::{Child, Stdio},
    time::{Duration, Instant},
};

const CHAT: &str = "/dashscope/compatible-mode/v1/chat/completions";
const QUESTION: &str = r#"{"model":"qwen-plus","messages":[{"role":"user","content":"Who are you?"}]}"#;
const STREAM: &str = r#"{"model":"qwen-plus","stream":true,"messages":[{"role":"user","content":"Who are you?"}]}"#;

impl World {
    /// A virtual key of this very process; `more` are further fields.
    pub fn virtual_key(&self, more: &str) -> String {
        self.mint(&format!(r#"{{"key":"dashscope/main","kind":"virtual"{more}}}"#)).token()
    }

    pub fn gateway(&self) -> UnixStream {
        let stream = UnixStream::connect(self.path("run/gateway.sock")).unwrap();
        stream.set_read_timeout(Some(10 * SECOND)).unwrap();
        stream
    }

    fn call(&self, key: &str, method: &str, target: &str, body: &str) -> Answer {
        let mut stream = self.gateway();
        send(&mut stream, key, method, target, body);
        read_answer(&mut stream).expect("the gateway answers")
    }
}

fn send(stream: &mut UnixStream, key: &str, method: &str, target: &str, body: &str) {
    let head = format!(
        "{method} {target} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    let _ = stream.write_all(head.as_bytes());
}

/// A process of its own with a virtual key of its own.
pub struct Holder {
    shell: Child,
    pub key: String,
}

impl Holder {
    pub fn new(world: &World) -> Self {
        let program = crate::harness::program();
        let script = format!("{} mint dashscope/main --kind virtual; exec sleep 60", program.display());
        let mut command = std::process::Command::new("sh");
        command.args(["-c", &script]).env("SIXTY_SOCKET", world.broker()).stdout(Stdio::piped());
        let mut shell = command.spawn().unwrap();
        let mut key = [0; 55];
        shell.stdout.as_mut().unwrap().read_exact(&mut key).unwrap();
        let key = String::from_utf8(key.to_vec()).unwrap();
        remember(&key);
        Self { shell, key }
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.shell.kill();
        let _ = self.shell.wait();
    }
}

#[test]
fn a_virtual_key_calls_and_the_real_one_is_put_in() {
    let world = World::with_key(MINE);
    let key = world.virtual_key("");
    let mut stream = world.gateway();
    for _ in 0..3 {
        send(&mut stream, &key, "POST", CHAT, QUESTION);
        let answer = read_answer(&mut stream).unwrap();
        assert_eq!((answer.status, answer.json()["usage"]["completion_tokens"].as_u64()), (200, Some(6)));
    }
    let uses: Vec<_> = world.audit().into_iter().filter(|line| line["verdict"] == "use").collect();
    assert_eq!(uses.len(), 3);
    assert!(uses.iter().all(|line| line["key"] == "dashscope/main" && line["lease"].is_string()));
    assert_eq!(world.audit().iter().filter(|line| line["verdict"] == "passed" && line["status"] == 200).count(), 3);
}

#[test]
fn a_stream_passes_event_by_event() {
    let world = World::with_key(MINE);
    let key = world.virtual_key("");
    let answer = world.call(&key, "POST", CHAT, &STREAM.replace("{\"model", "{\"stream_options\":{},\"model"));
    assert_eq!(answer.status, 200);
    assert!(answer.head.contains("text/event-stream") && answer.text().matches("data: ").count() > 6);
}

#[test]
fn a_copied_key_is_worthless_in_another_process_and_good_in_a_descendant() {
    let world = World::with_key(MINE);
    let holder = Holder::new(&world);
    assert_eq!(world.call(&holder.key, "POST", CHAT, QUESTION).refused(), (403, "denied".into()));
    let refused = |line: &serde_json::Value| line["code"] == "denied" && line["key"] == "dashscope/main";
    assert!(world.audit().iter().any(refused), "who tried is on record");
    // A child of the process that the key was minted for.
    let key = world.virtual_key("");
    let mut curl = std::process::Command::new("curl");
    curl.args([
        "-s",
        "--unix-socket",
        world.path("run/gateway.sock").to_str().unwrap(),
        "-H",
        "content-type: application/json",
    ]);
    curl.args(["-H", &format!("x-api-key: {key}"), "-d", QUESTION, &format!("http://x{CHAT}")]);
    let answer = String::from_utf8(curl.output().unwrap().stdout).unwrap();
    assert!(answer.contains("pretend "), "{answer}");
}

#[test]
fn without_a_live_key_nothing_goes_out() {
    let world = World::with_key(&format!("{MINE}uses = {{ max = 2 }}"));
    let before = world.studio.requests();
    let mut stream = world.gateway();
    stream.write_all(format!("GET {CHAT} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).unwrap();
    let answer = read_answer(&mut stream).unwrap();
    assert_eq!(answer.refused(), (401, "denied".into()));
    assert!(answer.head.contains("www-authenticate: basic"));
    let forged = "sixty_0000000000000000000000000000000000000000000000000";
    assert_eq!(world.call(forged, "GET", CHAT, "").refused(), (400, "malformed".into()));
    assert_eq!(world.call("sk-0123456789abcdef", "GET", CHAT, "").refused(), (403, "denied".into()));
    let short = world.virtual_key(r#","ttl":1"#);
    std::thread::sleep(Duration::from_millis(1100));
    assert_eq!(world.call(&short, "POST", CHAT, QUESTION).refused(), (401, "expired".into()));
    let lease = world.mint(r#"{"key":"dashscope/main","kind":"virtual"}"#);
    let key = lease.token();
    let id = lease.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(world.http("DELETE", &format!("/v1/leases/{id}"), None).status, 200);
    assert_eq!(world.call(&key, "POST", CHAT, QUESTION).refused(), (401, "revoked".into()));
    assert_eq!(world.studio.requests(), before, "nothing of all that reached the provider");
    let twice = world.virtual_key("");
    assert_eq!([(); 3].map(|()| world.call(&twice, "POST", CHAT, QUESTION).status), [200, 200, 401]);
    assert_eq!(world.call(&twice, "POST", CHAT, QUESTION).refused().1, "exhausted");
}

#[test]
fn a_scope_is_kept_for_every_method_and_path() {
    let rule = format!("{MINE}scope = {{ methods = [\"POST\"], paths = [\"/compatible-mode/**\"] }}");
    let world = World::with_key(&rule);
    let key = world.virtual_key(r#","scope":{"paths":["/compatible-mode/v1/chat/*"]}"#);
    assert_eq!(world.call(&key, "POST", CHAT, QUESTION).status, 200);
    for method in ["GET", "PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND"] {
        assert_eq!(world.call(&key, method, CHAT, "").status, 403, "{method}");
    }
    for path in
        ["/dashscope/compatible-mode/v1/models", "/dashscope/api/v1/tokens", "/dashscope/compatible-mode/v1/chat/a/b"]
    {
        assert_eq!(world.call(&key, "POST", path, "{}").status, 403, "{path}");
    }
    assert_eq!(world.call(&key, "POST", "/dashscope/compatible-mode/v1/chat/../models", "{}").status, 400);
    assert_eq!(world.call(&key, "POST", "/openai/v1/chat/completions", "{}").status, 403, "another provider's key");
}

#[test]
fn what_ends_a_lease_cuts_what_runs_on_it() {
    let world = World::with_key(MINE);
    let ends: [(&str, &dyn Fn()); 3] = [
        ("revoke", &|| assert_eq!(world.control_http("DELETE", "/v1/leases?all=true", None).status, 200)),
        ("lock", &|| assert_eq!(world.control_http("POST", "/v1/lock", None).status, 200)),
        ("remove", &|| assert_eq!(world.control_http("DELETE", "/v1/keys/dashscope/main", None).status, 200)),
    ];
    for (name, end) in ends {
        world.control_http("POST", "/v1/unlock", Some("{}"));
        world.studio.next(Fault::SlowBody(Duration::from_millis(700)));
        let key = world.virtual_key("");
        let mut stream = world.gateway();
        send(&mut stream, &key, "POST", CHAT, STREAM);
        let mut first = [0; 300];
        stream.read_exact(&mut first).unwrap();
        let began = Instant::now();
        end();
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
        assert!(began.elapsed() < SECOND, "{name} took {:?}", began.elapsed());
        assert!(!String::from_utf8_lossy(&rest).contains("[DONE]"), "{name}");
    }
}

#[test]
fn an_owners_exit_cuts_its_calls() {
    let world = World::with_key(MINE);
    world.studio.next(Fault::SlowBody(3 * SECOND));
    let program = crate::harness::program();
    let script = format!(
        "K=$({} mint dashscope/main --kind virtual); curl -sN --unix-socket {} -H \"x-api-key: $K\" -d '{STREAM}' http://x{CHAT} & sleep 1",
        program.display(),
        world.path("run/gateway.sock").display()
    );
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", &script]).env("SIXTY_SOCKET", world.broker()).stdout(Stdio::piped());
    let began = Instant::now();
    let output = shell.output().unwrap();
    assert!(began.elapsed() < 5 * SECOND, "curl outlived its shell's key: {:?}", began.elapsed());
    assert!(!String::from_utf8_lossy(&output.stdout).contains("[DONE]"));
    assert!(soon(SECOND, || world.status()["leases"]["live"] == 0));
}

#[test]
fn a_reload_takes_back_what_the_rules_do_not_give_any_more() {
    let world = World::with_key(MINE);
    let key = world.virtual_key("");
    let reload = || assert_eq!(world.control_http("POST", "/v1/reload", None).status, 200);
    reload();
    assert_eq!(world.call(&key, "POST", CHAT, QUESTION).status, 200, "the rule is as it was");
    world.configure(&format!("{MINE}scope = {{ methods = [\"GET\"] }}"));
    reload();
    assert_eq!(world.call(&key, "POST", CHAT, QUESTION).refused(), (401, "revoked".into()));
    let key = world.virtual_key("");
    world.configure(&MINE.replace("\"virtual\"", "\"upstream\"").replace("\"upstream\", \"upstream\"", "\"upstream\""));
    reload();
    assert_eq!(world.call(&key, "GET", "/dashscope/compatible-mode/v1/models", "").refused(), (401, "revoked".into()));
}

#[test]
fn what_would_hand_out_another_credential_is_never_passed_on_and_what_deletes_takes_more() {
    let world = World::with_key(MINE);
    let key = world.virtual_key("");
    assert_eq!(world.call(&key, "POST", "/dashscope/api/v1/tokens", "").status, 403);
    assert_eq!(world.call(&key, "DELETE", "/dashscope/api/v1/tasks/1", "").status, 403);
    assert_eq!(world.studio.requests(), 0);
    world.configure(&format!("{MINE}risky = \"single_use\""));
    assert_eq!(world.control_http("POST", "/v1/reload", None).status, 200);
    let (many, once) = (world.virtual_key(""), world.virtual_key(r#","uses":1"#));
    assert_eq!(world.call(&many, "DELETE", "/dashscope/api/v1/tasks/1", "").status, 403);
    assert_eq!(
        world.call(&once, "DELETE", "/dashscope/api/v1/tasks/1", "").status,
        404,
        "the stand-in has no such path"
    );
    assert_eq!(world.studio.requests(), 1);
}

#[test]
fn each_client_is_told_in_its_own_words() {
    let world = World::with_key(MINE);
    let key = world.virtual_key(r#","scope":{"methods":["GET"]}"#);
    let told = |path: &str| world.call(&key, "POST", path, "{}").json();
    assert_eq!(told(CHAT)["error"]["type"], "authentication_error");
    assert_eq!(told("/dashscope/apps/anthropic/v1/messages")["error"]["type"], "permission_error");
    assert_eq!(told("/dashscope/api/v1/services/aigc/text-generation/generation")["code"], "AccessDenied");
    assert_eq!(told("/dashscope/elsewhere")["code"], "denied");
    assert_eq!(told("/gemini/v1beta/models/x:generateContent")["error"]["status"], "PERMISSION_DENIED");
}

#[test]
fn a_models_scope_is_kept_whatever_the_body_looks_like() {
    let world =
        World::with_key(&format!("[limits]\nlook_bytes = \"1KiB\"\n{MINE}scope = {{ models = [\"qwen-p*\"] }}"));
    let key = world.virtual_key("");
    let ask = |body: &str| world.call(&key, "POST", CHAT, body);
    assert_eq!(ask(QUESTION).status, 200);
    let reached = world.studio.requests();
    assert_eq!(ask(&QUESTION.replace("qwen-plus", "qwen-max")).refused(), (403, "denied".into()));
    for (body, code) in [
        (r#"{"messages":[]}"#.to_owned(), "denied"),
        (QUESTION.replace("\"messages\"", "\"model\":\"qwen-max\",\"messages\""), "malformed"),
        (QUESTION.replace("\"messages\"", "\"mod\\u0065l\":\"qwen-max\",\"messages\""), "malformed"),
        ("model=qwen-plus".into(), "malformed"),
        (QUESTION.replace("Who", &"Who ".repeat(400)), "too_large"),
    ] {
        assert_eq!(ask(&body).refused().1, code, "{body}");
    }
    assert_eq!(world.studio.requests(), reached, "none of it left the machine");
}

#[test]
fn a_stream_has_its_usage_event_only_for_whom_it_asked() {
    let world = World::with_key(MINE);
    let key = world.virtual_key("");
    let told = |body: &str| world.call(&key, "POST", CHAT, body).text();
    let asked = STREAM.replace("\"stream\":true", "\"stream\":true,\"stream_options\":{\"include_usage\":true}");
    assert!(told(&asked).contains("completion_tokens"));
    let unasked = told(STREAM);
    assert!(!unasked.contains("completion_tokens") && unasked.contains("[DONE]"), "{unasked}");
    assert_eq!(told(&asked).matches("data: ").count(), unasked.matches("data: ").count() + 1);
}

#[test]
fn a_key_that_the_provider_sends_back_goes_no_further() {
    let world = World::new(MINE);
    let real = world.add_key("dashscope/main");
    remember(&real);
    let key = world.virtual_key("");
    for fault in [Fault::EchoBody, Fault::EchoHead] {
        world.studio.next(fault);
        let mut stream = world.gateway();
        send(&mut stream, &key, "POST", CHAT, QUESTION);
        let mut all = Vec::new();
        let _ = stream.read_to_end(&mut all);
        let text = String::from_utf8_lossy(&all);
        assert!(!text.contains(&real) && !text.contains(&real[..real.len() / 2]), "{fault:?}");
    }
    assert_eq!(world.status()["echoed"][0], "dashscope/main");
    assert!(world.audit().iter().any(|line| line["record"] == "key_echoed"));
    world.studio.next(Fault::Compressed);
    let mut stream = world.gateway();
    send(&mut stream, &key, "POST", CHAT, QUESTION);
    let mut all = Vec::new();
    let _ = stream.read_to_end(&mut all);
    assert!(!String::from_utf8_lossy(&all).contains("choices"), "what is not what it says goes no further");
    let fresh = crate::harness::random_key();
    world.studio.register(&fresh);
    world.rotate(&fresh);
    assert_eq!(world.status()["echoed"], serde_json::json!([]));
}

#[test]
fn a_key_in_the_body_is_a_leak() {
    let world = World::with_key(MINE);
    let key = world.virtual_key("");
    let before = world.studio.requests();
    let body = QUESTION.replace("Who are you?", &format!("{}{key}", "x".repeat(9000)));
    assert_eq!(world.call(&key, "POST", CHAT, &body).refused(), (400, "malformed".into()));
    assert_eq!(world.studio.requests(), before);
}

#[test]
fn a_use_comes_back_only_if_the_provider_surely_never_heard_of_it() {
    let world = World::with_key(MINE);
    let key = world.virtual_key(r#","uses":1"#);
    world.studio.next(Fault::CloseOnRequest);
    assert_eq!(world.call(&key, "POST", CHAT, QUESTION).status, 502);
    assert_eq!(world.call(&key, "POST", CHAT, QUESTION).code(), "exhausted", "the provider may have worked for it");
    let key = world.virtual_key(r#","uses":1"#);
    world.studio.stop();
    for _ in 0..2 {
        assert_eq!(world.call(&key, "POST", CHAT, QUESTION).refused(), (502, "upstream".into()), "nobody heard of it");
    }
}
