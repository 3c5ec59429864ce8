//! One user opens all the connections that it can and says nothing; whoever started the test asks meanwhile.

use super::{Outcome, Target};
use crate::{clock::Clock, sys::confine::raise_fd_limit};
use nix::unistd::geteuid;
use std::{
    io::{BufRead, BufReader, Read, Write},
    os::unix::net::UnixStream,
    process::Child,
    time::Duration,
};

/// Descriptors that this process needs for itself.
const SPARE: u64 = 32;
/// Questions that are asked meanwhile.
const QUESTIONS: usize = 100;
/// What another user waits at most, for one answer.
const LONGEST: Duration = Duration::from_millis(500);

/// The part of the one who floods: says how many connections are open, and holds them until its stdin ends.
pub(super) fn flood(target: &Target) -> Outcome {
    let room = raise_fd_limit().unwrap_or(256).saturating_sub(SPARE);
    let most = target.connections.min(usize::try_from(room).unwrap_or(usize::MAX));
    let open: Vec<_> = (0..most).map_while(|_| UnixStream::connect(&target.broker).ok()).collect();
    println(&open.len().to_string());
    let _ = std::io::stdin().read(&mut [0]);
    Outcome::Held(String::new())
}

fn println(text: &str) {
    let _ = super::exactly(text.as_bytes());
}

/// The part of the one who asks meanwhile.
pub(super) fn watched(target: &Target, flooder: &mut Child) -> Outcome {
    let mut said = String::new();
    let _ = flooder.stdout.take().map(|out| BufReader::new(out).read_line(&mut said));
    let open = said.trim().parse::<usize>().unwrap_or_default();
    let outcome = asked(target, open);
    if let Some(mut end) = flooder.stdin.take() {
        let _ = end.write_all(b"\n");
    }
    let _ = flooder.wait();
    outcome
}

fn asked(target: &Target, open: usize) -> Outcome {
    if open == 0 {
        return Outcome::Untried("no connection could be opened".into());
    }
    // Another user is to be served. The same one may be turned away, but at once.
    let other = geteuid().is_root();
    let clock = Clock::system();
    let mut longest = Duration::ZERO;
    for _ in 0..QUESTIONS {
        let began = clock.boot();
        if !target.serves() && other {
            return Outcome::Failed(format!("with {open} idle connections of one user another is not served"));
        }
        longest = longest.max(clock.boot().since(began));
        if longest > LONGEST {
            break;
        }
    }
    let (who, wait) = (if other { "another" } else { "the same" }, longest.as_millis());
    match longest > LONGEST {
        true => Outcome::Failed(format!("with {open} idle connections of one user {who} waits {wait} ms")),
        false => Outcome::Held(format!("{open} idle connections of one user: {who} waits {wait} ms at most")),
    }
}
