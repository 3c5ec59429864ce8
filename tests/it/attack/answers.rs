//! A provider that lies, breaks off, never ends, talks out of turn or sends the key back.

use super::{CHAT, OTHER, SECOND, Scene, ask, everything, statuses, upstream::Then};
use base64::{Engine, engine::general_purpose::STANDARD};
use std::{
    io::{Read, Write},
    time::Duration,
};

fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer KEY\r\n\r\n")
}

/// What nobody asked for: seen by a client, it is another request's answer.
const POISON: &str = "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison";

#[test]
fn an_answer_that_is_no_answer_is_told_as_the_providers_fault() {
    let scene = Scene::new();
    let many = format!("HTTP/1.1 200 OK\r\n{}content-length: 0\r\n\r\n", "x: y\r\n".repeat(300));
    let huge = format!("HTTP/1.1 200 OK\r\nx: {}\r\ncontent-length: 0\r\n\r\n", "y".repeat(1_000_000));
    for bytes in [
        "",
        "nonsense\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-le",
        "HTTP/2.0 200 OK\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 OK\r\n\r\n",
        "HTTP/1.1 99 OK\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
        "HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\nab",
        "HTTP/1.1 200 OK\r\ncontent length: 2\r\n\r\nab",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-encoding: identity\r\ncontent-encoding: gzip\r\ncontent-length: 2\r\n\r\nab",
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n",
        "HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n",
        &many,
        &huge,
    ] {
        scene.provider.says(bytes, Then::Close);
        let answer = scene.call("GET", OTHER, "").unwrap_or_else(|| panic!("no answer to {bytes:.80?}"));
        assert_eq!(answer.status, 502, "{bytes:.80?}: {}", answer.text());
        assert_eq!(scene.arrived().len(), 1, "{bytes:.80?}");
    }
    scene.still_serves("answers that were none");
}

#[test]
fn a_length_that_is_a_lie_is_never_made_good() {
    let scene = Scene::new();
    for (bytes, whole) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nshort", None),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\nshort", None),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nshort\r\n", None),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\nshort\r\n0\r\n\r\n", None),
        ("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nlonger than it said", Some("long")),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 9\r\n\r\n4\r\nfour\r\n0\r\n\r\n",
            Some("four"),
        ),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 2\r\n\r\n4\r\nfour\r\n0\r\n\r\n",
            Some("four"),
        ),
        ("HTTP/1.0 200 OK\r\n\r\nuntil the end", Some("until the end")),
        ("HTTP/1.1 204 No Content\r\ncontent-length: 4\r\n\r\nfour", Some("")),
        ("HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", Some("ok")),
        ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", Some("ok")),
    ] {
        scene.provider.says(bytes, Then::Close);
        let mut stream = scene.connect();
        stream.write_all(&scene.filled(get(OTHER).as_bytes())).unwrap();
        let told = everything(&mut stream);
        assert_eq!(body(&told).as_deref(), whole, "{bytes:?}: {told:?}");
    }
    scene.still_serves("lengths that were lies");
}

/// The body of one answer, if it is whole by its own head and nothing follows it.
pub(super) fn body(told: &str) -> Option<String> {
    let (head, body) = told.split_once("\r\n\r\n")?;
    if head.contains("transfer-encoding: chunked") {
        let (mut whole, mut rest) = (String::new(), body);
        loop {
            let (size, more) = rest.split_once("\r\n")?;
            let size = usize::from_str_radix(size, 16).ok()?;
            if size == 0 {
                return (more == "\r\n").then_some(whole);
            }
            whole += more.get(..size)?;
            rest = more.get(size..)?.strip_prefix("\r\n")?;
        }
    }
    if head.starts_with("HTTP/1.1 204") {
        return body.is_empty().then(String::new);
    }
    let length: usize = head.lines().find_map(|line| line.strip_prefix("content-length: "))?.parse().ok()?;
    (body.len() == length).then(|| body.to_owned())
}

