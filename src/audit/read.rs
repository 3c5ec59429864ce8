//! Lines read back: streamed, in bounded memory, whatever the file holds.
//! It must never judge a line; it tells what stands there.

use super::chain::{Hash, Link};
use super::line::LINE_MAX;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::io::{self, BufRead, Read};

/// One line as it stands in the file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    /// What it tells; none when it is no record.
    pub record: Option<Told>,
    /// Its hash with its newline, also where that is not there yet.
    pub hash: Hash,
    /// Its bytes in the file.
    pub length: u64,
    /// Whether its newline is there.
    pub ended: bool,
    /// The unfit lines before it, while there are any.
    pub behind: Option<Span>,
}

impl Seen {
    /// Whether this is the record that belongs at `at`. A `recovered` record must name what stands before it, and
    /// nothing else may follow lines that are no records.
    pub(super) fn fits(&self, at: Link) -> bool {
        self.record.is_some_and(|told| {
            told.link == at
                && match (told.what, self.behind) {
                    (What::Recovered(torn), behind) => torn == behind,
                    (_, behind) => behind.is_none(),
                }
        })
    }

    /// Where the chain stands behind this line, if it is the record of `at`.
    pub(super) fn next(&self, at: Link) -> Link {
        Link { seq: at.seq + 1, prev: self.hash }
    }
}

/// Bytes and their hash, the last newline included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub length: u64,
    pub hash: Hash,
}

/// What the chain needs to know of a record.
#[derive(Debug, Clone, Copy)]
pub(super) struct Told {
    pub link: Link,
    pub what: What,
}

/// The records that mean something to the chain itself.
#[derive(Debug, Clone, Copy)]
pub(super) enum What {
    Continued,
    Recovered(Option<Span>),
    TailMissing,
    Other,
}

#[derive(Deserialize)]
struct Fields<'a> {
    seq: u64,
    record: &'a str,
    prev: &'a str,
    torn: Option<u64>,
    torn_sha256: Option<&'a str>,
}

fn told(line: &[u8]) -> Option<Told> {
    let fields: Fields<'_> = serde_json::from_slice(line).ok()?;
    let what = match fields.record {
        "continued" => What::Continued,
        "recovered" => {
            let span = |hash| Some(Span { length: fields.torn?, hash: Hash::parse(hash)? });
            What::Recovered(fields.torn_sha256.and_then(span))
        }
        "tail_missing" => What::TailMissing,
        _ => What::Other,
    };
    Some(Told { link: Link { seq: fields.seq, prev: Hash::parse(fields.prev)? }, what })
}

/// Reads line by line.
pub(super) struct Reader<R> {
    from: R,
    line: Vec<u8>,
    hasher: Sha256,
    unfit: Option<(Sha256, u64)>,
}

impl<R: BufRead> Reader<R> {
    pub(super) fn new(from: R) -> Self {
        Self { from, line: Vec::with_capacity(LINE_MAX), hasher: Sha256::new(), unfit: None }
    }

    /// The next line; none at the end.
    pub(super) fn line(&mut self) -> io::Result<Option<Seen>> {
        let behind = self.behind();
        self.hasher = Sha256::new();
        let (mut length, mut record) = (0, None);
        loop {
            self.line.clear();
            let piece = (&mut self.from).take(LINE_MAX as u64).read_until(b'\n', &mut self.line)?;
            let ended = self.line.last() == Some(&b'\n');
            let last = ended || piece < LINE_MAX;
            if length == 0 && piece == 0 {
                return Ok(None);
            }
            if length == 0 && last {
                record = told(&self.line);
            }
            length += piece as u64;
            self.feed();
            if last {
                self.close(ended);
                let hash = Hash::finish(self.hasher.clone());
                return Ok(Some(Seen { record, hash, length, ended, behind }));
            }
        }
    }

    /// Tells the reader that the last line was no fit record.
    pub(super) fn unfit(&mut self, seen: &Seen) {
        let length = seen.length + u64::from(!seen.ended);
        self.unfit.get_or_insert_with(|| (self.hasher.clone(), length));
    }

    /// Tells the reader that the last line was a record.
    pub(super) fn fit(&mut self) {
        self.unfit = None;
    }

    /// The unfit lines up to here.
    pub(super) fn behind(&self) -> Option<Span> {
        self.unfit.as_ref().map(|(hasher, length)| Span { length: *length, hash: Hash::finish(hasher.clone()) })
    }

    fn feed(&mut self) {
        self.hasher.update(&self.line);
        if let Some((hasher, length)) = &mut self.unfit {
            hasher.update(&self.line);
            *length += self.line.len() as u64;
        }
    }

    /// Counts the newline that is still to be written.
    fn close(&mut self, ended: bool) {
        if !ended {
            self.line.clear();
            self.line.push(b'\n');
            self.feed();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_without_end_costs_no_memory() {
        let endless = io::repeat(b'a').take(50_000_000).chain(&b"\nshort\n"[..]);
        let mut reader = Reader::new(io::BufReader::new(endless));
        let long = reader.line().unwrap().unwrap();
        assert_eq!((long.length, long.ended), (50_000_001, true));
        assert!(reader.line.capacity() <= 2 * LINE_MAX);
        assert_eq!(reader.line().unwrap().unwrap().hash, Hash::of(b"short\n"));
        assert!(reader.line().unwrap().is_none());
    }

    #[test]
    fn unfit_lines_are_counted_together() {
        let mut reader = Reader::new(&b"one\ntwo\nthree"[..]);
        let one = reader.line().unwrap().unwrap();
        reader.unfit(&one);
        let two = reader.line().unwrap().unwrap();
        assert_eq!(two.behind, Some(Span { length: 4, hash: Hash::of(b"one\n") }));
        reader.unfit(&two);
        let three = reader.line().unwrap().unwrap();
        assert!(!three.ended && three.hash == Hash::of(b"three\n"));
        assert_eq!(reader.behind(), Some(Span { length: 14, hash: Hash::of(b"one\ntwo\nthree\n") }));
    }

    #[test]
    fn a_field_told_twice_is_no_record() {
        let zero = Hash::ZERO.as_str();
        assert!(told(format!(r#"{{"seq":1,"record":"stopped","prev":"{zero}"}}"#).as_bytes()).is_some());
        assert!(told(format!(r#"{{"seq":1,"seq":2,"record":"stopped","prev":"{zero}"}}"#).as_bytes()).is_none());
    }
}
