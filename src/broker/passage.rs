//! One use of a virtual key: whose it is, whether this peer may use it, whether it is good for this call; then the call
//! itself. It never holds the real key, and never lets a call run on when its lease has ended.

use super::{Asked, Inner, Session, refuse::Stop};
use crate::{
    audit::{Decision, Judged, Outcome, Verdict},
    ledger::{Cut, Held},
    model::{Code, Principal, Refusal},
    policy::{self, Bearer, Granted, Permit, Use},
    upstream::{Download, Upload},
};
use hyper::{Request, Response};
use std::sync::{Arc, atomic::Ordering};

/// A virtual key that this peer may use.
pub struct Holding<'a> {
    session: &'a Session,
    asked: Asked,
    held: Held,
}

/// One call that may be made. Dropped, it is on record.
#[must_use = "a use that is dropped was taken for nothing"]
pub struct Passage {
    broker: Arc<Inner>,
    asked: Asked,
    lease: crate::model::LeaseId,
    permit: Option<Permit>,
    cut: Cut,
    verdict: Verdict,
}

impl Session {
    /// Finds the lease of a virtual key by its SHA-256, and whether this peer is its holder.
    ///
    /// # Errors
    /// Unknown, over, taken back, or somebody else's; the last is on record with who tried.
    pub fn holding(&self, digest: &[u8; 32], provider: &str) -> Result<Holding<'_>, Refusal> {
        let broker = &self.broker.0;
        let asked = self.broker.asked();
        let held = broker.ledger.held(digest).map_err(|spent| broker.refuse(asked, &Stop::Spent(spent)))?;
        let holding = Holding { session: self, asked, held };
        match holding.is_ours(provider) {
            Ok(()) => Ok(holding),
            Err(stop) => Err(holding.refused(&stop)),
        }
    }
}

impl Holding<'_> {
    /// Whether the call's model must be known to judge it.
    pub fn wants_model(&self) -> bool {
        policy::looks_at_models(&self.held.terms.scopes)
    }

    /// Takes one use, and puts it on record before anything leaves the machine.
    ///
    /// # Errors
    /// Out of scope, no use left, or the audit cannot be written.
    pub fn pass(self, wanted: &Use<'_>) -> Result<Passage, Refusal> {
        self.passed(wanted).map_err(|stop| self.refused(&stop))
    }

    fn passed(&self, wanted: &Use<'_>) -> Result<Passage, Stop> {
        let broker = &self.session.broker.0;
        let terms = &self.held.terms;
        let granted = Granted { key: &terms.key, rule: &terms.rule, scopes: &terms.scopes };
        let permit = policy::pass(&granted, wanted, broker.clock.boot())?;
        let principal = self.principal()?;
        let cut = broker.ledger.take_use(self.held.lease)?;
        let judged = Judged::Use { permit: &permit, lease: self.held.lease };
        if let Err(fault) = broker.audit.decide(&Decision { request: self.asked.id, principal: &principal, judged }) {
            broker.ledger.give_back(self.held.lease);
            return Err(fault.into());
        }
        broker.last_use.store(broker.clock.boot().nanos(), Ordering::Relaxed);
        Ok(Passage {
            broker: broker.clone(),
            asked: self.asked,
            lease: self.held.lease,
            permit: Some(permit),
            cut,
            verdict: Verdict::Lost,
        })
    }

    fn is_ours(&self, provider: &str) -> Result<(), Stop> {
        let broker = &self.session.broker.0;
        let peer = &self.session.peer;
        match &self.held.owner {
            _ if peer.bearer().is_some() => self.bearer_is_enough()?,
            Some(owner) => broker.attestor.holds(peer, owner)?,
            None => self.is_the_rules()?,
        }
        match broker.issuer.provider(&self.held.terms.key) {
            Ok(known) if known == provider => Ok(()),
            Ok(_) => Err(Stop::Provider),
            Err(fault) => Err(Stop::Mint(fault.into())),
        }
    }

    /// A key without a process is good for whom its rule would give it to now.
    fn is_the_rules(&self) -> Result<(), Stop> {
        let (broker, policy) = (&self.session.broker.0, self.session.broker.policy());
        let terms = &self.held.terms;
        for peer in self.session.peer.everyone() {
            let principal = broker.attestor.identify(peer, &policy.needs)?;
            let gives = |rule: &policy::Rule| rule.name == terms.rule && rule.speaks_of(&principal, &terms.key);
            if principal.uid != terms.uid || !policy.rules.0.iter().any(gives) {
                return Err(Stop::NotTheHolder);
            }
        }
        Ok(())
    }

    /// Where nobody can tell who the peer is, the rule of the lease says whether having the key is enough.
    fn bearer_is_enough(&self) -> Result<(), Stop> {
        let (policy, terms) = (self.session.broker.policy(), &self.held.terms);
        let says = |rule: &policy::Rule| rule.name == terms.rule && rule.bearer == Bearer::Enough;
        if policy.rules.0.iter().any(says) { Ok(()) } else { Err(Stop::Unseen) }
    }

    /// Who is put on record: what can be told of the peer.
    fn principal(&self) -> Result<Principal, Stop> {
        let session = self.session;
        match session.peer.bearer() {
            Some(bare) => Ok(bare),
            None => Ok(session.broker.0.attestor.identify(&session.peer, &session.broker.policy().needs)?),
        }
    }

    /// A no with its record: who tried, and which lease.
    fn refused(&self, stop: &Stop) -> Refusal {
        let broker = &self.session.broker.0;
        if let Ok(principal) = self.principal()
            && self.session.room_for_a_refusal().is_ok()
        {
            let judged = Judged::Refused { key: Some(&self.held.terms.key), code: stop.code().0 };
            let _ = broker.audit.decide(&Decision { request: self.asked.id, principal: &principal, judged });
        }
        broker.refuse(self.asked, stop)
    }
}

impl Passage {
    /// Makes the call. A use of which the provider never heard is given back.
    ///
    /// # Errors
    /// The key is locked or gone, the provider can't be reached, or the lease ended meanwhile.
    pub async fn call(&mut self, request: Request<Upload>) -> Result<Response<Download>, Refusal> {
        let Some(permit) = self.permit.take() else {
            return Err(Refusal::new(Code::Unavailable, self.asked.id));
        };
        let mut cut = self.cut.clone();
        let answer = tokio::select! {
            biased;
            () = cut.wait() => Err(self.ended()),
            answer = self.broker.issuer.relay(permit, request) => answer.map_err(Stop::Mint),
        };
        match answer {
            Ok(response) => {
                self.verdict = Verdict::Passed(response.status().as_u16());
                Ok(response)
            }
            Err(stop) => {
                self.broker.ledger.give_back(self.lease);
                self.verdict = Verdict::Refused(stop.code().0);
                Err(self.broker.refuse(self.asked, &stop))
            }
        }
    }

    /// What tells when the call must end.
    pub fn cut(&self) -> Cut {
        self.cut.clone()
    }

    /// Why what runs on the lease was cut: it ended, or the vault was locked.
    fn ended(&self) -> Stop {
        match self.broker.vault.is_locked() {
            true => Stop::Mint(crate::vault::LendError::Locked.into()),
            false => Stop::Spent(crate::ledger::Spent::Revoked),
        }
    }
}

impl Drop for Passage {
    fn drop(&mut self) {
        if matches!(self.verdict, Verdict::Refused(_)) {
            return;
        }
        self.broker.audit.outcome(&Outcome {
            request: self.asked.id,
            lease: Some(self.lease),
            verdict: self.verdict,
            reason: None,
            expires_at: None,
            micros: self.broker.micros(self.asked),
        });
    }
}
