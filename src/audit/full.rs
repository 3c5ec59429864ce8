//! The promises of the writer on a disk that is full, or fills in the middle of a line.

use super::fixture::{Dir, decide, kill, open, options, outcome, text, verified};
use super::log::Sink;
use super::*;
use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A disk with so much room left, behind the real file.
struct Tight {
    room: Arc<AtomicUsize>,
    file: File,
}

impl Sink for Tight {
    fn append(&self, bytes: &[u8]) -> io::Result<usize> {
        let part = bytes.len().min(self.room.load(Ordering::Relaxed));
        if part == 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.room.fetch_sub(part, Ordering::Relaxed);
        self.file.append(&bytes[..part])
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

fn on_tight_disk(dir: &Dir, room: usize) -> (Audit, Arc<AtomicUsize>) {
    let audit = open(dir);
    let room = Arc::new(AtomicUsize::new(room));
    let file = file::append_only(&options(dir).path, 0o600).unwrap();
    audit.lock().log.sink = Arc::new(Tight { room: Arc::clone(&room), file });
    (audit, room)
}

#[test]
fn a_disk_that_fills_at_any_byte_refuses_and_recovers() {
    for room in 1..900 {
        let dir = Dir::new();
        let (audit, left) = on_tight_disk(&dir, room);
        let refused = (0..3).filter(|request| decide(&audit, *request).is_err()).count();
        if refused > 0 {
            assert!(audit.status().failing.is_some());
            left.store(usize::MAX, Ordering::Relaxed);
            decide(&audit, 9).unwrap();
        }
        assert_eq!(audit.status().failing, None);
        let found = verified(&dir).unwrap_or_else(|broken| panic!("room {room}: {broken}"));
        assert_eq!((found.records, found.recovered), (3 + u64::from(refused > 0), 0));
    }
}

#[test]
fn a_daemon_killed_on_a_full_disk_leaves_an_audit_that_heals() {
    for room in (1..500).step_by(7) {
        let dir = Dir::new();
        let (audit, _) = on_tight_disk(&dir, room);
        let _ = decide(&audit, 1);
        let _ = decide(&audit, 2);
        kill(audit);
        decide(&open(&dir), 3).unwrap();
        assert!(verified(&dir).is_ok(), "room {room}");
    }
}

#[test]
fn a_disk_that_stays_full_costs_bounded_memory_and_what_is_lost_is_counted() {
    let dir = Dir::new();
    let (audit, left) = on_tight_disk(&dir, 0);
    for request in 0..2000 {
        assert!(decide(&audit, request).is_err());
        audit.outcome(&outcome(request));
    }
    let lost = audit.status().unrecorded;
    assert!(lost.decisions > 0 && lost.outcomes > 0);
    assert!(audit.lock().log.staged.len() <= 256 << 10);
    left.store(usize::MAX, Ordering::Relaxed);
    decide(&audit, 2001).unwrap();
    assert_eq!(audit.status().unrecorded, Unrecorded::default());
    let told = format!(r#""decisions":{},"outcomes":{},"actions":0"#, lost.decisions, lost.outcomes);
    assert!(text(&dir).contains(&told));
    assert_eq!(verified(&dir).unwrap().records, 4002 - lost.decisions - lost.outcomes);
}

#[test]
fn the_kernels_own_full_device_refuses() {
    let dir = Dir::new();
    let audit = open(&dir);
    let full = fs::OpenOptions::new().append(true).open("/dev/full").unwrap();
    audit.lock().log.sink = Arc::new(full);
    let Err(AuditError::Write { source, .. }) = decide(&audit, 1) else { panic!("it was written") };
    assert_eq!(source.kind(), io::ErrorKind::StorageFull);
    audit.lock().log.sink = Arc::new(file::append_only(&options(&dir).path, 0o600).unwrap());
    audit.flush().unwrap();
    assert_eq!(verified(&dir).unwrap().records, 1);
}

#[test]
fn a_rotation_on_a_full_disk_waits_until_the_old_file_has_its_lines() {
    let dir = Dir::new();
    let (audit, left) = on_tight_disk(&dir, 100);
    assert!(decide(&audit, 1).is_err());
    let (path, old) = (options(&dir).path, dir.path("old"));
    fs::rename(&path, &old).unwrap();
    assert!(audit.reopen().is_err());
    left.store(usize::MAX, Ordering::Relaxed);
    audit.flush().unwrap();
    decide(&audit, 2).unwrap();
    let found = verify(&[old, path], Some(&options(&dir).head_path)).unwrap();
    assert_eq!((found.records, found.recovered), (3, 0));
}
