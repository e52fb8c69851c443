//! What the deep probes of this gateway mean for its peers, and what is told of its connections.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use clusterset::{choice, claims};
use k8s_api::condition::Finding;
use model::{ClusterId, Connection, ConnectionState, GatewayId, Snapshot};
use probe::{Direction, Fault, Reason};
use tunnel::CableStatus;

use crate::deep::{Found, Target, Targets};
use crate::lanes;

/// Nodes behind the peers in use and behind their standbys, as far as they are in prefixes of the peer's own cluster.
pub(crate) fn targets(snapshot: &Snapshot, cables: &[CableStatus]) -> Targets {
    let connected = cables
        .iter()
        .filter(|cable| cable.connection.state == ConnectionState::Connected);
    let accepted = claims::accepted(snapshot);
    connected
        .filter_map(|cable| {
            let remote = &cable.connection.remote;
            let prefixes = accepted.get(&remote.cluster)?;
            let nodes = cable.addresses.iter().copied().filter(|node| prefixes.contains(*node));
            let target = Target {
                nodes: nodes.collect(),
                size: cable.connection.mtu?,
                whole_at: cable.whole_at,
                is_used: cable.is_used,
            };
            Some((remote.clone(), target))
        })
        .collect()
}

/// A cable behind which packets get lost is not wholly good, however well it answers itself.
fn with_verdict(connection: Connection, found: &Found) -> Connection {
    let Some(fault) = found.faults.get(&connection.remote).copied() else {
        return connection;
    };
    if connection.state != ConnectionState::Connected {
        return connection;
    }
    let remote = &connection.remote;
    let (reason, case) = match fault {
        Fault::Forwarding => (
            Reason::ForwardingBroken,
            format!("no node behind {remote} answers, though {remote} does"),
        ),
        Fault::Untracked => (
            Reason::UntrackedDropped,
            format!("behind {remote} only what connection tracking follows gets through"),
        ),
        Fault::BlackHole { size, direction } => {
            let way = match direction {
                Direction::There => format!("on the way from {remote} to its nodes"),
                Direction::Back => format!("on the way from its nodes to {remote}"),
            };
            let case = format!("packets of {size} bytes get lost {way}, smaller ones pass");
            (Reason::MtuBlackHole, case)
        }
    };
    with_reason(connection, ConnectionState::Degraded, reason, &case)
}

/// The connections as they are told: what this gateway sees of each cable, and what only all of them together say.
pub(crate) fn connections(
    snapshot: &Snapshot,
    cables: Vec<CableStatus>,
    dead_lanes: &BTreeMap<GatewayId, u16>,
    found: &Found,
    synced: Option<&Finding>,
    is_behind_standby: &BTreeSet<ClusterId>,
) -> Vec<Connection> {
    let told = |cable: CableStatus| {
        let connection = with_verdict(cable.connection, found);
        let dead = dead_lanes.get(&connection.remote);
        match connection.state {
            ConnectionState::Connected if is_behind_standby.contains(&connection.remote.cluster) => {
                let remote = &connection.remote.cluster;
                let case = choice::active(snapshot, remote).map_or_else(String::new, |active| active.id.to_string());
                with_reason(connection, ConnectionState::Degraded, Reason::StandbyOnly, &case)
            }
            ConnectionState::Connected => match dead {
                Some(dead) => with_reason(
                    connection,
                    ConnectionState::Degraded,
                    Reason::LaneDown,
                    &lanes::names(*dead),
                ),
                None => connection,
            },
            ConnectionState::Error => match synced.filter(|synced| synced.status == Some(false)) {
                Some(synced) => with_reason(connection, ConnectionState::Error, Reason::BrokerStale, &synced.message),
                None => connection,
            },
            _ => connection,
        }
    };
    cables.into_iter().map(told).collect()
}

/// Clusters of which only standbys are there, and since when.
#[derive(Debug, Default)]
pub(crate) struct StandbysOnly {
    since: BTreeMap<ClusterId, Instant>,
}

impl StandbysOnly {
    /// Those of which that is worth a word. A cluster that joins, or hands over the role, is like that for a moment.
    pub(crate) fn take(&mut self, snapshot: &Snapshot, cables: &[CableStatus], now: Instant) -> BTreeSet<ClusterId> {
        let all = clusters_of_standbys(snapshot, cables);
        self.since.retain(|cluster, _| all.contains(cluster));
        for cluster in all {
            self.since.entry(cluster).or_insert(now);
        }
        let lasting = self
            .since
            .iter()
            .filter(|(_, since)| now.saturating_duration_since(**since) >= HANDED_OVER);
        lasting.map(|(cluster, _)| cluster.clone()).collect()
    }
}

/// Clusters whose active gateway, as they published it, has no working cable while none that works claims to be active.
fn clusters_of_standbys(snapshot: &Snapshot, cables: &[CableStatus]) -> BTreeSet<ClusterId> {
    let mut claims: BTreeMap<&ClusterId, bool> = BTreeMap::new();
    for cable in cables.iter().filter(|cable| cable.connection.state.is_usable()) {
        // Who says nothing of itself, like a stock peer, is no standby.
        let claims_nothing = cable.role.is_none_or(|role| role.active);
        *claims.entry(&cable.connection.remote.cluster).or_default() |= claims_nothing;
    }
    let published = |cluster: &ClusterId| choice::active(snapshot, cluster).is_some_and(|gateway| gateway.active);
    let standbys = claims
        .into_iter()
        .filter(|(cluster, claimed)| !claimed && published(cluster));
    standbys.map(|(cluster, _)| cluster.clone()).collect()
}

