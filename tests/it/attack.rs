//! Attacks on the gateway over raw sockets, with a provider of the test's own behind it. Whatever is tried, the real key
//! goes to the provider's place alone and once, no answer reaches another request, and the daemon goes on.

mod answers;
mod choke;
pub mod packed;
mod requests;
mod sockets;
pub mod upstream;

use crate::harness::{Answer, MINE, SECOND, World, read_answer, remember};
use std::{io::Read, io::Write, os::unix::net::UnixStream, time::Duration};
use upstream::{Provider, Seen};

/// A route that is looked into, and one that is passed as it comes.
const CHAT: &str = "/dashscope/compatible-mode/v1/chat/completions";
const OTHER: &str = "/dashscope/compatible-mode/v1/things";

/// A world whose provider is the test's own.
struct Scene {
    provider: Provider,
    world: World,
    real: String,
    key: String,
}

impl Scene {
    fn new() -> Self {
        Self::with(MINE)
    }

    fn with(config: &str) -> Self {
        let (world, provider) = (World::new(config), Provider::start());
        let real = world.add_key_at("dashscope/main", &provider.url());
        remember(&real);
        let key = world.virtual_key(r#","ttl":1800"#);
        Self { provider, world, real, key }
    }

    fn connect(&self) -> UnixStream {
        self.world.gateway()
    }

    /// Sends bytes, with KEY for the virtual key, and reads all that comes until the gateway closes or is silent.
    fn attack(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect();
        let _ = stream.write_all(&self.filled(bytes));
        everything(&mut stream)
    }

    fn filled(&self, bytes: &[u8]) -> Vec<u8> {
        let mut filled = Vec::with_capacity(bytes.len() + 64);
        let mut rest = bytes;
        while let Some(at) = rest.windows(3).position(|three| three == b"KEY") {
            filled.extend_from_slice(&rest[..at]);
            filled.extend_from_slice(self.key.as_bytes());
            rest = &rest[at + 3..];
        }
        filled.extend_from_slice(rest);
        filled
    }

    /// One well-formed call on a connection of its own.
    fn call(&self, method: &str, target: &str, body: &str) -> Option<Answer> {
        ask(&mut self.connect(), &self.key, method, target, body)
    }

    /// What arrived: each request with the real key in its place, once, and no virtual key.
    fn arrived(&self) -> Vec<Seen> {
        let seen = self.provider.take();
        for one in &seen {
            let text = String::from_utf8_lossy(&one.raw);
            assert_eq!(one.header("authorization"), Some(&*format!("Bearer {}", self.real)), "{}", one.line);
            assert_eq!(text.matches(&self.real).count(), 1, "{}", one.line);
            assert!(!text.contains("sixty_"), "a virtual key left the machine: {}", one.line);
        }
        seen
    }

    /// It serves as before, and whoever asks gets their own answer.
    fn still_serves(&self, after: &str) {
        self.provider.script(upstream::line_back);
        let mut stream = self.connect();
        for target in ["/dashscope/compatible-mode/v1/a", "/dashscope/compatible-mode/v1/b"] {
            let answer = ask(&mut stream, &self.key, "GET", target, "").unwrap_or_else(|| panic!("no answer: {after}"));
            let own = format!("GET {} HTTP/1.1", target.trim_start_matches("/dashscope"));
            assert_eq!((answer.status, answer.text()), (200, own), "{after}");
        }
        self.arrived();
    }

    /// Neither the key nor half of it.
    fn told_nothing(&self, text: &str, what: &str) {
        assert!(!text.contains(&self.real[..self.real.len() / 2]), "{what} gave the real key away");
    }
}

fn ask(stream: &mut UnixStream, key: &str, method: &str, target: &str, body: &str) -> Option<Answer> {
    let text = format!(
        "{method} {target} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let _ = stream.write_all(text.as_bytes());
    read_answer(stream)
}

/// All that comes within a moment of silence.
fn everything(stream: &mut UnixStream) -> String {
    stream.set_read_timeout(Some(Duration::from_millis(250))).unwrap();
    let mut all = Vec::new();
    let _ = stream.read_to_end(&mut all);
    stream.set_read_timeout(Some(10 * SECOND)).unwrap();
    String::from_utf8_lossy(&all).into_owned()
}

/// The statuses of all answers in a text.
fn statuses(text: &str) -> Vec<u16> {
    text.match_indices("HTTP/1.").filter_map(|(at, _)| text.get(at + 9..at + 12)?.parse().ok()).collect()
}
