//! The only place that sees a whole request: who asks, what for, what the rules say, what was made of it.
//! It speaks no protocol, opens no socket and holds no key.

mod alarm;
mod approval;
mod caps;
mod charge;
mod decoy;
mod fault;
mod narrowed;
mod operator;
mod passage;
mod ready;
mod receipt;
mod redeem;
mod refuse;
mod session;
mod shared;
mod sleep;
mod status;
mod upkeep;

pub use crate::recipe::Way;
pub use crate::upstream::{Download, Upload};
pub use crate::vault::Rollback;
pub use alarm::{AlarmOptions, AlarmStatus};
pub use approval::{ApprovalOptions, AskOptions, Speech, Waiting};
pub use charge::{Body, Told};
pub use decoy::NewDecoy;
pub use fault::OperatorError;
pub use narrowed::Presented;
pub use operator::{KeyTested, NewKey, Operator};
pub use passage::{Call, Holding, Passage};
pub use ready::Point;
pub use receipt::Receipt;
pub use session::{Grant, Session, Whoami};
pub use shared::BudgetStatus;
pub use sleep::OnSuspend;
pub use status::{Counters, Provider, Status};

use crate::{
    attest::{AttestError, Attestor, Peer},
    audit::{Action, Audit},
    clock::{Boottime, Clock},
    issuer::{Issuer, Recipes},
    ledger::{Ledger, UsageBook},
    model::{Code, KeyName, Rate, Refusal, RequestId, SharedBudget},
    policy::{Needs, Rules},
    recipe::Prices,
    sys::{chance, peer::user},
    vault::{UnlockWith, Vault},
};
use alarm::Alarms;
use approval::Approvals;
use caps::Caps;
use sleep::Sleep;
use std::{
    collections::BTreeSet,
    os::fd::BorrowedFd,
    sync::{Arc, Mutex, PoisonError, atomic::AtomicU64},
    time::Duration,
};
use tracing::debug;

/// What the broker is built of.
pub struct Parts {
    /// Peers → principals.
    pub attestor: Attestor,
    /// Long-lived keys.
    pub vault: Arc<Vault>,
    /// Permits → tokens.
    pub issuer: Issuer,
    /// Live leases.
    pub ledger: Ledger,
    /// What was used.
    pub usage: UsageBook,
    /// What models cost.
    pub prices: Prices,
    /// Records.
    pub audit: Audit,
    /// Time.
    pub clock: Clock,
    /// The rules in force.
    pub rules: Rules,
    /// The budgets that principals share.
    pub budgets: Vec<SharedBudget>,
}

/// What the broker needs to know.
pub struct BrokerOptions {
    /// Open connections of one user.
    pub connections_per_uid: usize,
    /// Refusals of one user that are put on record.
    pub refusals_per_uid: Rate,
    /// The user whose daemon this is: the control socket is theirs and root's.
    pub owner: u32,
    /// Whether keys are held while a debugger reads along: only in the demo.
    pub debugger: Debugger,
    /// How far the daemon is confined, in a word.
    pub confinement: &'static str,
    /// What may be asked of people.
    pub approval: ApprovalOptions,
    /// The vault locks itself when nothing was minted for so long.
    pub lock_after: Option<Duration>,
    /// Who is told of alarms; none: the log alone.
    pub alarm: Option<AlarmOptions>,
    /// What becomes of keys when the machine sleeps.
    pub on_suspend: OnSuspend,
    /// What opens the vault when nobody types a passphrase.
    pub unlock: UnlockSource,
    /// Reads anew what may change while we serve; the fault is for the operator.
    pub reload: Box<dyn Fn() -> Result<Reloaded, String> + Send + Sync>,
}

/// What a reload puts in force.
pub struct Reloaded {
    /// The rules.
    pub rules: Rules,
    /// The budgets that principals share.
    pub budgets: Vec<SharedBudget>,
    /// What is known of providers.
    pub recipes: Recipes,
}

/// How a key file or a credential is found again for `unlock`; a passphrase must be typed.
pub type UnlockSource = Option<Box<dyn Fn() -> UnlockWith + Send + Sync>>;

/// What an attached debugger means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Debugger {
    /// No key is taken in.
    Refused,
    /// The demo's parent scans its memory.
    Expected,
}

/// The broker. Clones are the same broker.
#[derive(Clone)]
pub struct Broker(Arc<Inner>);

