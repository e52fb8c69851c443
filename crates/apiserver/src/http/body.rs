//! Reading request bodies.

use axum::body::Body;
use bytes::Bytes;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde_json::Value;

use crate::{patch::Patch, rest::Change, status::Status};

/// The media types that bodies come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Media {
    Json,
    Yaml,
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

/// A patch, by its media type.
pub(crate) fn patch(bytes: &[u8], content_type: &str, force: bool) -> Result<Change, Status> {
    let json = || parse(bytes, Media::Json);
    match essence(content_type) {
        "application/merge-patch+json" => Ok(Change::Patch(Patch::Merge(json()?))),
        "application/strategic-merge-patch+json" => Ok(Change::Patch(Patch::Strategic(json()?))),
        "application/json-patch+json" => {
            let patch = serde_json::from_value(json()?).map_err(|error| Status::bad_request(error.to_string()))?;
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

fn essence(content_type: &str) -> &str {
    content_type.split(';').next().unwrap_or_default().trim()
}

fn parse(bytes: &[u8], media: Media) -> Result<Value, Status> {
    match media {
        Media::Json => serde_json::from_slice(bytes)
            .map_err(|error| Status::bad_request(format!("error decoding the request's body: {error}"))),
        Media::Yaml => serde_saphyr::from_slice(bytes)
            .map_err(|error| Status::bad_request(format!("error converting YAML to JSON: {error}"))),
    }
}

/// The largest body: that of the real server.
pub(crate) const LIMIT: usize = 3 << 20;
