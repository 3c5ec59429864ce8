//! What the daemon does to the broker by itself or for its owner: start, lock, unlock, reload, flush, stop.
//! Each act is on record; none needs a caller.

use super::{Broker, Debugger, Inner, Policy, Reloaded, approval::Forget, fault::OperatorError};
use crate::{
    audit::{Action, AuditError},
    clock::Boottime,
    ledger::{EstateError, Terms},
    model::{Principal, Request, Selector},
    policy,
    secret::Secret,
    sys::confine,
    vault::{Rollback, UnlockWith},
};
use std::{io, sync::atomic::Ordering};
use tracing::{info, warn};

type Done<T> = Result<T, OperatorError>;

impl Broker {
    /// The first record.
    pub fn start(&self, version: &'static str) {
        self.0.note(None, Action::Started { version });
    }

    /// Wipes every key from memory; `by` nobody when it was idle.
    pub fn lock(&self, by: Option<&Principal>) -> Done<()> {
        // Notes of last uses are kept if the disk takes them; a full disk must not keep a vault open.
        if let Err(fault) = self.0.vault.flush_unawaited() {
            warn!(%fault, "the last uses of keys are not kept");
        }
        self.0.vault.lock();
        if by.is_some() {
            self.0.sleep.stays_locked();
        }
        self.0.issuer.forget();
        self.0.approvals.forget(Forget::All);
        self.0.ledger.cut_all();
        info!("the vault is locked");
        self.0.note(by, Action::Locked);
        Ok(())
    }

    /// Opens the vault.
    pub async fn unlock(&self, by: Option<&Principal>, passphrase: Option<Secret>, rollback: Rollback) -> Done<()> {
        self.unobserved()?;
        let with = match (passphrase, &self.0.options.unlock) {
            (Some(words), None) => UnlockWith::Passphrase(words),
            (_, Some(source)) => source(),
            (None, None) if !self.0.vault.is_locked() => return Ok(()),
            (None, None) => return Err(OperatorError::NeedsPassphrase),
        };
        if let Err(fault) = self.0.vault.unlock(with, rollback).await {
            self.0.note(by, Action::UnlockFailed);
            return Err(fault.into());
        }
        self.0.last_use.store(self.0.clock.boot().nanos(), Ordering::Relaxed);
        info!("the vault is open");
        self.0.note(by, Action::Unlocked);
        Ok(())
    }

    /// No key is read while a debugger reads along.
    pub(super) fn unobserved(&self) -> Done<()> {
        match self.0.options.debugger {
            Debugger::Refused if confine::traced() => Err(OperatorError::Traced),
            Debugger::Refused | Debugger::Expected => Ok(()),
        }
    }

    /// Whether no key is in memory.
    pub fn is_locked(&self) -> bool {
        self.0.vault.is_locked()
    }

    /// Locks when nothing was minted for `lock_after`.
    pub fn lock_if_idle(&self) {
        let Some(after) = self.0.options.lock_after else { return };
        let last = Boottime::from_nanos(self.0.last_use.load(Ordering::Relaxed));
        if !self.0.vault.is_locked() && self.0.clock.boot().since(last) >= after {
            let _ = self.lock(None);
        }
    }

    /// Takes new rules if they are whole; else says so and keeps the old ones.
    pub fn reload(&self, by: Option<&Principal>) -> Done<()> {
        let loaded_at = self.0.clock.wall();
        match (self.0.options.reload)() {
            Ok(Reloaded { rules, budgets, recipes }) => {
                self.0.issuer.adopt(recipes);
                self.set_policy(Policy { needs: rules.needs(), rules, budgets, loaded_at, fault: None });
                self.0.issuer.forget();
                self.0.approvals.forget(Forget::All);
                let policy = self.policy();
                let retired = self.0.ledger.retire(|terms| still_given(&policy, terms, self.0.clock.boot()));
                info!(retired, "new rules are in force");
                self.0.note(by, Action::Reloaded);
                Ok(())
            }
            Err(fault) => {
                let old = self.policy();
                warn!("the new config is faulty; the old rules stay in force");
                self.set_policy(Policy {
                    rules: old.rules.clone(),
                    budgets: old.budgets.clone(),
                    needs: old.needs.clone(),
                    loaded_at: old.loaded_at,
                    fault: Some(fault.clone()),
                });
                self.0.note(by, Action::ReloadRefused);
                Err(OperatorError::Reload(fault))
            }
        }
    }

