//! Records as JSON lines, their fields in a fixed order.
//! It must never write a line of more than [`LINE_MAX`] bytes, nor a value that was not bounded.

use super::chain::{Hash, Link};
use super::fields::Fields;
use super::record::{Action, Approval, Decision, Judged, KeyChange, Outcome, Verdict, Which};
use super::stamp::Stamp;
use super::text::Text;
use crate::model::{Approver, Owner, Principal};
use crate::policy::{Denial, Permit};
use serde::Serialize;

/// The most bytes of a line, with its newline.
pub const LINE_MAX: usize = 4096;

/// What a line says between its time and its hash.
pub(super) enum Body<'a> {
    Decision(&'a Decision<'a>),
    Outcome(&'a Outcome<'a>),
    Action(Option<&'a Principal>, Action<'a>),
    Continued,
    Recovered(Recovered),
    TailMissing(TailMissing),
    Unrecorded(Unrecorded),
}

/// The audit was torn when its writer was killed, and was made whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Recovered {
    /// Bytes of the torn line before this one, with its newline; 0 when it was none or was whole.
    pub torn: u64,
    /// Their hash.
    pub torn_sha256: Option<Hash>,
    /// Whole records that the head did not count yet.
    pub beyond_head: u64,
}

/// The end of the audit is not what the head remembers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct TailMissing {
    /// Records that the head counts; none when there is no head to tell.
    pub counted: Option<u64>,
    /// Records that the file ends with; none when it has none.
    pub found: Option<u64>,
    /// What is wrong.
    pub why: &'static str,
}

/// What could not be recorded while the disk was full.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Unrecorded {
    /// Decisions; each was answered by a refusal.
    pub decisions: u64,
    /// Outcomes.
    pub outcomes: u64,
    /// What operators did.
    pub actions: u64,
}

/// Appends one line to `buffer`.
pub(super) fn write(buffer: &mut Vec<u8>, at: Link, stamp: &mut Stamp, body: &Body<'_>) {
    Fields::object(buffer, |line| {
        line.number("seq", at.seq);
        line.word("time", stamp.now());
        line.word("record", name(body));
        match body {
            Body::Decision(decision) => write_decision(line, decision),
            Body::Outcome(outcome) => write_outcome(line, outcome),
            Body::Action(by, action) => write_action(line, *by, action),
            Body::Continued => {}
            Body::Recovered(recovered) => write_recovered(line, recovered),
            Body::TailMissing(missing) => write_missing(line, missing),
            Body::Unrecorded(lost) => write_unrecorded(line, lost),
        }
        line.word("prev", at.prev.as_str());
    });
    buffer.push(b'\n');
}

