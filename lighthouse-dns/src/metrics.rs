use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};

use crate::answer::{Outcome, Transport};

/// What the name server counts.
#[derive(Debug, Clone)]
pub struct Metrics {
    queries: IntCounterVec,
    /// Datagrams that cannot be answered.
    pub ignored: IntCounter,
    /// Names with records in the view.
    pub names: IntGauge,
    /// 1 while answers come from a view saved on disk.
    pub stale: IntGauge,
}

impl Metrics {
    /// Registers everything, every label value at zero.
    ///
    /// # Errors
    /// When a metric of the same name is registered already.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let metrics = Self {
            queries: IntCounterVec::new(
                Opts::new("tombolo_dns_queries_total", "Queries by transport and outcome."),
                &["transport", "outcome"],
            )?,
            ignored: IntCounter::new(
                "tombolo_dns_ignored_total",
                "Datagrams that are no query and were not answered.",
            )?,
            names: IntGauge::new("tombolo_dns_names", "Names of the clusterset zone that have records.")?,
            stale: IntGauge::new(
                "tombolo_dns_view_stale",
                "1 while answers come from a view saved on disk.",
            )?,
        };
        registry.register(Box::new(metrics.queries.clone()))?;
        registry.register(Box::new(metrics.ignored.clone()))?;
        registry.register(Box::new(metrics.names.clone()))?;
        registry.register(Box::new(metrics.stale.clone()))?;
        for transport in [Transport::Udp, Transport::Tcp] {
            for outcome in Outcome::ALL {
                metrics
                    .queries
                    .with_label_values(&[label(transport), outcome.label()])
                    .reset();
            }
        }
        Ok(metrics)
    }

    /// Counts one response.
    pub fn count(&self, transport: Transport, outcome: Outcome) {
        self.queries
            .with_label_values(&[label(transport), outcome.label()])
            .inc();
    }
}

fn label(transport: Transport) -> &'static str {
    match transport {
        Transport::Udp => "udp",
        Transport::Tcp => "tcp",
    }
}
