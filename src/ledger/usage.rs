//! The book of usage: what was called, read, written and paid, by day and by who is charged for it.
//! It holds numbers and names, never what was said, and never more rows than it may.

use super::kept::{self, Kept, Spending};
use crate::{
    model::{By, Day},
    sys::scrub,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
};
use tracing::warn;

/// Bounds of the book.
#[derive(Debug, Clone)]
pub struct UsageOptions {
    /// Where it is kept; none: nowhere.
    pub file: Option<PathBuf>,
    /// Rows; what would be one more is counted under `other`, one row a day.
    pub rows: usize,
    /// Days, today among them; older rows are dropped.
    pub days: u32,
}

/// Whom a call is charged to, and when. What is not known is empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// When, in UTC.
    pub day: Day,
    /// Who pays for the key.
    pub owner: String,
    /// Where its provider keeps it.
    pub workspace: String,
    /// The key.
    pub key: String,
    /// Who used it: a user, and the unit where a rule looks at units.
    pub peer: String,
    /// The model, where the provider knew it.
    pub model: String,
}

/// What was used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counts {
    /// Calls that reached the provider.
    pub calls: u64,
    /// Tokens that were read.
    pub input: u64,
    /// Tokens that were written.
    pub output: u64,
    /// Tokens in all.
    pub total: u64,
    /// Millionths of the owner's unit of money.
    pub cost_micros: u64,
    /// Of the calls, those whose tokens the provider did not tell, or not to the end: they are estimated.
    pub estimated: u64,
}

/// A sum of the book.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Sum {
    /// Of which owner, workspace, key, peer or model; empty where there is none.
    pub name: String,
    /// What was used.
    #[serde(flatten)]
    pub counts: Counts,
}

/// The name under which is counted what finds no room.
pub const OTHER: &str = "other";
/// Keys and models that metrics tell apart.
const SERIES: usize = 256;

/// All of it. Clones are the same book.
#[derive(Clone)]
pub struct UsageBook(Arc<Mutex<Pages>>);

struct Pages {
    options: UsageOptions,
    rows: BTreeMap<Row, Counts>,
    /// By key and model since the start: a collector's counters never fall, and rows are dropped.
    series: BTreeMap<Row, Counts>,
    changed: bool,
    /// The thread that writes.
    writing: Option<JoinHandle<()>>,
}

impl UsageBook {
    /// The book as it was left, and what was spent of the budgets of that day.
    pub fn open(options: UsageOptions) -> (Self, Vec<Spending>) {
        let Kept { rows, spent, .. } = options.file.as_deref().map(kept::read).unwrap_or_default();
        let rows = rows.into_iter().map(|line| (line.row, line.counts)).collect();
        let pages = Pages { options, rows, series: BTreeMap::new(), changed: false, writing: None };
        (Self(Arc::new(Mutex::new(pages))), spent)
    }

    /// Counts what a call used.
    pub fn count(&self, row: Row, counts: &Counts) {
        let mut pages = self.pages();
        let series = Row { key: row.key.clone(), model: row.model.clone(), ..Row::default() };
        add(&mut pages.series, SERIES, series, counts);
        let first = row.day.before(pages.options.days.saturating_sub(1));
        if pages.rows.first_key_value().is_some_and(|(oldest, _)| oldest.day < first) {
            pages.rows.retain(|row, _| row.day >= first);
        }
        let most = pages.options.rows;
        add(&mut pages.rows, most, row, counts);
        pages.changed = true;
    }

    /// Sums since a day, the greatest first.
    pub fn sums(&self, by: By, since: Day) -> Vec<Sum> {
        let mut sums: BTreeMap<String, Counts> = BTreeMap::new();
        let pages = self.pages();
        for (row, counts) in pages.rows.iter().filter(|(row, _)| row.day >= since) {
            sums.entry(row.name(by).to_owned()).or_default().add(counts);
        }
        let mut sums: Vec<Sum> = sums.into_iter().map(|(name, counts)| Sum { name, counts }).collect();
        sums.sort_by_key(|sum| std::cmp::Reverse((sum.counts.cost_micros, sum.counts.total, sum.counts.calls)));
        sums
    }

    /// What was used since the start, by key and model.
    pub fn series(&self) -> Vec<(Row, Counts)> {
        self.pages().series.iter().map(|(row, counts)| (row.clone(), *counts)).collect()
    }

    /// Has a thread write it down, with what is spent, if it has changed. One at a time: who comes while the disk is slow
    /// leaves it to the next.
    pub fn save(&self, spent: impl FnOnce() -> Vec<Spending>) {
        let mut pages = self.pages();
        if pages.writing.as_ref().is_some_and(|thread| !thread.is_finished()) {
            return;
        }
        let Some((file, kept)) = pages.unkept(spent) else { return };
        let book = self.clone();
        match scrub::thread(move || book.write(&file, &kept)) {
            Ok(thread) => pages.writing = Some(thread),
            Err(fault) => {
                warn!(%fault, "there is no thread to write down what was used; it is tried again");
                pages.changed = true;
            }
        }
    }

    /// Writes it down at the end, after what is being written.
    pub fn close(&self, spent: impl FnOnce() -> Vec<Spending>) {
        let before = self.pages().writing.take();
        before.map(JoinHandle::join);
        let last = self.pages().unkept(spent);
        if let Some((file, kept)) = last {
            self.write(&file, &kept);
        }
    }

