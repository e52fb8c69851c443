//! Named formats: `format.dns1123Label().validate(self)` is an optional list of what is wrong.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use cel::{
    DeclarationError, Env, ExecutionError,
    common::{
        types::{CelOptional, STRING_TYPE, Type},
        value::CowVal,
    },
};

use super::{Args, Native, own};
use crate::{cel::value, kinds::names};

/// One of [`FORMATS`], by its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Format(usize);

impl Native for Format {
    const TYPE: &'static Type = &FORMAT;
}

pub(super) fn extend(env: &mut Env) -> Result<(), DeclarationError> {
    for (function, call) in CALLS {
        env.add_overload(function, function, vec![], call)?;
    }
    env.add_overload("format.named", "format_named", vec![STRING_TYPE], |args| {
        let name = Args(&args).text(0)?;
        let found = FORMATS.iter().position(|(known, _)| *known == name);
        Ok(CowVal::owned(found.map_or_else(CelOptional::none, |n| {
            CelOptional::of(Box::new(super::Own(Format(n))))
        })))
    })?;
    env.add_member_overload(
        "validate",
        "format_validate",
        FORMAT.to_owned(),
        vec![STRING_TYPE],
        |args| {
            let args = Args(&args);
            let (_, check) = FORMATS[args.own::<Format>(0)?.0];
            Ok(CowVal::owned(match check(args.text(1)?) {
                Ok(()) => CelOptional::none(),
                Err(why) => CelOptional::of(value::list(vec![value::text(why)])),
            }))
        },
    )
}

fn numbered<'b, 'v>(n: usize) -> Result<CowVal<'b, 'v>, ExecutionError> {
    Ok(own(Format(n)))
}

type Call = (&'static str, cel::common::functions::Function);

/// The functions that name a format each.
const CALLS: [Call; 13] = [
    ("format.dns1123Label", |_| numbered(0)),
    ("format.dns1123Subdomain", |_| numbered(1)),
    ("format.dns1035Label", |_| numbered(2)),
    ("format.qualifiedName", |_| numbered(3)),
    ("format.dns1123LabelPrefix", |_| numbered(4)),
    ("format.dns1123SubdomainPrefix", |_| numbered(5)),
    ("format.dns1035LabelPrefix", |_| numbered(6)),
    ("format.labelValue", |_| numbered(7)),
    ("format.uri", |_| numbered(8)),
    ("format.uuid", |_| numbered(9)),
    ("format.byte", |_| numbered(10)),
    ("format.date", |_| numbered(11)),
    ("format.datetime", |_| numbered(12)),
];

type Check = fn(&str) -> Result<(), &'static str>;

const FORMATS: [(&str, Check); 13] = [
    ("dns1123Label", |text| when(names::is_dns_label(text), LABEL)),
    ("dns1123Subdomain", |text| {
        when(names::is_dns_subdomain(text), SUBDOMAIN)
    }),
    ("dns1035Label", |text| when(is_dns1035(text), DNS1035)),
    ("qualifiedName", |text| when(names::is_qualified(text), QUALIFIED)),
    ("dns1123LabelPrefix", |text| {
        when(names::is_dns_label(&whole(text)), LABEL)
    }),
    ("dns1123SubdomainPrefix", |text| {
        when(names::is_dns_subdomain(&whole(text)), SUBDOMAIN)
    }),
    ("dns1035LabelPrefix", |text| when(is_dns1035(&whole(text)), DNS1035)),
    ("labelValue", |text| when(names::is_label_text(text), VALUE)),
    ("uri", |text| {
        when(text.contains(':') || text.starts_with('/'), "invalid URI for request")
    }),
    ("uuid", |text| {
        when(uuid::Uuid::try_parse(text).is_ok(), "does not match the UUID format")
    }),
    ("byte", |text| {
        when(BASE64_STANDARD.decode(text).is_ok(), "invalid base64")
    }),
    ("date", |text| {
        when(text.parse::<jiff::civil::Date>().is_ok(), "invalid date")
    }),
    ("datetime", |text| {
        when(text.parse::<jiff::Timestamp>().is_ok(), "invalid datetime")
    }),
];

fn when(fits: bool, why: &'static str) -> Result<(), &'static str> {
    if fits { Ok(()) } else { Err(why) }
}

/// A prefix may end in a dash that what is appended makes good.
fn whole(prefix: &str) -> String {
    prefix
        .strip_suffix('-')
        .map_or_else(|| prefix.to_owned(), |start| format!("{start}a"))
}

fn is_dns1035(text: &str) -> bool {
    names::is_dns_label(text) && text.starts_with(|c: char| c.is_ascii_lowercase())
}

const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end \
                     with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is \
                     '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must \
                         start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is \
                         '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const DNS1035: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic \
                       character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for \
                       validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
const QUALIFIED: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an \
                         alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is \
                         '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start \
                     and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for \
                     validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";

static FORMAT: Type = Type::new_unspecified_type("kubernetes.NamedFormat");
