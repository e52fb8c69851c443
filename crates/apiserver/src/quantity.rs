//! Quantities: `1.5Gi`, `100m`, `3e2`.
//!
//! A quantity is held as a whole number of billionths, which is how exact the API's quantities are. The same amount can be written in
//! many ways; the API stores and shows one of them, see [`canonical`].

/// An amount of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Quantity {
    pub billionths: i128,
}

/// The one way to write an amount: without a fraction, with the largest suffix of its family that allows that. None if the text is
/// no quantity.
pub(crate) fn canonical(written: &str) -> Option<String> {
    let billionths = Quantity::parse(written)?.billionths;
    if billionths == 0 {
        return Some("0".to_owned());
    }
    let suffix = written.trim_start_matches(|c: char| !c.is_ascii_alphabetic());
    let is_whole = billionths % ONE == 0;
    let whole = billionths / ONE;
    if BINARY.contains(&suffix) && is_whole && whole.abs() >= 1024 {
        let (mut number, mut power) = (whole, 0);
        while number % 1024 == 0 && power < BINARY.len() {
            (number, power) = (number / 1024, power + 1);
        }
        let suffix = power.checked_sub(1).map_or("", |n| BINARY[n]);
        return Some(format!("{number}{suffix}"));
    }
    let (mut number, mut exponent) = (billionths, -9);
    while number % 1000 == 0 && exponent < 18 {
        (number, exponent) = (number / 1000, exponent + 3);
    }
    let is_exponent = suffix.len() > 1 && suffix.starts_with(['e', 'E']) || suffix == "e";
    let suffix = match exponent {
        0 => String::new(),
        _ if is_exponent => format!("e{exponent}"),
        _ => DECIMAL.iter().find(|(_, power)| *power == exponent)?.0.to_owned(),
    };
    Some(format!("{number}{suffix}"))
}

impl Quantity {
    pub(crate) fn whole(number: i64) -> Self {
        Self {
            billionths: i128::from(number) * ONE,
        }
    }

    pub(crate) fn negated(self) -> Self {
        Self {
            billionths: -self.billionths,
        }
    }

    pub(crate) fn as_integer(self) -> Option<i64> {
        (self.billionths % ONE == 0).then(|| i64::try_from(self.billionths / ONE).ok())?
    }

    pub(crate) fn parse(written: &str) -> Option<Self> {
        let (negative, rest) = match written.as_bytes().first()? {
            b'-' => (true, &written[1..]),
            b'+' => (false, &written[1..]),
            _ => (false, written),
        };
        let end = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(rest.len());
        let (number, suffix) = rest.split_at(end);
        let (before, after) = number.split_once('.').unwrap_or((number, ""));
        if number.is_empty() || number == "." || after.contains('.') {
            return None;
        }
        let digits: i128 = format!("0{before}{after}").parse().ok()?;
        let (times, tenths) = scale(suffix)?;
        let exponent = tenths - i32::try_from(after.len()).ok()? + 9;
        let scaled = digits.checked_mul(times)?;
        let power = 10_i128.checked_pow(exponent.unsigned_abs())?;
        let billionths = if exponent >= 0 {
            scaled.checked_mul(power)?
        } else {
            // Finer than the API can say: rounded up, away from nothing.
            scaled.checked_add(power - 1)? / power
        };
        Some(Self {
            billionths: if negative { -billionths } else { billionths },
        })
    }
}

/// What a suffix stands for: a factor, and a power of ten.
fn scale(suffix: &str) -> Option<(i128, i32)> {
    if let Some((_, power)) = DECIMAL.iter().find(|(name, _)| *name == suffix) {
        return Some((1, *power));
    }
    if let Some(power) = BINARY.iter().position(|name| *name == suffix) {
        return Some((1024_i128.pow(u32::try_from(power).ok()? + 1), 0));
    }
    let exponent = suffix.strip_prefix(['e', 'E'])?;
    Some((1, exponent.parse().ok().filter(|power: &i32| power.abs() < 30)?))
}

pub(crate) const ONE: i128 = 1_000_000_000;

const DECIMAL: [(&str, i32); 10] = [
    ("", 0),
    ("n", -9),
    ("u", -6),
    ("m", -3),
    ("k", 3),
    ("M", 6),
    ("G", 9),
    ("T", 12),
    ("P", 15),
    ("E", 18),
];

const BINARY: [&str; 6] = ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];

/// What texts that are no quantities are told.
pub(crate) const RULE: &str =
    "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_amount_is_written_in_one_way() {
        for (written, expected) in [
            ("0", "0"),
            ("0Mi", "0"),
            ("1000m", "1"),
            ("1.5", "1500m"),
            ("0.5Gi", "512Mi"),
            ("1024Mi", "1Gi"),
            ("1536Mi", "1536Mi"),
            ("0.5Ki", "512"),
            ("1000", "1k"),
            ("1234567", "1234567"),
            ("1e3", "1e3"),
            ("100e3", "100e3"),
            ("10E", "10E"),
            ("-2000m", "-2"),
            ("+1", "1"),
            ("1.1Ki", "1126400m"),
        ] {
            assert_eq!(canonical(written).as_deref(), Some(expected), "{written}");
        }
        for wrong in ["", "abc", "1 Gi", "1gi", "1.2.3", "--1"] {
            assert_eq!(canonical(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn the_amount_stays_the_same(number in "-?[0-9]{1,4}(\\.[0-9]{1,3})?", suffix in "|n|u|m|k|M|G|T|Ki|Mi|Gi|e3|e-2") {
            let written = format!("{number}{suffix}");
            let once = canonical(&written).unwrap();
            prop_assert_eq!(Quantity::parse(&once), Quantity::parse(&written));
            prop_assert_eq!(canonical(&once), Some(once.clone()));
        }
    }
}
