//! `sixty check`: every fault of every file at once, with its place and what to do. It changes nothing.

use super::{logs, notify, places};
use crate::config;
use std::{path::PathBuf, process::ExitCode};

/// Checks files; exit 78 if one of them is faulty.
pub fn check(files: &[PathBuf]) -> ExitCode {
    match files.iter().map(|file| one(file)).fold(true, |all, good| all & good) {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(78),
    }
}

/// Checks the file that the daemon would read.
pub fn check_usual() -> ExitCode {
    match places::usual(None) {
        Ok(paths) => check(&[paths.config]),
        Err(fault) => super::report(Err(fault)),
    }
}

fn one(file: &std::path::Path) -> bool {
    match config::load(file) {
        Ok((config, _)) => {
            if !config.warnings.is_empty() {
                notify::last_words(&config.warnings.render(logs::paint()));
            }
            let rules = config.rules.0.len();
            notify::last_words(&format!(
                "{}: good, {rules} rule{}\n",
                file.display(),
                if rules == 1 { "" } else { "s" }
            ));
            true
        }
        Err(faults) => {
            notify::last_words(&faults.render(logs::paint()));
            false
        }
    }
}
