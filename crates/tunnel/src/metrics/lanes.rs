use std::sync::Arc;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntCounterVec, IntGaugeVec, Opts};

use crate::counters::DropReason;
use crate::shared::Shared;

/// What the lanes do, and what the kernel does for them. There are at most 16 lanes, and labels come from closed lists.
pub(super) struct Metrics {
    shared: Arc<Shared>,
    rx_packets: IntCounterVec,
    rx_bytes: IntCounterVec,
    tx_packets: IntCounterVec,
    tx_bytes: IntCounterVec,
    handshakes: IntCounterVec,
    dropped: IntCounterVec,
    work: IntCounterVec,
    offload: IntGaugeVec,
}

impl Metrics {
    pub(super) fn new(shared: Arc<Shared>) -> prometheus::Result<Self> {
        let counter = |name, help, labels| IntCounterVec::new(Opts::new(name, help), labels);
        Ok(Self {
            shared,
            rx_packets: counter(
                "tombolo_tunnel_lane_receive_packets_total",
                "Inner packets that a lane received",
                LANE,
            )?,
            rx_bytes: counter(
                "tombolo_tunnel_lane_receive_bytes_total",
                "Bytes of inner packets that a lane received",
                LANE,
            )?,
            tx_packets: counter(
                "tombolo_tunnel_lane_transmit_packets_total",
                "Inner packets that a lane sent",
                LANE,
            )?,
            tx_bytes: counter(
                "tombolo_tunnel_lane_transmit_bytes_total",
                "Bytes of inner packets that a lane sent",
                LANE,
            )?,
            handshakes: counter(
                "tombolo_tunnel_lane_handshakes_total",
                "Sessions that a lane established",
                LANE,
            )?,
            dropped: counter(
                "tombolo_tunnel_dropped_packets_total",
                "Packets that a lane of the data plane dropped",
                &["lane", "reason"],
            )?,
            work: counter(
                "tombolo_tunnel_lane_work_total",
                "What the lanes of the data plane did",
                &["lane", "work"],
            )?,
            offload: IntGaugeVec::new(
                Opts::new(
                    "tombolo_tunnel_offload",
                    "1 if the kernel does this for the data plane, else 0",
                ),
                &["feature"],
            )?,
        })
    }

    fn counters(&self) -> [&IntCounterVec; 7] {
        [
            &self.rx_packets,
            &self.rx_bytes,
            &self.tx_packets,
            &self.tx_bytes,
            &self.handshakes,
            &self.dropped,
            &self.work,
        ]
    }

    fn read(&self, lane: usize) {
        let (totals, lane_label) = (self.shared.lane_totals(lane), lane.to_string());
        for (counter, value) in [
            (&self.rx_packets, totals.rx_packets),
            (&self.rx_bytes, totals.rx_bytes),
            (&self.tx_packets, totals.tx_packets),
            (&self.tx_bytes, totals.tx_bytes),
            (&self.handshakes, totals.handshakes),
        ] {
            counter.with_label_values(&[&lane_label]).inc_by(value);
        }
        for reason in DropReason::ALL {
            let labels = [lane_label.as_str(), reason.label()];
            self.dropped.with_label_values(&labels).inc_by(totals.drops.of(*reason));
        }
        for (work, count) in self.shared.counters(lane).labelled() {
            self.work.with_label_values(&[lane_label.as_str(), work]).inc_by(count);
        }
    }
}

impl Collector for Metrics {
    fn desc(&self) -> Vec<&Desc> {
        let counters = self.counters().into_iter().flat_map(Collector::desc);
        counters.chain(self.offload.desc()).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        // Totals live with the lanes, so every scrape starts from nothing.
        for counter in self.counters() {
            counter.reset();
        }
        for lane in 0..self.shared.lanes() {
            self.read(lane);
        }
        for (feature, used) in self.shared.offloads().labelled() {
            self.offload.with_label_values(&[feature]).set(used.into());
        }
        let counters = self.counters().into_iter().flat_map(Collector::collect);
        counters.chain(self.offload.collect()).collect()
    }
}

const LANE: &[&str] = &["lane"];
