//! How often a principal may ask: a token bucket per holder, kept as the time at which it would be full again.
//! It never sleeps: it says how long to wait.

use crate::{clock::Boottime, model::Rate};
use std::{collections::HashMap, time::Duration};

/// Buckets by holder. A bucket that is full again is forgotten.
#[derive(Default)]
pub(super) struct Rates {
    full_at: HashMap<String, Boottime>,
}

/// Above so many buckets the full ones are swept out before another is made.
const SWEEP_ABOVE: usize = 4096;

impl Rates {
    /// Takes one; else the whole seconds until one is there.
    pub(super) fn take(&mut self, holder: &str, rate: Rate, now: Boottime) -> Result<(), u32> {
        let each = rate.per / rate.count;
        let full_at = self.full_at.get(holder).copied().unwrap_or(now).max(now);
        let after = full_at.plus(each);
        let over = after.since(now.plus(rate.per));
        if over > Duration::ZERO {
            return Err(u32::try_from(over.as_secs()).unwrap_or(u32::MAX).saturating_add(1));
        }
        if self.full_at.len() >= SWEEP_ABOVE {
            self.full_at.retain(|_, full_at| *full_at > now);
        }
        match self.full_at.get_mut(holder) {
            Some(slot) => *slot = after,
            None => drop(self.full_at.insert(holder.to_owned(), after)),
        }
        Ok(())
    }

    /// Buckets that are not full, with the nanosecond since boot at which they will be.
    pub(super) fn kept(&self, now: Boottime) -> Vec<(String, u64)> {
        let lasts = self.full_at.iter().filter(|(_, full_at)| **full_at > now);
        lasts.map(|(holder, full_at)| (holder.clone(), full_at.nanos())).collect()
    }

    /// Puts back what was kept.
    pub(super) fn restore(&mut self, kept: Vec<(String, u64)>) {
        self.full_at.extend(kept.into_iter().map(|(holder, nanos)| (holder, Boottime::from_nanos(nanos))));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_burst_is_the_count_and_then_it_drips() {
        let rate: Rate = "60/min".parse().unwrap();
        let mut rates = Rates::default();
        let start = Boottime::from_nanos(1);
        for _ in 0..60 {
            assert_eq!(rates.take("a", rate, start), Ok(()));
        }
        assert_eq!(rates.take("a", rate, start), Err(2));
        assert_eq!(rates.take("b", rate, start), Ok(()), "another principal is not held back");
        let later = start.plus(Duration::from_secs(1));
        assert_eq!(rates.take("a", rate, later), Ok(()));
        assert!(rates.take("a", rate, later).is_err());
        assert_eq!(rates.take("a", rate, start.plus(Duration::from_secs(3600))), Ok(()));
    }
}
