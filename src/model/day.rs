//! Days of the calendar, in UTC: what usage is counted by and budgets begin anew with. It asks no clock.

use super::{Malformed, span};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{fmt, str::FromStr};

const SECONDS: u64 = 86_400;

/// A day, as how many there were since 1970-01-01. Written as `2026-11-01`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(pub u32);

impl Day {
    /// The day of a moment in Unix seconds.
    pub fn of(seconds: u64) -> Self {
        Self(u32::try_from(seconds / SECONDS).unwrap_or(u32::MAX))
    }

    /// So many days before.
    pub fn before(self, days: u32) -> Self {
        Self(self.0.saturating_sub(days))
    }

    /// From a moment in Unix seconds to the day's end.
    pub fn left(seconds: u64) -> u32 {
        u32::try_from(SECONDS - seconds % SECONDS).unwrap_or(u32::MAX)
    }

    /// How many days of its month come before it, and how many after it.
    pub fn in_month(self) -> (u32, u32) {
        let Ok(moment) = jiff::Timestamp::from_second(i64::from(self.0) * SECONDS as i64) else { return (0, 0) };
        let date = jiff::tz::Offset::UTC.to_datetime(moment).date();
        let (day, days) = (date.day().unsigned_abs(), date.days_in_month().unsigned_abs());
        (u32::from(day) - 1, u32::from(days - day))
    }

    /// The first day that is meant by `2026-11-01`, or by `7d`: the last seven days, today among them.
    ///
    /// # Errors
    /// It is neither.
    pub fn since(text: &str, today: Self) -> Result<Self, Malformed> {
        let days = |seconds: u64| u32::try_from(seconds / SECONDS).ok().filter(|_| seconds.is_multiple_of(SECONDS));
        match span::span(text).ok().and_then(|span| days(span.as_secs())) {
            Some(days @ 1..) => Ok(today.before(days - 1)),
            _ => text.parse(),
        }
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_second(i64::from(self.0) * SECONDS as i64) {
            Ok(moment) => write!(f, "{}", moment.strftime("%Y-%m-%d")),
            // Beyond the year 9999 there is no date.
            Err(_) => write!(f, "day {}", self.0),
        }
    }
}

impl FromStr for Day {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let midnight = format!("{text}T00:00:00Z").parse::<jiff::Timestamp>().ok();
        let seconds = midnight.and_then(|moment| u64::try_from(moment.as_second()).ok());
        let day = seconds.map(Self::of).filter(|day| day.to_string() == text);
        day.ok_or_else(|| Malformed::new("a day is written 2026-11-01, and the last seven of them 7d"))
    }
}

impl Serialize for Day {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Day {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_read_as_it_is_written() {
        let day: Day = "2026-11-24".parse().unwrap();
        assert_eq!((day, day.to_string().as_str()), (Day::of(1_795_478_400), "2026-11-24"));
        assert_eq!((Day::of(1_795_478_399).to_string().as_str(), Day::left(1_795_478_399)), ("2026-11-23", 1));
        for bad in ["", "2026-11-31", "20261124", "2026-1-1", "1969-12-31", "today", "7", "2026-11-24T00:00:00Z"] {
            assert!(bad.parse::<Day>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_span_of_days_has_today_in_it() {
        let today: Day = "2026-11-24".parse().unwrap();
        let since = |text| Day::since(text, today).map(|day| day.to_string()).unwrap_or_default();
        assert_eq!(
            ["1d", "7d", "48h", "2026-11-01"].map(since),
            ["2026-11-24", "2026-11-18", "2026-11-23", "2026-11-01"]
        );
        assert_eq!(["0s", "5h", "-1d", "99"].map(since), [""; 4]);
    }
}