#[test]
fn what_a_provider_says_out_of_turn_reaches_nobody() {
    let scene = Scene::new();
    let own = |seen: &super::Seen| {
        let body = seen.line.split(' ').nth(1).unwrap_or_default().to_owned();
        format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len())
    };
    for pause in [None, Some(0), Some(1), Some(5)] {
        scene.provider.script(move |seen, stream| {
            let text = own(seen);
            let _ = match pause {
                None => stream.write_all(format!("{text}{POISON}").as_bytes()),
                Some(millis) => {
                    let _ = stream.write_all(text.as_bytes());
                    std::thread::sleep(Duration::from_millis(millis));
                    stream.write_all(POISON.as_bytes())
                }
            };
            Then::Keep
        });
        let mut stream = scene.connect();
        for number in 0..40 {
            let target = format!("{OTHER}/{number}");
            let Some(answer) = ask(&mut stream, &scene.key, "GET", &target, "") else {
                panic!("no answer, {pause:?}");
            };
            assert!(!answer.text().contains("poison"), "the answer of nobody's request, {pause:?}");
            if answer.status == 200 {
                assert_eq!(answer.text(), target.trim_start_matches("/dashscope"));
            }
            // What comes when the next request has gone out can't be told from its answer, by nobody.
            std::thread::sleep(Duration::from_millis(pause.map_or(0, |pause| pause + 10)));
        }
    }
    // A body where there is none.
    for (method, bytes) in [
        ("HEAD", "HTTP/1.1 200 OK\r\ncontent-length: 62\r\n\r\n"),
        ("GET", "HTTP/1.1 204 No Content\r\n\r\n"),
        ("GET", "HTTP/1.1 304 Not Modified\r\ncontent-length: 62\r\n\r\n"),
    ] {
        scene.provider.says(format!("{bytes}{POISON}"), Then::Keep);
        let mut stream = scene.connect();
        let text = get(OTHER).replacen("GET", method, 1);
        stream.write_all(&scene.filled(text.as_bytes())).unwrap();
        let told = everything(&mut stream);
        assert!(statuses(&told).len() == 1 && !told.contains("poison"), "{method} {bytes:?}: {told:?}");
        scene.still_serves(bytes);
    }
}

#[test]
fn a_provider_that_never_ends_is_cut_with_the_lease_and_dropped_with_the_client() {
    let scene = Scene::new();
    let gone = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let told = gone.clone();
    scene.provider.script(move |_, stream| {
        let _ = stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n");
        while stream.write_all(b"9\r\ndata: x\n\n\r\n").is_ok() {
            std::thread::sleep(Duration::from_millis(1));
        }
        told.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Then::Close
    });
    let ended = |count| crate::harness::soon(2 * SECOND, || gone.load(std::sync::atomic::Ordering::Relaxed) == count);
    let mut stream = scene.connect();
    stream.write_all(&scene.filled(get(OTHER).as_bytes())).unwrap();
    stream.read_exact(&mut [0; 500]).unwrap();
    drop(stream);
    assert!(ended(1), "the call of a client that is gone goes on");
    let mut stream = scene.connect();
    stream.write_all(&scene.filled(get(OTHER).as_bytes())).unwrap();
    stream.read_exact(&mut [0; 500]).unwrap();
    assert_eq!(scene.world.control_http("DELETE", "/v1/leases?all=true", None).status, 200);
    assert!(ended(2), "the call of a lease that is over goes on");
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
    assert!(!String::from_utf8_lossy(&rest).ends_with("0\r\n\r\n"), "what was cut looks whole");
}

