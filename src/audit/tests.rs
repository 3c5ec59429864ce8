//! The promises of the writer: order, wholeness after a kill, rotation.

use super::fixture::{Dir, at_once, decide, kill, open, options, outcome, principal, text, verified};
use super::*;
use crate::model::{Code, Fingerprint, RequestId};
use std::fs;

#[test]
fn a_decision_is_in_the_file_before_it_is_let_pass_and_an_outcome_comes_with_the_next() {
    let dir = Dir::new();
    let audit = open(&dir);
    decide(&audit, 1).unwrap();
    assert_eq!(text(&dir).lines().count(), 1);
    audit.outcome(&outcome(1));
    assert_eq!((text(&dir).lines().count(), audit.status().waiting), (1, 1));
    decide(&audit, 2).unwrap();
    assert_eq!(text(&dir).lines().count(), 3);
    audit.outcome(&outcome(2));
    audit.flush().unwrap();
    assert_eq!(verified(&dir).unwrap(), Verified { records: 4, last: 3, ..Verified::default() });
}

#[test]
fn the_last_outcomes_are_written_when_the_daemon_ends() {
    let dir = Dir::new();
    let audit = open(&dir);
    decide(&audit, 1).unwrap();
    audit.outcome(&outcome(1));
    drop(audit);
    assert_eq!(verified(&dir).unwrap().records, 2);
}

#[test]
fn the_chain_goes_on_after_a_restart_without_a_word() {
    let dir = Dir::new();
    for request in 0..5 {
        decide(&open(&dir), request).unwrap();
    }
    assert_eq!(verified(&dir).unwrap().records, 5);
    assert!(!text(&dir).contains("recovered"));
}

#[test]
fn the_hash_is_what_sha256sum_makes_of_the_line_before() {
    let dir = Dir::new();
    let audit = open(&dir);
    decide(&audit, 1).unwrap();
    decide(&audit, 2).unwrap();
    let text = text(&dir);
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    assert!(lines[1].contains(chain::Hash::of(lines[0].as_bytes()).as_str()));
}

#[test]
fn every_action_has_its_record_and_no_field_for_a_secret() {
    let dir = Dir::new();
    let audit = open(&dir);
    let (key, fingerprint) = ("dashscope/main".parse().unwrap(), Fingerprint("0123456789abcdef".into()));
    let change = KeyChange { key: &key, fingerprint: &fingerprint, generation: 7 };
    let who = principal("/usr/bin/sixty");
    let actions = [
        Action::Started { version: "0.1.0" },
        Action::KeyAdded(change),
        Action::KeyRotated(change),
        Action::KeyRemoved(change),
        Action::KeyQuarantined(change),
        Action::KeyRestored(change),
        Action::Locked,
        Action::Unlocked,
        Action::UnlockFailed,
        Action::Reloaded,
        Action::ReloadRefused,
        Action::Revoked { which: Which::Key(&key), leases: 3 },
        Action::Revoked { which: Which::All, leases: 0 },
        Action::PeerRefused { uid: None, why: "the connector is dead" },
        Action::Stopped,
        Action::HandedOver,
        Action::TakeoverFailed,
        Action::Inherited { leases: 3 },
    ];
    for action in actions {
        audit.action(Some(&who), action).unwrap();
    }
    assert_eq!(verified(&dir).unwrap().records, actions.len() as u64);
    let second: serde_json::Value = serde_json::from_str(text(&dir).lines().nth(1).unwrap()).unwrap();
    assert_eq!((&second["record"], &second["generation"]), (&"key_added".into(), &7.into()));
    assert_eq!((&second["fingerprint"], &second["by"]["uid"]), (&"0123456789abcdef".into(), &1000.into()));
}

