//! The daemon's log: text for people or JSON for machines, on stderr. No secret reaches any level: the types that hold
//! one cannot be printed.

use crate::config::{Format, Level, Log, Paint};
use std::io::IsTerminal;
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
    let lines = fmt::layer().with_writer(std::io::stderr).with_target(false);
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
