//! The text of a config and the faults found in it. It never stops at the first, and never keeps more than 100.

use super::{
    fault::{Fault, Faults, Severity, Spot},
    mask::masked,
};
use std::{
    cell::{Cell, RefCell},
    collections::BTreeSet,
    ops::Range,
};

/// More than a person will read; the rest is counted.
const SHOWN: usize = 100;
/// The longest line of a config, in bytes; no fault keeps more.
pub(super) const LINE: usize = 4096;

/// One file's text with its faults so far.
pub(super) struct Source<'t> {
    file: &'t str,
    text: &'t str,
    starts: Vec<usize>,
    found: RefCell<Vec<Fault>>,
    left_out: Cell<usize>,
    refused: Cell<bool>,
    broken: RefCell<BTreeSet<usize>>,
}

impl<'t> Source<'t> {
    /// A text without faults yet; `file` is its name for people.
    pub(super) fn new(file: &'t str, text: &'t str) -> Self {
        let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self {
            file,
            text,
            starts,
            found: RefCell::default(),
            left_out: Cell::new(0),
            refused: Cell::new(false),
            broken: RefCell::default(),
        }
    }

    /// The whole text.
    pub(super) fn text(&self) -> &'t str {
        self.text
    }

    /// A fault of the text's grammar. What else is wrong with its line may only follow from it, and is not told.
    pub(super) fn syntax(&self, at: Range<usize>, message: impl Into<String>, advice: impl Into<String>) {
        self.broken.borrow_mut().insert(self.line(at.start));
        self.add(Severity::Error, Some(at), message.into(), advice.into());
    }

    /// A fault for which the config is refused.
    pub(super) fn fault(&self, at: Range<usize>, message: impl Into<String>, advice: impl Into<String>) {
        if !self.broken.borrow().contains(&self.line(at.start)) {
            self.add(Severity::Error, Some(at), message.into(), advice.into());
        }
    }

    /// A fault that a broken text may only seem to have: something missing, or in the wrong place.
    pub(super) fn absence(&self, at: Range<usize>, message: impl Into<String>, advice: impl Into<String>) {
        if self.broken.borrow().is_empty() {
            self.add(Severity::Error, Some(at), message.into(), advice.into());
        }
    }

    /// Something that does not do what it seems to.
    pub(super) fn warning(&self, at: Range<usize>, message: impl Into<String>, advice: impl Into<String>) {
        self.add(Severity::Warning, Some(at), message.into(), advice.into());
    }

    /// Something about the whole file that is not as it seems.
    pub(super) fn remark(&self, message: &str, advice: &str) {
        if self.broken.borrow().is_empty() {
            self.add(Severity::Warning, None, message.to_owned(), advice.to_owned());
        }
    }

    /// All faults in the order of the text: the errors with the warnings among them, or the warnings alone.
    pub(super) fn finish(self) -> Result<Faults, Faults> {
        let mut all = self.found.into_inner();
        all.sort_by_key(|fault| fault.place.as_ref().map(|spot| (spot.line, spot.column)));
        if self.left_out.get() > 0 {
            all.push(Fault {
                severity: Severity::Warning,
                file: self.file.to_owned(),
                place: None,
                message: format!("and {} more", self.left_out.get()),
                advice: "is it the right file?".to_owned(),
            });
        }
        if self.refused.get() { Err(Faults(all)) } else { Ok(Faults(all)) }
    }

    fn add(&self, severity: Severity, at: Option<Range<usize>>, message: String, advice: String) {
        if severity == Severity::Error {
            self.refused.set(true);
        }
        let mut found = self.found.borrow_mut();
        if found.len() == SHOWN {
            return self.left_out.set(self.left_out.get() + 1);
        }
        let place = at.map(|at| self.spot(at));
        found.push(Fault { severity, file: self.file.to_owned(), place, message: masked(&message), advice });
    }

    fn line(&self, at: usize) -> usize {
        self.starts.partition_point(|start| *start <= at)
    }

    fn spot(&self, at: Range<usize>) -> Spot {
        let line = self.line(at.start);
        let start = self.starts[line - 1];
        let line_text = self.text[start..].lines().next().unwrap_or_default();
        let excerpt = &line_text[..line_text.floor_char_boundary(LINE)];
        let from = excerpt.floor_char_boundary((at.start - start).min(excerpt.len()));
        // A span may reach over lines; a person needs its beginning. An empty one is shown as one letter.
        let to = excerpt.floor_char_boundary(at.end.saturating_sub(start).min(excerpt.len())).max(from);
        let column = excerpt[..from].chars().count() + 1;
        Spot { line, column, excerpt: masked(excerpt), mark: from..to }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_counted_in_letters_and_lines_end_where_they_end() {
        let source = Source::new("x", "ä = 1\r\nbcd");
        source.fault(3..4, "one", "");
        source.fault(4..11, "two", "");
        source.fault(11..11, "three", "");
        let Faults(all) = source.finish().unwrap_err();
        let places: Vec<_> = all.iter().map(|f| f.place.as_ref().unwrap()).map(|s| (s.line, s.column)).collect();
        assert_eq!(places, [(1, 3), (1, 4), (2, 4)]);
    }

    #[test]
    fn a_file_that_is_no_config_at_all_does_not_fill_the_screen() {
        let source = Source::new("x", "abc");
        (0..500).for_each(|_| source.fault(0..1, "wrong", "right"));
        let Faults(all) = source.finish().unwrap_err();
        assert_eq!((all.len(), all[SHOWN].message.as_str()), (SHOWN + 1, "and 400 more"));
    }
}
