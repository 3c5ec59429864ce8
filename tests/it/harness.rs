//! A world for one test: a pretend Model Studio on TLS, a real daemon in a directory of its own, and ways to talk to it.
//! Everything is killed and removed when the world is dropped, and by then no log and no audit may hold a secret.

pub use crate::http::{Answer, exchange, read_answer, request};
use serde_json::Value;
use sixty::demo::studio::{Now, Studio, StudioOptions, Transport};
use std::{
    collections::HashMap,
    io::{Read, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime},
};
use tempfile::TempDir;

/// The program under test: the one cargo built, or another build named by `SIXTY_BIN`.
pub fn program() -> PathBuf {
    std::env::var_os("SIXTY_BIN").map_or_else(|| env!("CARGO_BIN_EXE_sixty").into(), PathBuf::from)
}

/// A rule for this user with every kind and a generous bound.
pub const MINE: &str = r#"
[[rule]]
name = "mine"
peer = { uid = "self" }
keys = ["**"]
kinds = ["upstream", "virtual"]
ttl = { default = "60s", max = "30m" }
detached = true
"#;

/// A mint at the provider.
pub const UPSTREAM: &str = r#"{"key":"dashscope/main","kind":"upstream"}"#;
/// A key of our own.
pub const VIRTUAL: &str = r#"{"key":"dashscope/main","kind":"virtual"}"#;
pub const SECOND: Duration = Duration::from_secs(1);

pub struct World {
    pub studio: Studio,
    pub directory: TempDir,
    daemon: Option<Child>,
    _upstream: Upstream,
    arguments: Vec<&'static str>,
}

impl World {
    /// A daemon with these rules and further config, an open vault, and no key.
    pub fn new(config: &str) -> Self {
        Self::with_arguments(config, &[])
    }

    /// The same with the key `dashscope/main`.
    pub fn with_key(config: &str) -> Self {
        let world = Self::new(config);
        world.add_key("dashscope/main");
        world
    }

    /// The same with other bounds for calls to the provider.
    pub fn with_upstream(upstream: &str) -> Self {
        let always = "ca_file = \"DIRECTORY/ca.pem\"\nallow_loopback = true";
        Self::with_key(&format!("[upstream]\n{always}\n{upstream}\n{MINE}"))
    }

    /// The same with more to say about the daemon.
    pub fn with_daemon(daemon: &str) -> Self {
        let places = "runtime_dir = \"DIRECTORY/run\"\nstate_dir = \"DIRECTORY/state\"";
        Self::with_key(&format!("[daemon]\n{places}\n{daemon}\n{MINE}"))
    }

