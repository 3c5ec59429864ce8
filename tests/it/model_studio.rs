//! Model Studio's own call, made of us: its answers and its errors, field by field.

use crate::harness::{Answer, MINE, World, read_answer};
use sixty::demo::studio::Fault;
use std::{io::Write, os::unix::net::UnixStream};

/// Model Studio's own call, made of us.
fn studio_call(world: &World, query: &str, bearer: Option<&str>) -> Answer {
    let bearer = bearer.map(|name| format!("authorization: Bearer {name}\r\n")).unwrap_or_default();
    let head = format!(
        "POST /api/v1/tokens{query} HTTP/1.1\r\nhost: x\r\n{bearer}connection: close\r\ncontent-length: 0\r\n\r\n"
    );
    let mut stream = UnixStream::connect(world.broker()).unwrap();
    stream.write_all(head.as_bytes()).unwrap();
    read_answer(&mut stream).unwrap()
}

#[test]
fn what_mints_at_model_studio_mints_here_too() {
    let world = World::with_key(MINE);
    for bearer in [None, Some("dashscope/main")] {
        let answer = studio_call(&world, "?expire_in_seconds=120", bearer);
        assert_eq!(answer.status, 200);
        let json = answer.json();
        assert!(answer.token().starts_with("st-"));
        let fields: Vec<_> = json.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(fields, ["expires_at", "token"], "the documented answer and nothing else");
        let left =
            json["expires_at"].as_u64().unwrap() - std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
        assert!((118..=120).contains(&left), "{left}");
    }
    let usual = studio_call(&world, "", None);
    assert_eq!(usual.status, 200);
    usual.token();
}

#[test]
fn model_studios_clients_hear_errors_as_model_studio_says_them() {
    let world = World::with_key(MINE);
    let assert_error = |answer: Answer, status: u16, code: &str| {
        let json = answer.json();
        let fields: Vec<_> = json.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!((answer.status, json["code"].as_str()), (status, Some(code)), "{json}");
        assert_eq!(fields, ["code", "message", "request_id"]);
        assert!(answer.head.contains("content-type: application/json"));
        answer
    };
    assert_error(studio_call(&world, "", Some("dashscope/none")), 403, "AccessDenied");
    for bad in ["?expire_in_seconds=0", "?expire_in_seconds=1801", "?expire_in_seconds=x", "?ttl=5"] {
        assert_error(studio_call(&world, bad, None), 400, "InvalidParameter");
    }
    assert_error(studio_call(&world, "", Some("NO NAME")), 400, "InvalidParameter");
    world.studio.next(Fault::Throttled);
    let busy = assert_error(studio_call(&world, "", None), 429, "Throttling.RateQuota");
    assert!(busy.retry_after() >= 1);
    world.add_key("dashscope/second");
    assert_error(studio_call(&world, "", None), 400, "InvalidParameter");
    assert!(world.sixty(&["lock"]).status.success());
    assert_error(studio_call(&world, "", Some("dashscope/main")), 503, "SystemError");
}
