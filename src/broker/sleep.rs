//! The machine's sleep: what is wiped before it, where somebody tells of it, and what is looked at again after it, before
//! anything else is done. That a sleep is over shows by the clocks, told or not. It must never serve by a deadline that
//! passed meanwhile.

use super::{Broker, Rollback};
use crate::audit::Action;
use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Duration,
};
use tracing::{info, warn};

/// What becomes of keys when the machine sleeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnSuspend {
    /// They stay.
    Kept,
    /// The vault is locked.
    Locked,
}

/// So much do the two clocks differ without a sleep, when this process waits between them.
const NOISE: Duration = Duration::from_millis(100);
/// logind lets the machine sleep after five seconds, whoever is not done: logind.conf(5), InhibitDelayMaxSec.
const PATIENCE: Duration = Duration::from_secs(3);

/// What is known of the machine's sleep.
pub(super) struct Sleep {
    /// Nanoseconds that it slept, as far as that was looked at.
    slept: AtomicU64,
    /// Whether the next one was told of beforehand.
    told: AtomicBool,
    /// Whether the vault was open and was locked for it.
    locked: AtomicBool,
}

impl Sleep {
    pub(super) fn new(slept: Duration) -> Self {
        let (told, locked) = (AtomicBool::new(false), AtomicBool::new(false));
        Self { slept: AtomicU64::new(nanos(slept)), told, locked }
    }
}

impl Sleep {
    /// Somebody locked the vault: waking up is no reason to open it.
    pub(super) fn stays_locked(&self) {
        self.locked.store(false, Ordering::Relaxed);
    }
}

impl Broker {
    /// The machine is about to sleep. Comes back when it may.
    pub async fn before_sleep(&self) {
        let inner = &self.0;
        inner.sleep.told.store(true, Ordering::Relaxed);
        let locks = inner.options.on_suspend == OnSuspend::Locked && !inner.vault.is_locked();
        if locks {
            let _ = self.lock(None);
            inner.sleep.locked.store(true, Ordering::Relaxed);
        } else {
            inner.issuer.forget();
        }
        inner.note(None, Action::Asleep);
        if !matches!(tokio::time::timeout(PATIENCE, inner.audit.settle()).await, Ok(Ok(()))) {
            warn!("the machine sleeps before the last records are written");
        }
        info!(locked = locks, "the machine sleeps");
    }

    /// The machine has woken up, or did not fall asleep after all.
    pub async fn after_sleep(&self) {
        self.look_at_clocks();
        let sleep = &self.0.sleep;
        sleep.told.store(false, Ordering::Relaxed);
        // What a person must type, nobody types here.
        let opens = sleep.locked.swap(false, Ordering::Relaxed) && self.0.options.unlock.is_some();
        if opens && let Err(fault) = self.unlock(None, None, Rollback::Refuse).await {
            warn!(%fault, "the vault stays locked after the sleep");
        }
    }

    /// If the machine slept since the last look: all deadlines are looked at again, and what was minted before is not given
    /// to anybody else. Before each request, and once a second.
    pub fn look_at_clocks(&self) {
        let inner = &self.0;
        let slept = inner.clock.slept();
        let known = inner.sleep.slept.fetch_max(nanos(slept), Ordering::AcqRel);
        let now = slept.saturating_sub(Duration::from_nanos(known));
        if now < NOISE {
            return;
        }
        while inner.ledger.reap(usize::MAX).is_some_and(|next| next <= inner.clock.boot()) {}
        inner.issuer.forget();
        inner.approvals.look_at_clocks();
        // Told of once: whether it tells of the next one, logind or the bus may not live to say.
        let untold = !inner.sleep.told.swap(false, Ordering::Relaxed);
        let typed = inner.options.unlock.is_none();
        if untold && typed && inner.options.on_suspend == OnSuspend::Locked && !inner.vault.is_locked() {
            // Late, and still before anybody is given something.
            let _ = self.lock(None);
        }
        self.lock_if_idle();
        info!(seconds = now.as_secs(), "the machine has slept");
        inner.note(None, Action::Awake { seconds: now.as_secs() });
    }
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}