fn name(body: &Body<'_>) -> &'static str {
    match body {
        Body::Decision(_) => "decision",
        Body::Outcome(_) => "outcome",
        Body::Action(_, action) => action.name(),
        Body::Continued => "continued",
        Body::Recovered(_) => "recovered",
        Body::TailMissing(_) => "tail_missing",
        Body::Unrecorded(_) => "unrecorded",
    }
}

fn write_decision(line: &mut Fields<'_>, decision: &Decision<'_>) {
    line.shown("request", &decision.request);
    match decision.judged {
        Judged::Permit(permit, approval) => {
            write_permit(line, permit);
            line.some(approval, write_approval);
        }
        Judged::Use { permit, lease, node, approval } => {
            line.word("verdict", "use");
            line.word("key", permit.key().as_str());
            line.text("rule", permit.rule().into());
            line.shown("lease", &lease);
            line.some(node, |line, node| line.shown("node", &node));
            line.some(approval, write_approval);
        }
        Judged::Redeem { lease, key, rule } => {
            line.word("verdict", "redeem");
            line.word("key", key.as_str());
            line.text("rule", rule.into());
            line.shown("lease", &lease);
        }
        Judged::Denied { key, denial } => {
            line.word("verdict", "denied");
            line.word("key", key.as_str());
            write_denial(line, denial);
        }
        Judged::Unapproved { key, rule, why, by } => {
            line.word("verdict", "denied");
            line.word("key", key.as_str());
            line.text("reason", why.into());
            line.text("rule", rule.into());
            line.some(by, |line, by| line.nested("by", |line| write_approver(line, by)));
        }
        Judged::Refused { key, code } => {
            line.word("verdict", "refused");
            line.word("code", code.name());
            line.some(key, |line, key| line.word("key", key.as_str()));
        }
    }
    line.nested("peer", |peer| write_peer(peer, decision.principal));
}

fn write_permit(line: &mut Fields<'_>, permit: &Permit) {
    line.word("verdict", "permit");
    line.word("key", permit.key().as_str());
    line.text("rule", permit.rule().into());
    line.word("kind", permit.kind().name());
    line.number("ttl", permit.ttl().seconds());
    line.some(permit.uses(), |line, uses| line.number("uses", uses));
    line.word(
        "owner",
        match permit.owner() {
            Owner::Caller => "caller",
            Owner::Parent => "parent",
            Owner::Detached => "detached",
        },
    );
    line.some(permit.recipient(), |line, who| {
        line.nested("for", |line| line.text(who.fact.name(), who.value.as_str().into()));
    });
    if permit.ticket() {
        line.word("as", "ticket");
    }
}

fn write_approval(line: &mut Fields<'_>, approval: Approval) {
    line.nested("approved", |line| {
        write_approver(line, approval.by);
        if approval.remembered {
            line.word("as", "remembered");
        }
    });
}

fn write_approver(line: &mut Fields<'_>, by: Approver) {
    line.word("how", by.how);
    line.number("uid", by.uid);
    line.some(by.pid, |line, pid| line.number("pid", pid));
}

fn write_denial(line: &mut Fields<'_>, denial: &Denial) {
    // The sentence names the rule, so it is bounded too.
    line.text("reason", denial.to_string().as_str().into());
    line.some(denial.rule(), |line, rule| line.text("rule", rule.into()));
}

/// A principal's facts; the absent ones are left out.
fn write_peer(peer: &mut Fields<'_>, who: &Principal) {
    peer.number("uid", who.uid);
    peer.number("gid", who.gid);
    peer.number("pid", who.pid);
    let texts = [
        ("unit", who.unit.as_deref().map(Text::from)),
        ("cgroup", who.cgroup.as_deref().map(Text::from)),
        ("exe", who.exe.as_deref().map(Text::from)),
        ("exe_sha256", who.exe_sha256.as_deref().map(Text::from)),
    ];
    for (name, value) in texts {
        peer.some(value, |peer, value| peer.text(name, value));
    }
    peer.some(who.pid_ns, |peer, inode| peer.number("pid_ns", inode));
    peer.word("socket", who.socket);
}

fn write_outcome(line: &mut Fields<'_>, outcome: &Outcome<'_>) {
    line.shown("request", &outcome.request);
    let (verdict, code) = match outcome.verdict {
        Verdict::Sent => ("sent", None),
        Verdict::Lost => ("lost", None),
        Verdict::Passed(_) => ("passed", None),
        Verdict::Refused(code) => ("refused", Some(code)),
    };
    line.word("verdict", verdict);
    if let Verdict::Passed(status) = outcome.verdict {
        line.number("status", status);
    }
    line.some(code, |line, code| line.word("code", code.name()));
    line.some(outcome.uid, |line, uid| line.number("uid", uid));
    line.some(outcome.key, |line, key| line.word("key", key.as_str()));
    line.some(outcome.reason, |line, reason| line.text("reason", reason.into()));
    line.some(outcome.lease, |line, lease| line.shown("lease", &lease));
    line.some(outcome.expires_at, |line, seconds| line.number("expires_at", seconds));
    line.number("micros", outcome.micros);
}

fn write_action(line: &mut Fields<'_>, by: Option<&Principal>, action: &Action<'_>) {
    match action {
        Action::Started { version } => line.text("version", (*version).into()),
        Action::KeyAdded(change)
        | Action::KeyRotated(change)
        | Action::KeyRemoved(change)
        | Action::KeyTested(change)
        | Action::KeyQuarantined(change)
        | Action::KeyEchoed(change)
        | Action::KeyRestored(change)
        | Action::DecoyAdded(change)
        | Action::DecoyRemoved(change) => write_change(line, change),
        Action::Awake { seconds } => line.number("seconds", *seconds),
        Action::Revoked { which, leases } => {
            line.nested("which", |line| write_which(line, which));
            line.number("leases", *leases);
        }
        Action::Frozen { lease, key } => {
            line.shown("lease", lease);
            line.word("key", key.as_str());
        }
        Action::TicketAbused { lease, key, why } => {
            line.shown("lease", lease);
            line.word("key", key.as_str());
            line.text("why", (*why).into());
        }
        Action::DecoyUsed { key, fingerprint, how, leases, ancestry } => {
            line.some(*key, |line, key| line.word("key", key.as_str()));
            line.text("fingerprint", fingerprint.0.as_str().into());
            line.text("how", (*how).into());
            line.number("leases", *leases);
            line.texts("ancestry", ancestry.told().map(Text::from));
        }
        Action::PeerRefused { uid, why } => {
            line.some(*uid, |line, uid| line.number("uid", uid));
            line.text("why", (*why).into());
        }
        Action::Inherited { leases } => line.number("leases", *leases),
        Action::Stopped
        | Action::HandedOver
        | Action::TakeoverFailed
        | Action::Locked
        | Action::Unlocked
        | Action::Asleep
        | Action::UnlockFailed
        | Action::Reloaded
        | Action::ReloadRefused => {}
    }
    line.some(by, |line, by| line.nested("by", |peer| write_peer(peer, by)));
}

fn write_change(line: &mut Fields<'_>, change: &KeyChange<'_>) {
    line.word("key", change.key.as_str());
    line.text("fingerprint", change.fingerprint.0.as_str().into());
    line.number("generation", change.generation);
}

fn write_which(line: &mut Fields<'_>, which: &Which<'_>) {
    match which {
        Which::Lease(id) => line.shown("lease", id),
        Which::Node(id) => line.shown("node", id),
        Which::Key(key) => line.word("key", key.as_str()),
        Which::Peer(peer) => line.text(peer.fact.name(), peer.value.as_str().into()),
        Which::All => {}
    }
}

fn write_recovered(line: &mut Fields<'_>, recovered: &Recovered) {
    line.number("torn", recovered.torn);
    line.some(recovered.torn_sha256, |line, hash| line.word("torn_sha256", hash.as_str()));
    line.number("beyond_head", recovered.beyond_head);
}

fn write_missing(line: &mut Fields<'_>, missing: &TailMissing) {
    line.some(missing.counted, |line, records| line.number("counted", records));
    line.some(missing.found, |line, records| line.number("found", records));
    line.word("why", missing.why);
}

fn write_unrecorded(line: &mut Fields<'_>, lost: &Unrecorded) {
    line.number("decisions", lost.decisions);
    line.number("outcomes", lost.outcomes);
    line.number("actions", lost.actions);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::fixture;
    use crate::clock::Clock;
    use crate::model::RequestId;

    fn line(body: &Body<'_>) -> String {
        let (clock, _) = Clock::manual(1_744_080_369);
        let mut buffer = Vec::new();
        write(&mut buffer, Link::START, &mut Stamp::new(clock), body);
        String::from_utf8(buffer).unwrap()
    }

    #[test]
    fn a_decision_reads_as_the_manual_says() {
        let permit = fixture::permit("dashscope/main");
        let who = fixture::principal("/usr/bin/curl");
        let decision = Decision { request: RequestId(255), principal: &who, judged: Judged::Permit(&permit, None) };
        assert_eq!(
            line(&Body::Decision(&decision)),
            concat!(
                r#"{"seq":0,"time":"2025-04-08T02:46:09.000000Z","record":"decision","request":"00000000000000ff","#,
                r#""verdict":"permit","key":"dashscope/main","rule":"mine","kind":"virtual","ttl":60,"uses":100,"#,
                r#""owner":"caller","peer":{"uid":1000,"gid":1000,"pid":77,"exe":"/usr/bin/curl","socket":"broker"},"#,
                r#""prev":"0000000000000000000000000000000000000000000000000000000000000000"}"#,
                "\n"
            )
        );
    }

    #[test]
    fn who_approved_and_who_did_not_is_told() {
        let (permit, who) = (fixture::permit("dashscope/main"), fixture::principal("/usr/bin/curl"));
        let told = |judged| line(&Body::Decision(&Decision { request: RequestId(255), principal: &who, judged }));
        let by = Approver { how: "control", uid: 7, pid: Some(9) };
        let yes = told(Judged::Permit(&permit, Some(Approval { by, remembered: true })));
        assert!(yes.contains(r#","approved":{"how":"control","uid":7,"pid":9,"as":"remembered"},"peer":"#), "{yes}");
        let (key, why) = ("a".parse().unwrap(), "a person said no");
        let no = told(Judged::Unapproved { key: &key, rule: "mine", why, by: Some(by) });
        let want = r#""verdict":"denied","key":"a","reason":"a person said no","rule":"mine","by":{"how":"control","uid":7,"pid":9},"#;
        assert!(no.contains(want), "{no}");
    }

    #[test]
    fn the_longest_line_is_within_its_bound() {
        let long = "\u{1}".repeat(100_000);
        let mut who = fixture::principal(&long);
        who.unit = Some(long.clone());
        who.cgroup = Some(long.clone());
        who.exe_sha256 = Some(long.clone());
        who.pid_ns = Some(u64::MAX);
        let key = "a".repeat(128).parse().unwrap();
        let denial = crate::policy::Denial::Detached { rule: long.clone() };
        let decision =
            Decision { request: RequestId(1), principal: &who, judged: Judged::Denied { key: &key, denial: &denial } };
        assert!(line(&Body::Decision(&decision)).len() <= LINE_MAX);
        let ancestry: crate::model::Ancestry = (0..9).map(|_| long.clone()).collect();
        let fingerprint = crate::model::Fingerprint("0123456789abcdef".into());
        let (key, how) = (Some(&key), "it was shown to the gateway");
        let used = Action::DecoyUsed { key, fingerprint: &fingerprint, how, leases: u64::MAX, ancestry: &ancestry };
        assert!(line(&Body::Action(Some(&who), used)).len() <= LINE_MAX);
        let peer = crate::model::Selector { fact: crate::model::Fact::Exe, value: long };
        let action = Action::Revoked { which: Which::Peer(&peer), leases: u64::MAX };
        assert!(line(&Body::Action(Some(&who), action)).len() <= LINE_MAX);
    }

    #[test]
    fn a_hostile_program_cannot_forge_a_record() {
        use std::os::unix::ffi::OsStrExt;
        let path = b"/tmp/x\"},\"prev\":\"0\"}\n{\"seq\":1,\"record\":\"stopped\"}\r\n\xff\\";
        let mut who = fixture::principal("");
        who.exe = Some(std::path::PathBuf::from(std::ffi::OsStr::from_bytes(path)));
        let key = "a".parse().unwrap();
        let judged = Judged::Denied { key: &key, denial: &crate::policy::Denial::NoRule };
        let text = line(&Body::Decision(&Decision { request: RequestId(1), principal: &who, judged }));
        assert_eq!(text.matches('\n').count(), 1);
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["peer"]["exe"], String::from_utf8_lossy(path).as_ref());
        assert_eq!(value["record"], "decision");
        assert_eq!(value["prev"], Hash::ZERO.as_str());
    }
}
