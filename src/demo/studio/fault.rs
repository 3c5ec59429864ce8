//! Faults that can be ordered from the pretend Model Studio, and the queue they wait in.
//!
//! It must never lose an order: a fault that does not suit the call at hand stays in the queue.

use std::collections::VecDeque;
use std::time::Duration;

use super::books::Digest;

/// One thing to go wrong. The codes are those of Model Studio's error-code page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// 429 `Throttling.RateQuota`: try again later.
    Throttled,
    /// 429 `PrepaidBillOverdue`: a 429 that must not be retried.
    PrepaidBillOverdue,
    /// 400 `Arrearage`: the account is not in good standing.
    Arrearage,
    /// 401 `InvalidApiKey`, although the key is registered.
    BadKey,
    /// 403 `AccessDenied`.
    Denied,
    /// HTTP 200 with a `code` in the body: the two-layer errors that vendor SDKs handle.
    CodeInOk,
    /// 500 `InternalError`.
    InternalError,
    /// 500 `SystemError`.
    SystemError,
    /// 200 with a body that is not JSON.
    Garbage,
    /// 200 with JSON of so many bytes.
    Huge(usize),
    /// 302 to another path of the same server.
    Redirect,
    /// Mint only: no `expires_at`.
    NoExpiry,
    /// Mint only: `expires_at` is 0.
    ZeroExpiry,
    /// Mint only: the token really ends after so many seconds, whatever was asked. 0 is over at once.
    ExpiresIn(u64),
    /// Mint only: the token holds a quote, a line break and a control character (properly escaped in the JSON).
    StrangeToken,
    /// The right answer, its head after so long.
    SlowHead(Duration),
    /// The right answer, with so long a pause before each eighth of the body.
    SlowBody(Duration),
    /// Use only: the credential in the body, in eight pieces.
    EchoBody,
    /// Use only: the credential in a header.
    EchoHead,
    /// Use only: the right answer, said to be compressed.
    Compressed,
    /// The right head, half of the body, then the connection is closed.
    CutBody,
    /// The request is read and never answered; the connection stays open.
    Hang,
    /// The request is read, then the connection is closed without an answer.
    CloseOnRequest,
    /// The request is read, then the connection is reset (RST).
    ResetOnRequest,
    /// The TCP connection is reset right after accept, before any TLS.
    ResetOnAccept,
    /// The TCP connection is accepted and never spoken on.
    HangOnAccept,
}

/// When a fault can strike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moment {
    /// A connection was accepted; nobody knows the key yet.
    Accept,
    /// A mint call was read.
    Mint,
    /// Another call was read.
    Use,
}

impl Fault {
    fn suits(self, moment: Moment) -> bool {
        match self {
            Self::ResetOnAccept | Self::HangOnAccept => moment == Moment::Accept,
            Self::NoExpiry | Self::ZeroExpiry | Self::ExpiresIn(_) | Self::StrangeToken => moment == Moment::Mint,
            Self::EchoBody | Self::EchoHead | Self::Compressed => moment == Moment::Use,
            _ => moment != Moment::Accept,
        }
    }
}

/// Whose calls an order is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whose {
    Anyone,
    Key(Digest),
}

impl Whose {
    fn covers(self, key: Option<Digest>) -> bool {
        match self {
            Self::Anyone => true,
            Self::Key(ordered) => key == Some(ordered),
        }
    }
}

/// Orders not served yet.
#[derive(Default)]
pub(super) struct Orders {
    once: VecDeque<(Whose, Fault)>,
    always: Vec<(Whose, Fault)>,
}

impl Orders {
    pub(super) fn once(&mut self, whose: Whose, fault: Fault) {
        self.once.push_back((whose, fault));
    }

    /// A later standing order for the same key goes before an earlier one.
    pub(super) fn always(&mut self, whose: Whose, fault: Fault) {
        self.always.insert(0, (whose, fault));
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// The fault for this call, if one was ordered: single orders first, oldest first.
    pub(super) fn take(&mut self, key: Option<Digest>, moment: Moment) -> Option<Fault> {
        let due = |(whose, fault): &(Whose, Fault)| whose.covers(key) && fault.suits(moment);
        if let Some(place) = self.once.iter().position(due) {
            return self.once.remove(place).map(|(_, fault)| fault);
        }
        self.always.iter().copied().find(due).map(|(_, fault)| fault)
    }

    pub(super) fn waiting(&self) -> usize {
        self.once.len()
    }
}
