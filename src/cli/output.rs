//! The program's two voices: data on stdout, talk on stderr; colours only where they are wanted.
//! It must never let bytes from elsewhere steer the terminal: control characters are shown, not sent.

use std::fmt::Display;
use std::io::Write;
use std::os::fd::AsFd;

use clap::builder::styling::{AnsiColor, Style};
use nix::errno::Errno;

use super::failure::Failure;
pub(super) use crate::model::plain;

/// Headings.
pub(super) const BOLD: Style = Style::new().bold();
/// Side remarks.
pub(super) const DIM: Style = Style::new().dimmed();
/// As it should be.
pub(super) const GOOD: Style = AnsiColor::Green.on_default();
/// Look at this.
pub(super) const WARN: Style = AnsiColor::Yellow.on_default();
/// Not as it should be.
pub(super) const BAD: Style = AnsiColor::Red.on_default().bold();

/// Prints text for people on stdout; its styles go where colours are wanted alone.
pub(super) fn show(text: impl Display) -> Result<(), Failure> {
    let mut stdout = anstream::stdout().lock();
    write!(stdout, "{text}").and_then(|()| stdout.flush()).map_err(Failure::output)
}

/// Prints bytes as they are and ends the line, past every buffer of std: they may be a token.
pub(super) fn exactly(bytes: &[u8]) -> Result<(), Failure> {
    let ended = bytes.ends_with(b"\n");
    write_all(bytes)?;
    if ended { Ok(()) } else { write_all(b"\n") }
}

/// Prints what steers the terminal, in one write where it takes that: a screen is painted whole or late.
pub(super) fn exactly_these(steering: &str) -> Result<(), Failure> {
    write_all(steering.as_bytes())
}

/// Says one sentence on stderr. It is talk: when nobody listens, nothing is lost.
pub(super) fn say(text: impl Display) {
    let _ = writeln!(anstream::stderr(), "{text}");
}

fn write_all(mut bytes: &[u8]) -> Result<(), Failure> {
    let stdout = std::io::stdout();
    while !bytes.is_empty() {
        match nix::unistd::write(stdout.as_fd(), bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(Failure::output(errno.into())),
        }
    }
    Ok(())
}
