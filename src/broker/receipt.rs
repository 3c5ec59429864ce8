//! What became of an answer: written to the socket, or lost with its caller. Recorded once, whichever it is.

use super::{Asked, Inner};
use crate::{
    audit::{AuditError, Decision, Judged, Outcome, Verdict},
    ledger::Which,
    model::{LeaseId, Principal},
    wire::swap::Delivered,
};
use std::sync::{Arc, atomic::Ordering};

/// Waits for what somebody asked for. If the caller leaves first, hyper drops the whole request, and with it this, which
/// puts it on record.
pub(super) async fn waited<T>(broker: &Inner, asked: Asked, work: impl Future<Output = T>) -> T {
    let mut waiting = Waiting { broker, asked, done: false };
    let done = work.await;
    waiting.done = true;
    done
}

struct Waiting<'a> {
    broker: &'a Inner,
    asked: Asked,
    done: bool,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if !self.done {
            self.broker.counters.lost.fetch_add(1, Ordering::Relaxed);
            self.broker.audit.outcome(&Outcome {
                request: self.asked.id,
                lease: None,
                verdict: Verdict::Lost,
                uid: None,
                key: None,
                reason: Some("nobody waited for the token any more"),
                expires_at: None,
                micros: self.broker.micros(self.asked),
            });
        }
    }
}

impl Inner {
    /// Puts a decision on record, before any secret moves; with its outcome, if its caller leaves meanwhile.
    pub(super) async fn decide(
        &self,
        asked: Asked,
        principal: &Principal,
        judged: Judged<'_>,
    ) -> Result<(), AuditError> {
        waited(self, asked, self.audit.decide(&Decision { request: asked.id, principal, judged })).await
    }
}

/// Goes with a lease to the layer that writes its token. Dropped unsaid, the lease was lost and is taken back.
#[must_use = "a receipt that is dropped means: the caller never got its token"]
pub struct Receipt {
    broker: Arc<Inner>,
    asked: Asked,
    lease: LeaseId,
    expires_at: u64,
    open: bool,
}

impl Receipt {
    pub(super) fn new(broker: Arc<Inner>, asked: Asked, lease: LeaseId, expires_at: u64) -> Self {
        Self { broker, asked, lease, expires_at, open: true }
    }

    fn record(&mut self, verdict: Verdict) {
        self.open = false;
        self.broker.audit.outcome(&Outcome {
            request: self.asked.id,
            lease: Some(self.lease),
            verdict,
            uid: None,
            key: None,
            reason: None,
            expires_at: Some(self.expires_at),
            micros: self.broker.micros(self.asked),
        });
    }
}

impl Delivered for Receipt {
    fn delivered(mut self: Box<Self>) {
        self.broker.counters.sent.fetch_add(1, Ordering::Relaxed);
        self.record(Verdict::Sent);
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        if self.open {
            self.broker.counters.lost.fetch_add(1, Ordering::Relaxed);
            self.broker.ledger.revoke(&Which::Id(self.lease));
            self.record(Verdict::Lost);
        }
    }
}
