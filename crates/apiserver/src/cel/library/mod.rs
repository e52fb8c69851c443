//! The functions that Kubernetes adds to CEL.
//!
//! Values of our own (an address, a quantity, a moment) are [`Own`]: a [`Native`] says its type, and what compares and adds.

use std::{any::Any, cmp::Ordering, fmt};

use cel::{
    DeclarationError, Env, ExecutionError,
    common::{
        traits::{Adder, Comparer, Subtractor},
        types::{CelBool, CelInt, CelString, Type},
        value::{CowVal, StaticVal, Val},
    },
    extensions,
};

mod format;
mod lists;
mod net;
mod quantity;
mod regexes;
pub(super) mod time;
mod url;

pub(super) fn extend(env: &mut Env) -> Result<(), DeclarationError> {
    extensions::strings(env)?;
    extensions::lists(env)?;
    extensions::math(env)?;
    for part in [
        lists::extend,
        net::extend,
        quantity::extend,
        regexes::extend,
        time::extend,
        url::extend,
        format::extend,
    ] {
        part(env)?;
    }
    Ok(())
}

/// Whether a function of this name exists, called on something or not.
pub(super) fn is_function(name: &str) -> bool {
    FUNCTIONS.iter().any(|(_, names)| names.contains(&name))
}

/// The kind of a function's result, where it is always the same.
pub(super) fn result(name: &str) -> Option<&'static str> {
    FUNCTIONS
        .iter()
        .find(|(_, names)| names.contains(&name))
        .and_then(|(kind, _)| (!kind.is_empty()).then_some(*kind))
}

/// A value of a type that CEL itself does not have.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Own<T>(pub T);

/// What [`Own`] can do.
pub(crate) trait Native: Clone + fmt::Debug + PartialEq + Send + Sync + 'static {
    const TYPE: &'static Type;

    fn compare(&self, _other: &Self) -> Option<Ordering> {
        None
    }

    fn plus(&self, _other: &dyn Val) -> Option<super::Object> {
        None
    }

    fn minus(&self, _other: &dyn Val) -> Option<super::Object> {
        None
    }
}

impl<T: Native> Val for Own<T> {
    fn get_type(&self) -> &Type {
        T::TYPE
    }

    fn cel_type() -> &'static Type {
        T::TYPE
    }

    fn as_comparer(&self) -> Option<&dyn Comparer> {
        Some(self)
    }

    fn as_adder<'b, 'v>(&'b self) -> Option<&'b (dyn Adder + 'v)>
    where
        Self: 'v,
    {
        Some(self)
    }

    fn as_subtractor<'b, 'v>(&'b self) -> Option<&'b (dyn Subtractor + 'v)>
    where
        Self: 'v,
    {
        Some(self)
    }

    fn equals(&self, other: &dyn Val) -> bool {
        other.downcast_ref::<Self>().is_some_and(|other| other == self)
    }

    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v> {
        Box::new(self.clone())
    }

    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }
}

impl<T: Native> StaticVal for Own<T> {}

impl<T: Native> Comparer for Own<T> {
    fn compare(&self, other: &dyn Val) -> Result<Ordering, ExecutionError> {
        let other = other.downcast_ref::<Self>().and_then(|other| self.0.compare(&other.0));
        other.ok_or_else(|| no_overload("_<_"))
    }
}

impl<T: Native> Adder for Own<T> {
    fn add<'b, 'v>(&'b self, other: &(dyn Val + 'v)) -> Result<CowVal<'b, 'v>, ExecutionError>
    where
        Self: 'v,
    {
        self.0.plus(other).map(CowVal::Owned).ok_or_else(|| no_overload("_+_"))
    }
}

impl<T: Native> Subtractor for Own<T> {
    fn sub<'b, 'v>(&'b self, other: &(dyn Val + 'v)) -> Result<CowVal<'b, 'v>, ExecutionError>
    where
        Self: 'v,
    {
        self.0.minus(other).map(CowVal::Owned).ok_or_else(|| no_overload("_-_"))
    }
}

fn no_overload(name: &str) -> ExecutionError {
    ExecutionError::no_such_overload(name, Vec::new())
}

/// The arguments of one call; the first is what a member function is called on.
struct Args<'a, 'b, 'v>(&'a [CowVal<'b, 'v>]);

impl<'a> Args<'a, '_, '_> {
    fn text(&self, n: usize) -> Result<&'a str, ExecutionError> {
        let text = self.0.get(n).and_then(|arg| arg.downcast_ref::<CelString<'_>>());
        text.map(CelString::inner).ok_or_else(|| no_overload("string"))
    }

