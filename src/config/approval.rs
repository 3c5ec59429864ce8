//! `[approval]`: who is asked where a rule wants a person's yes, and how. It never looks whether the program is there: the
//! doctor does.

use super::{table::Table, value::Value};
use std::{path::PathBuf, time::Duration};

/// `[approval]`: who is asked where a rule wants a person's yes, and for how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approval {
    /// How they are asked.
    pub ask: Ask,
    /// No answer for so long is a no.
    pub timeout: Duration,
}

impl Default for Approval {
    fn default() -> Self {
        Self { ask: Ask::Terminal, timeout: Duration::from_secs(60) }
    }
}

/// How a person is asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Ask {
    /// Somebody runs `sixty approve`.
    #[default]
    Terminal,
    /// This program is run, which speaks the Assuan protocol.
    Pinentry(PathBuf),
    /// This program is run, as ssh-add(1) runs SSH_ASKPASS.
    Askpass(PathBuf),
}

impl Ask {
    /// The program that is run, if one is.
    pub fn program(&self) -> Option<&PathBuf> {
        match self {
            Ask::Terminal => None,
            Ask::Pinentry(path) | Ask::Askpass(path) => Some(path),
        }
    }
}

pub(super) fn approval(mut table: Table<'_>) -> Approval {
    let usual = Approval::default();
    Approval {
        ask: table.take("ask").and_then(ask).unwrap_or_default(),
        timeout: table.span("timeout", usual.timeout, Duration::from_secs(5)..=Duration::from_secs(600)),
    }
}

fn ask(value: Value<'_>) -> Option<Ask> {
    const FORMS: &str = "it is \"terminal\", \"pinentry:/PATH\" or \"askpass:/PATH\"";
    let text = value.text("\"terminal\"")?;
    let program = |path: &str| match path.starts_with('/') && path.len() > 1 {
        true => Some(PathBuf::from(path)),
        false => {
            value.fault("`ask` names no absolute path", "write it from / on: ask = \"pinentry:/usr/bin/pinentry\"")
        }
    };
    match text.split_once(':') {
        None if text == "terminal" => Some(Ask::Terminal),
        Some(("pinentry", path)) => program(path).map(Ask::Pinentry),
        Some(("askpass", path)) => program(path).map(Ask::Askpass),
        _ => value.cannot_be(text, FORMS),
    }
}
