//! A daemon's life with many keys, many callers and every kind of accident, and all secrets that went through it.
//! It must never forget one: what it does not know is not looked for.

use super::{
    builds::lacking,
    daemon_arguments,
    hunt::{self, Finds},
};
use crate::harness::{Answer, World, exchange, random_key, read_answer, request, soon};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use sixty::demo::{scan::Needle, studio::Fault};
use std::{
    io::Write,
    os::unix::net::UnixStream,
    path::Path,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

pub const KEYS: usize = 8;
const CALLERS: usize = 16;
/// Tokens that are looked for in every form; the others in their own alone.
const RECENT: usize = 24;

const CONFIG: &str = r#"
[limits]
header_time = "1s"
body_time = "1s"
idle_time = "10m"
[upstream]
ca_file = "DIRECTORY/ca.pem"
allow_loopback = true
connect_time = "2s"
total_time = "5s"
[[rule]]
name = "shared"
peer = { uid = "self" }
keys = ["dashscope/k0"]
kinds = ["upstream", "virtual"]
ttl = { default = "60s", max = "30m" }
share = "1s"
[[rule]]
name = "mine"
peer = { uid = "self" }
keys = ["**"]
kinds = ["upstream", "virtual"]
ttl = { default = "60s", max = "30m" }
for = ["uid:self"]
"#;

/// Everything that goes wrong on the provider's side.
const FAULTS: [Fault; 18] = [
    Fault::BadKey,
    Fault::Throttled,
    Fault::PrepaidBillOverdue,
    Fault::Arrearage,
    Fault::Denied,
    Fault::CodeInOk,
    Fault::InternalError,
    Fault::Garbage,
    Fault::Huge(100_000),
    Fault::Redirect,
    Fault::NoExpiry,
    Fault::ZeroExpiry,
    Fault::StrangeToken,
    Fault::ExpiresIn(0),
    Fault::CutBody,
    Fault::CloseOnRequest,
    Fault::ResetOnRequest,
    Fault::Hang,
];

pub struct Life {
    pub world: World,
    /// Every long-lived key that ever came near the daemon, old ones too, and the vault's own.
    keys: Vec<String>,
    tokens: Mutex<Vec<String>>,
    /// What narrower keys are told by.
    seeds: Vec<Vec<u8>>,
    pub finds: Finds,
    /// Connections that their callers leave open after what was said on them; those that the daemon keeps too, first.
    open: Mutex<Vec<UnixStream>>,
}

impl Life {
    pub fn begin() -> Self {
        let world = World::with_arguments(CONFIG, daemon_arguments());
        let vault = std::fs::read_to_string(world.path("vault.key")).unwrap();
        Self {
            world,
            keys: vec![vault],
            tokens: Mutex::default(),
            seeds: Vec::new(),
            finds: Finds::default(),
            open: Mutex::default(),
        }
    }

    /// Eight keys: the request in one packet, its head in two, its body in two.
    pub fn keys_come_in(&mut self) {
        for number in 0..KEYS {
            let (key, url) = (self.fresh_key(), self.world.studio.url());
            let text = put(&format!("dashscope/k{number}"), "main", &url, &format!("\"{key}\""));
            let cut = [0, 30, text.len() - 20][number % 3];
            assert_eq!(in_two(&self.world.control(), &text, cut).unwrap().status, 201);
        }
        self.look("after the keys came in");
    }

    /// Sixteen callers at once, half of them on a connection that they keep and leave open.
    pub fn many_mint_at_once(&self, mints: usize) {
        std::thread::scope(|scope| {
            for caller in 0..CALLERS {
                scope.spawn(move || match caller % 2 {
                    0 => self.mint_on_one_connection(caller, mints.div_ceil(CALLERS)),
                    _ => self.mint_on_many_connections(caller, mints.div_ceil(CALLERS)),
                });
            }
        });
        // The rule lets its callers share the first key's token for a second: it is kept so long.
        std::thread::sleep(Duration::from_millis(1500));
        self.look(&format!("after {mints} mints, with connections left open"));
    }

    fn mint_on_one_connection(&self, caller: usize, mints: usize) {
        let mut stream = UnixStream::connect(self.world.broker()).unwrap();
        for mint in 0..mints {
            let body = wish(caller % KEYS, 60 + caller, kind(mint));
            stream.write_all(request("POST", "/v1/leases", Some(&body), "keep-alive").as_bytes()).unwrap();
            self.keep(&read_answer(&mut stream).unwrap());
        }
        self.open.lock().unwrap().push(stream);
    }

    fn mint_on_many_connections(&self, caller: usize, mints: usize) {
        for mint in 0..mints {
            let text = request("POST", "/v1/leases", Some(&wish(caller % KEYS, 60 + caller, kind(mint))), "close");
            let cut = if mint % 8 == 0 { 25 } else { 0 };
            self.keep(&in_two(&self.world.broker(), &text, cut).unwrap());
        }
    }

    /// Each key once, with a life of its own so that no flight is shared; the last time of either kind by turns, since
    /// most of what a mint leaves is overwritten by the next.
    pub fn mint_some(&self, round: usize) {
        for number in 1..KEYS {
            self.keep(&self.world.mint(&wish(number, 100 + round, "upstream")));
        }
        for number in 0..round % 2 {
            self.keep(&self.world.mint(&wish(number, 100, "virtual")));
        }
    }

    /// The connections of the first callers were open all the time: they still serve.
    pub fn the_kept_connections_still_serve(&self) {
        for (number, stream) in self.open.lock().unwrap().iter_mut().take(CALLERS / 2).enumerate() {
            let body = wish(1, 200 + number, "upstream");
            stream.write_all(request("POST", "/v1/leases", Some(&body), "keep-alive").as_bytes()).unwrap();
            self.keep(&read_answer(stream).unwrap());
        }
    }

    /// Tickets that are redeemed, tried twice, mistyped or never finished; and narrower keys that are used. What they
    /// begin with is looked for as well: whoever has that can forge them.
    pub fn tickets_and_narrower_keys(&mut self) {
        let uid = nix::unistd::geteuid();
        let wish = format!(r#"{{"key":"dashscope/k1","kind":"virtual","for":"uid:{uid}","ticket":true,"ttl":900}}"#);
        for number in 0..KEYS {
            let answer = self.world.mint(&wish);
            let ticket = answer.json()["ticket"].as_str().unwrap().to_owned();
            self.keys.push(ticket["sixty_ticket_".len()..].to_owned());
            let redeem =
                request("POST", "/v1/tickets/redeem", Some(&format!(r#"{{"ticket":"{ticket}"}}"#)), "keep-alive");
            let wrong = redeem.replace("\"ticket\"", "\"tocket\"");
            assert_eq!(in_two(&self.world.broker(), &wrong, 0).unwrap().status, 400);
            let redeemed = in_two(&self.world.broker(), &redeem, [0, 30, redeem.len() - 20][number % 3]).unwrap();
            let key = redeemed.token();
            self.keep(&redeemed);
            self.narrower_key(&key);
            if number % 2 == 0 {
                assert_eq!(in_two(&self.world.broker(), &redeem, 0).unwrap().status, 401);
            }
        }
        self.look("after tickets and narrower keys");
    }

    fn narrower_key(&mut self, key: &str) {
        let by = serde_json::from_str(r#"{"uses":3,"scope":{"methods":["GET"]}}"#).unwrap();
        let (narrower, _) = sixty::wire::narrow::narrow(key.as_bytes(), &by).unwrap();
        let narrower = narrower.expose(|text| String::from_utf8(text.to_vec()).unwrap());
        self.seeds.push(sixty::wire::narrow::seed(key.as_bytes()).to_vec());
        let mut stream = UnixStream::connect(self.world.path("run/gateway.sock")).unwrap();
        let target = "/dashscope/compatible-mode/v1/models";
        let head = format!("GET {target} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nx-api-key: {narrower}\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        assert_eq!(read_answer(&mut stream).unwrap().status, 200);
        // What stands before the last hash is no secret.
        self.keys.push(narrower[narrower.len() - 70..].to_owned());
    }

    /// A signal saves the vector registers on the stack, wherever the daemon is: what it copies at that moment comes into
    /// memory that nothing frees.
    pub fn mint_in_a_storm_of_signals(&self) {
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    self.mint_some(60);
                }
            });
            for _ in 0..2000 {
                kill(Pid::from_raw(self.world.pid().cast_signed()), Signal::SIGUSR1).unwrap();
                std::thread::sleep(Duration::from_micros(100));
            }
            over.store(true, Ordering::Relaxed);
        });
        self.look("after a storm of signals");
    }

    /// While the key is on its way the daemon sleeps: what lay in its registers lies there still.
    pub fn look_in_the_middle_of_a_request(&self) -> JoinHandle<bool> {
        let before = self.world.studio.requests();
        self.world.studio.next(Fault::SlowHead(Duration::from_secs(3)));
        let flying = self.mint_in_background();
        assert!(soon(Duration::from_secs(2), || self.world.studio.requests() > before), "the key was sent");
        self.look("in the middle of a request");
        flying
    }

    pub fn mint_in_background(&self) -> JoinHandle<bool> {
        let broker = self.world.broker();
        let body = wish(1, 600, "upstream");
        std::thread::spawn(move || {
            exchange(&broker, "POST", "/v1/leases", Some(&body)).is_some_and(|a| a.status == 201)
        })
    }

    /// Requests that are wrong, that carry a key where none belongs, that are never finished or never waited for.
    pub fn callers_misbehave(&mut self) {
        self.wrong_requests();
        self.requests_that_never_end();
        self.callers_that_vanish();
    }

    fn wrong_requests(&mut self) {
        let (key, url) = (self.fresh_key(), self.world.studio.url());
        let control = self.world.control();
        for secret in [format!("[\"{key}\"]"), format!("{{\"{key}\":1}}"), format!("\"\\u0020{key}\""), key.clone()] {
            let text = put("dashscope/wrong", "main", &url, &secret);
            assert_eq!(in_two(&control, &text, 0).unwrap().status, 400, "{}", secret.len());
        }
        for (socket, method, target, body) in [
            (&control, "PUT", "/v1/keys/dashscope/wrong", format!("{{\"secret\":\"{key}\",\"provider\":7}}")),
            (&control, "PUT", "/v1/keys/dashscope/k1", put_body("main", &url, &format!("\"{key}\""))),
            (&control, "POST", "/v1/keys/dashscope/none/rotate", format!("{{\"secret\":\"{key}\"}}")),
            (&control, "POST", "/v1/unlock", format!("{{\"passphrase\":\"{key}\",\"x\":1}}")),
            (&self.world.broker(), "PUT", "/v1/keys/dashscope/wrong", format!("{{\"secret\":\"{key}\"}}")),
            (&self.world.broker(), "POST", "/v1/leases", format!("{{\"key\":\"{key}\",\"ttl\":\"{key}\"}}")),
            (&self.world.broker(), "POST", "/v1/leases", format!("{{\"key\":\"dashscope/main\", \"{key}\"")),
            (&self.world.broker(), "POST", "/v1/leases", format!("{{\"key\":\"{key}\"}}")),
        ] {
            // Left open by the caller, whatever the daemon does.
            let mut stream = UnixStream::connect(socket).unwrap();
            stream.write_all(request(method, target, Some(&body), "keep-alive").as_bytes()).unwrap();
            let answer = read_answer(&mut stream).unwrap();
            assert!(answer.status >= 400, "{method} {target}: {}", answer.status);
            self.open.lock().unwrap().push(stream);
        }
        let bearer = format!("POST /api/v1/tokens HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n\r\n");
        let mut stream = UnixStream::connect(self.world.broker()).unwrap();
        stream.write_all(bearer.as_bytes()).unwrap();
        assert!(read_answer(&mut stream).unwrap().status >= 400);
        self.open.lock().unwrap().push(stream);
        self.look("after wrong requests with a key in them");
    }

    fn requests_that_never_end(&mut self) {
        let (key, url) = (self.fresh_key(), self.world.studio.url());
        let text = put("dashscope/half", "main", &url, &format!("\"{key}\""));
        let half = &text[..text.find(&key).unwrap() + key.len()];
        let head = format!("GET /v1/whoami HTTP/1.1\r\nauthorization: Bearer {key}\r\nx: ");
        for (socket, text) in
            [(self.world.control(), half), (self.world.control(), &head), (self.world.broker(), &head)]
        {
            let mut stream = UnixStream::connect(socket).unwrap();
            stream.write_all(text.as_bytes()).unwrap();
            self.open.lock().unwrap().push(stream);
        }
        // Their second is over, and another for the looks that are made every so often.
        std::thread::sleep(Duration::from_millis(2500));
        self.look("after half requests whose time is over");
    }

    fn callers_that_vanish(&self) {
        for number in 1..KEYS {
            self.world.studio.next(Fault::SlowHead(Duration::from_millis(100)));
            let mut stream = UnixStream::connect(self.world.broker()).unwrap();
            let body = wish(number, 700, "upstream");
            stream.write_all(request("POST", "/v1/leases", Some(&body), "close").as_bytes()).unwrap();
            std::thread::sleep(Duration::from_millis(20));
        }
        std::thread::sleep(Duration::from_millis(500));
        self.world.studio.clear();
        self.look("after callers that vanished");
        self.finds.look_for_unknown_tokens(self.world.pid(), "after callers that vanished");
    }

    /// Each fault with a key of its own: some of them give a key a rest.
    pub fn the_provider_misbehaves(&mut self) {
        for (number, fault) in FAULTS.into_iter().enumerate() {
            let (key, url) = (self.fresh_key(), self.world.studio.url());
            let name = format!("dashscope/f{number}");
            self.add(&name, &url, &key);
            self.world.studio.always_for(&key, fault);
            let answer = self.world.mint(&format!("{{\"key\":\"{name}\"}}"));
            assert!(answer.status >= 400, "{fault:?}: {}", answer.status);
        }
        self.world.studio.clear();
        let key = self.fresh_key();
        self.add("dashscope/dead", "https://127.0.0.1:1", &key);
        assert_eq!(self.world.mint(r#"{"key":"dashscope/dead"}"#).status, 502);
        self.world.studio.next(Fault::SlowHead(Duration::from_millis(500)));
        let flying = self.mint_in_background();
        std::thread::sleep(Duration::from_millis(200));
        self.world.studio.hang_up();
        let _ = flying.join();
        self.look("after everything that a provider can do");
        self.finds.look_for_unknown_tokens(self.world.pid(), "after everything that a provider can do");
    }

    /// Test, rotate, remove, reload, lock and unlock.
    pub fn the_operator_acts(&mut self) {
        self.control("POST", "/v1/keys/dashscope/k2/test", None);
        self.a_key_is_probed();
        for number in 0..KEYS / 2 {
            let key = self.fresh_key();
            let body = format!("{{\"secret\":\"{key}\"}}");
            self.control("POST", &format!("/v1/keys/dashscope/k{number}/rotate"), Some(&body));
        }
        self.mint_some(50);
        self.control("POST", "/v1/reload", None);
        let (key, url) = (self.fresh_key(), self.world.studio.url());
        self.add("dashscope/short", &url, &key);
        self.control("DELETE", "/v1/keys/dashscope/short", None);
        self.look("after test, rotate, reload and remove");
        self.control("POST", "/v1/lock", None);
        self.look("while locked");
        assert_eq!(self.world.mint(&wish(1, 60, "upstream")).status, 423);
        self.control("POST", "/v1/unlock", None);
        self.mint_some(51);
        self.look("after lock and unlock");
    }

    /// A provider that mints nothing is asked whether a key is good, and the answer is left unread.
    fn a_key_is_probed(&mut self) {
        let (key, url) = (self.fresh_key(), self.world.studio.url());
        let body = format!(r#"{{"provider":"openai","endpoint":"{url}","secret":"{key}"}}"#);
        self.control("PUT", "/v1/keys/openai/probed", Some(&body));
        for _ in 0..3 {
            self.control("POST", "/v1/keys/openai/probed/test", None);
        }
        self.look("after a probe");
        self.control("DELETE", "/v1/keys/openai/probed", None);
    }

    fn control(&self, method: &str, target: &str, body: Option<&str>) {
        let answer = self.world.control_http(method, target, body);
        assert!(answer.status < 300, "{method} {target}: {}", answer.text());
    }

    pub fn add(&self, name: &str, url: &str, key: &str) {
        let account = name.rsplit('/').next().unwrap();
        let answer = in_two(&self.world.control(), &put(name, account, url, &format!("\"{key}\"")), 0).unwrap();
        assert_eq!(answer.status, 201, "{}", answer.text());
    }

    pub fn fresh_key(&mut self) -> String {
        let key = random_key();
        self.world.studio.register(&key);
        self.keys.push(key.clone());
        key
    }

    /// Without what all of its kind begin with, which stands in the program, now and then with a letter or two.
    fn keep(&self, answer: &Answer) {
        let token = answer.token();
        let random = token.strip_prefix("sixty_").or(token.strip_prefix("st-")).unwrap();
        self.tokens.lock().unwrap().push(random.to_owned());
    }

    /// Looks for every key and the last tokens in all forms.
    pub fn look(&self, when: &str) {
        std::thread::sleep(Duration::from_millis(200));
        self.finds.look(self.world.pid(), &self.needles(RECENT), when);
    }

    /// Looks for every key and every token, byte for byte, and into the log.
    pub fn look_for_every_token(&self) {
        let all = self.needles(usize::MAX);
        self.finds.look_for_many(self.world.pid(), &all, "in the end");
        for file in ["log", "state/audit.ndjson"] {
            self.finds.look_into(&self.world.path(file), &all, &format!("in {file}"));
        }
    }

    /// Looks into a core of the running daemon.
    pub fn look_into_a_core(&self) {
        let Some(core) = hunt::take_core(self.world.pid(), &self.world.path("core")) else {
            return lacking("a core of the running daemon, which needs gcore(1), a part of gdb");
        };
        let bytes = std::fs::read(&core).unwrap();
        assert!(bytes.windows(12).any(|name| name == b"dashscope/k1"), "a core shows the daemon's heap");
        self.finds.look_into(&core, &self.needles(RECENT), "in a core taken in the middle of a request");
    }

    fn needles(&self, recent: usize) -> Vec<Needle> {
        let tokens = self.tokens.lock().unwrap();
        let named = |name: &'static str| {
            move |(number, secret): (usize, &String)| Needle::new(&format!("{name} {number}"), secret.as_bytes())
        };
        let keys = self.keys.iter().enumerate().map(named("key"));
        let seeds = self.seeds.iter().enumerate();
        let seeds = seeds.map(|(number, seed)| Needle::new(&format!("seed {number}"), seed));
        keys.chain(seeds).chain(tokens.iter().enumerate().rev().take(recent).map(named("token"))).collect()
    }
}

fn kind(number: usize) -> &'static str {
    if number.is_multiple_of(4) { "virtual" } else { "upstream" }
}

fn wish(key: usize, ttl: usize, kind: &str) -> String {
    format!(r#"{{"key":"dashscope/k{key}","kind":"{kind}","ttl":{ttl}}}"#)
}

fn put(name: &str, account: &str, url: &str, secret: &str) -> String {
    request("PUT", &format!("/v1/keys/{name}"), Some(&put_body(account, url, secret)), "keep-alive")
}

fn put_body(account: &str, url: &str, secret: &str) -> String {
    format!(
        r#"{{"provider":"dashscope","region":"singapore","account":"{account}","endpoint":"{url}","secret":{secret}}}"#
    )
}

/// One exchange whose request comes in two packets.
fn in_two(socket: &Path, text: &str, cut: usize) -> Option<Answer> {
    let mut stream = UnixStream::connect(socket).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(20))).ok()?;
    stream.write_all(&text.as_bytes()[..cut]).ok()?;
    std::thread::sleep(Duration::from_millis(if cut > 0 { 20 } else { 0 }));
    stream.write_all(&text.as_bytes()[cut..]).ok()?;
    read_answer(&mut stream)
}
