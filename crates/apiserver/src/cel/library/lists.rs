//! `isSorted`, `sum`, `min`, `max`, `indexOf`, `lastIndexOf` of lists, and sets.

use std::cmp::Ordering;

use cel::{
    DeclarationError, Env, ExecutionError,
    common::{
        types::{CelList, DYN_TYPE, LIST_TYPE},
        value::{CowVal, Val},
    },
};

use super::{fails, no_overload, truth, whole};

pub(super) fn extend(env: &mut Env) -> Result<(), DeclarationError> {
    env.add_member_overload("isSorted", "list_is_sorted", LIST_TYPE, vec![], |args| {
        let items = items(&args, 0)?;
        for pair in items.windows(2) {
            if compare(pair[0].as_ref(), pair[1].as_ref())? == Ordering::Greater {
                return Ok(truth(false));
            }
        }
        Ok(truth(true))
    })?;
    env.add_member_overload("sum", "list_sum", LIST_TYPE, vec![], |args| {
        let items = items(&args, 0)?;
        let Some((first, rest)) = items.split_first() else {
            return Ok(whole(0));
        };
        let mut sum = first.clone_as_boxed();
        for item in rest {
            sum = sum
                .as_adder()
                .ok_or_else(|| no_overload("sum"))?
                .add(item.as_ref())?
                .into_owned();
        }
        Ok(CowVal::Owned(sum))
    })?;
    env.add_member_overload("min", "list_min", LIST_TYPE, vec![], |args| {
        extreme(&args, "min", Ordering::Less)
    })?;
    env.add_member_overload("max", "list_max", LIST_TYPE, vec![], |args| {
        extreme(&args, "max", Ordering::Greater)
    })?;
    env.add_member_overload("indexOf", "list_index_of", LIST_TYPE, vec![DYN_TYPE], |args| {
        let found = items(&args, 0)?.iter().position(|item| item.equals(args[1].as_ref()));
        Ok(whole(index(found)))
    })?;
    env.add_member_overload("lastIndexOf", "list_last_index_of", LIST_TYPE, vec![DYN_TYPE], |args| {
        let found = items(&args, 0)?.iter().rposition(|item| item.equals(args[1].as_ref()));
        Ok(whole(index(found)))
    })?;
    let pair = || vec![LIST_TYPE, LIST_TYPE];
    env.add_overload("sets.contains", "list_sets_contains", pair(), |args| {
        Ok(truth(contains(items(&args, 0)?, items(&args, 1)?)))
    })?;
    env.add_overload("sets.equivalent", "list_sets_equivalent", pair(), |args| {
        let (one, two) = (items(&args, 0)?, items(&args, 1)?);
        Ok(truth(contains(one, two) && contains(two, one)))
    })?;
    env.add_overload("sets.intersects", "list_sets_intersects", pair(), |args| {
        let (one, two) = (items(&args, 0)?, items(&args, 1)?);
        Ok(truth(
            one.iter()
                .any(|item| two.iter().any(|other| item.equals(other.as_ref()))),
        ))
    })
}

type Items<'a, 'v> = &'a [Box<dyn Val + 'v>];

fn items<'a, 'v>(args: &'a [CowVal<'_, 'v>], n: usize) -> Result<Items<'a, 'v>, ExecutionError> {
    let list = args[n].downcast_ref::<CelList<'v>>();
    list.map(CelList::inner).ok_or_else(|| no_overload("list"))
}

fn compare(one: &dyn Val, two: &dyn Val) -> Result<Ordering, ExecutionError> {
    one.as_comparer().ok_or_else(|| no_overload("_<_"))?.compare(two)
}

fn extreme<'b, 'v>(args: &[CowVal<'b, 'v>], name: &str, wanted: Ordering) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let mut items = items(args, 0)?.iter();
    let mut best = items
        .next()
        .ok_or_else(|| fails(name, format!("{name} called on empty list")))?;
    for item in items {
        if compare(item.as_ref(), best.as_ref())? == wanted {
            best = item;
        }
    }
    Ok(CowVal::Owned(best.clone_as_boxed()))
}

fn contains(all: Items<'_, '_>, some: Items<'_, '_>) -> bool {
    some.iter()
        .all(|item| all.iter().any(|other| other.equals(item.as_ref())))
}

fn index(found: Option<usize>) -> i64 {
    found.and_then(|index| i64::try_from(index).ok()).unwrap_or(-1)
}
