//! Other processes for tests: this test binary run again with a part to play, talking to its director over pipes.
//! It must never share its connection with the director: who connects, when and as what is what is tested.

use crate::harness::{Answer, exchange, read_answer, request};
use std::{
    io::{BufRead, BufReader, Read, Write},
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::{net::UnixStream, process::CommandExt},
    },
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

/// The request that parts make.
const WISH: &str = r#"{"key":"dashscope/main","kind":"virtual"}"#;

/// The test binary itself.
pub fn itself() -> PathBuf {
    std::env::current_exe().unwrap()
}

/// A copy of a program under another name. `cp` writes it: no descriptor of ours can keep it busy.
pub fn copied(program: &Path, to: &Path) -> PathBuf {
    std::fs::create_dir_all(to.parent().unwrap()).unwrap();
    assert!(Command::new("cp").args([program, to]).status().unwrap().success());
    to.to_owned()
}

/// How to start `program`, a copy of this test binary, in a part.
pub fn part(program: &Path, part: &str, socket: &Path) -> Command {
    let mut command = Command::new(program);
    command.args(["--exact", "actor::plays_its_part", "--nocapture"]);
    command.env("SIXTY_PART", part).env("SIXTY_SOCKET", socket);
    command
}

/// A process in its part.
pub struct Actor {
    pub child: Child,
    cues: Option<ChildStdin>,
    lines: BufReader<ChildStdout>,
}

impl Actor {
    pub fn start(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        Self { cues: child.stdin.take(), lines: BufReader::new(child.stdout.take().unwrap()), child }
    }

    /// Lets it go on.
    pub fn cue(&mut self) {
        self.cues.as_mut().unwrap().write_all(b"\n").unwrap();
    }

    /// What it says next.
    pub fn says(&mut self) -> String {
        loop {
            let mut line = String::new();
            assert_ne!(self.lines.read_line(&mut line).unwrap(), 0, "the actor left without a word");
            if let Some(said) = line.trim_end().strip_prefix("PART ") {
                return said.to_owned();
            }
        }
    }

    /// Its cue, and what it says then.
    pub fn does(&mut self) -> String {
        self.cue();
        self.says()
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Not a test of anything: where the other processes begin.
#[test]
fn plays_its_part() {
    let Ok(part) = std::env::var("SIXTY_PART") else { return };
    let socket = PathBuf::from(std::env::var_os("SIXTY_SOCKET").unwrap());
    match part.as_str() {
        // On each cue one request on a connection of its own.
        "ask" => loop {
            wait();
            tell(&code(exchange(&socket, "POST", "/v1/leases", Some(WISH))));
        },
        // Connects, and asks on each cue.
        "connect then ask" => {
            let mut stream = connected(&socket);
            loop {
                wait();
                tell(&code(asked(&mut stream)));
            }
        }
        // Tells its number, connects to the gateway, and calls with a key on each cue.
        "call" => call(&std::env::var_os("SIXTY_GATEWAY").map_or(socket, PathBuf::from)),
        // Connects, hands the connection to a child and is gone.
        "hand on" => {
            let stream = connected(&socket);
            wait();
            inheriting(&itself(), "inherit", stream).spawn().unwrap();
            std::process::exit(0);
        }
        // Connects and becomes another program on the cue; neither is at its path any more if that is asked.
        "become" => {
            let other = PathBuf::from(std::env::var_os("SIXTY_BECOME").unwrap());
            let removed = std::env::var_os("SIXTY_REMOVED").map(|_| removed(&other));
            let stream = connected(&socket);
            wait();
            let other = removed.as_ref().map_or(other, |file| format!("/proc/self/fd/{}", file.as_raw_fd()).into());
            panic!("{}", inheriting(&other, "inherit", stream).exec());
        }
        // Connects and becomes another program at once.
        "become unseen" => {
            let stream = UnixStream::connect(&socket).unwrap();
            panic!(
                "{}",
                inheriting(&PathBuf::from(std::env::var_os("SIXTY_BECOME").unwrap()), "inherit", stream).exec()
            );
        }
        // Asks, and becomes another program on the cue, before the answer has come.
        "ask then become" => ask_then_become(&socket),
        // Takes the answer to what another asked.
        "take" => {
            let mut stream = UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned().unwrap());
            tell("another");
            tell(&code(read_answer(&mut stream)));
        }
        // Asks by so many threads at once, each on a connection of its own.
        "ask at once" => ask_at_once(&socket),
        // Has a connection that another made, and whose end it waits for if it is its parent.
        "inherit" => inherit(),
        // Connects again and again, and is gone.
        "knock and run" => {
            let all: Vec<_> = (0..times()).map(|_| UnixStream::connect(&socket).unwrap()).collect();
            tell(&all.len().to_string());
            std::process::exit(0);
        }
        other => panic!("there is no part {other}"),
    }
}

fn ask_then_become(socket: &Path) {
    let other = PathBuf::from(std::env::var_os("SIXTY_BECOME").unwrap());
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.write_all(request("POST", "/v1/leases", Some(WISH), "keep-alive").as_bytes()).unwrap();
    wait();
    panic!("{}", inheriting(&other, "take", stream).exec());
}

fn ask_at_once(socket: &Path) {
    let ask = || code(exchange(socket, "POST", "/v1/leases", Some(WISH)));
    let all: Vec<_> = std::thread::scope(|scope| {
        let all: Vec<_> = (0..times()).map(|_| scope.spawn(ask)).collect();
        all.into_iter().map(|one| one.join().unwrap()).collect()
    });
    tell(&all.join(", "));
}

fn inherit() {
    std::thread::sleep(std::time::Duration::from_millis(30));
    let mut stream = UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned().unwrap());
    let target = std::env::var("SIXTY_TARGET").unwrap_or_default();
    match target.split_once(' ') {
        Some((method, path)) => {
            let _ = stream.write_all(request(method, path, None, "keep-alive").repeat(times()).as_bytes());
            (0..times()).for_each(|_| tell(&code(read_answer(&mut stream))));
        }
        None => tell(&code(asked(&mut stream))),
    }
}

