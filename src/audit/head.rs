//! The head: how far the audit has come, in a second small file, so that a cut tail shows.
//! It must never be half written: two slots are written in turn, and the newer one whose check digits fit is the head.

use super::chain::{Hash, Link};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

/// Bytes of a slot, padding and newline included.
const SLOT: usize = 256;

/// What the head tells of the audit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    /// Records, and the hash of the last.
    pub(super) link: Link,
    /// Bytes of the file that they end at.
    pub(super) length: u64,
    /// The file's inode number: tells a file that was put aside from one that was emptied.
    pub(super) inode: u64,
}

/// The head file, open and locked: two writers would break the chain.
pub(super) struct Head {
    file: File,
    turn: u64,
}

impl Head {
    /// Opens or makes the head file, and tells what it says.
    ///
    /// # Errors
    /// `WouldBlock` when another process holds it; else what the kernel said.
    pub(super) fn open(path: &Path) -> io::Result<(Self, Option<Mark>)> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).mode(0o600).custom_flags(nix::libc::O_NOFOLLOW);
        let file = options.open(path)?;
        file.try_lock().map_err(|fault| match fault {
            TryLockError::WouldBlock => io::ErrorKind::WouldBlock.into(),
            TryLockError::Error(error) => error,
        })?;
        let (mark, turn) = newest(&file)?;
        Ok((Self { file, turn }, mark))
    }

    /// Lets another process write.
    ///
    /// # Errors
    /// What the kernel said.
    pub(super) fn unlock(&self) -> io::Result<()> {
        self.file.unlock()
    }

    /// Writes the mark over the older slot: one pwrite, no sync.
    pub(super) fn put(&mut self, mark: &Mark) -> io::Result<()> {
        let turn = self.turn + 1;
        self.file.write_all_at(&slot(mark), turn % 2 * SLOT as u64)?;
        self.turn = turn;
        Ok(())
    }
}

/// What a head file says; none when it is empty or neither slot can be read.
///
/// # Errors
/// What the kernel said.
pub(super) fn read(path: &Path) -> io::Result<Option<Mark>> {
    Ok(newest(&File::open(path)?)?.0)
}

/// The newer mark, and the number of the slot it is in.
fn newest(file: &File) -> io::Result<(Option<Mark>, u64)> {
    let mut found: (Option<Mark>, u64) = (None, 1);
    for turn in 0..2 {
        let mut bytes = [0; SLOT];
        match file.read_exact_at(&mut bytes, turn * SLOT as u64) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => continue,
            other => other?,
        }
        let mark = parsed(&bytes);
        if mark.map(age) > found.0.map(age) {
            found = (mark, turn);
        }
    }
    Ok(found)
}

/// A file that goes on in a new one has fewer bytes but no fewer records.
fn age(mark: Mark) -> u64 {
    mark.link.seq
}

fn slot(mark: &Mark) -> [u8; SLOT] {
    let mut bytes = [b' '; SLOT];
    bytes[SLOT - 1] = b'\n';
    let Mark { link: Link { seq, prev }, length, inode } = mark;
    let mut rest = &mut bytes[..];
    let hash = prev.as_str();
    let text = write!(rest, "sixty-audit-head-1 records={seq} last={hash} length={length} inode={inode} check=");
    text.expect("invariant: four numbers and a hash are shorter than a slot");
    let end = SLOT - rest.len();
    let check = crc32fast::hash(&bytes[..end]);
    write!(&mut bytes[end..], "{check:08x}").expect("invariant: as above");
    bytes
}

fn parsed(bytes: &[u8; SLOT]) -> Option<Mark> {
    let text = str::from_utf8(bytes).ok()?.trim_end();
    let (told, check) = text.rsplit_once("check=")?;
    if format!("{:08x}", crc32fast::hash(&bytes[..told.len() + "check=".len()])) != check {
        return None;
    }
    let mut words = told.strip_prefix("sixty-audit-head-1 ")?.split(' ');
    let mut value = |name: &str| words.next()?.strip_prefix(name)?.strip_prefix('=');
    Some(Mark {
        link: Link { seq: value("records")?.parse().ok()?, prev: Hash::parse(value("last")?)? },
        length: value("length")?.parse().ok()?,
        inode: value("inode")?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::fixture::Dir;

    fn mark(seq: u64) -> Mark {
        Mark { link: Link { seq, prev: Hash::of(&seq.to_le_bytes()) }, length: seq * 300, inode: 7 }
    }

    #[test]
    fn the_newest_mark_is_told_after_a_restart() {
        let dir = Dir::new();
        let path = dir.path("head");
        for seq in 0..5_u64 {
            let (mut head, told) = Head::open(&path).unwrap();
            assert_eq!(told, seq.checked_sub(1).map(mark));
            head.put(&mark(seq)).unwrap();
            assert_eq!(read(&path).unwrap(), Some(mark(seq)));
        }
    }

    #[test]
    fn a_torn_slot_leaves_the_mark_before_it() {
        let whole = [slot(&mark(8)), slot(&mark(9))].concat();
        let dir = Dir::new();
        let path = dir.path("head");
        for cut in SLOT..2 * SLOT {
            let mut torn = whole.clone();
            torn[cut..].fill(0);
            std::fs::write(&path, &torn).unwrap();
            let (mut head, told) = Head::open(&path).unwrap();
            let seq = told.unwrap().link.seq;
            assert!(seq == 8 || (seq == 9 && cut > SLOT + 100), "cut at {cut}");
            head.put(&mark(10)).unwrap();
            assert_eq!(read(&path).unwrap(), Some(mark(10)), "the torn slot was the one to write to");
        }
    }

    #[test]
    fn a_mark_of_the_largest_numbers_fits_its_slot() {
        let most = Mark { link: Link { seq: u64::MAX, prev: Hash::ZERO }, length: u64::MAX, inode: u64::MAX };
        assert_eq!(parsed(&slot(&most)), Some(most));
    }

    #[test]
    fn two_writers_are_one_too_many() {
        let dir = Dir::new();
        let (first, _) = Head::open(&dir.path("head")).unwrap();
        let second = Head::open(&dir.path("head")).err().unwrap();
        assert_eq!(second.kind(), io::ErrorKind::WouldBlock);
        drop(first);
        assert!(Head::open(&dir.path("head")).is_ok());
    }
}
