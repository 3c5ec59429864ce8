//! Takes the usage event out of a stream whose client did not ask for it (the gateway did). Every other byte passes as it
//! came, event by event.

use super::{
    scan::{Item, Scanner, Sink},
    sse::{Events, Piece},
};

/// The longest event that could be the one, in bytes; a longer one is passed without a look.
const LONGEST: usize = 16 * 1024;

/// A filter for one stream of OpenAI's shape.
#[derive(Debug, Default)]
pub struct UsageHider {
    /// The event so far, if it may be the one.
    held: Vec<u8>,
    line: Line,
    /// The event is too long: its bytes pass as they come.
    passing: bool,
    /// What became of the event that ended with a carriage return: a line feed after it is a part of it.
    tail: Option<Fate>,
}

/// What of the current line was read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Line {
    #[default]
    Empty,
    /// The line before ended with a carriage return; a line feed now belongs to it.
    Returned,
    Some,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Passed,
    Dropped,
}

impl UsageHider {
    /// Takes a piece of the stream; what may go on is put behind `out`.
    pub fn feed(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        for &byte in bytes {
            if let Some(fate) = self.tail.take().filter(|_| byte == b'\n') {
                if fate == Fate::Passed {
                    out.push(byte);
                }
                continue;
            }
            self.byte(byte, out);
        }
        if self.passing {
            out.append(&mut self.held);
        }
    }

    /// Says that nothing follows: what was held is told, unless it is a usage event that lacks its end.
    pub fn finish(mut self, out: &mut Vec<u8>) {
        self.settle(out);
    }

    fn byte(&mut self, byte: u8, out: &mut Vec<u8>) {
        self.held.push(byte);
        let blank = match (self.line, byte) {
            (Line::Returned, b'\n') => {
                self.line = Line::Empty;
                return;
            }
            (Line::Empty | Line::Returned, b'\r' | b'\n') => true,
            (Line::Some, b'\r' | b'\n') => false,
            _ => {
                self.line = Line::Some;
                self.bound();
                return;
            }
        };
        self.line = if byte == b'\r' { Line::Returned } else { Line::Empty };
        if blank {
            let fate = self.settle(out);
            self.tail = (byte == b'\r').then_some(fate);
            self.line = Line::Empty;
        }
    }

    fn bound(&mut self) {
        self.passing |= self.held.len() > LONGEST;
    }

    /// The event is whole: it goes on, or it goes away.
    fn settle(&mut self, out: &mut Vec<u8>) -> Fate {
        let fate = if !self.passing && is_usage_alone(&self.held) { Fate::Dropped } else { Fate::Passed };
        if fate == Fate::Passed {
            out.extend_from_slice(&self.held);
        }
        self.held.clear();
        self.passing = false;
        fate
    }
}

/// Whether an event has usage and, in a list that is there, no choice.
fn is_usage_alone(event: &[u8]) -> bool {
    let (mut scanner, mut seen, mut broken) = (Scanner::default(), Seen::default(), false);
    Events::default().feed(event, |piece| {
        let bytes = match piece {
            Piece::Data(bytes) => bytes,
            Piece::NewLine => b"\n",
            Piece::End => return,
        };
        broken = broken || scanner.feed(bytes, &mut seen).is_err();
    });
    !broken && scanner.finish(&mut seen).is_ok() && seen.no_choice && seen.usage
}

#[derive(Default)]
struct Seen {
    no_choice: bool,
    usage: bool,
}

impl Sink for Seen {
    fn see(&mut self, place: &str, item: Item<'_>, _at: usize) {
        match (place, item) {
            ("/choices", Item::Close { empty, object: false }) => self.no_choice = empty,
            ("/usage", Item::Close { object: true, .. }) => self.usage = true,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const USAGE: &str = r#"{"id":"c","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4}}"#;

    fn passed<'b>(pieces: impl IntoIterator<Item = &'b [u8]>) -> Vec<u8> {
        let (mut hider, mut out) = (UsageHider::default(), Vec::new());
        pieces.into_iter().for_each(|piece| hider.feed(piece, &mut out));
        hider.finish(&mut out);
        out
    }

    proptest! {
        #[test]
        fn the_usage_event_alone_is_missing(
            before in prop::collection::vec("[ -~é]{0,20}", 0..4), after in prop::collection::vec("[ -~é]{0,20}", 0..4),
            newline in prop::sample::select(vec!["\n", "\r\n", "\r"]), size in 1_usize..50, ended in any::<bool>(),
        ) {
            let events = |texts: &[String]| texts.iter().map(|text| format!("data: {text}{newline}: c{newline}{newline}")).collect::<String>();
            let mut usage = format!("data: {USAGE}{newline}");
            let (before, after) = (events(&before), if ended { events(&after) } else { String::new() });
            if ended {
                usage.push_str(newline);
            }
            let stream = format!("{before}{usage}{after}");
            prop_assert_eq!(passed(stream.as_bytes().chunks(size)), format!("{before}{after}").into_bytes());
        }
    }

    #[test]
    fn whatever_is_another_event_passes() {
        for data in [
            "[DONE]",
            r#"{"choices":[{"delta":{}}],"usage":{"prompt_tokens":3}}"#,
            r#"{"choices":[],"usage":null}"#,
            r#"{"choices":[],"prompt_filter_results":[]}"#,
            r#"{"usage":{"prompt_tokens":3}}"#,
            r#"{"choices":[],"usage":{"prompt_tokens":3}"#,
            r#"{"choices":{},"usage":{"prompt_tokens":3}}"#,
            "",
        ] {
            let stream = format!("event: x\ndata: {data}\n\nrest");
            assert_eq!(passed([stream.as_bytes()]), stream.as_bytes(), "{data}");
        }
    }

    #[test]
    fn an_event_goes_on_as_soon_as_it_is_whole() {
        let (mut hider, mut out) = (UsageHider::default(), Vec::new());
        hider.feed(b"data: {}\r\n\r", &mut out);
        assert_eq!(out, b"data: {}\r\n\r");
        hider.feed(b"\ndata: {", &mut out);
        assert_eq!(out, b"data: {}\r\n\r\n", "the next one is held until it is known");
    }

    #[test]
    fn a_vast_event_is_not_held() {
        let (mut hider, mut out) = (UsageHider::default(), Vec::new());
        let vast = format!("data: {}", "x".repeat(1 << 20));
        for piece in vast.as_bytes().chunks(1000) {
            hider.feed(piece, &mut out);
            assert!(hider.held.len() <= LONGEST);
        }
        hider.feed(b"\n\n", &mut out);
        assert_eq!(out, format!("{vast}\n\n").as_bytes());
        out.clear();
        hider.feed(format!("data: {USAGE}\n\n").as_bytes(), &mut out);
        assert!(out.is_empty(), "the next one is looked at again");
    }
}
