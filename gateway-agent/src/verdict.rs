//! What deep probes mean: for the peers of this gateway by its own, and for this gateway by those of others.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use clusterset::{choice, claims};
use k8s_api::condition::Finding;
use model::{ClusterId, Connection, ConnectionState, GatewayId, Snapshot};
use probe::{Direction, Fault, Reason};
use tunnel::CableStatus;

use crate::deep::{Found, Target, Targets};
use crate::lanes;

/// The time in which a gateway that was called broken leaves the role to others. It ends early when there are no others.
#[derive(Debug, Default)]
pub(crate) struct Convalescence {
    called_broken: Option<Instant>,
    free_since: Option<Instant>,
}

impl Convalescence {
    /// Listens to what the peers say now, and looks whether anybody has the role.
    pub(crate) fn take(&mut self, cables: &[CableStatus], role_is_free: bool, now: Instant) {
        if cables.iter().any(|cable| cable.calls_us_broken) {
            if !self.lasts(now) {
                tracing::warn!("another cluster finds that packets get lost behind this gateway: it steps back");
            }
            self.called_broken = Some(now);
        }
        self.free_since = role_is_free.then(|| self.free_since.unwrap_or(now));
        let is_past = |at: Option<Instant>, time| at.is_some_and(|at| now.saturating_duration_since(at) >= time);
        if is_past(self.free_since, OTHERS_FIRST) && is_past(self.called_broken, QUIET) {
            tracing::warn!("nobody takes the role of the active gateway: this one stands for it again");
            self.called_broken = None;
        }
    }

    /// Whether it still has to recover.
    pub(crate) fn lasts(&self, now: Instant) -> bool {
        self.called_broken
            .is_some_and(|at| now.saturating_duration_since(at) < CONVALESCENCE)
    }
}

/// Nodes behind the peers in use, as far as they are in prefixes of the peer's own cluster.
pub(crate) fn targets(snapshot: &Snapshot, cables: &[CableStatus]) -> Targets {
    let used = cables
        .iter()
        .filter(|cable| cable.is_used && cable.connection.state == ConnectionState::Connected);
    let accepted = claims::accepted(snapshot);
    used.filter_map(|cable| {
        let remote = &cable.connection.remote;
        let prefixes = accepted.get(&remote.cluster)?;
        let nodes = cable.addresses.iter().copied().filter(|node| prefixes.contains(*node));
        let target = Target {
            nodes: nodes.collect(),
            size: cable.connection.mtu?,
            whole_at: cable.whole_at,
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
) -> Vec<Connection> {
    let is_behind_standby = clusters_of_standbys(snapshot, &cables);
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

const CONVALESCENCE: Duration = Duration::from_secs(60);
/// Who is well takes a free role sooner.
const OTHERS_FIRST: Duration = Duration::from_millis(500);
/// Who has not been called broken for so long is rather well than who is.
const QUIET: Duration = Duration::from_secs(2);

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
                remote: id(node),
                state,
                reason: None,
                message: String::new(),
                remote_address: None,
                rtt: None,
                loss_percent: None,
                mtu: Some(1440),
                last_handshake: None,
                rx_bytes: 0,
                tx_bytes: 0,
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
        let told = connections(&west(), cables.to_vec(), &BTreeMap::new(), found, Some(&synced));
        let words = told
            .into_iter()
            .map(|connection| (connection.state, connection.reason.unwrap_or_default()));
        words.collect()
    }

    #[test]
    fn a_gateway_recovers_unless_it_is_needed() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let calls = |calls_us_broken| {
            [CableStatus {
                calls_us_broken,
                ..cable("gw1", Connected, true)
            }]
        };
        let mut rest = Convalescence::default();
        rest.take(&calls(false), true, at(0));
        assert!(!rest.lasts(at(0)), "it was never ill");
        rest.take(&calls(true), false, at(1000));
        rest.take(&calls(false), false, at(9000));
        assert!(rest.lasts(at(9000)) && !rest.lasts(at(61_000)));

        rest.take(&calls(false), true, at(10_000));
        rest.take(&calls(false), false, at(10_400));
        rest.take(&calls(false), true, at(10_800));
        assert!(rest.lasts(at(11_200)), "somebody took it meanwhile");
        rest.take(&calls(false), true, at(11_300));
        assert!(!rest.lasts(at(11_300)), "nobody else does");

        rest.take(&calls(true), true, at(12_000));
        rest.take(&calls(false), true, at(13_900));
        assert!(rest.lasts(at(13_900)), "it was called broken just now");
        rest.take(&calls(false), true, at(14_000));
        assert!(!rest.lasts(at(14_000)));
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
