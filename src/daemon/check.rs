//! `sixty check`: every fault of every file at once, with its place and what to do. It changes nothing.

use super::{DaemonError, logs, notify, places};
use crate::{
    config::{self, Context},
    recipe::Recipe,
};
use std::{path::PathBuf, process::ExitCode};

/// Checks files; exit 78 if one of them is faulty.
pub fn check(files: &[PathBuf]) -> ExitCode {
    let outcome = Recipe::shipped().map_err(DaemonError::from).map(|recipes| {
        let context = Context::here(recipes);
        files.iter().map(|file| one(file, &context)).fold(true, |all, good| all & good)
    });
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(78),
        Err(fault) => super::report(Err(fault)),
    }
}

/// Checks the file that the daemon would read.
pub fn check_usual() -> ExitCode {
    match places::usual(None) {
        Ok(paths) => check(&[paths.config]),
        Err(fault) => super::report(Err(fault)),
    }
}

fn one(file: &std::path::Path, context: &Context) -> bool {
    match config::load(file, context) {
        Ok(config) => {
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
