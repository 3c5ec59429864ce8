//! Faults of TOML itself, in words for people. It never reads meaning into a text that is broken.

use super::source::{LINE, Source};
use toml::de::Error;

/// The parser's words (their beginning), ours, and what to do.
const WORDS: [(&str, &str, &str); 14] = [
    ("duplicate key", "this name stands here twice", "keep one of them; only [[rule]] and [[price]] may be repeated"),
    ("string values must be quoted", "this is text without quotes", "put it into quotes: \"…\""),
    ("invalid boolean", "this is neither true nor false", "write true or false, in small letters"),
    ("invalid basic string", "this text is not closed", "end it with \" on the same line"),
    ("invalid literal string", "this text is not closed", "end it with ' on the same line"),
    ("missing escaped value", "this backslash means nothing", "write \\\\ for one, or put the text into '…'"),
    ("unclosed table", "this table's name is not closed", "close it with ]: [daemon]"),
    ("unclosed array of tables", "this name is not closed", "close it with ]]: [[rule]]"),
    ("unclosed array", "this list is not closed", "close it with ]"),
    ("missing comma", "a comma is missing", "put one between two items, and ] or } after the last"),
    ("unclosed inline table", "this table is not closed", "close it with }"),
    ("key with no value", "this name has no value", "write it as NAME = VALUE"),
    ("unexpected key or value", "the line should end here", "one field a line: begin a new one"),
    ("unexpected leading zero", "this number begins with a zero", "leave the zero out; an octal number begins with 0o"),
];

/// Tells every fault that the parser found.
pub(super) fn check(source: &Source<'_>, faults: &[Error]) {
    for fault in faults {
        let at = fault.span().unwrap_or_default();
        match WORDS.iter().find(|(words, ..)| fault.message().starts_with(words)) {
            Some((_, message, advice)) => source.syntax(at, *message, *advice),
            None => source.syntax(at, fault.message(), "`sixty manual` shows how each field is written"),
        }
    }
}

/// Tells each line that is too long to be one of a config; such a text is not read further.
pub(super) fn lines_are_short(source: &Source<'_>) -> bool {
    let mut at = 0;
    let mut short = true;
    for line in source.text().split_inclusive('\n') {
        if line.len() > LINE {
            let message = format!("this line has {} bytes", line.len());
            source.fault(at..at + 1, message, format!("a line has at most {LINE}: break it, or is it the right file?"));
            short = false;
        }
        at += line.len();
    }
    short
}