    /// Goes on in a new audit file.
    pub fn reopen_audit(&self) {
        if let Err(fault) = self.0.audit.reopen() {
            warn!(%fault, "the audit goes on in its old file");
        }
    }

    /// Writes what waits in memory: about once a second, and at the end.
    pub fn flush(&self) {
        if let Err(fault) = self.0.audit.flush() {
            warn!(%fault, "the audit cannot be written: requests are refused");
        }
        self.look_after_audit();
        self.0.usage.save(|| self.0.ledger.spendings());
    }

    /// Goes on with the leases that the process before left, as far as the rules of now would give them.
    ///
    /// # Errors
    /// Nothing of it is believed; there are no leases then.
    pub fn inherit(&self, era: &str, estate: &[u8]) -> Result<usize, EstateError> {
        self.0.ledger.inherit(era, estate)?;
        let policy = self.policy();
        let retired = self.0.ledger.retire(|terms| still_given(&policy, terms, self.0.clock.boot()));
        let leases = self.0.ledger.count();
        info!(leases, retired, "leases go on");
        self.0.note(None, Action::Inherited { leases: leases as u64 });
        Ok(leases)
    }

    /// Writes down what the next process goes on with: see [`Self::inherit`].
    ///
    /// # Errors
    /// It cannot be written.
    pub fn leave(&self, era: &str, to: &mut dyn io::Write) -> io::Result<()> {
        self.0.ledger.leave(era, to)
    }

    /// Writes everything, and lets go of the files that one process alone may write: another is to serve. Nothing is
    /// written while what this gives is kept.
    ///
    /// # Errors
    /// Something cannot be written: then nothing is let go of.
    pub async fn let_go(&self) -> Result<impl Send + use<>, AuditError> {
        if let Err(fault) = self.0.vault.flush().await {
            warn!(%fault, "the last uses of keys are not kept");
        }
        let resting = self.0.vault.rest().await;
        self.0.usage.close(|| self.0.ledger.spendings());
        self.0.audit.action(None, Action::HandedOver)?;
        let gone = self.0.audit.let_go().await;
        gone.inspect_err(|_| self.0.note(None, Action::TakeoverFailed))?;
        Ok(resting)
    }

    /// Serves again after [`Self::let_go`].
    ///
    /// # Errors
    /// [`AuditError::Busy`]: the other process serves. Else its files can't be had.
    pub fn take_again(&self) -> Result<(), AuditError> {
        self.0.audit.take_again()?;
        self.0.note(None, Action::TakeoverFailed);
        Ok(())
    }

    /// Another process serves: nothing is left to do but to forget the keys.
    pub fn retire(&self) {
        self.0.vault.lock();
    }

    /// The last record; then everything is written.
    pub async fn stop(&self) {
        if let Err(fault) = self.0.vault.flush().await {
            warn!(%fault, "the last uses of keys are not kept");
        }
        self.0.vault.lock();
        self.0.note(None, Action::Stopped);
        if let Err(fault) = self.0.audit.settle().await {
            warn!(%fault, "the last records are not written");
        }
        self.0.usage.close(|| self.0.ledger.spendings());
    }
}

/// Whether the rules of now would give these terms to whom they were given. A fact that was not read then is absent,
/// and a rule that has come to need it does not match.
fn still_given(policy: &Policy, terms: &Terms, now: Boottime) -> bool {
    let selectors: Vec<Selector> = terms.peer.iter().filter_map(|text| text.parse().ok()).collect();
    let Ok(principal) = Principal::imagined(&selectors) else { return false };
    let request = Request {
        key: terms.key.clone(),
        kind: Some(terms.kind),
        ttl: None,
        min_remaining: Some(0),
        uses: None,
        owner: None,
        scope: None,
        recipient: terms.recipient.clone(),
        ticket: false,
    };
    let permit = policy::judge(&policy.rules, &principal, &request, now);
    permit.is_ok_and(|permit| {
        let same = permit.rule() == terms.rule && permit.risky() == terms.risky && *permit.budget() == terms.budget;
        same && permit.approve() == terms.approve && terms.scopes.starts_with(permit.scopes())
    })
}

impl Inner {
    /// Puts on record what was done. It is done: where the disk has no room, the record keeps its place and is written
    /// later, and the answer stays true.
    pub(super) fn note(&self, by: Option<&Principal>, action: Action<'_>) {
        if let Err(fault) = self.audit.action(by, action) {
            warn!(%fault, what = action.name(), "done, and not on record yet");
        }
    }
}
