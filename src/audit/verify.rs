//! Reads an audit from end to end and names the first line that is not as it was written.
//! It must never forgive: only a torn line that a `recovered` record names, or one at the very end, is let pass.

use super::chain::Link;
use super::head::{self, Mark};
use super::read::{Reader, Seen, What};
use std::fs::File;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

/// Bytes that may be unfit before a `recovered` record: more than a torn write leaves.
const UNFIT_MAX: u64 = 1 << 20;

/// An audit whose chain holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Verified {
    /// Records.
    pub records: u64,
    /// The number of the first; not 0 when older files were left out.
    pub first: u64,
    /// The number of the last.
    pub last: u64,
    /// Torn lines that a `recovered` record made good.
    pub recovered: u64,
    /// Bytes of a torn line at the end, as a killed writer leaves it.
    pub torn: u64,
    /// Records that the head does not count: at most those of the last write before a kill, or of a write going on.
    pub beyond_head: u64,
}

/// The first line that is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}:{line}: {why}", file.display())]
pub struct Broken {
    /// Its file.
    pub file: PathBuf,
    /// Its number, from 1; one more than there are where lines are missing at the end.
    pub line: u64,
    /// What is wrong.
    pub why: String,
}

/// Why an audit did not verify.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// It is not as it was written.
    #[error(transparent)]
    Broken(#[from] Broken),
    /// It could not be read.
    #[error("{path}: {source}{}", match source.kind() {
        io::ErrorKind::PermissionDenied => "; the audit is readable by the daemon's own user",
        io::ErrorKind::NotFound => "; name the files, the oldest first",
        _ => "",
    })]
    Read {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// There is no head in the head file.
    #[error("{0} holds no head; leave it out to check the chain alone")]
    NoHead(PathBuf),
}

/// Checks files, the oldest first, against each other and against the head.
///
/// Without a head a cut tail and a change of the last line cannot show.
///
/// # Errors
/// See [`VerifyError`].
pub fn verify(paths: &[PathBuf], head: Option<&Path>) -> Result<Verified, VerifyError> {
    // The head first: an audit that is being written to may only have more than its head.
    let mark = head.map(told_by).transpose()?;
    let mut check = Check { paths, mark, at: None, met: false, found: Verified::default(), last: None };
    for (file, path) in paths.iter().enumerate() {
        let read = |source| VerifyError::Read { path: path.clone(), source };
        let opened = File::open(path).map_err(read)?;
        let mut reader = Reader::new(BufReader::with_capacity(1 << 16, opened));
        check.file(file, &mut reader).map_err(|fault| match fault {
            Fault::Read(source) => read(source),
            Fault::Broken(broken) => broken.into(),
        })?;
    }
    Ok(check.end()?)
}

fn told_by(path: &Path) -> Result<Mark, VerifyError> {
    head::read(path)
        .map_err(|source| VerifyError::Read { path: path.to_owned(), source })?
        .ok_or_else(|| VerifyError::NoHead(path.to_owned()))
}

enum Fault {
    Read(io::Error),
    Broken(Broken),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Read(error)
    }
}

impl From<Broken> for Fault {
    fn from(broken: Broken) -> Self {
        Self::Broken(broken)
    }
}

/// A line and where it stands.
#[derive(Clone, Copy)]
struct Placed {
    file: usize,
    line: u64,
    seen: Seen,
}

/// A line that does not fit, until it is known whether a `recovered` record makes it good.
struct Suspect {
    line: Placed,
    /// The line after it: tells which of two that disagree is the changed one.
    next: Option<Seen>,
}

impl Suspect {
    /// Whether it is what a writer leaves that was killed in the middle of a line.
    fn is_torn_end(&self) -> bool {
        self.next.is_none() && !self.line.seen.ended && self.line.seen.record.is_none()
    }
}

struct Check<'a> {
    paths: &'a [PathBuf],
    mark: Option<Mark>,
    /// Where the chain stands; none before the first record.
    at: Option<Link>,
    /// Whether the place that the head remembers was met.
    met: bool,
    found: Verified,
    last: Option<Placed>,
}

