//! Server-sent events, as far as their data goes (WHATWG HTML, 9.2.6), in pieces of any size. It keeps no byte of them.

/// A piece of the data of one event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Piece<'b> {
    /// Bytes of a line, in as many pieces as they came.
    Data(&'b [u8]),
    /// Another line of data follows.
    NewLine,
    /// The event is over.
    End,
}

/// Reads lines.
#[derive(Debug, Default)]
pub(super) struct Events {
    line: Line,
    /// The last byte was a carriage return: a line feed after it ends no second line.
    returned: bool,
    /// The event has had a line of data.
    begun: bool,
}

/// Where in a line the reader is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Line {
    /// At its beginning.
    #[default]
    Start,
    /// So many letters of `data` are read.
    Name(usize),
    /// Just behind the colon.
    Colon,
    Data,
    /// Another field, or a comment.
    Other,
}

const NAME: &[u8] = b"data";

impl Events {
    /// Reads on, and tells each piece.
    pub(super) fn feed(&mut self, bytes: &[u8], mut tell: impl FnMut(Piece<'_>)) {
        let mut rest = bytes;
        while let Some((&byte, tail)) = rest.split_first() {
            if matches!(self.line, Line::Data | Line::Other) {
                let run = rest.iter().position(|byte| matches!(byte, b'\r' | b'\n')).unwrap_or(rest.len());
                if self.line == Line::Data && run > 0 {
                    tell(Piece::Data(&rest[..run]));
                }
                if run > 0 {
                    rest = &rest[run..];
                    continue;
                }
            }
            rest = tail;
            let fed = std::mem::replace(&mut self.returned, byte == b'\r') && byte == b'\n';
            match byte {
                b'\n' if fed => {}
                b'\r' | b'\n' => self.end_line(&mut tell),
                _ => self.letter(byte, &mut tell),
            }
        }
    }

    fn letter(&mut self, byte: u8, tell: &mut impl FnMut(Piece<'_>)) {
        self.line = match (self.line, byte) {
            (Line::Start, b'd') => Line::Name(1),
            (Line::Name(read), _) if NAME.get(read) == Some(&byte) => Line::Name(read + 1),
            (Line::Name(4), b':') => {
                self.begin(tell);
                Line::Colon
            }
            (Line::Colon, b' ') => Line::Data,
            (Line::Colon, _) => {
                tell(Piece::Data(&[byte]));
                Line::Data
            }
            _ => Line::Other,
        }
    }

    fn end_line(&mut self, tell: &mut impl FnMut(Piece<'_>)) {
        match self.line {
            Line::Start if self.begun => {
                self.begun = false;
                tell(Piece::End);
            }
            // A field without colon has no value, but is one.
            Line::Name(4) => self.begin(tell),
            _ => {}
        }
        self.line = Line::Start;
    }

    fn begin(&mut self, tell: &mut impl FnMut(Piece<'_>)) {
        if std::mem::replace(&mut self.begun, true) {
            tell(Piece::NewLine);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(pieces: impl Iterator<Item = &'static [u8]>) -> Vec<String> {
        let (mut events, mut all, mut now) = (Events::default(), Vec::new(), Vec::new());
        for piece in pieces {
            events.feed(piece, |piece| match piece {
                Piece::Data(bytes) => now.extend_from_slice(bytes),
                Piece::NewLine => now.push(b'\n'),
                Piece::End => all.push(String::from_utf8(std::mem::take(&mut now)).unwrap()),
            });
        }
        all
    }

    #[test]
    fn every_way_to_write_an_event_is_read_however_it_is_cut() {
        const TEXT: &[u8] = b": hi\n\nevent: x\ndata: a\n\ndata:b\r\n\r\ndata:  c\rid: 1\rdata: d\r\rdatum: z\nDATA: z\ndata\n\ndata:\ndata: e\r\n\n\n\ndata: unended\n";
        let all = ["a", "b", " c\nd", "", "\ne"];
        for size in 1..=TEXT.len() {
            assert_eq!(events(TEXT.chunks(size)), all, "{size}");
        }
    }
}
