//! The native protocol as a local app sees it.

use crate::harness::{Answer, MINE, World, random_key, read_answer, request};
use std::{io::Write, os::unix::net::UnixStream};

#[test]
fn a_local_app_gets_a_token_that_the_provider_takes() {
    let world = World::new(MINE);
    world.add_key("dashscope/main");
    let answer = world.mint(r#"{"key":"dashscope/main"}"#);
    assert_eq!(answer.status, 201);
    let lease = answer.json();
    assert!(answer.token().starts_with("st-"));
    assert_eq!(
        (lease["kind"].as_str(), lease["expires_in"].as_u64().map(|left| left >= 58)),
        (Some("upstream"), Some(true))
    );
    assert_eq!(world.studio.mints(), 1);
}

#[test]
fn one_connection_serves_many_mints_and_never_mixes_them_up() {
    let world = World::new(MINE);
    world.add_key("dashscope/main");
    let mut stream = UnixStream::connect(world.broker()).unwrap();
    let mut tokens = std::collections::HashSet::new();
    for _ in 0..50 {
        let body = r#"{"key":"dashscope/main","kind":"virtual"}"#;
        stream.write_all(request("POST", "/v1/leases", Some(body), "keep-alive").as_bytes()).unwrap();
        let answer = read_answer(&mut stream).unwrap();
        assert!(tokens.insert(answer.token()), "each mint gives a token of its own");
    }
    let listed = world.http("GET", "/v1/leases", None).json();
    assert_eq!(listed["leases"].as_array().unwrap().len(), 50);
    assert!(tokens.iter().all(|token| !listed.to_string().contains(token.as_str())), "lists show no token");
}

#[test]
fn a_lease_has_the_fields_of_the_contract() {
    let world = World::new(MINE);
    world.add_key("dashscope/main");
    let fields = |answer: &Answer| answer.json().as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let all = ["base_urls", "expires_at", "expires_in", "id", "key", "kind", "provider", "revocable", "token"];
    for (kind, prefix) in [("upstream", "st-"), ("virtual", "sixty_")] {
        let answer = world.mint(&format!(r#"{{"key":"dashscope/main","kind":"{kind}"}}"#));
        assert_eq!(fields(&answer), all);
        assert!(answer.token().starts_with(prefix));
        assert_eq!(answer.json()["revocable"], kind == "virtual");
        assert!(answer.head.contains("cache-control: no-store") && answer.head.contains("application/json"));
    }
    let problem = world.mint(r#"{"key":"dashscope/none"}"#);
    assert!(problem.head.contains("content-type: application/problem+json"));
    assert_eq!(fields(&problem), ["code", "request_id", "retry", "status", "title", "type"]);
    assert_eq!(problem.json()["status"], problem.status);
}

#[test]
fn every_wish_of_the_contract_is_understood() {
    let world = World::new(MINE);
    world.add_key("dashscope/main");
    let wish = r#"{"key":"dashscope/main","kind":"virtual","ttl":60,"min_remaining":20,"uses":null,"owner":"caller",
        "scope":{"methods":["POST"],"paths":["/compatible-mode/v1/chat/completions"],"models":["qwen-*"]}}"#;
    assert_eq!(world.mint(wish).status, 201);
    for owner in ["caller", "detached"] {
        let wish = format!(r#"{{"key":"dashscope/main","kind":"virtual","owner":"{owner}","uses":3}}"#);
        assert_eq!(world.mint(&wish).status, 201, "{owner}");
    }
    let listed = world.control_http("GET", "/v1/leases", None).json();
    let left: Vec<_> = listed["leases"].as_array().unwrap().iter().map(|lease| lease["uses_left"].as_u64()).collect();
    assert!(left.contains(&Some(3)), "{listed}");
}

#[test]
fn the_host_that_a_client_names_does_not_matter() {
    let world = World::new(MINE);
    for host in ["localhost", "dashscope.aliyuncs.com", "evil.example:99"] {
        let mut stream = UnixStream::connect(world.broker()).unwrap();
        let text = format!("GET /healthz HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        stream.write_all(text.as_bytes()).unwrap();
        assert_eq!(read_answer(&mut stream).unwrap().status, 200, "{host}");
    }
}

#[test]
fn the_description_of_the_api_names_every_route() {
    let world = World::new(MINE);
    let description = world.http("GET", "/v1/openapi.json", None).json();
    assert!(description["openapi"].as_str().unwrap().starts_with("3.1"));
    let paths = description["paths"].as_object().unwrap();
    for path in ["/v1/leases", "/v1/leases/{id}", "/v1/whoami", "/healthz", "/readyz", "/api/v1/tokens"] {
        assert!(paths.contains_key(path), "{path} of {:?}", paths.keys());
    }
}

#[test]
fn the_audit_tells_who_asked_and_what_became_of_it_and_no_secret() {
    let world = World::new(MINE);
    world.add_key("dashscope/main");
    let lease = world.mint(r#"{"key":"dashscope/main"}"#);
    let (id, token) = (lease.json()["id"].as_str().unwrap().to_owned(), lease.token());
    assert_eq!(world.mint(r#"{"key":"dashscope/none"}"#).status, 403);
    let records = world.audit();
    let text = records.iter().map(ToString::to_string).collect::<String>();
    assert!(text.contains(&id) && text.contains("\"sent\"") && text.contains("dashscope/none"), "{text}");
    assert!(!text.contains(&token));
    let file = world.path("state/audit.ndjson");
    assert!(world.sixty(&["audit", "verify", file.to_str().unwrap()]).status.success());
}

#[test]
fn a_secret_in_a_log_would_be_found() {
    for text in [format!("key={}", random_key()), "token=st-0123456789abcdef0123456789abcdef".into()] {
        let world = World::asleep("", &[]);
        std::fs::write(world.path("log"), text).unwrap();
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || drop(world))).is_err());
    }
}
