//! Ten thousand calls through the gateway: whole, streamed, broken off, refused, spoiled by the provider, and as
//! websockets; on connections that both sides keep.

use super::{
    hunt::sees,
    life::{KEYS, Life},
};
use crate::{
    attack::{
        packed::{CODINGS, answer, packed},
        upstream::{Provider, Then},
    },
    harness::{random_key, read_answer, soon},
    http::read_head,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use sixty::demo::studio::Fault;
use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
    time::Duration,
};

/// What a provider does to a call, the worst first: it sends the key back.
const FAULTS: [Fault; 8] = [
    Fault::EchoBody,
    Fault::EchoHead,
    Fault::Compressed,
    Fault::Throttled,
    Fault::InternalError,
    Fault::Redirect,
    Fault::CutBody,
    Fault::CloseOnRequest,
];
const CHAT: &str = "/dashscope/compatible-mode/v1/chat/completions";
const CALLERS: usize = 8;

impl Life {
    /// So many calls by eight callers, each with a key of its own; their connections stay open and are given back.
    pub fn call_through_the_gateway(&self, calls: usize) -> Vec<UnixStream> {
        let held = std::thread::scope(|scope| {
            let calling = |caller: usize| scope.spawn(move || self.calls_of_one(caller % KEYS, calls / CALLERS));
            let all: Vec<_> = (0..CALLERS).map(calling).collect();
            all.into_iter().map(|one| one.join().unwrap()).collect()
        });
        assert!(self.world.studio.open() > 0, "connections to the provider are kept");
        held
    }

    fn calls_of_one(&self, number: usize, calls: usize) -> UnixStream {
        let virtual_key = self.virtual_key(&format!("dashscope/k{number}"));
        let mut stream = self.connect();
        for call in 0..calls {
            let text = |key: &str, body: &str| post(key, CHAT, body);
            let whole = r#"{"model":"qwen-plus","messages":[{"role":"user","content":"Hello"}]}"#;
            let streamed = whole.replacen('{', "{\"stream\":true,", 1);
            match call % 20 {
                // Heard in part, by somebody who is gone then.
                0 | 10 => {
                    let mut gone = self.connect();
                    gone.write_all(text(&virtual_key, &streamed).as_bytes()).unwrap();
                    let _ = gone.read(&mut [0; 300]);
                }
                // Gone before the body is whole.
                5 => drop(self.connect().write_all(&text(&virtual_key, whole).as_bytes()[..150])),
                6 => assert_eq!(self.said(&text("sk-0123456789abcdef", whole)), 403),
                7 => assert_eq!(self.said(&text(&virtual_key, "{\"model\":\"none\"}")), 404),
                2 | 12 => {
                    stream.write_all(text(&virtual_key, &streamed).as_bytes()).unwrap();
                    let mut all = String::new();
                    while !all.ends_with("0\r\n\r\n") {
                        let mut piece = [0; 4096];
                        let read = stream.read(&mut piece).unwrap();
                        assert!(read > 0, "{all}");
                        all += &String::from_utf8_lossy(&piece[..read]);
                    }
                }
                _ => {
                    stream.write_all(text(&virtual_key, whole).as_bytes()).unwrap();
                    assert_eq!(read_answer(&mut stream).unwrap().status, 200);
                }
            }
        }
        stream
    }

    /// A connection whose buffer holds a secret, half a head: a scan that does not see it is blind.
    pub fn a_buffer_in_use_is_seen(&self) {
        let (mut stream, decoy) = (self.connect(), random_key());
        stream.write_all(format!("GET {CHAT} HTTP/1.1\r\nx-api-key: {decoy}").as_bytes()).unwrap();
        assert!(soon(Duration::from_secs(5), || sees(self.world.pid(), &decoy)), "the scan is blind to connections");
    }

