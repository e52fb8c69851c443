//! `quantity`: `1.5Gi`, `100m`, `3e2`.
//!
//! A quantity is held as a whole number of billionths, which is how exact the API's quantities are.

use std::cmp::Ordering;

use cel::{
    DeclarationError, Env, ExecutionError,
    common::{
        types::{CelDouble, INT_TYPE, STRING_TYPE, Type},
        value::CowVal,
    },
};

use super::{Args, Native, fails, own, truth, whole};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Quantity {
    billionths: i128,
}

impl Native for Quantity {
    const TYPE: &'static Type = &QUANTITY;

    fn compare(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

pub(super) fn extend(env: &mut Env) -> Result<(), DeclarationError> {
    let quantity = || QUANTITY.to_owned();
    env.add_overload("quantity", "string_to_quantity", vec![STRING_TYPE], |args| {
        let written = Args(&args).text(0)?;
        let parsed = Quantity::parse(written);
        parsed.map(own).ok_or_else(|| {
            fails(
                "quantity",
                "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
            )
        })
    })?;
    env.add_overload("isQuantity", "is_quantity", vec![STRING_TYPE], |args| {
        Ok(truth(Quantity::parse(Args(&args).text(0)?).is_some()))
    })?;
    env.add_member_overload("sign", "quantity_sign", quantity(), vec![], |args| {
        Ok(whole(
            Args(&args)
                .own::<Quantity>(0)?
                .billionths
                .signum()
                .try_into()
                .unwrap_or_default(),
        ))
    })?;
    env.add_member_overload("isInteger", "quantity_is_integer", quantity(), vec![], |args| {
        Ok(truth(Args(&args).own::<Quantity>(0)?.as_integer().is_some()))
    })?;
    env.add_member_overload("asInteger", "quantity_as_integer", quantity(), vec![], |args| {
        let number = Args(&args).own::<Quantity>(0)?.as_integer();
        number
            .map(whole)
            .ok_or_else(|| fails("asInteger", "cannot convert value to integer"))
    })?;
    env.add_member_overload("asApproximateFloat", "quantity_as_float", quantity(), vec![], |args| {
        #[expect(clippy::cast_precision_loss, reason = "the function is called approximate")]
        let number = Args(&args).own::<Quantity>(0)?.billionths as f64 / ONE as f64;
        Ok(CowVal::owned(CelDouble::from(number)))
    })?;
    env.add_member_overload(
        "compareTo",
        "quantity_compare_to",
        quantity(),
        vec![quantity()],
        |args| {
            let args = Args(&args);
            Ok(whole(args.own::<Quantity>(0)?.cmp(args.own::<Quantity>(1)?) as i64))
        },
    )?;
    env.add_member_overload(
        "isGreaterThan",
        "quantity_is_greater_than",
        quantity(),
        vec![quantity()],
        |args| {
            let args = Args(&args);
            Ok(truth(args.own::<Quantity>(0)? > args.own::<Quantity>(1)?))
        },
    )?;
    env.add_member_overload(
        "isLessThan",
        "quantity_is_less_than",
        quantity(),
        vec![quantity()],
        |args| {
            let args = Args(&args);
            Ok(truth(args.own::<Quantity>(0)? < args.own::<Quantity>(1)?))
        },
    )?;
    env.add_member_overload("add", "quantity_add", quantity(), vec![quantity()], |args| {
        let args = Args(&args);
        sum(*args.own(0)?, *args.own(1)?)
    })?;
    env.add_member_overload("add", "quantity_add_int", quantity(), vec![INT_TYPE], |args| {
        let args = Args(&args);
        sum(*args.own(0)?, Quantity::whole(args.int(1)?))
    })?;
    env.add_member_overload("sub", "quantity_sub", quantity(), vec![quantity()], |args| {
        let args = Args(&args);
        sum(*args.own(0)?, args.own::<Quantity>(1)?.negated())
    })?;
    env.add_member_overload("sub", "quantity_sub_int", quantity(), vec![INT_TYPE], |args| {
        let args = Args(&args);
        sum(*args.own(0)?, Quantity::whole(args.int(1)?).negated())
    })
}

fn sum<'b, 'v>(one: Quantity, two: Quantity) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let billionths = one.billionths.checked_add(two.billionths);
    billionths
        .map(|billionths| own(Quantity { billionths }))
        .ok_or_else(|| fails("add", "integer overflow"))
}

impl Quantity {
    fn whole(number: i64) -> Self {
        Self {
            billionths: i128::from(number) * ONE,
        }
    }

    fn negated(self) -> Self {
        Self {
            billionths: -self.billionths,
        }
    }

    fn as_integer(self) -> Option<i64> {
        (self.billionths % ONE == 0).then(|| i64::try_from(self.billionths / ONE).ok())?
    }

    fn parse(written: &str) -> Option<Self> {
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

const ONE: i128 = 1_000_000_000;

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

static QUANTITY: Type = Type::new_unspecified_type("kubernetes.Quantity");
