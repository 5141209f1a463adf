//! Quantities with their units. A value of one of these types is legal: it was checked where it was made.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

/// A length of time in seconds: finite and not negative.
///
/// In JSON it is a plain number of seconds, in an experiment file a string with its unit (`"250ms"`).
#[derive(Clone, Copy, Debug, PartialEq, JsonSchema, Serialize)]
#[serde(transparent)]
pub struct Seconds(f64);

impl Seconds {
    /// No time at all.
    pub const ZERO: Self = Self(0.0);

    /// `None` where `value` is negative, infinite or not a number.
    pub fn new(value: f64) -> Option<Self> {
        // `+ 0.0` turns -0.0 into 0.0, so that equal lengths have equal bits.
        (value.is_finite() && value >= 0.0).then_some(Self(value + 0.0))
    }

    /// The number of seconds.
    pub fn get(self) -> f64 {
        self.0
    }

    /// As the standard library's type, to the nanosecond; lengths beyond its range become its maximum.
    pub fn to_std(self) -> std::time::Duration {
        std::time::Duration::try_from_secs_f64(self.0).unwrap_or(std::time::Duration::MAX)
    }
}

impl Eq for Seconds {}

impl PartialOrd for Seconds {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Seconds {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl From<std::time::Duration> for Seconds {
    fn from(value: std::time::Duration) -> Self {
        Self(value.as_secs_f64())
    }
}

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = f64::deserialize(deserializer)?;
        Self::new(value).ok_or_else(|| serde::de::Error::custom(format!("{value} is not a length of time")))
    }
}

/// Why a text is not a length of time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecondsError {
    /// The number has no unit.
    #[error("a length of time needs a unit: us, ms, s, m or h, as in \"{0}s\"")]
    NoUnit(String),
    /// The unit is none of ours.
    #[error("`{0}` is not a unit of time: use us, ms, s, m or h")]
    UnknownUnit(String),
    /// There is no number before the unit.
    #[error("`{0}` is not a length of time such as \"250ms\", \"5s\" or \"1h30m\"")]
    Malformed(String),
}

/// Units as a factor and a divisor to seconds: 20us is exactly what 20/1e6 is, and 20 * 1e-6 is not.
const UNITS: [(&str, f64, f64); 5] =
    [("us", 1.0, 1e6), ("ms", 1.0, 1e3), ("s", 1.0, 1.0), ("m", 60.0, 1.0), ("h", 3600.0, 1.0)];

impl FromStr for Seconds {
    type Err = SecondsError;

    /// Reads one or more numbers with units: `5s`, `1.5ms`, `1h30m`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let malformed = || SecondsError::Malformed(text.to_owned());
        let mut rest = text.trim();
        if rest.is_empty() {
            return Err(malformed());
        }
        let mut total = 0.0;
        while !rest.is_empty() {
            let number_end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
            let (number, tail) = rest.split_at(number_end);
            let unit_end = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
            let (unit, tail) = tail.split_at(unit_end);
            let number: f64 = number.parse().map_err(|_| malformed())?;
            let unit = unit.trim();
            if unit.is_empty() {
                return Err(SecondsError::NoUnit(text.to_owned()));
            }
            let (_, factor, divisor) = UNITS
                .iter()
                .find(|(name, ..)| *name == unit)
                .ok_or_else(|| SecondsError::UnknownUnit(unit.to_owned()))?;
            total += number * factor / divisor;
            rest = tail;
        }
        Self::new(total).ok_or_else(malformed)
    }
}

impl fmt::Display for Seconds {
    /// A short form that reads back as the same value, to the nanosecond: `250ms`, `5s`, `20m`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact = |scale: f64| {
            let count = self.0 / scale;
            (count.fract() == 0.0 && count * scale == self.0).then_some(count)
        };
        let (scale, unit) = match self.0 {
            0.0 => (1.0, "s"),
            v if v >= 3600.0 && exact(3600.0).is_some() => (3600.0, "h"),
            v if v >= 120.0 && exact(60.0).is_some() => (60.0, "m"),
            v if v >= 1.0 => (1.0, "s"),
            v if v >= 1e-3 => (1e-3, "ms"),
            _ => (1e-6, "us"),
        };
        // Nine digits are finer than any clock, and hide the last digit that the division may leave.
        let count = format!("{:.9}", self.0 / scale);
        let count = count.trim_end_matches('0').trim_end_matches('.');
        write!(f, "{count}{unit}")
    }
}

