//! Durations as people write them.

use std::time::Duration;

/// Reads `90s`, `15m`, `2h`, `7d`, `1500ms`, or plain seconds.
///
/// # Errors
/// Names the text and shows how to write it.
pub fn parse(text: &str) -> Result<Duration, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let millis_per_unit = match unit {
        "ms" => 1,
        "" | "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(format!("\"{unit}\" is no unit of time; write such as 90s, 15m or 2h")),
    };
    let number: u64 = number
        .parse()
        .map_err(|_| format!("\"{text}\" is no duration; write such as 90s, 15m or 2h"))?;
    number
        .checked_mul(millis_per_unit)
        .filter(|millis| *millis <= 366 * 86_400_000)
        .map(Duration::from_millis)
        .ok_or_else(|| format!("\"{text}\" is longer than a year"))
}

/// Writes a duration in the largest unit that leaves nothing over.
pub fn show(duration: Duration) -> String {
    let millis = duration.as_millis();
    if !millis.is_multiple_of(1000) {
        return format!("{millis}ms");
    }
    match duration.as_secs() {
        0 => "0s".to_owned(),
        seconds if seconds % 86_400 == 0 => format!("{}d", seconds / 86_400),
        seconds if seconds % 3600 == 0 => format!("{}h", seconds / 3600),
        seconds if seconds % 60 == 0 => format!("{}m", seconds / 60),
        seconds => format!("{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_are_read() {
        for (text, seconds) in [("90", 90), ("90s", 90), ("15m", 900), ("2h", 7200), ("7d", 604_800)] {
            assert_eq!(parse(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "s", "-1s", "1.5h", "10x", "99999999999999999999s", "400d"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_back(millis in 0u64..10_000_000_000) {
            let duration = Duration::from_millis(millis);
            prop_assert_eq!(parse(&show(duration)), Ok(duration));
        }
    }
}
