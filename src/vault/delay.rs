//! Slows down who guesses passphrases: a quarter of a second, doubled with each wrong one, up to ten.
//! It must never sleep, and never forget an attempt whose asker went away.

use crate::clock::Boottime;
use std::time::Duration;

const FIRST: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_secs(10);

/// How many attempts went wrong, and when the next is heard. Lives as long as the process.
#[derive(Debug, Default)]
pub(super) struct Delay {
    failures: u32,
    until: Option<Boottime>,
}

impl Delay {
    /// Begins an attempt, which counts as wrong until [`Delay::right`]; else the whole seconds to wait, rounded up.
    pub(super) fn begin(&mut self, now: Boottime) -> Result<(), u64> {
        let wait = self.until.map_or(Duration::ZERO, |until| until.since(now));
        if !wait.is_zero() {
            return Err(wait.as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX));
        }
        self.failures = self.failures.saturating_add(1);
        self.wrong(now);
        Ok(())
    }

    /// The attempt was wrong: the time to wait begins now, not when the attempt began.
    pub(super) fn wrong(&mut self, now: Boottime) {
        self.until = Some(now.plus(span(self.failures)));
    }

    /// The attempt was right: all is forgiven.
    pub(super) fn right(&mut self) {
        *self = Self::default();
    }
}

fn span(failures: u32) -> Duration {
    FIRST.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    #[test]
    fn wrong_passphrases_slow_down_to_ten_seconds() {
        let (clock, winder) = Clock::manual(0);
        let mut delay = Delay::default();
        for millis in [250, 500, 1000, 2000, 4000, 8000, 10_000, 10_000] {
            assert_eq!(delay.begin(clock.boot()), Ok(()));
            delay.wrong(clock.boot());
            winder.advance(Duration::from_millis(millis - 1));
            assert_eq!(delay.begin(clock.boot()), Err(1), "{millis}");
            winder.advance(Duration::from_millis(1));
        }
        delay.wrong(clock.boot());
        assert_eq!(delay.begin(clock.boot()), Err(10));
        delay.right();
        assert_eq!(delay.begin(clock.boot()), Ok(()));
    }

    #[test]
    fn an_attempt_that_nobody_waits_for_counts_as_wrong() {
        let mut delay = Delay::default();
        let now = Boottime::from_nanos(7);
        assert_eq!(delay.begin(now), Ok(()));
        assert_eq!(delay.begin(now), Err(1));
        for _ in 0..100 {
            delay.failures = delay.failures.saturating_add(u32::MAX / 50);
            delay.wrong(now);
            assert!(delay.begin(now).is_err());
        }
    }
}
