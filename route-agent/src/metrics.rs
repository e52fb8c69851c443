use prometheus::{IntCounter, IntGauge, Registry};

use crate::reconcile::Outcome;

/// What the route agent counts.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    rounds: IntCounter,
    changes: IntCounter,
    drift: IntCounter,
    failures: IntCounter,
    /// Counted where it happens.
    pub(crate) shifts: IntCounter,
    blocked: IntGauge,
}

impl Metrics {
    pub(crate) fn register(registry: &Registry) -> prometheus::Result<Self> {
        let counter = |name, help| {
            let counter = IntCounter::new(name, help)?;
            registry.register(Box::new(counter.clone()))?;
            Ok::<_, prometheus::Error>(counter)
        };
        let blocked = IntGauge::new(
            "tombolo_route_blocked",
            "Parts of the need that this node cannot have now.",
        )?;
        registry.register(Box::new(blocked.clone()))?;
        Ok(Self {
            rounds: counter(
                "tombolo_route_rounds_total",
                "Times that the kernel was compared with the need.",
            )?,
            changes: counter("tombolo_route_changes_total", "Changes made to the kernel.")?,
            drift: counter(
                "tombolo_route_drift_total",
                "Changes that put back what another had altered.",
            )?,
            failures: counter("tombolo_route_failures_total", "Changes that the kernel refused.")?,
            shifts: counter(
                "tombolo_route_shifts_total",
                "Nexthops that were replaced because the probes said so.",
            )?,
            blocked,
        })
    }

    pub(crate) fn count(&self, outcome: &Outcome) {
        self.rounds.inc();
        self.changes.inc_by(outcome.done as u64);
        self.drift.inc_by(outcome.drift as u64);
        self.failures.inc_by(outcome.failures.len() as u64);
        self.blocked
            .set(i64::try_from(outcome.blocked.len()).unwrap_or(i64::MAX));
    }
}
