mod lanes;

use std::sync::Arc;

use model::ConnectionState;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Gauge, GaugeVec, IntCounter, IntCounterVec, IntGaugeVec, Opts, Registry};

use crate::shared::Shared;

/// Adds the metrics of an engine to a registry. Everything is read when scraped; the packet loop only counts.
pub(crate) fn register(shared: Arc<Shared>, registry: &Registry) -> prometheus::Result<()> {
    registry.register(Box::new(lanes::Metrics::new(shared.clone())?))?;
    registry.register(Box::new(Metrics::new(shared)?))
}

/// Those of cables.
struct Metrics {
    shared: Arc<Shared>,
    rx_packets: IntCounterVec,
    rx_bytes: IntCounterVec,
    tx_packets: IntCounterVec,
    tx_bytes: IntCounterVec,
    handshakes: IntCounterVec,
    dropped: IntCounterVec,
    connected: IntGaugeVec,
    rtt: GaugeVec,
    rtt_p95: GaugeVec,
    rtt_p99: GaugeVec,
    loss: GaugeVec,
    mtu: IntGaugeVec,
    failovers: IntCounter,
    last_failover: Gauge,
    lanes_connected: IntGaugeVec,
}

impl Metrics {
    fn new(shared: Arc<Shared>) -> prometheus::Result<Self> {
        let counter = |name, help| IntCounterVec::new(Opts::new(name, help), CABLE_LABELS);
        Ok(Self {
            shared,
            rx_packets: counter(
                "tombolo_cable_receive_packets_total",
                "Inner packets received over a cable",
            )?,
            rx_bytes: counter(
                "tombolo_cable_receive_bytes_total",
                "Bytes of inner packets received over a cable",
            )?,
            tx_packets: counter(
                "tombolo_cable_transmit_packets_total",
                "Inner packets sent over a cable",
            )?,
            tx_bytes: counter(
                "tombolo_cable_transmit_bytes_total",
                "Bytes of inner packets sent over a cable",
            )?,
            handshakes: counter(
                "tombolo_cable_handshakes_total",
                "Sessions that were established on a cable",
            )?,
            dropped: IntCounterVec::new(
                Opts::new(
                    "tombolo_cable_dropped_packets_total",
                    "Packets of a cable that were dropped; what does not decrypt only claims to be of one",
                ),
                &["cluster", "gateway", "reason"],
            )?,
            connected: IntGaugeVec::new(
                Opts::new(
                    "tombolo_cable_connected",
                    "1 if the cable had an authenticated round trip lately, else 0",
                ),
                CABLE_LABELS,
            )?,
            rtt: GaugeVec::new(
                Opts::new("tombolo_cable_rtt_seconds", "Median round-trip time of the last probes"),
                CABLE_LABELS,
            )?,
            rtt_p95: GaugeVec::new(
                Opts::new(
                    "tombolo_cable_rtt_p95_seconds",
                    "95th percentile of the round-trip times of the last probes",
                ),
                CABLE_LABELS,
            )?,
            rtt_p99: GaugeVec::new(
                Opts::new(
                    "tombolo_cable_rtt_p99_seconds",
                    "99th percentile of the round-trip times of the last probes",
                ),
                CABLE_LABELS,
            )?,
            mtu: IntGaugeVec::new(
                Opts::new(
                    "tombolo_cable_mtu_bytes",
                    "The largest packet that a cable takes, as measured",
                ),
                CABLE_LABELS,
            )?,
            failovers: IntCounter::new(
                "tombolo_failovers_total",
                "Times that traffic left a dead cable for another",
            )?,
            last_failover: Gauge::new(
                "tombolo_failover_last_seconds",
                "How long the last failover took from the last sign of life of the dead cable",
            )?,
            loss: GaugeVec::new(
                Opts::new("tombolo_cable_loss_ratio", "Lost share of the last probes"),
                CABLE_LABELS,
            )?,
            lanes_connected: IntGaugeVec::new(
                Opts::new("tombolo_cable_lanes", "Lanes of a cable that carry packets"),
                CABLE_LABELS,
            )?,
        })
    }

    fn families(&self) -> [&dyn Collector; 15] {
        [
            &self.rx_packets,
            &self.rx_bytes,
            &self.tx_packets,
            &self.tx_bytes,
            &self.handshakes,
            &self.dropped,
            &self.connected,
            &self.rtt,
            &self.rtt_p95,
            &self.rtt_p99,
            &self.loss,
            &self.mtu,
            &self.failovers,
            &self.last_failover,
            &self.lanes_connected,
        ]
    }
}

impl Collector for Metrics {
    fn desc(&self) -> Vec<&Desc> {
        self.families().into_iter().flat_map(Collector::desc).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        // Totals live with the peers, so every scrape starts from nothing: a peer that is gone leaves no series behind.
        let counters = [
            &self.rx_packets,
            &self.rx_bytes,
            &self.tx_packets,
            &self.tx_bytes,
            &self.handshakes,
        ];
        for counter in counters.into_iter().chain([&self.dropped]) {
            counter.reset();
        }
        self.connected.reset();
        for gauge in [&self.rtt, &self.rtt_p95, &self.rtt_p99, &self.loss] {
            gauge.reset();
        }
        self.mtu.reset();
        self.lanes_connected.reset();
        let failovers = self.shared.failovers();
        self.failovers.reset();
        self.failovers.inc_by(failovers.count);
        self.last_failover.set(failovers.last.unwrap_or_default().as_secs_f64());
        for (status, totals) in self.shared.cables() {
            let remote = &status.connection.remote;
            let labels = &[remote.cluster.as_str(), remote.node.as_str()];
            let values = [
                totals.rx_packets,
                totals.rx_bytes,
                totals.tx_packets,
                totals.tx_bytes,
                totals.handshakes,
            ];
            for (counter, value) in counters.into_iter().zip(values) {
                counter.with_label_values(labels).inc_by(value);
            }
            // Cables are many, and reasons too: only what there was.
            for (reason, count) in totals.drops.iter() {
                let labels = &[labels[0], labels[1], reason.label()];
                self.dropped.with_label_values(labels).inc_by(count);
            }
            let connected = status.connection.state == ConnectionState::Connected;
            self.connected.with_label_values(labels).set(i64::from(connected));
            let lanes = status.lanes.count_ones();
            self.lanes_connected.with_label_values(labels).set(lanes.into());
            if let Some(rtt) = status.connection.rtt {
                for (gauge, micros) in [
                    (&self.rtt, rtt.p50_us),
                    (&self.rtt_p95, rtt.p95_us),
                    (&self.rtt_p99, rtt.p99_us),
                ] {
                    gauge.with_label_values(labels).set(f64::from(micros) / 1e6);
                }
            }
            if let Some(mtu) = status.connection.mtu {
                self.mtu.with_label_values(labels).set(mtu.into());
            }
            if let Some(loss) = status.connection.loss_percent {
                self.loss.with_label_values(labels).set(loss / 100.0);
            }
        }
        self.families().into_iter().flat_map(Collector::collect).collect()
    }
}

const CABLE_LABELS: &[&str] = &["cluster", "gateway"];
