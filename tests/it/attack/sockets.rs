//! Websockets through the gateway: both ways, cut in time, counted as connections, and never a way around the judgement.

use super::{SECOND, Scene, everything, statuses, upstream::Then};
use crate::{
    gateway::Holder,
    harness::{MINE, read_answer, soon},
    http::read_head,
};
use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
    time::Instant,
};

const SOCKET: &str = "/dashscope/api-ws/v1/inference";
const SWITCHED: &str = "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\nset-cookie: a=b\r\n\
                        sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

fn head(target: &str, lines: &str) -> String {
    format!(
        "GET {target} HTTP/1.1\r\nhost: x\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
         sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nauthorization: Bearer KEY\r\n{lines}\r\n"
    )
}

/// A provider that switches and sends back what it hears.
fn echoing(config: &str) -> Scene {
    let scene = Scene::with(config);
    scene.provider.script(|_, stream| {
        let _ = stream.write_all(SWITCHED.as_bytes());
        let mut bytes = [0; 4096];
        while let Ok(read @ 1..) = stream.read(&mut bytes) {
            let _ = stream.write_all(&bytes[..read]);
        }
        Then::Close
    });
    scene
}

impl Scene {
    /// An open websocket.
    fn switched(&self) -> UnixStream {
        let mut stream = self.connect();
        stream.write_all(&self.filled(head(SOCKET, "").as_bytes())).unwrap();
        let told = read_head(&mut stream).to_lowercase();
        assert!(told.starts_with("http/1.1 101 ") && told.contains("sec-websocket-accept: "), "{told}");
        assert!(!told.contains("set-cookie"), "{told}");
        stream
    }
}

fn echoes(stream: &mut UnixStream, text: &[u8]) -> bool {
    let mut back = vec![0; text.len()];
    stream.write_all(text).is_ok() && stream.read_exact(&mut back).is_ok() && back == text
}

#[test]
fn a_websocket_passes_both_ways_with_the_key_put_in() {
    let scene = echoing(MINE);
    let mut stream = scene.switched();
    for size in [1, 5, 100, 70_000] {
        assert!(echoes(&mut stream, &vec![b'a'; size]), "{size}");
    }
    let seen = scene.arrived();
    assert_eq!(seen[0].line, "GET /api-ws/v1/inference HTTP/1.1");
    assert_eq!((seen[0].header("upgrade"), seen[0].header("sec-websocket-version")), (Some("websocket"), Some("13")));
    drop(stream);
    assert!(soon(SECOND, || scene.world.audit().iter().any(|line| line["status"] == 101)));
}

#[test]
fn what_a_client_says_after_the_providers_last_word_still_arrives() {
    let scene = Scene::new();
    let (tell, told) = std::sync::mpsc::channel();
    scene.provider.script(move |_, stream| {
        let _ = stream.write_all(SWITCHED.as_bytes());
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut said = String::new();
        let _ = stream.read_to_string(&mut said);
        let _ = tell.send(said);
        Then::Close
    });
    let mut stream = scene.switched();
    assert_eq!(stream.read_to_end(&mut Vec::new()).unwrap(), 0);
    for word in [b"good", b"bye."] {
        stream.write_all(word).unwrap();
        std::thread::sleep(SECOND / 10);
    }
    drop(stream);
    assert_eq!(told.recv_timeout(5 * SECOND).unwrap(), "goodbye.");
}

#[test]
fn a_websocket_is_refused_where_none_is_and_to_whom_it_is_not_given() {
    let scene = echoing(MINE);
    let narrow = scene.world.virtual_key(r#","scope":{"paths":["/compatible-mode/**"]}"#);
    let holder = Holder::new(&scene.world);
    let chat = "/dashscope/compatible-mode/v1/chat/completions";
    for (text, status) in [
        (head(SOCKET, "").replace("KEY", &narrow), 403),
        (head(SOCKET, "").replace("KEY", &holder.key), 403),
        (head(SOCKET, "").replace("Bearer KEY", ""), 403),
        (head(SOCKET, "").replace("authorization: Bearer KEY\r\n", ""), 401),
        (head(chat, ""), 400),
        (head(SOCKET, "").replace("GET", "POST"), 400),
        (head(SOCKET, "content-length: 5\r\n") + "abcde", 400),
        (head(SOCKET, "transfer-encoding: chunked\r\n") + "5\r\nabcde\r\n0\r\n\r\n", 400),
    ] {
        let told = scene.attack(text.as_bytes());
        assert_eq!(statuses(&told), [status], "{text}: {told}");
        assert!(scene.arrived().is_empty(), "{text}");
    }
}

#[test]
fn what_switches_to_something_else_or_compresses_is_not_joined() {
    let scene = Scene::new();
    let switched = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\n";
    for lines in [
        "upgrade: h2c\r\n",
        "",
        "upgrade: websocket\r\nupgrade: h2c\r\n",
        "upgrade: websocket\r\nsec-websocket-extensions: permessage-deflate\r\n",
    ] {
        scene.provider.says(format!("{switched}{lines}\r\nanything"), Then::Close);
        let told = scene.attack(head(SOCKET, "sec-websocket-extensions: permessage-deflate\r\n").as_bytes());
        assert_eq!(statuses(&told), [502], "{lines}: {told}");
        assert!(scene.arrived().iter().all(|one| one.header("sec-websocket-extensions").is_none()));
    }
    scene.still_serves("strange switches");
}

#[test]
fn bytes_behind_a_websocket_that_was_refused_are_no_request() {
    let scene = Scene::new();
    scene.provider.says("HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno", Then::Keep);
    let hidden = "GET /dashscope/compatible-mode/v1/hidden HTTP/1.1\r\nhost: x\r\n\r\n";
    let told = scene.attack((head(SOCKET, "") + hidden).as_bytes());
    assert_eq!(statuses(&told)[0], 403);
    assert_eq!(scene.arrived().len(), 1, "what followed has no key and goes nowhere");
    scene.still_serves("a websocket that was refused");
}

#[test]
fn open_websockets_are_connections_and_bounded_like_them() {
    let scene = echoing(&format!("[limits]\nconnections = 8\nconnections_per_uid = 4\n{MINE}"));
    let mut open: Vec<_> = (0..4).map(|_| scene.switched()).collect();
    let mut late = scene.connect();
    late.set_read_timeout(Some(SECOND)).unwrap();
    late.write_all(&scene.filled(head(SOCKET, "").as_bytes())).unwrap();
    let answer = read_answer(&mut late).map(|answer| answer.status);
    assert_eq!(answer, Some(429), "a fifth of a user who may have four");
    assert!(open.iter_mut().all(|stream| echoes(stream, b"still open")));
    drop(open.pop());
    assert!(soon(2 * SECOND, || {
        let mut stream = scene.connect();
        let _ = stream.write_all(&scene.filled(head(SOCKET, "").as_bytes()));
        read_head(&mut stream).starts_with("HTTP/1.1 101 ")
    }));
}

#[test]
fn a_daemon_that_ends_does_not_wait_for_websockets() {
    let mut scene = echoing(MINE);
    let mut stream = scene.switched();
    let began = Instant::now();
    assert_eq!(scene.world.stop(), Some(0));
    assert!(began.elapsed() < 2 * SECOND, "{:?}", began.elapsed());
    assert_eq!(everything(&mut stream), "");
}
