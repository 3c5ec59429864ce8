//! One connected peer, and the life of its requests. Each step takes the last one's value and gives a narrower one.

use super::{
    Asked, Broker, Inner, Policy,
    approval::Asking,
    caps::Seat,
    receipt::{Receipt, waited},
    refuse::Stop,
};
use crate::{
    attest::Peer,
    audit::{Approval, Judged},
    clock::Boottime,
    issuer::{MintError, Minted},
    ledger::{Listed, New, Page, Revoked, Room, Terms, Which},
    model::{Code, KeyName, Kind, Lease, Owner, Principal, Refusal, Request, Revocable, Selector, Ttl},
    policy::{self, Approve, Permit},
    sys::process::Process,
};
use serde::Serialize;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
};

/// One connection. It holds the peer's handle and its seat for as long as it is open.
pub struct Session {
    pub(super) broker: Broker,
    pub(super) peer: Peer,
    /// Of the last lease, and whose they were: one caller's next ones mostly have the same.
    terms: Mutex<Option<(Principal, Arc<Terms>)>>,
    pub(super) asking: Asking,
    _seat: Seat,
}

/// A yes: the lease, and the receipt that must go with its token.
pub struct Grant {
    /// To be answered.
    pub lease: Lease,
    /// To be told when the token is out.
    pub receipt: Receipt,
}

/// What the broker makes of a caller.
#[derive(Debug, Serialize)]
pub struct Whoami {
    /// Every fact that is known.
    pub selectors: Vec<Selector>,
    /// Rules whose peer it is.
    pub rules: Vec<String>,
    /// Keys that it may ask for; empty while the vault is locked.
    pub keys: Vec<KeyName>,
    /// Of these, for which a person is asked, and how often.
    pub approve: BTreeMap<KeyName, &'static str>,
}

impl Session {
    pub(super) fn new(broker: Broker, peer: Peer, seat: Seat) -> Self {
        Self { broker, peer, terms: Mutex::default(), asking: Asking::default(), _seat: seat }
    }

    /// Asks for one lease.
    pub async fn ask(&self, request: Request) -> Result<Grant, Refusal> {
        let asked = self.broker.asked(&self.peer);
        let broker = &self.broker.0;
        let allowed = self.allowed(asked, &request).await;
        let allowed = allowed.map_err(|stop| broker.turn_away(asked, Some(&request.key), &stop))?;
        let judged = Judged::Permit(&allowed.permit, allowed.approval);
        let granted = match broker.decide(asked, &allowed.principal, judged).await {
            Ok(()) => waited(broker, asked, self.granted(asked, &request, allowed)).await,
            Err(fault) => Err(fault.into()),
        };
        granted.map_err(|stop| broker.refuse(asked, Some(&request.key), &stop))
    }

    /// All that is looked at before a yes is put on record.
    async fn allowed(&self, asked: Asked, request: &Request) -> Result<Allowed, Stop> {
        let broker = &self.broker.0;
        let policy = self.broker.policy();
        let principal = broker.attestor.identify(&self.peer, &policy.needs).await?;
        // A decoy is judged like a key, and not lent: whoever asks hears what they would of a key that is not there.
        broker.steps_on(&self.peer, &request.key).await;
        let permit = self.judge(&policy, &principal, request, asked).await?;
        if let Some(rate) = permit.rate()
            && let Err(wait) = broker.ledger.take(permit.holder(), rate)
        {
            return Err(Stop::Rate(permit.rule().into(), wait));
        }
        let asks = |remembered| policy.to_approve(&permit, remembered);
        let approval = self.approved(asked, &principal, &permit, asks).await?;
        let terms = self.terms(&permit, &principal);
        let room = broker.ledger.room(terms.clone())?;
        let owner = self.owner(&permit)?;
        Ok(Allowed { policy, principal, permit, approval, terms, room, owner })
    }

    async fn granted(&self, asked: Asked, request: &Request, allowed: Allowed) -> Result<Grant, Stop> {
        let broker = &self.broker.0;
        let Allowed { policy, principal: _, permit, approval, terms, mut room, owner } = allowed;
        let (key, kind, uses, needed) = (permit.key().clone(), permit.kind(), permit.uses(), permit.min_remaining());
        let bounds = Bounds { terms: terms.clone(), ttl: permit.ttl(), uses };
        let minted = broker.issuer.mint(permit).await?;
        // A reload on another loop, after that look, is one too late for it.
        room.renew();
        self.look_again(&policy, request, &bounds).await?;
        if approval.is_some() {
            broker.attestor.unchanged(&self.peer)?;
        }
        broker.last_use.store(broker.clock.boot().nanos(), Ordering::Relaxed);
        let Minted { token, digest, seal, ticket, deadline, expires_at, provider, base_urls } = minted;
        let expires_in = broker.left(deadline, expires_at, needed)?;
        let id = room.enter(New { terms, digest, seal, ticket, deadline, expires_at, uses }, owner)?;
        let lease = Lease {
            id,
            key,
            provider,
            kind,
            token,
            ticket: ticket.is_some(),
            expires_at,
            expires_in,
            revocable: kind == Kind::Virtual,
            base_urls,
        };
        Ok(Grant { lease, receipt: Receipt::new(broker.clone(), asked, id, expires_at) })
    }

