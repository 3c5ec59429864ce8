//! Looks for copies of a secret in another process: all of its memory, its threads' registers, or a core file.
//!
//! It must never show what it looks for: a report holds names and places, no bytes.
//!
//! A scan proves absence only for the forms it knows, at the moment it was made. What could not be read is listed, and
//! such a scan is [`Verdict::Incomplete`] unless the kernel makes that area unreadable by design (`memfd_secret(2)`).

mod form;
mod huffman;
mod index;
mod process;
mod report;
mod sweep;

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use zeroize::Zeroizing;

use crate::sys::trace::Held;

pub use self::form::{Form, Forms};
use self::index::Index;
pub use self::process::Mapping;
use self::process::Process;
pub use self::report::{Hit, Place, Report, ScanError, Unreadable, Verdict};
use self::sweep::{Found, PIECE, Sweep};

/// The longest needle, in bytes.
const LONGEST: usize = 64 << 10;
/// Shorter runs than this are found everywhere.
const SHORTEST: usize = 4;

/// A secret to look for and the name it goes by in the report. Wiped when dropped.
pub struct Needle {
    name: String,
    secret: Zeroizing<Vec<u8>>,
}

impl Needle {
    /// The secret should be random from its first byte: a run of a well-known prefix counts as a hit.
    #[must_use]
    pub fn new(name: &str, secret: &[u8]) -> Self {
        Self { name: name.to_owned(), secret: Zeroizing::new(secret.to_vec()) }
    }

    fn bytes(&self) -> &[u8] {
        &self.secret
    }
}

/// Whether the threads' registers are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Registers {
    /// Each thread is stopped for a moment by ptrace(2).
    #[default]
    Read,
    /// No thread is stopped for them.
    Skip,
}

/// What the process does meanwhile.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Motion {
    /// It runs on: a copy that moves may escape.
    #[default]
    Running,
    /// Every thread is stopped from beginning to end: one consistent picture.
    Held,
}

/// How to scan.
#[derive(Clone, Copy, Debug)]
pub struct ScanOptions {
    /// The fewest bytes of a secret that count as a hit, at least 4; an encoded copy must hold as many of the secret.
    pub sub: usize,
    /// Which encodings to look for.
    pub forms: Forms,
    /// Whether to read registers; a core file has them in its notes.
    pub registers: Registers,
    /// Whether to stop the process.
    pub motion: Motion,
}

impl Default for ScanOptions {
    fn default() -> Self {
        Self { sub: 8, forms: Forms::All, registers: Registers::Read, motion: Motion::Running }
    }
}

/// Scans a process. All forms in 10 MiB take about 70 ms in a debug build, less in release.
///
/// With [`Registers::Read`] or [`Motion::Held`] the process must not have a tracer, and this thread becomes it.
///
/// # Errors
/// When the options make no sense, or the process cannot be read at all.
pub fn scan(pid: u32, needles: &[Needle], options: ScanOptions) -> Result<Report, ScanError> {
    if pid == std::process::id() {
        return Err(ScanError::Itself);
    }
    let index = index(needles, options)?;
    let mut report = Report::default();
    let held = threads(&Process::open(pid)?, &index, needles, options, &mut report)?;
    // Opened once more: what was mapped before the threads stood still may be gone.
    let process = Process::open(pid)?;
    let mut sweep = Sweep::new(&index);
    report.bytes = process.read(&mut sweep, &mut report.unreadable);
    report.mappings = process.mappings.len();
    let place = |found: &Found| {
        let mapping = process.mappings.iter().find(|mapping| mapping.holds(found.begin))?;
        Some(Place::Memory { address: found.begin, mapping: mapping.clone() })
    };
    let found = sweep.finish();
    report.hits.extend(found.iter().filter_map(|found| Some(hit(&index, needles, found, place(found)?))));
    drop(held);
    Ok(report)
}

/// Scans a file, such as a core(5) or a log.
///
/// # Errors
/// When the options make no sense, or the file cannot be read to its end.
pub fn scan_file(path: &Path, needles: &[Needle], options: ScanOptions) -> Result<Report, ScanError> {
    let failed = |source| ScanError::File { path: path.to_owned(), source };
    let index = index(needles, options)?;
    let mut file = File::open(path).map_err(failed)?;
    let mut sweep = Sweep::new(&index);
    let mut report = Report::default();
    loop {
        let read = match file.read(sweep.room(report.bytes, PIECE)) {
            Ok(0) => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read.map_err(failed)?,
        };
        sweep.searched(report.bytes, read);
        report.bytes += read as u64;
    }
    let found = sweep.finish();
    let place = |found: &Found| Place::File { offset: found.begin };
    report.hits = found.iter().map(|found| hit(&index, needles, found, place(found))).collect();
    Ok(report)
}

fn index(needles: &[Needle], options: ScanOptions) -> Result<Index, ScanError> {
    let sub = options.sub;
    if sub < SHORTEST {
        return Err(ScanError::Sub(sub));
    }
    let odd = needles.iter().find(|needle| !(sub..=LONGEST).contains(&needle.bytes().len()));
    if let Some(Needle { name, secret }) = odd {
        return Err(ScanError::Needle { name: name.clone(), length: secret.len(), sub });
    }
    Ok(Index::new(needles, sub, options.forms))
}

/// Stops each thread, reads its registers if that is asked, and gives back those that are to stay stopped.
fn threads(
    process: &Process,
    index: &Index,
    needles: &[Needle],
    options: ScanOptions,
    report: &mut Report,
) -> Result<Vec<Held>, ScanError> {
    let (mut seen, mut held) = (HashSet::new(), Vec::new());
    if (options.motion, options.registers) == (Motion::Running, Registers::Skip) {
        return Ok(held);
    }
    // A thread that still runs may start another while we look: to hold all, go on until there is no new one.
    loop {
        let new: Vec<u32> = process.threads()?.into_iter().filter(|&thread| seen.insert(thread)).collect();
        let last = new.is_empty() || options.motion == Motion::Running;
        for thread in new {
            match i32::try_from(thread).map_err(io::Error::other).and_then(Held::seize) {
                Ok(seized) => {
                    if options.registers == Registers::Read {
                        search_registers(thread, &seized, index, needles, report);
                    }
                    held.extend((options.motion == Motion::Held).then_some(seized));
                }
                Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {} // it has ended
                Err(error) => report.unreadable.push(no_registers(thread, &error)),
            }
        }
        if last {
            return Ok(held);
        }
    }
}

fn search_registers(thread: u32, held: &Held, index: &Index, needles: &[Needle], report: &mut Report) {
    let sets = match held.registers() {
        Ok(sets) => sets,
        Err(error) => return report.unreadable.push(no_registers(thread, &error)),
    };
    report.threads += 1;
    for set in sets {
        let (name, bytes) = (set.name, Zeroizing::new(set.bytes));
        for found in Sweep::alone(index, &bytes) {
            let place = Place::Register { thread, set: name, offset: found.begin };
            report.hits.push(hit(index, needles, &found, place));
        }
    }
}

fn no_registers(thread: u32, error: &io::Error) -> Unreadable {
    Unreadable { what: format!("registers of thread {thread}"), bytes: 0, reason: error.to_string(), by_design: false }
}

fn hit(index: &Index, needles: &[Needle], found: &Found, place: Place) -> Hit {
    let shape = &index.shapes[found.shape];
    Hit {
        needle: needles[shape.needle].name.clone(),
        form: shape.form,
        place,
        from: found.from,
        length: found.length,
        whole: found.length == shape.len(),
    }
}

#[cfg(test)]
mod tests;
