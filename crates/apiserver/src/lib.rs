//! An embedded API server that Kubernetes clients take for the real one: `kube`, `kubectl`, controllers, kubelets.
//!
//! It knows nothing about what its users build on it. About twenty built-in kinds are compiled in, everything else comes as
//! CustomResourceDefinitions. One process holds everything in memory and, given a directory, on disk.
//!
//! ```text
//!  http    paths, media types, watches, discovery, OpenAPI, Tables         a tower Service; TLS by `serve_tls`
//!   │        authenticates, authorises, then calls
//!  rest    what the verbs do: create, update, delete, list                  pure: a transaction in, an outcome out
//!   │        with  kinds   (tables and rules of kinds)    schema  (defaults, pruning, validation)
//!   │              patch   (merge, JSON, strategic)       apply   (who owns which field)
//!   │              rbac    (who may do what)              auth    (whose token is this)
//!  store   objects, one revision counter, bounded history                   pure and synchronous
//!   │
//!  journal append log with group commit, snapshots                          the only code that touches files
//! ```
//!
//! # Revisions, watches, expiry
//!
//! Every change takes the next revision, which becomes the object's resourceVersion. Watchers do not have queues: each pulls the
//! events after the revision it has seen from the history of its resource, whenever that history has grown. A slow watcher
//! therefore costs nothing; when the history (512 events a resource) no longer reaches back to it, it is told 410 Expired and
//! lists again.
//!
//! # Nothing leaves before it is safe
//!
//! A write is visible in memory at once, but no response and no watch event shows a revision that has not been fsynced. So an
//! acknowledged write survives a kill at any moment, and no client ever sees a revision that a restart would take back.
//!
//! # Outside
//!
//! CEL rules (`x-kubernetes-validations`) and admission policies, webhooks, aggregation, protobuf (some kubectl commands send it: `create namespace`, `create token`, `auth`), pod exec and logs, scale
//! subresources, conversion other than `None`, garbage collection by owner references (a controller's work).

#![forbid(unsafe_code)]

use std::{future::Future, net::SocketAddr, path::PathBuf, sync::Arc};

use ipnet::IpNet;
use serde_json::Value;

mod apply;
mod auth;
mod field;
mod http;
mod journal;
mod kinds;
mod object;
mod patch;
mod rbac;
mod rest;
mod schema;
mod selector;
mod server;
mod status;
mod store;
mod tls;

pub use http::ServeError;
pub use journal::JournalError;
pub use server::OpenError;
pub use tls::{ServerTls, TlsError};

/// What a server is made from.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// Where everything is kept. Without it, everything is lost with the process.
    pub data_dir: Option<PathBuf>,
    /// The prefixes that services get addresses from, v4, v6 or both; the first family is the default. Without any, there are
    /// no service addresses and no `kubernetes` service.
    pub service_prefixes: Vec<IpNet>,
    /// Where the `kubernetes` service leads.
    pub advertise: Option<SocketAddr>,
    /// The token that may do everything.
    pub admin_token: String,
    /// The CA that clients verify this server by (PEM); published in every namespace as ConfigMap `kube-root-ca.crt`.
    pub root_ca: Option<String>,
    /// CustomResourceDefinitions that are created at start if they are absent.
    pub crds: Vec<Value>,
}

/// A running server; clones are the same server.
#[derive(Clone, Debug)]
pub struct ApiServer {
    server: Arc<server::Server>,
}

impl ApiServer {
    /// Opens the data directory, or starts empty, and brings the basic objects into being.
    pub fn open(config: Config) -> Result<Self, OpenError> {
        server::Server::open(config).map(|server| Self {
            server: Arc::new(server),
        })
    }

    /// The whole API as a tower service, for in-process clients: `kube::Client::new(server.router(), "default")`.
    ///
    /// Requests still need a bearer token; [`ApiServer::admin_router`] adds one.
    pub fn router(&self) -> axum::Router {
        http::router(Arc::clone(&self.server))
    }

    /// The same, with every request that carries no token made the administrator's.
    pub fn admin_router(&self) -> axum::Router {
        http::admin_router(Arc::clone(&self.server))
    }

    /// Serves over TLS (HTTP/1.1 and HTTP/2) until `shutdown` resolves; open watches are then ended.
    pub async fn serve_tls(
        &self,
        listener: std::net::TcpListener,
        tls: ServerTls,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), ServeError> {
        http::serve_tls(self.router(), &self.server, listener, &tls, shutdown).await
    }
}
