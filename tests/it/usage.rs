//! What calls used is counted: told by the command, kept over restarts, and held to a rule's budget.

use crate::harness::{Answer, MINE, SECOND, World, read_answer, soon};
use std::{io::Write, os::unix::net::UnixStream};

const CHAT: &str = "/dashscope/compatible-mode/v1/chat/completions";
const QUESTION: &str = r#"{"model":"qwen-plus","messages":[{"role":"user","content":"Who are you?"}]}"#;
const PRICE: &str = "[[price]]\nprovider = \"dashscope\"\nmodels = [\"qwen-*\"]\ninput = 100000\noutput = 1000000\n";

fn key(world: &World) -> String {
    world.mint(r#"{"key":"dashscope/main","kind":"virtual"}"#).token()
}

fn send(world: &World, key: &str, path: &str, body: &str) -> UnixStream {
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
