//! One step: what it is called, what it proves, and what came of it.
//! It must never hold a secret: what is shown of a token is its first and last letters.

use std::time::Duration;
use std::{fmt, io};

use serde::Serialize;

use super::super::scan::ScanError;
use super::super::studio::StudioError;
use super::stage::Stage;
use crate::audit::VerifyError;
use crate::client::{ClientError, Problem};
use crate::secret::Secret;
use crate::sys::file::FileError;
use crate::upstream::{CallError, TlsError};
use crate::vault::UnlockError;

/// One step of the story.
pub(super) struct Step {
    /// One word, the same for ever.
    pub(super) name: &'static str,
    /// What it shows if it holds.
    pub(super) proves: &'static str,
    /// Does it.
    pub(super) act: fn(&mut Stage) -> Result<Shown, StepError>,
}

/// What was seen of a step that did not fail.
pub(super) enum Shown {
    /// It held; in a few words, how.
    Held(String),
    /// It could not be tried here.
    NotTried(&'static str),
}

/// Why a step did not hold.
#[derive(Debug, thiserror::Error)]
pub(super) enum StepError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("refused: {} {}: {}", .0.status, .0.code, .0.detail.as_deref().unwrap_or(&.0.title))]
    Refused(Box<Problem>),
    #[error("the broker's answer to {0} was not understood")]
    Answer(String),
    #[error(transparent)]
    Call(#[from] CallError),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Studio(#[from] StudioError),
    #[error(transparent)]
    Scan(#[from] ScanError),
    #[error(transparent)]
    Audit(#[from] VerifyError),
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Key(#[from] UnlockError),
    #[error("{0}: {1}")]
    System(&'static str, io::Error),
    #[error("interrupted")]
    Interrupted,
    #[error("{0}")]
    Otherwise(String),
}

impl From<Box<Problem>> for StepError {
    fn from(problem: Box<Problem>) -> Self {
        Self::Refused(problem)
    }
}

/// A fault of the system's, in words.
pub(super) fn system(what: &'static str) -> impl FnOnce(io::Error) -> StepError {
    move |fault| StepError::System(what, fault)
}

/// Goes on only if `true_so_far`; else says what was seen instead.
pub(super) fn see(true_so_far: bool, else_seen: impl FnOnce() -> String) -> Result<(), StepError> {
    if true_so_far { Ok(()) } else { Err(StepError::Otherwise(else_seen())) }
}

/// A step as it is told.
#[derive(Serialize)]
pub(super) struct Record {
    pub(super) name: &'static str,
    pub(super) proves: &'static str,
    /// None when it could not be tried.
    pub(super) ok: Option<bool>,
    pub(super) micros: u64,
    pub(super) detail: String,
}

impl Record {
    pub(super) fn new(step: &Step, shown: Result<Shown, StepError>, took: Duration) -> Self {
        let (ok, detail) = match shown {
            Ok(Shown::Held(how)) => (Some(true), how),
            Ok(Shown::NotTried(why)) => (None, format!("not tried: {why}")),
            Err(fault) => (Some(false), fault.to_string()),
        };
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        Self { name: step.name, proves: step.proves, ok, micros, detail }
    }
}

/// A token by its kind and its last four letters.
pub(super) struct Masked<'a>(pub(super) &'a Secret);

impl fmt::Display for Masked<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.expose(|bytes| {
            let (kind, random) = bytes.split_at(bytes.len() - random_part(bytes).len());
            let last = random.len().saturating_sub(4);
            let last = if random.len() < 16 { &[] } else { &random[last..] };
            write!(out, "{}...{}", String::from_utf8_lossy(kind), String::from_utf8_lossy(last))
        })
    }
}

/// What follows `sk-`, `st-` or `sixty_`: the part that is a secret, and that a scan may look for.
pub(super) fn random_part(secret: &[u8]) -> &[u8] {
    let begin = secret.iter().rposition(|byte| b"-_".contains(byte)).map_or(0, |separator| separator + 1);
    &secret[begin..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_shows_no_more_than_its_ends() {
        let masked = |text: &str| Masked(&Secret::copied(text.as_bytes())).to_string();
        assert_eq!(masked("st-0123456789abcdef"), "st-...cdef");
        assert_eq!(masked("sixty_0123456789abcdefgh"), "sixty_...efgh");
        assert_eq!(masked("st-short"), "st-...");
        assert_eq!(masked(""), "...");
    }

    #[test]
    fn a_step_that_could_not_be_tried_is_neither_held_nor_failed() {
        let step = Step { name: "x", proves: "y", act: |_| Ok(Shown::NotTried("needs root")) };
        let told = |shown| Record::new(&step, shown, Duration::from_micros(5));
        assert_eq!(told(Ok(Shown::NotTried("needs root"))).ok, None);
        assert_eq!(told(Ok(Shown::Held(String::new()))).ok, Some(true));
        let failed = told(Err(StepError::Interrupted));
        assert_eq!((failed.ok, failed.micros, failed.detail.as_str()), (Some(false), 5, "interrupted"));
    }
}
