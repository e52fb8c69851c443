//! What others need to verify service account tokens: OpenID Connect Discovery 1.0 §3 and the keys.

use axum::response::Response;
use http::{HeaderValue, header};
use serde_json::{Value, json};

use super::{Call, respond};
use crate::{
    auth::{ALGORITHM, AUDIENCE},
    server::Server,
    status::Status,
};

pub(crate) fn answer(server: &Server, call: &Call) -> Option<Result<Response, Status>> {
    let (kind, body) = match call.path.trim_end_matches('/') {
        "/.well-known/openid-configuration" => ("application/json", configuration(server)),
        "/openid/v1/jwks" => ("application/jwk-set+json", server.tokens.key.public_set()),
        _ => return None,
    };
    Some(match call.accept.admits(kind) {
        true => Ok(document(kind, &body)),
        false => Err(Status::only_as(kind)),
    })
}

fn configuration(server: &Server) -> Value {
    let base = match server.advertise {
        Some(address) => format!("https://{address}"),
        None => AUDIENCE.to_owned(),
    };
    json!({
        "issuer": AUDIENCE,
        "jwks_uri": format!("{base}/openid/v1/jwks"),
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": [ALGORITHM],
    })
}

fn document(kind: &'static str, body: &Value) -> Response {
    let mut response = respond::bytes_of(200, kind, body.to_string());
    // The same for everybody, and it only changes with the key.
    let cached = HeaderValue::from_static("public, max-age=3600");
    response.headers_mut().insert(header::CACHE_CONTROL, cached);
    response
}
