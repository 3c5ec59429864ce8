//! What the owner does on the control socket: keys, lock, leases, reload. Each act is on record with who did it.
//! It never gives out a key, not even to its owner.

use super::{Broker, BudgetStatus, Inner, OperatorError, approval::Forget, refuse::Stop};
use crate::{
    attest::Peer,
    audit::{self, Action, Follow, KeyChange},
    issuer::Proof,
    ledger::{Listed as Listing, Page, Revoked, Sum, Which},
    model::{
        By, Day, Fingerprint, KeyMeta, KeyName, Kind, Malformed, Place, Principal, Refusal, Request, Selector, Ttl,
    },
    policy::{self, Explanation, Rules},
    recipe::Address,
    secret::Secret,
    sys::scrub,
    vault::{ChangeError, Changed, LendError, Listed, Rollback, SaveError, Vault},
};
use serde::Serialize;
use std::collections::BTreeMap;
use tracing::warn;

/// The owner, or root, on the control socket.
pub struct Operator<'a> {
    broker: &'a Broker,
    pub(super) peer: &'a Peer,
    pub(super) principal: Principal,
}

/// A key to be stored.
pub struct NewKey {
    /// Its name.
    pub name: KeyName,
    /// The recipe's name.
    pub provider: String,
    /// Where the provider keeps it.
    pub place: Place,
    /// Who pays.
    pub owner: Option<String>,
    /// Further values.
    pub set: BTreeMap<String, String>,
    /// The key.
    pub secret: Secret,
}

/// What a test gave. A token that was minted for it is thrown away.
#[derive(Debug, Serialize)]
pub struct KeyTested {
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_in: Option<u64>,
    micros: u64,
}

/// What is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sort {
    /// A key.
    Key,
    /// What only looks like one.
    Decoy,
}

type Done<T> = Result<T, OperatorError>;

#[allow(clippy::redundant_closure)] // a variant as a function has one lifetime, and these need any
impl<'a> Operator<'a> {
    pub(super) async fn new(broker: &'a Broker, peer: &'a Peer) -> Result<Self, Refusal> {
        let asked = broker.asked(peer);
        let stop = |fault| broker.0.turn_away(asked, None, &Stop::Attest(fault));
        let principal = broker.0.attestor.identify(peer, &Default::default()).await.map_err(stop)?;
        if principal.uid != broker.0.options.owner && principal.uid != 0 {
            warn!(uid = principal.uid, "somebody else's process asked on the control socket");
            return Err(
                Refusal::new(OperatorError::Stranger.code(), asked.id).saying(OperatorError::Stranger.to_string())
            );
        }
        Ok(Self { broker, peer, principal })
    }

    /// All keys, without their secrets.
    pub fn keys(&self) -> Done<Vec<Listed>> {
        Ok(self.inner().vault.list()?)
    }

    /// One key, without its secret.
    pub fn key(&self, name: &KeyName) -> Done<Listed> {
        Ok(self.inner().vault.meta(name)?)
    }

    /// Stores a key.
    pub async fn add(&self, new: NewKey) -> Done<Listed> {
        let issuer = &self.inner().issuer;
        let recipe = issuer.recipe(&new.provider)?;
        new.secret.expose(|bytes| recipe.check_key(bytes))?;
        recipe.check_set(&new.set)?;
        issuer.may_reach(&recipe.endpoint(Address { place: &new.place, set: &new.set }, issuer.loopback())?)?;
        self.stored(new, Sort::Key).await
    }

    /// Stores what was looked at.
    pub(super) async fn stored(&self, new: NewKey, sort: Sort) -> Done<Listed> {
        self.may_change().await?;
        let issuer = &self.inner().issuer;
        let limits = issuer.limits(&new.provider)?;
        let meta = KeyMeta {
            name: new.name.clone(),
            provider: new.provider,
            place: new.place,
            owner: new.owner,
            created: 0,
            rotated: None,
            last_used: None,
            fingerprint: Fingerprint(String::new()),
            set: new.set,
            decoy: sort == Sort::Decoy,
        };
        self.whole(|broker, by| async move {
            let inner = &broker.0;
            let changed = inner.vault.put(meta, new.secret, limits).await?;
            let change = told(&changed);
            inner.note(
                Some(&by),
                match sort {
                    Sort::Key => Action::KeyAdded(change),
                    Sort::Decoy => Action::DecoyAdded(change),
                },
            );
            Ok(changed.key)
        })
        .await
    }

    /// Puts another key in the place of one. The next mint uses it.
    pub async fn rotate(&self, name: &KeyName, secret: Secret) -> Done<Listed> {
        self.may_change().await?;
        let Listed { meta: KeyMeta { provider, .. }, decoy, .. } = self.key(name)?;
        if decoy {
            return Err(OperatorError::Decoy(name.clone()));
        }
        secret.expose(|bytes| self.inner().issuer.recipe(&provider).map(|recipe| recipe.check_key(bytes)))??;
        let name = name.clone();
        self.whole(|broker, by| async move {
            let inner = &broker.0;
            let changed = inner.vault.rotate(&name, secret).await?;
            inner.echoes().remove(&name);
            inner.issuer.forget();
            inner.note(Some(&by), Action::KeyRotated(told(&changed)));
            Ok(changed.key)
        })
        .await
    }

