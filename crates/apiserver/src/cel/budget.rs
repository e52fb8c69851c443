//! How much an evaluation may do.
//!
//! Everything in CEL ends, but nested loops over long lists end late. [`meter`] rewrites an expression so that each loop first
//! pays one unit for every element that it is going to visit, times the size of its body. A [`Budget`] is what may be paid; it is
//! shared by all rules of one object, so that many rules are no way around it.

use std::{
    any::Any,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use cel::{
    DeclarationError, Env, ExecutionError,
    common::{
        ast::{CallExpr, EntryExpr, Expr, IdedExpr, LiteralValue},
        types::{CelInt, DYN_TYPE, INT_TYPE, Type},
        value::{CowVal, StaticVal, Val},
    },
};

/// Units that are left. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Budget(Arc<AtomicU64>);

impl Budget {
    /// What all the rules of one object may cost together.
    pub(crate) fn of_object() -> Self {
        Self::of(OBJECT)
    }

    pub(crate) fn of(units: u64) -> Self {
        Self(Arc::new(AtomicU64::new(units)))
    }

    fn pay(&self, units: u64) -> bool {
        self.0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(units))
            .is_ok()
    }
}

/// Makes every loop pay. Returns the size of the expression.
pub(crate) fn meter(node: &mut IdedExpr) -> i64 {
    1 + match &mut node.expr {
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) => 0,
        Expr::Select(select) => meter(&mut select.operand),
        Expr::Call(call) => {
            let target: i64 = call.target.iter_mut().map(|target| meter(target)).sum();
            target + call.args.iter_mut().map(meter).sum::<i64>()
        }
        Expr::List(list) => list.elements.iter_mut().map(meter).sum(),
        Expr::Map(map) => map.entries.iter_mut().map(|entry| meter_entry(&mut entry.expr)).sum(),
        Expr::Struct(one) => one.entries.iter_mut().map(|entry| meter_entry(&mut entry.expr)).sum(),
        Expr::Comprehension(each) => {
            let body = meter(&mut each.loop_cond) + meter(&mut each.loop_step);
            let around = meter(&mut each.iter_range) + meter(&mut each.accu_init) + meter(&mut each.result);
            each.iter_range = paid(std::mem::take(&mut each.iter_range), body);
            body + around
        }
    }
}

fn meter_entry(entry: &mut EntryExpr) -> i64 {
    match entry {
        EntryExpr::StructField(field) => meter(&mut field.value),
        EntryExpr::MapEntry(entry) => meter(&mut entry.key) + meter(&mut entry.value),
    }
}

/// `@pay(@budget, body, range)`, which is `range`.
fn paid(range: IdedExpr, body: i64) -> IdedExpr {
    let id = range.id;
    let node = |expr| IdedExpr { id, expr };
    let args = vec![
        node(Expr::Ident(VARIABLE.into())),
        node(Expr::Literal(LiteralValue::Int(CelInt::from(body)))),
        range,
    ];
    node(Expr::Call(CallExpr {
        func_name: PAY.into(),
        target: None,
        args,
    }))
}

fn pay<'b, 'v>(mut args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let range = args.pop().expect("declared with three arguments");
    let body = args
        .pop()
        .and_then(|size| size.downcast_ref::<CelInt>().map(|size| *size.inner()));
    let elements = range.as_sizer().map_or(1, |sizer| *sizer.size().inner());
    let units = elements.saturating_mul(body.unwrap_or(1)).max(0).unsigned_abs();
    let budget = args.pop().expect("declared with three arguments");
    if budget.downcast_ref::<Budget>().is_some_and(|budget| budget.pay(units)) {
        Ok(range)
    } else {
        Err(ExecutionError::function_error(PAY, EXCEEDED))
    }
}

pub(crate) fn extend(env: &mut Env) -> Result<(), DeclarationError> {
    env.add_overload(PAY, "pay", vec![BUDGET.to_owned(), INT_TYPE, DYN_TYPE], pay)
}

impl Val for Budget {
    fn get_type(&self) -> &Type {
        &BUDGET
    }

    fn cel_type() -> &'static Type {
        &BUDGET
    }

    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v> {
        Box::new(self.clone())
    }

    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }
}

impl StaticVal for Budget {}

static BUDGET: Type = Type::new_unspecified_type("@budget");

/// No expression can spell these.
pub(crate) const VARIABLE: &str = "@budget";
const PAY: &str = "@pay";

/// The error when nothing is left.
pub(crate) const EXCEEDED: &str = "operation cancelled: actual cost limit exceeded";

/// About a second of work.
const OBJECT: u64 = 10_000_000;