    /// A no is recorded here; a yes once there is room for its lease.
    async fn judge(
        &self,
        policy: &Policy,
        principal: &Principal,
        request: &Request,
        asked: Asked,
    ) -> Result<Permit, Stop> {
        let broker = &self.broker.0;
        let denial = match policy::judge(&policy.rules, principal, request, broker.clock.boot()) {
            Ok(permit) => return Ok(permit),
            Err(denial) => denial,
        };
        broker.room_for_a_refusal(Some(principal.uid))?;
        broker.decide(asked, principal, Judged::Denied { key: &request.key, denial: &denial }).await?;
        Err(Stop::Denied(denial))
    }

    fn owner(&self, permit: &Permit) -> Result<Option<Process>, Stop> {
        let attestor = &self.broker.0.attestor;
        match permit.owner() {
            Owner::Detached => Ok(None),
            Owner::Caller => Ok(Some(attestor.caller(&self.peer)?)),
            Owner::Parent => Ok(Some(attestor.parent(&self.peer)?)),
        }
    }

    fn terms(&self, permit: &Permit, principal: &Principal) -> Arc<Terms> {
        let mut last = self.terms.lock().unwrap_or_else(PoisonError::into_inner);
        match last.as_ref() {
            Some((whose, terms)) if whose == principal && fit(terms, permit) => terms.clone(),
            _ => last.insert((principal.clone(), Arc::new(terms(permit, principal)))).1.clone(),
        }
    }

    /// The caller is still the process that was identified, and the rules of now still give as much.
    async fn look_again(&self, judged_by: &Arc<Policy>, request: &Request, given: &Bounds) -> Result<(), Stop> {
        let broker = &self.broker.0;
        let policy = self.broker.policy();
        if !Arc::ptr_eq(&policy, judged_by) {
            let principal = broker.attestor.identify(&self.peer, &policy.needs).await?;
            let permit = policy::judge(&policy.rules, &principal, request, broker.clock.boot())?;
            // A yes was given under the rules of then.
            if !given.are_within(&permit) || permit.approve() != Approve::Never {
                return Err(Stop::Rules);
            }
        }
        Ok(self.peer.still_there()?)
    }

    /// A page of the leases of the caller's user, without tokens.
    pub fn leases(&self, page: Page) -> Result<Listed, Refusal> {
        let uid = self.present()?;
        let ended = || {
            let refusal = Refusal::new(Code::Malformed, self.broker.request_id());
            refusal.at(409).saying("the lease that `after` names has ended: begin the list anew")
        };
        self.broker.0.ledger.page(Some(uid), page).ok_or_else(ended)
    }

    /// Takes back one lease of the caller's user, or one narrower key of it.
    pub async fn revoke(&self, id: Revocable) -> Result<Revoked, Refusal> {
        let asked = self.broker.asked(&self.peer);
        let broker = &self.broker.0;
        let principal = broker.attestor.identify(&self.peer, &policy::Needs::default()).await;
        let principal = principal.map_err(|fault| broker.turn_away(asked, None, &Stop::Attest(fault)))?;
        let which = match id {
            Revocable::Lease(id) => Which::OwnId(id, principal.uid),
            Revocable::Node(id) => Which::Node(id, Some(principal.uid)),
        };
        Ok(broker.revoke(Some(&principal), &which).await)
    }

    /// The caller's user, if the process that connected is still there: whoever else holds its socket is nobody.
    fn present(&self) -> Result<u32, Refusal> {
        let asked = self.broker.asked(&self.peer);
        let gone = |fault| self.broker.0.turn_away(asked, None, &Stop::Attest(fault));
        self.peer.still_there().map(|()| self.peer.uid()).map_err(gone)
    }

    /// What the broker makes of this peer.
    pub async fn whoami(&self) -> Result<Whoami, Refusal> {
        let asked = self.broker.asked(&self.peer);
        let broker = &self.broker.0;
        let principal = broker
            .attestor
            .identify_fully(&self.peer, &self.broker.policy().needs)
            .await
            .map_err(|fault| broker.turn_away(asked, None, &Stop::Attest(fault)))?;
        let policy = self.broker.policy();
        let mine = policy.rules.0.iter().filter(|rule| rule.first_failure(&principal).is_none());
        let keys = self.keys(&policy, &principal, None);
        let asks = |key: &KeyName| {
            let rule = policy.rules.0.iter().find(|rule| rule.speaks_of(&principal, key))?;
            (rule.approve != Approve::Never).then(|| (key.clone(), rule.approve.name()))
        };
        Ok(Whoami {
            selectors: principal.selectors(),
            rules: mine.map(|rule| rule.name.clone()).collect(),
            approve: keys.iter().filter_map(asks).collect(),
            keys,
        })
    }

