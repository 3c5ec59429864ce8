//! A look at a call's JSON body while it passes: which models, how much output, whether it streams. It keeps a few short
//! words, never the body, and takes no body that two readers could take for two.

use super::scan::{Broken, Item, Scanner, Sink};
use crate::model::{CallFields, Shape};
use std::ops::Range;

/// More models than one call needs; OpenRouter takes three.
const MODELS: usize = 16;

/// What a body says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// Every model that may serve the call.
    pub models: Vec<String>,
    /// Whether the answer shall be streamed. False where the shape says so elsewhere: in its path or a header.
    pub stream: bool,
    /// The greatest of the limits that stand there, in tokens; none when there is none.
    pub max_output: Option<u64>,
    /// How many answers are asked for; one when nothing is said.
    pub answers: u64,
    /// Whether the provider was asked to tell usage at the stream's end.
    pub wants_usage: bool,
    /// How the body is to be changed so that the provider tells it; none when it does, does not stream, or never can.
    pub edit: Option<Edit>,
}

/// A change of a body that leaves every other byte as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    /// The bytes that are replaced, by offset in the body; empty where something is put in before an offset.
    pub at: Range<usize>,
    /// What stands there instead.
    pub text: &'static str,
}

impl Edit {
    /// The length of a body of so many bytes afterwards.
    pub fn length(&self, body: usize) -> usize {
        body + self.text.len() - self.at.len()
    }

    /// The whole body with the change.
    pub fn apply(&self, body: &[u8]) -> Vec<u8> {
        [&body[..self.at.start], self.text.as_bytes(), &body[self.at.end..]].concat()
    }
}

/// Why a body is refused. Never quotes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LookFault {
    /// It is no JSON, or the JSON of no strict reader.
    #[error("the body is not JSON at byte {0}")]
    Syntax(usize),
    /// It ended too early.
    #[error("the body ends too early")]
    Short,
    /// Nobody nests so deeply.
    #[error("the body has more than 127 levels")]
    Deep,
    /// It is no object.
    #[error("the body is no object")]
    NoObject,
    /// A field that matters stands there twice, or in other capitals: readers differ in what they make of it.
    #[error("the body has `{0}` twice, or in another spelling")]
    Ambiguous(&'static str),
    /// A field that matters is of a kind that it can't be.
    #[error("`{0}` in the body is not what it should be")]
    Kind(&'static str),
    /// A name of a model that is too long to be one, or too many of them.
    #[error("the body names too many models, or one of more than 512 bytes")]
    TooLong,
}

/// A look at one body.
#[derive(Debug)]
pub struct Look {
    scanner: Scanner,
    notes: Notes,
}

impl Look {
    /// A look at a call of this shape.
    pub fn new(shape: Shape) -> Self {
        Self { scanner: Scanner::default(), notes: Notes::new(shape.call()) }
    }

    /// Reads on; pieces of any size.
    ///
    /// # Errors
    /// The caller's: the body must not go out.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(), LookFault> {
        self.scanner.feed(bytes, &mut self.notes)?;
        self.notes.fault.map_or(Ok(()), Err)
    }

    /// What the whole body says.
    ///
    /// # Errors
    /// The caller's: it is incomplete, or wrong.
    pub fn finish(mut self) -> Result<Seen, LookFault> {
        self.scanner.finish(&mut self.notes)?;
        self.notes.fault.map_or(Ok(()), Err)?;
        Ok(self.notes.seen())
    }
}

impl From<Broken> for LookFault {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::Syntax(at) => Self::Syntax(at),
            Broken::Deep => Self::Deep,
            Broken::Short => Self::Short,
        }
    }
}

/// What was noted so far.
#[derive(Debug)]
struct Notes {
    fields: &'static CallFields,
    /// Fields that matter and were there: none may come again.
    met: Vec<&'static str>,
    fault: Option<LookFault>,
    seen: Seen,
    options: Options,
    /// Where the body's own object ends.
    end: usize,
}

/// What there is of `stream_options`.
#[derive(Debug, Clone, Default)]
enum Options {
    #[default]
    Absent,
    Null(Range<usize>),
    /// Its end, and whether it is empty.
    Object(usize, bool),
    /// The place of `include_usage`'s value, when it is not true.
    No(Range<usize>),
    Yes,
}

impl Notes {
    fn new(fields: &'static CallFields) -> Self {
        let seen = Seen { answers: 1, ..Seen::default() };
        Self { fields, met: Vec::new(), fault: None, seen, options: Options::Absent, end: 0 }
    }

    fn seen(self) -> Seen {
        let wants_usage = matches!(self.options, Options::Yes);
        let edit = (self.seen.stream && self.fields.stream_options.is_some()).then(|| self.options.edit(self.end));
        Seen { wants_usage, edit: edit.flatten(), ..self.seen }
    }

    /// A member's name. Some readers take names in any capitals, and the last of two or the first.
    fn name(&mut self, place: &str) {
        let Some(known) = names(self.fields).find(|known| same_but_for_case(known, place)) else { return };
        if known != place || self.met.contains(&known) {
            return self.fail(LookFault::Ambiguous(known));
        }
        self.met.push(known);
    }

