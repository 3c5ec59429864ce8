//! What comes of a scan: what was found and where, what could not be read, or why there was none.
//!
//! It must never hold a byte of what was looked for.

use std::path::PathBuf;
use std::{fmt, io};

use super::form::Form;
use super::process::Mapping;

/// Where a copy lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In memory.
    Memory {
        /// Where it begins.
        address: u64,
        /// The mapping around it.
        mapping: Mapping,
    },
    /// In a register. A wide register is shown in up to three sets: as the kernel stores it, as ymm and as zmm.
    Register {
        /// The thread's id.
        thread: u32,
        /// The register set.
        set: &'static str,
        /// Bytes from the set's begin.
        offset: u64,
    },
    /// In a file.
    File {
        /// Bytes from the file's begin.
        offset: u64,
    },
}

/// A copy, or a part of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hit {
    /// The needle's name.
    pub needle: String,
    /// How it is written.
    pub form: Form,
    /// Where it lies.
    pub place: Place,
    /// Bytes of the written form before this part.
    pub from: usize,
    /// Bytes of the written form found.
    pub length: usize,
    /// Whether that is all of it.
    pub whole: bool,
}

/// Something that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// The mapping or the thread.
    pub what: String,
    /// Bytes of it; 0 for registers.
    pub bytes: u64,
    /// What the kernel said.
    pub reason: String,
    /// Whether the kernel lets nobody read it: `memfd_secret(2)`, the vdso's data, devices.
    pub by_design: bool,
}

/// What a scan comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Everything was read, nothing found.
    Clean,
    /// At least one copy or part.
    Found,
    /// Nothing found, but not everything could be read.
    Incomplete,
}

/// The outcome of a scan. Its text, by `{}`, has a line for each hit and each unreadable area.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Copies and parts, by address.
    pub hits: Vec<Hit>,
    /// What could not be read.
    pub unreadable: Vec<Unreadable>,
    /// Bytes of memory or file searched.
    pub bytes: u64,
    /// Mappings seen; 0 for a file.
    pub mappings: usize,
    /// Threads whose registers were searched.
    pub threads: usize,
}

impl Report {
    /// Whether anything was found, and if not, whether everything was read.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        if !self.hits.is_empty() {
            Verdict::Found
        } else if self.unreadable.iter().all(|area| area.by_design) {
            Verdict::Clean
        } else {
            Verdict::Incomplete
        }
    }
}

/// Why a scan was not made.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// A needle cannot be told from noise, or is too long.
    #[error("needle {name:?} has {length} bytes\ngive one of {sub} to 65536")]
    Needle {
        /// The needle's name.
        name: String,
        /// Its length in bytes.
        length: usize,
        /// The shortest run that counts.
        sub: usize,
    },
    /// So short a run is found everywhere.
    #[error("a run of {0} bytes is found by chance\nlook for at least 4")]
    Sub(usize),
    /// The needles themselves would be found.
    #[error("a process cannot scan itself\nscan it from another one")]
    Itself,
    /// The kernel does not let us read that process: it is undumpable, or somebody else's.
    #[error("the kernel does not let us read process {pid}\nonly root can, or its own user while it is dumpable")]
    Refused {
        /// The process.
        pid: u32,
    },
    /// There is no such process, or it has ended.
    #[error("process {pid} has no memory any more")]
    Gone {
        /// The process.
        pid: u32,
    },
    /// Procfs failed in another way.
    #[error("cannot read process {pid}: {source}")]
    Process {
        /// The process.
        pid: u32,
        /// What the kernel said.
        source: io::Error,
    },
    /// The file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

impl ScanError {
    pub(super) fn of_process(pid: u32, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::PermissionDenied => Self::Refused { pid },
            io::ErrorKind::NotFound => Self::Gone { pid },
            _ if source.raw_os_error() == Some(libc::ESRCH) => Self::Gone { pid },
            _ => Self::Process { pid, source },
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory { address, mapping: Mapping { begin, permissions, name, .. } } => {
                write!(out, "{address:#x} {permissions} {name}+{:#x}", address - begin)
            }
            Self::Register { thread, set, offset } => write!(out, "thread {thread} {set} registers+{offset:#x}"),
            Self::File { offset } => write!(out, "file+{offset:#x}"),
        }
    }
}

impl fmt::Display for Hit {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { needle, form, place, from, length, whole } = self;
        let extent = if *whole { "whole" } else { "part" };
        write!(out, "{needle}: {extent}, {form}, {length} bytes from byte {from}, at {place}")
    }
}

impl fmt::Display for Unreadable {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, bytes, reason, by_design } = self;
        write!(out, "unreadable{}: {what}, {bytes} bytes: {reason}", if *by_design { " by design" } else { "" })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.hits.iter().try_for_each(|hit| writeln!(out, "{hit}"))?;
        self.unreadable.iter().try_for_each(|area| writeln!(out, "{area}"))?;
        let Self { hits, bytes, mappings, threads, .. } = self;
        write!(out, "{} hits in {bytes} bytes of {mappings} mappings and {threads} threads", hits.len())
    }
}
