//! The time as records tell it: RFC 3339 with microseconds. It must never make a date of the same second twice: a mint
//! writes two records.

use crate::clock::Clock;

/// Letters of `2025-04-08T02:46:09.000000Z`.
const LENGTH: usize = 27;
/// Where its microseconds stand.
const MICROS: std::ops::Range<usize> = 20..26;

/// The clock of the records, and the second that it last told.
pub(super) struct Stamp {
    clock: Clock,
    second: Option<i64>,
    text: [u8; LENGTH],
}

impl Stamp {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, second: None, text: [b'0'; LENGTH] }
    }

    /// The time of now.
    pub(super) fn now(&mut self) -> &str {
        let (second, nanos) = self.clock.wall_nanos();
        if self.second != Some(second) {
            self.second = Some(second);
            self.text = date(second);
        }
        let mut micros = nanos / 1000;
        for digit in self.text[MICROS].iter_mut().rev() {
            *digit = b'0' + (micros % 10) as u8;
            micros /= 10;
        }
        str::from_utf8(&self.text).expect("invariant: a date is ASCII")
    }
}

/// RFC 3339 ends with the year 9999; a clock that is so wrong shows as 1970.
fn date(second: i64) -> [u8; LENGTH] {
    let time = jiff::Timestamp::from_second(second).unwrap_or_default();
    format!("{time:.6}").into_bytes().try_into().unwrap_or(*b"1970-01-01T00:00:00.000000Z")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_time_goes_on_within_a_second_and_beyond_it() {
        let (clock, winder) = Clock::manual(1_744_080_369);
        let mut stamp = Stamp::new(clock);
        assert_eq!(stamp.now(), "2025-04-08T02:46:09.000000Z");
        winder.advance(Duration::from_micros(7));
        assert_eq!(stamp.now(), "2025-04-08T02:46:09.000007Z");
        winder.advance(Duration::from_micros(1_999_992));
        assert_eq!(stamp.now(), "2025-04-08T02:46:10.999999Z");
    }

    #[test]
    fn a_clock_that_is_very_wrong_still_gives_a_date() {
        let (clock, winder) = Clock::manual(1);
        let mut stamp = Stamp::new(clock);
        winder.jump_wall(-3);
        assert_eq!(stamp.now(), "1969-12-31T23:59:58.000000Z");
        winder.jump_wall(i64::MAX / 1_000_000_000 - 10);
        assert_eq!(stamp.now().len(), LENGTH);
    }
}
