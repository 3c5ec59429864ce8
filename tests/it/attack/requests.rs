//! Requests that two readers could read in two ways, that hide a second one, or that never end.

use super::{CHAT, OTHER, SECOND, Scene, everything, read_answer, statuses};
use crate::presets::put;
use std::{
    io::Write,
    time::{Duration, Instant},
};

/// What would be a second request if the first one's end were misread. It has no key: seen upstream, it was smuggled.
const HIDDEN: &str = "GET /dashscope/compatible-mode/v1/smuggled HTTP/1.1\r\nhost: x\r\n\r\n";

fn head(line: &str, lines: &str) -> String {
    format!("{line}\r\nhost: x\r\nauthorization: Bearer KEY\r\n{lines}\r\n")
}

fn post(target: &str, lines: &str) -> String {
    head(&format!("POST {target} HTTP/1.1"), lines)
}

/// Header lines of which each makes a request that could be read in two ways, or that means another.
const HEADERS: &[&str] = &[
    "content-length: 3\r\ncontent-length: 4\r\n",
    "content-length: 3, 4\r\n",
    "content-length: +3\r\n",
    "content-length: -3\r\n",
    "content-length: 0x3\r\n",
    "content-length: 3 3\r\n",
    "content-length: 99999999999999999999\r\n",
    "content-length:\r\n",
    "transfer-encoding: xchunked\r\n",
    "transfer-encoding: chunked, identity\r\n",
    "transfer-encoding: gzip, chunked\r\n",
    "transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n",
    "transfer-encoding: identity\r\ntransfer-encoding: chunked\r\n",
    "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
    "transfer-encoding: \x0bchunked\r\n",
    "transfer-encoding : chunked\r\n",
    "transfer-encoding\t: chunked\r\n",
    "x: y\r\n transfer-encoding: chunked\r\n",
    "transfer-encoding:\r\n chunked\r\n",
    "x: a\0b\r\n",
    "x\0: a\r\n",
    "x: a\rb: c\r\n",
    "host: y\r\n",
    ": empty\r\n",
    "connection: authorization\r\n",
    "connection: content-length\r\ncontent-length: 3\r\n",
    "connection: host\r\n",
    "upgrade: h2c\r\nconnection: upgrade, http2-settings\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n",
    "upgrade: websocket, h2c\r\nconnection: upgrade\r\n",
    "x-http-method-override: DELETE\r\n",
    "x-original-url: /compatible-mode/v1/files\r\n",
];

/// Request lines that lead somewhere else, or are none.
const TARGETS: &[&str] = &[
    "GET http://elsewhere.example/dashscope/compatible-mode/v1/things HTTP/1.1",
    "GET elsewhere.example:443 HTTP/1.1",
    "CONNECT elsewhere.example:443 HTTP/1.1",
    "CONNECT /dashscope/compatible-mode/v1/things HTTP/1.1",
    "TRACE /dashscope/compatible-mode/v1/things HTTP/1.1",
    "OPTIONS * HTTP/1.1",
    "PRI * HTTP/2.0",
    "GET /dashscope/compatible-mode/v1/things HTTP/2.0",
    "GET /dashscope/compatible-mode/v1/things HTTP/1.2",
    "GET /dashscope/compatible-mode/v1/things",
    "GET  /dashscope/compatible-mode/v1/things HTTP/1.1",
    "G\u{0}T /dashscope/compatible-mode/v1/things HTTP/1.1",
    "GET /dashscope/compatible-mode/v1/a b HTTP/1.1",
    "GET /dashscope/compatible-mode/v1/a%0d%0ax:%20y HTTP/1.1",
    "GET /dashscope/compatible-mode/v1/a%00 HTTP/1.1",
    "GET /dashscope/compatible-mode/v1/../v2 HTTP/1.1",
    "GET /dashscope/compatible-mode/v1/%2e%2e/v2 HTTP/1.1",
    "GET /dashscope/compatible-mode//v1 HTTP/1.1",
    "GET //elsewhere.example/compatible-mode/v1 HTTP/1.1",
    "GET /dashscope@elsewhere.example/compatible-mode/v1 HTTP/1.1",
];

