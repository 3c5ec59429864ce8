//! When an account must rest: throttled by its provider, or not paid for; and how many mints of a key may be under way.
//! One caller's throttling is every caller's: nobody hammers on.

use super::MintError;
use crate::{
    clock::Boottime,
    model::{KeyMeta, KeyName},
    sys::lock::{Mutex, MutexGuard},
};
use std::{collections::HashMap, sync::Arc, time::Duration};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Model Studio's limits recover within a minute, says its error page.
const LONGEST: Duration = Duration::from_secs(60);
const BILLING: Duration = Duration::from_secs(60);

/// Whom a provider counts calls of: the account, where the key says which it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Payer {
    Account { provider: String, account: String },
    Key(KeyName),
}

impl Payer {
    pub(super) fn of(key: &KeyMeta) -> Self {
        match &key.place.account {
            Some(account) => Self::Account { provider: key.provider.clone(), account: account.clone() },
            None => Self::Key(key.name.clone()),
        }
    }
}

/// The rests of all accounts, and the turns of all keys.
pub(super) struct Holds {
    at_once: usize,
    turns: Mutex<HashMap<KeyName, Arc<Semaphore>>>,
    rests: Mutex<HashMap<Payer, Rest>>,
}

#[derive(Default)]
struct Rest {
    until: Option<(Boottime, MintError)>,
    failures: u32,
}

impl Holds {
    pub(super) fn new(at_once: usize) -> Self {
        Self { at_once, turns: Mutex::default(), rests: Mutex::default() }
    }

    /// Waits for a turn with this key.
    pub(super) async fn turn(&self, key: &KeyName) -> Result<OwnedSemaphorePermit, MintError> {
        let turns = {
            let mut all = self.turns.lock();
            all.entry(key.clone()).or_insert_with(|| Arc::new(Semaphore::new(self.at_once))).clone()
        };
        turns.acquire_owned().await.map_err(|_| MintError::Throttled(1))
    }

    /// An error while the account rests.
    pub(super) fn check(&self, payer: &Payer, now: Boottime) -> Result<(), MintError> {
        let rest = self.rests().get(payer).and_then(|rest| rest.until.clone());
        match rest.map(|(until, why)| (until.since(now), why)) {
            None | Some((Duration::ZERO, _)) => Ok(()),
            Some((left, MintError::Throttled(_))) => Err(MintError::Throttled(seconds(left))),
            Some((_, why)) => Err(why),
        }
    }

    /// The provider throttles: 1, 2, 4, … 60 s, each made up to half longer by chance. Gives the rest in seconds.
    pub(super) fn throttled(&self, payer: &Payer, now: Boottime) -> MintError {
        let mut rests = self.rests();
        let rest = rests.entry(payer.clone()).or_default();
        // Calls that were under way together meet one throttling, and count as one.
        if let Some((until, MintError::Throttled(_))) = &rest.until
            && *until > now
        {
            return MintError::Throttled(seconds(until.since(now)));
        }
        let base = Duration::from_secs(1 << rest.failures.min(6)).min(LONGEST);
        let length = base + base.mul_f64(0.5 * chance());
        let why = MintError::Throttled(seconds(length));
        rest.failures += 1;
        rest.until = Some((now.plus(length), why.clone()));
        why
    }

    /// The account must be put right first.
    pub(super) fn unpaid(&self, payer: &Payer, now: Boottime, why: MintError) {
        self.rests().entry(payer.clone()).or_default().until = Some((now.plus(BILLING), why));
    }

    /// The provider served it.
    pub(super) fn served(&self, payer: &Payer) {
        self.rests().remove(payer);
    }

    /// This account's rest ends; the next one is not shorter for it.
    pub(super) fn rouse(&self, payer: &Payer) {
        if let Some(rest) = self.rests().get_mut(payer) {
            rest.until = None;
        }
    }

    /// Rests end: the operator changed something.
    pub(super) fn forget(&self) {
        self.rests().clear();
    }

    fn rests(&self) -> MutexGuard<'_, HashMap<Payer, Rest>> {
        self.rests.lock()
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

    fn payer(name: &str, account: Option<&str>) -> Payer {
        let mut meta: KeyMeta = serde_json::from_value(serde_json::json!({
            "name": name, "provider": "dashscope", "created": 0, "fingerprint": "00",
        }))
        .unwrap();
        meta.place.account = account.map(Into::into);
        Payer::of(&meta)
    }

    #[test]
    fn throttling_backs_off_and_ends() {
        let holds = Holds::new(1);
        let key = payer("a", None);
        let mut now = Boottime::from_nanos(1);
        for expected in [1, 2, 4, 8, 16, 32, 60, 60] {
            now = now.plus(Duration::from_secs(100));
            let MintError::Throttled(rest) = holds.throttled(&key, now) else { unreachable!() };
            assert!((expected..=expected * 3 / 2 + 1).contains(&rest), "{rest} for {expected}");
            assert_eq!(holds.throttled(&key, now), MintError::Throttled(rest), "one throttling counts once");
            assert!(holds.check(&key, now).is_err());
            assert_eq!(holds.check(&payer("b", None), now), Ok(()), "another key is not held back");
        }
        assert_eq!(holds.check(&key, now.plus(Duration::from_secs(91))), Ok(()));
        holds.served(&key);
        assert_eq!(holds.check(&key, now), Ok(()));
    }

    #[test]
    fn keys_of_one_account_rest_together() {
        let (holds, now) = (Holds::new(1), Boottime::from_nanos(1));
        holds.throttled(&payer("a", Some("one")), now);
        assert!(holds.check(&payer("b", Some("one")), now).is_err());
        assert_eq!(holds.check(&payer("c", Some("two")), now), Ok(()));
        assert_eq!(holds.check(&payer("one", None), now), Ok(()));
        holds.rouse(&payer("b", Some("one")));
        assert_eq!(holds.check(&payer("a", Some("one")), now), Ok(()));
    }
}