    fn int(&self, n: usize) -> Result<i64, ExecutionError> {
        let int = self.0.get(n).and_then(|arg| arg.downcast_ref::<CelInt>());
        int.map(|int| *int.inner()).ok_or_else(|| no_overload("int"))
    }

    fn own<T: Native>(&self, n: usize) -> Result<&'a T, ExecutionError> {
        let own = self.0.get(n).and_then(|arg| arg.downcast_ref::<Own<T>>());
        own.map(|own| &own.0).ok_or_else(|| no_overload(T::TYPE.name()))
    }
}

fn truth<'b, 'v>(truth: bool) -> CowVal<'b, 'v> {
    CowVal::owned(CelBool::from(truth))
}

fn whole<'b, 'v>(number: i64) -> CowVal<'b, 'v> {
    CowVal::owned(CelInt::from(number))
}

fn text<'b, 'v>(text: impl Into<String>) -> CowVal<'b, 'v> {
    CowVal::owned(CelString::from(text.into()))
}

fn own<'b, 'v, T: Native>(value: T) -> CowVal<'b, 'v> {
    CowVal::owned(Own(value))
}

fn fails(function: &str, why: impl Into<String>) -> ExecutionError {
    ExecutionError::function_error(function, why.into())
}

/// Names that stand for types.
pub(super) const TYPES: [&str; 14] = [
    "bool",
    "bytes",
    "double",
    "dyn",
    "int",
    "list",
    "map",
    "null_type",
    "string",
    "type",
    "uint",
    "optional_type",
    "math",
    "optional",
];

/// All functions by the kind of their result; none where it depends.
const FUNCTIONS: [(&str, &[&str]); 6] = [
    (
        "bool",
        &[
            "contains",
            "startsWith",
            "endsWith",
            "matches",
            "bool",
            "isSorted",
            "isURL",
            "isQuantity",
            "isInteger",
            "isGreaterThan",
            "isLessThan",
            "isIP",
            "isCIDR",
            "containsIP",
            "containsCIDR",
            "isUnspecified",
            "isLoopback",
            "isLinkLocalMulticast",
            "isLinkLocalUnicast",
            "isGlobalUnicast",
            "ip.isCanonical",
            "sets.contains",
            "sets.equivalent",
            "sets.intersects",
            "hasValue",
        ],
    ),
    (
        "int",
        &[
            "size",
            "int",
            "indexOf",
            "lastIndexOf",
            "family",
            "prefixLength",
            "sign",
            "asInteger",
            "compareTo",
            "getFullYear",
            "getMonth",
            "getDate",
            "getDayOfMonth",
            "getDayOfWeek",
            "getDayOfYear",
            "getHours",
            "getMinutes",
            "getSeconds",
            "getMilliseconds",
        ],
    ),
    (
        "string",
        &[
            "string",
            "charAt",
            "join",
            "lowerAscii",
            "upperAscii",
            "trim",
            "replace",
            "substring",
            "strings.quote",
            "find",
            "getScheme",
            "getHost",
            "getHostname",
            "getPort",
            "getEscapedPath",
            "format.string",
        ],
    ),
    ("double", &["double", "asApproximateFloat"]),
    ("bytes", &["bytes"]),
    (
        "",
        &[
            "type",
            "dyn",
            "uint",
            "timestamp",
            "duration",
            "split",
            "findAll",
            "sum",
            "min",
            "max",
            "slice",
            "flatten",
            "distinct",
            "reverse",
            "sort",
            "lists.range",
            "url",
            "getQuery",
            "quantity",
            "add",
            "sub",
            "ip",
            "cidr",
            "masked",
            "optional.of",
            "optional.none",
            "optional.ofNonZeroValue",
            "orValue",
            "value",
            "or",
            "format",
            "validate",
            "format.named",
            "format.dns1123Label",
            "format.dns1123Subdomain",
            "format.dns1035Label",
            "format.qualifiedName",
            "format.dns1123LabelPrefix",
            "format.dns1123SubdomainPrefix",
            "format.dns1035LabelPrefix",
            "format.labelValue",
            "format.uri",
            "format.uuid",
            "format.byte",
            "format.date",
            "format.datetime",
            "math.greatest",
            "math.least",
            "math.abs",
            "math.ceil",
            "math.floor",
            "math.round",
            "math.sign",
            "math.trunc",
            "math.isNaN",
            "math.isInf",
            "math.isFinite",
            "math.bitAnd",
            "math.bitOr",
            "math.bitXor",
            "math.bitNot",
            "math.bitShiftLeft",
            "math.bitShiftRight",
            "math.sqrt",
            "optMap",
            "optFlatMap",
            "@sortByAssociatedKeys",
            "authorizer",
            "path",
        ],
    ),
];
