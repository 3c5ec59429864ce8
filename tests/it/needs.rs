//! Tools that a test would like to have: here or not, and said aloud when not.
//! It must never let a test pass in silence in CI: there every tool is to be installed.

use std::{io::Write, process::Command};

/// Whether `tool` runs here. Where it does not, one line tells what is not tested; in CI (`CI=true`) that is a failure.
pub(crate) fn has(tool: &str, tested: &str) -> bool {
    let here = Command::new(tool).arg("--version").output().is_ok_and(|output| output.status.success());
    if !here {
        missing(&format!("{tool} is not here"), tested);
    }
    here
}

/// Says that something is missing and what is not tested for it; in CI that is a failure.
pub(crate) fn missing(what: &str, tested: &str) {
    assert!(std::env::var("CI").as_deref() != Ok("true"), "{what}: {tested} can't be tested, and CI must");
    // Not eprintln: the harness keeps what a passing test prints to itself.
    let _ = writeln!(std::io::stderr(), "{what}: {tested} not tested");
}
