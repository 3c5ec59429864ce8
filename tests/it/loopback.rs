//! The gateway by loopback TCP: who calls is looked up, and the same test applied as on the Unix socket.

use crate::harness::{Answer, MINE, SECOND, World, is_root, read_answer};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, socket};
use std::{
    io::Write,
    net::{SocketAddr, TcpStream},
    os::fd::AsRawFd,
    process::{Command, Output, Stdio},
};

const CHAT: &str = "/dashscope/compatible-mode/v1/chat/completions";
const QUESTION: &str = r#"{"model":"qwen-plus","messages":[{"role":"user","content":"Who are you?"}]}"#;

/// A daemon that listens on a free port, with this said of the gateway besides.
fn world(more: &str, rule: &str) -> World {
    World::with_key(&format!("[gateway]\nlisten = \"127.0.0.1:0\"\n{more}\n{MINE}{rule}"))
}

fn address(world: &World) -> SocketAddr {
    world.status()["gateway"]["listen"].as_str().unwrap().parse().unwrap()
}

fn connect(world: &World) -> TcpStream {
    let stream = TcpStream::connect(address(world)).unwrap();
    stream.set_read_timeout(Some(10 * SECOND)).unwrap();
    stream
}

fn virtual_key(world: &World) -> String {
    world.mint(r#"{"key":"dashscope/main","kind":"virtual"}"#).token()
}

fn request(key: &str, lines: &str) -> String {
    let length = QUESTION.len();
    format!("POST {CHAT} HTTP/1.1\r\nx-api-key: {key}\r\n{lines}content-length: {length}\r\n\r\n{QUESTION}")
}

fn call(stream: &mut TcpStream, key: &str, lines: &str) -> Answer {
    stream.write_all(request(key, lines).as_bytes()).unwrap();
    read_answer(stream).expect("the gateway answers")
}

/// Status and code of a refusal in OpenAI's shape.
fn refused(answer: &Answer) -> (u16, String) {
    (answer.status, answer.json()["error"]["code"].as_str().unwrap_or_default().to_owned())
}

const HERE: &str = "host: 127.0.0.1\r\n";

#[test]
fn a_key_is_good_by_tcp_for_its_holder_and_what_descends_from_it() {
    let world = world("", "");
    let lease = world.mint(r#"{"key":"dashscope/main","kind":"virtual"}"#);
    let (key, url) = (lease.token(), lease.json()["base_urls"]["openai"].as_str().unwrap().to_owned());
    assert_eq!(url, format!("http://{}/dashscope/compatible-mode/v1", address(&world)));
    let mut stream = connect(&world);
    for _ in 0..3 {
        assert_eq!(call(&mut stream, &key, HERE).status, 200);
    }
    let mut curl = Command::new("curl");
    curl.args(["-s", "-H", &format!("x-api-key: {key}"), "-H", "content-type: application/json", "-d", QUESTION]);
    let Output { stdout, .. } = curl.arg(format!("{url}/chat/completions")).output().unwrap();
    assert!(String::from_utf8_lossy(&stdout).contains("pretend "), "{}", String::from_utf8_lossy(&stdout));
    assert_eq!(world.status()["identity"]["tcp"], "sock_diag and /proc/PID/fd");
    assert!(world.log().contains(&format!("tcp={}", address(&world))));
}

#[test]
fn a_copied_key_is_worthless_by_tcp_too() {
    let world = world("", "");
    let script = format!("{} mint dashscope/main --kind virtual; exec sleep 60", crate::harness::program().display());
    let mut holder = Command::new("sh");
    holder.args(["-c", &script]).env("SIXTY_SOCKET", world.broker()).stdout(Stdio::piped());
    let mut holder = holder.spawn().unwrap();
    let mut key = [0; 55];
    std::io::Read::read_exact(holder.stdout.as_mut().unwrap(), &mut key).unwrap();
    let key = String::from_utf8(key.to_vec()).unwrap();
    crate::harness::remember(&key);
    assert_eq!(refused(&call(&mut connect(&world), &key, HERE)), (403, "denied".into()));
    let recorded = |line: &serde_json::Value| line["code"] == "denied" && line["key"] == "dashscope/main";
    assert!(world.audit().iter().any(recorded), "who tried is on record");
    holder.kill().unwrap();
    holder.wait().unwrap();
}

#[test]
fn a_connection_that_a_stranger_shares_is_good_for_nobody() {
    let world = world("", "");
    let key = virtual_key(&world);
    let flags = SockFlag::SOCK_CLOEXEC;
    let ours = socket(AddressFamily::Inet, SockType::Stream, flags, None).unwrap();
    // Whom a shell leaves behind is no descendant of ours.
    let mut shell = Command::new("sh");
    shell.args(["-c", "exec 9<&0; sleep 30 >/dev/null 2>&1 & echo $!"]).stdin(ours.try_clone().unwrap());
    let said = String::from_utf8(shell.output().unwrap().stdout).unwrap();
    drop(shell);
    let SocketAddr::V4(v4) = address(&world) else { panic!("the config says IPv4") };
    nix::sys::socket::connect(ours.as_raw_fd(), &SockaddrIn::from(v4)).unwrap();
    let mut stream = TcpStream::from(ours);
    assert_eq!(refused(&call(&mut stream, &key, HERE)), (403, "denied".into()));
    assert_eq!(call(&mut connect(&world), &key, HERE).status, 200);
    crate::harness::signal(said.trim().parse().unwrap(), "KILL");
}

#[test]
fn a_page_reaches_nothing() {
    let world = world("origins = [\"http://localhost:3000\"]", "");
    let key = virtual_key(&world);
    for lines in
        ["host: evil.example\r\n", "host: 127.0.0.1.evil.example\r\n", "", "host: 127.0.0.1\r\norigin: null\r\n"]
    {
        assert_eq!(refused(&call(&mut connect(&world), &key, lines)), (403, "denied".into()), "{lines}");
    }
    let from = |origin| call(&mut connect(&world), &key, &format!("{HERE}origin: {origin}\r\n")).status;
    assert_eq!((from("http://evil.example"), from("http://localhost:3000")), (403, 200));
}

/// A process that made its socket as root and is somebody else when it connects: nobody can tell whose doing it is.
fn unseen(world: &World, key: &str) -> Option<Answer> {
    let script = "import os,socket,sys\ns=socket.socket()\nos.setresuid(65534,65534,65534)\n\
        s.connect(('127.0.0.1',int(sys.argv[1])))\ns.sendall(sys.stdin.buffer.read())\n\
        while True:\n b=s.recv(4096)\n if not b: break\n sys.stdout.buffer.write(b)\n";
    let mut python = Command::new("python3");
    python.args(["-c", script, &address(world).port().to_string()]);
    let said = crate::harness::fed(python, &request(key, &format!("{HERE}connection: close\r\n")));
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    read_answer(&mut &said.stdout[..])
}

#[test]
fn where_nobody_can_tell_who_calls_a_bearer_is_not_enough_unless_the_rule_says_so() {
    if !is_root() {
        println!("not tested: needs root, to be two users");
        return;
    }
    if !crate::needs::has("python3", "a peer that cannot be told") {
        return;
    }
    let mut world = world("", "");
    let key = virtual_key(&world);
    assert_eq!(refused(&unseen(&world, &key).unwrap()), (403, "denied".into()));
    let recorded =
        |line: &serde_json::Value| line["code"] == "denied" && line["peer"]["pid"] == 0 && line["peer"]["uid"] == 0;
    assert!(world.audit().iter().any(recorded), "{:?}", world.audit());
    // The rule of now decides: a reload bites on keys that are out.
    world.configure(&format!("[gateway]\nlisten = \"127.0.0.1:0\"\n{MINE}bearer_alone = true"));
    assert_eq!(world.control_http("POST", "/v1/reload", None).status, 200);
    assert_eq!(unseen(&world, &key).unwrap().status, 200);
    // It says nothing about those who can be told.
    let stranger = {
        let output = world.sixty(&["mint", "dashscope/main", "--kind", "virtual", "--detached"]);
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    crate::harness::remember(&stranger);
    assert_eq!(call(&mut connect(&world), &stranger, HERE).status, 200, "a detached key is its rule's");
    world.stop();
}

#[test]
fn one_user_cannot_take_all_connections_by_tcp() {
    let world = world("[limits]\nconnections_per_uid = 2", "");
    let mut open: Vec<_> = (0..3).map(|_| connect(&world)).collect();
    let key = virtual_key(&world);
    let answers: Vec<_> = open.iter_mut().map(|stream| call(stream, &key, HERE).status).collect();
    assert_eq!(answers.iter().filter(|status| **status == 429).count(), 1, "{answers:?}");
}

#[test]
fn callers_by_tcp_take_turns_and_all_are_served() {
    let world = world("[limits]\ntcp_lookups = 1", "");
    let key = virtual_key(&world);
    let answers = std::thread::scope(|scope| {
        let calling: Vec<_> = (0..8).map(|_| scope.spawn(|| call(&mut connect(&world), &key, HERE).status)).collect();
        calling.into_iter().map(|one| one.join().unwrap()).collect::<Vec<_>>()
    });
    assert_eq!(answers, [200; 8]);
}

#[test]
fn a_port_that_is_taken_is_69_and_says_so() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let mut world = World::asleep(&format!("[gateway]\nlisten = \"127.0.0.1:{port}\"\n{MINE}"), &[]);
    let output = world.daemon_command().output().unwrap();
    assert_eq!(output.status.code(), Some(69));
    assert!(String::from_utf8_lossy(&output.stderr).contains(&format!("127.0.0.1:{port}: the gateway can't listen")));
    world.stop();
}
