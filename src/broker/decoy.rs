//! Decoys that somebody steps on: whoever asks for one, or shows one as if it were a key, loses all leases, is put on
//! record with the processes above it, and raises an alarm. It never tells them so: they hear what any other caller would.

use super::{
    Inner, NewKey, Operator, OperatorError, Session,
    alarm::{Cause, Raised},
    operator::Sort,
};
use crate::{
    attest::Peer,
    audit::Action,
    issuer::MintError,
    ledger::Revoked,
    model::{Fingerprint, KeyName, Kind, Place, Principal},
    secret::Secret,
    vault::{LendError, Listed},
    wire::key::{Form, generate},
};
use std::{
    collections::BTreeMap,
    sync::{PoisonError, atomic::Ordering},
};
use zeroize::Zeroizing;

/// A decoy to be made.
pub struct NewDecoy {
    /// Its name.
    pub name: KeyName,
    /// Whose key it looks like.
    pub provider: String,
    /// Where the provider would keep it.
    pub place: Place,
    /// Who would pay.
    pub owner: Option<String>,
    /// Whether it looks like a key of the provider's, or like a virtual one of ours.
    pub kind: Kind,
}

/// A decoy as it is known again.
type Known = (Fingerprint, Option<KeyName>);

impl Session {
    /// Whether what a caller shows as a key must be looked at.
    pub fn is_wary(&self) -> bool {
        self.broker.0.vault.has_traps()
    }

    /// Looks whether a decoy is among what a caller shows as keys, by their SHA-256. The caller is answered as if it were
    /// not.
    pub async fn look_at(&self, shown: Vec<[u8; 32]>) {
        for hash in shown {
            self.look_for(&hash).await;
        }
    }

    /// The same for what a SHA-256 begins with.
    pub(super) async fn look_for(&self, hash: &[u8]) {
        let broker = &self.broker.0;
        if let Some(known) = broker.vault.trapped(hash) {
            broker.sprung(&self.peer, &known, "it was shown as a key").await;
        }
    }
}

impl Inner {
    /// Whether a key that is asked for is a decoy: then whoever asks has stepped on it.
    pub(super) async fn steps_on(&self, peer: &Peer, key: &KeyName) -> bool {
        if !self.vault.is_decoy(key) {
            return false;
        }
        let fingerprint = self.vault.meta(key).map_or(Fingerprint(String::new()), |listed| listed.meta.fingerprint);
        self.sprung(peer, &(fingerprint, Some(key.clone())), "it was asked for").await;
        true
    }

    /// A decoy was used. Leases end each time; who goes on and on is put on record as often as any refusal, and by a count
    /// of its own: nobody buys silence by being refused for other things first.
    async fn sprung(&self, peer: &Peer, (fingerprint, key): &Known, how: &'static str) {
        let (leases, by) = self.disarm(peer).await;
        let whose = format!("decoys used by uid {}", peer.uid());
        if self.ledger.take(&whose, self.options.refusals_per_uid).is_err() {
            return;
        }
        let by = by.or_else(|| peer.bearer());
        let ancestry = if peer.bearer().is_some() { Default::default() } else { peer.ancestry() };
        let (key, ancestry) = (key.as_ref(), &ancestry);
        self.note(by.as_ref(), Action::DecoyUsed { key, fingerprint, how, leases, ancestry });
        let says = format!("a decoy was used: {how}; leases of whoever did it that ended: {leases}");
        self.alarms.raise(Raised { cause: Cause::Decoy, says, key, by: by.as_ref() });
    }
}

impl Inner {
    /// Ends all leases that were given to this principal, and those whose keys it could use; how many, and who it is.
    async fn disarm(&self, peer: &Peer) -> (u64, Option<Principal>) {
        let needs = self.policy.lock().unwrap_or_else(PoisonError::into_inner).needs.clone();
        let (mut leases, mut by) = (0, None);
        for one in peer.everyone().filter(|one| one.bearer().is_none()) {
            let owners = self.ledger.owners(&one.lineage());
            let held = owners.iter().filter(|owner| self.attestor.holds(one, owner).is_ok());
            leases += held.map(|owner| self.ledger.freeze_owned(owner) as u64).sum::<u64>();
            // Who has ended, or runs another program by now, did it all the same.
            let principal = self.attestor.identify(one, &needs).await.unwrap_or_else(|_| one.bare());
            leases += self.ledger.freeze_all(&principal) as u64;
            by.get_or_insert(principal);
        }
        if leases > 0 {
            // Nobody is given again what has ended here.
            self.issuer.forget_shared(None);
        }
        self.counters.frozen.fetch_add(leases, Ordering::Relaxed);
        (leases, by)
    }
}

impl Operator<'_> {
    /// All decoys.
    pub fn decoys(&self) -> Result<Vec<Listed>, OperatorError> {
        Ok(self.inner().vault.decoys()?)
    }

    /// Makes a decoy and stores it as a key; the text is to be laid out where somebody may find it.
    pub async fn bait(&self, new: NewDecoy) -> Result<(Listed, Zeroizing<Vec<u8>>), OperatorError> {
        let NewDecoy { name, provider, place, owner, kind } = new;
        let recipe = self.inner().issuer.recipe(&provider)?;
        let text = match kind {
            Kind::Upstream => recipe.decoy()?,
            Kind::Virtual => {
                let made = generate(Form::Key).map_err(|_| MintError::Random)?;
                made.0.expose(|text| Zeroizing::new(text.to_vec()))
            }
        };
        let (set, secret) = (BTreeMap::new(), Secret::copied(&text));
        let listed = self.stored(NewKey { name, provider, place, owner, set, secret }, Sort::Decoy).await?;
        Ok((listed, text))
    }

    /// Removes a decoy, and never a key.
    pub async fn unbait(&self, name: &KeyName) -> Result<Revoked, OperatorError> {
        let known = self.inner().vault.meta(name)?;
        if known.decoy { self.remove(name).await } else { Err(LendError::Unknown(name.clone()).into()) }
    }
}
