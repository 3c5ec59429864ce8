//! The OpenAPI files say what the daemon does: same routes, same parameters, documented answers.

use crate::harness::{Answer, MINE, SECOND, World, exchange, read_answer, request, soon};
use serde_json::Value;
use sixty::endpoint::{BROKER, CONTROL, CONTROL_OPENAPI, OPENAPI, Route};
use std::{
    collections::BTreeSet,
    io::{Read, Write},
    os::unix::net::UnixStream,
    path::Path,
    process::Stdio,
};

/// One operation by its `operationId`, what is sent, and what must come back.
type Case = (&'static str, &'static str, Option<&'static str>, u16);

const KEY: &str = r#"{"key":"dashscope/main"}"#;

/// In this order, with an open vault that holds `dashscope/main`; `MINTED` stands for the id of the last lease,
/// `APPROVAL` for the one that waits.
const ASKED_OF_BROKER: &[Case] = &[
    ("health", "/healthz", None, 200),
    ("health", "/healthz?verbose", None, 400),
    ("ready", "/readyz", None, 200),
    ("description", "/v1/openapi.json", None, 200),
    ("whoami", "/v1/whoami", None, 200),
    ("providers", "/v1/providers", None, 200),
    ("providers", "/v1/providers?all", None, 400),
    ("mint", "/v1/leases", Some(r#"{"key":"dashscope/main","kind":"virtual","for":"uid:SELF","ticket":true}"#), 201),
    ("redeem", "/v1/tickets/redeem", Some(r#"{"ticket":"TICKET"}"#), 201),
    ("redeem", "/v1/tickets/redeem", Some(r#"{"ticket":"TICKET"}"#), 401),
    ("mint", "/v1/leases", Some(KEY), 201),
    ("mint", "/v1/leases", Some(r#"{"key":"dashscope/main","kind":"virtual","uses":0}"#), 400),
    ("mint", "/v1/leases", Some(r#"{"key":"dashscope/main","tll":60}"#), 400),
    ("mint", "/v1/leases", Some("{\"key\":\"a\0\"}"), 400),
    ("mint", "/v1/leases", None, 400),
    ("mint", "/v1/leases", Some(r#"{"key":"dashscope/nobody"}"#), 403),
    ("mint", "/v1/leases", Some(r#"{"key":"dashscope/main","kind":"virtual","for":"uid:1"}"#), 403),
    ("mint", "/v1/leases", Some(r#"{"key":"dashscope/main","kind":"virtual","for":"me"}"#), 400),
    ("mint", "/v1/leases", Some(r#"{"key":"dashscope/main","kind":"virtual","ticket":true}"#), 400),
    ("redeem", "/v1/tickets/redeem", Some(r#"{"ticket":"sixty_ticket_x"}"#), 400),
    ("leases", "/v1/leases", None, 200),
    ("leases", "/v1/leases?all=true", None, 400),
    ("revoke", "/v1/leases/MINTED", None, 200),
    ("revoke", "/v1/leases/ls_0000000000000000", None, 403),
    ("revoke", "/v1/leases/1", None, 400),
    ("revoke", "/v1/leases/nd_000000000000000000000000000000000000000000000000", None, 403),
    ("revoke", "/v1/leases/%FF", None, 404),
    ("studioToken", "/api/v1/tokens", None, 200),
    ("studioToken", "/api/v1/tokens?expire_in_seconds=1800", None, 200),
    ("studioToken", "/api/v1/tokens?expire_in_seconds=1801", None, 400),
    ("studioToken", "/api/v1/tokens?expires=60", None, 400),
];

/// In this order, as above.
const ASKED_OF_CONTROL: &[Case] = &[
    ("status", "/v1/status", None, 200),
    ("metrics", "/metrics", None, 200),
    ("description", "/v1/openapi.json", None, 200),
    ("keys", "/v1/keys", None, 200),
    ("key", "/v1/keys/dashscope/main", None, 200),
    ("key", "/v1/keys/dashscope%2Fmain", None, 200),
    ("key", "/v1/keys/dashscope/none", None, 404),
    ("key", "/v1/keys/SK-", None, 400),
    ("addKey", "/v1/keys/a", Some(r#"{"provider":"dashscope","secret":"sk-made-up-0123456789"}"#), 201),
    ("addKey", "/v1/keys/a", Some(r#"{"provider":"dashscope","secret":"sk-made-up-0123456789"}"#), 409),
    ("addKey", "/v1/keys/b", Some(r#"{"provider":"dashscope","secret":"st-made-up-0123456789"}"#), 400),
    ("rotateKey", "/v1/keys/a/rotate", Some(r#"{"secret":"sk-another-0123456789"}"#), 200),
    ("rotateKey", "/v1/keys/b/rotate", Some(r#"{"secret":"sk-another-0123456789"}"#), 404),
    ("testKey", "/v1/keys/dashscope/main/test", None, 200),
    ("testKey", "/v1/keys/b/test", None, 404),
    ("removeKey", "/v1/keys/a", None, 200),
    ("removeKey", "/v1/keys/a", None, 404),
    ("addDecoy", "/v1/decoys/d", Some(r#"{"provider":"dashscope","region":"singapore"}"#), 201),
    ("addDecoy", "/v1/decoys/d", Some(r#"{"provider":"dashscope"}"#), 409),
    ("addDecoy", "/v1/decoys/e", Some(r#"{"provider":"nobody"}"#), 400),
    ("decoys", "/v1/decoys", None, 200),
    ("removeDecoy", "/v1/decoys/dashscope/main", None, 404),
    ("removeDecoy", "/v1/decoys/d", None, 200),
    ("allLeases", "/v1/leases", None, 200),
    ("allLeases", "/v1/leases?all=true", None, 200),
    ("allLeases", "/v1/leases?all=perhaps", None, 400),
    ("revokeLeases", "/v1/leases?key=dashscope%2Fmain", None, 200),
    ("revokeLeases", "/v1/leases", None, 400),
    ("revokeLeases", "/v1/leases?all=false", None, 400),
    ("approvals", "/v1/approvals", None, 200),
    ("approve", "/v1/approvals/APPROVAL", Some(r#"{"yes":true}"#), 400),
    ("approve", "/v1/approvals/ap_1", Some(r#"{"approve":true}"#), 400),
    ("approve", "/v1/approvals/APPROVAL", Some(r#"{"approve":true}"#), 200),
    ("approve", "/v1/approvals/APPROVAL", Some(r#"{"approve":true}"#), 404),
    ("why", "/v1/why", Some(r#"{"key":"dashscope/main","peer":["uid:1","exe:/bin/true"]}"#), 200),
    ("why", "/v1/why", Some(r#"{"key":"dashscope/main","peer":["uid:me"]}"#), 400),
    ("reload", "/v1/reload", None, 200),
    ("takeover", "/v1/takeover", None, 400),
    ("usage", "/v1/usage", None, 200),
    ("usage", "/v1/usage?by=owner&since=7d", None, 200),
    ("usage", "/v1/usage?by=day", None, 400),
    ("usage", "/v1/usage?since=yesterday", None, 400),
    ("audit", "/v1/audit", None, 200),
    ("audit", "/v1/audit?follow=false", None, 200),
    ("audit", "/v1/audit?from=1", None, 400),
    ("lock", "/v1/lock", None, 200),
    ("keys", "/v1/keys", None, 423),
    ("unlock", "/v1/unlock", Some("[]"), 400),
    ("unlock", "/v1/unlock", None, 200),
];

/// An operation as it is described.
struct Operation {
    path: String,
    method: String,
    parameters: BTreeSet<String>,
    described: Value,
}

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// Follows a `$ref` within the file.
fn resolved<'a>(api: &'a Value, value: &'a Value) -> &'a Value {
    match value["$ref"].as_str() {
        Some(place) => api.pointer(place.strip_prefix('#').unwrap()).unwrap_or_else(|| panic!("nothing at {place}")),
        None => value,
    }
}

fn operations(api: &Value) -> Vec<Operation> {
    let mut all = Vec::new();
    for (path, item) in api["paths"].as_object().unwrap() {
        for (method, described) in item.as_object().unwrap().iter().filter(|field| field.0 != "parameters") {
            let parameters = described["parameters"].as_array().into_iter().flatten();
            let query = parameters.map(|one| resolved(api, one)).filter(|one| one["in"] == "query");
            all.push(Operation {
                path: path.clone(),
                method: method.to_uppercase(),
                parameters: query.map(|one| one["name"].as_str().unwrap().to_owned()).collect(),
                described: described.clone(),
            });
        }
    }
    all
}

fn line(method: &str, path: &str, parameters: &BTreeSet<String>) -> String {
    format!("{method} {path} {parameters:?}")
}

#[test]
fn every_route_is_described_and_nothing_else_is() {
    for (routes, text) in [(BROKER, OPENAPI), (CONTROL, CONTROL_OPENAPI)] {
        let mut listed = BTreeSet::new();
        for Route { path, methods } in routes {
            for (method, query) in *methods {
                listed.insert(line(method, path, &query.iter().map(ToString::to_string).collect()));
            }
        }
        let described = operations(&parsed(text));
        let described = described.iter().map(|one| line(&one.method, &one.path, &one.parameters)).collect();
        assert_eq!(listed, described);
    }
}

#[test]
fn the_descriptions_are_of_this_version_and_served_as_they_are() {
    let world = World::new(MINE);
    for (socket, text) in [(world.broker(), OPENAPI), (world.control(), CONTROL_OPENAPI)] {
        let answer = exchange(&socket, "GET", "/v1/openapi.json", None).unwrap();
        assert_eq!(answer.text(), text);
        assert_eq!(answer.json()["info"]["version"], env!("CARGO_PKG_VERSION"));
    }
}

#[test]
fn every_operation_answers_as_it_is_described() {
    let asks = MINE.replace("\"mine\"", "\"asks\"").replace("**", "dashscope/asks") + "approve = \"always\"\n";
    let world = World::new(&format!("{asks}{MINE}for = [\"uid:self\"]\n"));
    world.add_key("dashscope/main");
    ask_all(&world.broker(), OPENAPI, ASKED_OF_BROKER, "");
    world.add_key("dashscope/asks");
    let mut asks =
        world.command(&["mint", "dashscope/asks"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let waits =
        || world.control_http("GET", "/v1/approvals", None).json()["approvals"][0]["id"].as_str().map(str::to_owned);
    assert!(soon(10 * SECOND, || waits().is_some()));
    ask_all(&world.control(), CONTROL_OPENAPI, ASKED_OF_CONTROL, &waits().unwrap());
    asks.wait().unwrap();
}

fn ask_all(socket: &Path, text: &str, cases: &[Case], approval: &str) {
    let api = parsed(text);
    let operations = operations(&api);
    let named = |id: &str| operations.iter().find(|one| one.described["operationId"] == id).unwrap();
    let (mut minted, mut ticket) = (String::new(), String::new());
    let uid = nix::unistd::geteuid().to_string();
    for (id, target, body, status) in cases {
        let body = body.map(|body| body.replace("SELF", &uid).replace("TICKET", &ticket));
        let target = target.replace("MINTED", &minted).replace("APPROVAL", approval);
        let answer = exchange(socket, &named(id).method, &target, body.as_deref()).unwrap();
        assert_eq!(answer.status, *status, "{id} {target}: {}", answer.text());
        documented(&api, named(id), &answer);
        if *id == "mint" && *status == 201 {
            minted = answer.json()["id"].as_str().unwrap().to_owned();
            ticket = answer.json()["ticket"].as_str().unwrap_or_default().to_owned();
        }
    }
    // Its yes is another protocol: the tests of takeovers speak it.
    let alone = |one: &&Operation| one.method == "HEAD" || one.described["operationId"] == "takeover";
    for operation in operations.iter().filter(|one| !alone(one)) {
        let yes = |case: &&Case| case.3 < 300 && operation.described["operationId"] == case.0;
        assert!(cases.iter().find(yes).is_some(), "{} is not asked", operation.described["operationId"]);
    }
}

/// The status is described, and with it the media type and, of an object, its fields.
fn documented(api: &Value, operation: &Operation, answer: &Answer) {
    let (path, status) = (&operation.path, answer.status.to_string());
    let described = resolved(api, &operation.described["responses"][&status]);
    assert!(described.is_object(), "{path}: {status} is not described");
    let kind = answer.head.lines().find_map(|line| line.strip_prefix("content-type: ")).unwrap();
    let media = &described["content"][kind.split(';').next().unwrap()];
    assert!(media.is_object(), "{path}: {status} with {kind} is not described");
    let schema = resolved(api, &media["schema"]);
    if let (Some(fields), false) = (schema["required"].as_array(), kind.starts_with("text/")) {
        let told = answer.json();
        assert!(fields.iter().all(|field| told.get(field.as_str().unwrap()).is_some()), "{path}: {told}");
    }
}

#[test]
fn an_answer_without_a_body_tells_the_same() {
    let world = World::new(MINE);
    for path in ["/healthz", "/readyz"] {
        let mut stream = UnixStream::connect(world.broker()).unwrap();
        stream.write_all(request("HEAD", path, None, "close").as_bytes()).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        assert!(text.starts_with("HTTP/1.1 200 OK\r\n") && text.ends_with("\r\n\r\n"), "{text}");
    }
}

#[test]
fn a_lost_request_is_told_the_way() {
    let world = World::new(MINE);
    for (socket, routes) in [(world.broker(), BROKER), (world.control(), CONTROL)] {
        for target in ["/", "/v1", "/v1/leases/", "/V1/leases", "//v1/leases", "*"] {
            let answer = exchange(&socket, "GET", target, None).unwrap();
            assert_eq!((answer.status, answer.code().as_str()), (404, "malformed"), "{target}");
            assert_eq!(answer.json()["status"], 404);
        }
        for route in routes {
            let answer = exchange(&socket, "TRACE", &route.path.replace(['{', '}'], ""), None).unwrap();
            let methods: Vec<_> = route.methods.iter().map(|known| known.0.to_lowercase()).collect();
            let allow = format!("\r\nallow: {}", methods.join(", "));
            assert_eq!(answer.status, 405, "{}", route.path);
            assert!(answer.head.contains(&allow), "{}", answer.head);
        }
    }
}

#[test]
fn a_path_in_model_studios_shape_says_no_in_that_shape() {
    let world = World::new(MINE);
    for (method, target, status) in [("GET", "/api/v1/tokens", 405), ("POST", "/api/v1/tokens?a=b", 400)] {
        let answer = world.http(method, target, None);
        assert_eq!((answer.status, answer.code().as_str()), (status, "InvalidParameter"));
    }
}

#[test]
fn a_weird_body_is_malformed_and_nothing_worse() {
    let world = World::new(MINE);
    world.add_key("dashscope/main");
    let deep = format!("{{\"key\":{}", "[".repeat(10_000));
    let numbers = ["-1", "0", "0.5", "1e999", "18446744073709551616", "31622401", "\"60\"", "true", "[60]"];
    let ttls = numbers.map(|ttl| format!(r#"{{"key":"dashscope/main","ttl":{ttl}}}"#).into_bytes());
    let shapes: [&[u8]; 11] = [
        b"",
        b"null",
        b"[]",
        b"{}",
        b"\xef\xbb\xbf{}",
        b"{\"key\":\"\xff\"}",
        b"{\"key\":\"\\ud800\"}",
        b"{\"key\":\"a\\u0000\"}",
        b"{\"key\":\"dashscope/main\"}{}",
        b"{\"key\":\"dashscope/main\",\"key\":\"dashscope/main\"}",
        deep.as_bytes(),
    ];
    for body in shapes.into_iter().chain(ttls.iter().map(Vec::as_slice)) {
        let head = format!("POST /v1/leases HTTP/1.1\r\nhost: sixty\r\ncontent-length: {}\r\n\r\n", body.len());
        let mut stream = UnixStream::connect(world.broker()).unwrap();
        stream.write_all(&[head.as_bytes(), body].concat()).unwrap();
        let answer = read_answer(&mut stream).unwrap();
        let told = String::from_utf8_lossy(body);
        assert_eq!((answer.status, answer.code().as_str()), (400, "malformed"), "{told:.60}");
    }
    assert_eq!(world.studio.mints(), 0);
}
