//! When a key must rest: throttled by its provider, or not paid for; and how many of its mints may be under way.
//! One caller's throttling is every caller's: nobody hammers on.

use super::MintError;
use crate::{clock::Boottime, model::KeyName};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Model Studio's limits recover within a minute, says its error page.
const LONGEST: Duration = Duration::from_secs(60);
const BILLING: Duration = Duration::from_secs(60);

/// The rests and turns of all keys.
pub(super) struct Holds {
    at_once: usize,
    keys: Mutex<HashMap<KeyName, Hold>>,
}

struct Hold {
    turns: Arc<Semaphore>,
    rest: Option<(Boottime, MintError)>,
    failures: u32,
}

impl Holds {
    pub(super) fn new(at_once: usize) -> Self {
        Self { at_once, keys: Mutex::default() }
    }

    /// Waits for a turn with this key; an error while it rests.
    pub(super) async fn turn(&self, key: &KeyName, now: Boottime) -> Result<OwnedSemaphorePermit, MintError> {
        self.check(key, now)?;
        let turns = self.with(key, |hold| hold.turns.clone());
        turns.acquire_owned().await.map_err(|_| MintError::Throttled(1))
    }

    /// An error while the key rests.
    pub(super) fn check(&self, key: &KeyName, now: Boottime) -> Result<(), MintError> {
        let rest = self.keys().get(key).and_then(|hold| hold.rest.clone());
        match rest.map(|(until, why)| (until.since(now), why)) {
            None | Some((Duration::ZERO, _)) => Ok(()),
            Some((left, MintError::Throttled(_))) => Err(MintError::Throttled(seconds(left))),
            Some((_, why)) => Err(why),
        }
    }

    /// The provider throttles: 1, 2, 4, … 60 s, each made up to half longer by chance. Gives the rest in seconds.
    pub(super) fn throttled(&self, key: &KeyName, now: Boottime) -> MintError {
        self.with(key, |hold| {
            // Calls that were under way together meet one throttling, and count as one.
            if let Some((until, MintError::Throttled(_))) = &hold.rest
                && *until > now
            {
                return MintError::Throttled(seconds(until.since(now)));
            }
            let base = Duration::from_secs(1 << hold.failures.min(6)).min(LONGEST);
            let rest = base + base.mul_f64(0.5 * chance());
            hold.failures += 1;
            let why = MintError::Throttled(seconds(rest));
            hold.rest = Some((now.plus(rest), why.clone()));
            why
        })
    }

    /// The account must be put right first.
    pub(super) fn unpaid(&self, key: &KeyName, now: Boottime, why: MintError) {
        self.with(key, |hold| hold.rest = Some((now.plus(BILLING), why)));
    }

    /// The provider served it.
    pub(super) fn served(&self, key: &KeyName) {
        self.with(key, |hold| (hold.rest, hold.failures) = (None, 0));
    }

    /// This key's rest ends; the next one is not shorter for it.
    pub(super) fn rouse(&self, key: &KeyName) {
        self.with(key, |hold| hold.rest = None);
    }

    /// Rests end: the operator changed something.
    pub(super) fn forget(&self) {
        self.keys().clear();
    }

    fn with<R>(&self, key: &KeyName, see: impl FnOnce(&mut Hold) -> R) -> R {
        let mut keys = self.keys();
        if !keys.contains_key(key) {
            let turns = Arc::new(Semaphore::new(self.at_once));
            keys.insert(key.clone(), Hold { turns, rest: None, failures: 0 });
        }
        see(keys.get_mut(key).expect("invariant: it was put in just now"))
    }

    fn keys(&self) -> MutexGuard<'_, HashMap<KeyName, Hold>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn seconds(left: Duration) -> u32 {
    u32::try_from(left.as_millis().div_ceil(1000)).unwrap_or(u32::MAX)
}

/// 0 up to 1; without randomness the middle will do.
fn chance() -> f64 {
    getrandom::u32().map_or(0.5, |n| f64::from(n) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn throttling_backs_off_and_ends() {
        let holds = Holds::new(1);
        let key: KeyName = "a".parse().unwrap();
        let mut now = Boottime::from_nanos(1);
        for expected in [1, 2, 4, 8, 16, 32, 60, 60] {
            now = now.plus(Duration::from_secs(100));
            let MintError::Throttled(rest) = holds.throttled(&key, now) else { unreachable!() };
            assert!((expected..=expected * 3 / 2 + 1).contains(&rest), "{rest} for {expected}");
            assert_eq!(holds.throttled(&key, now), MintError::Throttled(rest), "one throttling counts once");
            assert!(holds.check(&key, now).is_err());
            assert_eq!(holds.check(&"b".parse().unwrap(), now), Ok(()), "another key is not held back");
        }
        assert_eq!(holds.check(&key, now.plus(Duration::from_secs(91))), Ok(()));
        holds.served(&key);
        assert_eq!(holds.check(&key, now), Ok(()));
    }
}
