//! Reading request bodies.

use axum::body::Body;
use bytes::Bytes;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde_json::Value;

use super::protobuf::{self, ProtobufError};
use crate::{gotext, json_syntax, kinds::Kind, patch::Patch, rest::Change, status::Status};

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
pub(crate) fn object(bytes: &[u8], content_type: &str, kind: &Kind) -> Result<Value, Status> {
    let media = match essence(content_type) {
        "" | "application/json" => Media::Json,
        "application/yaml" | "text/yaml" => Media::Yaml,
        protobuf::MEDIA => Media::Protobuf,
        _ if kind.is_custom() => return Err(Status::unknown_format(&["application/json", "application/yaml"])),
        _ => {
            return Err(Status::unknown_format(&[
                "application/json",
                "application/yaml",
                protobuf::MEDIA,
            ]));
        }
    };
    typed(bytes, media, &kind.kind)
}

/// The options of a deletion, or what is posted to a subresource: always built in, whatever kind they are about.
pub(crate) fn options(bytes: &[u8], content_type: &str, kind: &str) -> Result<Value, Status> {
    match essence(content_type) {
        "" | "application/json" => typed(bytes, Media::Json, kind),
        "application/yaml" | "text/yaml" => typed(bytes, Media::Yaml, kind),
        protobuf::MEDIA => typed(bytes, Media::Protobuf, kind),
        _ => Err(Status::unknown_format(&[
            "application/json",
            "application/yaml",
            protobuf::MEDIA,
        ])),
    }
}

fn typed(bytes: &[u8], media: Media, kind: &str) -> Result<Value, Status> {
    let unrecognized = |why: &str| {
        let start = summary(bytes);
        Status::bad_request(format!(
            "the object provided is unrecognized (must be of type {kind}): {why} ({start})"
        ))
    };
    let untyped = |why: String| unrecognized(&format!("couldn't get version/kind; json parse error: {why}"));
    let object = match media {
        Media::Json => json(bytes).map_err(untyped)?,
        // An empty text is YAML, of nothing.
        Media::Yaml if bytes.is_empty() => return Err(untyped("unexpected end of JSON input".into())),
        Media::Yaml => serde_saphyr::from_slice(bytes).map_err(|error| unrecognized(&format!("yaml: {error}")))?,
        Media::Protobuf => protobuf::object(bytes).map_err(|error| match error {
            ProtobufError::UnknownKind { .. } => Status::unread_kind(error.to_string()),
            _ => Status::bad_request(error.to_string()),
        })?,
    };
    if !object.is_object() {
        let given = gotext::json_kind(&object);
        return Err(untyped(format!(
            "json: cannot unmarshal {given} into Go value of type {TYPE_META}"
        )));
    }
    for field in ["apiVersion", "kind"] {
        if let Some(other) = object.get(field).filter(|value| !value.is_string() && !value.is_null()) {
            let given = gotext::json_kind(other);
            return Err(untyped(format!(
                "json: cannot unmarshal {given} into Go struct field .{field} of type string"
            )));
        }
    }
    Ok(object)
}

/// The refusal of an object that does not say its kind: with the whole body, and how it starts.
pub(crate) fn kindless(bytes: &[u8], kind: &str) -> Status {
    let (text, start) = (String::from_utf8_lossy(bytes), summary(bytes));
    Status::bad_request(format!(
        "the object provided is unrecognized (must be of type {kind}): Object 'Kind' is missing in '{text}' ({start})"
    ))
}

/// How a body starts: as text if it may be JSON, else in hexadecimal digits.
fn summary(bytes: &[u8]) -> String {
    let start = &bytes[..bytes.len().min(SUMMARY)];
    let more = if bytes.len() > SUMMARY { " ..." } else { "" };
    match bytes.first() {
        None => "<empty>".to_owned(),
        Some(b'{') => format!("{}{more}", String::from_utf8_lossy(start)),
        Some(_) => {
            let digits: String = start.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("{digits}{more}")
        }
    }
}

