//! A message's bytes, made JSON by its table.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::{
    ProtobufError, broken,
    table::{self, Field, Type},
    unknown,
    wire::{Payload, Reader},
};

/// Reads a message into the fields of an object. As protobuf has it, what comes later wins, but messages grow together.
pub(super) fn message(name: &str, bytes: &[u8], into: &mut Map<String, Value>) -> Result<(), ProtobufError> {
    let table = table::message(name).ok_or_else(|| unknown(name, 0))?;
    let mut reader = Reader::new(bytes);
    while let Some((number, payload)) = reader.next().map_err(|why| broken(name, why))? {
        let field = table.field(number).ok_or_else(|| unknown(name, number))?;
        if let (true, Type::Message(inner)) = (field.is_inline(), &field.holds) {
            message(inner, bytes_of(name, number, payload)?, into)?;
            continue;
        }
        let before = into.get_mut(field.name).map(Value::take);
        let value = Place { name, number }.value(&field.holds, payload, before)?;
        if is_shown(field, &value) {
            into.insert(field.name.to_owned(), value);
        } else {
            into.shift_remove(field.name);
        }
    }
    Ok(())
}

/// A field of a message, for what is said of it.
#[derive(Clone, Copy)]
struct Place<'a> {
    name: &'a str,
    number: u32,
}

