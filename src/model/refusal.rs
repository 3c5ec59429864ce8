//! A no, as told to the caller: a closed set of codes. Never a policy reason, a path or an upstream's text.

use super::hex::Hex;
use serde::Serialize;
use std::fmt;

/// Why not, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// No rule allows it; an unknown key is this too.
    Denied,
    /// The vault is locked.
    Locked,
    /// The lease is over.
    Expired,
    /// The lease was taken back.
    Revoked,
    /// Its uses are gone.
    Exhausted,
    /// Over a cap or a rate.
    Busy,
    /// Not understood.
    Malformed,
    /// Over a size limit.
    TooLarge,
    /// We cannot serve now.
    Unavailable,
    /// The provider did not give a token.
    Upstream,
}

impl Code {
    /// The code as it stands in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Code::Denied => "denied",
            Code::Locked => "locked",
            Code::Expired => "expired",
            Code::Revoked => "revoked",
            Code::Exhausted => "exhausted",
            Code::Busy => "busy",
            Code::Malformed => "malformed",
            Code::TooLarge => "too_large",
            Code::Unavailable => "unavailable",
            Code::Upstream => "upstream",
        }
    }

    /// The HTTP status of `contract.md`.
    pub fn status(self) -> u16 {
        match self {
            Code::Malformed => 400,
            Code::Expired | Code::Revoked | Code::Exhausted => 401,
            Code::Denied => 403,
            Code::TooLarge => 413,
            Code::Locked => 423,
            Code::Busy => 429,
            Code::Upstream => 502,
            Code::Unavailable => 503,
        }
    }

    /// One sentence for people; the same for every refusal of the code.
    pub fn title(self) -> &'static str {
        match self {
            Code::Denied => "no rule allows this",
            Code::Locked => "the vault is locked",
            Code::Expired => "the lease is over",
            Code::Revoked => "the lease was revoked",
            Code::Exhausted => "the lease has no uses left",
            Code::Busy => "too much at once; try again later",
            Code::Malformed => "the request was not understood",
            Code::TooLarge => "the request is larger than allowed",
            Code::Unavailable => "the broker cannot serve this now",
            Code::Upstream => "the provider gave no token",
        }
    }
}

/// Whether asking again can help.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Retry {
    /// Not as things stand.
    Never,
    /// After a while.
    Later,
    /// Once somebody has unlocked the vault.
    AfterUnlock,
}

/// Names one request in the answer, the audit and the log: 16 hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RequestId(pub u64);

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Hex::from(self.0).as_str())
    }
}

impl Serialize for RequestId {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

/// A no with its hint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Why not.
    pub code: Code,
    /// The HTTP status: the code's own, or one that says more (404, 405, 409).
    pub status: u16,
    /// Whether asking again can help.
    pub retry: Retry,
    /// Seconds to wait first, where that is known.
    pub after: Option<u32>,
    /// Which request it answers.
    pub request_id: RequestId,
    /// On the control socket: what the provider's no means for the key.
    pub class: Option<&'static str>,
    /// For `malformed` alone: what was wrong with the caller's own words.
    pub detail: Option<String>,
    /// Nobody is there whom the next request on this connection could be from.
    pub is_last: bool,
}

impl Refusal {
    /// A refusal with the code's usual hint.
    pub fn new(code: Code, request_id: RequestId) -> Self {
        let retry = match code {
            Code::Locked => Retry::AfterUnlock,
            Code::Busy | Code::Unavailable | Code::Upstream => Retry::Later,
            Code::Denied | Code::Expired | Code::Revoked | Code::Exhausted | Code::Malformed | Code::TooLarge => {
                Retry::Never
            }
        };
        let after = (code == Code::Busy).then_some(1);
        Self { code, status: code.status(), retry, after, request_id, class: None, detail: None, is_last: false }
    }

    /// Says more by its HTTP status than the code's own does.
    pub fn at(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    /// Adds what was wrong with the caller's own words.
    pub fn saying(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }
}
