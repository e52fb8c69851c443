//! The cluster's DNS: stands where CoreDNS stands, and obeys a Corefile as CoreDNS would.
//!
//! ```text
//!  ConfigMap kube-system/coredns ──▶ corefile ──▶ config ──▶ resolver ◀── zone ◀── Services, EndpointSlices
//!                                                               ▲
//!                                         UDP, TCP ──▶ server ──┘──▶ cache, kubernetes, forward
//! ```
//!
//! It runs as a pod and reads the ConfigMap from the API, so that an edit works within a second, where the real one waits for the
//! kubelet and its own timer. A Corefile that it does not understand is an error in the log, and the one before stays in force;
//! one without the `reload` plugin is never replaced. What it knows of CoreDNS's plugins, and no more, is in [`config`].

mod cache;
mod config;
mod corefile;
mod forward;
#[cfg(test)]
mod live_tests;
mod reply;
mod resolver;
mod server;
#[cfg(test)]
mod tests;
mod zone;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::{Api, Client};
use tokio::sync::watch;

use crate::dual_stack;
use crate::mirror::{self, Changes, Mirror};
use config::Config;
use resolver::Resolver;
use server::Listener;

/// Where the DNS finds its cluster and its Corefile.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Kubeconfig to use instead of the pod's own service account.
    #[arg(long)]
    pub kubeconfig: Option<PathBuf>,
    /// Namespace of the ConfigMap that holds the Corefile.
    #[arg(long, default_value = "kube-system")]
    pub namespace: String,
    /// Name of that ConfigMap.
    #[arg(long, default_value = "coredns")]
    pub config_map: String,
    /// Port of `/health`.
    #[arg(long, default_value_t = 8080)]
    pub health_port: u16,
    /// Port of `/ready`.
    #[arg(long, default_value_t = 8181)]
    pub ready_port: u16,
}

/// Answers until the process ends.
///
/// # Errors
/// When the API cannot be configured, or a probe's port cannot be bound.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let client = mirror::client(args.kubeconfig.as_deref()).await?;
    let is_ready = Arc::new(AtomicBool::new(false));
    let ready = axum::Router::new()
        .route("/ready", get(readiness))
        .with_state(Arc::clone(&is_ready));
    let health = axum::Router::new().route("/health", get(async || "OK"));
    let ready_listener = dual_stack::tcp(args.ready_port).await?;
    let health_listener = dual_stack::tcp(args.health_port).await?;
    tokio::select! {
        result = async { axum::serve(ready_listener, ready).await } => result.context("the readiness server ended"),
        result = async { axum::serve(health_listener, health).await } => result.context("the health server ended"),
        () = follow(client, &args, &is_ready) => Ok(()),
    }
}

async fn readiness(State(is_ready): State<Arc<AtomicBool>>) -> (StatusCode, &'static str) {
    if is_ready.load(Ordering::Relaxed) {
        (StatusCode::OK, "OK")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "")
    }
}

/// Keeps the resolver what the Corefile and the cluster's objects make it.
async fn follow(client: Client, args: &Args, is_ready: &AtomicBool) {
    let changes = Changes::default();
    let selection = kube::runtime::watcher::Config::default().fields(&format!("metadata.name={}", args.config_map));
    let config_maps: Mirror<ConfigMap> = Mirror::watch(
        Api::namespaced(client.clone(), &args.namespace),
        selection,
        changes.clone(),
    );
    let services: Mirror<Service> = Mirror::watch(Api::all(client.clone()), Default::default(), changes.clone());
    let slices: Mirror<EndpointSlice> = Mirror::watch(Api::all(client), Default::default(), changes.clone());

    let mut corefile = Corefile::default();
    let (current, receiver) = watch::channel(Arc::new(Resolver::new(Config::default())));
    let mut listeners: BTreeMap<u16, Listener> = BTreeMap::new();
    loop {
        let started = Instant::now();
        let text = config_maps
            .objects()
            .first()
            .and_then(|map| map.data.as_ref()?.get("Corefile").cloned());
        let replaced = match text.and_then(|text| corefile.replace(text)) {
            Some(config) => {
                rebind(&mut listeners, &config, &receiver).await;
                Some(Arc::new(Resolver::new(config)))
            }
            None => None,
        };
        let resolver = replaced.clone().unwrap_or_else(|| Arc::clone(&current.borrow()));
        let is_synced = services.is_synced() && slices.is_synced();
        if is_synced {
            resolver.set_objects(&services.objects(), &slices.objects());
        }
        // Not before it knows the names: nobody should meet a resolver that has to say SERVFAIL.
        if replaced.is_some() {
            current.send_replace(resolver);
        }
        is_ready.store(is_synced && !listeners.is_empty(), Ordering::Relaxed);
        mirror::rest(started.elapsed()).await;
        changes.next(RESYNC).await;
    }
}

/// The Corefile in force, and the last one seen.
#[derive(Debug, Default)]
struct Corefile {
    seen: Option<String>,
    is_fixed: bool,
}

impl Corefile {
    /// What to do from now on, if this text changes that.
    fn replace(&mut self, text: String) -> Option<Config> {
        if self.is_fixed || self.seen.as_ref() == Some(&text) {
            return None;
        }
        let config = Config::parse(&text);
        self.seen = Some(text);
        match config {
            Ok(config) => {
                self.is_fixed = !config.servers.iter().any(|server| server.is_reloaded);
                tracing::info!(blocks = config.servers.len(), "a new Corefile is in force");
                Some(config)
            }
            Err(error) => {
                tracing::error!(%error, "the new Corefile is not understood; the one before stays in force");
                None
            }
        }
    }
}

/// Opens the ports that the configuration names, and closes the others.
async fn rebind(listeners: &mut BTreeMap<u16, Listener>, config: &Config, current: &watch::Receiver<Arc<Resolver>>) {
    listeners.retain(|port, _| config.servers.iter().any(|server| server.port == *port));
    let ports: BTreeSet<u16> = config.servers.iter().map(|server| server.port).collect();
    for port in ports
        .into_iter()
        .filter(|port| !listeners.contains_key(port))
        .collect::<Vec<u16>>()
    {
        match Listener::bind(port, current.clone()).await {
            Ok(listener) => drop(listeners.insert(port, listener)),
            Err(error) => tracing::error!(error = format!("{error:#}"), "a port of the Corefile stays closed"),
        }
    }
}

const RESYNC: Duration = Duration::from_secs(10);