fn call(socket: &Path) {
    let key = std::env::var("SIXTY_KEY").unwrap();
    tell(&std::process::id().to_string());
    let mut stream = UnixStream::connect(socket).unwrap();
    let what = std::env::var("SIXTY_TARGET").unwrap_or_else(|_| "GET /dashscope/compatible-mode/v1/models".into());
    let call = format!("{what} HTTP/1.1\r\nhost: x\r\nx-api-key: {key}\r\n\r\n");
    loop {
        wait();
        let _ = stream.write_all(call.as_bytes());
        tell(&code(read_answer(&mut stream)));
    }
}

fn times() -> usize {
    std::env::var("SIXTY_TIMES").map_or(1, |times| times.parse().unwrap())
}

/// Removes this program's file and the other's, which stays open across an exec.
fn removed(other: &Path) -> std::fs::File {
    let file = std::fs::File::open(other).unwrap();
    nix::fcntl::fcntl(&file, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty())).unwrap();
    std::fs::remove_file(std::env::current_exe().unwrap()).unwrap();
    std::fs::remove_file(other).unwrap();
    file
}

fn connected(socket: &Path) -> UnixStream {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.write_all(request("GET", "/healthz", None, "keep-alive").as_bytes()).unwrap();
    let answer = read_answer(&mut stream);
    tell(&format!("connected {}", code(answer)));
    stream
}

fn inheriting(program: &Path, name: &str, stream: UnixStream) -> Command {
    let mut command = part(program, name, Path::new("/nowhere"));
    command.stdin(OwnedFd::from(stream));
    command
}

fn asked(stream: &mut UnixStream) -> Option<Answer> {
    stream.write_all(request("POST", "/v1/leases", Some(WISH), "keep-alive").as_bytes()).ok()?;
    read_answer(stream)
}

/// `201 ID`, `403 denied`, or `closed`.
fn code(answer: Option<Answer>) -> String {
    let word = |answer: &Answer| {
        let json: serde_json::Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let word = json["id"].as_str().or(json["code"].as_str()).unwrap_or_default().to_owned();
        format!("{} {word}", answer.status).trim_end().to_owned()
    };
    answer.as_ref().map_or_else(|| "closed".into(), word)
}

/// Waits for a cue; without a director there is no play.
fn wait() {
    if !matches!(std::io::stdin().read(&mut [0]), Ok(1)) {
        std::process::exit(0);
    }
}

fn tell(line: &str) {
    std::io::stdout().write_all(format!("\nPART {line}\n").as_bytes()).unwrap();
}
