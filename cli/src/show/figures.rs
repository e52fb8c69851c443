//! Figures as people read them.

use jiff::Timestamp;

/// `0.31ms`, `12.4ms`, `1.20s`
pub(super) fn millis(micros: u32) -> String {
    match f64::from(micros) / 1000.0 {
        ms if ms >= 1000.0 => format!("{:.2}s", ms / 1000.0),
        ms if ms >= 10.0 => format!("{ms:.1}ms"),
        ms => format!("{ms:.2}ms"),
    }
}

/// `912MiB`, `4.1GiB`
pub(super) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let (mut unit, mut divisor) = (0, 1u64);
    while unit + 1 < UNITS.len() && bytes / divisor >= 1024 {
        unit += 1;
        divisor *= 1024;
    }
    let tenths = u128::from(bytes) * 10 / u128::from(divisor);
    if unit == 0 || tenths >= 1000 {
        format!("{}{}", tenths / 10, UNITS[unit])
    } else {
        format!("{}.{}{}", tenths / 10, tenths % 10, UNITS[unit])
    }
}

/// `0%`, `0.4%`
pub(super) fn percent(value: f64) -> String {
    if value > 0.0 && value < 10.0 {
        format!("{value:.1}%")
    } else {
        format!("{value:.0}%")
    }
}

/// `12s ago`, `3m ago`; empty for what is no time.
pub(super) fn ago(time: Option<&str>, now: Timestamp) -> String {
    let Some(time) = time.and_then(|time| time.parse::<Timestamp>().ok()) else {
        return String::new();
    };
    format!("{} ago", age(now.as_second() - time.as_second()))
}

/// Seconds in their largest unit.
pub(super) fn age(seconds: i64) -> String {
    match seconds.max(0) {
        s if s < 120 => format!("{s}s"),
        s if s < 7200 => format!("{}m", s / 60),
        s if s < 172_800 => format!("{}h", s / 3600),
        s => format!("{}d", s / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short() {
        assert_eq!(
            [millis(310), millis(12_400), millis(1_200_000)],
            ["0.31ms", "12.4ms", "1.20s"]
        );
        assert_eq!([bytes(0), bytes(1023), bytes(1024)], ["0B", "1023B", "1.0KiB"]);
        assert_eq!([bytes(912 << 20), bytes((41 << 30) / 10)], ["912MiB", "4.0GiB"]);
        assert_eq!(bytes(u64::MAX), "16383PiB");
        assert_eq!([percent(0.0), percent(0.4), percent(100.0)], ["0%", "0.4%", "100%"]);
        assert_eq!(
            [age(-5), age(12), age(180), age(7200), age(200_000)],
            ["0s", "12s", "3m", "2h", "2d"]
        );
    }

    #[test]
    fn times_are_told_from_now() {
        let now = "2026-01-01T00:00:12Z".parse().unwrap();
        assert_eq!(ago(Some("2026-01-01T00:00:00Z"), now), "12s ago");
        assert_eq!([ago(Some("soon"), now), ago(None, now)], ["", ""]);
    }
}