    /// Removes a key and takes back its leases.
    pub async fn remove(&self, name: &KeyName) -> Done<Revoked> {
        self.may_change().await?;
        let name = name.clone();
        self.whole(|broker, by| async move {
            let inner = &broker.0;
            let changed = inner.vault.remove(&name).await?;
            inner.issuer.forget();
            let change = told(&changed);
            let action = if changed.key.decoy { Action::DecoyRemoved(change) } else { Action::KeyRemoved(change) };
            inner.note(Some(&by), action);
            Ok(inner.revoke(Some(&by), &Which::Key(name)).await)
        })
        .await
    }

    /// Mints once and throws the token away, or makes the recipe's probe where nothing is minted. Lifts a quarantine if
    /// the provider takes the key again.
    pub async fn test(&self, name: &KeyName) -> Done<KeyTested> {
        let inner = self.inner();
        let before = self.key(name)?;
        if inner.steps_on(self.peer, name).await {
            return Err(LendError::Unknown(name.clone()).into());
        }
        self.may_change().await?;
        self.noted(name, |change| Action::KeyTested(change))?;
        let mut trial = Trial::of(&inner.vault, before)?;
        inner.issuer.rouse(&trial.key.meta);
        let began = inner.clock.boot();
        let proof = inner.issuer.prove(self.permit(name)?).await?;
        if trial.passed() {
            self.noted(name, |change| Action::KeyRestored(change))?;
        }
        let now = inner.clock.boot();
        Ok(KeyTested {
            ok: true,
            expires_in: match proof {
                Proof::Minted(deadline) => Some(deadline.since(now).as_secs()),
                Proof::Answered => None,
            },
            micros: u64::try_from(now.since(began).as_micros()).unwrap_or(u64::MAX),
        })
    }

    /// A page of all leases.
    pub fn leases(&self, page: Page) -> Listing {
        // It goes on after a place, not a lease: there is always one.
        self.inner().ledger.page(None, page).unwrap_or(Listing { leases: Vec::new(), next: None })
    }

    /// What was used since the day that is meant by `since` (see [`Day::since`]), and that day; none: as far as is kept.
    ///
    /// # Errors
    /// It means no day.
    pub fn usage(&self, by: By, since: Option<&str>) -> Result<(Day, Vec<Sum>), Malformed> {
        let today = Day::of(self.inner().clock.wall());
        let since = since.map_or(Ok(Day::default()), |text| Day::since(text, today))?;
        Ok((since, self.inner().usage.sums(by, since)))
    }

    /// The shared budgets of the keys that there are, as they stand; none while the vault is locked.
    pub fn budgets(&self) -> Vec<BudgetStatus> {
        self.broker.budgets()
    }

    /// Takes back leases.
    pub async fn revoke(&self, which: &Which) -> Done<Revoked> {
        let which = which.clone();
        self.whole(|broker, by| async move { Ok(broker.0.revoke(Some(&by), &which).await) }).await
    }

    /// Wipes every key from memory.
    pub fn lock(&self) -> Done<()> {
        self.broker.lock(Some(&self.principal))
    }

    /// Opens the vault: with a passphrase, or with the configured key file or credential.
    pub async fn unlock(&self, passphrase: Option<Secret>, rollback: Rollback) -> Done<()> {
        self.broker.unlock(Some(&self.principal), passphrase, rollback).await
    }

    /// Which rule decides for a key, for this peer or for an imagined one.
    pub async fn why(&self, key: &KeyName, peer: Option<&[Selector]>) -> Done<(Vec<Selector>, Explanation)> {
        let policy = self.broker.policy();
        let Some(given) = peer else {
            // Every fact: one that nobody read would be told as one that fails.
            let principal = self.inner().attestor.identify_fully(self.peer, &policy.needs).await?;
            let principal = Principal { socket: "broker", ..principal };
            let told = policy::explain(&policy.rules, &principal, key);
            return Ok((principal.selectors(), self.with_shared(told, key)));
        };
        let mut told = policy::explain(&policy.rules, &Principal::imagined(given)?, key);
        // An imagined peer has what it was given, and no number that stands for nobody.
        let has = |fact| fact == "keys" || given.iter().any(|selector| selector.fact.name() == fact);
        for step in &mut told.steps {
            step.had.take_if(|_| !step.failed.is_some_and(has));
        }
        Ok((given.to_vec(), self.with_shared(told, key)))
    }

    /// What binds everybody who uses the key binds whoever a rule gives it to.
    fn with_shared(&self, mut told: Explanation, key: &KeyName) -> Explanation {
        if told.decides.is_some() {
            told.gives.extend(self.broker.shared_by(key));
        }
        told
    }

