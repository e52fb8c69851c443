//! The controllers of one cluster: what kube-controller-manager and kube-scheduler do, as far as the lab needs it.
//!
//! ```text
//!  mirrors ──▶ World ──▶ daemon_set, deployment, replica_set, scheduler, endpoint_slices, node_lifecycle ──▶ writes
//! ```
//!
//! Each controller is a function from the whole world to the writes that bring it nearer to what is asked for. One loop runs them
//! all, at every change and every few seconds, so a missed event or a refused write heals at the next turn. A mirror may be a
//! moment old: every write is one that can be decided twice without harm, because names are functions of what is wanted and
//! deletions name the uid. The garbage collector ([`garbage`]) watches all kinds and has a loop of its own.
//!
//! Left out: taints and affinity, resource requests, surge for DaemonSets, adoption of orphans, progress deadlines, eviction from
//! dead nodes, foreground deletion.

mod daemon_set;
mod deployment;
mod duties;
mod endpoint_slices;
mod garbage;
#[cfg(test)]
mod live_tests;
pub(crate) mod namespaces;
mod node_lifecycle;
mod pod;
mod replica_set;
mod rollout;
mod scheduler;
#[cfg(test)]
mod tests;
mod world;
mod write;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use futures::StreamExt;
use k8s_openapi::jiff::Timestamp;
use kube::Client;

use crate::mirror::{self, Changes};
use world::{Mirrors, World};
use write::Write;

/// How the controllers reach their cluster.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Kubeconfig of an administrator of the cluster.
    #[arg(long, env = "KUBECONFIG")]
    pub kubeconfig: PathBuf,
    /// The API server is not the lab's: leave alone what controllers of its own do, and look after namespaces.
    #[arg(long)]
    pub external: bool,
}

/// Runs the controllers of one cluster until the process ends.
///
/// # Errors
/// When the kubeconfig cannot be used.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let client = mirror::client(Some(&args.kubeconfig)).await?;
    tracing::info!("controllers started");
    if args.external {
        let ca = namespaces::ca(&args.kubeconfig)?;
        tokio::join!(
            reconcile(client.clone()),
            garbage::run(client.clone()),
            namespaces::run(client, ca)
        );
    } else {
        tokio::join!(reconcile(client.clone()), garbage::run(client));
    }
    Ok(())
}

async fn reconcile(client: Client) {
    let changes = Changes::default();
    let mirrors = Mirrors::watch(&client, &changes);
    loop {
        if let Some(world) = mirrors.world() {
            let started = Instant::now();
            let writes = decide(&world, Timestamp::now());
            let took = started.elapsed();
            futures::stream::iter(&writes)
                .for_each_concurrent(WRITERS, |write| execute(&client, write))
                .await;
            mirror::rest(took).await;
        }
        changes.next(RESYNC).await;
    }
}

/// Everything that should be written now.
fn decide(world: &World, now: Timestamp) -> Vec<Write> {
    let mut writes = Vec::new();
    if !duties::is_done_by(duties::CONTROLLER_MANAGER, world, now) {
        writes.extend(daemon_set::reconcile(world));
        writes.extend(deployment::reconcile(world, now));
        writes.extend(replica_set::reconcile(world));
        writes.extend(endpoint_slices::reconcile(world));
        writes.extend(node_lifecycle::reconcile(world, now));
    }
    if !duties::is_done_by(duties::SCHEDULER, world, now) {
        writes.extend(scheduler::reconcile(world));
    }
    writes
}

async fn execute(client: &Client, write: &Write) {
    match write.execute(client).await {
        Ok(()) => tracing::debug!(kind = write.kind(), name = write.name, verb = ?write.verb, "written"),
        // The mirror was a moment old. The change that made it so is on its way here.
        Err(kube::Error::Api(status))
            if status.is_not_found() || status.is_conflict() || status.is_already_exists() =>
        {
            tracing::debug!(
                kind = write.kind(),
                name = write.name,
                status.message,
                "refused: decided from an older state"
            );
        }
        Err(error) => tracing::warn!(kind = write.kind(), name = write.name, %error, "not written; tried again soon"),
    }
}

const RESYNC: Duration = Duration::from_secs(2);
const WRITERS: usize = 8;
