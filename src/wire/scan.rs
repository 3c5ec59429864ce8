//! A JSON reader that is fed in pieces of any size and tells what it passes, with its place. It keeps one short text at
//! most, whatever comes, and takes nothing that a strict reader would not.

mod number;
mod text;

use number::Part;
use text::Text;

/// Levels of arrays and objects; as many as serde_json takes.
const DEEPEST: usize = 127;
/// Levels whose places are told; what lies deeper is passed over.
const TOLD: usize = 8;
/// The longest key that is a part of a place, in bytes.
const KEY: usize = 64;

/// Something that was passed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Item<'t> {
    /// A member's name, before its value.
    Key,
    /// An object or an array begins.
    Open,
    /// It ends: whether it was empty, and whether it was an object.
    Close { empty: bool, object: bool },
    /// A text; its bytes when it is short enough to be kept, and how many it has.
    Text(Option<&'t str>, usize),
    /// A number as written; none when it is absurdly long.
    Number(Option<&'t str>),
    /// A truth value.
    Flag(bool),
    /// Nothing.
    Null,
}

/// Who is told.
pub(super) trait Sink {
    /// `place` is a JSON pointer with `*` for every item of an array. `at` is the offset just past the item, or that of
    /// the bracket that opens or closes.
    fn see(&mut self, place: &str, item: Item<'_>, at: usize);
}

/// Why a text is not JSON that we take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Broken {
    /// At this offset.
    #[error("not JSON at byte {0}")]
    Syntax(usize),
    /// Too many levels.
    #[error("JSON of more than 127 levels")]
    Deep,
    /// It ended too early.
    #[error("JSON that ends too early")]
    Short,
}

/// The reader.
#[derive(Debug, Default)]
pub(super) struct Scanner {
    state: State,
    stack: Vec<Level>,
    place: String,
    hidden: bool,
    text: Text,
    /// Whether the text is a member's name.
    key: bool,
    at: usize,
}

#[derive(Debug, Clone, Copy, Default, PartialEq)]
enum State {
    #[default]
    Value,
    ItemOrEnd,
    KeyOrEnd,
    Key,
    Colon,
    CommaOrEnd,
    Text,
    Word(&'static [u8], usize),
    Number(Part),
    End,
}

/// An array or object that is open.
#[derive(Debug)]
struct Level {
    object: bool,
    empty: bool,
    /// Bytes of its own place.
    place: usize,
    hidden: bool,
}

impl Scanner {
    /// Reads on.
    ///
    /// # Errors
    /// This is not JSON; nothing more should be fed.
    pub(super) fn feed(&mut self, bytes: &[u8], sink: &mut impl Sink) -> Result<(), Broken> {
        let mut rest = bytes;
        while let Some((&byte, tail)) = rest.split_first() {
            if self.state == State::Text {
                let run = self.text.run(rest);
                self.at += run;
                rest = &rest[run..];
                if run > 0 {
                    continue;
                }
            }
            if let State::Number(part) = self.state {
                match part.next(byte) {
                    Some(next) => {
                        self.state = State::Number(next);
                        self.text.keep(&[byte]);
                    }
                    // The byte after a number belongs to what follows.
                    None => {
                        self.number(part, sink)?;
                        continue;
                    }
                }
            } else {
                self.byte(byte, sink)?;
            }
            self.at += 1;
            rest = tail;
        }
        Ok(())
    }

    /// Says that nothing follows.
    ///
    /// # Errors
    /// Something is missing.
    pub(super) fn finish(&mut self, sink: &mut impl Sink) -> Result<(), Broken> {
        if let State::Number(part) = self.state {
            self.number(part, sink)?;
        }
        if self.state == State::End { Ok(()) } else { Err(Broken::Short) }
    }

    fn byte(&mut self, byte: u8, sink: &mut impl Sink) -> Result<(), Broken> {
        let broken = Broken::Syntax(self.at);
        match (self.state, byte) {
            (State::Text, _) => return self.in_text(byte, sink),
            (State::Word(word, done), _) => return self.in_word(word, done, byte, sink),
            (_, b' ' | b'\t' | b'\n' | b'\r') => {}
            (State::ItemOrEnd, b']') | (State::KeyOrEnd, b'}') => self.close(sink),
            (State::CommaOrEnd, b']') if self.in_array() => self.close(sink),
            (State::CommaOrEnd, b'}') if !self.in_array() => self.close(sink),
            (State::CommaOrEnd, b',') => self.state = if self.in_array() { State::Value } else { State::Key },
            (State::KeyOrEnd | State::Key, b'"') => self.open_text(true),
            (State::Colon, b':') => self.state = State::Value,
            (State::Value | State::ItemOrEnd, _) => return self.begin(byte, sink),
            _ => return Err(broken),
        }
        Ok(())
    }

    /// The first byte of a value.
    fn begin(&mut self, byte: u8, sink: &mut impl Sink) -> Result<(), Broken> {
        self.enter_item();
        match byte {
            b'"' => self.open_text(false),
            b'{' | b'[' => return self.open(byte == b'{', sink),
            b't' => self.state = State::Word(b"true", 1),
            b'f' => self.state = State::Word(b"false", 1),
            b'n' => self.state = State::Word(b"null", 1),
            _ => {
                let part = Part::first(byte).ok_or(Broken::Syntax(self.at))?;
                self.text.clear(self.hidden);
                self.text.keep(&[byte]);
                self.state = State::Number(part);
            }
        }
        Ok(())
    }

    fn open(&mut self, object: bool, sink: &mut impl Sink) -> Result<(), Broken> {
        if self.stack.len() == DEEPEST {
            return Err(Broken::Deep);
        }
        self.tell(Item::Open, sink);
        self.stack.push(Level { object, empty: true, place: self.place.len(), hidden: self.hidden });
        self.state = if object { State::KeyOrEnd } else { State::ItemOrEnd };
        Ok(())
    }

    fn close(&mut self, sink: &mut impl Sink) {
        let Some(level) = self.stack.pop() else { return };
        self.place.truncate(level.place);
        self.hidden = level.hidden;
        self.tell(Item::Close { empty: level.empty, object: level.object }, sink);
        self.valued();
    }

    /// The place of an array's next item.
    fn enter_item(&mut self) {
        let depth = self.stack.len();
        let Some(level) = self.stack.last_mut().filter(|level| !level.object) else { return };
        level.empty = false;
        self.hidden = level.hidden || depth > TOLD;
        self.place.truncate(level.place);
        self.place.push_str("/*");
    }

    /// The place of an object's next member, once its name is read.
    fn enter_member(&mut self, sink: &mut impl Sink) {
        let depth = self.stack.len();
        let Some(level) = self.stack.last_mut() else { return };
        level.empty = false;
        self.place.truncate(level.place);
        let name = self.text.get().filter(|name| name.len() <= KEY);
        self.hidden = level.hidden || depth > TOLD || name.is_none();
        self.place.push('/');
        for letter in name.unwrap_or_default().chars() {
            match letter {
                '~' => self.place.push_str("~0"),
                '/' => self.place.push_str("~1"),
                '*' => self.place.push_str("~2"),
                letter => self.place.push(letter),
            }
        }
        self.tell(Item::Key, sink);
    }

    fn open_text(&mut self, key: bool) {
        let hidden = if key { self.stack.last().is_some_and(|level| level.hidden) } else { self.hidden };
        self.text.clear(hidden);
        (self.key, self.state) = (key, State::Text);
    }

    fn in_text(&mut self, byte: u8, sink: &mut impl Sink) -> Result<(), Broken> {
        let strict = self.key;
        if !self.text.take(byte, strict).ok_or(Broken::Syntax(self.at))? {
            return Ok(());
        }
        if self.key {
            self.enter_member(sink);
            self.state = State::Colon;
            return Ok(());
        }
        if !self.hidden {
            sink.see(&self.place, Item::Text(self.text.get(), self.text.length()), self.at + 1);
        }
        self.valued();
        Ok(())
    }

    fn in_word(&mut self, word: &'static [u8], done: usize, byte: u8, sink: &mut impl Sink) -> Result<(), Broken> {
        if word[done] != byte {
            return Err(Broken::Syntax(self.at));
        }
        self.state = State::Word(word, done + 1);
        if done + 1 == word.len() {
            let item = match word[0] {
                b'n' => Item::Null,
                first => Item::Flag(first == b't'),
            };
            if !self.hidden {
                sink.see(&self.place, item, self.at + 1);
            }
            self.valued();
        }
        Ok(())
    }

    fn number(&mut self, part: Part, sink: &mut impl Sink) -> Result<(), Broken> {
        if !part.complete() {
            return Err(Broken::Syntax(self.at));
        }
        if !self.hidden {
            sink.see(&self.place, Item::Number(self.text.get()), self.at);
        }
        self.valued();
        Ok(())
    }

    fn tell(&self, item: Item<'_>, sink: &mut impl Sink) {
        if !self.hidden {
            sink.see(&self.place, item, self.at);
        }
    }

    /// A value is over.
    fn valued(&mut self) {
        self.state = if self.stack.is_empty() { State::End } else { State::CommaOrEnd };
    }

    fn in_array(&self) -> bool {
        self.stack.last().is_some_and(|level| !level.object)
    }
}

#[cfg(test)]
mod tests;
