//! Where a rule wants a person's yes, too: the request waits for it here, between its judgement and the record of it.
//! It judges nothing, keeps no yes longer than its process lives, and takes silence for a no.

mod ask;
mod book;
mod words;

pub use ask::{AskOptions, Speech};

pub(super) use book::{Answer, Approvals, Forget};

use super::{Asked, Broker, Operator, OperatorError, Policy, Session, receipt::waited, refuse::Stop};
use crate::{
    attest::{Instance, Portrait},
    audit::{Approval, Judged},
    clock::{Boottime, Clock},
    issuer::MintError,
    model::{ApprovalId, Approver, KeyName, Principal},
    policy::{Approve, Given, Permit, asked, given},
    vault::LendError,
};
use serde::Serialize;
use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// Bounds of what is asked of people.
#[derive(Debug, Clone)]
pub struct ApprovalOptions {
    /// The program that asks; none: somebody looks what waits, and answers on the control socket.
    pub ask: Option<AskOptions>,
    /// No answer for so long is a no.
    pub timeout: Duration,
    /// Questions that wait at once.
    pub waiting: usize,
    /// Of these, those of one user's processes.
    pub waiting_per_uid: usize,
    /// Yeses that are remembered.
    pub kept: usize,
}

/// A question that waits, as a person is shown it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Waiting {
    /// Its name.
    pub id: ApprovalId,
    /// The key that is asked for.
    pub key: KeyName,
    /// The rule that wants a person asked.
    pub rule: String,
    /// Whether a yes is good for all that the process asks of this rule and key, until it ends.
    pub remembered: bool,
    /// Requests of the process that wait for this answer.
    pub callers: usize,
    /// Whole seconds until silence is a no.
    pub expires_in: u64,
    /// What a yes gives.
    pub asks: Vec<Given>,
    /// Who asks.
    pub caller: Portrait,
}

/// What is to be approved. Equal ones of one process are one question.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Matter {
    key: KeyName,
    rule: String,
    uid: u32,
    remember: bool,
    asks: Vec<Given>,
}

/// Why there is no yes.
#[derive(Debug, Clone, Copy, thiserror::Error)]
pub(super) enum Unapproved {
    #[error("more approvals wait than may")]
    Crowded,
    #[error("a person said no")]
    No(Approver),
    #[error("nobody answered in time")]
    Late,
    #[error("the approval was taken back by a lock, a reload or a revocation")]
    Withdrawn,
    #[error("the program that asks for approval failed")]
    Failed,
}

impl Unapproved {
    /// As the audit says it.
    pub(super) fn why(self) -> &'static str {
        match self {
            Self::Crowded => "more approvals wait than may",
            Self::No(_) => "a person said no",
            Self::Late => "nobody approved it in time",
            Self::Withdrawn => "the approval was taken back",
            Self::Failed => "the program that asks failed",
        }
    }

    fn by(self) -> Option<Approver> {
        if let Self::No(by) = self { Some(by) } else { None }
    }
}

impl Session {
    /// Waits for a person's yes, where the permit needs one; `asks` is what they are told of it, by whether it is remembered.
    pub(super) async fn approved(
        &self,
        asked: Asked,
        principal: &Principal,
        permit: &Permit,
        asks: impl FnOnce(bool) -> Vec<Given>,
    ) -> Result<Option<Approval>, Stop> {
        if permit.approve() == Approve::Never {
            return Ok(None);
        }
        let broker = &self.broker.0;
        // Nobody is asked about what could not be had.
        broker.issuer.lent(permit.key()).map_err(MintError::Key)?;
        if self.peer.bearer().is_some() {
            return Err(Stop::Unseen);
        }
        let instance = broker.attestor.instance(&self.peer)?;
        let remember = permit.approve() == Approve::OncePerProcess && instance.is_seen();
        let (key, rule, uid) = (permit.key().clone(), permit.rule().to_owned(), principal.uid);
        let matter = Matter { key, rule, uid, remember, asks: asks(remember) };
        if let Some(by) = broker.approvals.remembered(&instance, &matter) {
            return Ok(Some(Approval { by, remembered: true }));
        }
        let waits = self.asking.begin(&broker.clock);
        let shown = broker.attestor.portrait(&self.peer);
        let answer = waited(broker, asked, broker.approvals.wait(instance, matter, shown)).await?;
        drop(waits);
        match answer {
            Ok(by) => {
                // Whoever was shown is who gets it.
                broker.attestor.unchanged(&self.peer)?;
                Ok(Some(Approval { by, remembered: false }))
            }
            Err(Unapproved::Withdrawn) if broker.vault.is_locked() => Err(Stop::Mint(LendError::Locked.into())),
            Err(no @ Unapproved::Crowded) => Err(Stop::Unapproved(no)),
            Err(no) => self.denied(asked, principal, permit, no).await,
        }
    }

