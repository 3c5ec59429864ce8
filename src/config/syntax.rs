//! Faults of TOML itself, in words for people. It never reads meaning into a text that is broken.

use super::source::{LINE, Source};
use toml::de::Error;

/// Parser's words → what to do.
const ADVICE: [(&str, &str); 14] = [
    ("duplicate key", "it is written twice: keep one of them"),
    ("string values must be quoted", "put text into quotes: \"…\""),
    ("invalid boolean", "write true or false, in small letters"),
    ("invalid basic string", "the text is not closed: end it with \" on the same line"),
    ("invalid literal string", "the text is not closed: end it with ' on the same line"),
    ("missing escaped value", "in \"…\" a backslash is written \\\\; in '…' it is an ordinary letter"),
    ("unclosed table", "a table's name stands in brackets on a line of its own: [daemon]"),
    ("unclosed array of tables", "a rule begins with [[rule]] on a line of its own"),
    ("unclosed array", "close the list with ]"),
    ("missing comma", "put a comma between the items, and ] after the last"),
    ("unclosed inline table", "close the table with }"),
    ("key with no value", "write it as NAME = VALUE"),
    ("unexpected key or value", "one field a line: begin a new line here"),
    ("unexpected leading zero", "numbers have no zero in front; an octal one begins 0o"),
];

/// Tells every fault that the parser found.
pub(super) fn check(source: &Source<'_>, faults: &[Error]) {
    for fault in faults {
        let advice = ADVICE.iter().find(|(words, _)| fault.message().starts_with(words));
        let advice = advice.map_or("see config/sixty.toml for how each field is written", |(_, advice)| advice);
        source.syntax(fault.span().unwrap_or_default(), fault.message(), advice);
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
