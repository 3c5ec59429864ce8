//! Lengths of time and rates as people write them (`60s`, `10m`, `60/min`). Never a point in time.

use super::Malformed;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr, time::Duration};

/// A lifetime in whole seconds, 1 up to 31,622,400 (366 days).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct Ttl(u32);

impl Ttl {
    /// What is given when nobody says otherwise: 60 seconds.
    pub const DEFAULT: Ttl = Ttl(60);
    const MAX: u64 = 366 * 86_400;

    /// Seconds, at least 1.
    pub fn seconds(self) -> u32 {
        self.0
    }

    /// The same as a `Duration`.
    pub fn duration(self) -> Duration {
        Duration::from_secs(self.0.into())
    }
}

impl TryFrom<u64> for Ttl {
    type Error = Malformed;

    fn try_from(seconds: u64) -> Result<Self, Malformed> {
        match u32::try_from(seconds) {
            Ok(whole @ 1..) if seconds <= Self::MAX => Ok(Self(whole)),
            _ => Err(Malformed::new("a ttl is a whole number of seconds from 1 to 31622400")),
        }
    }
}

impl From<Ttl> for u64 {
    fn from(ttl: Ttl) -> u64 {
        ttl.0.into()
    }
}

impl FromStr for Ttl {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        span(text)?.as_secs().try_into()
    }
}

impl fmt::Display for Ttl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}s", self.0)
    }
}

/// Reads `250ms`, `60s`, `10m`, `8h`, `7d`; a bare number is refused, since its unit would be a guess.
pub fn span(text: &str) -> Result<Duration, Malformed> {
    let fault = || Malformed::new("a length of time is a whole number and a unit: 250ms, 60s, 10m, 8h, 7d");
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let number: u64 = text[..digits].parse().map_err(|_| fault())?;
    let millis = match &text[digits..] {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(fault()),
    };
    number.checked_mul(millis).map(Duration::from_millis).ok_or_else(fault)
}

/// So many asks in so long a time, spread by a token bucket whose burst is the number itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Rate {
    /// How many, at least 1.
    pub count: u32,
    /// In how long.
    pub per: Duration,
}

impl FromStr for Rate {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let fault = || Malformed::new("a rate is written as 10/s, 60/min, 1000/h or 5000/d");
        let (count, unit) = text.split_once('/').ok_or_else(fault)?;
        let count = count.trim().parse().ok().filter(|n| *n > 0).ok_or_else(fault)?;
        let seconds = match unit.trim() {
            "s" | "sec" => 1,
            "m" | "min" => 60,
            "h" | "hour" => 3_600,
            "d" | "day" => 86_400,
            _ => return Err(fault()),
        };
        Ok(Self { count, per: Duration::from_secs(seconds) })
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = match self.per.as_secs() {
            1 => "s",
            60 => "min",
            3_600 => "h",
            _ => "d",
        };
        write!(f, "{}/{unit}", self.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_needs_its_unit() {
        assert_eq!(span("60s").unwrap(), Duration::from_secs(60));
        assert_eq!(span("250ms").unwrap(), Duration::from_millis(250));
        for bad in ["", "60", "s", "1.5s", "-1s", "60 s", "99999999999999999999d", "é"] {
            assert!(span(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_ttl_of_zero_is_no_ttl() {
        assert!(Ttl::try_from(0).is_err() && Ttl::try_from(31_622_401).is_err());
        assert_eq!("1m".parse::<Ttl>().unwrap().seconds(), 60);
        assert!("500ms".parse::<Ttl>().is_err());
    }

    #[test]
    fn a_rate_reads_back_as_it_was_written() {
        for text in ["10/s", "60/min", "1000/h", "5/d"] {
            assert_eq!(text.parse::<Rate>().unwrap().to_string(), text);
        }
        assert!("0/min".parse::<Rate>().is_err() && "5".parse::<Rate>().is_err());
    }
}