#[test]
fn what_two_readers_could_read_in_two_ways_goes_nowhere() {
    let scene = Scene::new();
    let mut all: Vec<String> =
        HEADERS.iter().map(|lines| post(OTHER, lines) + "5\r\nabcde\r\n0\r\n\r\n" + HIDDEN).collect();
    all.extend(TARGETS.iter().map(|line| head(line, "")));
    all.push(
        head("POST /dashscope/compatible-mode/v1/things HTTP/1.0", "transfer-encoding: chunked\r\n") + "0\r\n\r\n",
    );
    for bytes in &all {
        let told = scene.attack(bytes.as_bytes());
        assert!(statuses(&told).iter().all(|status| (400..500).contains(status)), "{bytes:?}: {told}");
        let reached = scene.arrived();
        assert!(reached.is_empty(), "{bytes:?} reached the provider as {:?}", reached[0].line);
    }
    scene.still_serves("heads of all kinds");
}

#[test]
fn nothing_is_smuggled_behind_a_body_with_two_lengths() {
    let scene = Scene::new();
    // Of the two lengths chunked wins (RFC 9112 §6.3), the other goes no further, and the connection ends with the call.
    for lines in [
        "transfer-encoding: chunked\r\ncontent-length: 4\r\n",
        "content-length: 4\r\ntransfer-encoding: chunked\r\n",
        "transfer-encoding: chunked\r\ncontent-length: 999\r\n",
        "transfer-encoding: chunked\r\ncontent-length: nonsense\r\n",
    ] {
        for target in [CHAT, OTHER] {
            let told = scene.attack(format!("{}5\r\nabcde\r\n0\r\n\r\n{HIDDEN}", post(target, lines)).as_bytes());
            assert!(statuses(&told).len() <= 1, "the connection went on: {told}");
            let seen = scene.arrived();
            assert!(seen.len() <= 1 && seen.iter().all(|one| one.body == b"abcde"), "{lines:?} {seen:?}");
        }
    }
    scene.still_serves("two lengths");
}

#[test]
fn one_body_arrives_as_one_body_however_it_was_written_and_cut() {
    let scene = Scene::new();
    let whole = format!(
        "{}5\r\nabcde\r\na;ext=\"1;2\"\r\n0123456789\r\n0\r\n\r\n",
        post(OTHER, "Transfer-Encoding: Chunked\r\n")
    );
    let bytes = scene.filled(whole.as_bytes());
    let begin = bytes.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    let mut stream = scene.connect();
    for cut in begin..bytes.len() {
        stream.write_all(&bytes[..cut]).unwrap();
        std::thread::sleep(Duration::from_millis(2));
        stream.write_all(&bytes[cut..]).unwrap();
        assert_eq!(read_answer(&mut stream).unwrap().status, 200, "cut at {cut}");
        assert_eq!(scene.arrived().iter().map(|one| &one.body[..]).collect::<Vec<_>>(), [b"abcde0123456789"]);
    }
    for text in [
        post(OTHER, "content-length: 3\r\ncontent-length: 3\r\n") + "abc",
        post(OTHER, "content-length: 3\r\nexpect: 100-continue\r\n") + "abc",
        head(&format!("GET {OTHER} HTTP/1.1"), "content-length: 3\r\n") + "abc",
        head(&format!("DELETE {} HTTP/1.1", OTHER), "content-length: 3\r\n") + "abc",
        head(&format!("GET {OTHER} HTTP/1.1"), "transfer-encoding: chunked\r\n") + "3\r\nabc\r\n0\r\n\r\n",
        post(OTHER, "transfer-encoding: chunked\r\ntrailer: x\r\n") + "3\r\nabc\r\n0\r\nx: KEY\r\nhost: y\r\n\r\n",
        format!("POST {OTHER} HTTP/1.1\nhost: x\nauthorization: Bearer KEY\ncontent-length: 3\n\nabc"),
        format!("POST {OTHER} HTTP/1.0\r\nauthorization: Bearer KEY\r\ncontent-length: 3\r\n\r\nabc"),
    ] {
        let told = scene.attack(text.as_bytes());
        if text.starts_with("DELETE") {
            assert_eq!((statuses(&told), scene.arrived().len()), (vec![403], 0), "what deletes takes more");
            continue;
        }
        assert_eq!(statuses(&told).last(), Some(&200), "{text:?}: {told}");
        assert_eq!(scene.arrived().iter().map(|one| &one.body[..]).collect::<Vec<_>>(), [b"abc"], "{text:?}");
    }
    scene.still_serves("bodies of all kinds");
}

