//! Reading request bodies.

use axum::body::Body;
use bytes::Bytes;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde_json::Value;

use super::protobuf::{self, ProtobufError};
use crate::{patch::Patch, rest::Change, status::Status};

/// The media types that bodies come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Media {
    Json,
    Yaml,
    Protobuf,
}

pub(crate) async fn read(body: Body) -> Result<Bytes, Status> {
    match Limited::new(body, LIMIT).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Status::too_large(LIMIT)),
        Err(error) => Err(Status::bad_request(format!("cannot read the request's body: {error}"))),
    }
}

/// An object, of the kind that the endpoint expects.
pub(crate) fn object(bytes: &[u8], content_type: &str, kind: &str) -> Result<Value, Status> {
    let media = match essence(content_type) {
        "" | "application/json" => Media::Json,
        "application/yaml" | "text/yaml" => Media::Yaml,
        protobuf::MEDIA => Media::Protobuf,
        _ => return Err(Status::unsupported_media_type()),
    };
    if bytes.is_empty() {
        return Err(Status::bad_request(format!(
            "the object provided is unrecognized (must be of type {kind}): couldn't get version/kind; json parse error: \
             unexpected end of JSON input (<empty>)"
        )));
    }
    parse(bytes, media)
}

/// The refusal of an object that does not say its kind: with the whole body, and how it starts.
pub(crate) fn kindless(bytes: &[u8], kind: &str) -> Status {
    let text = String::from_utf8_lossy(bytes);
    let start: String = text.chars().take(SUMMARY).collect();
    let more = if text.chars().count() > SUMMARY { " ..." } else { "" };
    Status::bad_request(format!(
        "the object provided is unrecognized (must be of type {kind}): Object 'Kind' is missing in '{text}' ({start}{more})"
    ))
}

/// A patch, by its media type.
pub(crate) fn patch(bytes: &[u8], content_type: &str, force: bool) -> Result<Change, Status> {
    let json = || parse(bytes, Media::Json);
    match essence(content_type) {
        "application/merge-patch+json" => Ok(Change::Patch(Patch::Merge(fields(json()?)?))),
        "application/strategic-merge-patch+json" => Ok(Change::Patch(Patch::Strategic(fields(json()?)?))),
        "application/json-patch+json" => {
            let patch = json()?;
            if !patch.is_array() {
                return Err(undecodable(&patch, "[]handlers.jsonPatchOp"));
            }
            // An operation that there is none of does not fit any object.
            let patch = serde_json::from_value(patch).map_err(|_| Status::unprocessable())?;
            Ok(Change::Patch(Patch::Json(patch)))
        }
        "application/apply-patch+yaml" => {
            // Clients send JSON under this name too, which is much faster to read.
            let config = json().or_else(|_| parse(bytes, Media::Yaml))?;
            Ok(Change::Apply { config, force })
        }
        _ => Err(Status::unsupported_media_type()),
    }
}

/// A merge patch must be an object.
fn fields(patch: Value) -> Result<Value, Status> {
    if patch.is_object() {
        return Ok(patch);
    }
    Err(undecodable(&patch, "map[string]interface {}"))
}

fn undecodable(patch: &Value, wanted: &str) -> Status {
    let found = match patch {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    Status::bad_request(format!(
        "error decoding patch: json: cannot unmarshal {found} into Go value of type {wanted}"
    ))
}

fn essence(content_type: &str) -> &str {
    content_type.split(';').next().unwrap_or_default().trim()
}

fn parse(bytes: &[u8], media: Media) -> Result<Value, Status> {
    match media {
        Media::Json => serde_json::from_slice(bytes)
            .map_err(|error| Status::bad_request(format!("error decoding the request's body: {error}"))),
        Media::Yaml => serde_saphyr::from_slice(bytes)
            .map_err(|error| Status::bad_request(format!("error converting YAML to JSON: {error}"))),
        Media::Protobuf => protobuf::object(bytes).map_err(|error| match error {
            ProtobufError::UnknownKind { .. } => Status::unread_kind(error.to_string()),
            _ => Status::bad_request(error.to_string()),
        }),
    }
}

/// How much of a body a refusal repeats as its start, in characters.
const SUMMARY: usize = 30;

/// The largest body: that of the real server.
pub(crate) const LIMIT: usize = 3 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(bytes: &[u8], content_type: &str) -> Status {
        patch(bytes, content_type, false).unwrap_err()
    }

    #[test]
    fn a_patch_of_the_wrong_shape_is_a_bad_request() {
        let status = refused(b"[1]", "application/merge-patch+json");
        assert_eq!(status.code, 400);
        assert!(
            status
                .message
                .ends_with("cannot unmarshal array into Go value of type map[string]interface {}")
        );
        let status = refused(b"{}", "application/json-patch+json");
        assert_eq!(status.code, 400);
        assert!(
            status
                .message
                .ends_with("cannot unmarshal object into Go value of type []handlers.jsonPatchOp")
        );
    }

    #[test]
    fn an_unknown_operation_does_not_fit_the_object() {
        let status = refused(br#"[{"op": "frob", "path": "/a"}]"#, "application/json-patch+json");
        assert_eq!((status.code, status.reason), (422, "Invalid"));
    }
}