    /// Takes new rules if they are whole.
    pub fn reload(&self) -> Done<()> {
        self.broker.reload(Some(&self.principal))
    }

    /// The records so far and those to come.
    pub fn follow(&self) -> Follow {
        self.inner().audit.follow()
    }

    /// Whether there is such a key; nobody knows while the vault is locked.
    pub fn knows(&self, key: &KeyName) -> Option<bool> {
        self.inner().vault.list().ok().map(|keys| keys.iter().any(|listed| listed.meta.name == *key))
    }

    fn permit(&self, name: &KeyName) -> Done<policy::Permit> {
        let rules = Rules::operator(self.principal.uid);
        let request = Request {
            key: name.clone(),
            kind: Some(Kind::Upstream),
            ttl: Some(Ttl::DEFAULT),
            min_remaining: Some(0),
            uses: None,
            owner: None,
            scope: None,
            recipient: None,
            ticket: false,
        };
        policy::judge(&rules, &self.principal, &request, self.inner().clock.boot()).map_err(|_| OperatorError::Stranger)
    }

    /// Nothing is changed while a debugger reads along, nor what could not be put on record.
    async fn may_change(&self) -> Done<()> {
        self.broker.unobserved()?;
        Ok(self.inner().audit.settle().await?)
    }

    fn noted(&self, name: &KeyName, action: impl for<'b> FnOnce(KeyChange<'b>) -> Action<'b>) -> Done<Listed> {
        let listed = self.key(name)?;
        let generation = self.inner().vault.generation().unwrap_or_default();
        let change = KeyChange { key: name, fingerprint: &listed.meta.fingerprint, generation };
        self.inner().note(Some(&self.principal), action(change));
        Ok(listed)
    }

    /// Does a change to its end, though its caller leaves: what is on the disk is on record too.
    async fn whole<T, W>(&self, work: impl FnOnce(Broker, Principal) -> W) -> Done<T>
    where
        T: Send + 'static,
        W: Future<Output = Done<T>> + Send + 'static,
    {
        let done = scrub::spawn(work(self.broker.clone(), self.principal.clone())).await;
        done.unwrap_or_else(|fault| Err(ChangeError::Save(SaveError::Thread(fault.into())).into()))
    }

    pub(super) fn inner(&self) -> &Inner {
        &self.broker.0
    }
}

fn told(changed: &Changed) -> KeyChange<'_> {
    let Changed { key, generation } = changed;
    KeyChange { key: &key.meta.name, fingerprint: &key.meta.fingerprint, generation: *generation }
}

/// A quarantine that is lifted for one mint. An answer that never came, or that nobody waited for, proves nothing: what
/// was known of the key is then still so.
struct Trial<'a> {
    vault: &'a Vault,
    key: Listed,
}

impl<'a> Trial<'a> {
    fn of(vault: &'a Vault, key: Listed) -> Result<Self, LendError> {
        vault.lift(&key.meta.name)?;
        Ok(Self { vault, key })
    }

    /// The provider takes the key. Whether it was in quarantine before.
    fn passed(&mut self) -> bool {
        self.key.quarantine.take().is_some()
    }
}

impl Drop for Trial<'_> {
    fn drop(&mut self) {
        if let Some(quarantine) = &self.key.quarantine {
            // Removed meanwhile: then there is nothing to lend.
            let _ = self.vault.quarantine(&self.key.meta.name, &self.key.meta.fingerprint, &quarantine.reason);
        }
    }
}

impl Inner {
    /// Takes back leases and puts it on record. A record that cannot be written does not keep a lease alive.
    pub(super) async fn revoke(&self, by: Option<&Principal>, which: &Which) -> Revoked {
        // Nobody is given again what was to end here.
        match which {
            Which::Id(_) | Which::OwnId(..) | Which::Node(..) => {}
            Which::Key(key) => self.issuer.forget_shared(Some(key)),
            Which::Peer(_) | Which::All => self.issuer.forget_shared(None),
        }
        match which {
            // Who gives up a lease of its own keeps its yes; nobody else's is touched by that.
            Which::OwnId(..) | Which::Node(..) => {}
            Which::Key(key) => self.approvals.forget(Forget::Key(key)),
            Which::Id(_) | Which::Peer(_) | Which::All => self.approvals.forget(Forget::All),
        }
        let revoked = self.ledger.revoke_many(which).await;
        // Nothing was done: a caller who guesses at ids must not fill the audit.
        if revoked.leases == 0 && matches!(which, Which::OwnId(..) | Which::Node(_, Some(_))) {
            return revoked;
        }
        let which = match which {
            Which::Id(id) | Which::OwnId(id, _) => audit::Which::Lease(*id),
            Which::Node(id, _) => audit::Which::Node(*id),
            Which::Key(key) => audit::Which::Key(key),
            Which::Peer(selector) => audit::Which::Peer(selector),
            Which::All => audit::Which::All,
        };
        self.note(by, Action::Revoked { which, leases: revoked.leases as u64 });
        revoked
    }
}
