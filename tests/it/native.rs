//! The native protocol as a local app sees it.

use crate::harness::{MINE, World, read_answer, request};
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