#[test]
fn a_body_that_breaks_off_never_looks_whole_to_the_provider() {
    let scene = Scene::new();
    for target in [CHAT, OTHER] {
        for body in [
            "5\r\nabc",
            "5\r\nabcdefgh\r\n0\r\n\r\n",
            "5\r\nabcde0\r\n\r\n",
            "zz\r\nabc\r\n0\r\n\r\n",
            "-1\r\nabc\r\n0\r\n\r\n",
            "5\r\nabcde\r\n0x3\r\nabc\r\n0\r\n\r\n",
            "5 5\r\nabcde\r\n0\r\n\r\n",
            "fffffffffffffffff\r\nabc",
            "5\nabcde\n0\n\n",
            "5\r\nabcde\r\n",
            "5\r\nabcde\r\n0\r\n",
            "5\r\nabcde\r\n0\r\nx: y",
        ] {
            let mut stream = scene.connect();
            let text = post(target, "transfer-encoding: chunked\r\n") + body;
            stream.write_all(&scene.filled(text.as_bytes())).unwrap();
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            let told = everything(&mut stream);
            assert!(statuses(&told).iter().all(|status| *status >= 400), "{body:?}: {told}");
            std::thread::sleep(Duration::from_millis(20));
            let seen = scene.arrived();
            assert!(seen.iter().all(|one| one.unfinished), "{body:?} looked whole: {seen:?}");
        }
        let mut stream = scene.connect();
        stream.write_all(&scene.filled((post(target, "content-length: 9\r\n") + "abc").as_bytes())).unwrap();
        drop(stream);
        std::thread::sleep(Duration::from_millis(20));
        assert!(scene.arrived().iter().all(|one| one.unfinished));
    }
    scene.still_serves("bodies that broke off");
}

#[test]
fn a_letter_behind_a_percent_sign_stays_there() {
    let scene = Scene::new();
    for target in ["things?q=%0d%0ax-evil:%201%0d%0a%0d%0aGET%20/", "a%20b", "things?a=%00&b=%23"] {
        let target = format!("/dashscope/compatible-mode/v1/{target}");
        assert_eq!(scene.call("GET", &target, "").unwrap().status, 200, "{target}");
        let seen = scene.arrived();
        assert_eq!(seen[0].line, format!("GET {} HTTP/1.1", target.trim_start_matches("/dashscope")));
        assert!(seen.len() == 1 && seen[0].header("x-evil").is_none());
    }
}

#[test]
fn a_second_key_anywhere_is_refused_and_a_hidden_one_too() {
    let scene = Scene::new();
    let real_looking = "sk-0123456789abcdefghijklmnopqrstuvwxyz";
    let mut all: Vec<String> = vec![
        post(OTHER, "cookie: session=KEY\r\n"),
        post(OTHER, "referer: http://x/KEY\r\n"),
        post(OTHER, "x-keyed: KEY\r\n"),
        post(&format!("{OTHER}/KEY"), ""),
        post(&format!("{OTHER}?q=KEY"), ""),
        post(&format!("{OTHER}?%6bey={real_looking}"), ""),
        post(&format!("{OTHER}?api%5Fkey=KEYx"), ""),
        post(&format!("{OTHER}?api-key={real_looking}"), ""),
        post(OTHER, &format!("x-api-key: {real_looking}\r\n")),
        post(OTHER, &format!("proxy-authorization: Bearer {real_looking}\r\n")),
        post(OTHER, &format!("authorization: Bearer {real_looking}\r\n")),
    ];
    // The same within a body, on a route that is looked into and on one that is not.
    for target in [CHAT, OTHER] {
        all.push(post(target, "content-length: 62\r\n") + "{\"a\":\"KEY\"}");
        all.push(post(target, "transfer-encoding: chunked\r\n") + "3e\r\n{\"a\":\"KEY\"}\r\n0\r\n\r\n");
        let (one, two) = scene.key.split_at(20);
        all.push(post(target, "transfer-encoding: chunked\r\n") + &format!("14\r\n{one}\r\n23\r\n{two}\r\n0\r\n\r\n"));
    }
    for text in &all {
        let told = scene.attack(text.as_bytes());
        assert!(matches!(statuses(&told).last(), Some(400 | 403)), "{text:?}: {told}");
        let seen = scene.arrived();
        assert!(seen.iter().all(|one| one.unfinished), "{text:?} arrived as {seen:?}");
    }
    scene.still_serves("second keys");
}