impl Check<'_> {
    fn file(&mut self, file: usize, reader: &mut Reader<impl io::BufRead>) -> Result<(), Fault> {
        let mut suspect: Option<Suspect> = None;
        let mut number = 0;
        while let Some(seen) = reader.line()? {
            number += 1;
            let line = Placed { file, line: number, seen };
            if let Some(at) = self.place_of(&line)? {
                self.found.recovered += u64::from(suspect.take().is_some());
                reader.fit();
                self.accept(line, at)?;
                continue;
            }
            reader.unfit(&seen);
            match &mut suspect {
                None => suspect = Some(Suspect { line, next: None }),
                Some(known) => _ = known.next.get_or_insert(seen),
            }
            if reader.behind().is_some_and(|span| span.length > UNFIT_MAX) {
                break;
            }
        }
        match suspect {
            Some(suspect) if suspect.is_torn_end() => self.found.torn += suspect.line.seen.length,
            Some(suspect) => return Err(self.blame(&suspect).into()),
            None => {}
        }
        Ok(())
    }

    /// Where in the chain this line stands, if it fits there.
    fn place_of(&mut self, line: &Placed) -> Result<Option<Link>, Broken> {
        let Some(told) = line.seen.record else { return Ok(None) };
        let at = match self.at {
            Some(at) => at,
            None if told.link == Link::START || matches!(told.what, What::Continued | What::Recovered(_)) => told.link,
            None => return Ok(None),
        };
        if let (What::TailMissing, true) = (told.what, told.link.seq >= at.seq) {
            return Err(self.broken(line, lost(at.seq, told.link.seq) + ": the daemon found them gone when it started"));
        }
        Ok(line.seen.fits(at).then_some(at))
    }

    fn accept(&mut self, line: Placed, at: Link) -> Result<(), Broken> {
        if self.at.is_none() {
            self.found.first = at.seq;
            self.meet(&line, at)?;
        }
        let next = line.seen.next(at);
        self.meet(&line, next)?;
        self.found.records += 1;
        self.found.last = at.seq;
        self.at = Some(next);
        self.last = Some(line);
        Ok(())
    }

    /// Compares a place in the chain with the one that the head remembers.
    fn meet(&mut self, line: &Placed, at: Link) -> Result<(), Broken> {
        match self.mark {
            Some(mark) if mark.link.seq == at.seq && mark.link.prev != at.prev => {
                Err(self.broken(line, "this record was changed: the head remembers another hash"))
            }
            Some(mark) if mark.link.seq == at.seq => {
                self.met = true;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn end(self) -> Result<Verified, Broken> {
        let seq = self.at.map_or(0, |at| at.seq);
        let Some(mark) = self.mark else { return Ok(self.found) };
        let counted = mark.link.seq;
        if counted > seq {
            let file = self.paths.last().cloned().unwrap_or_default();
            let line = self.last.filter(|last| last.file + 1 == self.paths.len()).map_or(1, |last| last.line + 1);
            return Err(Broken { file, line, why: lost(seq, counted) + " at the end: the head counts them" });
        }
        if !self.met {
            let file = self.paths.first().cloned().unwrap_or_default();
            return Err(Broken {
                file,
                line: 1,
                why: format!("the head counts {counted} records: it is older than this"),
            });
        }
        Ok(Verified { beyond_head: seq - counted, ..self.found })
    }

    /// Names the line that is not as it was written: the suspect, or the one before it.
    fn blame(&self, suspect: &Suspect) -> Broken {
        let line = &suspect.line;
        let Some(told) = line.seen.record else { return self.broken(line, "this is not a record") };
        let (Some(at), Some(before)) = (self.at, &self.last) else {
            return self.broken(line, "neither record 0 nor a `continued` record: the lines before it are missing");
        };
        let seq = told.link.seq;
        if seq > at.seq {
            return self.broken(line, lost(at.seq, seq) + " before this one");
        }
        if seq == at.seq {
            return match told.link.prev == at.prev {
                true => self.broken(line, "what it says was torn does not stand before it"),
                false if self.vouched(suspect) => {
                    self.broken(before, "this record was changed: the one after it carries another hash")
                }
                false => self.broken(line, "this record was changed: it lacks the hash of the one before it"),
            };
        }
        let same_place = before.seen.record.is_some_and(|other| other.link == told.link);
        if same_place && before.seen.hash != line.seen.hash && self.vouched(suspect) {
            return self.broken(before, "this record was put in: the one after it has its number and its place");
        }
        self.broken(line, format!("record {seq} stands where record {} belongs: it was moved or copied here", at.seq))
    }

    /// Whether what comes after the suspect carries its hash: then it stands as it was written.
    fn vouched(&self, suspect: &Suspect) -> bool {
        let hash = match suspect.next {
            Some(next) => next.record.map(|told| told.link.prev),
            None => self.mark.map(|mark| mark.link.prev),
        };
        hash == Some(suspect.line.seen.hash)
    }

    fn broken(&self, line: &Placed, why: impl Into<String>) -> Broken {
        Broken { file: self.paths[line.file].clone(), line: line.line, why: why.into() }
    }
}

/// The records from `first` up to `next`, which is there.
fn lost(first: u64, next: u64) -> String {
    match next.saturating_sub(first) {
        0 => "records are missing".to_owned(),
        1 => format!("record {first} is missing"),
        _ => format!("records {first} to {} are missing", next - 1),
    }
}
