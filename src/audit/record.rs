//! What can be told to the audit: decisions, outcomes and what operators did, as ids, names and numbers.
//! No field may ever be able to hold a secret: nothing here is made from a `Lease`, a `Secret` or a caller's text.

use crate::model::{Ancestry, Approver, Code, Fingerprint, KeyName, LeaseId, NodeId, Principal, RequestId, Selector};
use crate::policy::{Denial, Permit};

/// One judgement, written before any secret moves.
///
/// There is no place in it for a token:
///
/// ```compile_fail
/// fn leak<'a>(lease: &'a sixty::model::Lease) -> sixty::audit::Judged<'a> {
///     sixty::audit::Judged::Permit(lease, None)
/// }
/// ```
#[derive(Clone, Copy)]
pub struct Decision<'a> {
    /// The request that was judged.
    pub request: RequestId,
    /// Who asked.
    pub principal: &'a Principal,
    /// What was found.
    pub judged: Judged<'a>,
}

/// A yes, a no, or a no that came before the judgement.
#[derive(Clone, Copy)]
pub enum Judged<'a> {
    /// The rules allow it, and where they want that, a person.
    Permit(&'a Permit, Option<Approval>),
    /// A virtual key is about to be used for one call.
    Use {
        /// The yes.
        permit: &'a Permit,
        /// The key's lease.
        lease: LeaseId,
        /// The narrower key that it is.
        node: Option<NodeId>,
        /// Who was asked.
        approval: Option<Approval>,
    },
    /// A ticket is about to be redeemed for the virtual key of its lease.
    Redeem {
        /// The lease.
        lease: LeaseId,
        /// Its key.
        key: &'a KeyName,
        /// The rule that allowed it.
        rule: &'a str,
    },
    /// The rules do not.
    Denied {
        /// The key that was asked for.
        key: &'a KeyName,
        /// Why not.
        denial: &'a Denial,
    },
    /// The rules would allow it, and a person did not.
    Unapproved {
        /// The key that was asked for.
        key: &'a KeyName,
        /// The rule that wants a person asked.
        rule: &'a str,
        /// Why not, in the program's own words.
        why: &'static str,
        /// Who said no; none where nobody answered.
        by: Option<Approver>,
    },
    /// Refused without asking the rules: locked, busy, malformed.
    Refused {
        /// The key that was asked for, where that could be read.
        key: Option<&'a KeyName>,
        /// What the caller is told.
        code: Code,
    },
}

/// A person's yes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Approval {
    /// Whose.
    pub by: Approver,
    /// Whether it was given to an earlier request of the same process.
    pub remembered: bool,
}

/// How one request ended.
///
/// Its reason is a text of the program's own, never one that came from outside:
///
/// ```compile_fail
/// fn leak(token: &str, mut outcome: sixty::audit::Outcome<'static>) -> sixty::audit::Outcome<'static> {
///     outcome.reason = Some(token);
///     outcome
/// }
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Outcome<'a> {
    /// The request that it ends.
    pub request: RequestId,
    /// The lease, if one was made.
    pub lease: Option<LeaseId>,
    /// What became of it.
    pub verdict: Verdict,
    /// Who asked, where no decision may tell it.
    pub uid: Option<u32>,
    /// The key that was asked for, where no decision may tell it.
    pub key: Option<&'a KeyName>,
    /// For operators: why, in the program's own words.
    pub reason: Option<&'static str>,
    /// Unix seconds at which the lease ends, if one was made.
    pub expires_at: Option<u64>,
    /// Microseconds from the request to its end.
    pub micros: u64,
}

/// What became of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The caller has it.
    Sent,
    /// It was made, and the caller was gone.
    Lost,
    /// The provider answered a call that was passed on, with this HTTP status.
    Passed(u16),
    /// The caller was told this instead.
    Refused(Code),
}

