use std::sync::{Arc, Mutex, PoisonError};

use model::GatewayId;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{GaugeVec, IntGauge, Opts, Registry};

/// What the agent says of itself.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    pub(crate) is_active: IntGauge,
    pub(crate) epoch: IntGauge,
    pub(crate) is_sync_leader: IntGauge,
    pub(crate) engine_runs: IntGauge,
    changed: GaugeVec,
}

impl Metrics {
    /// Adds them to a registry, and with them those of whichever engine runs when it is scraped.
    pub(crate) fn register(registry: &Registry, engine: Arc<Mutex<Registry>>) -> prometheus::Result<Self> {
        let gauge = |name: &str, help: &str| {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok::<_, prometheus::Error>(gauge)
        };
        let changed = GaugeVec::new(
            Opts::new(
                "tombolo_cable_changed_timestamp_seconds",
                "When the state or the reason of the cable to a gateway changed last, seconds since 1970",
            ),
            &["cluster", "gateway"],
        )?;
        registry.register(Box::new(changed.clone()))?;
        let metrics = Self {
            changed,
            is_active: gauge(
                "tombolo_gateway_active",
                "1 while this gateway holds the active role of its cluster",
            )?,
            epoch: gauge("tombolo_gateway_epoch", "Epoch of the active role, as last seen")?,
            is_sync_leader: gauge("tombolo_sync_leader", "1 while this agent talks to the broker")?,
            engine_runs: IntGauge::new("tombolo_engine_running", "1 while the data plane runs")?,
        };
        registry.register(Box::new(CurrentEngine {
            runs: metrics.engine_runs.clone(),
            engine,
        }))?;
        Ok(metrics)
    }

    /// These cables changed at this time, seconds since 1970.
    pub(crate) fn tell_changes(&self, gateways: impl Iterator<Item = GatewayId>, seconds: f64) {
        for gateway in gateways {
            let labels = [gateway.cluster.as_str(), gateway.node.as_str()];
            self.changed.with_label_values(&labels).set(seconds);
        }
    }
}

/// An engine that is started again counts from nothing, in metrics of the same names.
struct CurrentEngine {
    runs: IntGauge,
    engine: Arc<Mutex<Registry>>,
}

impl Collector for CurrentEngine {
    fn desc(&self) -> Vec<&Desc> {
        self.runs.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut families = self.runs.collect();
        families.extend(self.engine.lock().unwrap_or_else(PoisonError::into_inner).gather());
        families
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_metrics_of_the_engine_of_the_moment_are_told() {
        let (registry, engine) = (Registry::new(), Arc::<Mutex<Registry>>::default());
        let metrics = Metrics::register(&registry, Arc::clone(&engine)).unwrap();
        metrics.engine_runs.set(1);
        for value in [3, 1] {
            let fresh = Registry::new();
            let packets = IntGauge::new("packets", "of an engine").unwrap();
            packets.set(value);
            fresh.register(Box::new(packets)).unwrap();
            *engine.lock().unwrap() = fresh;
            let found = registry.gather();
            let of = |name: &str| {
                found.iter().find(|family| family.name() == name).unwrap().get_metric()[0]
                    .get_gauge()
                    .get_value()
            };
            assert!((of("packets") - value as f64).abs() < f64::EPSILON);
            assert!((of("tombolo_engine_running") - 1.0).abs() < f64::EPSILON);
        }
    }
}
