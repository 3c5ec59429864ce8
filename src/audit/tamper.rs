//! Each way to change an audit by hand, and the line that the verifier names for it.

use super::fixture::{Dir, decide, open, options, verified};
use super::*;
use std::fs;

const LINES: usize = 7;

/// Changes a good audit of seven lines, and tells the line that is named.
fn named_after(change: impl FnOnce(&mut Vec<String>)) -> Option<u64> {
    let dir = Dir::new();
    let audit = open(&dir);
    (0..LINES as u64).for_each(|request| decide(&audit, request).unwrap());
    drop(audit);
    let path = options(&dir).path;
    let mut lines: Vec<String> = fs::read_to_string(&path).unwrap().split_inclusive('\n').map(Into::into).collect();
    change(&mut lines);
    fs::write(&path, lines.concat()).unwrap();
    verified(&dir).err().map(|broken| broken.line)
}

#[test]
fn an_untouched_audit_verifies() {
    assert_eq!(named_after(|_| ()), None);
}

#[test]
fn every_edited_line_is_named() {
    for at in 0..LINES {
        let named = named_after(|lines| lines[at] = lines[at].replace("curl", "wget"));
        assert_eq!(named, Some(at as u64 + 1));
    }
}

#[test]
fn every_changed_byte_is_named() {
    let mut length = 1;
    let mut byte = 0;
    while byte < length {
        let named = named_after(|lines| {
            length = lines[3].len();
            let mut bytes = std::mem::take(&mut lines[3]).into_bytes();
            // Stays ASCII, and a newline becomes another byte.
            bytes[byte] ^= 1;
            lines[3] = String::from_utf8(bytes).unwrap();
        });
        assert!(matches!(named, Some(4)), "byte {byte}: {named:?}");
        byte += 1;
    }
}

#[test]
fn every_wrong_prev_is_named() {
    for at in 1..LINES {
        let named = named_after(|lines| {
            let prev = lines[at].rfind(r#""prev":""#).unwrap() + 8;
            lines[at].replace_range(prev..prev + 8, "00000000");
        });
        assert_eq!(named, Some(at as u64 + 1));
    }
}

#[test]
fn every_removed_line_is_named_by_what_stands_in_its_place() {
    for at in 0..LINES {
        assert_eq!(named_after(|lines| drop(lines.remove(at))), Some(at as u64 + 1));
    }
}

#[test]
fn every_copied_line_is_named() {
    for at in 0..LINES {
        let named = named_after(|lines| lines.insert(at + 1, lines[at].clone()));
        assert_eq!(named, Some(at as u64 + 2));
    }
}

#[test]
fn every_two_lines_that_changed_places_are_named() {
    for at in 0..LINES - 1 {
        assert_eq!(named_after(|lines| lines.swap(at, at + 1)), Some(at as u64 + 1));
    }
}

#[test]
fn every_forged_line_that_was_put_in_is_named() {
    for at in 0..LINES {
        // As good as a forger can make it: right number, right hash.
        let forged = named_after(|lines| {
            let line = lines[at].replace("curl", "wget");
            lines.insert(at, line);
        });
        assert_eq!(forged, Some(at as u64 + 1));
        assert_eq!(named_after(|lines| lines.insert(at, "garbage\n".into())), Some(at as u64 + 1));
        assert_eq!(named_after(|lines| lines.insert(at, "\n".into())), Some(at as u64 + 1));
    }
}

#[test]
fn every_cut_tail_is_named() {
    for left in 0..LINES {
        assert_eq!(named_after(|lines| lines.truncate(left)), Some(left as u64 + 1));
    }
    assert_eq!(named_after(|lines| drop(lines[LINES - 1].drain(100..))), Some(LINES as u64));
}

#[test]
fn a_forged_recovery_does_not_cover_a_removed_line() {
    let named = named_after(|lines| {
        let prev = lines[3].rfind(r#""prev""#).unwrap();
        let forged = format!(
            r#"{{"seq":3,"time":"","record":"recovered","torn":8,"torn_sha256":"{}",{}"#,
            chain::Hash::of(b"garbage\n").as_str(),
            &lines[3][prev..]
        );
        lines[3] = format!("garbage\n{forged}");
    });
    assert_eq!(named, Some(5), "the forged line itself: the next one carries another hash");
}

#[test]
fn an_edited_end_of_the_old_file_is_named_there() {
    let dir = Dir::new();
    let audit = open(&dir);
    let (AuditOptions { path, .. }, old) = (options(&dir), dir.path("old"));
    (0..3).for_each(|request| decide(&audit, request).unwrap());
    fs::rename(&path, &old).unwrap();
    audit.reopen().unwrap();
    decide(&audit, 4).unwrap();
    let edited = fs::read_to_string(&old).unwrap();
    let last = edited.rfind("curl").unwrap();
    fs::write(&old, format!("{}wget{}", &edited[..last], &edited[last + 4..])).unwrap();
    let VerifyError::Broken(broken) = verify(&[old.clone(), path], None).unwrap_err() else { panic!("it was read") };
    assert_eq!((broken.file, broken.line), (old, 3));
}

#[test]
fn lines_added_behind_the_head_are_counted() {
    let dir = Dir::new();
    let audit = open(&dir);
    decide(&audit, 1).unwrap();
    let head = fs::read(options(&dir).head_path).unwrap();
    decide(&audit, 2).unwrap();
    drop(audit);
    fs::write(options(&dir).head_path, head).unwrap();
    assert_eq!(verified(&dir).unwrap().beyond_head, 1);
}

#[test]
fn a_head_of_another_audit_does_not_vouch() {
    let (one, other) = (Dir::new(), Dir::new());
    for dir in [&one, &other] {
        let audit = open(dir);
        (0..3).for_each(|request| decide(&audit, request).unwrap());
    }
    fs::copy(options(&other).head_path, options(&one).head_path).unwrap();
    assert_eq!(verified(&one).unwrap_err().line, 3);
    fs::write(options(&one).head_path, "").unwrap();
    let fault = verify(&[options(&one).path], Some(&options(&one).head_path)).unwrap_err();
    assert!(matches!(fault, VerifyError::NoHead(_)));
}
