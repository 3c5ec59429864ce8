//! One use of a virtual key: whose it is, whether this peer may use it, whether it is good for this call; then the call
//! itself. It never holds the real key, and never lets a call run on when its lease has ended.

use super::{
    Asked, Broker, Inner, Session,
    alarm::{Cause, Raised},
    charge::{Body, By, Charge, Told},
    narrowed::{Narrower, Presented},
    refuse::Stop,
    shared::Bounds,
};
use crate::{
    audit::{Action, Judged, KeyChange, Outcome, Verdict},
    issuer::{MintError, Witness},
    ledger::{Cut, Held},
    model::{CallPath, Code, KeyName, Principal, Refusal, Shape},
    policy::{self, Bearer, Given, Granted, Permit, Theft, Use},
    recipe::{Risk, Way},
    upstream::{Download, Upload},
    wire::{Echo, EchoGuard},
};
use hyper::{Request, Response};
use std::{
    collections::BTreeSet,
    future::Future,
    io,
    sync::{Arc, MutexGuard, PoisonError, atomic::Ordering},
};

/// One call, as far as it is judged by its head.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// The provider that was asked for.
    pub provider: &'a str,
    /// The HTTP method.
    pub method: &'a str,
    /// The provider's own path.
    pub path: &'a CallPath,
}

/// A virtual key that this peer may use.
pub struct Holding<'a> {
    session: &'a Session,
    asked: Asked,
    held: Held,
    narrower: Narrower,
    bounds: Bounds,
    way: Option<Way>,
}

/// One call that may be made. Dropped, it is on record.
#[must_use = "a use that is dropped was taken for nothing"]
pub struct Passage {
    broker: Arc<Inner>,
    asked: Asked,
    lease: crate::model::LeaseId,
    spent: Option<(Permit, Way)>,
    cut: Cut,
    verdict: Verdict,
    witness: Option<Witness>,
    charge: Charge,
}

impl Session {
    /// Finds the lease of a virtual key: whether this peer is its holder, and where the call would go.
    ///
    /// # Errors
    /// Unknown, over, taken back, somebody else's, or of another provider; who tried is on record.
    pub async fn holding(&self, key: &Presented, asked: &Call<'_>) -> Result<Holding<'_>, Refusal> {
        let broker = &self.broker.0;
        let id = self.broker.asked(&self.peer);
        let found = broker.presented(key);
        if let (Err(_), Presented::Narrowed(narrowed)) = (&found, key) {
            self.look_for(narrowed.mark()).await;
        }
        let (held, narrower) = found.map_err(|stop| broker.turn_away(id, None, &stop))?;
        let bounds = broker.bounds(&self.broker.policy(), &held.terms.key, held.terms.budget);
        let mut holding = Holding { session: self, asked: id, held, narrower, bounds, way: None };
        match holding.find_way(asked).await {
            Ok(way) => {
                holding.way = Some(way);
                Ok(holding)
            }
            Err(stop) => {
                holding.guard(&stop).await;
                Err(holding.refused(&stop).await)
            }
        }
    }
}

impl Inner {
    /// A provider sent a key back: whoever reads its answers, logs or caches may have it.
    fn echoed(&self, key: &KeyName) {
        if !self.echoes().insert(key.clone()) {
            return;
        }
        let says = "the provider sent the key back in an answer, which was cut: rotate it".to_owned();
        self.alarms.raise(Raised { cause: Cause::Echo, says, key: Some(key), by: None });
        if let Ok(listed) = self.vault.meta(key) {
            let generation = self.vault.generation().unwrap_or_default();
            let fingerprint = &listed.meta.fingerprint;
            self.note(None, Action::KeyEchoed(KeyChange { key, fingerprint, generation }));
        }
    }

