//! A stand-in for logind on a real dbus-daemon: it owns logind's name, gives inhibitors, and says when the machine sleeps.
//! It must never be the system's own bus.

use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use std::{
    io::{IoSlice, PipeReader, Read, Write},
    os::{fd::AsRawFd, unix::net::UnixStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    time::Duration,
};

const CONFIG: &str = r#"<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type><auth>EXTERNAL</auth><listen>unix:path=SOCKET</listen>
  <policy context="default">
    <allow user="*"/><allow own="*"/><allow send_type="method_call"/><allow send_type="signal"/>
    <allow send_requested_reply="true" send_type="method_return"/><allow send_requested_reply="true" send_type="error"/>
    <allow receive_type="method_call"/><allow receive_type="method_return"/>
    <allow receive_type="error"/><allow receive_type="signal"/>
  </policy>
</busconfig>
"#;
const NAME: &str = "org.freedesktop.login1";
const MANAGER: &str = "org.freedesktop.login1.Manager";

/// A bus of the test's own.
pub struct Bus {
    daemon: Child,
    pub socket: PathBuf,
}

impl Bus {
    pub fn start(folder: &Path) -> Self {
        let (socket, config) = (folder.join("bus"), folder.join("bus.conf"));
        std::fs::write(&config, CONFIG.replace("SOCKET", socket.to_str().unwrap())).unwrap();
        let mut command = Command::new("dbus-daemon");
        command.arg("--nofork").arg("--nopidfile").arg(format!("--config-file={}", config.display()));
        let daemon = command.stderr(Stdio::null()).spawn().unwrap();
        assert!(crate::harness::soon(Duration::from_secs(10), || UnixStream::connect(&socket).is_ok()));
        Self { daemon, socket }
    }

    pub fn end(&mut self) {
        let _ = self.daemon.kill();
        self.daemon.wait().unwrap();
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        self.end();
    }
}

/// One inhibitor that was asked for.
pub struct Inhibitor {
    /// What, who, why, how.
    pub words: Vec<String>,
    /// Who asked.
    pub whose: String,
    pipe: PipeReader,
}

impl Inhibitor {
    /// Waits until whoever holds it lets go.
    pub fn is_let_go(&mut self, within: Duration) -> bool {
        use nix::poll::{PollFd, PollFlags, poll};
        use std::os::fd::AsFd;
        let mut fds = [PollFd::new(self.pipe.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, u16::try_from(within.as_millis()).unwrap()).unwrap() == 1
            && self.pipe.read(&mut [0]).unwrap() == 0
    }
}

/// The service. It ends when this is dropped.
pub struct Logind {
    stream: UnixStream,
    asked: Receiver<Inhibitor>,
}

impl Logind {
    pub fn start(bus: &Bus) -> Self {
        let mut client = Client::connect(&bus.socket);
        let stream = client.stream.try_clone().unwrap();
        let body = [text(NAME), padded(4 + NAME.len() + 1, 0_u32.to_ne_bytes())].concat();
        client.call_bus("RequestName", "su", &body);
        let (tell, asked) = channel();
        std::thread::spawn(move || {
            while let Some(message) = client.next() {
                if message.member == "Inhibit" {
                    let (pipe, given) = std::io::pipe().unwrap();
                    client.answer(&message, given.as_raw_fd());
                    let _ = tell.send(Inhibitor { words: message.texts(), whose: message.sender, pipe });
                }
            }
        });
        Self { stream, asked }
    }

    /// The next inhibitor that is asked for.
    pub fn asked(&self) -> Inhibitor {
        self.asked.recv_timeout(Duration::from_secs(10)).expect("nobody asked logind")
    }

    /// Whether none is asked for.
    pub fn is_left_alone(&self) -> bool {
        self.asked.recv_timeout(Duration::from_millis(300)).is_err()
    }

    /// Says to everybody that the machine is about to sleep, or has woken up.
    pub fn prepare_for_sleep(&self, sleeps: bool) {
        let _ = (&self.stream).write_all(&signal(1000, None, &u32::from(sleeps).to_ne_bytes()));
    }
}

impl Drop for Logind {
    fn drop(&mut self) {
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
    }
}

/// Says to one that the machine is about to sleep, without being logind; and first something very long, and something
/// in a machine's words of the other kind.
pub fn lie(bus: &Bus, to: &str) {
    let mut client = Client::connect(&bus.socket);
    client.stream.write_all(&signal(1000, Some(to), &vec![1; 200_000])).unwrap();
    client.stream.write_all(&foreign(1002, to)).unwrap();
    client.stream.write_all(&signal(1001, Some(to), &1_u32.to_ne_bytes())).unwrap();
    // Till the bus has taken it all.
    client.call_bus("GetId", "", &[]);
}

/// `PrepareForSleep`; a body that is no truth value is an array of bytes.
fn signal(serial: u32, to: Option<&str>, body: &[u8]) -> Vec<u8> {
    let mut fields =
        vec![(1, "o", text("/org/freedesktop/login1")), (2, "s", text(MANAGER)), (3, "s", text("PrepareForSleep"))];
    fields.extend(to.map(|to| (6, "s", text(to))));
    match body.len() {
        4 => message(4, serial, &fields, "b", body),
        len => message(4, serial, &fields, "ay", &[&(len as u32).to_ne_bytes()[..], body].concat()),
    }
}

/// A signal with its numbers written the other way round, as any sender may: no body, four texts.
fn foreign(serial: u32, to: &str) -> Vec<u8> {
    let number = |number: usize| {
        if cfg!(target_endian = "little") { (number as u32).to_be_bytes() } else { (number as u32).to_le_bytes() }
    };
    let mut head = Vec::new();
    for (field, kind, text) in [(1, b'o', "/x"), (2, b's', "x.y"), (3, b's', "Z"), (6, b's', to)] {
        head.resize(head.len().next_multiple_of(8), 0);
        head.extend([field, 1, kind, 0]);
        head.extend(number(text.len()));
        head.extend(text.bytes().chain([0]));
    }
    let mut whole = vec![if cfg!(target_endian = "little") { b'B' } else { b'l' }, 4, 0, 1];
    whole.extend([number(0), number(serial as usize), number(head.len())].concat());
    whole.extend(head);
    whole.resize(whole.len().next_multiple_of(8), 0);
    whole
}

struct Client {
    stream: UnixStream,
    heard: Vec<u8>,
    serial: u32,
}

struct Heard {
    serial: u32,
    sender: String,
    member: String,
    body: Vec<u8>,
}

impl Heard {
    fn texts(&self) -> Vec<String> {
        let (mut at, mut texts) = (0_usize, Vec::new());
        while at < self.body.len() {
            at = at.next_multiple_of(4);
            let len = u32::from_ne_bytes(self.body[at..at + 4].try_into().unwrap()) as usize;
            texts.push(String::from_utf8(self.body[at + 4..at + 4 + len].to_vec()).unwrap());
            at += 4 + len + 1;
        }
        texts
    }
}

impl Client {
    fn connect(socket: &Path) -> Self {
        let mut client = Self { stream: UnixStream::connect(socket).unwrap(), heard: Vec::new(), serial: 0 };
        let uid: String = nix::unistd::geteuid().to_string().bytes().map(|digit| format!("{digit:02x}")).collect();
        for line in [format!("\0AUTH EXTERNAL {uid}\r\n"), "NEGOTIATE_UNIX_FD\r\n".into()] {
            client.stream.write_all(line.as_bytes()).unwrap();
            let mut answer = [0; 512];
            assert!(client.stream.read(&mut answer).unwrap() > 0);
        }
        client.stream.write_all(b"BEGIN\r\n").unwrap();
        client.call_bus("Hello", "", &[]);
        client
    }

    fn call_bus(&mut self, member: &str, signature: &str, body: &[u8]) {
        self.serial += 1;
        let fields = [
            (1, "o", text("/org/freedesktop/DBus")),
            (2, "s", text("org.freedesktop.DBus")),
            (3, "s", text(member)),
            (6, "s", text("org.freedesktop.DBus")),
        ];
        self.stream.write_all(&message(1, self.serial, &fields, signature, body)).unwrap();
        // Its answer, whichever it is: nothing else is expected yet but the signal of our own name.
        self.next().unwrap();
    }

    fn answer(&mut self, call: &Heard, fd: i32) {
        self.serial += 1;
        let fields = [
            (5, "u", call.serial.to_ne_bytes().to_vec()),
            (6, "s", text(&call.sender)),
            (9, "u", 1_u32.to_ne_bytes().to_vec()),
        ];
        let bytes = message(2, self.serial, &fields, "h", &0_u32.to_ne_bytes());
        let fds = [fd];
        let with = [ControlMessage::ScmRights(&fds)];
        sendmsg::<()>(self.stream.as_raw_fd(), &[IoSlice::new(&bytes)], &with, MsgFlags::empty(), None).unwrap();
    }

    fn next(&mut self) -> Option<Heard> {
        loop {
            let number = |at: usize| Some(u32::from_ne_bytes(self.heard.get(at..at + 4)?.try_into().ok()?) as usize);
            if let (Some(body), Some(serial), Some(fields)) = (number(4), number(8), number(12)) {
                let head = (16 + fields).next_multiple_of(8);
                if self.heard.len() >= head + body {
                    let whole: Vec<u8> = self.heard.drain(..head + body).collect();
                    let (sender, member) = (field(&whole[..16 + fields], 7), field(&whole[..16 + fields], 3));
                    return Some(Heard { serial: serial as u32, sender, member, body: whole[head..].to_vec() });
                }
            }
            let mut some = [0; 4096];
            let len = self.stream.read(&mut some).ok().filter(|len| *len > 0)?;
            self.heard.extend_from_slice(&some[..len]);
        }
    }
}

/// A header field that is a text; empty: it is not there.
fn field(head: &[u8], wanted: u8) -> String {
    let mut at = 16_usize;
    while at < head.len() {
        at = at.next_multiple_of(8);
        let (number, kind) = (head[at], head[at + 2]);
        at = if kind == b'g' { at + 4 } else { (at + 4).next_multiple_of(4) };
        let len = match kind {
            b'g' => head[at] as usize + 2,
            b'u' => 4,
            _ => u32::from_ne_bytes(head[at..at + 4].try_into().unwrap()) as usize + 5,
        };
        if number == wanted && kind != b'u' {
            return String::from_utf8(head[at + 4..at + len - 1].to_vec()).unwrap();
        }
        at += len;
    }
    String::new()
}

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u32).to_ne_bytes()[..], text.as_bytes(), &[0]].concat()
}

