//! Writing responses.

use axum::{body::Body, response::Response};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use serde_json::Value;

use super::{
    negotiate::{Accept, Format},
    yaml,
};
use crate::status::Status;

/// A body in the format that the client asked for.
pub(crate) fn body(code: u16, value: &impl Serialize, accept: &Accept) -> Response {
    let (bytes, kind) = match accept.format() {
        Format::Json => (json(value), "application/json"),
        // For people: indented, and without the final newline that programs get.
        Format::PrettyJson => (serde_json::to_vec_pretty(value).unwrap_or_default(), "application/json"),
        Format::Yaml => {
            let value = serde_json::to_value(value).unwrap_or_default();
            (yaml::write(&value).into_bytes(), "application/yaml")
        }
    };
    bytes_of(code, kind, bytes)
}

/// Compact JSON with a final newline.
pub(crate) fn json(value: &impl Serialize) -> Vec<u8> {
    let mut bytes = serde_json::to_vec(value).unwrap_or_default();
    bytes.push(b'\n');
    bytes
}

pub(crate) fn bytes_of(code: u16, kind: &'static str, bytes: impl Into<Body>) -> Response {
    let mut response = Response::new(bytes.into());
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// The answer in the name of a server behind this one that cannot be reached.
pub(crate) fn unavailable() -> Response {
    bytes_of(503, "text/plain; charset=utf-8", "service unavailable\n")
}

pub(crate) fn status(status: &Status, accept: &Accept) -> Response {
    if status.code >= 500 {
        tracing::debug!(code = status.code, message = %status.message, "request failed");
    }
    if status.is_page() {
        let mut response = bytes_of(
            status.code,
            "text/plain; charset=utf-8",
            format!("{}\n", status.message),
        );
        let nosniff = HeaderValue::from_static("nosniff");
        response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
        return response;
    }
    let mut response = body(status.code, &status.to_value(), accept);
    if let Some(seconds) = status.retry_after() {
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// Adds `Warning: 299` headers.
pub(crate) fn warn(mut response: Response, warnings: &[String]) -> Response {
    for warning in warnings {
        let quoted = Value::String(warning.clone()).to_string();
        if let Ok(value) = HeaderValue::from_str(&format!("299 - {quoted}")) {
            response.headers_mut().append(header::WARNING, value);
        }
    }
    response
}
