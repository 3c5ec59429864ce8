//! A connection to the system bus: opened while it may be, and kept. It must never wait without a bound, nor be opened again.

use super::message::{self, Callee, ERROR, FIXED, LONGEST, Message, REPLY};
use crate::sys::passing;
use nix::errno::Errno;
use std::{
    collections::VecDeque,
    io::{self, Write},
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream,
    },
    path::Path,
    time::Duration,
};

/// How long the bus may take for each step at the start.
const PATIENCE: Duration = Duration::from_secs(2);

/// The bus itself.
const BUS: Callee =
    Callee { name: "org.freedesktop.DBus", path: "/org/freedesktop/DBus", interface: "org.freedesktop.DBus" };

/// An open connection.
pub(super) struct Bus {
    stream: UnixStream,
    heard: Vec<u8>,
    passed: VecDeque<OwnedFd>,
    /// Bytes still to come of a message that is too long to be read.
    skip: usize,
    serial: u32,
}

impl Bus {
    /// Connects as this process's user.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut bus = Self { stream, heard: Vec::new(), passed: VecDeque::new(), skip: 0, serial: 0 };
        let digits = nix::unistd::geteuid().to_string();
        let uid: String = digits.bytes().map(|digit| format!("{digit:02x}")).collect();
        bus.told(&format!("\0AUTH EXTERNAL {uid}\r\n"), "OK ")?;
        bus.told("NEGOTIATE_UNIX_FD\r\n", "AGREE_UNIX_FD")?;
        bus.stream.write_all(b"BEGIN\r\n")?;
        bus.answer(BUS, "Hello", &[])?;
        Ok(bus)
    }

    /// Has the bus pass on signals that fit.
    pub(super) fn listen(&mut self, rule: &str) -> io::Result<()> {
        self.answer(BUS, "AddMatch", &[rule]).map(drop)
    }

    /// Calls, and waits for the answer; only at the start, before anything else is expected.
    pub(super) fn answer(&mut self, to: Callee, member: &str, arguments: &[&str]) -> io::Result<Message> {
        let serial = self.call(to, member, arguments)?;
        for _ in 0..64 {
            while let Some(message) = self.next()? {
                match message.kind {
                    REPLY if message.answers == serial => return Ok(message),
                    ERROR if message.answers == serial => {
                        let why = message.texts().first().map_or("it was refused".to_owned(), ToString::to_string);
                        return Err(io::Error::other(format!("{member}: {why}")));
                    }
                    _ => {}
                }
            }
            self.fill()?;
        }
        Err(io::ErrorKind::TimedOut.into())
    }

    /// Sends a call; its number.
    pub(super) fn call(&mut self, to: Callee, member: &str, arguments: &[&str]) -> io::Result<u32> {
        self.serial += 1;
        self.stream.write_all(&message::call(self.serial, to, member, arguments))?;
        Ok(self.serial)
    }

    /// From now on nothing waits: what this gives tells the loop when there is something.
    pub(super) fn enter_loop(&self) -> io::Result<tokio::net::UnixStream> {
        self.stream.set_nonblocking(true)?;
        tokio::net::UnixStream::from_std(self.stream.try_clone()?)
    }

    /// Takes in what has come.
    pub(super) fn fill(&mut self) -> io::Result<()> {
        let mut some = [0; 4096];
        let (len, passed) = match passing::receive(self.stream.as_fd(), &mut some) {
            Ok((0, _)) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(heard) => heard,
            Err(Errno::EINTR) => return Ok(()),
            Err(errno) => return Err(errno.into()),
        };
        let skipped = self.skip.min(len);
        self.skip -= skipped;
        self.heard.extend_from_slice(&some[skipped..len]);
        if self.skip == 0 {
            self.passed.extend(passed);
        }
        Ok(())
    }

    /// The next message that is there as a whole.
    pub(super) fn next(&mut self) -> io::Result<Option<Message>> {
        let broken = || io::Error::new(io::ErrorKind::InvalidData, "the bus speaks no D-Bus");
        let Some(fixed) = self.heard.first_chunk::<FIXED>() else { return Ok(None) };
        let len = message::length(fixed).ok_or_else(broken)?;
        if len > LONGEST {
            // Anybody may send us one; what came with it is not ours.
            self.skip = len - self.heard.len();
            self.heard.clear();
            self.passed.clear();
            return Ok(None);
        }
        if self.heard.len() < len {
            return Ok(None);
        }
        let rest = self.heard.split_off(len);
        let Some(mut message) = message::read(&std::mem::replace(&mut self.heard, rest)) else {
            // Anybody may send us that, too: it is no reason to stop listening.
            self.passed.clear();
            return Ok(Some(Message::default()));
        };
        let count = self.passed.len().min(message.count as usize);
        message.passed = self.passed.drain(..count).collect();
        Ok(Some(message))
    }

    /// One line of the authentication, and what its answer begins with.
    fn told(&mut self, line: &str, wanted: &str) -> io::Result<()> {
        self.stream.write_all(line.as_bytes())?;
        while !self.heard.ends_with(b"\r\n") && self.heard.len() < FIXED * 64 {
            self.fill()?;
        }
        match std::mem::take(&mut self.heard).starts_with(wanted.as_bytes()) {
            true => Ok(()),
            false => Err(io::Error::other("the bus did not let us in")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    fn between() -> (Bus, UnixStream) {
        let (stream, theirs) = UnixStream::pair().unwrap();
        stream.set_nonblocking(true).unwrap();
        (Bus { stream, heard: Vec::new(), passed: VecDeque::new(), skip: 0, serial: 0 }, theirs)
    }

    /// The call of the test as a machine of the other kind writes it.
    fn swapped(mut bytes: Vec<u8>) -> Vec<u8> {
        bytes[0] = if bytes[0] == b'l' { b'B' } else { b'l' };
        let texts = ["/org/freedesktop/DBus", "org.freedesktop.DBus", "One", "org.freedesktop.DBus"];
        let mut numbers = vec![4, 8, 12];
        for text in texts {
            let from = numbers[numbers.len() - 1];
            let at = bytes[from..].windows(text.len()).position(|window| window == text.as_bytes()).unwrap();
            numbers.push(from + at - 4);
        }
        numbers.push(bytes.len() - 6);
        numbers.into_iter().for_each(|at| bytes[at..at + 4].reverse());
        bytes
    }

    fn all(bus: &mut Bus) -> Vec<Message> {
        let mut all = Vec::new();
        while bus.fill().is_ok() {
            while let Some(message) = bus.next().unwrap() {
                all.push(message);
            }
        }
        all
    }

    #[test]
    fn messages_are_read_however_they_are_cut_and_one_that_is_too_long_is_skipped() {
        let (mut bus, mut theirs) = between();
        let call = message::call(1, BUS, "One", &["x"]);
        let long = message::call(2, BUS, "Long", &[&"x".repeat(LONGEST)]);
        let bytes = [&call[..], &long, &call].concat();
        for piece in bytes.chunks(1000) {
            theirs.write_all(piece).unwrap();
        }
        let members: Vec<_> = all(&mut bus).into_iter().map(|message| message.member).collect();
        assert_eq!(members, ["One", "One"]);
        for byte in &call {
            theirs.write_all(&[*byte]).unwrap();
            bus.fill().unwrap();
        }
        assert_eq!(bus.next().unwrap().unwrap().member, "One");
        // What any other user of the bus may send: numbers the other way round, and fields of no known kind.
        let (foreign, odd) = (swapped(call.clone()), [&call[..21], b"x", &call[22..]].concat());
        theirs.write_all(&[&foreign[..], &odd, &call].concat()).unwrap();
        let members: Vec<_> = all(&mut bus).into_iter().map(|message| message.member).collect();
        assert_eq!(members, ["One", "", "One"]);
        theirs.write_all(&[b'?'; 16]).unwrap();
        bus.fill().unwrap();
        assert!(bus.next().is_err());
        drop(theirs);
        assert_eq!(bus.fill().unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
