//! `show connections`: a row a cable.

use jiff::Timestamp;
use serde::Serialize;

use super::Report;
use super::figures;
use super::world::{self, World};
use crate::output::{Shown, Table};

pub(super) const EXAMPLES: &str = "\
Examples:
  tombolo show connections
  tombolo show connections --watch

Exit codes: 0 every cable is connected, 1 failed, 3 not every cable is connected.";

/// The report.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Connections {
    cluster_id: String,
    connections: Vec<Row>,
    /// Members that no gateway of ours has a cable to.
    without_cable: Vec<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    gateway: String,
    remote: String,
    remote_gateway: String,
    remote_role: String,
    remote_address: String,
    path: String,
    status: String,
    rtt_last_micros: Option<u32>,
    rtt_p50_micros: Option<u32>,
    rtt_p99_micros: Option<u32>,
    loss_percent: Option<f64>,
    mtu: Option<u16>,
    last_handshake_time: Option<String>,
    rx_bytes: u64,
    tx_bytes: u64,
    reason: Option<String>,
    message: String,
    #[serde(skip)]
    handshake: String,
}

/// Makes the report.
pub(super) fn report(world: &World, now: Timestamp) -> Connections {
    let mut rows = Vec::new();
    for gateway in world.own_gateways() {
        for cable in world.cables(gateway) {
            let connection = cable.connection;
            let remote = world.gateway(&connection.cluster_id, &connection.node);
            rows.push(Row {
                gateway: gateway.spec.node.clone(),
                remote: connection.cluster_id.clone(),
                remote_gateway: connection.node.clone(),
                remote_role: match remote.map(|remote| remote.spec.active) {
                    Some(true) => "active".to_owned(),
                    Some(false) => "standby".to_owned(),
                    None => String::new(),
                },
                remote_address: connection.remote_address.clone().unwrap_or_default(),
                path: cable.path(remote),
                status: cable.state().to_owned(),
                rtt_last_micros: connection.rtt.map(|rtt| rtt.last_micros),
                rtt_p50_micros: connection.rtt.map(|rtt| rtt.p50_micros),
                rtt_p99_micros: connection.rtt.map(|rtt| rtt.p99_micros),
                loss_percent: connection.loss_percent,
                mtu: connection.mtu,
                last_handshake_time: connection.last_handshake_time.clone(),
                handshake: figures::ago(connection.last_handshake_time.as_deref(), now),
                rx_bytes: connection.rx_bytes,
                tx_bytes: connection.tx_bytes,
                reason: cable.reason(),
                message: cable.message(),
            });
        }
    }
    rows.sort_by(|a, b| (&a.gateway, &a.remote, &a.remote_gateway).cmp(&(&b.gateway, &b.remote, &b.remote_gateway)));
    let has_cable = |id: &str| rows.iter().any(|row| row.remote == id);
    let peers = world.peers();
    let without_cable = peers
        .iter()
        .filter(|peer| world::refusal(peer).is_none() && !has_cable(&peer.spec.cluster_id))
        .map(|peer| peer.spec.cluster_id.clone())
        .collect();
    Connections {
        cluster_id: world.own.clone(),
        connections: rows,
        without_cable,
    }
}

impl Shown for Connections {
    fn table(&self, wide: bool) -> Table {
        let mut columns = vec![
            "GATEWAY",
            "REMOTE",
            "REMOTE GATEWAY",
            "REMOTE ADDRESS",
            "PATH",
            "STATUS",
            "RTT P50",
            "RTT P99",
            "LOSS",
            "MTU",
        ];
        if wide {
            columns.extend(["RTT LAST", "REMOTE ROLE"]);
        }
        columns.extend(["HANDSHAKE", "RX", "TX", "MESSAGE"]);
        let mut table = Table::new(&columns);
        let millis = |micros: Option<u32>| micros.map(figures::millis).unwrap_or_default();
        for row in &self.connections {
            let mut cells = vec![
                row.gateway.clone(),
                row.remote.clone(),
                row.remote_gateway.clone(),
                row.remote_address.clone(),
                row.path.clone(),
                row.status.clone(),
                millis(row.rtt_p50_micros),
                millis(row.rtt_p99_micros),
                row.loss_percent.map(figures::percent).unwrap_or_default(),
                row.mtu.map(|mtu| mtu.to_string()).unwrap_or_default(),
            ];
            if wide {
                cells.extend([millis(row.rtt_last_micros), row.remote_role.clone()]);
            }
            cells.extend([
                row.handshake.clone(),
                figures::bytes(row.rx_bytes),
                figures::bytes(row.tx_bytes),
                row.message.clone(),
            ]);
            table.row(cells);
        }
        table
    }
}

impl Report for Connections {
    fn trouble(&self) -> Option<String> {
        let mut bad: Vec<String> = self
            .connections
            .iter()
            .filter(|row| row.status != "connected")
            .map(|row| {
                format!(
                    "{} to {}.{}: {}",
                    row.gateway, row.remote, row.remote_gateway, row.status
                )
            })
            .collect();
        bad.extend(self.without_cable.iter().map(|id| format!("no cable to {id} yet")));
        (!bad.is_empty()).then(|| format!("not all is connected: {}", bad.join(", ")))
    }
}
