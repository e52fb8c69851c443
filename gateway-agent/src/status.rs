//! What this gateway sees, as its `Gateway` says it. Pure, but for the time that is handed in.

use std::time::{Duration, Instant};

use k8s_api::condition::{self, Finding};
use k8s_api::{ConnectionStatus, GatewayStatus, RttStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use k8s_openapi::jiff::Timestamp;
use model::{Connection, ConnectionState, NodeName};

use tunnel::Failovers;

use crate::data_plane::Trouble;
use crate::telemetry::{self, Telemetry};

/// Everything that goes into a status.
#[derive(Debug)]
pub(crate) struct Facts<'a> {
    pub(crate) node: &'a NodeName,
    pub(crate) connections: &'a [Connection],
    pub(crate) trouble: Option<&'a Trouble>,
    pub(crate) is_running: bool,
    pub(crate) failovers: Failovers,
    pub(crate) telemetry: Telemetry,
    /// Objects that were skipped, with the reason of each.
    pub(crate) malformed: Vec<String>,
    /// What the sync leader says of itself, if this is it.
    pub(crate) synced: Option<Finding>,
    /// Whether cluster DNS leads to our name server, as far as is known.
    pub(crate) cluster_dns: Option<Finding>,
}

/// Writes statuses: what a person acts on at once, figures now and then.
#[derive(Debug, Default)]
pub(crate) struct StatusWriter {
    last: Option<(Instant, GatewayStatus)>,
    conditions: Vec<Condition>,
}

impl StatusWriter {
    /// The status to publish, if it is time to.
    pub(crate) fn next(&mut self, facts: &Facts<'_>, now: Instant, time: Timestamp) -> Option<GatewayStatus> {
        let findings = findings(facts);
        // Only what is found now is told, but since when is remembered.
        self.conditions
            .retain(|condition| findings.iter().any(|finding| finding.kind == condition.type_));
        self.conditions = condition::merge(&self.conditions, &findings, None, time);
        let usable = facts
            .connections
            .iter()
            .filter(|connection| connection.state.is_usable())
            .count();
        let cable = |connection: &Connection| {
            let status = connection_status(connection);
            facts.telemetry.tell_cable(&connection.remote, status)
        };
        let status = facts.telemetry.tell(GatewayStatus {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            connected: format!("{usable}/{}", facts.connections.len()),
            failovers: facts.failovers.count,
            last_failover_millis: facts.failovers.last.map(millis),
            connections: facts.connections.iter().map(cable).collect(),
            conditions: self.conditions.clone(),
            ..GatewayStatus::default()
        });
        let is_due = match &self.last {
            None => true,
            Some((_, last)) if without_figures(last) != without_figures(&status) => true,
            Some((at, last)) => now.saturating_duration_since(*at) >= FIGURES_EVERY && *last != status,
        };
        if is_due {
            self.last = Some((now, status.clone()));
        }
        is_due.then_some(status)
    }

    /// The object is gone: whatever was published has to be published again.
    pub(crate) fn forget(&mut self) {
        self.last = None;
    }
}

fn findings(facts: &Facts<'_>) -> Vec<Finding> {
    let node = facts.node;
    let ready = match facts.trouble {
        _ if facts.is_running => Finding::new(condition::READY, true, "Running", "cables are kept"),
        Some(Trouble::Tun(why)) => Finding::new(
            condition::READY,
            false,
            condition::TUN_UNAVAILABLE,
            format!("node {node}: {why}"),
        ),
        Some(Trouble::Other(why)) => {
            Finding::new(condition::READY, false, "EngineFailed", format!("node {node}: {why}"))
        }
        None => Finding::new(
            condition::READY,
            false,
            "Stopped",
            "this cluster is leaving the clusterset",
        ),
    };
    let tun = match facts.trouble {
        Some(Trouble::Tun(why)) => Finding::new(
            condition::TUN_UNAVAILABLE,
            true,
            "Missing",
            format!("node {node}: {why}"),
        ),
        _ => Finding::new(condition::TUN_UNAVAILABLE, false, "Present", ""),
    };
    let malformed = if facts.malformed.is_empty() {
        Finding::new(condition::MALFORMED_OBJECTS, false, "None", "")
    } else {
        let mut message = facts
            .malformed
            .iter()
            .take(NAMED)
            .cloned()
            .collect::<Vec<_>>()
            .join("; ");
        if facts.malformed.len() > NAMED {
            message.push_str(&format!("; and {} more", facts.malformed.len() - NAMED));
        }
        Finding::new(condition::MALFORMED_OBJECTS, true, "Skipped", message)
    };
    [ready, tun, malformed]
        .into_iter()
        .chain(facts.synced.clone())
        .chain(facts.cluster_dns.clone())
        .collect()
}