#[test]
fn a_client_that_is_slow_or_large_is_cut_off_and_nobody_else_waits() {
    let scene = Scene::with(&format!(
        "[limits]\nidle_time = \"1s\"\nbody_time = \"1s\"\nheader_bytes = \"8KiB\"\n{}",
        crate::harness::MINE
    ));
    let mut slow: Vec<_> = (0..8).map(|_| scene.connect()).collect();
    for (number, stream) in slow.iter_mut().enumerate() {
        let text = match number % 4 {
            0 => "GET /dashscope/compatible".to_owned(),
            1 => post(CHAT, "content-length: 50\r\n") + "{",
            2 => post(CHAT, "transfer-encoding: chunked\r\n") + "5\r\nab",
            _ => String::new(),
        };
        stream.write_all(&scene.filled(text.as_bytes())).unwrap();
    }
    let began = Instant::now();
    scene.still_serves("while others are slow");
    assert!(began.elapsed() < SECOND);
    for stream in &mut slow {
        stream.set_read_timeout(Some(3 * SECOND)).unwrap();
        let mut all = Vec::new();
        let _ = std::io::Read::read_to_end(stream, &mut all);
        assert!(began.elapsed() < 3 * SECOND, "still open: {}", String::from_utf8_lossy(&all));
    }
    for text in [
        head(&format!("GET {OTHER} HTTP/1.1"), &format!("x-fill: {}\r\n", "a".repeat(9000))),
        head(&format!("GET {OTHER}/{} HTTP/1.1", "a".repeat(5000)), ""),
        head(&format!("GET {OTHER} HTTP/1.1"), &"x: y\r\n".repeat(200)),
    ] {
        let told = scene.attack(text.as_bytes());
        assert!(statuses(&told).iter().all(|status| (400..500).contains(status)), "{told}");
    }
    assert!(scene.arrived().is_empty());
    scene.still_serves("large heads");
}

#[test]
fn a_call_is_made_in_its_keys_own_place_whatever_it_says() {
    let acme = "schema = 1\nname = \"acme\"\ntitle = \"Acme\"\n[upstream]\nreach = \"any\"\n[gateway]\ninject = \"authorization: Bearer\"\n";
    let scene = Scene::new();
    put(&scene.world, "acme.toml", &format!("{acme}drop = [\"acme-project\"]\n"));
    assert_eq!(scene.world.control_http("POST", "/v1/reload", None).status, 200);
    for (name, provider, words) in [
        ("dashscope/main", "dashscope", &["x-dashscope-workspace"][..]),
        ("openai/main", "openai", &["openai-organization", "openai-project"]),
        ("acme/main", "acme", &["acme-project"]),
    ] {
        if provider != "dashscope" {
            let (real, url) = (crate::harness::random_key(), scene.provider.url());
            let body = format!(r#"{{"provider":"{provider}","endpoint":"{url}","secret":"{real}"}}"#);
            assert_eq!(scene.world.control_http("PUT", &format!("/v1/keys/{name}"), Some(&body)).status, 201);
        }
        let key = scene.world.mint(&format!(r#"{{"key":"{name}","kind":"virtual"}}"#)).token();
        let lines: String = words.iter().map(|word| format!("{word}: elsewhere\r\n")).collect();
        let query = words.join("=elsewhere&");
        let mut stream = scene.connect();
        let text =
            head(&format!("GET /{provider}/v1/a?b=1&{query}=elsewhere HTTP/1.1"), &format!("{lines}x-other: 1\r\n"));
        stream.write_all(text.replace("KEY", &key).as_bytes()).unwrap();
        assert_eq!(read_answer(&mut stream).unwrap().status, 200, "{provider}");
        let seen = scene.provider.take();
        assert_eq!((seen[0].line.as_str(), seen[0].header("x-other")), ("GET /v1/a?b=1 HTTP/1.1", Some("1")));
        assert!(!String::from_utf8_lossy(&seen[0].raw).contains("elsewhere"), "{provider}");
    }
}

#[test]
fn pipelined_requests_with_different_keys_are_judged_one_by_one() {
    let scene = Scene::new();
    let lease = scene.world.mint(r#"{"key":"dashscope/main","kind":"virtual"}"#);
    let dead = lease.token();
    let id = lease.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(scene.world.http("DELETE", &format!("/v1/leases/{id}"), None).status, 200);
    let narrow = scene.world.virtual_key(r#","scope":{"paths":["/compatible-mode/v1/a"]}"#);
    let one = |key: &str, word: &str| {
        format!("GET /dashscope/compatible-mode/v1/{word} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n\r\n")
    };
    let none = "GET /dashscope/compatible-mode/v1/none HTTP/1.1\r\nhost: x\r\n\r\n";
    let all = [&one("KEY", "x"), &one(&dead, "dead"), &one(&narrow, "a"), &one(&narrow, "b"), none, &one("KEY", "y")];
    let told = scene.attack(all.concat().as_bytes());
    assert_eq!(statuses(&told), [200, 401, 200, 403, 401, 200], "{told}");
    let lines: Vec<_> = scene.arrived().into_iter().map(|one| one.line).collect();
    assert_eq!(lines, ["x", "a", "y"].map(|word| format!("GET /compatible-mode/v1/{word} HTTP/1.1")));
}
