use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};

use crate::answer::{Outcome, Transport};

/// What the name server counts.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// By transport and outcome, so that a query looks no label up.
    queries: [[IntCounter; Outcome::ALL.len()]; 2],
    /// Datagrams that cannot be answered.
    pub ignored: IntCounter,
    /// Responses that a client network's rate allowed no more.
    pub limited: IntCounter,
    /// Queries that other servers were asked.
    pub forwards: Forwards,
    /// Names with records in the view.
    pub names: IntGauge,
    /// 1 while answers come from a view saved on disk.
    pub stale: IntGauge,
}

/// What became of queries for zones of other servers.
#[derive(Debug, Clone)]
pub struct Forwards {
    /// A server answered, whatever it said.
    pub answered: IntCounter,
    /// No server did in time.
    pub failed: IntCounter,
    /// Too many were under way.
    pub shed: IntCounter,
}

impl Metrics {
    /// Registers everything, every label value at zero.
    ///
    /// # Errors
    /// When a metric of the same name is registered already.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let queries = IntCounterVec::new(
            Opts::new("tombolo_dns_queries_total", "Queries by transport and outcome."),
            &["transport", "outcome"],
        )?;
        registry.register(Box::new(queries.clone()))?;
        let forwards = IntCounterVec::new(
            Opts::new(
                "tombolo_dns_forwarded_total",
                "Queries for zones of other servers, by outcome.",
            ),
            &["outcome"],
        )?;
        registry.register(Box::new(forwards.clone()))?;
        let of =
            |transport| Outcome::ALL.map(|outcome| queries.with_label_values(&[label(transport), outcome.label()]));
        let metrics = Self {
            queries: [of(Transport::Udp), of(Transport::Tcp)],
            ignored: IntCounter::new(
                "tombolo_dns_ignored_total",
                "Datagrams that are no query and were not answered.",
            )?,
            limited: IntCounter::new(
                "tombolo_dns_rate_limited_total",
                "Responses that were cut or dropped because a client network had too many.",
            )?,
            forwards: Forwards {
                answered: forwards.with_label_values(&["answered"]),
                failed: forwards.with_label_values(&["failed"]),
                shed: forwards.with_label_values(&["shed"]),
            },
            names: IntGauge::new("tombolo_dns_names", "Names of the clusterset zone that have records.")?,
            stale: IntGauge::new(
                "tombolo_dns_view_stale",
                "1 while answers come from a view saved on disk.",
            )?,
        };
        registry.register(Box::new(metrics.ignored.clone()))?;
        registry.register(Box::new(metrics.limited.clone()))?;
        registry.register(Box::new(metrics.names.clone()))?;
        registry.register(Box::new(metrics.stale.clone()))?;
        Ok(metrics)
    }

    /// Counts one response.
    pub fn count(&self, transport: Transport, outcome: Outcome) {
        self.queries[transport as usize][outcome as usize].inc();
    }
}

fn label(transport: Transport) -> &'static str {
    match transport {
        Transport::Udp => "udp",
        Transport::Tcp => "tcp",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_has_its_own_counter_from_the_start() {
        let registry = Registry::new();
        let metrics = Metrics::register(&registry).unwrap();
        for (index, outcome) in Outcome::ALL.into_iter().enumerate() {
            assert_eq!(outcome as usize, index);
        }
        metrics.count(Transport::Tcp, Outcome::NxDomain);
        let families = registry.gather();
        let queries = families
            .iter()
            .find(|family| family.name() == "tombolo_dns_queries_total")
            .unwrap();
        assert_eq!(queries.get_metric().len(), 16);
        let counted: Vec<_> = queries
            .get_metric()
            .iter()
            .filter(|m| m.get_counter().get_value() > 0.0)
            .collect();
        let labels: Vec<_> = counted[0].get_label().iter().map(|label| label.value()).collect();
        assert_eq!((counted.len(), labels), (1, vec!["nxdomain", "tcp"]));
    }
}