impl Place<'_> {
    fn value(self, holds: &Type, payload: Payload<'_>, before: Option<Value>) -> Result<Value, ProtobufError> {
        let bytes = || bytes_of(self.name, self.number, payload);
        Ok(match holds {
            Type::String => text(self.name, self.number, payload)?.into(),
            // Negative numbers come as their 64 bits.
            Type::Int => self.count(payload)?.cast_signed().into(),
            Type::Bool => (self.count(payload)? != 0).into(),
            Type::Bytes => BASE64_STANDARD.encode(bytes()?).into(),
            Type::Time => self.time(bytes()?, 0)?,
            Type::MicroTime => self.time(bytes()?, 6)?,
            Type::Quantity => self.quantity(bytes()?)?,
            Type::IntOrString => self.int_or_string(bytes()?)?,
            Type::Fields => self.owned(bytes()?)?,
            Type::List(element) => {
                let mut list = before
                    .filter(Value::is_array)
                    .unwrap_or_else(|| Value::Array(Vec::new()));
                let element = self.value(element, payload, None)?;
                list.as_array_mut().expect("made or kept as a list").push(element);
                list
            }
            Type::Items(element) => {
                let mut list = Value::Array(Vec::new());
                let holds = Type::List(element.clone());
                self.each(bytes()?, |number, payload| match number {
                    1 => {
                        list = self.value(&holds, payload, Some(list.take()))?;
                        Ok(())
                    }
                    _ => Err(unknown(self.name, number)),
                })?;
                list
            }
            Type::Map(holds) => {
                let mut map = before
                    .filter(Value::is_object)
                    .unwrap_or_else(|| Value::Object(Map::new()));
                let (key, value) = self.entry(holds, bytes()?)?;
                map[key] = value;
                map
            }
            Type::Message(name) => {
                let mut map = match before {
                    Some(Value::Object(map)) => map,
                    _ => Map::new(),
                };
                message(name, bytes()?, &mut map)?;
                Value::Object(map)
            }
        })
    }

    /// A map comes as messages of a key and a value; either is left out when it is empty.
    fn entry(self, holds: &Type, bytes: &[u8]) -> Result<(String, Value), ProtobufError> {
        let (mut key, mut value) = (String::new(), None);
        self.each(bytes, |number, payload| {
            match number {
                1 => text(self.name, self.number, payload)?.clone_into(&mut key),
                2 => value = Some(self.value(holds, payload, value.take())?),
                _ => return Err(unknown(self.name, number)),
            }
            Ok(())
        })?;
        let value = match value {
            Some(value) => value,
            None => match holds {
                Type::Int | Type::Bool => self.value(holds, Payload::Number(0), None)?,
                _ => self.value(holds, Payload::Bytes(&[]), None)?,
            },
        };
        Ok((key, value))
    }

    fn time(self, bytes: &[u8], digits: u8) -> Result<Value, ProtobufError> {
        let (mut seconds, mut nanoseconds) = (None, 0);
        self.each(bytes, |number, payload| {
            match number {
                1 => seconds = Some(self.count(payload)?.cast_signed()),
                2 => nanoseconds = self.count(payload)?.cast_signed(),
                _ => return Err(unknown(self.name, number)),
            }
            Ok(())
        })?;
        let Some(seconds) = seconds else { return Ok(Value::Null) };
        let nanoseconds = i32::try_from(nanoseconds).map_err(|_| self.mismatch("a time"))?;
        let time = Timestamp::new(seconds, nanoseconds).map_err(|_| self.mismatch("a time"))?;
        Ok(if digits == 0 {
            time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string().into()
        } else {
            time.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string().into()
        })
    }

    fn quantity(self, bytes: &[u8]) -> Result<Value, ProtobufError> {
        let mut quantity = Value::from("0");
        self.each(bytes, |number, payload| match number {
            1 => {
                quantity = text(self.name, self.number, payload)?.into();
                Ok(())
            }
            _ => Err(unknown(self.name, number)),
        })?;
        Ok(quantity)
    }

    /// Both are always there, and a number says which of them is meant.
    fn int_or_string(self, bytes: &[u8]) -> Result<Value, ProtobufError> {
        let (mut is_string, mut number, mut string) = (false, 0, "");
        self.each(bytes, |field, payload| {
            match field {
                1 => is_string = self.count(payload)? == 1,
                2 => number = self.count(payload)?.cast_signed(),
                3 => string = text(self.name, self.number, payload)?,
                _ => return Err(unknown(self.name, field)),
            }
            Ok(())
        })?;
        Ok(if is_string { string.into() } else { number.into() })
    }

    fn owned(self, bytes: &[u8]) -> Result<Value, ProtobufError> {
        let mut fields = Value::Object(Map::new());
        self.each(bytes, |number, payload| match number {
            1 => {
                let json = bytes_of(self.name, self.number, payload)?;
                fields = serde_json::from_slice(json).map_err(|_| self.mismatch("JSON"))?;
                Ok(())
            }
            _ => Err(unknown(self.name, number)),
        })?;
        Ok(fields)
    }

    fn each<'b>(
        self,
        bytes: &'b [u8],
        mut with: impl FnMut(u32, Payload<'b>) -> Result<(), ProtobufError>,
    ) -> Result<(), ProtobufError> {
        let mut reader = Reader::new(bytes);
        while let Some((number, payload)) = reader.next().map_err(|why| broken(self.name, why))? {
            with(number, payload)?;
        }
        Ok(())
    }

    fn count(self, payload: Payload<'_>) -> Result<u64, ProtobufError> {
        match payload {
            Payload::Number(number) => Ok(number),
            Payload::Bytes(_) => Err(self.mismatch("a number")),
        }
    }

    fn mismatch(self, wanted: &'static str) -> ProtobufError {
        ProtobufError::Mismatch {
            message: self.name.to_owned(),
            field: self.number,
            wanted,
        }
    }
}

/// The encoder writes fields that nobody has set; JSON does not show them.
fn is_shown(field: &Field, value: &Value) -> bool {
    let is_empty = match value {
        Value::Null => return false,
        Value::Bool(value) => !value,
        Value::Number(number) => number.as_i64() == Some(0),
        Value::String(text) => text.is_empty(),
        Value::Array(_) => false,
        Value::Object(map) => map.is_empty(),
    };
    field.kept || !is_empty
}

pub(super) fn bytes_of<'a>(message: &str, field: u32, payload: Payload<'a>) -> Result<&'a [u8], ProtobufError> {
    match payload {
        Payload::Bytes(bytes) => Ok(bytes),
        Payload::Number(_) => Err(ProtobufError::Mismatch {
            message: message.to_owned(),
            field,
            wanted: "bytes",
        }),
    }
}

pub(super) fn text<'a>(message: &str, field: u32, payload: Payload<'a>) -> Result<&'a str, ProtobufError> {
    std::str::from_utf8(bytes_of(message, field, payload)?).map_err(|_| ProtobufError::Mismatch {
        message: message.to_owned(),
        field,
        wanted: "text",
    })
}
