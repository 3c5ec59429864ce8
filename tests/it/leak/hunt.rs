//! Looks into the daemon's memory, its registers and its core for what must not be there.
//! It must never show what it found: names and places only; and never end at the first find, which hides the others.

use sixty::demo::scan::{Forms, Needle, Report, ScanOptions, Verdict, scan, scan_file};
use std::{
    fs::File,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::Command,
    sync::Mutex,
};

/// How a report begins that found something: a build that is meant to leak must be caught for this and nothing else.
pub const FOUND: &str = "left in memory";

/// Whether a secret that must be there is seen.
pub fn sees(pid: u32, secret: &str) -> bool {
    let options = ScanOptions { forms: Forms::Raw, ..ScanOptions::default() };
    !scan(pid, &[Needle::new("what is there", secret.as_bytes())], options).unwrap().hits.is_empty()
}

/// What all looks have found.
#[derive(Default)]
pub struct Finds(Mutex<Vec<String>>);

impl Finds {
    /// Looks for every needle in every form, in the registers too.
    pub fn look(&self, pid: u32, needles: &[Needle], when: &str) {
        self.note(&whole(pid, needles, ScanOptions::default()), when);
    }

    /// Looks for the bytes alone: so many needles that all their forms would take minutes. They are hexadecimal, and
    /// runs as short as usual would be found by chance.
    pub fn look_for_many(&self, pid: u32, needles: &[Needle], when: &str) {
        let options = ScanOptions { forms: Forms::Raw, sub: 12, ..ScanOptions::default() };
        self.note(&whole(pid, needles, options), when);
    }

    /// Looks into a file, which may be full of hashes.
    pub fn look_into(&self, path: &Path, needles: &[Needle], when: &str) {
        let options = ScanOptions { sub: 16, ..ScanOptions::default() };
        self.note(&scan_file(path, needles, options).unwrap(), when);
    }

    fn note(&self, report: &Report, when: &str) {
        eprintln!("{when}: {} hits in {} bytes", report.hits.len(), report.bytes);
        assert_ne!(report.verdict(), Verdict::Incomplete, "not everything could be read, {when}:\n{report}");
        let hits = report.hits.iter().map(|hit| format!("{FOUND}, {when}: {hit}"));
        self.0.lock().unwrap().extend(hits);
    }

    /// Looks for tokens that nobody was given: whatever begins like one and goes on with the letters of one.
    pub fn look_for_unknown_tokens(&self, pid: u32, when: &str) {
        let memory = File::open(format!("/proc/{pid}/mem")).unwrap();
        let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
        for line in maps.lines().filter(|line| line.contains(" rw-p ")) {
            let (begin, end) = line.split_once(' ').unwrap().0.split_once('-').unwrap();
            let [begin, end] = [begin, end].map(|address| u64::from_str_radix(address, 16).unwrap());
            let mut bytes = vec![0; (end - begin) as usize];
            memory.read_exact_at(&mut bytes, begin).unwrap();
            let tokens = bytes.windows(20).filter(|bytes| is_token(bytes)).count();
            let find =
                (tokens > 0).then(|| format!("{FOUND}, {when}: {tokens} tokens that nobody was given, in {line}"));
            self.0.lock().unwrap().extend(find);
        }
    }

    /// Fails when there is any.
    pub fn are_none(&self) {
        let finds = self.0.lock().unwrap();
        assert!(finds.is_empty(), "{} finds\n{}", finds.len(), finds.join("\n"));
    }
}

fn is_token(bytes: &[u8]) -> bool {
    let rest = bytes.strip_prefix(b"st-").or_else(|| bytes.strip_prefix(b"sixty_")).unwrap_or_default();
    let some = |kind: fn(&u8) -> bool| rest.iter().any(kind);
    // Random letters are of every kind; words of a program are not.
    rest.iter().all(u8::is_ascii_alphanumeric)
        && some(u8::is_ascii_digit)
        && some(u8::is_ascii_uppercase)
        && some(u8::is_ascii_lowercase)
}

/// A core of the running process by gcore(1); none when it is not to be had.
pub fn take_core(pid: u32, prefix: &Path) -> Option<PathBuf> {
    let taken = Command::new("gcore").arg("-a").arg("-o").arg(prefix).arg(pid.to_string()).output().ok()?;
    let core = PathBuf::from(format!("{}.{pid}", prefix.display()));
    taken.status.success().then_some(core)
}

/// A heap that is given back to the kernel while it is read was not read whole: then it is looked at again.
fn whole(pid: u32, needles: &[Needle], options: ScanOptions) -> Report {
    let look = || scan(pid, needles, options).unwrap();
    (0..5).map(|_| look()).find(|report| report.verdict() != Verdict::Incomplete).unwrap_or_else(look)
}
