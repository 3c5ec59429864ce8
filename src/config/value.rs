//! One value of the config and the ways to read it. Each tells what is wrong with the value and how to write it.

use super::{
    nearest::nearest,
    source::Source,
    table::{Table, is_tabular},
};
use crate::model::{self, Malformed};
use std::{
    ops::{Range, RangeInclusive},
    path::PathBuf,
    time::Duration,
};
use toml::{Spanned, de::DeValue};

/// A value, the field it is of, and where it stands.
#[derive(Clone, Copy)]
pub(super) struct Value<'a> {
    source: &'a Source<'a>,
    key: &'a str,
    inner: &'a Spanned<DeValue<'a>>,
}

impl<'a> Value<'a> {
    pub(super) fn new(source: &'a Source<'a>, key: &'a str, inner: &'a Spanned<DeValue<'a>>) -> Self {
        Self { source, key, inner }
    }

    /// Tells a fault of this value; returns none, so that a reader can end with it.
    pub(super) fn fault<T>(&self, message: impl Into<String>, advice: impl Into<String>) -> Option<T> {
        self.source.fault(self.inner.span(), message, advice);
        None
    }

    /// Tells that something here does not do what it seems to.
    pub(super) fn warning(&self, message: impl Into<String>, advice: impl Into<String>) {
        self.source.warning(self.inner.span(), message, advice);
    }

    /// Tells a fault of the field's name.
    pub(super) fn fault_at<T>(
        &self,
        at: Range<usize>,
        message: impl Into<String>,
        advice: impl Into<String>,
    ) -> Option<T> {
        self.source.fault(at, message, advice);
        None
    }

    /// The field it is of.
    pub(super) fn key(&self) -> &'a str {
        self.key
    }

    pub(super) fn is_table(&self) -> bool {
        is_tabular(self.inner.get_ref())
    }

    /// Whether it is `""`, which for some fields says "none".
    pub(super) fn is_empty_text(&self) -> bool {
        self.inner.get_ref().as_str() == Some("")
    }

    /// Whether it is `[]`, which for some fields says "none".
    pub(super) fn is_empty_list(&self) -> bool {
        self.inner.get_ref().as_array().is_some_and(|list| list.is_empty())
    }

    pub(super) fn is_text(&self) -> bool {
        self.inner.get_ref().is_str()
    }

    /// Text; `example` is how the value is written, quotes and all.
    pub(super) fn text(&self, example: &str) -> Option<&'a str> {
        self.inner.get_ref().as_str().or_else(|| self.wrong("text", &self.written(example)))
    }

    /// Text that means something, in the words of its own reader.
    pub(super) fn parse<T>(&self, example: &str, read: impl Fn(&str) -> Result<T, Malformed>) -> Option<T> {
        let text = self.text(example)?;
        read(text).map_or_else(|fault| self.cannot_be(text, &fault.0), Some)
    }

    pub(super) fn flag(&self) -> Option<bool> {
        let advice = format!("{} (or false), without quotes", self.written("true"));
        self.inner.get_ref().as_bool().or_else(|| self.wrong("true or false", &advice))
    }

    /// A whole number of any size that fits, in decimal, hexadecimal, octal or binary.
    pub(super) fn number(&self, example: &str) -> Option<u64> {
        let Some(number) = self.inner.get_ref().as_integer() else {
            return self.wrong("a whole number", &format!("{}, without quotes", self.written(example)));
        };
        let read = u64::from_str_radix(number.as_str(), number.radix()).ok();
        read.or_else(|| self.fault(format!("`{}` is out of range", self.key), self.written(example)))
    }

    /// A decimal number as it is written; its reader takes no exponents and no rounding.
    pub(super) fn decimal(&self, example: &str) -> Option<&'a str> {
        match self.inner.get_ref() {
            DeValue::Integer(number) if number.radix() == 10 => Some(number.as_str()),
            DeValue::Float(number) => Some(number.as_str()),
            _ => self.wrong("a number", &format!("{}, without quotes", self.written(example))),
        }
    }

    pub(super) fn count(&self, usual: u32, bounds: RangeInclusive<u32>) -> Option<u32> {
        let Some(number) = self.inner.get_ref().as_integer() else {
            return self.wrong("a whole number", &format!("{}, without quotes", self.written(&usual.to_string())));
        };
        let fits = u32::from_str_radix(number.as_str(), number.radix()).ok().filter(|number| bounds.contains(number));
        fits.or_else(|| self.out_of(bounds.start(), bounds.end(), &usual.to_string()))
    }

    pub(super) fn span(&self, usual: Duration, bounds: RangeInclusive<Duration>) -> Option<Duration> {
        let example = shown_span(usual);
        self.has_unit("s")?;
        let read = self.parse(&format!("\"{example}\""), model::span::span)?;
        match bounds.contains(&read) {
            true => Some(read),
            false => self.out_of(shown_span(*bounds.start()), shown_span(*bounds.end()), &example),
        }
    }

    pub(super) fn size(&self, usual: usize, bounds: RangeInclusive<usize>) -> Option<usize> {
        let example = shown_size(usual);
        self.has_unit("B")?;
        let read = self.parse(&format!("\"{example}\""), size)?;
        match bounds.contains(&read) {
            true => Some(read),
            false => self.out_of(shown_size(*bounds.start()), shown_size(*bounds.end()), &example),
        }
    }

    /// An absolute path; empty text is none.
    pub(super) fn path(&self) -> Option<PathBuf> {
        let text = self.text("\"/absolute/path\"")?;
        match text {
            "" => None,
            _ if text.contains('\0') => self.fault(format!("`{}` has a zero byte", self.key), "name a path"),
            _ if text.starts_with('/') => Some(text.into()),
            _ if text.starts_with('~') => self.cannot_be(text, "`~` is the shell's: write the path from / on"),
            _ => self.cannot_be(text, "write the path from / on: the daemon has no folder of its own"),
        }
    }

    /// One of a few words.
    pub(super) fn word<T: Copy>(&self, words: &[(&str, T)]) -> Option<T> {
        let names: Vec<_> = words.iter().map(|(name, _)| *name).collect();
        let text = self.text(&format!("\"{}\"", names[0]))?;
        if let Some((_, meaning)) = words.iter().find(|(name, _)| *name == text) {
            return Some(*meaning);
        }
        let list = format!("it is one of: {}", names.join(", "));
        match nearest(text, names) {
            Some(meant) => self.cannot_be(text, &format!("did you mean `{meant}`? {list}")),
            None => self.cannot_be(text, &list),
        }
    }

    /// A list that is not empty; `example` is one item of it as it is written, `none` what to do instead of `[]`.
    pub(super) fn list(&self, example: &str, none: &str) -> Option<Vec<Value<'a>>> {
        let Some(list) = self.inner.get_ref().as_array() else {
            let one = self.inner.get_ref().as_str().map_or(example.to_owned(), |text| format!("\"{text}\""));
            return self.wrong("a list", &self.written(&format!("[{one}]")));
        };
        match list.is_empty() {
            true => self.fault(format!("`{}` is empty", self.key), none),
            false => Some(list.iter().map(|item| Value { inner: item, ..*self }).collect()),
        }
    }

    /// A table; `advice` is how it is written.
    pub(super) fn table(&self, name: &str, advice: &str) -> Option<Table<'a>> {
        match self.inner.get_ref().as_table() {
            Some(table) => Some(Table::new(self.source, name, self.inner.span(), table)),
            None => self.wrong("a table", advice),
        }
    }

    /// A list of tables, each under a header like `name`.
    pub(super) fn tables(&self, name: &str) -> Option<Vec<Table<'a>>> {
        let advice = format!("each is written under a line of its own: {name}");
        match self.inner.get_ref().as_array() {
            None => self.wrong("a list of tables", &advice),
            Some(list) => {
                let items = list.iter().map(|item| Value { inner: item, ..*self });
                Some(items.filter_map(|item| item.table(name, &advice)).collect())
            }
        }
    }

    /// Tells that a text is none of those that may stand here.
    pub(super) fn cannot_be<T>(&self, text: &str, advice: &str) -> Option<T> {
        let short: String = text.chars().take(60).collect();
        self.fault(format!("`{}` cannot be \"{}\"", self.key, short.escape_debug()), advice)
    }

    /// Tells that a value is of the wrong type.
    pub(super) fn wrong<T>(&self, wanted: &str, advice: &str) -> Option<T> {
        let found = match self.inner.get_ref() {
            DeValue::String(_) => "text",
            DeValue::Integer(_) => "a number",
            DeValue::Float(_) => "a fraction",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        self.fault(format!("`{}` is {found} where {wanted} is wanted", self.key), advice)
    }

    /// A bare number is refused, since its unit would be a guess.
    pub(super) fn has_unit(&self, unit: &str) -> Option<()> {
        match self.inner.get_ref().as_integer() {
            Some(n) => self.fault(format!("`{}` has no unit", self.key), self.written(&format!("\"{n}{unit}\""))),
            None => Some(()),
        }
    }

    fn written(&self, example: &str) -> String {
        format!("write {} = {example}", self.key)
    }

    fn out_of<T>(&self, least: impl std::fmt::Display, most: impl std::fmt::Display, usual: &str) -> Option<T> {
        self.fault(format!("`{}` is out of range", self.key), format!("from {least} to {most}, for instance {usual}"))
    }
}