    /// Each fault some times; what the provider sent back was cut and is gone.
    pub fn the_provider_spoils_calls(&mut self) {
        let virtual_key = self.virtual_key("dashscope/k1");
        for fault in FAULTS {
            for _ in 0..20 {
                self.world.studio.next(fault);
                let mut stream = self.connect();
                stream
                    .write_all(post(&virtual_key, CHAT, r#"{"model":"qwen-plus","messages":[]}"#).as_bytes())
                    .unwrap();
                stream.set_read_timeout(Some(Duration::from_millis(30))).unwrap();
                let _ = stream.read_to_end(&mut Vec::new());
            }
            self.world.studio.clear();
        }
        self.look("after everything that a provider can do to a call");
    }

    /// The key comes back compressed, and in other writings: what unpacked it and looked for it is gone.
    pub fn the_key_comes_back_in_disguise(&mut self) {
        let provider = Provider::start();
        let key = self.fresh_key();
        self.add("dashscope/disguise", &provider.url(), &key);
        let virtual_key = self.virtual_key("dashscope/disguise");
        let hex: String = key.bytes().map(|byte| format!("{byte:02x}")).collect();
        for text in [key.clone(), STANDARD.encode(format!("x:{key}")), hex] {
            for coding in CODINGS {
                let packed = packed(coding, format!("some words before {text}").as_bytes());
                provider.says(answer(coding, "application/json", &packed, 7), Then::Close);
                for _ in 0..5 {
                    let mut stream = self.connect();
                    stream.write_all(post(&virtual_key, CHAT, "{\"model\":\"m\"}").as_bytes()).unwrap();
                    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
                    let mut told = Vec::new();
                    let _ = stream.read_to_end(&mut told);
                    assert!(!String::from_utf8_lossy(&told).ends_with("0\r\n\r\n"), "it was not cut");
                }
            }
        }
        self.look("after the key came back in disguise");
    }

    /// Open and closed ones; over some of them the key comes back.
    pub fn websockets_pass(&mut self) {
        let provider = Provider::start();
        let key = self.fresh_key();
        self.add("dashscope/socket", &provider.url(), &key);
        let virtual_key = self.virtual_key("dashscope/socket");
        let switched = "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\r\n";
        provider.script(move |_, stream| {
            let mut bytes = [0; 4];
            let _ = stream.write_all(switched.as_bytes());
            while stream.read_exact(&mut bytes).is_ok() {
                let _ = stream.write_all(if bytes == *b"show" { key.as_bytes() } else { &bytes });
            }
            Then::Close
        });
        let mut open: Vec<UnixStream> = Vec::new();
        for number in 0..50 {
            let mut stream = self.connect();
            let head = "connection: upgrade\r\nupgrade: websocket\r\n";
            let target = "/dashscope/api-ws/v1/inference";
            let text = format!("GET {target} HTTP/1.1\r\nhost: x\r\nx-api-key: {virtual_key}\r\n{head}\r\n");
            stream.write_all(text.as_bytes()).unwrap();
            assert!(read_head(&mut stream).starts_with("HTTP/1.1 101 "));
            let mut back = [0; 4];
            stream.write_all(b"ping").unwrap();
            stream.read_exact(&mut back).unwrap();
            if number % 5 == 0 {
                stream.write_all(b"show").unwrap();
                assert_eq!(stream.read(&mut back).unwrap_or(0), 0, "the key came back");
            } else if number % 5 == 1 {
                open.push(stream);
            }
        }
        self.look("with websockets that are open, and others that are over");
        drop(open);
    }

    fn virtual_key(&self, key: &str) -> String {
        self.world.mint(&format!(r#"{{"key":"{key}","kind":"virtual","ttl":600}}"#)).token()
    }

    fn said(&self, text: &str) -> u16 {
        let mut stream = self.connect();
        stream.write_all(text.as_bytes()).unwrap();
        read_answer(&mut stream).unwrap().status
    }

    fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(self.world.path("run/gateway.sock")).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }
}

fn post(key: &str, target: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST {target} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}
