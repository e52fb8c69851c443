use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use packet::Merge;

/// What the kernel does for the engine.
#[derive(Debug, Default)]
pub(crate) struct Offloads([AtomicBool; OFFLOADS.len()]);

impl Offloads {
    pub(crate) fn set_tun(&self, merge: Merge) {
        self.0[0].store(merge.tcp, Relaxed);
        self.0[1].store(merge.udp, Relaxed);
    }

    pub(crate) fn set_udp(&self, splits: bool, merges: bool) {
        self.0[2].store(splits, Relaxed);
        self.0[3].store(merges, Relaxed);
    }

    pub(crate) fn give_up_splitting(&self) {
        self.0[2].store(false, Relaxed);
    }

    pub(crate) fn set_demux(&self, steered: bool) {
        self.0[4].store(steered, Relaxed);
    }

    pub(crate) fn set_steering(&self, steered: bool) {
        self.0[5].store(steered, Relaxed);
    }

    pub(crate) fn labelled(&self) -> impl Iterator<Item = (&'static str, bool)> {
        OFFLOADS
            .iter()
            .zip(&self.0)
            .map(|(label, used)| (*label, used.load(Relaxed)))
    }

    pub(crate) fn in_use(&self) -> impl Iterator<Item = &'static str> {
        self.labelled().filter(|(_, used)| *used).map(|(label, _)| label)
    }
}

impl fmt::Display for Offloads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.in_use().collect::<Vec<_>>().join(" "))
    }
}

/// Labels of [`Offloads`]: segmentation of TCP and of UDP by the TUN device, splitting and merging by the sockets, and the kernel's
/// choice of the lane of a datagram and of a flow.
const OFFLOADS: &[&str] = &[
    "tun_tcp",
    "tun_udp",
    "udp_send",
    "udp_receive",
    "lane_of_datagram",
    "lane_of_flow",
];