    pub(super) fn echoes(&self) -> MutexGuard<'_, BTreeSet<KeyName>> {
        self.echoed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Broker {
    /// How the clients of a path of the gateway write and read: what they can be told in their own words.
    pub fn shape(&self, path: &str) -> Shape {
        let Some((provider, rest)) = path.strip_prefix('/').and_then(|path| path.split_once('/')) else {
            return Shape::None;
        };
        let path = CallPath::parse(&format!("/{rest}"));
        path.map_or(Shape::None, |path| self.0.issuer.shape(provider, &path))
    }
}

impl Holding<'_> {
    /// Whether the call's body must be looked into to judge it.
    pub fn wants_look(&self) -> bool {
        let looks = policy::looks_at_models;
        let models = looks(&self.held.terms.scopes) || looks(&self.narrower.scopes);
        self.bounds.budget.weighs() || models && self.way().is_some_and(|way| way.model.is_none())
    }

    /// Where the call goes, and how it is written there.
    pub fn way(&self) -> Option<&Way> {
        self.way.as_ref()
    }

    /// Takes one use, and puts it on record before anything leaves the machine.
    ///
    /// # Errors
    /// Out of scope, no use left, or the audit cannot be written.
    pub async fn pass(mut self, call: &Call<'_>, body: Option<Body<'_>>) -> Result<Passage, Refusal> {
        let passed = match self.way.take() {
            Some(way) => self.passed(call, way, body).await,
            None => Err(Stop::Provider),
        };
        match passed {
            Ok(passage) => Ok(passage),
            Err(stop) => Err(self.refused(&stop).await),
        }
    }

    async fn passed(&self, call: &Call<'_>, way: Way, body: Option<Body<'_>>) -> Result<Passage, Stop> {
        let broker = &self.session.broker.0;
        let terms = &self.held.terms;
        let scopes = self.narrower.over(&terms.scopes);
        let budget = &self.bounds.budget;
        let granted = Granted { key: &terms.key, rule: &terms.rule, scopes: &scopes, risky: terms.risky, budget };
        let mut charge = Charge::new(broker, terms, &way, body.as_ref());
        let models = charge.models();
        let wanted = Use {
            method: call.method,
            path: call.path.plain(),
            models: &models,
            read: body.is_some(),
            max_output: body.and_then(|body| body.max_output),
            risky: way.risk == Risk::Risky,
        };
        let permit = policy::pass(&granted, &wanted, broker.clock.boot())?;
        let principal = self.principal().await?;
        let asks = |_| told(call, &models);
        let approval = self.session.approved(self.asked, &principal, &permit, asks).await?;
        let by =
            By { lease: self.held.lease, chain: &self.narrower.chain, bounds: &self.bounds, taking: permit.takes() };
        let cut = charge.reserve(broker, &by)?;
        let judged = Judged::Use { permit: &permit, lease: self.held.lease, node: self.narrower.id, approval };
        broker.decide(self.asked, &principal, judged).await?;
        broker.last_use.store(broker.clock.boot().nanos(), Ordering::Relaxed);
        Ok(Passage {
            broker: broker.clone(),
            asked: self.asked,
            lease: self.held.lease,
            spent: Some((permit, way)),
            cut,
            verdict: Verdict::Lost,
            witness: None,
            charge,
        })
    }

    async fn find_way(&self, call: &Call<'_>) -> Result<Way, Stop> {
        let broker = &self.session.broker.0;
        match (&self.held.terms.recipient, &self.held.owner) {
            _ if self.session.peer.bearer().is_some() => self.bearer_is_enough()?,
            (Some(recipient), _) => broker.attestor.is(&self.session.peer, recipient).await?,
            (None, Some(owner)) => broker.attestor.holds(&self.session.peer, owner)?,
            (None, None) => self.is_the_rules().await?,
        }
        if !self.narrower.has(call.provider) {
            return Err(Stop::Provider);
        }
        let way = broker.issuer.way(&self.held.terms.key, call.provider, call.method, call.path)?;
        match way.ok_or(Stop::Provider)? {
            way if way.risk == Risk::Refused => Err(Stop::HandsOutKeys),
            way => Ok(way),
        }
    }

