//! Objects that come as protobuf, which is what kubectl and typed Go clients prefer.
//!
//! A body is four magic bytes and an envelope, which says of what version and kind its content is. The content is read by
//! [`table`] into the JSON that the client would have sent, so that nothing behind this module knows the difference. A field that
//! no table has is refused, since leaving it out would lose what somebody wrote. Answers are always JSON, which these clients
//! accept beside protobuf.
//!
//! ```text
//!  "k8s\0"  envelope  1 type     1 apiVersion  "v1"
//!                                2 kind        "Namespace"
//!                     2 content  1 metadata    1 name  "shop"    ─►  {"apiVersion": "v1", "kind": "Namespace",
//!                                2 spec                               "metadata": {"name": "shop"}}
//! ```

use serde_json::{Map, Value};
use thiserror::Error;

mod decode;
mod table;
mod wire;

use decode::{bytes_of, text};
use wire::{Reader, WireError};

/// The media type of such bodies.
pub(crate) const MEDIA: &str = "application/vnd.kubernetes.protobuf";

/// Why bytes are no object.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum ProtobufError {
    #[error("the body does not begin with the bytes \"k8s\\0\", as protobuf objects do")]
    NoMagic,
    #[error("the kind {kind} of version {version} is not read from protobuf; send it as application/json")]
    UnknownKind { version: String, kind: String },
    #[error("the protobuf message {message} cannot be read: {why}")]
    Broken { message: String, why: WireError },
    #[error(
        "the protobuf message {message} has a field {field}, which this server does not know; send it as application/json"
    )]
    UnknownField { message: String, field: u32 },
    #[error("field {field} of the protobuf message {message} is not {wanted}")]
    Mismatch {
        message: String,
        field: u32,
        wanted: &'static str,
    },
    #[error("the content of the protobuf body is encoded as {0:?}; only plain protobuf is read")]
    Encoded(String),
}

/// The object that a body holds.
pub(crate) fn object(body: &[u8]) -> Result<Value, ProtobufError> {
    let envelope = Envelope::read(body.strip_prefix(MAGIC).ok_or(ProtobufError::NoMagic)?)?;
    let Envelope { version, kind, content } = envelope;
    // Options have the version of what they are used on.
    let of = if OPTIONS.contains(&kind) { "meta/v1" } else { version };
    let name = format!("{of}.{kind}");
    if table::message(&name).is_none() || of == "meta/v1" && !OPTIONS.contains(&kind) {
        return Err(ProtobufError::UnknownKind {
            version: version.to_owned(),
            kind: kind.to_owned(),
        });
    }
    let mut object = Map::new();
    object.insert("apiVersion".into(), version.into());
    object.insert("kind".into(), kind.into());
    decode::message(&name, content, &mut object)?;
    Ok(Value::Object(object))
}

#[derive(Debug, Default)]
struct Envelope<'a> {
    version: &'a str,
    kind: &'a str,
    content: &'a [u8],
}

impl<'a> Envelope<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, ProtobufError> {
        let mut envelope = Self::default();
        let mut reader = Reader::new(bytes);
        while let Some((field, payload)) = reader.next().map_err(|why| broken(ENVELOPE, why))? {
            match field {
                1 => envelope.read_type(bytes_of(ENVELOPE, field, payload)?)?,
                2 => envelope.content = bytes_of(ENVELOPE, field, payload)?,
                3 | 4 => match text(ENVELOPE, field, payload)? {
                    "" | MEDIA => {}
                    other => return Err(ProtobufError::Encoded(other.to_owned())),
                },
                _ => return Err(unknown(ENVELOPE, field)),
            }
        }
        Ok(envelope)
    }

    fn read_type(&mut self, bytes: &'a [u8]) -> Result<(), ProtobufError> {
        let mut reader = Reader::new(bytes);
        while let Some((field, payload)) = reader.next().map_err(|why| broken(TYPE, why))? {
            match field {
                1 => self.version = text(TYPE, field, payload)?,
                2 => self.kind = text(TYPE, field, payload)?,
                _ => return Err(unknown(TYPE, field)),
            }
        }
        Ok(())
    }
}

fn broken(message: &str, why: WireError) -> ProtobufError {
    ProtobufError::Broken {
        message: message.to_owned(),
        why,
    }
}

fn unknown(message: &str, field: u32) -> ProtobufError {
    ProtobufError::UnknownField {
        message: message.to_owned(),
        field,
    }
}

const MAGIC: &[u8] = b"k8s\0";
const ENVELOPE: &str = "runtime.Unknown";
const TYPE: &str = "runtime.TypeMeta";
/// Kinds that every group has.
const OPTIONS: [&str; 1] = ["DeleteOptions"];

#[cfg(test)]
mod tests;