    /// The only key of a provider that this caller may ask for: for protocols that name no key.
    pub async fn only_key(&self, provider: &str) -> Result<KeyName, Refusal> {
        let asked = self.broker.asked(&self.peer);
        let policy = self.broker.policy();
        let principal = self.broker.0.attestor.identify(&self.peer, &policy.needs).await;
        let principal = principal.map_err(|fault| self.broker.0.turn_away(asked, None, &Stop::Attest(fault)))?;
        let mut keys = self.keys(&policy, &principal, Some(provider));
        // Whoever names none has not reached for it.
        keys.retain(|key| !self.broker.0.vault.is_decoy(key));
        match (keys.pop(), keys.is_empty()) {
            (Some(key), true) => Ok(key),
            (Some(_), false) => Err(Refusal::new(crate::model::Code::Malformed, asked.id)
                .saying("you may have several keys: name one as `Authorization: Bearer KEY-NAME`")),
            (None, _) if self.broker.0.vault.is_locked() => Err(Refusal::new(crate::model::Code::Locked, asked.id)),
            (None, _) => Err(Refusal::new(crate::model::Code::Denied, asked.id)),
        }
    }

    /// The control socket's side of this session, if the peer may have it.
    pub async fn operator(&self) -> Result<super::Operator<'_>, Refusal> {
        super::Operator::new(&self.broker, &self.peer).await
    }

    /// The broker that admitted it.
    pub fn broker(&self) -> &Broker {
        &self.broker
    }

    fn keys(&self, policy: &Policy, principal: &Principal, provider: Option<&str>) -> Vec<KeyName> {
        let all = self.broker.0.vault.list().unwrap_or_default().into_iter().map(|listed| listed.meta);
        let of = all.filter(|meta| provider.is_none_or(|provider| meta.provider == provider));
        let may = |name: &KeyName| policy::explain(&policy.rules, principal, name).decides.is_some();
        of.map(|meta| meta.name).filter(may).collect()
    }
}

impl Inner {
    /// Whole seconds that a token has left, by our clock and by its provider's end: what the caller needs at least.
    pub(super) fn left(&self, deadline: Boottime, expires_at: u64, needed: u32) -> Result<u32, MintError> {
        let ours = deadline.since(self.clock.boot()).as_secs();
        let left = ours.min(expires_at.saturating_sub(self.clock.wall()));
        if left < u64::from(needed) {
            return Err(MintError::TooShort { left, needed });
        }
        Ok(u32::try_from(left).unwrap_or(u32::MAX))
    }
}

/// A yes that is not on record yet.
struct Allowed {
    policy: Arc<Policy>,
    principal: Principal,
    permit: Permit,
    approval: Option<Approval>,
    terms: Arc<Terms>,
    room: Room,
    owner: Option<Process>,
}

/// What a lease was judged to be, to be compared with what the rules say when it is minted.
struct Bounds {
    terms: Arc<Terms>,
    ttl: Ttl,
    uses: Option<u32>,
}

impl Bounds {
    fn are_within(&self, permit: &Permit) -> bool {
        let uses = permit.uses().is_none_or(|most| self.uses.is_some_and(|uses| uses <= most));
        fit(&self.terms, permit) && self.ttl <= permit.ttl() && uses
    }
}

fn fit(terms: &Terms, permit: &Permit) -> bool {
    let Terms { key, rule, kind, peer: _, uid: _, recipient, scopes, risky, approve, budget, holder } = terms;
    let same = key == permit.key() && rule == permit.rule() && *kind == permit.kind();
    same && recipient.as_ref() == permit.recipient()
        && scopes == permit.scopes()
        && *risky == permit.risky()
        && *approve == permit.approve()
        && budget == permit.budget()
        && **holder == *permit.holder()
}

fn terms(permit: &Permit, principal: &Principal) -> Terms {
    Terms {
        key: permit.key().clone(),
        rule: permit.rule().to_owned(),
        kind: permit.kind(),
        peer: principal.selectors().iter().map(ToString::to_string).collect(),
        uid: principal.uid,
        recipient: permit.recipient().cloned(),
        scopes: permit.scopes().to_vec(),
        risky: permit.risky(),
        approve: permit.approve(),
        budget: *permit.budget(),
        holder: permit.holder().into(),
    }
}
