//! Lanes of a cable that carry nothing while others do. Their flows go by the first lane meanwhile; a person should know all the same.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use clusterset::choice;
use model::{ConnectionState, GatewayId, ProbeMode, Snapshot};
use tunnel::CableStatus;

/// Remembers since when lanes are dead: those of a gateway that has just been chosen have to come up first.
#[derive(Debug, Default)]
pub(crate) struct DeadLanes {
    since: BTreeMap<GatewayId, (u16, Instant)>,
}

impl DeadLanes {
    /// The lanes of each cable in use, a bit each, that have been dead for long enough to be told.
    pub(crate) fn take(
        &mut self,
        snapshot: &Snapshot,
        me: &GatewayId,
        cables: &[CableStatus],
        now: Instant,
    ) -> BTreeMap<GatewayId, u16> {
        let in_use = |cable: &&CableStatus| cable.is_used && cable.connection.state == ConnectionState::Connected;
        let missing: BTreeMap<_, _> = cables
            .iter()
            .filter(in_use)
            .map(|cable| {
                let remote = &cable.connection.remote;
                (remote, wanted(snapshot, me, remote) & !cable.lanes)
            })
            .filter(|(_, missing)| *missing != 0)
            .collect();
        self.since.retain(|remote, _| missing.contains_key(remote));
        for (remote, lanes) in missing {
            let known = self.since.entry(remote.clone()).or_insert((lanes, now));
            // Since when any of them is dead; which they are may change.
            known.0 = lanes;
        }
        let told = self.since.iter().filter(|(_, (_, since))| now >= *since + COMING_UP);
        told.map(|(remote, (lanes, _))| (remote.clone(), *lanes)).collect()
    }
}

/// The lanes that the cable is to have, a bit each: what both ends offer, between active gateways; all others have the first alone.
fn wanted(snapshot: &Snapshot, me: &GatewayId, remote: &GatewayId) -> u16 {
    let is_active = |id: &GatewayId| choice::active(snapshot, &id.cluster).is_some_and(|active| active.id == *id);
    if !is_active(me) || !is_active(remote) {
        return 1;
    }
    // All 16 bits of 16 lanes.
    ((1u32 << offered(snapshot, me, remote)) - 1) as u16
}

/// How many lanes both ends offer.
pub(crate) fn offered(snapshot: &Snapshot, me: &GatewayId, remote: &GatewayId) -> u8 {
    let lanes = |id: &GatewayId| {
        let gateway = snapshot.gateways.get(id);
        gateway.map_or(1, |gateway| match gateway.probe {
            ProbeMode::Tombolo => gateway.lanes,
            ProbeMode::None => 1,
        })
    };
    lanes(me).min(lanes(remote)).clamp(1, 16)
}

/// For a person: "lane 1", "lanes 1 and 3".
pub(crate) fn names(lanes: u16) -> String {
    let numbers: Vec<_> = (0..16)
        .filter(|lane| lanes & 1 << lane != 0)
        .map(|lane: u32| lane.to_string())
        .collect();
    match numbers.as_slice() {
        [one] => format!("lane {one}"),
        _ => format!("lanes {}", numbers.join(" and ")),
    }
}

/// A handshake that is lost twice, and its probes.
const COMING_UP: Duration = Duration::from_secs(4);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::tests::{cable, id, west};

    #[test]
    fn a_lane_is_dead_when_it_had_the_time_to_come_up() {
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
        let start = Instant::now();
        let mut dead = DeadLanes::default();
        let mut found = |lanes, at| {
            let cable = CableStatus {
                lanes,
                ..cable("gw1", ConnectionState::Connected, true)
            };
            dead.take(&snapshot, &me, &[cable], at).get(&id("gw1")).copied()
        };
        assert_eq!(found(0b001, start), None, "the others come up");
        assert_eq!(found(0b101, start + COMING_UP), Some(0b010));
        assert_eq!(found(0b111, start + COMING_UP), None);
        assert_eq!(found(0b011, start + COMING_UP * 2), None);
        assert_eq!(found(0b011, start + COMING_UP * 3), Some(0b100));
        assert_eq!(
            (names(0b100), names(0b1010)),
            ("lane 2".to_owned(), "lanes 1 and 3".to_owned())
        );
    }
}