    async fn denied<T>(&self, asked: Asked, principal: &Principal, permit: &Permit, no: Unapproved) -> Result<T, Stop> {
        let broker = &self.broker.0;
        broker.room_for_a_refusal(Some(principal.uid))?;
        let judged = Judged::Unapproved { key: permit.key(), rule: permit.rule(), why: no.why(), by: no.by() };
        broker.decide(asked, principal, judged).await?;
        Err(Stop::Unapproved(no))
    }

    /// When the last wait for a person ended: now, while one is waited for. That time is not the daemon's.
    pub fn last_asked(&self) -> Boottime {
        self.asking.until(&self.broker.0.clock)
    }
}

impl Operator<'_> {
    /// What waits for a person's answer.
    pub fn approvals(&self) -> Vec<Waiting> {
        self.inner().approvals.waiting()
    }

    /// Answers what waits, and says how many requests hear it. Who asks cannot answer, nor what it started.
    pub fn approve(&self, id: ApprovalId, yes: bool) -> Result<usize, OperatorError> {
        if let Some(ask) = self.inner().options.approval.ask.as_ref().filter(|_| yes) {
            return Err(OperatorError::AskedElsewhere(ask.program.clone()));
        }
        let by = Approver { how: "control", uid: self.principal.uid, pid: Some(self.principal.pid) };
        let answer = if yes { Answer::Yes(by) } else { Answer::No(by) };
        let stranger = |asks: &Instance| if asks.may_be(self.peer) { Err(OperatorError::OwnApproval) } else { Ok(()) };
        self.inner().approvals.answer(id, answer, stranger)?.ok_or(OperatorError::NoApproval(id))
    }
}

impl Broker {
    /// Whoever waits for a person is told no: the daemon ends, or hands over.
    pub fn stop_asking(&self) {
        self.0.approvals.forget(Forget::All);
    }
}

impl Policy {
    /// What a yes to this permit gives: all of its rule, where it is remembered.
    pub(super) fn to_approve(&self, permit: &Permit, remembered: bool) -> Vec<Given> {
        let rule = self.rules.0.iter().find(|rule| rule.name == permit.rule());
        rule.filter(|_| remembered).map_or_else(|| asked(permit), given)
    }
}

/// Whether a connection's request waits for a person, or when it last did.
#[derive(Debug, Default)]
pub(super) struct Asking(AtomicU64);

impl Asking {
    const NOW: u64 = u64::MAX;

    fn begin<'a>(&'a self, clock: &'a Clock) -> impl Drop + use<'a> {
        self.0.store(Self::NOW, Ordering::Relaxed);
        Wait { asking: self, clock }
    }

    fn until(&self, clock: &Clock) -> Boottime {
        match self.0.load(Ordering::Relaxed) {
            Self::NOW => clock.boot(),
            ended => Boottime::from_nanos(ended),
        }
    }
}

struct Wait<'a> {
    asking: &'a Asking,
    clock: &'a Clock,
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        self.asking.0.store(self.clock.boot().nanos(), Ordering::Relaxed);
    }
}