#[test]
fn a_kill_at_every_byte_of_a_write_is_healed() {
    let dir = Dir::new();
    let audit = open(&dir);
    decide(&audit, 1).unwrap();
    let before = (fs::read(options(&dir).path).unwrap(), fs::read(options(&dir).head_path).unwrap());
    audit.outcome(&outcome(1));
    decide(&audit, 2).unwrap();
    drop(audit);
    let after = fs::read(options(&dir).path).unwrap();
    for cut in before.0.len()..=after.len() {
        fs::write(options(&dir).path, &after[..cut]).unwrap();
        fs::write(options(&dir).head_path, &before.1).unwrap();
        let found = verified(&dir).unwrap_or_else(|broken| panic!("before it is healed, cut at {cut}: {broken}"));
        let text_now = text(&dir);
        let torn = serde_json::from_str::<serde_json::Value>(text_now.lines().last().unwrap()).is_err();
        assert_eq!(found.torn > 0, torn, "cut at {cut}");
        decide(&open(&dir), 3).unwrap();
        let found = verified(&dir).unwrap_or_else(|broken| panic!("cut at {cut}: {broken}"));
        assert_eq!(text(&dir).contains(r#""record":"recovered""#), cut > before.0.len(), "cut at {cut}");
        assert_eq!((found.torn, found.beyond_head), (0, 0));
    }
}

#[test]
fn a_kill_while_it_is_healed_is_healed_too() {
    let dir = Dir::new();
    let audit = open(&dir);
    decide(&audit, 1).unwrap();
    drop(audit);
    let head = fs::read(options(&dir).head_path).unwrap();
    let torn = [text(&dir).as_bytes(), br#"{"seq":1,"ti"#].concat();
    fs::write(options(&dir).path, &torn).unwrap();
    drop(open(&dir));
    let healed = fs::read(options(&dir).path).unwrap();
    for cut in torn.len()..healed.len() {
        fs::write(options(&dir).path, &healed[..cut]).unwrap();
        fs::write(options(&dir).head_path, &head).unwrap();
        decide(&open(&dir), 2).unwrap();
        let found = verified(&dir).unwrap_or_else(|broken| panic!("cut at {cut}: {broken}"));
        assert_eq!((found.recovered, found.torn), (1, 0), "cut at {cut}");
    }
}

#[test]
fn a_killed_daemon_loses_outcomes_and_no_decision() {
    let dir = Dir::new();
    let audit = open(&dir);
    decide(&audit, 1).unwrap();
    audit.outcome(&outcome(1));
    kill(audit);
    assert_eq!(verified(&dir).unwrap().records, 1);
    assert_eq!(open(&dir).status().tail_missing, None);
}

#[test]
fn a_cut_tail_is_told_at_the_next_start_and_ever_after() {
    let dir = Dir::new();
    let audit = open(&dir);
    (0..5).for_each(|request| decide(&audit, request).unwrap());
    drop(audit);
    let whole = text(&dir);
    let kept: String = whole.split_inclusive('\n').take(3).collect();
    fs::write(options(&dir).path, kept).unwrap();
    assert_eq!(verified(&dir).unwrap_err().line, 4);
    let audit = open(&dir);
    let told = audit.status().tail_missing.unwrap();
    assert_eq!((told.counted, told.found), (Some(5), Some(3)));
    decide(&audit, 6).unwrap();
    let broken = verified(&dir).unwrap_err();
    assert_eq!(broken.line, 4);
    assert!(broken.why.contains("records 3 to 4 are missing"), "{broken}");
}

#[test]
fn an_emptied_file_and_a_lost_head_are_told() {
    for (file, line) in [("audit.ndjson", 1), ("audit.head", 3)] {
        let dir = Dir::new();
        let audit = open(&dir);
        (0..2).for_each(|request| decide(&audit, request).unwrap());
        drop(audit);
        fs::OpenOptions::new().write(true).truncate(true).open(dir.path(file)).unwrap();
        let audit = open(&dir);
        assert!(audit.status().tail_missing.is_some(), "{file}");
        assert_eq!(verified(&dir).unwrap_err().line, line, "{file}");
    }
}

#[test]
fn a_cut_while_in_use_shows_in_the_status() {
    let dir = Dir::new();
    let audit = open(&dir);
    decide(&audit, 1).unwrap();
    assert_eq!(audit.status().meddled, None);
    fs::OpenOptions::new().write(true).truncate(true).open(options(&dir).path).unwrap();
    assert!(audit.status().meddled.unwrap().contains("cut"));
}

#[test]
fn the_chain_goes_on_across_rotated_files() {
    let dir = Dir::new();
    let audit = open(&dir);
    let AuditOptions { path, head_path, .. } = options(&dir);
    let paths = [dir.path("audit.ndjson.2"), dir.path("audit.ndjson.1"), path.clone()];
    decide(&audit, 1).unwrap();
    audit.outcome(&outcome(1));
    fs::rename(&path, &paths[0]).unwrap();
    audit.reopen().unwrap();
    decide(&audit, 2).unwrap();
    drop(audit);
    // Rotated while nobody writes.
    fs::rename(&path, &paths[1]).unwrap();
    decide(&open(&dir), 3).unwrap();
    let found = verify(&paths, Some(&head_path)).unwrap();
    assert_eq!((found.records, found.last), (6, 5));
    assert_eq!(verify(&paths[1..], Some(&head_path)).unwrap().first, 2);
    let gap = [paths[0].clone(), paths[2].clone()];
    let VerifyError::Broken(broken) = verify(&gap, None).unwrap_err() else { panic!("it was read") };
    assert_eq!((broken.file, broken.line), (path, 1));
}

#[test]
fn a_kill_at_every_byte_of_a_new_files_first_record_is_healed() {
    let dir = Dir::new();
    let audit = open(&dir);
    let AuditOptions { path, head_path, .. } = options(&dir);
    decide(&audit, 1).unwrap();
    let old = dir.path("old");
    fs::rename(&path, &old).unwrap();
    let head = fs::read(&head_path).unwrap();
    audit.reopen().unwrap();
    drop(audit);
    let first = fs::read(&path).unwrap();
    for cut in 0..=first.len() {
        fs::write(&path, &first[..cut]).unwrap();
        fs::write(&head_path, &head).unwrap();
        let audit = open(&dir);
        assert_eq!(audit.status().tail_missing, None, "cut at {cut}");
        decide(&audit, 2).unwrap();
        drop(audit);
        let both = verify(&[old.clone(), path.clone()], Some(&head_path));
        assert!(both.is_ok(), "cut at {cut}: {both:?}");
        assert!(verified(&dir).is_ok(), "cut at {cut}");
    }
}

#[test]
fn records_that_the_head_does_not_count_are_not_lost_with_a_file_that_was_put_aside_after_a_kill() {
    let dir = Dir::new();
    let audit = open(&dir);
    let (AuditOptions { path, head_path, .. }, old) = (options(&dir), dir.path("old"));
    decide(&audit, 1).unwrap();
    let head = fs::read(&head_path).unwrap();
    decide(&audit, 2).unwrap();
    drop(audit);
    let whole = fs::read(&path).unwrap();
    for torn in [0, 1, 100] {
        // Killed before the head was written, and in the middle of one more line.
        fs::write(&head_path, &head).unwrap();
        fs::write(&path, [&whole, &whole[..torn]].concat()).unwrap();
        fs::rename(&path, &old).unwrap();
        let audit = open(&dir);
        decide(&audit, 3).unwrap();
        drop(audit);
        let first: serde_json::Value = serde_json::from_str(text(&dir).lines().next().unwrap()).unwrap();
        assert_eq!(first["seq"], 2, "no number is given twice: {first}");
        match torn {
            0 => assert_eq!((&first["record"], &first["beyond_head"]), (&"recovered".into(), &1.into())),
            _ => assert_eq!((&first["record"], &first["found"]), (&"tail_missing".into(), &2.into())),
        }
        if torn == 0 {
            assert_eq!(verify(&[old.clone(), path.clone()], Some(&head_path)).unwrap().records, 4);
        }
        fs::rename(&old, &path).unwrap();
    }
}

#[test]
fn reopening_a_file_that_was_not_put_aside_changes_nothing() {
    let dir = Dir::new();
    let audit = open(&dir);
    decide(&audit, 1).unwrap();
    audit.reopen().unwrap();
    assert_eq!(text(&dir).lines().count(), 1);
    fs::rename(options(&dir).path, dir.path("old")).unwrap();
    fs::write(options(&dir).path, "not ours\n").unwrap();
    assert!(matches!(audit.reopen(), Err(AuditError::NotEmpty(_))));
    decide(&audit, 2).unwrap();
    assert_eq!(fs::read_to_string(dir.path("old")).unwrap().lines().count(), 2);
}

#[test]
fn a_follower_sees_each_line_once() {
    let dir = Dir::new();
    let audit = open(&dir);
    decide(&audit, 1).unwrap();
    audit.outcome(&outcome(1));
    let Follow { past, mut next } = audit.follow();
    decide(&audit, 2).unwrap();
    audit.outcome(&outcome(2));
    audit.flush().unwrap();
    let mut seen: Vec<String> = past.map(Result::unwrap).collect();
    assert_eq!(seen.len(), 2);
    seen.extend(std::iter::from_fn(|| next.try_recv().ok()).map(|line| line.trim_end().to_owned()));
    assert_eq!(seen, text(&dir).lines().collect::<Vec<_>>());
}

#[test]
fn a_refusal_before_the_judgement_is_recorded_too() {
    let dir = Dir::new();
    let audit = open(&dir);
    let principal = principal("/usr/bin/curl");
    let judged = Judged::Refused { key: None, code: Code::Locked };
    at_once(audit.decide(&Decision { request: RequestId(1), principal: &principal, judged })).unwrap();
    assert!(text(&dir).contains(r#""verdict":"refused","code":"locked","peer":"#));
}

#[test]
fn two_daemons_do_not_write_one_audit() {
    let dir = Dir::new();
    let first = open(&dir);
    assert!(matches!(Audit::open(options(&dir), Clock::system()), Err(AuditError::Busy(_))));
    drop(first);
    decide(&open(&dir), 1).unwrap();
}

#[tokio::test]
async fn another_process_writes_on_where_this_one_let_go_and_it_goes_on_behind_that_one() {
    let dir = Dir::new();
    let first = open(&dir);
    first.outcome(&outcome(1));
    assert!(matches!(Audit::open(options(&dir), Clock::system()), Err(AuditError::Busy(_))));
    first.let_go().await.unwrap();
    assert!(first.action(None, Action::Stopped).is_err(), "it writes nothing meanwhile");
    let second = open(&dir);
    second.action(None, Action::Started { version: "2" }).unwrap();
    assert!(matches!(first.take_again(), Err(AuditError::Busy(_))), "one at a time");
    drop(second);
    first.take_again().unwrap();
    first.action(None, Action::TakeoverFailed).unwrap();
    assert_eq!(verified(&dir).unwrap().records, 3);
    assert!(text(&dir).lines().last().unwrap().contains("takeover_failed"));
}
