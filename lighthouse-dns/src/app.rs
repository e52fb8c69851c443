use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context;
use arc_swap::ArcSwap;
use clap::Parser;
use clusterset::dns::{ClusterNames, changes};
use daemon::{Admin, Readiness, Registry};
use k8s_runtime::{ClientOptions, Freshness, SnapshotOptions, View};
use model::{PrefixSet, Snapshot};
use tokio::sync::{oneshot, watch};

use crate::access::Access;
use crate::config::Config;
use crate::forward::Forwarder;
use crate::metrics::Metrics;
use crate::server::{Server, Shared};
use crate::zone::Zone;

/// The program. Exit code 0 when it was asked to end, 1 when it cannot work, 2 on bad usage.
pub fn main() -> ExitCode {
    daemon::run(run(Config::parse()))
}

async fn run(config: Config) -> anyhow::Result<()> {
    let registry = Registry::new();
    let readiness = Readiness::awaiting(&["view"]);
    let metrics = Metrics::register(&registry)?;
    // Greater than any serial of an earlier run, unless that saw more than one view a second.
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    let zones = config.zones.iter().map(String::as_str);
    let zone = Zone::new(zones, None, now.as_secs() as u32, config.ttl)?;
    let mut swap = Swap {
        zone: Arc::new(ArcSwap::from_pointee(zone)),
        cluster_names: if config.strict_mcs {
            ClusterNames::Reserved
        } else {
            ClusterNames::Answered
        },
        metrics: metrics.clone(),
        readiness: readiness.clone(),
        taken: None,
        retired: None,
    };
    let forwarder = forwarder(&config, &swap)?;
    let server = Server::bind(config.listen, config.udp_threads.into())?;
    let external = match config.external_listen {
        // A thread of its own, so that its clients cannot keep those of the cluster waiting.
        Some(address) => Some(Server::bind(address, 1)?),
        None => None,
    };
    tracing::info!(address = %server.address()?, zones = ?config.zones, "answering");
    Admin::new(registry.clone(), readiness).spawn(config.admin).await?;
    let shared = Shared::new(Arc::clone(&swap.zone), metrics, config.rate_limit).forwarding(forwarder);
    let allowed = config
        .external_allow
        .iter()
        .flat_map(PrefixSet::iter)
        .copied()
        .collect();
    let outside = shared.clone().only_for(Access::Only(allowed));
    if let Some(file) = &config.snapshot {
        swap.take(&saved_snapshot(file)?);
        swap.note(&Freshness::Stale(format!("it is the one in {}", file.display())));
    }
    tokio::select! {
        result = serve_outside(external, outside) => result.context("cannot start a thread for DNS over UDP")?,
        result = server.run(shared) => result.context("cannot start a thread for DNS over UDP")?,
        result = follow(config, registry, swap) => result?,
        () = daemon::shutdown() => {}
    }
    Ok(())
}

/// Swaps in what changes, unless there is a snapshot once and for all: on a thread of its own, because there may be thousands of
/// changes, and a large zone takes a while to build, while queries over TCP are answered.
async fn follow(config: Config, registry: Registry, mut swap: Swap) -> anyhow::Result<()> {
    if config.snapshot.is_some() {
        return std::future::pending().await;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("cannot start what follows the clusterset")?;
    let (sender, ended) = oneshot::channel();
    let work = move || {
        let followed = runtime.block_on(async {
            swap.follow(watch_views(&config, &registry).await?).await;
            Ok(())
        });
        // There is nobody to tell when the program ends.
        let _ = sender.send(followed);
    };
    let started = std::thread::Builder::new().name("dns-follow".to_owned()).spawn(work);
    started.context("cannot start a thread that follows the clusterset")?;
    ended.await.context("the thread that follows the clusterset ended")?
}

fn forwarder(config: &Config, swap: &Swap) -> anyhow::Result<Option<Arc<Forwarder>>> {
    if config.forwards.is_empty() {
        return Ok(None);
    }
    let forwarder = Forwarder::new(config.forwards.clone(), &swap.zone.load(), swap.metrics.clone())?;
    Ok(Some(Arc::new(forwarder)))
}

/// Never ends where there is no listener for hosts outside.
async fn serve_outside(server: Option<Server>, shared: Shared) -> std::io::Result<()> {
    let Some(server) = server else {
        return std::future::pending().await;
    };
    tracing::info!(address = %server.address()?, "answering hosts outside Kubernetes");
    server.run(shared).await
}

async fn watch_views(config: &Config, registry: &Registry) -> anyhow::Result<watch::Receiver<Arc<View>>> {
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
            nodes: false,
            exports: true,
            imports: true,
            saved: Some(config.state_dir.join("lighthouse-dns.snapshot.json")),
        },
    );
    k8s_runtime::register_snapshot_metrics(registry, views.clone())?;
    Ok(views)
}

fn saved_snapshot(file: &Path) -> anyhow::Result<Arc<Snapshot>> {
    let text = std::fs::read(file).with_context(|| format!("cannot read the snapshot {}", file.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("{} is not a snapshot as an agent saves it", file.display()))
}

/// Swaps in a zone for every view that differs.
struct Swap {
    zone: Arc<ArcSwap<Zone>>,
    cluster_names: ClusterNames,
    metrics: Metrics,
    readiness: Readiness,
    /// What the zone was made from.
    taken: Option<Arc<Snapshot>>,
    /// The zone before, so that none of the threads that answer is the last to have it, and takes it apart.
    retired: Option<Arc<Zone>>,
}

impl Swap {
    /// Ends with the views.
    async fn follow(&mut self, mut views: watch::Receiver<Arc<View>>) {
        loop {
            let view = Arc::clone(&views.borrow_and_update());
            let started = Instant::now();
            if let Some(snapshot) = &view.snapshot {
                self.take(snapshot);
            }
            self.note(&view.freshness);
            drop(view);
            // A zone of thousands is not built anew for every name that comes.
            tokio::time::sleep((started.elapsed() * REST).min(LONGEST_REST)).await;
            if views.changed().await.is_err() {
                return;
            }
        }
    }

    fn take(&mut self, snapshot: &Arc<Snapshot>) {
        let before = self.taken.replace(Arc::clone(snapshot));
        let before = before.unwrap_or_else(|| Snapshot::empty(snapshot.cluster.clone()).into());
        let zone = self.zone.load_full();
        if let Some(zone) = zone.succeed(changes(&before, snapshot, self.cluster_names)) {
            self.metrics
                .names
                .set(i64::try_from(zone.name_count()).unwrap_or(i64::MAX));
            // There may be dozens a second.
            tracing::debug!(names = zone.name_count(), "a new view of the zone");
            self.retired = Some(self.zone.swap(Arc::new(zone)));
        }
    }

    fn note(&self, freshness: &Freshness) {
        self.metrics.stale.set((*freshness != Freshness::Live).into());
        match freshness {
            Freshness::Waiting(why) => self.readiness.fails("view", why.clone()),
            Freshness::Stale(why) => {
                self.readiness.holds("view");
                self.readiness
                    .note("freshness", format!("answering from the last view: {why}"));
            }
            Freshness::Live => {
                self.readiness.holds("view");
                self.readiness.note("freshness", "live");
            }
        }
    }
}

/// After a view none is taken for so many times as long as it took.
const REST: u32 = 9;
const LONGEST_REST: Duration = Duration::from_millis(200);
