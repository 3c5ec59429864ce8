//! The daemon's log: text for people or JSON for machines, on stderr. No secret reaches any level: the types that hold
//! one cannot be printed. It must never wait for whoever reads it: what they do not take is counted and lost.

use crate::config::{Format, Level, Log, Paint};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::{
    io::{self, IsTerminal, Write},
    os::fd::AsFd,
    sync::Mutex,
};
use tracing_subscriber::{
    Layer,
    filter::{LevelFilter, Targets},
    fmt,
    layer::SubscriberExt,
    registry,
    util::SubscriberInitExt,
};

/// Starts logging; a second call in one process does nothing.
pub(super) fn start(log: &Log) {
    // Of hyper, rustls and tokio only warnings: below that they print heads and bytes.
    let level = match log.level {
        Level::Error => LevelFilter::ERROR,
        Level::Warn => LevelFilter::WARN,
        Level::Info => LevelFilter::INFO,
        Level::Debug => LevelFilter::DEBUG,
        Level::Trace => LevelFilter::TRACE,
    };
    let patient = Patient { to: io::stderr(), lost: 0, format: log.format };
    let lines = fmt::layer().with_writer(Mutex::new(patient)).with_target(false);
    let filter = Targets::new().with_default(LevelFilter::WARN).with_target("sixty", level);
    let _ = match log.format {
        Format::Json => registry().with(lines.json().with_ansi(false).with_filter(filter)).try_init(),
        Format::Text => registry().with(lines.with_ansi(coloured()).with_filter(filter)).try_init(),
    };
}

/// How faults are shown.
pub(super) fn paint() -> Paint {
    if coloured() { Paint::Coloured } else { Paint::Plain }
}

#[allow(clippy::disallowed_methods, reason = "the daemon is one of the three modules that may read the environment")]
fn coloured() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// A pipe that says it has room takes so much without waiting: PIPE_BUF, pipe(7).
const AT_ONCE: usize = 4096;

/// Writes to what may be a pipe that nobody reads, a terminal that was stopped, a service manager that hangs.
struct Patient<W> {
    to: W,
    /// Lines since the last that was taken.
    lost: u64,
    format: Format,
}

impl<W: Write + AsFd> Patient<W> {
    /// One line, whole; or none of it, unless its reader stops in the middle of a long one.
    fn line(&mut self, line: &[u8]) -> io::Result<()> {
        if !self.is_taken() {
            self.lost += 1;
            return Ok(());
        }
        if let lost @ 1.. = std::mem::take(&mut self.lost) {
            let text = match self.format {
                Format::Text => format!("WARN {lost} lines of the log are lost: nobody took them in time\n"),
                Format::Json => {
                    format!("{{\"level\":\"WARN\",\"fields\":{{\"message\":\"lines are lost\",\"lines\":{lost}}}}}\n")
                }
            };
            self.to.write_all(text.as_bytes())?;
        }
        for piece in line.chunks(AT_ONCE) {
            if !self.is_taken() {
                self.lost += 1;
                break;
            }
            self.to.write_all(piece)?;
        }
        Ok(())
    }

    fn is_taken(&self) -> bool {
        let mut room = [PollFd::new(self.to.as_fd(), PollFlags::POLLOUT)];
        poll(&mut room, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
    }
}

impl<W: Write + AsFd> Write for Patient<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.line(line).map(|()| line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn a_log_that_nobody_reads_is_lost_in_part_and_says_so() {
        let (mut reader, writer) = io::pipe().unwrap();
        let mut log = Patient { to: writer, lost: 0, format: Format::Text };
        let line = [[b'x'; 99].as_slice(), b"\n"].concat();
        (0..2000).for_each(|_| log.write_all(&line).unwrap());
        assert!(log.lost > 1000, "{}", log.lost);
        let mut taken = vec![0; 60_000];
        reader.read_exact(&mut taken).unwrap();
        assert!(taken.chunks(100).all(|chunk| chunk == line), "whole lines alone");
        let lost = log.lost;
        log.write_all(b"again\n").unwrap();
        drop(log);
        let mut rest = String::new();
        reader.read_to_string(&mut rest).unwrap();
        assert!(rest.ends_with(&format!("WARN {lost} lines of the log are lost: nobody took them in time\nagain\n")));
    }

    #[test]
    fn a_reader_that_is_gone_is_no_fault_of_the_daemons() {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let mut log = Patient { to: writer, lost: 0, format: Format::Json };
        assert!(log.write_all(b"line\n").is_err(), "tracing drops it");
    }
}