/// Something that was done to the broker rather than asked of it.
#[derive(Debug, Clone, Copy)]
pub enum Action<'a> {
    /// The daemon began to serve.
    Started {
        /// Its version.
        version: &'static str,
    },
    /// The daemon ends.
    Stopped,
    /// Another process is to serve in this one's place.
    HandedOver,
    /// It did not come to serve, and this one goes on.
    TakeoverFailed,
    /// The process before left leases, and they go on.
    Inherited {
        /// How many.
        leases: u64,
    },
    /// A key was put into the vault.
    KeyAdded(KeyChange<'a>),
    /// A key was replaced.
    KeyRotated(KeyChange<'a>),
    /// A key was taken out of the vault.
    KeyRemoved(KeyChange<'a>),
    /// A token is about to be minted with a key and thrown away.
    KeyTested(KeyChange<'a>),
    /// The provider no longer takes a key: it is not used until it is tested or rotated.
    KeyQuarantined(KeyChange<'a>),
    /// The provider sent a key back in an answer.
    KeyEchoed(KeyChange<'a>),
    /// A quarantine was lifted.
    KeyRestored(KeyChange<'a>),
    /// The vault's keys were wiped from memory.
    Locked,
    /// The vault was opened.
    Unlocked,
    /// The machine is about to sleep.
    Asleep,
    /// The machine has slept for so long.
    Awake {
        /// Seconds.
        seconds: u64,
    },
    /// Somebody tried to open the vault and could not.
    UnlockFailed,
    /// A new policy is in force.
    Reloaded,
    /// A new policy was faulty, and the old one stays in force.
    ReloadRefused,
    /// Leases were taken back.
    Revoked {
        /// Which.
        which: Which<'a>,
        /// How many.
        leases: u64,
    },
    /// A stranger tried a virtual key, and its rule ends the lease then.
    Frozen {
        /// The lease.
        lease: LeaseId,
        /// Its key.
        key: &'a KeyName,
    },
    /// Somebody else tried a ticket, or somebody tried it again: its lease has ended.
    TicketAbused {
        /// The lease.
        lease: LeaseId,
        /// Its key.
        key: &'a KeyName,
        /// Why, in the program's own words.
        why: &'static str,
    },
    /// A decoy was put into the vault.
    DecoyAdded(KeyChange<'a>),
    /// A decoy was taken out of the vault.
    DecoyRemoved(KeyChange<'a>),
    /// Somebody asked for a decoy, or showed it as if it were a key: their leases have ended.
    DecoyUsed {
        /// Its name, unless the vault is locked.
        key: Option<&'a KeyName>,
        /// What it is told by.
        fingerprint: &'a Fingerprint,
        /// How, in the program's own words.
        how: &'static str,
        /// Leases that ended.
        leases: u64,
        /// The process and those above it.
        ancestry: &'a Ancestry,
    },
    /// A peer was turned away before it could ask: it was dead, or not whom it seemed to be.
    PeerRefused {
        /// The user id that the kernel told, if any.
        uid: Option<u32>,
        /// Why, in the program's own words.
        why: &'static str,
    },
}

impl Action<'_> {
    /// What its record is called.
    pub fn name(&self) -> &'static str {
        match self {
            Action::Started { .. } => "started",
            Action::Stopped => "stopped",
            Action::HandedOver => "handed_over",
            Action::TakeoverFailed => "takeover_failed",
            Action::Inherited { .. } => "inherited",
            Action::KeyAdded(_) => "key_added",
            Action::KeyRotated(_) => "key_rotated",
            Action::KeyRemoved(_) => "key_removed",
            Action::KeyTested(_) => "key_tested",
            Action::KeyQuarantined(_) => "key_quarantined",
            Action::KeyEchoed(_) => "key_echoed",
            Action::KeyRestored(_) => "key_restored",
            Action::Locked => "locked",
            Action::Unlocked => "unlocked",
            Action::Asleep => "asleep",
            Action::Awake { .. } => "awake",
            Action::UnlockFailed => "unlock_failed",
            Action::Reloaded => "reloaded",
            Action::ReloadRefused => "reload_refused",
            Action::Revoked { .. } => "revoked",
            Action::Frozen { .. } => "frozen",
            Action::TicketAbused { .. } => "ticket_abused",
            Action::DecoyAdded(_) => "decoy_added",
            Action::DecoyRemoved(_) => "decoy_removed",
            Action::DecoyUsed { .. } => "decoy_used",
            Action::PeerRefused { .. } => "peer_refused",
        }
    }
}

/// A key before or after a change; told apart by fingerprint, never by its bytes.
#[derive(Debug, Clone, Copy)]
pub struct KeyChange<'a> {
    /// Its name.
    pub key: &'a KeyName,
    /// The key's fingerprint: the new one's when it was rotated.
    pub fingerprint: &'a Fingerprint,
    /// The vault's generation after the change.
    pub generation: u64,
}

/// The leases that a revocation named.
#[derive(Debug, Clone, Copy)]
pub enum Which<'a> {
    /// One.
    Lease(LeaseId),
    /// A narrower key, and what is derived from it.
    Node(NodeId),
    /// All of a key.
    Key(&'a KeyName),
    /// All of a peer.
    Peer(&'a Selector),
    /// Every one.
    All,
}