#[test]
fn the_key_is_not_given_back_in_any_part_of_an_answer() {
    let scene = Scene::new();
    let real = scene.real.clone();
    let (one, two) = real.split_at(17);
    let chunk = |text: &str| format!("{:x}\r\n{text}\r\n", text.len());
    let chunks = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n";
    let socket = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n";
    let answers = [
        ("reason", format!("HTTP/1.1 200 {real}\r\ncontent-length: 0\r\n\r\n")),
        ("header", format!("HTTP/1.1 200 OK\r\nx-debug: Bearer {real}\r\ncontent-length: 0\r\n\r\n")),
        ("second header", format!("HTTP/1.1 200 OK\r\nx-a: 1\r\nx-a: {real}\r\ncontent-length: 0\r\n\r\n")),
        ("cookie", format!("HTTP/1.1 200 OK\r\nset-cookie: k={real}\r\ncontent-length: 0\r\n\r\n")),
        ("location", format!("HTTP/1.1 302 Found\r\nlocation: /x?key={real}\r\ncontent-length: 0\r\n\r\n")),
        (
            "early hint",
            format!("HTTP/1.1 103 Early\r\nx-debug: {real}\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"),
        ),
        ("body", format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{real}", real.len())),
        ("body without length", format!("HTTP/1.0 200 OK\r\n\r\nx{real}")),
        ("one chunk", format!("{chunks}\r\n{}0\r\n\r\n", chunk(&real))),
        ("two chunks", format!("{chunks}\r\n{}{}0\r\n\r\n", chunk(one), chunk(two))),
        (
            "many chunks",
            format!("{chunks}\r\n{}0\r\n\r\n", real.split("").filter(|s| !s.is_empty()).map(chunk).collect::<String>()),
        ),
        ("trailer", format!("{chunks}trailer: x-debug\r\n\r\n{}0\r\nx-debug: {real}\r\n\r\n", chunk("ok"))),
        ("chunk extension", format!("{chunks}\r\n2;k={real}\r\nok\r\n0\r\n\r\n")),
        ("websocket head", format!("{socket}x-debug: {real}\r\n\r\n")),
        ("websocket", format!("{socket}\r\n\u{1}\u{33}{real}")),
    ];
    for (place, bytes) in answers {
        let target = if place.starts_with("websocket") { "/dashscope/api-ws/v1/inference" } else { OTHER };
        let upgrade = if place.starts_with("websocket") { "connection: upgrade\r\nupgrade: websocket\r\n" } else { "" };
        for te in ["", "te: trailers\r\nconnection: te\r\n"] {
            scene.provider.says(bytes.clone(), Then::Close);
            let lines = if upgrade.is_empty() { te } else { upgrade };
            let text = format!("GET {target} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer KEY\r\n{lines}\r\n");
            let told = scene.attack(text.as_bytes());
            scene.told_nothing(&told, place);
            assert_eq!(scene.arrived().len(), 1, "{place}");
        }
    }
    assert_eq!(scene.world.status()["echoed"][0], "dashscope/main");
    scene.still_serves("echoes");
}

/// The key as debug pages and logs write it: base64 of a Basic header and of the key alone, hex, percent signs.
fn codes(real: &str) -> Vec<String> {
    let pair = |user: &str| STANDARD.encode(format!("{user}{real}"));
    let each = |case: fn(u8) -> String| real.bytes().map(case).collect::<String>();
    let mut codes: Vec<String> = ["", "x:", "x-access-token:", "me:"].map(pair).into();
    codes.extend([each(|byte| format!("{byte:02x}")), each(|byte| format!("{byte:02X}"))]);
    codes.extend([each(|byte| format!("%{byte:02x}")), real.replace('-', "%2D")]);
    codes
}

#[test]
fn the_key_is_not_given_back_in_another_writing() {
    let scene = Scene::new();
    for code in codes(&scene.real) {
        let chunks = |size: usize| {
            let pieces = code.as_bytes().chunks(size).map(|piece| std::str::from_utf8(piece).unwrap());
            pieces.map(|piece| format!("{:x}\r\n{piece}\r\n", piece.len())).collect::<String>()
        };
        let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        for bytes in [
            format!("HTTP/1.1 200 OK\r\nx-debug: {code}\r\ncontent-length: 0\r\n\r\n"),
            format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n\"{code}\"", code.len() + 2),
            format!("{chunked}{}0\r\n\r\n", chunks(11)),
            format!("{chunked}{}0\r\n\r\n", chunks(1)),
        ] {
            scene.provider.says(bytes.clone(), Then::Close);
            let told = scene.attack(get(OTHER).as_bytes());
            let shown: String = told.split("\r\n").filter(|line| line.len() > 1).collect();
            assert!(!shown.contains(&code[code.len() / 2..]), "{bytes} gave it away: {told}");
            scene.arrived();
        }
        assert_eq!(scene.world.status()["echoed"][0], "dashscope/main", "{code}");
        scene.still_serves("a coded echo");
    }
}