struct Inner {
    attestor: Attestor,
    vault: Arc<Vault>,
    issuer: Issuer,
    ledger: Ledger,
    usage: UsageBook,
    prices: Prices,
    audit: Audit,
    clock: Clock,
    options: BrokerOptions,
    policy: Mutex<Arc<Policy>>,
    caps: Caps,
    approvals: Approvals,
    counters: Counters,
    alarms: Alarms,
    sleep: Sleep,
    /// Keys that their provider sent back in an answer; until they are rotated.
    echoed: Mutex<BTreeSet<KeyName>>,
    /// Boot time of the last mint or unlock, in nanoseconds: for `lock_after`.
    last_use: AtomicU64,
    /// Unix seconds and boot time of the start: together they tell when the wall clock was set.
    began: (u64, Boottime),
}

/// The rules in force, with what they need to know of a peer.
struct Policy {
    rules: Rules,
    budgets: Vec<SharedBudget>,
    needs: Needs,
    /// Unix seconds.
    loaded_at: u64,
    /// Why the last reload was not taken; the rules before it are in force.
    fault: Option<String>,
}

/// One request: its name, when it came and from whom.
#[derive(Clone, Copy)]
struct Asked {
    id: RequestId,
    at: Boottime,
    uid: u32,
}

impl Broker {
    /// A broker that is ready to admit.
    pub fn new(parts: Parts, mut options: BrokerOptions) -> Self {
        let Parts { attestor, vault, issuer, ledger, usage, prices, audit, clock, rules, budgets } = parts;
        let policy = Policy { needs: rules.needs(), rules, budgets, loaded_at: clock.wall(), fault: None };
        let last_use = AtomicU64::new(clock.boot().nanos());
        let alarms = Alarms::new(options.alarm.take(), clock.clone(), ledger.clone());
        Self(Arc::new(Inner {
            attestor,
            vault,
            issuer,
            ledger,
            usage,
            prices,
            audit,
            caps: Caps::new(options.connections_per_uid),
            approvals: Approvals::new(options.approval.clone(), clock.clone()),
            options,
            policy: Mutex::new(Arc::new(policy)),
            counters: Counters::default(),
            alarms,
            // Of several looks none says too much.
            sleep: Sleep::new((0..8).map(|_| clock.slept()).max().unwrap_or_default()),
            echoed: Mutex::default(),
            last_use,
            began: (clock.wall(), clock.boot()),
            clock,
        }))
    }

    /// Identifies a connection before a byte of it is read.
    ///
    /// # Errors
    /// Nothing is told to a peer that cannot be identified: the connection is closed. A user with too many
    /// connections is told `busy`.
    pub fn admit(&self, connection: BorrowedFd<'_>, socket: &'static str) -> Result<Session, Refusal> {
        let met = self.0.attestor.meet(connection, socket);
        // Of one that is gone already the kernel still tells whose it was.
        let uid = met.as_ref().map_or_else(|_| user(connection), |peer| Some(peer.uid()));
        self.seated(met, uid, socket)
    }

    /// The same for a connection on loopback TCP, whose peer is looked up. One that cannot be told is admitted, and
    /// has then what a rule gives to a mere bearer.
    ///
    /// # Errors
    /// As [`Self::admit`].
    pub async fn admit_tcp(&self, connection: BorrowedFd<'_>, socket: &'static str) -> Result<Session, Refusal> {
        let met = self.0.attestor.meet_tcp(connection, socket).await;
        let uid = met.as_ref().ok().map(Peer::uid);
        self.seated(met, uid, socket)
    }

    fn seated(
        &self,
        met: Result<Peer, AttestError>,
        uid: Option<u32>,
        socket: &'static str,
    ) -> Result<Session, Refusal> {
        let id = self.request_id();
        let peer = met.map_err(|fault| {
            debug!(%fault, uid, "a peer was turned away");
            if self.0.room_for_a_refusal(uid).is_ok() {
                let _ = self.0.audit.action(None, Action::PeerRefused { uid, why: "it cannot be identified" });
            }
            Refusal::new(Code::Denied, id)
        })?;
        let uid = peer.uid();
        match self.0.caps.take(uid, socket) {
            Some(seat) => Ok(Session::new(self.clone(), peer, seat)),
            None => {
                debug!(uid, "a user has all the connections that one may have");
                Err(Refusal::new(Code::Busy, id))
            }
        }
    }

    /// A fresh name for a request or a connection, for refusals that come before one is parsed.
    pub fn request_id(&self) -> RequestId {
        // If the kernel has no randomness, nothing else works either.
        RequestId(chance::number().unwrap_or_default())
    }

    fn asked(&self, by: &Peer) -> Asked {
        self.look_at_clocks();
        Asked { id: self.request_id(), at: self.0.clock.boot(), uid: by.uid() }
    }

    fn policy(&self) -> Arc<Policy> {
        self.0.policy.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_policy(&self, policy: Policy) {
        *self.0.policy.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(policy);
    }
}
