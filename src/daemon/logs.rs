//! The daemon's log: text for people or JSON for machines, on stderr. No secret reaches any level: the types that hold
//! one cannot be printed.

use crate::config::{Format, Log, Paint};
use std::io::IsTerminal;
use tracing_subscriber::{EnvFilter, fmt};

/// Starts logging; a second call in one process does nothing.
pub(super) fn start(log: &Log) {
    // Of hyper, rustls and tokio only warnings: below that they print heads and bytes.
    let level = log.level.name();
    let filter = EnvFilter::new(format!("warn,sixty={level}"));
    let builder = fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    let _ = match log.format {
        Format::Json => builder.json().with_ansi(false).try_init(),
        Format::Text => builder.with_ansi(coloured()).try_init(),
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