    fn write(&self, file: &Path, kept: &Kept) {
        if let Err(fault) = kept::write(file, kept) {
            warn!(%fault, "what was used is not written down; it is tried again");
            self.pages().changed = true;
        }
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pages {
    /// What is to be written, and where; it counts as written from here on.
    fn unkept(&mut self, spent: impl FnOnce() -> Vec<Spending>) -> Option<(PathBuf, Kept)> {
        let file = self.options.file.clone().filter(|_| self.changed)?;
        self.changed = false;
        Some((file, Kept::new(self.rows.iter().map(|(row, counts)| (row.clone(), *counts)), spent())))
    }
}

fn add(rows: &mut BTreeMap<Row, Counts>, most: usize, row: Row, counts: &Counts) {
    let full = rows.len() >= most && !rows.contains_key(&row);
    rows.entry(if full { Row::other(row.day) } else { row }).or_default().add(counts);
}

impl Row {
    fn other(day: Day) -> Self {
        let [owner, workspace, key, peer, model] = [(); 5].map(|()| OTHER.to_owned());
        Self { day, owner, workspace, key, peer, model }
    }

    fn name(&self, by: By) -> &str {
        match by {
            By::Owner => &self.owner,
            By::Workspace => &self.workspace,
            By::Key => &self.key,
            By::Peer => &self.peer,
            By::Model => &self.model,
        }
    }
}

impl Counts {
    /// Adds others to these.
    pub fn add(&mut self, more: &Self) {
        let Self { calls, input, output, total, cost_micros, estimated } = more;
        let pairs = [
            (&mut self.calls, calls),
            (&mut self.input, input),
            (&mut self.output, output),
            (&mut self.total, total),
            (&mut self.cost_micros, cost_micros),
            (&mut self.estimated, estimated),
        ];
        pairs.into_iter().for_each(|(sum, more)| *sum = sum.saturating_add(*more));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Per, Purse};

    fn book(file: Option<&Path>, rows: usize, days: u32) -> UsageBook {
        UsageBook::open(UsageOptions { file: file.map(Path::to_owned), rows, days }).0
    }

    fn row(day: u32, owner: &str, model: &str) -> Row {
        let key = format!("dashscope/{owner}");
        Row { day: Day(day), owner: owner.into(), key, model: model.into(), ..Row::default() }
    }

    fn used(total: u64) -> Counts {
        Counts { calls: 1, input: total, total, ..Counts::default() }
    }

    fn told(book: &UsageBook, by: By, since: u32) -> Vec<(String, u64, u64)> {
        let told = |sum: Sum| (sum.name, sum.counts.calls, sum.counts.total);
        book.sums(by, Day(since)).into_iter().map(told).collect()
    }

    #[test]
    fn sums_are_by_what_is_asked_for_and_since_when() {
        let book = book(None, 9, 90);
        for (day, owner, model, total) in [(5, "a", "m", 10), (6, "a", "n", 20), (6, "b", "m", 40), (6, "b", "m", 2)] {
            book.count(row(day, owner, model), &used(total));
        }
        assert_eq!(told(&book, By::Owner, 0), [("b".into(), 2, 42), ("a".into(), 2, 30)]);
        assert_eq!(told(&book, By::Model, 6), [("m".into(), 2, 42), ("n".into(), 1, 20)]);
        assert_eq!(told(&book, By::Workspace, 6), [(String::new(), 3, 62)]);
    }

    #[test]
    fn what_finds_no_room_is_counted_under_other() {
        let book = book(None, 2, 90);
        for owner in ["a", "b", "c", "d", "a"] {
            book.count(row(5, owner, "m"), &used(1));
        }
        let told = told(&book, By::Owner, 0);
        assert_eq!(told, [("a".into(), 2, 2), ("other".into(), 2, 2), ("b".into(), 1, 1)]);
        assert_eq!(book.pages().rows.len(), 3, "one row more than may be, for all of the day");
    }

    #[test]
    fn days_that_are_over_are_dropped() {
        let book = book(None, 9, 2);
        (5..8).for_each(|day| book.count(row(day, "a", "m"), &used(1)));
        assert_eq!(told(&book, By::Owner, 0), [("a".into(), 2, 2)]);
        assert_eq!(book.series().iter().map(|(_, counts)| counts.calls).sum::<u64>(), 3, "a counter never falls");
    }

    #[test]
    fn what_was_counted_survives_a_restart_and_a_torn_file_is_put_aside() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("usage.json");
        let first = book(Some(&file), 9, 90);
        first.count(row(5, "a", "m"), &used(7));
        let window = (Purse::Owner, Per::Month, Day(5));
        let spent = Spending { tokens: 7, cost_micros: 1, ..Spending::new(window, "h") };
        first.save(Vec::new);
        first.count(row(5, "a", "m"), &Counts::default());
        first.close(|| vec![spent.clone()]);
        let (second, left) = UsageBook::open(UsageOptions { file: Some(file.clone()), rows: 9, days: 90 });
        assert_eq!((told(&second, By::Owner, 0), left), (vec![("a".into(), 1, 7)], vec![spent]));
        let whole = std::fs::read(&file).unwrap();
        for torn in [&whole[..whole.len() / 2], b"", b"{\"version\":2}", b"\xff"] {
            std::fs::write(&file, torn).unwrap();
            assert!(told(&book(Some(&file), 9, 90), By::Owner, 0).is_empty());
            assert_eq!(std::fs::read(folder.path().join("usage.json.faulty")).unwrap(), torn);
            assert!(!file.exists());
        }
    }
}
