//! What calls used is counted: told by the command, kept over restarts, and held to a rule's budget.

use crate::harness::{Answer, MINE, SECOND, World, read_answer, soon};
use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
};

pub const CHAT: &str = "/dashscope/compatible-mode/v1/chat/completions";
pub const QUESTION: &str = r#"{"model":"qwen-plus","messages":[{"role":"user","content":"Who are you?"}]}"#;
const PRICE: &str = "[[price]]\nprovider = \"dashscope\"\nmodels = [\"qwen-*\"]\ninput = 100000\noutput = 1000000\n";

fn key(world: &World) -> String {
    world.mint(r#"{"key":"dashscope/main","kind":"virtual"}"#).token()
}

pub fn send(world: &World, key: &str, path: &str, body: &str) -> UnixStream {
    let mut stream = UnixStream::connect(world.path("run/gateway.sock")).unwrap();
    stream.set_read_timeout(Some(10 * SECOND)).unwrap();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream
}

fn call(world: &World, key: &str, body: &str) -> Answer {
    read_answer(&mut send(world, key, CHAT, body)).expect("the gateway answers")
}

/// Calls, input, output, micros and estimated calls, by name.
fn used(world: &World, by: &str) -> Vec<(String, [u64; 5])> {
    let told = world.control_http("GET", &format!("/v1/usage?by={by}&since=2d"), None).json();
    let row = |row: &serde_json::Value| {
        let count = |field: &str| row[field].as_u64().unwrap();
        let counts = ["calls", "input", "output", "cost_micros", "estimated"].map(count);
        (row["name"].as_str().unwrap().to_owned(), counts)
    };
    told["usage"].as_array().unwrap().iter().map(row).collect()
}

#[test]
fn what_calls_used_is_told_and_survives_a_restart() {
    let mut world = World::with_key(&format!("{PRICE}{MINE}"));
    let key = key(&world);
    for stream in ["", "\"stream\":true,"] {
        assert_eq!(call(&world, &key, &QUESTION.replace("\"messages\"", &format!("{stream}\"messages\""))).status, 200);
    }
    assert_eq!(call(&world, &key, &QUESTION.replace("qwen-plus", "a-secret-plan")).status, 404);
    let both = [2, 6, 12, 12_600_000, 0];
    let want = vec![("qwen-plus".to_owned(), both), (String::new(), [1, 0, 0, 0, 0])];
    assert!(soon(SECOND, || used(&world, "model") == want), "{:?}", used(&world, "model"));
    let metrics = world.control_http("GET", "/metrics", None).text();
    let counter = "sixty_model_tokens_total{key=\"dashscope/main\",model=\"qwen-plus\",way=\"output\"} 12";
    assert!(metrics.contains(counter), "{metrics}");
    assert_eq!(world.stop(), Some(0));
    world.start();
    assert_eq!(used(&world, "model"), want);
    let file = world.path("state/usage.json");
    assert!(!std::fs::read_to_string(&file).unwrap().contains("a-secret-plan"), "what is no model is not written down");
    let told = String::from_utf8(world.sixty(&["usage", "--by", "peer"]).stdout).unwrap();
    let uid = nix::unistd::geteuid();
    assert!(told.contains(&format!("uid:{uid}")) && told.contains("12.60"), "{told}");
    world.kill();
    std::fs::write(&file, "{").unwrap();
    world.start();
    assert!(used(&world, "key").is_empty() && world.path("state/usage.json.faulty").exists());
}

/// A daemon whose rule has this budget, and a virtual key.
fn with_budget(budget: &str) -> (World, String) {
    let world = World::with_key(&format!("{PRICE}{MINE}budget = {{ {budget} }}"));
    let key = key(&world);
    (world, key)
}

fn refused(answer: &Answer) -> (u16, String) {
    (answer.status, answer.json()["error"]["code"].as_str().unwrap_or_default().to_owned())
}

/// With a bound of its own on the answer.
fn asking(most: u64) -> String {
    QUESTION.replace("\"messages\"", &format!("\"max_tokens\":{most},\"messages\""))
}

#[test]
fn a_call_that_may_use_more_than_is_left_goes_nowhere() {
    // A call uses 3 + 6 tokens, and its body has some 90 bytes: 23 tokens or so by estimate.
    let (world, key) = with_budget(r#"tokens = 50, per = "lease", max_output = 40"#);
    let reached = || world.studio.requests();
    assert_eq!(refused(&call(&world, &key, &asking(41))), (403, "denied".into()), "a longer answer than any may be");
    assert_eq!(refused(&call(&world, &key, &asking(40))), (401, "exhausted".into()));
    assert_eq!(refused(&call(&world, &key, "model=qwen-plus")), (400, "malformed".into()));
    let mut unread = send(&world, &key, "/dashscope/compatible-mode/v1/nowhere", "{}");
    assert_eq!(read_answer(&mut unread).unwrap().status, 403, "nobody knows what that may use");
    assert_eq!(reached(), 0);
    assert_eq!(
        call(
            &world,
            &key,
            &QUESTION.replace("qwen-plus", "no-model").replace("\"messages\"", "\"max_tokens\":9,\"messages\"")
        )
        .status,
        404
    );
    assert_eq!([(); 4].map(|()| call(&world, &key, &asking(8)).status), [200, 200, 200, 401], "27 are gone of 50");
    assert_eq!(reached(), 4);
    let fresh = self::key(&world);
    assert_eq!(call(&world, &fresh, &asking(8)).status, 200, "another lease has its own");
}

#[test]
fn a_days_budget_is_the_principals_and_outlives_the_daemon() {
    let (mut world, first) = with_budget(r#"cost = 15.00, per = "day""#);
    assert_eq!(call(&world, &first, &asking(8)).status, 200);
    let over = call(&world, &key(&world), &asking(8));
    assert_eq!(refused(&over).0, 429, "{}", over.text());
    assert!(over.head.contains("retry-after: "), "{}", over.head);
    assert_eq!(refused(&call(&world, &first, &asking(1).replace("qwen-plus", "gpt-5"))).0, 403, "it has no price");
    assert_eq!(world.stop(), Some(0));
    world.start();
    assert_eq!(call(&world, &key(&world), &asking(8)).status, 429);
    assert_eq!(call(&world, &key(&world), &asking(1)).status, 200, "that much is left");
}

#[test]
fn a_stream_is_cut_when_the_budget_is_gone() {
    let stream = QUESTION.replace("\"messages\"", "\"stream\":true,\"messages\"");
    let (world, key) = with_budget("max_output = 3");
    let mut cut = Vec::new();
    let _ = send(&world, &key, CHAT, &stream).read_to_end(&mut cut);
    let said = String::from_utf8_lossy(&cut).into_owned();
    assert!(said.contains("This ") && !said.contains("Studio.") && !said.contains("[DONE]"), "{said}");
    assert!(soon(SECOND, || used(&world, "key")[0].1[4] == 1), "what passed is estimated: {:?}", used(&world, "key"));
}

#[test]
fn of_64_who_race_for_the_last_tokens_over_sockets_as_many_win_as_they_are_enough_for() {
    // Each holds its body's 28 tokens or so and 100 of output, and none is settled before all have asked.
    let (world, key) = with_budget(r#"tokens = 600, per = "lease""#);
    (0..64).for_each(|_| world.studio.next(sixty::demo::studio::Fault::SlowBody(SECOND)));
    let body = asking(100);
    let each = 100 + body.len().div_ceil(4);
    let streams: Vec<_> = (0..64).map(|_| send(&world, &key, CHAT, &body)).collect();
    let answers = streams.into_iter().map(|mut stream| read_answer(&mut stream).unwrap().status);
    assert_eq!(answers.filter(|status| *status == 200).count(), 600 / each);
    assert_eq!(world.studio.requests(), 600 / each as u64);
}
