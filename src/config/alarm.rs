//! `[alarm]`: whom to wake. It names a program and never a line of shell.

use super::{options::Alarm, table::Table};
use std::time::Duration;

pub(super) fn alarm(mut table: Table<'_>) -> Alarm {
    let usual = Alarm::default();
    Alarm {
        program: table.path("program"),
        time: table.span("time", usual.time, Duration::from_secs(1)..=Duration::from_secs(300)),
        rate: table.take("rate").and_then(|value| value.parse("\"6/min\"", str::parse)).unwrap_or(usual.rate),
    }
}
