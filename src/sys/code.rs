//! Code that was run and is not needed now: half of the program is for its start. It must never touch a page that could
//! have been written: the next look at one brings back what the file has.
#![allow(unsafe_code)]

use std::num::ParseIntError;
use std::ops::Range;

/// Lets go of all code that is mapped from files. What runs on comes back page by page, from the page cache.
pub fn give_back() {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    for area in maps.lines().filter_map(code) {
        // SAFETY: pages of a file that are not writable and never were, since code is position-independent and the loader
        // writes to none of it: dropped ones are read from the file again (madvise(2), MADV_DONTNEED).
        unsafe { libc::madvise(area.start as *mut libc::c_void, area.len(), libc::MADV_DONTNEED) };
    }
}

/// Where the line of /proc/PID/maps has code of a file.
fn code(line: &str) -> Option<Range<usize>> {
    let mut words = line.split_ascii_whitespace();
    let (range, rights) = (words.next()?, words.next()?);
    let of_a_file = words.nth(3).is_some_and(|path| path.starts_with('/'));
    let (start, end) = range.split_once('-')?;
    let hex = |text| -> Result<usize, ParseIntError> { usize::from_str_radix(text, 16) };
    (rights == "r-xp" && of_a_file).then_some(hex(start).ok()?..hex(end).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_code_of_files_is_let_go() {
        assert_eq!(code("7f00-8f00 r-xp 00001000 fe:00 42   /usr/bin/sixty"), Some(0x7f00..0x8f00));
        for line in [
            "7f00-8f00 r--p 00001000 fe:00 42   /usr/bin/sixty",
            "7f00-8f00 rw-p 00001000 fe:00 42   /usr/bin/sixty",
            "7f00-8f00 r-xp 00000000 00:00 0    [vdso]",
            "7f00-8f00 r-xp 00000000 00:00 0 ",
            "",
        ] {
            assert_eq!(code(line), None, "{line}");
        }
    }

    #[test]
    fn what_was_let_go_is_gone_and_runs_on() {
        let code = || -> usize {
            let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
            let areas = maps.split("VmFlags").filter(|area| area.lines().any(|line| self::code(line).is_some()));
            let resident = |area: &str| {
                area.lines().find_map(|line| line.strip_prefix("Rss:")?.split(' ').rev().nth(1)?.parse::<usize>().ok())
            };
            areas.filter_map(resident).sum()
        };
        let before = code();
        give_back();
        // Other tests run meanwhile, and take some back.
        assert!(code() < before, "{before} kB are still there");
    }
}
