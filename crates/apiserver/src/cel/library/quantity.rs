//! `quantity`: `1.5Gi`, `100m`, `3e2`.

use std::cmp::Ordering;

use cel::{
    DeclarationError, Env, ExecutionError,
    common::{
        types::{CelDouble, INT_TYPE, STRING_TYPE, Type},
        value::CowVal,
    },
};

use super::{Args, Native, fails, own, truth, whole};
use crate::quantity::{ONE, Quantity, RULE};

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
        parsed.map(own).ok_or_else(|| fails("quantity", RULE))
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

static QUANTITY: Type = Type::new_unspecified_type("kubernetes.Quantity");