/// As `model::span` reads it, in the largest unit that leaves nothing over; a minute is 60 seconds.
pub(super) fn shown_span(span: Duration) -> String {
    let millis = span.as_millis();
    let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")];
    let fits = |unit: u128| millis >= unit && millis.is_multiple_of(unit) && (millis, unit) != (60_000, 60_000);
    match units.iter().find(|(unit, _)| fits(*unit)) {
        Some((unit, name)) => format!("{}{name}", millis / unit),
        None if millis == 0 => "0s".to_owned(),
        None => format!("{millis}ms"),
    }
}

fn shown_size(bytes: usize) -> String {
    let units = [(1 << 20, "MiB"), (1 << 10, "KiB")];
    match units.iter().find(|(unit, _)| bytes >= *unit && bytes.is_multiple_of(*unit)) {
        Some((unit, name)) => format!("{}{name}", bytes / unit),
        None => format!("{bytes}B"),
    }
}

/// Reads `512B`, `64KiB`, `1MiB`.
fn size(text: &str) -> Result<usize, Malformed> {
    let fault = || Malformed("a size is a whole number and a unit: 512B, 64KiB, 1MiB".to_owned());
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let number: usize = text[..digits].parse().map_err(|_| fault())?;
    let unit = match &text[digits..] {
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        _ => return Err(fault()),
    };
    number.checked_mul(unit).ok_or_else(fault)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_needs_its_unit() {
        assert_eq!((size("64KiB"), size("1MiB"), size("7B")), (Ok(65_536), Ok(1 << 20), Ok(7)));
        for bad in ["", "64", "64KB", "KiB", "-1B", "99999999999999999999B", "18446744073709551615MiB"] {
            assert!(size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_shown_reads_back() {
        for text in ["250ms", "1s", "60s", "90s", "10m", "1h", "7d", "0s"] {
            assert_eq!(shown_span(model::span::span(text).unwrap()), text);
        }
        for text in ["512B", "64KiB", "1MiB"] {
            assert_eq!(shown_size(size(text).unwrap()), text);
        }
    }
}
