//! Shares, rates and durations as people write them: `2%`, `100mbit`, `150ms`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A share of all packets, 0 to 100.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize, Deserialize)]
pub(crate) struct Percent(f64);

/// Bits a second, at least one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Rate(u64);

/// Not a quantity of the kind that is asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ParseQuantityError {
    #[error("'{0}' is no share of packets; write 0 to 100, such as 2 or 0.5%")]
    Percent(String),
    #[error("'{0}' is no rate; write a number with bit, kbit, mbit or gbit, such as 100mbit")]
    Rate(String),
    #[error("'{0}' is no duration of at most an hour; write a number with us, ms or s, such as 150ms")]
    Duration(String),
}

impl Percent {
    /// As a probability.
    pub(crate) fn probability(self) -> f64 {
        self.0 / 100.0
    }
}

impl Rate {
    /// How long a line of this rate is busy with so many bytes.
    pub(crate) fn time_for(self, bytes: usize) -> Duration {
        let nanos = bytes as u128 * 8 * 1_000_000_000 / u128::from(self.0);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

impl FromStr for Percent {
    type Err = ParseQuantityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = text.trim_end_matches('%').parse::<f64>();
        match number {
            Ok(number) if (0.0..=100.0).contains(&number) => Ok(Self(number)),
            _ => Err(ParseQuantityError::Percent(text.to_owned())),
        }
    }
}

impl FromStr for Rate {
    type Err = ParseQuantityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || ParseQuantityError::Rate(text.to_owned());
        let (number, unit) = split(text).ok_or_else(error)?;
        let factor = match unit {
            "bit" => 1.0,
            "kbit" => 1e3,
            "mbit" => 1e6,
            "gbit" => 1e9,
            _ => return Err(error()),
        };
        let bits = number * factor;
        // Both bounds are far from where a float stops being exact.
        ((1.0..=1e13).contains(&bits))
            .then_some(Self(bits as u64))
            .ok_or_else(error)
    }
}

/// Reads a duration.
///
/// # Errors
/// When the text is none, or longer than an hour.
pub(crate) fn duration(text: &str) -> Result<Duration, ParseQuantityError> {
    let error = || ParseQuantityError::Duration(text.to_owned());
    let (number, unit) = split(text).ok_or_else(error)?;
    let factor = match unit {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        _ => return Err(error()),
    };
    let seconds = number * factor;
    (0.0..=3600.0)
        .contains(&seconds)
        .then(|| Duration::from_secs_f64(seconds))
        .ok_or_else(error)
}

fn split(text: &str) -> Option<(f64, &str)> {
    let at = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    Some((text[..at].parse().ok()?, &text[at..]))
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.0)
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            bits if bits % 1_000_000_000 == 0 => write!(f, "{}gbit", bits / 1_000_000_000),
            bits if bits % 1_000_000 == 0 => write!(f, "{}mbit", bits / 1_000_000),
            bits if bits % 1_000 == 0 => write!(f, "{}kbit", bits / 1_000),
            bits => write!(f, "{bits}bit"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_read_and_written_alike() {
        for text in ["100mbit", "1gbit", "9600bit", "64kbit"] {
            assert_eq!(text.parse::<Rate>().unwrap().to_string(), text);
        }
        assert_eq!("1.5mbit".parse::<Rate>().unwrap().to_string(), "1500kbit");
        assert_eq!("0.5".parse::<Percent>().unwrap().to_string(), "0.5%");
        assert_eq!(duration("2.5ms").unwrap(), Duration::from_micros(2500));
        assert_eq!(
            "8mbit".parse::<Rate>().unwrap().time_for(1000),
            Duration::from_millis(1)
        );
    }

    #[test]
    fn what_is_none_is_refused() {
        for text in ["", "mbit", "0mbit", "-1mbit", "10", "10mb", "99999999gbit"] {
            assert!(text.parse::<Rate>().is_err(), "{text}");
        }
        for text in ["", "101", "-1", "NaN", "two"] {
            assert!(text.parse::<Percent>().is_err(), "{text}");
        }
        for text in ["", "5", "ms", "2h", "4000s", "-1s"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
