//! Minting at the provider: one flight, one call, one more try where nothing was answered.
//! The answer's text is read once and dropped; what is kept of a failure is its class.

use super::{
    Issuer, IssuerParts, MintError, Minted, bound,
    flight::{Boarding, Landed, Outcome, Place},
    hold::Payer,
    loan::Loan,
};
use crate::{
    audit::{Action, KeyChange},
    model::{Fingerprint, KeyMeta, KeyName},
    policy::Permit,
    recipe::{Call, Class, Rejected},
    secret::Secret,
    sys::scrub,
    upstream::{Answer, CallError},
};
use std::sync::Arc;
use tracing::{info, warn};

impl Issuer {
    pub(super) async fn mint_upstream(&self, permit: Permit) -> Result<Minted, MintError> {
        let place = Place::of(&permit);
        let key = permit.key().clone();
        let landed = match self.0.flights.board(&place, &permit, self.0.parts.clock.boot()) {
            Boarding::Kept(landed) => landed,
            Boarding::Wait(seat) => wait(seat).await?,
            Boarding::Fly(tell, seat) => {
                let issuer = self.clone();
                // A task of its own: a caller that leaves must not end the call that others wait for.
                scrub::spawn_shallow(async move {
                    let permit = Arc::new(permit);
                    let outcome = issuer.fly(&permit).await.map(Arc::new);
                    issuer.0.flights.land(&place, &permit, outcome, &tell);
                    drop(tell);
                    if let Some(share) = permit.share() {
                        tokio::time::sleep(share).await;
                        issuer.0.flights.sweep(issuer.0.parts.clock.boot());
                    }
                });
                wait(seat).await?
            }
        };
        // Locked, removed or put in quarantine while the provider thought about it: then nobody gets what it gave.
        self.lent(&key)?;
        Ok(Minted {
            token: landed.token.expose(Secret::copied),
            digest: None,
            seal: [0; 16],
            ticket: None,
            deadline: landed.deadline,
            expires_at: landed.expires_at,
            provider: landed.provider.clone(),
            base_urls: landed.base_urls.clone(),
        })
    }

    /// One mint. A key that was swapped while its old self was refused is tried once more.
    async fn fly(&self, permit: &Arc<Permit>) -> Result<Landed, MintError> {
        self.rested(permit.key())?;
        let _turn = self.0.holds.turn(permit.key()).await?;
        let key = self.rested(permit.key())?;
        match self.attempt(permit, &key).await {
            Err(MintError::Key(_)) if self.swapped(&key) => {
                let key = self.0.parts.vault.meta(permit.key())?.meta;
                self.attempt(permit, &key).await
            }
            outcome => outcome,
        }
    }

    /// What is known of a key whose account does not rest.
    fn rested(&self, key: &KeyName) -> Result<KeyMeta, MintError> {
        let key = self.0.parts.vault.meta(key)?.meta;
        self.0.holds.check(&Payer::of(&key), self.0.parts.clock.boot())?;
        Ok(key)
    }

    async fn attempt(&self, permit: &Arc<Permit>, key: &KeyMeta) -> Result<Landed, MintError> {
        let recipe = self.recipe(&key.provider)?;
        let mint = recipe.minting()?;
        let endpoint = recipe.endpoint(key.into(), self.0.options.loopback)?;
        let began = (self.0.parts.clock.boot(), self.0.parts.clock.wall());
        let answer = self.call(permit, &mint.call(&endpoint, permit.ttl())).await?;
        let minted = mint.read(answer.status, &answer.body).map_err(|rejected| self.rejected(key, &rejected))?;
        drop(answer);
        self.0.holds.served(&Payer::of(key));
        let ttl = mint.clamp(permit.ttl()).min(permit.ttl());
        let (deadline, expires_at) = bound(ttl, minted.expires_at, began, self.0.options.clock_tolerance)?;
        let _ = self.0.parts.vault.note_use(permit.key(), began.1);
        Ok(Landed {
            token: minted.token,
            deadline,
            expires_at,
            provider: key.provider.clone(),
            base_urls: mint.base_urls(&endpoint.to_string()),
            at: began.0,
        })
    }

    /// Calls, and once more if the provider is known not to have answered.
    pub(super) async fn call(&self, permit: &Arc<Permit>, call: &Call) -> Result<Answer, MintError> {
        let mut again = true;
        loop {
            let length = self.0.parts.vault.lend_length(permit)?;
            let loan = Loan { vault: self.0.parts.vault.clone(), permit: permit.clone(), encoding: call.encoding };
            match self.0.parts.upstream.call(call, call.encoding.length(length), Box::new(loan)).await {
                Ok(answer) => return Ok(answer),
                Err(fault) if again && fault.surely_unanswered() => {
                    info!(key = %permit.key(), %fault, "asking the provider once more");
                    again = false;
                }
                Err(CallError::KeyChanged) => {
                    return Err(self.0.parts.vault.lend_length(permit).err().map_or(
                        MintError::Call("the key changed twice while it was being sent".into()),
                        MintError::Key,
                    ));
                }
                Err(fault) => return Err(MintError::Call(fault.to_string())),
            }
        }
    }

    /// What a provider's no means for the key, and for who asks next.
    pub(super) fn rejected(&self, used: &KeyMeta, rejected: &Rejected) -> MintError {
        let (key, payer, now) = (&used.name, Payer::of(used), self.0.parts.clock.boot());
        warn!(%key, class = ?rejected.class, status = rejected.status, "{rejected}");
        match rejected.class {
            Class::Throttled => self.0.holds.throttled(&payer, now),
            Class::Billing => {
                let why = MintError::Billing(rejected.to_string());
                self.0.holds.unpaid(&payer, now, why.clone());
                why
            }
            Class::BadSecret => {
                self.quarantine(key, &used.fingerprint, rejected);
                MintError::Key(crate::vault::LendError::Quarantined(key.clone()))
            }
            Class::Denied => MintError::Forbidden(rejected.to_string()),
            Class::BadRequest => MintError::Rejected(rejected.to_string()),
            Class::Transient | Class::Broken => MintError::Call(rejected.to_string()),
        }
    }

    /// Stops using a key that its provider refused, and says so where operators look.
    fn quarantine(&self, key: &KeyName, used: &Fingerprint, rejected: &Rejected) {
        let IssuerParts { vault, audit, .. } = &self.0.parts;
        if vault.quarantine(key, used, &rejected.to_string()).is_err() {
            return;
        }
        warn!(%key, "the key is quarantined until it is tested or rotated");
        let generation = vault.generation().unwrap_or_default();
        // A record that cannot be written must not keep a bad key in use.
        let _ = audit.action(None, Action::KeyQuarantined(KeyChange { key, fingerprint: used, generation }));
    }

    /// Whether the key of this name is another one by now, and good for all we know.
    fn swapped(&self, old: &KeyMeta) -> bool {
        let now = self.0.parts.vault.meta(&old.name);
        now.is_ok_and(|now| now.quarantine.is_none() && now.meta.fingerprint != old.fingerprint)
    }
}

pub(super) async fn wait(mut seat: tokio::sync::watch::Receiver<Option<Outcome>>) -> Outcome {
    let told = seat.wait_for(Option::is_some).await;
    let none = || MintError::Call("the call was given up".into());
    told.ok().and_then(|outcome| outcome.clone()).unwrap_or_else(|| Err(none()))
}
