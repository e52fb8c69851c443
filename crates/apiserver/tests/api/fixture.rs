//! Servers and clients for tests.

use std::time::Duration;

use apiserver::{ApiServer, Config};
use axum::body::Body;
use http_body_util::BodyExt as _;
use kube::Client;
use serde_json::Value;
use tower::ServiceExt as _;

pub(crate) const ADMIN: &str = "admin-token";

pub(crate) fn config() -> Config {
    Config {
        service_prefixes: vec!["10.96.0.0/16".parse().unwrap(), "fd00:96::/112".parse().unwrap()],
        advertise: Some("192.0.2.1:6443".parse().unwrap()),
        admin_token: ADMIN.into(),
        root_ca: Some("-----BEGIN CERTIFICATE-----".into()),
        ..Config::default()
    }
}

pub(crate) fn server() -> ApiServer {
    ApiServer::open(config()).unwrap()
}

pub(crate) fn client(server: &ApiServer) -> Client {
    Client::new(server.admin_router(), "default")
}

/// A raw response.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: u16,
    pub(crate) body: Value,
    pub(crate) warnings: Vec<String>,
}

/// Sends a raw request with a token; an empty one stands for none.
pub(crate) async fn send(server: &ApiServer, token: &str, method: &str, path: &str, body: Option<Value>) -> Answer {
    send_as(
        server,
        token,
        method,
        path,
        "application/json",
        "application/json",
        body,
    )
    .await
}

pub(crate) async fn send_as(
    server: &ApiServer,
    token: &str,
    method: &str,
    path: &str,
    content_type: &str,
    accept: &str,
    body: Option<Value>,
) -> Answer {
    let body = body.map(|body| body.to_string()).unwrap_or_default();
    send_text(server, token, method, path, content_type, accept, body).await
}

/// Sends whatever text as the body.
pub(crate) async fn send_text(
    server: &ApiServer,
    token: &str,
    method: &str,
    path: &str,
    content_type: &str,
    accept: &str,
    body: String,
) -> Answer {
    let headers = [("content-type", content_type), ("accept", accept)];
    answer(server, token, method, path, &headers, body).await
}

/// Sends JSON with further headers.
pub(crate) async fn send_with(
    server: &ApiServer,
    token: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: Value,
) -> Answer {
    answer(server, token, method, path, headers, body.to_string()).await
}

async fn answer(
    server: &ApiServer,
    token: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: String,
) -> Answer {
    let mut request = http::Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    if !token.is_empty() {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let request = request.body(Body::from(body)).unwrap();
    let response = server.router().oneshot(request).await.unwrap();
    let code = response.status().as_u16();
    let warnings = response
        .headers()
        .get_all("warning")
        .iter()
        .map(|one| one.to_str().unwrap().to_owned())
        .collect();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    let body = serde_json::from_slice(&bytes).unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&bytes).into()));
    Answer { code, body, warnings }
}

/// Fails a test that waits too long.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(Duration::from_secs(20), future).await {
        Ok(value) => value,
        Err(_) => panic!("waited too long for {what}"),
    }
}