fn connection_status(connection: &Connection) -> ConnectionStatus {
    ConnectionStatus {
        cluster_id: connection.remote.cluster.to_string(),
        node: connection.remote.node.to_string(),
        state: match connection.state {
            ConnectionState::Connecting => "connecting",
            ConnectionState::Connected => "connected",
            ConnectionState::Degraded => "degraded",
            ConnectionState::Error => "error",
        }
        .to_owned(),
        reason: connection.reason.clone(),
        message: connection.message.clone(),
        remote_address: connection.remote_address.map(|address| address.to_string()),
        rtt: connection.rtt.map(|rtt| RttStatus {
            last_micros: rtt.last_us,
            p50_micros: rtt.p50_us,
            p95_micros: rtt.p95_us,
            p99_micros: rtt.p99_us,
        }),
        loss_percent: connection.loss_percent,
        mtu: connection.mtu,
        last_handshake_time: connection
            .last_handshake
            .and_then(|seconds| Timestamp::from_second(seconds).ok())
            .map(|time| time.to_string()),
        rx_bytes: connection.rx_bytes,
        tx_bytes: connection.tx_bytes,
        lanes: None,
        drops: Vec::new(),
    }
}

/// What is told at once when it changes. Numbers in a message are figures too: the message of a cable that is not up counts its
/// tries.
fn without_figures(status: &GatewayStatus) -> GatewayStatus {
    let mut status = status.clone();
    telemetry::without_counts(&mut status);
    for connection in &mut status.connections {
        connection.rtt = None;
        connection.loss_percent = None;
        connection.last_handshake_time = None;
        connection.rx_bytes = 0;
        connection.tx_bytes = 0;
        connection.message.retain(|letter| !letter.is_ascii_digit());
    }
    status
}

fn millis(duration: Duration) -> u64 {
    // Half a billion years fit.
    duration.as_millis() as u64
}

const FIGURES_EVERY: Duration = Duration::from_secs(10);
/// So many malformed objects are named.
const NAMED: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_api::condition::is_true;
    use model::GatewayId;

    fn connection(state: ConnectionState, rx_bytes: u64, message: &str) -> Connection {
        let remote = GatewayId {
            cluster: "west".parse().unwrap(),
            node: "gw1".parse().unwrap(),
        };
        Connection {
            message: message.into(),
            mtu: Some(1440),
            last_handshake: Some(1_700_000_000),
            rx_bytes,
            ..Connection::new(remote, state)
        }
    }

    fn facts<'a>(node: &'a NodeName, connections: &'a [Connection]) -> Facts<'a> {
        Facts {
            node,
            connections,
            trouble: None,
            is_running: true,
            failovers: Failovers::default(),
            telemetry: Telemetry::default(),
            malformed: vec![],
            synced: None,
            cluster_dns: None,
        }
    }

    #[test]
    fn states_are_told_at_once_and_figures_every_ten_seconds() {
        let node = "gw1".parse().unwrap();
        let (start, time) = (Instant::now(), Timestamp::UNIX_EPOCH);
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut writer = StatusWriter::default();
        let mut next = |state, rx, message, seconds| {
            let connections = [connection(state, rx, message)];
            writer.next(&facts(&node, &connections), at(seconds), time)
        };
        use ConnectionState::{Connected, Connecting};
        assert_eq!(next(Connecting, 0, "after 1 try", 0).unwrap().connected, "0/1");
        assert!(next(Connecting, 0, "after 2 try", 1).is_none());
        let status = next(Connected, 10, "", 2).unwrap();
        assert_eq!(status.connected, "1/1");
        assert_eq!(
            status.connections[0].last_handshake_time.as_deref(),
            Some("2023-11-14T22:13:20Z")
        );
        assert!(next(Connected, 20, "", 11).is_none());
        assert_eq!(next(Connected, 30, "", 12).unwrap().connections[0].rx_bytes, 30);
        assert!(next(Connected, 30, "", 60).is_none(), "nothing changed");
        writer.forget();
        assert!(
            writer
                .next(&facts(&node, &[connection(Connected, 30, "")]), at(60), time)
                .is_some()
        );
    }

    #[test]
    fn conditions_name_node_and_objects_and_go_when_they_are_no_longer_ours_to_say() {
        let node = "gw1".parse().unwrap();
        let trouble = Trouble::Tun("/dev/net/tun is missing".into());
        let mut writer = StatusWriter::default();
        let bad = Facts {
            trouble: Some(&trouble),
            is_running: false,
            malformed: (0..12).map(|index| format!("Cluster x{index}: bad")).collect(),
            synced: Some(Finding::new(condition::SYNCED, true, "Synced", "")),
            ..facts(&node, &[])
        };
        let status = writer.next(&bad, Instant::now(), Timestamp::UNIX_EPOCH).unwrap();
        let of = |kind: &str| {
            status
                .conditions
                .iter()
                .find(|condition| condition.type_ == kind)
                .unwrap()
        };
        assert!(
            of(condition::TUN_UNAVAILABLE)
                .message
                .contains("node gw1: /dev/net/tun is missing")
        );
        assert_eq!(of(condition::READY).reason, "TunUnavailable");
        assert!(
            of(condition::MALFORMED_OBJECTS)
                .message
                .contains("Cluster x9: bad; and 2 more")
        );
        assert!(is_true(&status.conditions, condition::SYNCED));
        let status = writer
            .next(&facts(&node, &[]), Instant::now(), Timestamp::UNIX_EPOCH)
            .unwrap();
        assert!(is_true(&status.conditions, condition::READY));
        assert!(
            !status
                .conditions
                .iter()
                .any(|condition| condition.type_ == condition::SYNCED)
        );
    }
}
