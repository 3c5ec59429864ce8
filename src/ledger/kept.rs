//! The file in which usage, and what is spent of budgets, outlives the daemon: written whole or not at all.
//! A file that cannot be read is told and put aside; it never keeps the daemon from starting.

use super::usage::{Counts, Row};
use crate::{
    model::{Day, Per, Purse},
    sys::file::{self, FileError},
};
use serde::{Deserialize, Serialize};
use std::path::Path;
use tracing::{error, warn};

const VERSION: u32 = 1;
/// Far more than the most rows take, in bytes.
const MOST: usize = 256 << 20;

/// All that is kept.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Kept {
    version: u32,
    pub(super) rows: Vec<Line>,
    pub(super) spent: Vec<Spending>,
}

/// One row of the book.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Line {
    pub(super) row: Row,
    pub(super) counts: Counts,
}

/// What is spent of a budget for a day or a month.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spending {
    /// The first day.
    pub day: Day,
    /// A day, or a month.
    #[serde(default)]
    pub per: Per,
    /// Whose.
    #[serde(default)]
    pub purse: Purse,
    /// The principal as its rule sees it, or the name of the key, the workspace or the owner.
    pub holder: String,
    /// Tokens.
    pub tokens: u64,
    /// Millionths of the owner's unit of money.
    pub cost_micros: u64,
}

impl Spending {
    /// Nothing yet.
    pub(super) fn new((purse, per, day): (Purse, Per, Day), holder: &str) -> Self {
        Self { day, per, purse, holder: holder.to_owned(), tokens: 0, cost_micros: 0 }
    }
}

impl Kept {
    pub(super) fn new(rows: impl Iterator<Item = (Row, Counts)>, spent: Vec<Spending>) -> Self {
        Self { version: VERSION, rows: rows.map(|(row, counts)| Line { row, counts }).collect(), spent }
    }
}

/// What the file holds; nothing when there is none, or none of ours.
pub(super) fn read(path: &Path) -> Kept {
    let fault = match file::read_private(path, MOST) {
        Err(FileError::Missing { .. }) => return Kept::default(),
        Err(fault) => fault.to_string(),
        Ok(bytes) => match serde_json::from_slice::<Kept>(&bytes) {
            Ok(kept) if kept.version == VERSION => return kept,
            Ok(_) => "it is of another version".to_owned(),
            // What serde would quote of the file is nobody's.
            Err(fault) => format!("it cannot be read at line {}, column {}", fault.line(), fault.column()),
        },
    };
    let mut aside = path.as_os_str().to_owned();
    aside.push(".faulty");
    warn!(path = %path.display(), %fault, "usage is counted from nothing; the file is put aside");
    if let Err(fault) = std::fs::rename(path, &aside) {
        error!(%fault, "it cannot be put aside, and will be overwritten");
    }
    Kept::default()
}

/// Puts a new file in the old one's place.
pub(super) fn write(path: &Path, kept: &Kept) -> Result<(), FileError> {
    // Numbers and text: there is nothing in it that JSON cannot say.
    let bytes = serde_json::to_vec(kept).unwrap_or_default();
    file::replace(path, 0o600, &bytes)
}
