//! Records as JSON lines, their fields in a fixed order.
//! It must never write a line of more than [`LINE_MAX`] bytes, nor a value that was not bounded.

use super::chain::{Hash, Link};
use super::record::{Action, Decision, Judged, KeyChange, Outcome, Verdict, Which};
use super::text::Text;
use crate::clock::Clock;
use crate::model::{Code, Kind, LeaseId, Owner, Principal, RequestId};
use serde::{Serialize, Serializer};

/// The most bytes of a line, with its newline.
pub const LINE_MAX: usize = 4096;

/// Appends one line to `buffer`.
pub(super) fn write(buffer: &mut Vec<u8>, at: Link, clock: &Clock, body: &Body<'_>) {
    let line = Line { seq: at.seq, time: Stamp(clock.wall_nanos()), body, prev: at.prev };
    serde_json::to_writer(&mut *buffer, &line).expect("invariant: plain data, written to memory");
    buffer.push(b'\n');
}

#[derive(Serialize)]
struct Line<'a> {
    seq: u64,
    time: Stamp,
    #[serde(flatten)]
    body: &'a Body<'a>,
    prev: Hash,
}

/// What a line says between its time and its hash.
#[derive(Serialize)]
#[serde(tag = "record", rename_all = "snake_case")]
pub(super) enum Body<'a> {
    Decision(DecisionLine<'a>),
    Outcome(OutcomeLine),
    Started { version: &'static str },
    Stopped,
    KeyAdded(KeyLine<'a>),
    KeyRotated(KeyLine<'a>),
    KeyRemoved(KeyLine<'a>),
    KeyQuarantined(KeyLine<'a>),
    KeyRestored(KeyLine<'a>),
    Locked(By<'a>),
    Unlocked(By<'a>),
    UnlockFailed(By<'a>),
    Reloaded(By<'a>),
    ReloadRefused(By<'a>),
    Revoked(RevokedLine<'a>),
    PeerRefused { uid: Option<u32>, why: &'static str },
    Continued,
    Recovered(Recovered),
    TailMissing(TailMissing),
    Unrecorded(Unrecorded),
}

/// The audit was torn when its writer was killed, and was made whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
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

#[derive(Serialize)]
pub(super) struct DecisionLine<'a> {
    request: RequestId,
    verdict: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<Code>,
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<Denied<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<Kind>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    uses: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    owner: Option<Owner>,
    peer: Peer<'a>,
}

impl<'a> From<&Decision<'a>> for Body<'a> {
    fn from(decision: &Decision<'a>) -> Self {
        let blank = DecisionLine {
            request: decision.request,
            verdict: "refused",
            code: None,
            key: None,
            reason: None,
            rule: None,
            kind: None,
            ttl: None,
            uses: None,
            owner: None,
            peer: Peer(decision.principal),
        };
        Body::Decision(match decision.judged {
            Judged::Permit(permit) => DecisionLine {
                verdict: "permit",
                key: Some(permit.key().as_str()),
                rule: Some(permit.rule().into()),
                kind: Some(permit.kind()),
                ttl: Some(permit.ttl().seconds()),
                uses: permit.uses(),
                owner: Some(permit.owner()),
                ..blank
            },
            Judged::Denied { key, denial } => DecisionLine {
                verdict: "denied",
                key: Some(key.as_str()),
                reason: Some(Denied(denial)),
                rule: denial.rule().map(Text::from),
                ..blank
            },
            Judged::Refused { key, code } => {
                DecisionLine { code: Some(code), key: key.map(|key| key.as_str()), ..blank }
            }
        })
    }
}

/// A denial's sentence. It names the rule, so it is bounded too.
struct Denied<'a>(&'a crate::policy::Denial);

impl Serialize for Denied<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        Text(self.0.to_string().as_bytes()).serialize(to)
    }
}

/// A principal's facts; the absent ones are left out.
struct Peer<'a>(&'a Principal);

impl Serialize for Peer<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap;
        let who = self.0;
        let mut map = to.serialize_map(None)?;
        map.serialize_entry("uid", &who.uid)?;
        map.serialize_entry("gid", &who.gid)?;
        map.serialize_entry("pid", &who.pid)?;
        let texts = [
            ("unit", who.unit.as_deref().map(Text::from)),
            ("cgroup", who.cgroup.as_deref().map(Text::from)),
            ("exe", who.exe.as_deref().map(Text::from)),
            ("exe_sha256", who.exe_sha256.as_deref().map(Text::from)),
        ];
        for (name, text) in texts {
            if let Some(text) = text {
                map.serialize_entry(name, &text)?;
            }
        }
        if let Some(inode) = who.pid_ns {
            map.serialize_entry("pid_ns", &inode)?;
        }
        map.serialize_entry("socket", who.socket)?;
        map.end()
    }
}

#[derive(Serialize)]
pub(super) struct OutcomeLine {
    request: RequestId,
    verdict: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<Code>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lease: Option<LeaseId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<u64>,
    micros: u64,
}

impl From<&Outcome> for Body<'_> {
    fn from(outcome: &Outcome) -> Self {
        let (verdict, code) = match outcome.verdict {
            Verdict::Sent => ("sent", None),
            Verdict::Lost => ("lost", None),
            Verdict::Refused(code) => ("refused", Some(code)),
        };
        let Outcome { request, lease, reason, expires_at, micros, .. } = *outcome;
        Body::Outcome(OutcomeLine { request, verdict, code, reason, lease, expires_at, micros })
    }
}

/// Who did it, where that was somebody on a socket.
#[derive(Serialize)]
pub(super) struct By<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<Peer<'a>>,
}

#[derive(Serialize)]
pub(super) struct KeyLine<'a> {
    key: &'a str,
    fingerprint: Text<'a>,
    generation: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<Peer<'a>>,
}

#[derive(Serialize)]
pub(super) struct RevokedLine<'a> {
    which: Named<'a>,
    leases: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<Peer<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum Named<'a> {
    Lease(LeaseId),
    Key(&'a str),
    Peer { fact: &'static str, value: Text<'a> },
    All,
}

impl<'a> Body<'a> {
    pub(super) fn action(by: Option<&'a Principal>, action: Action<'a>) -> Self {
        let by = by.map(Peer);
        match action {
            Action::Started { version } => Body::Started { version },
            Action::Stopped => Body::Stopped,
            Action::KeyAdded(change) => Body::KeyAdded(key_line(change, by)),
            Action::KeyRotated(change) => Body::KeyRotated(key_line(change, by)),
            Action::KeyRemoved(change) => Body::KeyRemoved(key_line(change, by)),
            Action::KeyQuarantined(change) => Body::KeyQuarantined(key_line(change, by)),
            Action::KeyRestored(change) => Body::KeyRestored(key_line(change, by)),
            Action::Locked => Body::Locked(By { by }),
            Action::Unlocked => Body::Unlocked(By { by }),
            Action::UnlockFailed => Body::UnlockFailed(By { by }),
            Action::Reloaded => Body::Reloaded(By { by }),
            Action::ReloadRefused => Body::ReloadRefused(By { by }),
            Action::Revoked { which, leases } => Body::Revoked(RevokedLine { which: named(which), leases, by }),
            Action::PeerRefused { uid, why } => Body::PeerRefused { uid, why },
        }
    }
}

fn key_line<'a>(change: KeyChange<'a>, by: Option<Peer<'a>>) -> KeyLine<'a> {
    let KeyChange { key, fingerprint, generation } = change;
    KeyLine { key: key.as_str(), fingerprint: fingerprint.0.as_str().into(), generation, by }
}

fn named(which: Which<'_>) -> Named<'_> {
    match which {
        Which::Lease(id) => Named::Lease(id),
        Which::Key(key) => Named::Key(key.as_str()),
        Which::Peer(peer) => Named::Peer { fact: peer.fact.name(), value: peer.value.as_str().into() },
        Which::All => Named::All,
    }
}

/// Seconds and nanoseconds, written as RFC 3339 in UTC with six digits after the point.
struct Stamp((i64, u32));

impl Serialize for Stamp {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let (seconds, nanos) = self.0;
        let nanos = i32::try_from(nanos).unwrap_or(0);
        // Beyond the year 9999 there is no RFC 3339; a clock that is so wrong shows as 1970.
        let time = jiff::Timestamp::new(seconds, nanos).unwrap_or_default();
        to.collect_str(&format_args!("{time:.6}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::fixture;

    fn line(body: &Body<'_>) -> String {
        let (clock, _) = Clock::manual(1_744_080_369);
        let mut buffer = Vec::new();
        write(&mut buffer, Link::START, &clock, body);
        String::from_utf8(buffer).unwrap()
    }

    #[test]
    fn a_decision_reads_as_the_manual_says() {
        let permit = fixture::permit("dashscope/main");
        let who = fixture::principal("/usr/bin/curl");
        let decision = Decision { request: RequestId(255), principal: &who, judged: Judged::Permit(&permit) };
        assert_eq!(
            line(&Body::from(&decision)),
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
        assert!(line(&Body::from(&decision)).len() <= LINE_MAX);
        let peer = crate::model::Selector { fact: crate::model::Fact::Exe, value: long };
        let action = Action::Revoked { which: Which::Peer(&peer), leases: u64::MAX };
        assert!(line(&Body::action(Some(&who), action)).len() <= LINE_MAX);
    }

    #[test]
    fn a_hostile_program_cannot_forge_a_record() {
        use std::os::unix::ffi::OsStrExt;
        let path = b"/tmp/x\"},\"prev\":\"0\"}\n{\"seq\":1,\"record\":\"stopped\"}\r\n\xff\\";
        let mut who = fixture::principal("");
        who.exe = Some(std::path::PathBuf::from(std::ffi::OsStr::from_bytes(path)));
        let key = "a".parse().unwrap();
        let judged = Judged::Denied { key: &key, denial: &crate::policy::Denial::NoRule };
        let text = line(&Body::from(&Decision { request: RequestId(1), principal: &who, judged }));
        assert_eq!(text.matches('\n').count(), 1);
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["peer"]["exe"], String::from_utf8_lossy(path).as_ref());
        assert_eq!(value["record"], "decision");
        assert_eq!(value["prev"], Hash::ZERO.as_str());
    }
}
