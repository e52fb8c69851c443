//! Which fields the messages have.
//!
//! Protobuf bytes hold numbers where JSON has names. The tables of `messages/` give both for everything that is served and may
//! come as protobuf, one file a group. A message is its name and its fields, `number:name:type`; lines that start with a blank go
//! on with the message before.
//!
//! ```text
//! ServicePort 1:name:string 2:protocol:string 3:port!:int 4:targetPort:intorstring
//! ```
//!
//! The encoder writes a field that is no pointer even when nobody has set it. So a field that is zero or empty is as good as
//! absent, unless its name ends in `!`: those are pointers, or shown in JSON whatever they are. A name `-` puts the fields of a
//! message among those of the message around it. A type may be a list (`[]string`), a map with strings as keys (`{}string`), a
//! list that is a message of its own (`()[]string`), or another message: of the same file, or with its version before the dot.

use std::{collections::BTreeMap, sync::LazyLock};

/// What a field holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Type {
    String,
    Int,
    Bool,
    Bytes,
    /// Seconds and nanoseconds; shown to the second.
    Time,
    /// The same, shown to the microsecond.
    MicroTime,
    Quantity,
    IntOrString,
    /// JSON in bytes: who owns which fields.
    Fields,
    List(Box<Self>),
    /// A message with a list as its one field.
    Items(Box<Self>),
    Map(Box<Self>),
    /// Its full name, `v1.Service`.
    Message(String),
}

#[derive(Clone, Debug)]
pub(super) struct Field {
    pub number: u32,
    pub name: &'static str,
    /// Is shown even when it is zero or empty.
    pub kept: bool,
    pub holds: Type,
}

impl Field {
    pub(super) fn is_inline(&self) -> bool {
        self.name == "-"
    }
}

#[derive(Debug)]
pub(super) struct Message {
    fields: Vec<Field>,
}

impl Message {
    pub(super) fn field(&self, number: u32) -> Option<&Field> {
        self.fields.iter().find(|field| field.number == number)
    }
}

/// A message by its full name: `v1.Service`.
pub(super) fn message(name: &str) -> Option<&'static Message> {
    TABLES.get(name)
}

static TABLES: LazyLock<BTreeMap<String, Message>> = LazyLock::new(|| {
    let mut messages = BTreeMap::new();
    for (version, text) in FILES {
        let mut last = None;
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let mut words = line.split_whitespace();
            if !line.starts_with(' ') {
                last = words.next();
            }
            let name = last.expect("a table begins with a message");
            let message: &mut Message = messages
                .entry(format!("{version}.{name}"))
                .or_insert_with(|| Message { fields: Vec::new() });
            message.fields.extend(words.map(|word| field(version, word)));
        }
    }
    messages
});

fn field(version: &str, word: &'static str) -> Field {
    let mut parts = word.splitn(3, ':');
    let mut next = || parts.next().expect("a field has a number, a name and a type");
    let (number, name, holds) = (next(), next(), next());
    Field {
        number: number.parse().expect("a field's number is a number"),
        name: name.trim_end_matches('!'),
        kept: name.ends_with('!'),
        holds: type_of(version, holds),
    }
}

fn type_of(version: &str, word: &str) -> Type {
    let nested = |rest| Box::new(type_of(version, rest));
    match word {
        "string" => Type::String,
        "int" => Type::Int,
        "bool" => Type::Bool,
        "bytes" => Type::Bytes,
        "time" => Type::Time,
        "microtime" => Type::MicroTime,
        "quantity" => Type::Quantity,
        "intorstring" => Type::IntOrString,
        "fields" => Type::Fields,
        _ => {
            if let Some(element) = word.strip_prefix("()[]") {
                Type::Items(nested(element))
            } else if let Some(element) = word.strip_prefix("[]") {
                Type::List(nested(element))
            } else if let Some(value) = word.strip_prefix("{}") {
                Type::Map(nested(value))
            } else if word.contains('.') {
                Type::Message(word.to_owned())
            } else {
                Type::Message(format!("{version}.{word}"))
            }
        }
    }
}

/// The tables, by the version that objects name.
const FILES: [(&str, &str); 13] = [
    (
        "admissionregistration.k8s.io/v1",
        include_str!("messages/admissionregistration.txt"),
    ),
    ("apps/v1", include_str!("messages/apps.txt")),
    ("authentication.k8s.io/v1", include_str!("messages/authentication.txt")),
    ("authorization.k8s.io/v1", include_str!("messages/authorization.txt")),
    ("autoscaling/v1", include_str!("messages/autoscaling.txt")),
    ("coordination.k8s.io/v1", include_str!("messages/coordination.txt")),
    ("discovery.k8s.io/v1", include_str!("messages/discovery.txt")),
    ("events.k8s.io/v1", include_str!("messages/events.txt")),
    ("meta/v1", include_str!("messages/meta.txt")),
    ("networking.k8s.io/v1", include_str!("messages/networking.txt")),
    ("policy/v1", include_str!("messages/policy.txt")),
    ("rbac.authorization.k8s.io/v1", include_str!("messages/rbac.txt")),
    ("v1", include_str!("messages/core.txt")),
];

#[cfg(test)]
mod tests {
    use super::*;

    /// How deep messages go, which is what bounds the reader; a message in itself would overflow here.
    fn depth(holds: &Type) -> usize {
        match holds {
            Type::List(element) | Type::Items(element) | Type::Map(element) => depth(element),
            Type::Message(name) => {
                let message = message(name).unwrap_or_else(|| panic!("no message {name}"));
                1 + message
                    .fields
                    .iter()
                    .map(|field| depth(&field.holds))
                    .max()
                    .unwrap_or(0)
            }
            _ => 0,
        }
    }

    #[test]
    fn every_message_is_there_and_none_is_in_itself() {
        for name in TABLES.keys() {
            assert!(depth(&Type::Message(name.clone())) < 16, "{name}");
        }
    }

    #[test]
    fn numbers_are_given_once() {
        for (name, message) in TABLES.iter() {
            let mut numbers: Vec<u32> = message.fields.iter().map(|field| field.number).collect();
            numbers.dedup();
            assert!(numbers.is_sorted() && numbers.len() == message.fields.len(), "{name}");
        }
    }
}