/// A patch, by its media type.
pub(crate) fn patch(bytes: &[u8], content_type: &str, force: bool, kind: &Kind) -> Result<Change, Status> {
    let undecodable = |why: String| Status::bad_request(format!("error decoding patch: {why}"));
    match essence(content_type) {
        "application/merge-patch+json" => {
            let patch = json(bytes).and_then(fields).map_err(undecodable)?;
            Ok(Change::Patch(Patch::Merge(patch)))
        }
        // These messages come without the words before.
        "application/strategic-merge-patch+json" if !kind.is_custom() => {
            let patch = json(bytes).and_then(fields).map_err(Status::bad_request)?;
            Ok(Change::Patch(Patch::Strategic(patch)))
        }
        "application/json-patch+json" => {
            let patch = json(bytes).and_then(operations).map_err(undecodable)?;
            if patch.len() > MAX_OPERATIONS {
                return Err(Status::too_many_operations(patch.len(), MAX_OPERATIONS));
            }
            // An operation that there is none of does not fit any object.
            let patch = serde_json::from_value(patch.into()).map_err(|_| Status::unprocessable())?;
            Ok(Change::Patch(Patch::Json(patch)))
        }
        "application/apply-patch+yaml" => configuration(bytes).map(|config| Change::Apply { config, force }),
        _ if kind.is_custom() => Err(Status::unknown_format(&[
            "application/json-patch+json",
            "application/merge-patch+json",
            "application/apply-patch+yaml",
        ])),
        _ => Err(Status::unsupported_media_type()),
    }
}

/// An applied configuration. Clients send JSON under the name of YAML too, which is much faster to read.
fn configuration(bytes: &[u8]) -> Result<Value, Status> {
    let undecodable = |why: String| Status::bad_request(format!("error decoding YAML: {why}"));
    let config: Value = serde_json::from_slice(bytes)
        .or_else(|_| serde_saphyr::from_slice(bytes))
        .map_err(|error: serde_saphyr::Error| undecodable(format!("error converting YAML to JSON: yaml: {error}")))?;
    if config.is_null() {
        // Nothing was written, which states nothing.
        return Ok(Value::Object(serde_json::Map::new()));
    }
    fields(config).map_err(|why| undecodable(format!("error unmarshaling JSON: while decoding JSON: {why}")))
}

/// A merge patch must be an object.
fn fields(patch: Value) -> Result<Value, String> {
    if patch.is_object() {
        return Ok(patch);
    }
    let given = gotext::json_kind(&patch);
    Err(format!(
        "json: cannot unmarshal {given} into Go value of type map[string]interface {{}}"
    ))
}

/// A JSON patch must be a list of objects whose names and paths are texts.
fn operations(patch: Value) -> Result<Vec<Value>, String> {
    let of_type = |value: &Value, wanted: &str| {
        let given = gotext::json_kind(value);
        format!("json: cannot unmarshal {given} into Go {wanted}")
    };
    let Value::Array(operations) = patch else {
        return Err(of_type(&patch, "value of type []handlers.jsonPatchOp"));
    };
    for operation in &operations {
        if !operation.is_object() {
            return Err(of_type(operation, "value of type handlers.jsonPatchOp"));
        }
        for field in ["op", "path", "from"] {
            if let Some(other) = operation.get(field).filter(|value| !value.is_string()) {
                return Err(of_type(
                    other,
                    &format!("struct field jsonPatchOp.{field} of type string"),
                ));
            }
        }
    }
    Ok(operations)
}

fn json(bytes: &[u8]) -> Result<Value, String> {
    serde_json::from_slice(bytes).map_err(|error| json_syntax::complaint(bytes).unwrap_or_else(|| error.to_string()))
}

fn essence(content_type: &str) -> &str {
    content_type.split(';').next().unwrap_or_default().trim()
}

