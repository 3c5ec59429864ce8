//! How soon what runs on a lease ends when the lease does: measured at the client, from the answer to whatever ended it.

use super::{SECOND, Scene, upstream::Then};
use crate::{
    harness::{MINE, soon},
    http::read_head,
    narrowing::narrowed,
};
use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
    process::{Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

/// What a client is promised. The best of three tries counts: a machine that is busy is no fault, a look once a second is.
const PROMISED: Duration = Duration::from_millis(100);

#[derive(Debug, Clone, Copy)]
enum Way {
    Events,
    Websocket,
}

#[derive(Debug, Clone, Copy)]
enum Cause {
    Revoked,
    Locked,
    KeyRemoved,
    Reloaded,
    OwnerGone,
    NodeRevoked,
    Expired,
}

const SWITCHED: &str = "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\
                        sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\nhello";
const EVENTS: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n\
                      d\r\ndata: hello\n\n\r\n";

impl Way {
    fn target(self) -> &'static str {
        match self {
            Way::Events => "/dashscope/compatible-mode/v1/chat/completions",
            Way::Websocket => "/dashscope/api-ws/v1/inference",
        }
    }

    fn headers(self) -> &'static [&'static str] {
        match self {
            Way::Events => &[],
            Way::Websocket => &[
                "connection: Upgrade",
                "upgrade: websocket",
                "sec-websocket-version: 13",
                "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==",
            ],
        }
    }
}

/// A provider that greets, and then says nothing more.
fn greeting(config: &str) -> Scene {
    let scene = Scene::with(config);
    scene.provider.script(|seen, stream| {
        let websocket = seen.line.contains("api-ws");
        let _ = stream.write_all(if websocket { SWITCHED } else { EVENTS }.as_bytes());
        // Until the gateway leaves.
        let _ = stream.read(&mut [0; 64]);
        Then::Close
    });
    scene
}

impl Scene {
    /// A stream that has begun.
    fn begun(&self, way: Way, key: &str) -> UnixStream {
        let mut stream = self.connect();
        let lines = way.headers().join("\r\n");
        let end = if lines.is_empty() { "\r\n" } else { "\r\n\r\n" };
        let head = format!("GET {} HTTP/1.1\r\nhost: x\r\nx-api-key: {key}\r\n{lines}{end}", way.target());
        stream.write_all(head.as_bytes()).unwrap();
        let (told, mut first) = (read_head(&mut stream), String::new());
        while !first.contains("hello") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap_or_else(|fault| panic!("{way:?} {fault}: {told} {first}"));
            first.push(byte[0].into());
        }
        stream
    }

    fn control(&self, method: &str, target: &str) {
        let body = (method == "POST").then_some("{}");
        let answer = self.world.control_http(method, target, body);
        assert_eq!(answer.status, 200, "{method} {target}: {}", answer.text());
    }

    fn configured(&self, config: &str) {
        self.world.configure(config);
        assert_eq!(self.world.control_http("POST", "/v1/reload", None).status, 200);
    }

    /// Ends the stream's lease, or its key; returns when that is answered.
    fn end(&self, cause: Cause, node: &str, minted: Instant) {
        match cause {
            Cause::Revoked => self.control("DELETE", "/v1/leases?all=true"),
            Cause::Locked => assert_eq!(self.world.control_http("POST", "/v1/lock", None).status, 200),
            Cause::KeyRemoved => self.control("DELETE", "/v1/keys/dashscope/main"),
            Cause::Reloaded => self.configured(&format!("{MINE}scope = {{ methods = [\"PUT\"] }}")),
            Cause::NodeRevoked => {
                assert_eq!(self.world.http("DELETE", &format!("/v1/leases/{node}"), None).status, 200);
            }
            // By itself, a second after it was minted.
            Cause::Expired => sleep(SECOND.saturating_sub(minted.elapsed())),
            Cause::OwnerGone => unreachable!("this process is the owner"),
        }
    }

    fn restore(&self, cause: Cause) {
        match cause {
            Cause::Locked => self.control("POST", "/v1/unlock"),
            Cause::KeyRemoved => drop(self.world.add_key_at("dashscope/main", &self.provider.url())),
            Cause::Reloaded => self.configured(MINE),
            Cause::Revoked | Cause::NodeRevoked | Cause::Expired | Cause::OwnerGone => {}
        }
    }

    /// From the answer to the stream's end.
    fn lasts(&self, way: Way, cause: Cause) -> Duration {
        let minted = Instant::now();
        let key = self.world.virtual_key(if matches!(cause, Cause::Expired) { r#","ttl":1"# } else { "" });
        let (narrow, node) = narrowed(&key, &["--uses", "9"]);
        let key = if matches!(cause, Cause::NodeRevoked) { narrow } else { key };
        let mut stream = self.begun(way, &key);
        self.end(cause, &node, minted);
        let answered = Instant::now();
        let ended = stream.read_to_end(&mut Vec::new());
        let lasted = answered.elapsed();
        assert!(ended.is_ok() || lasted < 5 * SECOND, "{way:?} {cause:?}: it never ended");
        self.restore(cause);
        lasted
    }

    /// The same for the end of a process whose child has the stream.
    fn outlives_its_owner(&self, way: Way) -> Duration {
        let headers: String = way.headers().iter().map(|line| format!("-H '{line}' ")).collect();
        let curl = format!(
            "curl -sN --http1.1 --unix-socket {} -H \"x-api-key: $K\" {headers} http://x{} & exec sleep 60",
            self.world.path("run/gateway.sock").display(),
            way.target()
        );
        let script = format!("K=$({} mint dashscope/main --kind virtual); {curl}", crate::harness::program().display());
        let before = self.provider.count();
        let mut owner = Command::new("sh");
        owner.args(["-c", &script]).env("SIXTY_SOCKET", self.world.broker()).stdout(Stdio::piped());
        let mut owner = owner.spawn().unwrap();
        assert!(soon(5 * SECOND, || self.provider.count() > before), "{way:?} did not begin");
        sleep(Duration::from_millis(100));
        // The child has its end of the pipe for as long as it has the stream.
        let mut said = owner.stdout.take().unwrap();
        owner.kill().unwrap();
        owner.wait().unwrap();
        let gone = Instant::now();
        said.read_to_end(&mut Vec::new()).unwrap();
        gone.elapsed()
    }
}

#[test]
fn whatever_ends_a_lease_ends_its_streams_and_websockets_within_100_ms() {
    let scene = greeting(MINE);
    for way in [Way::Events, Way::Websocket] {
        for cause in [
            Cause::Revoked,
            Cause::Locked,
            Cause::KeyRemoved,
            Cause::Reloaded,
            Cause::OwnerGone,
            Cause::NodeRevoked,
            Cause::Expired,
        ] {
            let lasts = || match cause {
                Cause::OwnerGone => scene.outlives_its_owner(way),
                cause => scene.lasts(way, cause),
            };
            let tries = [(); 3].map(|()| lasts());
            eprintln!("{way:?} {cause:?}: {tries:?}");
            assert!(tries.iter().min() < Some(&PROMISED), "{way:?} {cause:?}: {tries:?}");
        }
    }
}
