use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use clusterset::choice::Ways;
use daemon::{Admin, Readiness, Registry};
use hostnet::tags;
use hostnet_linux::{HostNet, Monitor};
use k8s_openapi::jiff::Timestamp;
use k8s_runtime::{ClientOptions, Freshness, SnapshotOptions, View};
use model::{ClusterState, NodeName, Snapshot};
use nix::net::if_::if_nametoindex;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::config::{Config, Verb};
use crate::deep::DeepResponder;
use crate::facts::node_facts;
use crate::hops::Hops;
use crate::metrics::Metrics;
use crate::pace::Pace;
use crate::reconcile::Reconciler;
use crate::report::Report;
use crate::status::StatusWriter;

/// The program. Exit code 0 when it was asked to end, 1 when it cannot work, 2 on bad usage.
pub fn main() -> ExitCode {
    let config = Config::parse();
    daemon::run(async {
        match config.verb {
            Some(Verb::Cleanup) => cleanup(&config).await,
            None => run(config).await,
        }
    })
}

/// Takes everything of ours from the node, and says what it took.
async fn cleanup(config: &Config) -> anyhow::Result<()> {
    let hostnet = open(config)?;
    let cleaned = hostnet.cleanup().await;
    for removed in &cleaned.removed {
        println!("removed {removed}");
    }
    if cleaned.removed.is_empty() {
        println!("nothing of Tombolo is on this node");
    }
    anyhow::ensure!(
        cleaned.failures.is_empty(),
        "left behind: {}",
        cleaned.failures.join("; ")
    );
    Ok(())
}

fn open(config: &Config) -> anyhow::Result<HostNet> {
    let hostnet = HostNet::open(&config.state_dir).context("cannot open netlink")?;
    Ok(hostnet.with_proc_sys_net(&config.proc_sys_net))
}

async fn run(config: Config) -> anyhow::Result<()> {
    let node = config
        .node
        .clone()
        .context("the name of this node is not known; set NODE_NAME or --node")?;
    let registry = Registry::new();
    let readiness = Readiness::awaiting(&["snapshot", "kernel"]);
    let metrics = Metrics::register(&registry)?;
    Admin::new(registry.clone(), readiness.clone())
        .spawn(config.admin)
        .await?;
    let client = k8s_runtime::client(&ClientOptions {
        kubeconfig: config.kubeconfig.clone(),
        context: None,
    })
    .await?;
    let views = k8s_runtime::watch_snapshot(
        &client,
        SnapshotOptions {
            namespace: config.namespace.clone(),
            cluster: None,
            nodes: true,
            exports: true,
            imports: true,
            saved: Some(config.state_dir.join("route-agent.snapshot.json")),
        },
    );
    k8s_runtime::register_snapshot_metrics(&registry, views.clone())?;
    let hostnet = open(&config)?;
    let agent = Agent {
        reconciler: Reconciler::new(hostnet, node.clone(), !config.no_source_keeping),
        report: Report::new(node.clone()),
        status: StatusWriter::start(client, &config.namespace, &node),
        hops: Hops::start(),
        deep: DeepResponder::start(),
        node,
        readiness,
        metrics,
        monitor: None,
        is_clean: false,
    };
    tokio::select! {
        () = agent.follow(views) => {}
        () = daemon::shutdown() => {}
    }
    Ok(())
}

struct Agent {
    node: NodeName,
    reconciler: Reconciler,
    report: Report,
    status: StatusWriter,
    hops: Hops,
    deep: DeepResponder,
    readiness: Readiness,
    metrics: Metrics,
    /// The kernel's word, and the underlay that it is about.
    monitor: Option<(String, Monitor)>,
    /// Whether the node was cleaned for the cluster's leaving.
    is_clean: bool,
}

impl Agent {
    /// Rounds until the process ends.
    async fn follow(mut self, mut views: watch::Receiver<Arc<View>>) {
        let mut ways = self.hops.ways();
        let mut pace = Pace::new(Instant::now());
        let mut is_of_view = true;
        loop {
            let view = Arc::clone(&views.borrow_and_update());
            self.note_freshness(&view.freshness);
            let mut retry = RESYNC;
            let started = Instant::now();
            if let Some(snapshot) = &view.snapshot {
                self.hops.set_snapshot(snapshot);
                self.deep.set_snapshot(snapshot);
                if ways.borrow().is_none() && if_nametoindex(tags::VXLAN_LINK).is_ok() {
                    // What an earlier process found out is in the kernel: better than what the snapshot says of the active one.
                    let known = ways.wait_for(Option::is_some);
                    let _ = tokio::time::timeout(FIRST_PROBES, known).await;
                }
                let chosen = ways.borrow_and_update().clone().unwrap_or_default();
                let was_listening = self.monitor.is_some();
                if !self.round(snapshot, &chosen).await {
                    retry = RETRY;
                } else if !was_listening && self.monitor.is_some() {
                    // What changed between the look at the kernel and the first word from it, nobody has told.
                    retry = Duration::ZERO;
                }
            }
            let done = Instant::now();
            if is_of_view {
                pace.worked(started, done);
            }
            is_of_view = false;
            let view_changes = async {
                let changed = views.changed().await;
                tokio::time::sleep_until(pace.rested()).await;
                changed
            };
            let kernel = async {
                match &mut self.monitor {
                    Some((_, monitor)) => monitor.changed().await,
                    None => std::future::pending().await,
                }
                // Mostly it tells what the round itself has written.
                tokio::time::sleep_until(done + ((done - started) * ECHO).min(LONGEST_ECHO)).await;
            };
            tokio::select! {
                changed = view_changes => {
                    if changed.is_err() { return }
                    is_of_view = true;
                }
                () = kernel => {}
                changed = ways.changed() => {
                    if changed.is_err() { return }
                    // A copy of its own: who changes the ways must not wait for this, being a task of the same thread.
                    let chosen = ways.borrow().clone().unwrap_or_default();
                    self.shift(&view, &chosen).await;
                }
                () = tokio::time::sleep(retry) => {}
            }
        }
    }

