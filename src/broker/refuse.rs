//! The one place where operators' errors become a caller's refusal. The reason goes to the audit and the log; the
//! caller hears a code and a hint. A new kind of error does not compile until it is given a code here.
#![deny(clippy::wildcard_enum_match_arm)]

use super::{Asked, Inner, approval::Unapproved};
use crate::{
    attest::{AttestError, HolderError, ParentError},
    audit::{AuditError, Outcome, Verdict},
    issuer::MintError,
    ledger::{Full, Over, Spent},
    model::{Code, KeyName, Purse, Refusal, Retry},
    policy::{Denial, OutOfScope},
    recipe::PlaceFault,
    vault::LendError,
};
use tracing::{debug, info, warn};

/// Everything that can stop a request.
#[derive(Debug, thiserror::Error)]
pub(super) enum Stop {
    #[error(transparent)]
    Attest(#[from] AttestError),
    #[error(transparent)]
    Denied(#[from] Denial),
    #[error(transparent)]
    Unapproved(#[from] Unapproved),
    #[error("asked more often than rule `{0}` allows")]
    Rate(String, u32),
    #[error("refused more often than `refusals_per_uid` puts on record")]
    Flood(u32),
    #[error("the rules changed while the token was minted")]
    Rules,
    #[error(transparent)]
    Owner(#[from] ParentError),
    #[error(transparent)]
    Audit(#[from] AuditError),
    #[error(transparent)]
    Mint(#[from] MintError),
    #[error(transparent)]
    Full(#[from] Full),
    #[error(transparent)]
    Spent(#[from] Spent),
    #[error(transparent)]
    Scope(#[from] OutOfScope),
    #[error(transparent)]
    Holder(#[from] HolderError),
    #[error("a virtual key was used by a peer that its rule does not speak of")]
    NotTheHolder,
    #[error("a virtual key was used by a peer of which nobody can tell whether its rule speaks of it")]
    Untold,
    #[error("a virtual key was used by a peer of which only the user is known, and its rule wants a process")]
    Unseen,
    #[error("a narrower key was not derived from the virtual key that it names, or says what nobody understands")]
    Forged,
    #[error("what was to be redeemed is no ticket, or was mistyped")]
    NoTicket,
    #[error("a virtual key was used for another provider than its key's")]
    Provider,
    #[error("the key has a budget in money, and no [[price]] tells what the model costs")]
    Unpriced,
    #[error("a call that would hand out another credential is never passed on")]
    HandsOutKeys,
    #[error("the provider said nothing for as long as `answer_idle` allows")]
    Silent,
    #[error(transparent)]
    Place(#[from] PlaceFault),
}

impl Stop {
    /// Whether the key is surely in the hands of a process that it is not good for.
    pub(super) fn is_theft(&self) -> bool {
        let stranger = |fault: &HolderError| {
            matches!(fault, HolderError::Stranger { .. } | HolderError::Moved(_) | HolderError::Other(_))
        };
        matches!(self, Stop::NotTheHolder) || matches!(self, Stop::Holder(fault) if stranger(fault))
    }

    /// Whether it took its place in the user's bucket already; of all but a flood a decision is on record, too.
    pub(super) fn is_counted(&self) -> bool {
        let recorded = matches!(self, Stop::Unapproved(no) if !matches!(no, Unapproved::Crowded));
        recorded || matches!(self, Stop::Denied(_) | Stop::Flood(_))
    }

    /// The code, seconds to wait where known, and what the audit says.
    pub(super) fn code(&self) -> (Code, Option<u32>, &'static str) {
        match self {
            Stop::Attest(AttestError::Peer(_)) => (Code::Denied, None, "the peer cannot be identified"),
            Stop::Attest(AttestError::Gone(_)) => (Code::Denied, None, "the peer has ended"),
            Stop::Attest(AttestError::Changed(_)) => (Code::Denied, None, "the peer changed its program"),
            Stop::Denied(Denial::TooShort { .. }) => {
                (Code::Malformed, None, "min_remaining is no less than the rule gives")
            }
            Stop::Denied(Denial::Unnarrowed { .. }) => (Code::Malformed, None, "an upstream token cannot be narrowed"),
            Stop::Denied(Denial::Owned { .. }) => (Code::Malformed, None, "the owner does not go with the recipient"),
            Stop::Denied(Denial::Recipient { .. }) => (Code::Denied, None, "the rules give that recipient nothing"),
            Stop::Denied(Denial::NoRule | Denial::Kind { .. } | Denial::Detached { .. }) => {
                (Code::Denied, None, "the rules do not allow it")
            }
            Stop::Unapproved(no @ Unapproved::Crowded) => (Code::Busy, None, no.why()),
            Stop::Unapproved(no) => (Code::Denied, None, no.why()),
            Stop::Rate(_, wait) => (Code::Busy, Some(*wait), "over the rule's rate"),
            Stop::Flood(wait) => (Code::Busy, Some(*wait), "refused too often"),
            Stop::Rules | Stop::Full(Full::Rules) => (Code::Unavailable, None, "the rules changed meanwhile"),
            Stop::Owner(ParentError::Gone(_)) => (Code::Denied, None, "the owner has ended"),
            Stop::Owner(ParentError::Stranger(_)) => (Code::Denied, None, "the owner is another user's process"),
            Stop::Owner(ParentError::None(_)) => (Code::Denied, None, "no process can own the lease"),
            Stop::Audit(_) => (Code::Unavailable, None, "the audit cannot be written"),
            Stop::Mint(fault) => mint(fault),
            Stop::Full(Full::All | Full::Uid) => (Code::Busy, None, "no room for a lease"),
            Stop::Full(Full::Random) => (Code::Unavailable, None, "no random numbers"),
            Stop::Full(Full::Revoked) => (Code::Unavailable, None, "taken back while it was minted"),
            Stop::Spent(Spent::Unknown) => (Code::Denied, None, "no lease has this key"),
            Stop::Spent(Spent::Expired) => (Code::Expired, None, "the lease is over"),
            Stop::Spent(Spent::Revoked) => (Code::Revoked, None, "the lease was revoked"),
            Stop::Spent(Spent::Redeemed) => (Code::Revoked, None, "the ticket was redeemed before"),
            Stop::Forged => (Code::Denied, None, "the narrower key is none of its virtual key's"),
            Stop::NoTicket => (Code::Malformed, None, "it is no ticket"),
            Stop::Spent(Spent::Crowded) => (Code::Busy, None, "more narrower keys are counted than may be"),
            Stop::Spent(Spent::Exhausted) => (Code::Exhausted, None, "the lease has no uses left"),
            Stop::Spent(Spent::Over(over)) => limit(*over),
            Stop::Unpriced => (Code::Denied, None, "the model has no price, and the key a budget in money"),
            Stop::Scope(OutOfScope::Unread) => (Code::Denied, None, "nobody can read what the call may use"),
            Stop::Scope(OutOfScope::Output) => (Code::Denied, None, "the call asks for too long an answer"),
            Stop::Scope(OutOfScope::Method) => (Code::Denied, None, "the method is out of scope"),
            Stop::Scope(OutOfScope::Path) => (Code::Denied, None, "the path is out of scope"),
            Stop::Scope(OutOfScope::Risky) | Stop::Spent(Spent::NotLast) => (Code::Denied, None, "the call is risky"),
            Stop::HandsOutKeys => (Code::Denied, None, "the call would hand out another credential"),
            Stop::Silent => (Code::Upstream, None, "the provider fell silent"),
            Stop::Place(_) => (Code::Unavailable, None, "the key's place is none that its provider has"),
            Stop::Scope(OutOfScope::Model) => (Code::Denied, None, "the model is out of scope"),
            Stop::Holder(HolderError::Other(_)) => (Code::Denied, None, "the key is for somebody else"),
            Stop::Holder(HolderError::Attest(_)) => (Code::Denied, None, "the peer has ended or changed its program"),
            Stop::Holder(HolderError::Gone(_)) => (Code::Denied, None, "the peer or the key's owner has ended"),
            Stop::Holder(HolderError::Stranger { .. }) | Stop::NotTheHolder => {
                (Code::Denied, None, "the key is another process's")
            }
            Stop::Holder(HolderError::Untold { .. } | HolderError::Unread(_)) | Stop::Untold => {
                (Code::Denied, None, "whether the key is the peer's cannot be told")
            }
            Stop::Holder(HolderError::Moved(_)) => (Code::Denied, None, "the peer left its owner's cgroup"),
            Stop::Unseen => (Code::Denied, None, "the peer cannot be told, and a bearer alone is not enough"),
            Stop::Provider => (Code::Denied, None, "the key is another provider's"),
        }
    }
}

fn limit(over: Over) -> (Code, Option<u32>, &'static str) {
    match over {
        Over::Rate(wait) => (Code::Busy, Some(wait), "over the budget's rate of calls"),
        Over::Running => (Code::Busy, Some(1), "as many calls run as may"),
        Over::Held => (Code::Busy, Some(1), "the rest of the budget is held by calls that run"),
        Over::Full => (Code::Busy, None, "more budgets are in use than are kept"),
        Over::Window(_, wait) => (Code::Busy, Some(wait), "the principal's budget is gone for now"),
        Over::Shared(Purse::Workspace, _) => (Code::Exhausted, None, "the workspace's budget is gone for now"),
        Over::Shared(Purse::Owner, _) => (Code::Exhausted, None, "the owner's budget is gone for now"),
        Over::Shared(Purse::Key | Purse::Principal, _) => (Code::Exhausted, None, "the key's budget is gone for now"),
        Over::Lease => (Code::Exhausted, None, "the lease's budget is gone"),
    }
}

fn mint(fault: &MintError) -> (Code, Option<u32>, &'static str) {
    match fault {
        MintError::Key(LendError::Locked) => (Code::Locked, None, "the vault is locked"),
        MintError::Key(LendError::Unknown(_)) => (Code::Denied, None, "there is no such key"),
        MintError::Key(LendError::Quarantined(_)) => (Code::Upstream, None, "the key is quarantined"),
        MintError::Place(_) => (Code::Unavailable, None, "the key's place is none that its provider has"),
        MintError::NotMinted(_) => (Code::Malformed, None, "the provider mints no tokens"),
        MintError::NoProbe(_) => (Code::Malformed, None, "the recipe names no call to test keys with"),
        MintError::Provider { .. } => (Code::Unavailable, None, "the key's provider is not known"),
        MintError::Billing(_) => (Code::Upstream, None, "the provider wants to be paid"),
        MintError::Throttled(wait) => (Code::Busy, Some(*wait), "the provider throttles the key"),
        MintError::Forbidden(_) => (Code::Upstream, None, "the provider does not allow the key this"),
        MintError::Rejected(_) => (Code::Upstream, None, "the provider refused"),
        MintError::Unreached(_) => (Code::Upstream, None, "the provider was not reached"),
        MintError::Call(_) => (Code::Upstream, None, "the provider gave no usable answer"),
        MintError::DeadOnArrival(_) => (Code::Upstream, None, "the token was over when it came"),
        MintError::TooShort { .. } => (Code::Upstream, None, "the token has less left than the caller needs"),
        MintError::Random => (Code::Unavailable, None, "no random numbers"),
    }
}

impl Inner {
    /// Refuses what no decision is on record of. Whoever asks in vain again and again is not let fill the disk that
    /// everybody's decisions are written to: they hear `busy`, and nothing is written. A denial's decision took its place
    /// in the bucket already.
    pub(super) fn turn_away(&self, asked: Asked, key: Option<&KeyName>, stop: &Stop) -> Refusal {
        let room = if stop.is_counted() { Ok(()) } else { self.room_for_a_refusal(Some(asked.uid)) };
        let refusal = room.map_or_else(|flood| self.refuse(asked, key, &flood), |()| self.refuse(asked, key, stop));
        Refusal { is_last: matches!(stop, Stop::Attest(_)), ..refusal }
    }

    /// Takes a place in the user's bucket; those of whom not even that is known share one.
    pub(super) fn room_for_a_refusal(&self, uid: Option<u32>) -> Result<(), Stop> {
        let whose = uid.map_or_else(|| "refusals of nobody known".into(), |uid| format!("refusals of uid {uid}"));
        self.ledger.take(&whose, self.options.refusals_per_uid).map_err(Stop::Flood)
    }

    /// Tells the operator why and the caller what; the audit gets the outcome.
    pub(super) fn refuse(&self, asked: Asked, key: Option<&KeyName>, stop: &Stop) -> Refusal {
        let (code, after, reason) = stop.code();
        match code {
            Code::Unavailable | Code::Upstream => warn!(request = %asked.id, why = %stop, "refused: {}", code.name()),
            // As many as the caller likes.
            Code::Busy if matches!(stop, Stop::Flood(_)) => debug!(request = %asked.id, why = %stop, "refused: busy"),
            Code::Busy | Code::Locked => info!(request = %asked.id, why = %stop, "refused: {}", code.name()),
            Code::Denied | Code::Expired | Code::Revoked | Code::Exhausted | Code::Malformed | Code::TooLarge => {
                debug!(request = %asked.id, why = %stop, "refused: {}", code.name())
            }
        }
        if !matches!(stop, Stop::Flood(_)) {
            self.audit.outcome(&Outcome {
                request: asked.id,
                lease: None,
                verdict: Verdict::Refused(code),
                uid: Some(asked.uid),
                key,
                reason: Some(reason),
                expires_at: None,
                micros: self.micros(asked),
            });
        }
        let mut refusal = Refusal::new(code, asked.id);
        refusal.after = after.or(refusal.after);
        if matches!(stop, Stop::Mint(fault) if fault.is_final()) {
            refusal.retry = Retry::Never;
        }
        // Only what is the caller's own affair is told in words.
        if let Stop::Denied(Denial::TooShort { ttl, .. }) = stop {
            refusal = refusal.saying(format!("min_remaining is no less than the {ttl} that you may have"));
        } else if let Stop::Denied(Denial::Unnarrowed { .. }) = stop {
            refusal = refusal.saying(
                "an upstream token cannot be narrowed by scope or uses, nor bound to anybody: ask for kind virtual",
            );
        } else if let Stop::Denied(Denial::Owned { .. }) = stop {
            refusal = refusal
                .saying("a lease `for` somebody has no owner: leave `owner` out; and a ticket is `for` somebody");
        } else if let Stop::NoTicket = stop {
            refusal = refusal
                .saying("this is no ticket, or it was cut or mistyped: `sixty mint KEY --for PEER --ticket` makes one");
        } else if let Stop::Mint(fault @ MintError::NotMinted(_)) = stop {
            refusal = refusal.saying(fault.to_string());
        } else if let Stop::Unpriced
        | Stop::Spent(Spent::Over(_))
        | Stop::Scope(OutOfScope::Unread | OutOfScope::Output) = stop
        {
            refusal = refusal.saying(stop.to_string());
        } else if let Stop::Owner(_) = stop {
            refusal = refusal.saying(format!("{reason}; ask with another `owner`"));
        }
        refusal
    }

    /// Microseconds since a request came.
    pub(super) fn micros(&self, asked: Asked) -> u64 {
        u64::try_from(self.clock.boot().since(asked.at).as_micros()).unwrap_or(u64::MAX)
    }
}
