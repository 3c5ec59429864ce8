//! What a process has mapped, which of it holds data, and its threads, as procfs tells.
//!
//! It must never leave out a page in silence: only untouched private memory, which is all zeroes, is passed over.

use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use super::sweep::{PIECE, Sweep};
use super::{ScanError, Unreadable};

/// Base pages: pagemap counts in these even where larger ones are mapped (x86-64; elsewhere it reads a little more).
const PAGE: u64 = 4096;
/// A pagemap entry with one of these bits has its page in memory or in swap (Documentation/admin-guide/mm/pagemap).
const PRESENT_OR_SWAPPED: u64 = 0b11 << 62;
/// Areas that nobody can read, by design of the kernel.
const UNREADABLE_BY_DESIGN: [&str; 5] = ["secretmem", "[vvar", "[vsyscall", "/dev/", "anon_inode:"];

/// One line of `/proc/PID/maps` (proc_pid_maps(5)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// First address.
    pub begin: u64,
    /// The address after the last.
    pub end: u64,
    /// `rwxp` or `s`, a dash for what is not allowed.
    pub permissions: String,
    /// The file, `[heap]`, `[stack]`, or `anonymous`.
    pub name: String,
    untouched_is_zero: bool,
}

impl Mapping {
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_ascii_whitespace();
        let (begin, end) = words.next()?.split_once('-')?;
        let permissions = words.next()?.to_owned();
        let inode = words.nth(2)?;
        let name = words.collect::<Vec<_>>().join(" ");
        Some(Self {
            begin: u64::from_str_radix(begin, 16).ok()?,
            end: u64::from_str_radix(end, 16).ok()?,
            untouched_is_zero: inode == "0" && permissions.ends_with('p'),
            name: if name.is_empty() { "anonymous".to_owned() } else { name },
            permissions,
        })
    }

    pub(super) fn holds(&self, address: u64) -> bool {
        (self.begin..self.end).contains(&address)
    }
}

/// A process whose memory may be read.
pub(super) struct Process {
    pid: u32,
    memory: File,
    pagemap: Option<File>,
    pub(super) mappings: Vec<Mapping>,
}

impl Process {
    pub(super) fn open(pid: u32) -> Result<Self, ScanError> {
        let failed = |source: io::Error| ScanError::of_process(pid, source);
        let memory = File::open(format!("/proc/{pid}/mem")).map_err(failed)?;
        let maps = fs::read_to_string(format!("/proc/{pid}/maps")).map_err(failed)?;
        let mappings: Vec<Mapping> = maps.lines().filter_map(Mapping::parse).collect();
        if mappings.is_empty() {
            return Err(ScanError::Gone { pid });
        }
        // Without it everything is read, which takes longer and finds the same.
        let pagemap = File::open(format!("/proc/{pid}/pagemap")).ok();
        Ok(Self { pid, memory, pagemap, mappings })
    }

    pub(super) fn threads(&self) -> Result<Vec<u32>, ScanError> {
        let listing = fs::read_dir(format!("/proc/{}/task", self.pid));
        let listing = listing.map_err(|source| ScanError::of_process(self.pid, source))?;
        Ok(listing.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect())
    }

    /// Leads every page that can hold data past the sweep; says how many bytes those were.
    pub(super) fn read(&self, sweep: &mut Sweep<'_>, unreadable: &mut Vec<Unreadable>) -> u64 {
        let mut total = 0;
        for mapping in &self.mappings {
            let mut missed = Missed::default();
            for range in self.touched(mapping) {
                let mut begin = range.start;
                while begin < range.end {
                    let end = range.end.min(begin + PIECE as u64);
                    self.piece(begin..end, sweep, &mut missed);
                    total += end - begin;
                    begin = end;
                }
            }
            total -= missed.bytes;
            unreadable.extend(missed.told(mapping));
        }
        total
    }

    /// One piece; page by page when it cannot be had at once. A page that cannot be read is searched as zeroes.
    fn piece(&self, range: Range<u64>, sweep: &mut Sweep<'_>, missed: &mut Missed) {
        let size = usize::try_from(range.end - range.start).expect("invariant: at most one piece");
        let room = sweep.room(range.start, size);
        if self.memory.read_exact_at(room, range.start).is_err() {
            for (page, address) in room.chunks_mut(PAGE as usize).zip((range.start..).step_by(PAGE as usize)) {
                if let Err(error) = self.memory.read_exact_at(page, address) {
                    page.fill(0);
                    missed.note(page.len(), &error);
                }
            }
        }
        sweep.searched(range.start, size);
    }

    /// The parts of a mapping that can hold anything but zeroes.
    fn touched(&self, mapping: &Mapping) -> Vec<Range<u64>> {
        let pagemap = self.pagemap.as_ref().filter(|_| mapping.untouched_is_zero);
        let known = pagemap.and_then(|pagemap| present(pagemap, mapping).ok());
        known.unwrap_or_else(|| std::iter::once(mapping.begin..mapping.end).collect())
    }
}

fn present(pagemap: &File, mapping: &Mapping) -> io::Result<Vec<Range<u64>>> {
    let mut ranges: Vec<Range<u64>> = Vec::new();
    let mut entries = vec![0; 1 << 16];
    let mut address = mapping.begin;
    while address < mapping.end {
        let pages = ((mapping.end - address) / PAGE).min(entries.len() as u64 / 8);
        let bytes = &mut entries[..usize::try_from(pages * 8).expect("invariant: no more than the buffer")];
        pagemap.read_exact_at(bytes, address / PAGE * 8)?;
        for (entry, page) in bytes.as_chunks::<8>().0.iter().zip((address..).step_by(PAGE as usize)) {
            if u64::from_ne_bytes(*entry) & PRESENT_OR_SWAPPED == 0 {
                continue;
            }
            match ranges.last_mut() {
                Some(last) if last.end == page => last.end += PAGE,
                _ => ranges.push(page..page + PAGE),
            }
        }
        address += pages * PAGE;
    }
    Ok(ranges)
}

/// What could not be read of one mapping.
#[derive(Default)]
struct Missed {
    bytes: u64,
    reason: Option<String>,
}

impl Missed {
    fn note(&mut self, bytes: usize, error: &io::Error) {
        self.bytes += bytes as u64;
        self.reason.get_or_insert_with(|| error.to_string());
    }

    fn told(self, mapping: &Mapping) -> Option<Unreadable> {
        let by_design = UNREADABLE_BY_DESIGN.iter().any(|known| mapping.name.contains(known));
        let what = format!("{:x}-{:x} {} {}", mapping.begin, mapping.end, mapping.permissions, mapping.name);
        self.reason.map(|reason| Unreadable { what, bytes: self.bytes, reason, by_design })
    }
}
