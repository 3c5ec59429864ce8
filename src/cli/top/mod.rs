//! `sixty top`: what is live now and what is used of it, looked at again and again.
//! It must never show more than the control socket tells, nor leave a terminal otherwise than it was.

mod frame;
mod screen;

use std::io::IsTerminal;
use std::time::Duration;

use clap::Args;
use clap::builder::PossibleValuesParser;

use super::ask::{Doors, json};
use super::environment;
use super::failure::Failure;
use super::output::{exactly, show};
use crate::model::{Malformed, span};
use frame::Watch;

/// What `sixty top` is asked.
#[derive(Debug, Args)]
pub(super) struct TopArguments {
    /// What a line is for
    #[arg(long, default_value = "key", value_parser = PossibleValuesParser::new(["key", "peer"]))]
    by: String,
    /// How long to wait before looking again: 250ms to 1h
    #[arg(long, default_value = "2s", value_name = "TIME", value_parser = interval)]
    interval: Duration,
    /// Look once and print one table, as is done where the output is no terminal
    #[arg(long)]
    once: bool,
    /// Print one JSON object for each look, a line each
    #[arg(long)]
    json: bool,
}

fn interval(text: &str) -> Result<Duration, Malformed> {
    match span::span(text)? {
        time if (Duration::from_millis(250)..=Duration::from_secs(3600)).contains(&time) => Ok(time),
        _ => Err(Malformed("from 250ms to 1h".to_owned())),
    }
}

/// `sixty top`.
pub(super) fn top(doors: &Doors, arguments: TopArguments) -> Result<(), Failure> {
    let TopArguments { by, interval, once, json: as_json } = arguments;
    let mut watch = Watch::new(doors.control.clone(), by);
    match (as_json, once || !drawable()) {
        (true, _) if once => exactly(&json(&watch.look()?)),
        (true, _) => loop {
            exactly(&json(&watch.look()?))?;
            std::thread::sleep(interval);
        },
        (false, true) => show(watch.look()?),
        (false, false) => screen::live(watch, interval),
    }
}

/// Whether there is a screen to draw on.
fn drawable() -> bool {
    std::io::stdout().is_terminal() && environment::variable("TERM").is_some_and(|term| term != "dumb")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_looked_at_all_the_time_nor_never() {
        assert_eq!(interval("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(interval("1h"), Ok(Duration::from_secs(3600)));
        for bad in ["0s", "249ms", "61m", "2", ""] {
            assert!(interval(bad).is_err(), "{bad}");
        }
    }
}