    fn value(&mut self, place: &str, item: Item<'_>, at: usize) {
        let fields = self.fields;
        let one_of = |list: &[&'static str]| list.iter().copied().find(|known| *known == place);
        if place.is_empty() {
            self.whole(item, at);
        } else if let Some(name) = one_of(fields.model) {
            self.model(name, item);
        } else if let Some(name) = fields.model.iter().find(|name| name.strip_suffix("/*") == Some(place)) {
            if !matches!(item, Item::Open | Item::Close { object: false, .. } | Item::Null) {
                self.fail(LookFault::Kind(name));
            }
        } else if fields.stream == Some(place) {
            match item {
                Item::Flag(stream) => self.seen.stream = stream,
                Item::Null => {}
                _ => self.fail(LookFault::Kind("/stream")),
            }
        } else if let Some(name) = one_of(fields.max_output) {
            let limit = self.number(name, item);
            self.seen.max_output = self.seen.max_output.max(limit);
        } else if let Some(name) = one_of(fields.answers) {
            let answers = self.number(name, item).unwrap_or(1);
            self.seen.answers = self.seen.answers.max(answers);
        } else if let Some(name) = fields.stream_options {
            self.stream_options(name, place, item, at);
        }
    }

    /// The body itself.
    fn whole(&mut self, item: Item<'_>, at: usize) {
        match item {
            Item::Open => {}
            Item::Close { object: true, .. } => self.end = at,
            _ => self.fail(LookFault::NoObject),
        }
    }

    fn model(&mut self, name: &'static str, item: Item<'_>) {
        match item {
            Item::Text(Some(model), _) if self.seen.models.len() < MODELS => self.seen.models.push(model.to_owned()),
            Item::Text(..) => self.fail(LookFault::TooLong),
            Item::Null => {}
            _ => self.fail(LookFault::Kind(name)),
        }
    }

    /// A number of tokens or answers. A fraction, as far as some reader could round it.
    fn number(&mut self, name: &'static str, item: Item<'_>) -> Option<u64> {
        match item {
            Item::Null => return None,
            Item::Number(Some(number)) => {
                if let Ok(number) = number.parse() {
                    return Some(number);
                }
                if let Some(number) = number.parse().ok().filter(|number: &f64| *number >= 0.0) {
                    return Some(number.ceil() as u64);
                }
            }
            _ => {}
        }
        self.fail(LookFault::Kind(name));
        None
    }

    fn stream_options(&mut self, name: &'static str, place: &str, item: Item<'_>, at: usize) {
        let Some(member) = place.strip_prefix(name) else { return };
        match (member, item, &self.options) {
            ("", Item::Null, _) => self.options = Options::Null(at - 4..at),
            ("", Item::Open, _) => {}
            ("", Item::Close { object: true, empty }, Options::Absent) => self.options = Options::Object(at, empty),
            ("", Item::Close { object: true, .. }, _) => {}
            ("", ..) => self.fail(LookFault::Kind(name)),
            ("/include_usage", Item::Flag(true), _) => self.options = Options::Yes,
            ("/include_usage", Item::Flag(false), _) => self.options = Options::No(at - 5..at),
            ("/include_usage", Item::Null, _) => self.options = Options::No(at - 4..at),
            ("/include_usage", ..) => self.fail(LookFault::Kind(name)),
            _ => {}
        }
    }

    fn fail(&mut self, fault: LookFault) {
        self.fault.get_or_insert(fault);
    }
}

impl Options {
    /// What makes a provider tell usage; `end` is the end of the body's object, which has other members.
    fn edit(self, end: usize) -> Option<Edit> {
        let (at, text) = match self {
            Self::Yes => return None,
            Self::Absent => (end..end, r#","stream_options":{"include_usage":true}"#),
            Self::Null(at) => (at, r#"{"include_usage":true}"#),
            Self::Object(end, true) => (end..end, r#""include_usage":true"#),
            Self::Object(end, false) => (end..end, r#","include_usage":true"#),
            Self::No(at) => (at, "true"),
        };
        Some(Edit { at, text })
    }
}

impl Sink for Notes {
    fn see(&mut self, place: &str, item: Item<'_>, at: usize) {
        match item {
            Item::Key => self.name(place),
            item => self.value(place, item, at),
        }
    }
}

/// Every member's name that matters, and those of the objects around them.
fn names(fields: &CallFields) -> impl Iterator<Item = &'static str> {
    let single = fields.stream.into_iter().chain(fields.stream_options);
    let all = [fields.model, fields.max_output, fields.answers].into_iter().flatten().copied().chain(single);
    let options = fields.stream_options.map(|_| "/stream_options/include_usage");
    all.flat_map(|name| [name, around(name)]).chain(options).filter(|name| !name.is_empty())
}

/// The place of what a value stands in.
fn around(name: &'static str) -> &'static str {
    name.rfind('/').map_or("", |at| &name[..at])
}

/// As a careless reader compares (Go's, for one): `ſ` is an s and the Kelvin sign a k.
fn same_but_for_case(known: &str, place: &str) -> bool {
    let folded = |letter: char| match letter {
        'ſ' => 's',
        letter => letter.to_lowercase().next().unwrap_or(letter),
    };
    known.chars().map(folded).eq(place.chars().map(folded))
}

#[cfg(test)]
mod tests;