    /// Follows the probes at once; the round comes after.
    async fn shift(&mut self, view: &View, ways: &Ways) {
        let Some(snapshot) = &view.snapshot else { return };
        let is_member = snapshot.own().is_some_and(|own| own.state == ClusterState::Active);
        if let Some(facts) = node_facts().ok().filter(|_| is_member) {
            let moved = self.reconciler.shift(snapshot, &facts, ways).await;
            self.metrics.shifts.inc_by(moved as u64);
        }
    }

    /// One round; true when nothing is left to do.
    async fn round(&mut self, snapshot: &Snapshot, ways: &Ways) -> bool {
        if snapshot.own().is_some_and(|own| own.state != ClusterState::Active) {
            return self.clean().await;
        }
        self.is_clean = false;
        let facts = match node_facts() {
            Ok(facts) => facts,
            Err(error) => {
                tracing::warn!(%error, "cannot read this node's links");
                return false;
            }
        };
        let round = self.reconciler.round(snapshot, &facts, ways).await;
        self.report.round(&round, snapshot, Timestamp::now());
        self.status.publish(self.report.status());
        match round {
            Ok(outcome) => {
                if outcome.done > 0 {
                    tracing::info!(
                        done = outcome.done,
                        drift = outcome.drift,
                        "the kernel was brought in step"
                    );
                }
                for failure in &outcome.failures {
                    tracing::warn!(node = %self.node, %failure, "a step failed");
                }
                self.metrics.count(&outcome);
                if let Some(mtu) = outcome.link_mtu.and_then(|mtu| u16::try_from(mtu).ok()) {
                    self.hops.set_link_mtu(mtu);
                }
                if let Some(desired) = &outcome.desired {
                    self.hops
                        .set_addresses(desired.sources.iter().map(|source| source.address).collect());
                    self.watch_kernel(&desired.underlay.device);
                }
                match outcome.failures.first() {
                    Some(failure) => self.readiness.fails("kernel", failure.to_string()),
                    None => self.readiness.holds("kernel"),
                }
                outcome.failures.is_empty()
            }
            Err(error) => {
                self.readiness.fails("kernel", error.to_string());
                tracing::warn!(node = %self.node, %error, "no round");
                false
            }
        }
    }

    /// The cluster leaves: nothing of ours stays, and the status says so.
    async fn clean(&mut self) -> bool {
        if !self.is_clean {
            let cleaned = self.reconciler.cleanup().await;
            tracing::info!(
                removed = cleaned.removed.len(),
                failed = cleaned.failures.len(),
                "cleaned up, because the cluster is leaving"
            );
            self.is_clean = cleaned.failures.is_empty();
            self.report.cleanup(&cleaned, Timestamp::now());
        }
        self.status.publish(self.report.status());
        self.is_clean
    }

    /// Listens to the kernel, from the time that the underlay is known.
    fn watch_kernel(&mut self, underlay: &str) {
        if self.monitor.as_ref().is_some_and(|(watched, _)| watched == underlay) {
            return;
        }
        match Monitor::open(underlay) {
            Ok(monitor) => self.monitor = Some((underlay.to_owned(), monitor)),
            Err(error) => {
                tracing::warn!(%error, "cannot listen to the kernel; looking every {} s only", RESYNC.as_secs());
            }
        }
    }

    fn note_freshness(&self, freshness: &Freshness) {
        match freshness {
            Freshness::Waiting(why) => self.readiness.fails("snapshot", why.clone()),
            Freshness::Stale(why) => {
                self.readiness.holds("snapshot");
                self.readiness
                    .note("freshness", format!("going on from the last snapshot: {why}"));
            }
            Freshness::Live => {
                self.readiness.holds("snapshot");
                self.readiness.note("freshness", "live");
            }
        }
    }
}

/// A look at the kernel when nothing called for one.
const RESYNC: Duration = Duration::from_secs(30);
/// How long the first answers of the gateways are waited for.
const FIRST_PROBES: Duration = Duration::from_secs(1);
/// After a round, the kernel's word is left for so many times as long as it took.
const ECHO: u32 = 9;
/// What others did to the kernel is not left for longer.
const LONGEST_ECHO: Duration = Duration::from_millis(200);
/// Another try after something failed.
const RETRY: Duration = Duration::from_secs(1);
