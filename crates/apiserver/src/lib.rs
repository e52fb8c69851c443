//! An embedded API server that Kubernetes clients take for the real one: `kube`, `kubectl`, controllers, kubelets.
//!
//! It knows nothing about what its users build on it. About thirty built-in kinds are compiled in, everything else comes as
//! CustomResourceDefinitions. One process holds everything in memory and, given a directory, on disk.
//!
//! ```text
//!  http    paths, media types, watches, discovery, OpenAPI, Tables         a tower Service; TLS by `serve_tls`
//!   │        authenticates, authorises, then calls
//!  rest    what the verbs do: create, update, delete, list                  pure: a transaction in, an outcome out
//!   │        with  kinds   (tables and rules of kinds)    schema  (defaults, pruning, validation)
//!   │              patch   (merge, JSON, strategic)       apply   (who owns which field)
//!   │              rbac    (who may do what)              auth    (tokens: whose, and new ones)
//!   │              cel     (rules as expressions)         admission  (policies on everybody's writes)
//!  store   objects, one revision counter, bounded history              pure and synchronous; answers every read
//!   │
//!  journal one redb file, group commit, loading at start                the only code that touches files
//! ```
//!
//! # Revisions
//!
//! One counter orders everything. Every change of every object takes the next number, its *revision*, which becomes the object's
//! `resourceVersion`; a list carries the counter's value as it was read. So a client that has a list as of revision N and asks for
//! what came after N misses nothing. Numbers are never given twice: not to two changes, and not again after a restart.
//!
//! # Watches and expiry
//!
//! Every resource keeps a history: for each change the object before and after, at most 4096 events and five minutes of them.
//! Watchers do not have queues. Each remembers the revision it has shown, and pulls the events after it whenever its resource has
//! news:
//!
//! ```text
//!   history of configmaps      floor 40 │ 41  44  45  52 │ 57  58          revision (all resources) 60
//!                             (dropped) │  watchable     │ not on disk yet  shown 55
//!
//!   a watcher that has seen 44 is sent 45, 52       one that has seen 40: 41, 44, 45, 52
//!   one that has seen 39 is told 410 Expired        (an event that it has not seen may be gone)
//! ```
//!
//! The *floor* is the newest event dropped from that history; whoever has seen it has missed nothing. It is a floor of one resource,
//! so a busy one does not expire the watchers of a quiet one. Watchers pull one batch at a time, and only when their
//! connection takes it: a slow one costs one batch, and is dropped by 410 once the floor has passed it.
//!
//! `limit` and `continue` use the same history: the first page notes its revision in the token, and a later page is the list *as of*
//! that revision, today's list with the newer events undone; 410 when the floor has passed it. 410 always means: list again.
//!
//! History is kept on disk beside the objects, each event as what it replaced, and floors too. Watchers resume across a restart.
//!
//! # Nothing leaves before it is safe
//!
//! A write is visible in memory at once, but no response and no watch event shows a revision that has not been synced. So an
//! acknowledged write survives a kill at any moment, and no client ever sees a revision that a restart would take back. When
//! the disk refuses a write, everything that had not been synced is taken back in memory (the history, walked backwards),
//! reads go on, and writes are told why.
//!
//! # Backups
//!
//! `GET /backup` is everything as of one revision, for whoever may do everything. [`Backup`] reads it and makes a data directory of
//! it. Clients may have seen revisions that the backup has not, and will ask for what came after them; so a restored server goes on a
//! thousand million revisions later, with its floor there: every old revision is expired, and none is given a second time.
//!
//! # Rules in CEL
//!
//! A definition may hold its objects to rules (`x-kubernetes-validations`), an administrator everybody's writes to policies
//! (ValidatingAdmissionPolicy). Both are compiled when they are written and refused if they cannot be meant: a name that does not
//! exist, an operator that cannot fit. When they are evaluated, every loop pays for its elements, so that no rule holds a write up.
//!
//! # Tokens and names
//!
//! A service account's token is a JWT, signed with a key of the store and checked against the store on every use: it ends with its
//! time, its account, or the object that it is bound to, whichever ends first. Nothing is stored of it; that its signature is good is
//! remembered for a while, what may end it never is. See `auth`.
//!
//! A definition is served under the names that it was given (`status.acceptedNames`): within a group the first to ask for a name has
//! it, and who comes later waits. What controllers of a real server do about that one after the other is done in the transaction of
//! the write. See `kinds/rules/naming`.
//!
//! # Outside
//!
//! Webhooks, aggregation (an APIService's group answers 503), answers in protobuf (bodies of requests may be: see `http/protobuf`) and
//! protobuf patches, pod exec and logs, conversion other than `None`, garbage collection by owner references (a controller's work). Of
//! policies: the `authorizer` variable and audit annotations.

#![forbid(unsafe_code)]

use std::{future::Future, net::SocketAddr, path::PathBuf, sync::Arc};

use ipnet::IpNet;
use serde_json::Value;

mod admission;
mod apply;
mod auth;
mod backup;
mod cel;
mod field;
mod gotext;
mod http;
mod journal;
mod json_syntax;
mod kinds;
mod object;
mod patch;
mod quantity;
mod rbac;
mod rest;
mod schema;
mod selector;
mod server;
mod status;
mod store;
mod tls;

pub use backup::{Backup, BackupError};
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
