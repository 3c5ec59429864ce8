//! A table of the config, from which readers take what they know. What nobody took when it is dropped is a fault.
//! It never stops: whatever cannot be read is told and replaced by the default, so that the rest is read too.

use super::{mask::names_a_secret, nearest::nearest, source::Source, value::Value};
use std::{
    collections::BTreeMap,
    ops::{Range, RangeInclusive},
    path::PathBuf,
    time::Duration,
};
use toml::de::{DeTable, DeValue};

type At = Range<usize>;

/// One table, its place, and the fields that are still to be taken.
pub(super) struct Table<'a> {
    source: &'a Source<'a>,
    name: String,
    at: At,
    left: BTreeMap<&'a str, (At, Value<'a>)>,
    known: Vec<&'static str>,
}

impl<'a> Table<'a> {
    /// All fields of a table; `name` is what people call it, `at` where it begins.
    pub(super) fn new(source: &'a Source<'a>, name: impl Into<String>, at: At, inner: &'a DeTable<'a>) -> Self {
        let left = inner.iter().map(|(key, value)| {
            let word: &str = key.get_ref();
            (word, (key.span(), Value::new(source, word, value)))
        });
        Self { source, name: name.into(), at, left: left.collect(), known: Vec::new() }
    }

    fn empty(source: &'a Source<'a>, name: &str) -> Self {
        Self { source, name: name.to_owned(), at: 0..0, left: BTreeMap::new(), known: Vec::new() }
    }

    /// Takes a field that may be left out.
    pub(super) fn take(&mut self, key: &'static str) -> Option<Value<'a>> {
        self.known.push(key);
        self.left.remove(key).map(|(_, value)| value)
    }

    /// Takes a field that must be there; `example` shows how it is written.
    pub(super) fn need(&mut self, key: &'static str, example: &str) -> Option<Value<'a>> {
        let found = self.take(key);
        if found.is_none() {
            let message = format!("{} has no `{key}`", self.name);
            self.source.absence(self.at.clone(), message, format!("add: {key} = {example}"));
        }
        found
    }

    /// Tells that a whole table lacks something.
    pub(super) fn lacks<T>(&self, message: &str, advice: &str) -> Option<T> {
        self.source.absence(self.at.clone(), message, advice);
        None
    }

    /// Takes a table within this one; an empty one when it is left out.
    pub(super) fn table(&mut self, key: &'static str) -> Table<'a> {
        let name = format!("[{key}]");
        let found = self.take(key).and_then(|value| value.table(&name, &format!("write {name} on a line of its own")));
        found.unwrap_or_else(|| Table::empty(self.source, &name))
    }

    /// Whether no field is left.
    pub(super) fn is_empty(&self) -> bool {
        self.left.is_empty()
    }

    /// Takes all fields that are left, with the places of their names: for tables whose fields the user names.
    pub(super) fn rest(&mut self) -> Vec<(&'a str, At, Value<'a>)> {
        std::mem::take(&mut self.left).into_iter().map(|(key, (at, value))| (key, at, value)).collect()
    }

    /// Takes a whole number within bounds.
    pub(super) fn count(&mut self, key: &'static str, usual: u32, bounds: RangeInclusive<u32>) -> u32 {
        self.take(key).and_then(|value| value.count(usual, bounds)).unwrap_or(usual)
    }

    /// Takes a length of time within bounds.
    pub(super) fn span(&mut self, key: &'static str, usual: Duration, bounds: RangeInclusive<Duration>) -> Duration {
        self.take(key).and_then(|value| value.span(usual, bounds)).unwrap_or(usual)
    }

    /// Takes a number of bytes within bounds.
    pub(super) fn size(&mut self, key: &'static str, usual: usize, bounds: RangeInclusive<usize>) -> usize {
        self.take(key).and_then(|value| value.size(usual, bounds)).unwrap_or(usual)
    }

    /// Takes an absolute path; left out or empty, none.
    pub(super) fn path(&mut self, key: &'static str) -> Option<PathBuf> {
        self.take(key).and_then(|value| value.path())
    }

    /// Takes one of a few words.
    pub(super) fn word<T: Copy + Default>(&mut self, key: &'static str, words: &[(&str, T)]) -> T {
        self.take(key).and_then(|value| value.word(words)).unwrap_or_default()
    }

    fn unknown(&self, key: &str) -> String {
        let word = key.replace('-', "_");
        if let Some(meant) = nearest(&word, self.known.iter().copied()) {
            format!("did you mean `{meant}`?")
        } else if names_a_secret(key) {
            "no secret stands in a config: `sixty key add` reads a key from stdin, `sixty unlock` a passphrase".into()
        } else {
            format!("it may have: {}", self.known.join(", "))
        }
    }
}

impl Drop for Table<'_> {
    fn drop(&mut self) {
        for (key, at, value) in self.rest() {
            let message = match (value.is_table(), self.at.is_empty()) {
                (true, true) => format!("there is no table [{key}]"),
                _ => format!("{} has no field `{key}`", self.name),
            };
            // A field of a table whose header is broken seems to be the file's own.
            match value.is_table() || self.at.is_empty() {
                true => self.source.absence(at, message, self.unknown(key)),
                false => self.source.fault(at, message, self.unknown(key)),
            }
        }
    }
}

/// Whether a value is a table or a list of tables.
pub(super) fn is_tabular(value: &DeValue<'_>) -> bool {
    value.is_table() || value.as_array().is_some_and(|list| list.first().is_some_and(|item| item.get_ref().is_table()))
}