    /// A key without a process is good for whom its rule would give it to now.
    async fn is_the_rules(&self) -> Result<(), Stop> {
        let (broker, policy) = (&self.session.broker.0, self.session.broker.policy());
        let terms = &self.held.terms;
        for peer in self.session.peer.everyone() {
            let principal = broker.attestor.identify(peer, &policy.needs).await?;
            let rule = policy.rules.0.iter().find(|rule| rule.name == terms.rule);
            let surely = principal.uid != terms.uid || rule.is_none_or(|rule| rule.shuts_out(&principal));
            match rule.is_some_and(|rule| rule.speaks_of(&principal, &terms.key)) {
                _ if surely => return Err(Stop::NotTheHolder),
                true => {}
                false => return Err(Stop::Untold),
            }
        }
        Ok(())
    }

    /// Where nobody can tell who the peer is, the rule of the lease says whether having the key is enough. For a key that
    /// is somebody's by name it never is.
    fn bearer_is_enough(&self) -> Result<(), Stop> {
        let enough = self.held.terms.recipient.is_none() && self.rule_says(|rule| rule.bearer == Bearer::Enough);
        if enough { Ok(()) } else { Err(Stop::Unseen) }
    }

    /// Whether the lease's rule, as it is in force now, says something.
    fn rule_says(&self, what: impl Fn(&policy::Rule) -> bool) -> bool {
        let policy = self.session.broker.policy();
        policy.rules.0.iter().any(|rule| rule.name == self.held.terms.rule && what(rule))
    }

    /// Ends a lease whose key is surely in a stranger's hands, if its rule wants that. Who cannot be told is no proof.
    async fn guard(&self, stop: &Stop) {
        let (broker, held) = (&self.session.broker.0, &self.held);
        if !stop.is_theft() || !self.rule_says(|rule| rule.theft == Theft::Frozen) || !broker.ledger.freeze(held.lease)
        {
            return;
        }
        broker.counters.frozen.fetch_add(1, Ordering::Relaxed);
        let by = self.principal().await.ok();
        let key = &held.terms.key;
        broker.note(by.as_ref(), Action::Frozen { lease: held.lease, key });
        let says = "a stranger tried a virtual key, and its lease has ended".to_owned();
        broker.alarms.raise(Raised { cause: Cause::Theft, says, key: Some(key), by: by.as_ref() });
    }

    /// Who is put on record: what can be told of the peer.
    async fn principal(&self) -> Result<Principal, Stop> {
        let session = self.session;
        match session.peer.bearer() {
            Some(bare) => Ok(bare),
            None => {
                let needs = &session.broker.policy().needs;
                Ok(session.broker.0.attestor.identify(&session.peer, needs).await?)
            }
        }
    }

