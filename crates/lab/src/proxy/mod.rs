//! The service proxy of one node: does what kube-proxy's nftables mode does.
//!
//! Every Service port at a cluster IP becomes a chain in the table `inet lab-proxy` that sends each new connection to one of
//! the ready endpoints ([`backends`] decides, [`rules`] writes). The table is replaced whole, in one batch, whenever the
//! decision changes; connections that are open keep the endpoint that conntrack remembers for them.
//!
//! Sources outside the cluster's pod prefixes are masqueraded, and so is a pod that reaches itself: **so a pod of another cluster
//! loses its address here, unless somebody binds its flow first**, which is what Tombolo's source-keeping rule is for.
//!
//! Left out: node ports, load balancers and external IPs, topology hints, local traffic policies. Session affinity is a hash of
//! the client's address, so that it holds only while the endpoints stay the same.

mod backends;
mod conntrack;
mod rules;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use ipnet::IpNet;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Api;
use kube::runtime::watcher::Config;
use tokio::io::AsyncWriteExt;

use crate::mirror::{self, Changes, Mirror};
use backends::Backends;

/// How the proxy reaches its cluster, and what counts as inside.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Kubeconfig of an administrator of the cluster.
    #[arg(long, env = "KUBECONFIG", required_unless_present = "cleanup")]
    pub kubeconfig: Option<PathBuf>,
    /// The cluster's pod prefixes: sources outside them are masqueraded.
    #[arg(long = "pod-prefix", value_delimiter = ',')]
    pub pod_prefixes: Vec<IpNet>,
    /// Where the API server is reached, if not where the Service `kubernetes` says.
    #[arg(long = "api-endpoint")]
    pub api_endpoints: Vec<SocketAddr>,
    /// Remove everything the proxy made on this node, and end.
    #[arg(long)]
    pub cleanup: bool,
}

/// Runs the proxy in the network namespace of its node until the process ends.
///
/// # Errors
/// When the kubeconfig cannot be used, or in a cleanup that nft refuses.
pub async fn run(args: Args) -> anyhow::Result<()> {
    if args.cleanup {
        return nft(&rules::removal()).await;
    }
    let kubeconfig = args.kubeconfig.context("--kubeconfig is missing")?;
    let client = mirror::client(Some(&kubeconfig)).await?;
    let changes = Changes::default();
    let services: Mirror<Service> = Mirror::watch(Api::all(client.clone()), Default::default(), changes.clone());
    let of_services = Config::default().labels("kubernetes.io/service-name");
    let slices: Mirror<EndpointSlice> = Mirror::watch(Api::all(client), of_services, changes.clone());
    tracing::info!(pod_prefixes = ?args.pod_prefixes, "service proxy started");

    let mut applied: Option<Backends> = None;
    loop {
        changes.next(RESYNC).await;
        if !(services.is_synced() && slices.is_synced()) {
            continue;
        }
        let started = Instant::now();
        let mut desired = backends::backends(&services.objects(), &slices.objects());
        backends::reach_api_at(&args.api_endpoints, &mut desired);
        if applied.as_ref() != Some(&desired) {
            match nft(&rules::table(&desired, &args.pod_prefixes)).await {
                Ok(()) => {
                    tracing::info!(ports = desired.len(), "rules replaced");
                    conntrack::forget_moved(applied.as_ref().unwrap_or(&Backends::new()), &desired).await;
                    applied = Some(desired);
                }
                Err(error) => tracing::warn!(error = format!("{error:#}"), "rules not replaced; tried again soon"),
            }
        }
        mirror::rest(started.elapsed()).await;
    }
}

/// Runs one batch: all of it or nothing.
async fn nft(batch: &str) -> anyhow::Result<()> {
    let mut child = tokio::process::Command::new("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .context("cannot start nft; install the package nftables")?;
    let mut input = child.stdin.take().context("nft has no standard input")?;
    input.write_all(batch.as_bytes()).await.context("nft stopped reading")?;
    drop(input);
    let output = child.wait_with_output().await.context("nft did not end")?;
    if !output.status.success() {
        bail!(
            "nft refused the rules: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}

const RESYNC: Duration = Duration::from_secs(10);
