//! Text from outside made fit for a line: bounded, and without letters that some reader takes for a line's end.
//! It must never let one value grow a line beyond its bound, however the value was chosen.

use std::path::Path;

/// The most bytes that one value takes in a line, after JSON's escapes.
pub const VALUE_MAX: usize = 256;
/// What stands at the end of a value that was cut.
const CUT: char = '…';

/// A value that is cut at [`VALUE_MAX`], where `…` marks the cut. Bytes that are no UTF-8, and letters that move a
/// terminal's cursor or break a line in some language's eyes, stand as U+FFFD; JSON escapes the rest.
#[derive(Clone, Copy)]
pub(super) struct Text<'a>(pub &'a [u8]);

impl<'a> From<&'a str> for Text<'a> {
    fn from(text: &'a str) -> Self {
        Self(text.as_bytes())
    }
}

impl<'a> From<&'a Path> for Text<'a> {
    fn from(path: &'a Path) -> Self {
        use std::os::unix::ffi::OsStrExt;
        Self(path.as_os_str().as_bytes())
    }
}

impl<'a> Text<'a> {
    /// The text itself when nothing need be done to it, which is nearly always.
    pub(super) fn plain(self) -> Option<&'a str> {
        let fit = |b: &u8| matches!(b, b' '..=b'~') && !matches!(b, b'"' | b'\\');
        (self.0.len() <= VALUE_MAX && self.0.iter().all(fit)).then(|| str::from_utf8(self.0).ok())?
    }

    /// The text cut and tamed; JSON's own escapes are still to come.
    pub(super) fn made_fit(self) -> String {
        let mut out = String::with_capacity(VALUE_MAX);
        let mut room = VALUE_MAX - CUT.len_utf8();
        for letter in letters(self.0) {
            match room.checked_sub(escaped_len(letter)) {
                Some(left) => room = left,
                None => {
                    out.push(CUT);
                    break;
                }
            }
            out.push(letter);
        }
        out
    }
}

fn letters(bytes: &[u8]) -> impl Iterator<Item = char> {
    bytes.utf8_chunks().flat_map(|chunk| {
        let broken = (!chunk.invalid().is_empty()).then_some(char::REPLACEMENT_CHARACTER);
        chunk.valid().chars().map(tamed).chain(broken)
    })
}

/// C1 controls, the line and paragraph separators and the marks that turn text around are replaced: JSON allows them
/// bare, and Python's `splitlines`, JavaScript and terminals act on them.
fn tamed(letter: char) -> char {
    match letter {
        '\u{7f}'..='\u{9f}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
            char::REPLACEMENT_CHARACTER
        }
        letter => letter,
    }
}

/// What serde_json makes of a letter, in bytes.
fn escaped_len(letter: char) -> usize {
    match letter {
        '"' | '\\' | '\n' | '\r' | '\t' | '\u{8}' | '\u{c}' => 2,
        '\0'..='\u{1f}' => 6,
        letter => letter.len_utf8(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(bytes: &[u8]) -> String {
        let text = Text(bytes);
        serde_json::to_string(&text.plain().map_or_else(|| text.made_fit(), str::to_owned)).unwrap()
    }

    #[test]
    fn no_value_outgrows_its_bound_however_it_is_chosen() {
        let hostile: [&[u8]; 6] = [b"\x01", b"\"", b"a", "…".as_bytes(), b"\xff", "𝄞".as_bytes()];
        for unit in hostile {
            for times in 1..600 {
                let line = json(&unit.repeat(times));
                assert!(line.len() <= VALUE_MAX + 2, "{line}");
            }
        }
        assert!(json(&b"a".repeat(257)).ends_with("a…\""));
        assert!(json(&b"a".repeat(256)).ends_with("a\""));
    }

    #[test]
    fn a_value_cannot_end_its_line_in_any_readers_eyes() {
        let line = json("a\nb\r\u{85}\u{2028}\u{2029}\u{1b}[2J\u{9b}2J\u{202e}\"}".as_bytes());
        assert!(!line.chars().any(|c| c.is_control() || ('\u{2028}'..='\u{202e}').contains(&c)), "{line:?}");
        assert_eq!(serde_json::from_str::<String>(&line).unwrap().chars().filter(|c| *c == '\u{fffd}').count(), 5);
    }

    #[test]
    fn bytes_that_are_no_text_show_as_such() {
        assert_eq!(json(b"/bin/\xff\xfesh"), "\"/bin/\u{fffd}\u{fffd}sh\"");
        assert_eq!(json(b"/bin/sh"), "\"/bin/sh\"");
    }
}