    /// The same with further arguments for `sixty daemon`.
    pub fn with_arguments(config: &str, arguments: &[&'static str]) -> Self {
        let mut world = Self::asleep(config, arguments);
        world.start();
        world
    }

    /// The same, and the daemon not started yet.
    pub fn asleep(config: &str, arguments: &[&'static str]) -> Self {
        let directory = tempfile::Builder::new().prefix("sixty-").tempdir().unwrap();
        // Other users must be able to reach the socket: the policy, not the path, keeps them out.
        std::fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let upstream = Upstream::start(directory.path().join("ca.pem"));
        let arguments = arguments.to_vec();
        let world = Self { studio: upstream.studio.clone(), directory, daemon: None, _upstream: upstream, arguments };
        world.configure(config);
        write_key_file(&world.path("vault.key"));
        world
    }

    /// Writes the config anew; takes effect at the next start or reload.
    pub fn configure(&self, config: &str) {
        // A test brings a table of its own by naming it; what it does not name has the harness's values.
        let section =
            |name: &str, text: String| if config.contains(&format!("[{name}]")) { String::new() } else { text };
        let directory = self.directory.path().display();
        let text = format!(
            "{}{}{}{}{config}",
            section("log", "[log]\nlevel = \"trace\"\n".into()),
            section(
                "daemon",
                format!("[daemon]\nruntime_dir = \"{directory}/run\"\nstate_dir = \"{directory}/state\"\n")
            ),
            section("upstream", format!("[upstream]\nca_file = \"{directory}/ca.pem\"\nallow_loopback = true\n")),
            section("vault", format!("[vault]\nunlock = \"file:{directory}/vault.key\"\n")),
        );
        let text = text.replace("DIRECTORY", &directory.to_string());
        // Whole or not at all: a daemon may read it at any moment, and half a config can be a good one with fewer rules.
        let fresh = self.path("sixty.toml.new");
        std::fs::write(&fresh, text).unwrap();
        std::fs::set_permissions(&fresh, PermissionsExt::from_mode(0o600)).unwrap();
        std::fs::rename(fresh, self.path("sixty.toml")).unwrap();
    }

    /// Starts the daemon and waits until it answers.
    pub fn start(&mut self) {
        self.start_by(self.daemon_command());
    }

    /// How the daemon is started.
    pub fn daemon_command(&self) -> Command {
        let mut command = self.command(&["daemon", "--config", self.path("sixty.toml").to_str().unwrap()]);
        command.args(&self.arguments);
        command
    }

    /// Starts the daemon in a way of the test's own and waits until it answers.
    pub fn start_by(&mut self, command: Command) {
        self.spawn(command);
        let answers = || {
            let alive = std::fs::metadata(self.broker()).is_ok();
            alive && self.try_http("GET", "/healthz", None).is_some_and(|answer| answer.status == 200)
        };
        assert!(soon(Duration::from_secs(20), answers), "the daemon did not start:\n{}", self.log());
    }

    /// Starts it and does not wait.
    pub fn spawn(&mut self, mut command: Command) {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.path("log")).unwrap();
        self.daemon = Some(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap());
    }

    /// Takes over a daemon that the test started itself.
    pub fn adopt(&mut self, daemon: Child) {
        self.daemon = Some(daemon);
    }

    /// SIGTERM, and its exit code.
    pub fn stop(&mut self) -> Option<i32> {
        let mut child = self.daemon.take()?;
        signal(child.id(), "TERM");
        child.wait().unwrap().code()
    }

    /// How it ended by itself.
    pub fn ended(&mut self) -> std::process::ExitStatus {
        self.daemon.take().unwrap().wait().unwrap()
    }

    /// Another signal, and how it ended.
    pub fn end_by(&mut self, name: &str) -> std::process::ExitStatus {
        let mut child = self.daemon.take().unwrap();
        signal(child.id(), name);
        child.wait().unwrap()
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.daemon.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    pub fn pid(&self) -> u32 {
        self.daemon.as_ref().unwrap().id()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn broker(&self) -> PathBuf {
        self.path("run/broker.sock")
    }

    pub fn control(&self) -> PathBuf {
        self.path("run/control.sock")
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// The audit's lines.
    pub fn audit(&self) -> Vec<Value> {
        // Outcomes are written with the next decision or within a second: following makes them written now.
        let _ = self.control_http("GET", "/v1/audit", None);
        let text = std::fs::read_to_string(self.path("state/audit.ndjson")).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// `sixty …` that knows this world's sockets.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(program());
        command.args(arguments).env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("HOME", self.directory.path()).env("NO_COLOR", "1");
        // No machine waits for a test before it sleeps.
        command.env("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nowhere");
        command.env("SIXTY_SOCKET", self.broker()).env("SIXTY_CONTROL_SOCKET", self.control());
        command
    }

    /// Runs `sixty …` to its end.
    pub fn sixty(&self, arguments: &[&str]) -> Output {
        self.command(arguments).stdin(Stdio::null()).output().unwrap()
    }

    /// Runs `sixty …` with something on stdin.
    pub fn sixty_with(&self, arguments: &[&str], input: &str) -> Output {
        fed(self.command(arguments), input)
    }

    /// Stores a fresh random key that the stand-in takes, and gives it.
    pub fn add_key(&self, name: &str) -> String {
        self.add_key_at(name, &self.studio.url())
    }

    /// The same with a stand-in that lives elsewhere, or not at all.
    pub fn add_key_at(&self, name: &str, url: &str) -> String {
        let key = random_key();
        self.studio.register(&key);
        let body = format!(r#"{{"provider":"dashscope","region":"singapore","endpoint":"{url}","secret":"{key}"}}"#);
        let answer = self.control_http("PUT", &format!("/v1/keys/{name}"), Some(&body));
        assert_eq!(answer.status, 201, "{}", answer.text());
        key
    }

    /// Puts another key in the place of `dashscope/main`.
    pub fn rotate(&self, key: &str) {
        let body = format!(r#"{{"secret":"{key}"}}"#);
        let answer = self.control_http("POST", "/v1/keys/dashscope/main/rotate", Some(&body));
        assert_eq!(answer.status, 200, "{}", answer.text());
    }

    /// The keys that their provider refused.
    pub fn quarantined(&self) -> Vec<String> {
        serde_json::from_value(self.status()["quarantined"].clone()).unwrap()
    }

    /// Mints over a connection of its own.
    pub fn mint(&self, body: &str) -> Answer {
        self.http("POST", "/v1/leases", Some(body))
    }

    /// One request on the broker socket, the connection closed after it.
    pub fn http(&self, method: &str, target: &str, body: Option<&str>) -> Answer {
        self.try_http(method, target, body).expect("the daemon answers")
    }

    pub fn try_http(&self, method: &str, target: &str, body: Option<&str>) -> Option<Answer> {
        exchange(&self.broker(), method, target, body)
    }

    /// One request on the control socket.
    pub fn control_http(&self, method: &str, target: &str, body: Option<&str>) -> Answer {
        exchange(&self.control(), method, target, body).expect("the daemon answers")
    }

    pub fn status(&self) -> Value {
        self.control_http("GET", "/v1/status", None).json()
    }
}

impl World {
    /// Whatever was said or written down at the most talkative level: none of it may be a secret.
    fn assert_that_nothing_leaked(&self) {
        let mut files = vec![self.path("log")];
        let state = std::fs::read_dir(self.path("state")).into_iter().flatten().flatten().map(|file| file.path());
        files.extend(state.filter(|path| path.to_string_lossy().contains("audit")));
        for file in files {
            let text = String::from_utf8_lossy(&std::fs::read(&file).unwrap_or_default()).into_owned();
            // A test that knows a secret is one way to find it; the shape finds those that no test looked at.
            assert!(!has_a_known_secret(&text), "a secret stands in {}", file.display());
            assert!(!has_a_secrets_shape(&text), "something like a secret stands in {}", file.display());
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("the daemon's log:\n{}", self.log());
        } else {
            self.assert_that_nothing_leaked();
        }
    }
}

/// Every key and token that a test of this process has seen.
static SECRETS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// From now on this text must stand in no log.
pub fn remember(secret: &str) {
    SECRETS.lock().unwrap_or_else(PoisonError::into_inner).push(secret.to_owned());
}

/// By their beginnings, all at once: there may be thousands of secrets, and hours of log.
fn has_a_known_secret(text: &str) -> bool {
    const BEGINNING: usize = 12;
    let known = SECRETS.lock().unwrap_or_else(PoisonError::into_inner);
    let mut by_beginning = HashMap::<&[u8], Vec<&[u8]>>::new();
    for secret in known.iter().map(String::as_bytes) {
        by_beginning.entry(&secret[..BEGINNING]).or_default().push(secret);
    }
    let bytes = text.as_bytes();
    let here = |(at, window): (usize, &[u8])| {
        by_beginning.get(window).is_some_and(|secrets| secrets.iter().any(|secret| bytes[at..].starts_with(secret)))
    };
    bytes.windows(BEGINNING).enumerate().any(here)
}

fn has_a_secrets_shape(text: &str) -> bool {
    ["sk-", "st-", "sixty_", "sixty_ticket_"].iter().any(|prefix| {
        let long = |rest: &str| rest.bytes().take_while(u8::is_ascii_alphanumeric).count() >= 24;
        text.match_indices(prefix).any(|(at, _)| long(&text[at + prefix.len()..]))
    })
}

/// The stand-in on a thread and a loop of its own, ended when dropped.
pub struct Upstream {
    pub studio: Studio,
    end: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Upstream {
    /// On TLS and a free port; its authority's certificate goes to this file.
    pub fn start(ca_file: PathBuf) -> Self {
        let options = StudioOptions { transport: Transport::Tls, ca_file: Some(ca_file), ..StudioOptions::new(now()) };
        Self::with(options)
    }

    /// Without TLS, on this port.
    pub fn plain(port: u16) -> Self {
        Self::with(StudioOptions { transport: Transport::Plain, port, ..StudioOptions::new(now()) })
    }

    fn with(options: StudioOptions) -> Self {
        let (tell, told) = std::sync::mpsc::channel();
        let (end, ended) = tokio::sync::oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                tell.send(Studio::start(options).await.unwrap()).unwrap();
                let _ = ended.await;
            });
        });
        Self { studio: told.recv().unwrap(), end: Some(end), thread: Some(thread) }
    }
}

fn now() -> Now {
    Arc::new(|| SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs())
}

impl Drop for Upstream {
    fn drop(&mut self) {
        drop(self.end.take());
        let _ = self.thread.take().map(std::thread::JoinHandle::join);
    }
}

/// Runs a command with something on stdin. It may end without having read it.
pub fn fed(mut command: Command, input: &str) -> Output {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

/// Tries until it holds.
pub fn soon(within: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + within;
    while Instant::now() < end {
        if holds() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    holds()
}

pub fn signal(pid: u32, name: &str) {
    assert!(Command::new("kill").args([format!("-{name}"), pid.to_string()]).status().unwrap().success());
}

/// A key of the provider's shape whose every byte after the prefix is random.
pub fn random_key() -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789xy";
    let mut bytes = [0; 48];
    std::fs::File::open("/dev/urandom").unwrap().read_exact(&mut bytes).unwrap();
    // Mixed letters: in hexadecimal eight digits of a key are like some table's in a program, now and then.
    let letters: String = bytes.iter().map(|byte| char::from(LETTERS[usize::from(byte & 63)])).collect();
    // The letters alone: without the prefix it is no less a secret.
    remember(&letters);
    format!("sk-{letters}")
}

pub fn write_key_file(path: &Path) {
    std::fs::write(path, random_key()).unwrap();
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o600)).unwrap();
}

/// Whether tests of other users can be made.
pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}
