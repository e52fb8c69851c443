//! What the data plane counts, as the `Gateway` tells it.

use std::collections::BTreeMap;

use k8s_api::{CableLanesStatus, ConnectionStatus, DropStatus, GatewayStatus, LaneStatus};
use model::{GatewayId, Snapshot};
use tunnel::{CableStatus, DropTotals, LaneTotals};

use crate::lanes;

/// Counters of lanes, and of cables what their connections do not hold.
#[derive(Debug, Default)]
pub(crate) struct Telemetry {
    lanes: Vec<LaneStatus>,
    offloads: Vec<String>,
    cables: BTreeMap<GatewayId, (CableLanesStatus, Vec<DropStatus>)>,
}

impl Telemetry {
    pub(crate) fn new(snapshot: &Snapshot, me: &GatewayId, engine: &tunnel::Telemetry, cables: &[CableStatus]) -> Self {
        let cable = |cable: &CableStatus| {
            let remote = &cable.connection.remote;
            let lanes = CableLanesStatus {
                offered: lanes::offered(snapshot, me, remote),
                // At most 16.
                used: cable.lanes.count_ones() as u8,
            };
            (remote.clone(), (lanes, drops(&cable.drops)))
        };
        Self {
            lanes: engine.lanes.iter().map(lane).collect(),
            offloads: engine.offloads.iter().map(ToString::to_string).collect(),
            cables: cables.iter().map(cable).collect(),
        }
    }

    /// Of a cable that the engine does not have nothing is known.
    pub(crate) fn tell_cable(&self, remote: &GatewayId, status: ConnectionStatus) -> ConnectionStatus {
        let Some((lanes, drops)) = self.cables.get(remote) else {
            return status;
        };
        ConnectionStatus {
            lanes: Some(*lanes),
            drops: drops.clone(),
            ..status
        }
    }

    pub(crate) fn tell(&self, status: GatewayStatus) -> GatewayStatus {
        GatewayStatus {
            lanes: self.lanes.clone(),
            offloads: self.offloads.clone(),
            ..status
        }
    }
}

fn lane(totals: &LaneTotals) -> LaneStatus {
    LaneStatus {
        rx_packets: totals.rx_packets,
        rx_bytes: totals.rx_bytes,
        tx_packets: totals.tx_packets,
        tx_bytes: totals.tx_bytes,
        handshakes: totals.handshakes,
        hand_overs: totals.hand_overs,
        drops: drops(&totals.drops),
    }
}

fn drops(totals: &DropTotals) -> Vec<DropStatus> {
    let drop = |(reason, packets): (tunnel::DropReason, u64)| DropStatus {
        reason: reason.label().to_owned(),
        packets,
    };
    totals.iter().map(drop).collect()
}

/// The same without what changes all the time.
pub(crate) fn without_counts(status: &mut GatewayStatus) {
    status.lanes.fill(LaneStatus::default());
    for connection in &mut status.connections {
        connection.drops.clear();
    }
}

#[cfg(test)]
mod tests {
    use model::ConnectionState;

    use super::*;
    use crate::verdict::tests::{cable, id, west};

    #[test]
    fn lanes_are_told_as_offered_by_both_and_as_used() {
        let me = GatewayId {
            cluster: "east".parse().unwrap(),
            node: "gw1".parse().unwrap(),
        };
        let mut snapshot = west();
        snapshot.gateways.get_mut(&id("gw1")).unwrap().lanes = 4;
        let own = model::Gateway {
            id: me.clone(),
            lanes: 3,
            ..snapshot.gateways[&id("gw1")].clone()
        };
        snapshot.gateways.insert(me.clone(), own);
        let cables = [CableStatus {
            lanes: 0b101,
            ..cable("gw1", ConnectionState::Connected, true)
        }];
        let telemetry = Telemetry::new(&snapshot, &me, &tunnel::Telemetry::default(), &cables);
        let (lanes, drops) = &telemetry.cables[&id("gw1")];
        assert_eq!(*lanes, CableLanesStatus { offered: 3, used: 2 });
        assert!(drops.is_empty());
    }
}