/// Behind so many bytes, on a border of four.
fn padded(behind: usize, bytes: [u8; 4]) -> Vec<u8> {
    [&vec![0; behind.next_multiple_of(4) - behind][..], &bytes].concat()
}

fn message(kind: u8, serial: u32, fields: &[(u8, &str, Vec<u8>)], signature: &str, body: &[u8]) -> Vec<u8> {
    let mut head = Vec::new();
    let mut put = |number: u8, kind: &str, value: &[u8]| {
        head.resize(head.len().next_multiple_of(8), 0);
        head.extend([number, 1, kind.as_bytes()[0], 0]);
        head.extend(value);
    };
    for (number, kind, value) in fields {
        put(*number, kind, value);
    }
    if !signature.is_empty() {
        put(8, "g", &[&[signature.len() as u8][..], signature.as_bytes(), &[0]].concat());
    }
    let endian = if cfg!(target_endian = "little") { b'l' } else { b'B' };
    let mut whole = vec![endian, kind, 0, 1];
    whole.extend((body.len() as u32).to_ne_bytes());
    whole.extend(serial.to_ne_bytes());
    whole.extend((head.len() as u32).to_ne_bytes());
    whole.extend(head);
    whole.resize(whole.len().next_multiple_of(8), 0);
    whole.extend(body);
    whole
}