fn with_reason(connection: Connection, state: ConnectionState, reason: Reason, case: &str) -> Connection {
    let before = match connection.message.as_str() {
        "" => String::new(),
        message => format!("; {message}"),
    };
    Connection {
        state,
        reason: Some(reason.name().to_owned()),
        message: format!("{} ({case}): {}{before}", reason.sentence(), reason.mend()),
        ..connection
    }
}

/// A lease that was not given back is another's by then.
const HANDED_OVER: Duration = Duration::from_secs(8);

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use ConnectionState::{Connected, Degraded, Error};
    use model::{Gateway, ProbeMode, ProbeRole, PublicKey};

    pub(crate) fn id(node: &str) -> GatewayId {
        GatewayId {
            cluster: "west".parse().unwrap(),
            node: node.parse().unwrap(),
        }
    }

    pub(crate) fn cable(node: &str, state: ConnectionState, active: bool) -> CableStatus {
        CableStatus {
            connection: Connection {
                mtu: Some(1440),
                ..Connection::new(id(node), state)
            },
            role: Some(ProbeRole {
                active,
                draining: false,
                epoch: 1,
            }),
            addresses: vec![],
            calls_us_broken: false,
            is_used: true,
            whole_at: None,
            lanes: 1,
            drops: tunnel::DropTotals::default(),
        }
    }

    /// West says that gw1 is its active gateway.
    pub(crate) fn west() -> Snapshot {
        let mut snapshot = Snapshot::empty("east".parse().unwrap());
        let active = Gateway {
            id: id("gw1"),
            public_key: PublicKey::from_bytes([1; 32]),
            addresses: vec![],
            port: 4510,
            lanes: 1,
            priority: 0,
            active: true,
            epoch: 1,
            probe: ProbeMode::Tombolo,
            underlay_mtu: 1500,
            connections: vec![],
        };
        snapshot.gateways.insert(active.id.clone(), active);
        snapshot
    }

    fn told(cables: &[CableStatus; 2], found: &Found, synced: bool) -> Vec<(ConnectionState, String)> {
        let synced = Finding::new("SyncedWithBroker", synced, "Unreachable", "no answer in 10 s");
        let mut standbys = StandbysOnly::default();
        let start = Instant::now();
        assert!(
            standbys.take(&west(), cables, start).is_empty(),
            "it may be over in a moment"
        );
        let standbys = standbys.take(&west(), cables, start + HANDED_OVER);
        let told = connections(
            &west(),
            cables.to_vec(),
            &BTreeMap::new(),
            found,
            Some(&synced),
            &standbys,
        );
        let words = told
            .into_iter()
            .map(|connection| (connection.state, connection.reason.unwrap_or_default()));
        words.collect()
    }

    #[test]
    fn only_standbys_are_a_reason_and_a_claim_of_any_is_none() {
        let nothing = Found::default();
        let word = |state, reason: &str| (state, reason.to_owned());
        let alone = [cable("gw1", Error, true), cable("gw2", Connected, false)];
        assert_eq!(
            told(&alone, &nothing, true),
            [word(Error, ""), word(Degraded, "StandbyOnly")]
        );
        let moved = [cable("gw1", Error, true), cable("gw2", Connected, true)];
        assert_eq!(told(&moved, &nothing, true), [word(Error, ""), word(Connected, "")]);
        let both = [cable("gw1", Connected, true), cable("gw2", Connected, false)];
        assert_eq!(told(&both, &nothing, false), [word(Connected, ""), word(Connected, "")]);
    }

    #[test]
    fn a_cluster_that_hands_over_more_than_once_is_not_one_of_standbys() {
        let start = Instant::now();
        let alone = [cable("gw1", Error, true), cable("gw2", Connected, false)];
        let moved = [cable("gw1", Error, true), cable("gw2", Connected, true)];
        let mut standbys = StandbysOnly::default();
        for (cables, seconds) in [(&alone, 0), (&alone, 7), (&moved, 8), (&alone, 9), (&alone, 16)] {
            let told = standbys.take(&west(), cables, start + Duration::from_secs(seconds));
            assert!(told.is_empty(), "after {seconds} s");
        }
        assert_eq!(standbys.take(&west(), &alone, start + Duration::from_secs(17)).len(), 1);
    }

    #[test]
    fn a_dead_cable_may_be_so_because_what_is_known_of_it_is_old() {
        let cables = [cable("gw1", Error, true), cable("gw2", Connected, true)];
        let reasons = told(&cables, &Found::default(), false)
            .into_iter()
            .map(|(_, reason)| reason);
        assert_eq!(reasons.collect::<Vec<_>>(), ["BrokerStale", ""]);
    }

    #[test]
    fn what_is_lost_behind_a_gateway_names_its_size_and_its_way() {
        let fault = Fault::BlackHole {
            size: 1440,
            direction: Direction::Back,
        };
        for (fault, reason, part) in [
            (Fault::Forwarding, "ForwardingBroken", "no node behind west.gw1 answers"),
            (Fault::Untracked, "UntrackedDropped", "let it accept packets between"),
            (
                fault,
                "MtuBlackHole",
                "packets of 1440 bytes get lost on the way from its nodes to west.gw1",
            ),
        ] {
            let found = Found {
                faults: [(id("gw1"), fault)].into(),
                ..Found::default()
            };
            let connection = with_verdict(cable("gw1", Connected, true).connection, &found);
            assert_eq!(
                (connection.state, connection.reason.as_deref()),
                (Degraded, Some(reason))
            );
            assert!(connection.message.contains(part), "{}", connection.message);
        }
    }
}