/// Requests in flight at once: at least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, JsonSchema, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Concurrency(NonZeroU32);

impl Concurrency {
    /// One request in flight.
    pub const ONE: Self = Self(NonZeroU32::MIN);

    /// `None` for zero.
    pub fn new(value: u32) -> Option<Self> {
        NonZeroU32::new(value).map(Self)
    }

    /// The number of requests.
    pub fn get(self) -> u32 {
        self.0.get()
    }
}

impl fmt::Display for Concurrency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A part of a whole: between 0 and 1, both included.
#[derive(Clone, Copy, Debug, PartialEq, JsonSchema, Serialize)]
#[serde(transparent)]
pub struct Share(f64);

impl Share {
    /// Nothing of it.
    pub const NONE: Self = Self(0.0);
    /// The whole.
    pub const ALL: Self = Self(1.0);

    /// `None` where `value` is outside 0 to 1 or not a number.
    pub fn new(value: f64) -> Option<Self> {
        (0.0..=1.0).contains(&value).then_some(Self(value + 0.0))
    }

    /// The part, between 0 and 1.
    pub fn get(self) -> f64 {
        self.0
    }

    /// The least whole number of `count` things that makes up this share.
    ///
    /// 0.99 of 100 is 99, although 0.99 * 100.0 is a little less in binary.
    pub fn least_of(self, count: u32) -> u32 {
        let exact = self.0 * f64::from(count);
        // Products of a decimal share and a count are off by some 1e-16 of their size; nobody writes shares to 1e-9.
        (exact - 1e-9 * f64::from(count).max(1.0)).ceil().max(0.0) as u32
    }
}

impl Eq for Share {}

impl PartialOrd for Share {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Share {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl<'de> Deserialize<'de> for Share {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = f64::deserialize(deserializer)?;
        Self::new(value).ok_or_else(|| serde::de::Error::custom(format!("{value} is not between 0 and 1")))
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lengths_of_time_read_with_their_unit() {
        let table = [("5s", 5.0), ("250ms", 0.25), ("20us", 20e-6), ("1h30m", 5400.0), ("1.5 s", 1.5), ("0s", 0.0)];
        for (text, seconds) in table {
            assert_eq!(text.parse::<Seconds>().unwrap().get(), seconds, "{text}");
        }
    }

    #[test]
    fn what_is_no_length_of_time_says_why() {
        let table = [
            ("5", SecondsError::NoUnit("5".into())),
            ("5 sec", SecondsError::UnknownUnit("sec".into())),
            ("s", SecondsError::Malformed("s".into())),
            ("-1s", SecondsError::Malformed("-1s".into())),
            ("", SecondsError::Malformed(String::new())),
        ];
        for (text, error) in table {
            assert_eq!(text.parse::<Seconds>(), Err(error), "{text}");
        }
    }

    #[test]
    fn lengths_of_time_print_short() {
        let table = [
            (5.0, "5s"),
            (0.25, "250ms"),
            (8e-3, "8ms"),
            (20e-6, "20us"),
            (60.0, "60s"),
            (1200.0, "20m"),
            (5400.0, "90m"),
            (7200.0, "2h"),
            (1.5, "1.5s"),
            (0.0, "0s"),
        ];
        for (seconds, text) in table {
            assert_eq!(Seconds::new(seconds).unwrap().to_string(), text);
        }
    }

    proptest! {
        #[test]
        fn milliseconds_survive_printing(ms in 0u32..10_000_000) {
            let written = Seconds::new(f64::from(ms) / 1000.0).unwrap();
            let read: Seconds = written.to_string().parse().unwrap();
            prop_assert!((read.get() - written.get()).abs() < 1e-9);
        }

        #[test]
        fn the_least_number_is_least(thousandths in 0u32..=1000, count in 1u32..5000) {
            let least = Share::new(f64::from(thousandths) / 1000.0).unwrap().least_of(count);
            prop_assert!(u64::from(least) * 1000 >= u64::from(thousandths) * u64::from(count));
            prop_assert!(least == 0 || u64::from(least - 1) * 1000 < u64::from(thousandths) * u64::from(count));
        }
    }
}
