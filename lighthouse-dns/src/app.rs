use std::process::ExitCode;
use std::sync::Arc;

use arc_swap::ArcSwap;
use clap::Parser;
use clusterset::dns::zone_view;
use daemon::{Admin, Readiness, Registry};
use k8s_runtime::{ClientOptions, Freshness, SnapshotOptions, View};
use tokio::sync::watch;

use crate::answer::{InvalidZone, Zone};
use crate::config::Config;
use crate::metrics::Metrics;
use crate::server::{Server, Shared};

/// The program. Exit code 0 when it was asked to end, 1 when it cannot work, 2 on bad usage.
pub fn main() -> ExitCode {
    daemon::run(run(Config::parse()))
}

async fn run(config: Config) -> anyhow::Result<()> {
    let registry = Registry::new();
    let readiness = Readiness::awaiting(&["view"]);
    let metrics = Metrics::register(&registry)?;
    let zone = Arc::new(ArcSwap::from_pointee(Zone::new(&config.zone, None, 0, config.ttl)?));
    let server = Server::bind(config.listen)?;
    tracing::info!(address = %server.address()?, zone = config.zone, "answering");
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
            nodes: false,
            exports: true,
            imports: true,
            saved: Some(config.state_dir.join("lighthouse-dns.snapshot.json")),
        },
    );
    k8s_runtime::register_snapshot_metrics(&registry, views.clone())?;
    let shared = Shared::new(Arc::clone(&zone), metrics.clone());
    tokio::select! {
        () = server.run(shared) => {}
        result = follow(views, &config, &zone, &metrics, &readiness) => result?,
        () = daemon::shutdown() => {}
    }
    Ok(())
}

/// Swaps in a zone for every view that differs.
async fn follow(
    mut views: watch::Receiver<Arc<View>>,
    config: &Config,
    zone: &ArcSwap<Zone>,
    metrics: &Metrics,
    readiness: &Readiness,
) -> Result<(), InvalidZone> {
    let mut last = None;
    let mut serial = 0;
    loop {
        let view = Arc::clone(&views.borrow_and_update());
        note(&view, metrics, readiness);
        if let Some(snapshot) = &view.snapshot {
            let current = zone_view(snapshot);
            if last.as_ref() != Some(&current) {
                serial += 1;
                metrics.names.set(i64::try_from(current.len()).unwrap_or(i64::MAX));
                tracing::info!(names = current.len(), serial, "a new view of the zone");
                zone.store(Arc::new(Zone::new(
                    &config.zone,
                    Some(current.clone()),
                    serial,
                    config.ttl,
                )?));
                last = Some(current);
            }
        }
        if views.changed().await.is_err() {
            return Ok(());
        }
    }
}

fn note(view: &View, metrics: &Metrics, readiness: &Readiness) {
    metrics.stale.set((view.freshness != Freshness::Live).into());
    match &view.freshness {
        Freshness::Waiting(why) => readiness.fails("view", why.clone()),
        Freshness::Stale(why) => {
            readiness.holds("view");
            readiness.note("freshness", format!("answering from the last view: {why}"));
        }
        Freshness::Live => {
            readiness.holds("view");
            readiness.note("freshness", "live");
        }
    }
}
