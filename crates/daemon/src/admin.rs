use std::net::SocketAddr;

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use prometheus::{Encoder, Registry, TextEncoder};
use tokio::net::TcpListener;

use crate::Readiness;

/// The admin server of a daemon.
#[derive(Debug, Clone)]
pub struct Admin {
    registry: Registry,
    readiness: Readiness,
}

/// The admin server cannot listen.
#[derive(Debug, thiserror::Error)]
#[error("the admin server cannot listen on {address}; is another process there? Choose another with --admin")]
pub struct AdminError {
    /// Where it was to listen.
    pub address: SocketAddr,
    /// Why not.
    #[source]
    pub source: std::io::Error,
}

impl Admin {
    /// A server of these metrics and checks.
    pub fn new(registry: Registry, readiness: Readiness) -> Self {
        Self { registry, readiness }
    }

    /// Binds at once, so that a taken port is an error at start, then serves in the background for the life of the runtime.
    /// Returns the address in use.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn spawn(self, address: SocketAddr) -> Result<SocketAddr, AdminError> {
        let fail = |source| AdminError { address, source };
        let listener = TcpListener::bind(address).await.map_err(fail)?;
        let bound = listener.local_addr().map_err(fail)?;
        tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, self.router()).await {
                tracing::error!(%error, "the admin server ended");
            }
        });
        Ok(bound)
    }

    /// The paths, as a service.
    pub fn router(self) -> Router {
        Router::new()
            .route("/metrics", get(metrics))
            .route("/healthz", get(|| async { "ok" }))
            .route("/readyz", get(readyz))
            .with_state(self)
    }
}

async fn metrics(State(admin): State<Admin>) -> impl IntoResponse {
    let mut text = Vec::new();
    match TextEncoder::new().encode(&admin.registry.gather(), &mut text) {
        Ok(()) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn readyz(State(admin): State<Admin>, RawQuery(query): RawQuery) -> impl IntoResponse {
    let is_ready = admin.readiness.is_ready();
    let is_verbose = query.is_some_and(|query| {
        query
            .split('&')
            .any(|part| part == "verbose" || part.starts_with("verbose="))
    });
    let status = if is_ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let body = if is_verbose || !is_ready {
        admin.readiness.report()
    } else {
        "ok".to_owned()
    };
    (status, body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    async fn request(address: SocketAddr, path: &str) -> String {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        text
    }

    #[tokio::test]
    async fn readiness_turns_and_metrics_show() {
        let registry = Registry::new();
        let counter = prometheus::IntCounter::new("tombolo_test_total", "A counter.").unwrap();
        registry.register(Box::new(counter.clone())).unwrap();
        counter.inc();
        let readiness = Readiness::awaiting(&["work"]);
        let admin = Admin::new(registry, readiness.clone());
        let address = admin.spawn("127.0.0.1:0".parse().unwrap()).await.unwrap();
        assert!(request(address, "/readyz").await.starts_with("HTTP/1.1 503"));
        readiness.holds("work");
        assert!(request(address, "/readyz").await.starts_with("HTTP/1.1 200"));
        assert!(request(address, "/readyz?verbose").await.contains("[+]work ok"));
        assert!(request(address, "/metrics").await.contains("tombolo_test_total 1"));
        assert!(request(address, "/healthz").await.starts_with("HTTP/1.1 200"));
    }

    #[tokio::test]
    async fn a_taken_port_is_an_error_at_start() {
        let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = taken.local_addr().unwrap();
        let admin = Admin::new(Registry::new(), Readiness::default());
        assert!(admin.spawn(address).await.unwrap_err().to_string().contains("--admin"));
    }
}