    /// A no with its record: who tried, and which lease.
    async fn refused(&self, stop: &Stop) -> Refusal {
        let (broker, key) = (&self.session.broker.0, Some(&self.held.terms.key));
        if stop.is_counted() {
            return broker.refuse(self.asked, key, stop);
        }
        let Ok(principal) = self.principal().await else { return broker.turn_away(self.asked, key, stop) };
        if let Err(flood) = broker.room_for_a_refusal(Some(principal.uid)) {
            return broker.refuse(self.asked, key, &flood);
        }
        let judged = Judged::Refused { key, code: stop.code().0 };
        let _ = broker.decide(self.asked, &principal, judged).await;
        broker.refuse(self.asked, key, stop)
    }
}

/// What a person is told of a call.
fn told(call: &Call<'_>, models: &[&str]) -> Vec<Given> {
    let models = (!models.is_empty()).then(|| models.join(", "));
    let all =
        [("method", Some(call.method.to_owned())), ("path", Some(call.path.plain().to_owned())), ("model", models)];
    all.into_iter().filter_map(|(what, how)| how.map(|how| Given { what, how })).collect()
}

impl Passage {
    /// Makes the call. A use of which the provider never heard is given back. `silent` ends when nobody is waited for any
    /// longer.
    ///
    /// # Errors
    /// The key is locked or gone, the provider can't be reached or says nothing, or the lease ended meanwhile.
    pub async fn call(
        &mut self,
        request: Request<Upload>,
        silent: impl Future<Output = ()>,
    ) -> Result<Response<Download>, Refusal> {
        let Some((permit, way)) = self.spent.take() else {
            return Err(Refusal::new(Code::Unavailable, self.asked.id));
        };
        let mut cut = self.cut.clone();
        let (answer, heard) = tokio::select! {
            biased;
            () = cut.wait() => (Err(self.ended()), true),
            answer = self.broker.issuer.relay(permit, &way, request) => {
                let heard = matches!(answer, Err(MintError::Call(_)));
                (answer.map_err(Stop::Mint), heard)
            }
            () = silent => (Err(Stop::Silent), true),
        };
        match answer {
            Ok((response, witness)) => {
                self.witness = Some(witness);
                self.verdict = Verdict::Passed(response.status().as_u16());
                Ok(response)
            }
            Err(stop) => {
                match heard {
                    true => self.charge.settle(&self.broker, None),
                    false => self.charge.refund(),
                }
                self.verdict = Verdict::Refused(stop.code().0);
                Err(self.broker.refuse(self.asked, None, &stop))
            }
        }
    }

    /// Searches a piece of the answer for the key. While it is locked away nothing is let through.
    ///
    /// # Errors
    /// The key is gone, so that nobody can say whether it is in there.
    pub fn search(&self, guard: &mut EchoGuard, piece: &[u8]) -> io::Result<Echo> {
        let witness = self.witness.as_ref().ok_or_else(|| io::Error::other("there was no call"))?;
        witness.search(guard, piece)
    }

    /// Whether the key stands in a text that is there as a whole.
    pub fn is_in(&self, text: &[u8]) -> bool {
        self.search(&mut EchoGuard::for_codes_too(), text).map_or(true, |echo| matches!(echo, Echo::At(_)))
    }

    /// The provider sent the key back: it is on record, and `status` tells.
    pub fn echoed(&self) {
        if let Some(witness) = &self.witness {
            self.broker.echoed(witness.key());
        }
    }

    /// What the call used, as far as the answer told.
    pub fn settle(&mut self, told: Told) {
        self.charge.told = told;
    }

    /// Whether an answer with so many tokens of output may go on: its length, or the budget, may be at an end.
    pub fn goes_on(&mut self, output: u64) -> bool {
        self.charge.goes_on(&self.broker, output)
    }

    /// What tells when the call must end.
    pub fn cut(&self) -> Cut {
        self.cut.clone()
    }

    /// Why what runs on the lease was cut: it ended, or the vault was locked.
    fn ended(&self) -> Stop {
        match self.broker.vault.is_locked() {
            true => Stop::Mint(crate::vault::LendError::Locked.into()),
            false if self.cut.is_over() => Stop::Spent(crate::ledger::Spent::Expired),
            false => Stop::Spent(crate::ledger::Spent::Revoked),
        }
    }
}

impl Drop for Passage {
    fn drop(&mut self) {
        if matches!(self.verdict, Verdict::Refused(_)) {
            return;
        }
        match self.verdict {
            Verdict::Passed(status) => self.charge.settle(&self.broker, Some(status)),
            // The client left before an answer came: the provider may have worked for it.
            _ if self.spent.is_none() => self.charge.settle(&self.broker, None),
            _ => {}
        }
        self.broker.audit.outcome(&Outcome {
            request: self.asked.id,
            lease: Some(self.lease),
            verdict: self.verdict,
            uid: None,
            key: None,
            reason: None,
            expires_at: None,
            micros: self.broker.micros(self.asked),
        });
    }
}
