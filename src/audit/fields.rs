//! JSON fields written straight into a buffer: what a line needs, in a third of a general serializer's time.
//! It must never write a text from outside but through [`Text`]: only that knows how to escape.

use super::text::Text;
use std::fmt::Display;
use std::io::Write;

/// An object whose fields are written one after the other.
pub(super) struct Fields<'b> {
    buffer: &'b mut Vec<u8>,
    between: &'static [u8],
}

impl<'b> Fields<'b> {
    /// Appends one object.
    pub(super) fn object(buffer: &'b mut Vec<u8>, write: impl FnOnce(&mut Fields<'_>)) {
        let mut fields = Fields { buffer, between: b"{\"" };
        write(&mut fields);
        let end: &[u8] = if fields.between == b"{\"" { b"{}" } else { b"}" };
        fields.buffer.extend_from_slice(end);
    }

    /// An object in this one.
    pub(super) fn nested(&mut self, name: &str, write: impl FnOnce(&mut Fields<'_>)) {
        self.name(name);
        Fields::object(self.buffer, write);
    }

    /// A number.
    pub(super) fn number(&mut self, name: &str, value: impl Into<u64>) {
        self.name(name);
        // By hand: a line has ten of them, and the formatter takes longer than the digits.
        let (mut digits, mut rest, mut start) = ([0; 20], value.into(), 20);
        loop {
            start -= 1;
            digits[start] = b'0' + u8::try_from(rest % 10).unwrap_or(0);
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        self.buffer.extend_from_slice(&digits[start..]);
    }

    /// A word of the program's own, or one that cannot hold a letter to escape: a key's name, a hash.
    pub(super) fn word(&mut self, name: &str, value: &str) {
        debug_assert!(Text::from(value).plain().is_some(), "a word needs no escape");
        self.name(name);
        self.quoted(value.as_bytes());
    }

    /// What prints as such a word: an id, a time.
    pub(super) fn shown(&mut self, name: &str, value: &dyn Display) {
        self.name(name);
        write!(self.buffer, "\"{value}\"").expect("invariant: memory takes every byte");
    }

    /// A text from outside.
    pub(super) fn text(&mut self, name: &str, value: Text<'_>) {
        self.name(name);
        match value.plain() {
            Some(plain) => self.quoted(plain.as_bytes()),
            None => serde_json::to_writer(&mut *self.buffer, &value.made_fit()).expect("invariant: a text, to memory"),
        }
    }

    /// Texts from outside.
    pub(super) fn texts<'t>(&mut self, name: &str, values: impl Iterator<Item = Text<'t>>) {
        self.name(name);
        let all: Vec<_> = values.map(Text::made_fit).collect();
        serde_json::to_writer(&mut *self.buffer, &all).expect("invariant: texts, to memory");
    }

    /// A field that may be left out.
    pub(super) fn some<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        if let Some(value) = value {
            write(self, value);
        }
    }

    fn name(&mut self, name: &str) {
        self.buffer.extend_from_slice(self.between);
        self.buffer.extend_from_slice(name.as_bytes());
        self.buffer.extend_from_slice(b"\":");
        self.between = b",\"";
    }

    fn quoted(&mut self, value: &[u8]) {
        self.buffer.push(b'"');
        self.buffer.extend_from_slice(value);
        self.buffer.push(b'"');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        let mut buffer = Vec::new();
        Fields::object(&mut buffer, |line| {
            line.number("number", 7_u32);
            line.word("word", "a/b");
            line.shown("shown", &format_args!("{:04x}", 255));
            line.text("text", "a\"b\n".into());
            line.texts("texts", ["a\"".into(), "b".into()].into_iter());
            line.nested("none", |_| ());
            line.some(None::<u64>, |line, value| line.number("absent", value));
            line.nested("some", |line| line.number("least", 0_u64));
            line.number("most", u64::MAX);
        });
        let text = concat!(
            r#"{"number":7,"word":"a/b","shown":"00ff","text":"a\"b\n","texts":["a\"","b"],"none":{},"some":{"least":0},"#,
            r#""most":18446744073709551615}"#
        );
        assert_eq!(str::from_utf8(&buffer).unwrap(), text);
        assert!(serde_json::from_slice::<serde_json::Value>(&buffer).is_ok());
    }
}
