//! Lengths and points of time as people read them. It must never be used where a program reads: that gets seconds.

use crate::clock::Clock;

/// `41s`, `3m 20s`, `2h 5m`, `4d 3h`.
pub(super) fn span(seconds: u64) -> String {
    let two = |big: u64, big_unit, small: u64, small_unit| match small {
        0 => format!("{big}{big_unit}"),
        small => format!("{big}{big_unit} {small}{small_unit}"),
    };
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => two(seconds / 60, 'm', seconds % 60, 's'),
        3_600..86_400 => two(seconds / 3_600, 'h', seconds % 3_600 / 60, 'm'),
        _ => two(seconds / 86_400, 'd', seconds % 86_400 / 3_600, 'h'),
    }
}

/// How long ago a moment in Unix seconds was.
pub(super) fn ago(moment: u64) -> String {
    format!("{} ago", span(Clock::system().wall().saturating_sub(moment)))
}

/// A moment in Unix seconds: RFC 3339 in UTC.
pub(super) fn date(moment: u64) -> String {
    let known = i64::try_from(moment).ok().and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    known.map_or_else(|| moment.to_string(), |moment| moment.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_two_units_at_most() {
        let said: Vec<_> = [0, 59, 60, 200, 3_600, 7_500, 86_400, 356_400].into_iter().map(span).collect();
        assert_eq!(said, ["0s", "59s", "1m", "3m 20s", "1h", "2h 5m", "1d", "4d 3h"]);
    }

    #[test]
    fn a_moment_of_the_contract_is_its_date() {
        assert_eq!(date(1_744_080_369), "2025-04-08T02:46:09Z");
    }
}
