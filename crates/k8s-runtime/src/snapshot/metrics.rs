use std::sync::Arc;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntGauge, IntGaugeVec, Opts, Registry};
use tokio::sync::watch;

use super::{Freshness, View};

/// Adds what a view is like to a registry. It is read when scraped.
///
/// # Errors
/// When the registry has metrics of the same names already.
pub fn register(registry: &Registry, views: watch::Receiver<Arc<View>>) -> prometheus::Result<()> {
    let objects = Opts::new("tombolo_snapshot_objects", "Objects in the last snapshot");
    registry.register(Box::new(Metrics {
        views,
        stale: IntGauge::new(
            "tombolo_snapshot_stale",
            "1 while the last snapshot may not be how things are",
        )?,
        malformed: IntGauge::new("tombolo_snapshot_malformed_objects", "Objects that were skipped")?,
        objects: IntGaugeVec::new(objects, &["kind"])?,
    }))
}

struct Metrics {
    views: watch::Receiver<Arc<View>>,
    stale: IntGauge,
    malformed: IntGauge,
    objects: IntGaugeVec,
}

impl Collector for Metrics {
    fn desc(&self) -> Vec<&Desc> {
        let parts = [self.stale.desc(), self.malformed.desc(), self.objects.desc()];
        parts.into_iter().flatten().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let view = Arc::clone(&self.views.borrow());
        self.stale.set((view.freshness != Freshness::Live).into());
        self.malformed.set(as_gauge(view.malformed.len()));
        if let Some(snapshot) = &view.snapshot {
            let sizes = [
                ("clusters", snapshot.clusters.len()),
                ("gateways", snapshot.gateways.len()),
                ("exports", snapshot.exports.len()),
                ("nodes", snapshot.nodes.len()),
            ];
            for (kind, size) in sizes {
                self.objects.with_label_values(&[kind]).set(as_gauge(size));
            }
        }
        let parts = [self.stale.collect(), self.malformed.collect(), self.objects.collect()];
        parts.into_iter().flatten().collect()
    }
}

fn as_gauge(size: usize) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}
