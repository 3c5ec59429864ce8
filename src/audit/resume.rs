//! Where an audit goes on after its writer ended, in whatever way it ended.
//! It must never take a cut tail for a whole one: what the head counts and the file lacks is told.

use super::chain::{Hash, Link};
use super::head::Mark;
use super::line::{LINE_MAX, Recovered, TailMissing};
use super::read::{Reader, Span};
use std::fs::File;
use std::io::{self, BufReader, Seek, SeekFrom};
use std::os::unix::fs::{DirEntryExt, FileExt, MetadataExt};
use std::path::Path;

/// How far back the last record is looked for where the head does not tell.
const LOOK_BACK: u64 = 1 << 16;

/// How to go on.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Resumed {
    /// Where the chain goes on.
    pub at: Link,
    /// What to write first.
    pub first: First,
    /// Whether the last line lacks its newline.
    pub open_ended: bool,
}

/// The record that tells of what was found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum First {
    /// All is as the head says, or there is nothing at all.
    Nothing,
    /// The file is new; the chain began in another.
    Continued,
    /// The writer was killed.
    Recovered(Recovered),
    /// The head remembers more than there is.
    TailMissing(TailMissing),
}

/// Compares the file with the head.
pub(super) fn resume(path: &Path, file: &File, mark: Option<Mark>) -> io::Result<Resumed> {
    let found = file.metadata()?;
    let empty = found.len() == 0;
    let Some(mark) = mark else {
        return match empty {
            true => Ok(Resumed { at: Link::START, first: First::Nothing, open_ended: false }),
            false => missing(file, None, "the head file is missing or unreadable"),
        };
    };
    if ends_with(file, &mark)? {
        return Ok(walk(file, mark.length, mark.link)?.resumed());
    }
    if mark.inode == found.ino() {
        return missing(file, Some(mark), "the file was cut or changed");
    }
    if empty {
        return behind(path, mark);
    }
    // Killed after the file was renewed and before the head knew.
    match walk(file, 0, mark.link)? {
        walked if walked.records > 0 || walked.is_one_torn_line() => Ok(walked.resumed()),
        _ => missing(file, Some(mark), "another file stands in its place"),
    }
}

/// Goes on in a new file. A writer that was killed may have left more in the old one than the head counts: where that
/// one lies beside the new one, the chain goes on behind all of it.
fn behind(path: &Path, mark: Mark) -> io::Result<Resumed> {
    let continued = |at| Resumed { at, first: First::Continued, open_ended: false };
    let Some(old) = put_aside(path, &mark) else { return Ok(continued(mark.link)) };
    let Walked { at, records, unfit, .. } = walk(&old, mark.length, mark.link)?;
    let why = "the file that was put aside ends in what is no record";
    let missing = TailMissing { counted: Some(mark.link.seq), found: Some(at.seq), why };
    Ok(match unfit {
        None if records == 0 => continued(at),
        None => {
            let first = First::Recovered(Recovered { torn: 0, torn_sha256: None, beyond_head: records });
            Resumed { first, ..continued(at) }
        }
        Some(_) => Resumed { first: First::TailMissing(missing), ..continued(at) },
    })
}

/// The file that the head speaks of, under another name, if it holds what the head says.
fn put_aside(path: &Path, mark: &Mark) -> Option<File> {
    let beside = std::fs::read_dir(path.parent()?).ok()?.flatten();
    let old = beside.into_iter().find(|entry| entry.ino() == mark.inode)?;
    // Only a file of records: opening anything else could wait for ever.
    let file = old.file_type().ok()?.is_file().then(|| File::open(old.path()).ok())??;
    ends_with(&file, mark).ok()?.then_some(file)
}

/// Whether the record that the head remembers stands where the head says.
fn ends_with(file: &File, mark: &Mark) -> io::Result<bool> {
    if mark.length == 0 {
        return Ok(mark.link == Link::START);
    }
    let start = mark.length.saturating_sub(LINE_MAX as u64);
    let mut bytes = vec![0; usize::try_from(mark.length - start).unwrap_or(LINE_MAX)];
    match file.read_exact_at(&mut bytes, start) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
        other => other?,
    }
    let Some(b'\n') = bytes.last() else { return Ok(false) };
    let before = bytes[..bytes.len() - 1].iter().rposition(|b| *b == b'\n');
    Ok(Hash::of(&bytes[before.map_or(0, |newline| newline + 1)..]) == mark.link.prev)
}

/// What stands behind a place in the file.
struct Walked {
    at: Link,
    records: u64,
    unfit: Option<Span>,
    open_ended: bool,
}

impl Walked {
    fn is_one_torn_line(&self) -> bool {
        self.open_ended && self.unfit.is_some_and(|span| span.length <= LINE_MAX as u64)
    }

    fn resumed(self) -> Resumed {
        let Self { at, records, unfit, open_ended } = self;
        let recovered = Recovered {
            torn: unfit.map_or(0, |span| span.length),
            torn_sha256: unfit.map(|span| span.hash),
            beyond_head: records,
        };
        let whole = records == 0 && unfit.is_none();
        Resumed { at, first: if whole { First::Nothing } else { First::Recovered(recovered) }, open_ended }
    }
}

/// Reads on from `start`, where the chain stands at `at`, as far as it holds.
fn walk(mut file: &File, start: u64, at: Link) -> io::Result<Walked> {
    file.seek(SeekFrom::Start(start))?;
    let mut reader = Reader::new(BufReader::new(file));
    let mut walked = Walked { at, records: 0, unfit: None, open_ended: false };
    while let Some(seen) = reader.line()? {
        walked.open_ended = !seen.ended;
        if seen.fits(walked.at) {
            walked.at = seen.next(walked.at);
            walked.records += 1;
            reader.fit();
        } else {
            reader.unfit(&seen);
        }
    }
    walked.unfit = reader.behind();
    Ok(walked)
}

/// Goes on behind the last record that can be found, with a number that neither it nor the head has used.
fn missing(mut file: &File, mark: Option<Mark>, why: &'static str) -> io::Result<Resumed> {
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LOOK_BACK)))?;
    let mut reader = Reader::new(BufReader::new(file));
    let (mut last, mut open_ended) = (None, false);
    while let Some(seen) = reader.line()? {
        open_ended = !seen.ended;
        last = seen.record.map(|told| Link { seq: told.link.seq.saturating_add(1), prev: seen.hash }).or(last);
    }
    let (counted, found) = (mark.map(|mark| mark.link.seq), last.map(|last| last.seq));
    let at = Link { seq: counted.max(found).unwrap_or(0), prev: last.map_or(Hash::ZERO, |last| last.prev) };
    Ok(Resumed { at, first: First::TailMissing(TailMissing { counted, found, why }), open_ended })
}
