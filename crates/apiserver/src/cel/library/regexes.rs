//! `find` and `findAll`.

use cel::{
    DeclarationError, Env, ExecutionError,
    common::{
        types::{INT_TYPE, STRING_TYPE},
        value::CowVal,
    },
};
use regex::{Regex, RegexBuilder};

use super::{Args, fails, text};
use crate::cel::value;

pub(super) fn extend(env: &mut Env) -> Result<(), DeclarationError> {
    env.add_member_overload("find", "string_find_string", STRING_TYPE, vec![STRING_TYPE], |args| {
        let args = Args(&args);
        let found = compile(args.text(1)?)?
            .find(args.text(0)?)
            .map_or("", |found| found.as_str());
        Ok(text(found))
    })?;
    env.add_member_overload(
        "findAll",
        "string_find_all_string",
        STRING_TYPE,
        vec![STRING_TYPE],
        |args| find_all(&Args(&args), usize::MAX),
    )?;
    env.add_member_overload(
        "findAll",
        "string_find_all_string_int",
        STRING_TYPE,
        vec![STRING_TYPE, INT_TYPE],
        |args| {
            let args = Args(&args);
            find_all(&args, usize::try_from(args.int(2)?).unwrap_or(usize::MAX))
        },
    )
}

fn find_all<'b, 'v>(args: &Args<'_, '_, '_>, limit: usize) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let pattern = compile(args.text(1)?)?;
    let found = pattern.find_iter(args.text(0)?).take(limit);
    Ok(CowVal::Owned(value::list(
        found.map(|found| value::text(found.as_str())).collect(),
    )))
}

fn compile(pattern: &str) -> Result<Regex, ExecutionError> {
    RegexBuilder::new(pattern)
        .size_limit(1 << 20)
        .build()
        .map_err(|why| fails("find", format!("Illegal regex: {why}")))
}
