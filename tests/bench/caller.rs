//! Callers of a Unix socket: raw bytes out, answers of one known length in. No HTTP library and no runtime, so that
//! what is measured is the server.

use crate::{Done, proc};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use sixty::clock::Clock;
use std::{
    io::{ErrorKind, Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

/// Whom is asked, and what.
pub(crate) struct Side {
    pub(crate) socket: PathBuf,
    pub(crate) pid: u32,
    /// The head's first line, but for the version.
    pub(crate) start: String,
    /// Further lines of the head, each with its end.
    pub(crate) lines: String,
    pub(crate) body: String,
    /// After a round, before the server's CPU is read: what it still has to do for the round is paid for.
    pub(crate) rest: Duration,
}

/// What callers saw in one round.
pub(crate) struct Sample {
    /// Nanoseconds of the middle answer.
    pub(crate) p50: f64,
    /// Nanoseconds of the slowest but one in a hundred.
    pub(crate) p99: f64,
    /// Answers a second.
    pub(crate) rate: f64,
    /// Nanoseconds of the server's CPU for each answer.
    pub(crate) cpu: f64,
}

/// How long one round lasts.
const ROUND: Duration = Duration::from_millis(1200);
/// Answers that are not counted, at the beginning of a round.
const WARM_UP: usize = 300;

impl Side {
    pub(crate) fn request(&self, connection: &str) -> Vec<u8> {
        let Self { start, lines, body, .. } = self;
        let (length, host) = (body.len(), "host: b\r\n");
        format!("{start} HTTP/1.1\r\n{host}{lines}connection: {connection}\r\ncontent-length: {length}\r\n\r\n{body}")
            .into_bytes()
    }

    /// One caller on one connection.
    pub(crate) fn kept(&self) -> Done<Sample> {
        let request = self.request("keep-alive");
        let mut stream = UnixStream::connect(&self.socket)?;
        let mut answer = first(&mut stream, &request)?;
        self.round(|| exchange(&mut stream, &request, &mut answer))
    }

    /// One caller, with a connection for each request.
    pub(crate) fn connecting(&self) -> Done<Sample> {
        let request = self.request("close");
        let mut answer = first(&mut UnixStream::connect(&self.socket)?, &request)?;
        self.round(|| exchange(&mut UnixStream::connect(&self.socket)?, &request, &mut answer))
    }

    /// So many callers at once, each on a connection of its own.
    pub(crate) fn crowd(&self, callers: usize) -> Done<Sample> {
        let mut crowd = Crowd::gather(&self.socket, callers, self.request("keep-alive"))?;
        let mut turns = Vec::new();
        self.round_of(|nanos| {
            turns.clear();
            crowd.turn(&mut turns)?;
            nanos.extend_from_slice(&turns);
            Ok(())
        })
    }

    /// So many answers, and up to one more for each caller, to so many callers at once; nothing is measured.
    pub(crate) fn many(&self, callers: usize, answers: usize) -> Done {
        let mut crowd = Crowd::gather(&self.socket, callers, self.request("keep-alive"))?;
        let mut nanos = Vec::with_capacity(answers);
        // The first of each is there.
        while nanos.len() + callers < answers {
            crowd.turn(&mut nanos)?;
        }
        Ok(())
    }

    /// Nanoseconds of the slowest answer to one caller, until it is over.
    pub(crate) fn longest(&self, over: &AtomicBool) -> Done<f64> {
        let (clock, request) = (Clock::system(), self.request("keep-alive"));
        let mut stream = UnixStream::connect(&self.socket)?;
        let mut answer = first(&mut stream, &request)?;
        let mut longest = 0;
        while !over.load(Ordering::Relaxed) {
            let began = clock.boot();
            exchange(&mut stream, &request, &mut answer)?;
            longest = longest.max(clock.boot().since(began).as_nanos());
        }
        Ok(longest as f64)
    }

    fn round(&self, mut once: impl FnMut() -> Done) -> Done<Sample> {
        let clock = Clock::system();
        self.round_of(|nanos| {
            let began = clock.boot();
            once()?;
            nanos.push(clock.boot().since(began).as_nanos() as u64);
            Ok(())
        })
    }

    /// Runs until the round is over.
    fn round_of(&self, mut step: impl FnMut(&mut Vec<u64>) -> Done) -> Done<Sample> {
        let clock = Clock::system();
        let mut nanos = Vec::with_capacity(1 << 20);
        while nanos.len() < WARM_UP {
            step(&mut nanos)?;
        }
        nanos.clear();
        let (cpu, began) = (proc::cpu_nanos(self.pid)?, clock.boot());
        while clock.boot().since(began) < ROUND {
            step(&mut nanos)?;
        }
        let took = clock.boot().since(began).as_secs_f64();
        std::thread::sleep(self.rest);
        let cpu = proc::cpu_nanos(self.pid)? - cpu;
        nanos.sort_unstable();
        let at = |part: f64| nanos[(nanos.len() as f64 * part) as usize] as f64;
        let count = nanos.len() as f64;
        Ok(Sample { p50: at(0.5), p99: at(0.99), rate: count / took, cpu: cpu / count })
    }
}

/// The first answer, which tells how long all of them are.
pub(crate) fn first(stream: &mut UnixStream, request: &[u8]) -> Done<Vec<u8>> {
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    stream.write_all(request)?;
    let mut answer = Vec::new();
    loop {
        let mut chunk = [0; 4096];
        let read = stream.read(&mut chunk)?;
        answer.extend_from_slice(&chunk[..read]);
        if read == 0 || whole(&answer) {
            break;
        }
    }
    if answer.starts_with(b"HTTP/1.1 20") { Ok(answer) } else { Err(String::from_utf8_lossy(&answer).into()) }
}

fn whole(answer: &[u8]) -> bool {
    let text = String::from_utf8_lossy(answer).to_ascii_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    length.is_some_and(|length: usize| body.len() >= length)
}

fn exchange(stream: &mut UnixStream, request: &[u8], answer: &mut [u8]) -> Done {
    stream.write_all(request)?;
    stream.read_exact(answer)?;
    if answer.starts_with(b"HTTP/1.1 20") { Ok(()) } else { Err(String::from_utf8_lossy(answer).into()) }
}

/// Callers that wait together.
struct Crowd {
    epoll: Epoll,
    clock: Clock,
    request: Vec<u8>,
    /// Each with the time of its request and the bytes of its answer so far.
    callers: Vec<(UnixStream, u64, usize)>,
    length: usize,
}

impl Crowd {
    fn gather(socket: &Path, count: usize, request: Vec<u8>) -> Done<Self> {
        let (epoll, clock) = (Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?, Clock::system());
        let (mut callers, mut length) = (Vec::new(), 0);
        for number in 0..count {
            let mut stream = UnixStream::connect(socket)?;
            length = first(&mut stream, &request)?.len();
            stream.set_nonblocking(true)?;
            epoll.add(&stream, EpollEvent::new(EpollFlags::EPOLLIN, number as u64))?;
            stream.write_all(&request)?;
            callers.push((stream, clock.boot().nanos(), 0));
        }
        Ok(Self { epoll, clock, request, callers, length })
    }

    /// Takes the answers that are there, and asks again.
    fn turn(&mut self, nanos: &mut Vec<u64>) -> Done {
        let mut events = [EpollEvent::empty(); 64];
        let ready = self.epoll.wait(&mut events, EpollTimeout::from(10_000_u16))?;
        if ready == 0 {
            return Err("no answer within 10 s".into());
        }
        let mut chunk = [0; 4096];
        for event in &events[..ready] {
            let (stream, asked, got) = &mut self.callers[event.data() as usize];
            match stream.read(&mut chunk) {
                Ok(0) => return Err("a connection was closed".into()),
                Ok(_) if *got == 0 && !chunk.starts_with(b"HTTP/1.1 20") => return Err("a refusal".into()),
                Ok(more) => *got += more,
                Err(fault) if fault.kind() == ErrorKind::WouldBlock => {}
                Err(fault) => return Err(fault.into()),
            }
            if *got >= self.length {
                nanos.push(self.clock.boot().nanos() - *asked);
                (*asked, *got) = (self.clock.boot().nanos(), 0);
                stream.write_all(&self.request)?;
            }
        }
        Ok(())
    }
}