/// How much of a body a refusal repeats as its start, in bytes.
const SUMMARY: usize = 30;
/// The longest JSON patch.
const MAX_OPERATIONS: usize = 10_000;
/// What the real server reads the kind of an object with.
const TYPE_META: &str = "struct { APIVersion string \"json:\\\"apiVersion,omitempty\\\"\"; Kind string \
    \"json:\\\"kind,omitempty\\\"\" }";

/// The largest body: that of the real server.
pub(crate) const LIMIT: usize = 3 << 20;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;

    fn maps() -> Arc<Kind> {
        let (registry, _) = crate::kinds::builtin::registry();
        Arc::clone(registry.find("", "v1", "configmaps").unwrap())
    }

    fn refused(bytes: &[u8], content_type: &str) -> Status {
        patch(bytes, content_type, false, &maps()).unwrap_err()
    }

    #[test]
    fn a_patch_that_cannot_be_read_is_a_bad_request() {
        for (media, bytes, message) in [
            (
                "merge-patch",
                "[1]",
                "error decoding patch: json: cannot unmarshal array into Go value of type map[string]interface {}",
            ),
            ("merge-patch", "{", "error decoding patch: unexpected end of JSON input"),
            (
                "strategic-merge-patch",
                "{x",
                "invalid character 'x' looking for beginning of object key string",
            ),
            (
                "json-patch",
                "{}",
                "error decoding patch: json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp",
            ),
            (
                "json-patch",
                "[1]",
                "error decoding patch: json: cannot unmarshal number into Go value of type handlers.jsonPatchOp",
            ),
            (
                "json-patch",
                r#"[{"op": "add", "path": 1}]"#,
                "error decoding patch: json: cannot unmarshal number into Go struct field jsonPatchOp.path of type string",
            ),
        ] {
            let status = refused(bytes.as_bytes(), &format!("application/{media}+json"));
            assert_eq!((status.code, status.message.as_str()), (400, message), "{bytes}");
        }
        let status = refused(b"[1]", "application/apply-patch+yaml");
        assert_eq!(status.code, 400);
        assert!(status.message.starts_with("error decoding YAML: "), "{status}");
    }

    #[test]
    fn an_unknown_operation_does_not_fit_the_object() {
        let status = refused(br#"[{"op": "frob", "path": "/a"}]"#, "application/json-patch+json");
        assert_eq!((status.code, status.reason), (422, "Invalid"));
        let many = json!(vec![json!({"op": "remove", "path": "/a"}); MAX_OPERATIONS + 1]).to_string();
        assert_eq!(refused(many.as_bytes(), "application/json-patch+json").code, 413);
    }

    #[test]
    fn an_object_that_cannot_be_read_is_shown_by_its_start() {
        let maps = maps();
        let message = |bytes: &str| object(bytes.as_bytes(), "application/json", &maps).unwrap_err().message;
        let unrecognized = "the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; \
                            json parse error: ";
        for (bytes, why) in [
            ("", "unexpected end of JSON input (<empty>)"),
            (
                "{not json, and far too long to be repeated}",
                "invalid character 'n' looking for beginning of object key string ({not json, and far too long to ...)",
            ),
            ("abc", "invalid character 'a' looking for beginning of value (616263)"),
            (
                r#"{"kind": 1}"#,
                r#"json: cannot unmarshal number into Go struct field .kind of type string ({"kind": 1})"#,
            ),
        ] {
            assert_eq!(message(bytes), format!("{unrecognized}{why}"));
        }
        assert!(message("[]").contains("cannot unmarshal array into Go value of type struct { APIVersion string"));
        let status = object(b"{}", "text/plain", &maps).unwrap_err();
        assert_eq!(status.code, 415);
        assert_eq!(
            status.message,
            "the body of the request was in an unknown format - accepted media types include: application/json, \
             application/yaml, application/vnd.kubernetes.protobuf"
        );
    }
}