#[test]
fn a_connection_on_which_the_key_came_back_is_not_used_again() {
    let scene = Scene::new();
    let real = scene.real.clone();
    for bytes in [
        format!("HTTP/1.1 200 OK\r\nx-debug: Bearer {real}\r\ncontent-length: 0\r\n\r\n"),
        format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{real}", real.len()),
    ] {
        let ended = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let told = ended.clone();
        scene.provider.script(move |_, stream| {
            let _ = stream.write_all(bytes.as_bytes());
            told.store(matches!(stream.read(&mut [0; 1]), Ok(0) | Err(_)), std::sync::atomic::Ordering::Relaxed);
            Then::Close
        });
        let _ = scene.call("GET", OTHER, "");
        assert!(crate::harness::soon(SECOND, || ended.load(std::sync::atomic::Ordering::Relaxed)), "it is kept");
        scene.still_serves("an echo");
    }
}

#[test]
fn a_redirect_is_not_followed_and_leads_nowhere_else_and_cookies_are_not_kept() {
    let scene = Scene::new();
    let elsewhere = super::Provider::start();
    for (location, told) in [
        (format!("{}/x", elsewhere.url()), None),
        ("//elsewhere.example/x".into(), None),
        ("x".into(), None),
        ("/compatible-mode/v1/files/1".into(), Some("location: /dashscope/compatible-mode/v1/files/1")),
    ] {
        let lines =
            "set-cookie: a=b\r\nalt-svc: h3=\":443\"\r\nkeep-alive: timeout=5\r\nconnection: x-own\r\nx-own: 1\r\n";
        scene.provider.says(
            format!("HTTP/1.1 302 Found\r\nlocation: {location}\r\n{lines}content-length: 0\r\n\r\n"),
            Then::Keep,
        );
        let answer = scene.call("GET", OTHER, "").unwrap();
        assert_eq!(answer.status, 302);
        let line = answer.head.lines().find(|line| line.starts_with("location:"));
        assert_eq!(line, told, "{location}");
        for gone in ["set-cookie", "alt-svc", "keep-alive", "x-own", "elsewhere"] {
            assert!(!answer.head.contains(gone), "{gone}: {}", answer.head);
        }
        assert_eq!(scene.arrived().len(), 1, "{location} was followed");
    }
    assert_eq!(elsewhere.count(), 0);
    scene.still_serves("redirects");
}

#[test]
fn a_connection_that_outlives_one_lease_serves_the_next() {
    let scene = Scene::new();
    let mut stream = scene.connect();
    let lease = scene.world.mint(r#"{"key":"dashscope/main","kind":"virtual"}"#);
    let (first, id) = (lease.token(), lease.json()["id"].as_str().unwrap().to_owned());
    assert_eq!(ask(&mut stream, &first, "GET", OTHER, "").unwrap().status, 200);
    scene.provider.script(|seen, stream| {
        std::thread::sleep(Duration::from_millis(300));
        super::upstream::line_back(seen, stream)
    });
    assert_eq!(scene.world.http("DELETE", &format!("/v1/leases/{id}"), None).status, 200);
    let answer = ask(&mut stream, &scene.key, "POST", CHAT, "{}").expect("another lease's call is not cut");
    assert_eq!(answer.status, 200);
}
