//! `show gateways`: a row for each of our gateways and each other cluster, with the best cable between them.

use jiff::Timestamp;
use k8s_api::{Cluster, Gateway};
use serde::Serialize;

use super::Report;
use super::figures;
use super::world::{self, Cable, World};
use crate::output::{Shown, Table};

pub(super) const EXAMPLES: &str = "\
Examples:
  tombolo show gateways
  tombolo show gateways --wait=30s        # until all is connected
  tombolo show gateways -o json | jq '.gateways[] | select(.status != \"connected\")'

Exit codes: 0 all is connected, 1 failed, 3 not all is connected.";

/// The report.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Gateways {
    cluster_id: String,
    gateways: Vec<Row>,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    cluster_id: String,
    gateway: String,
    role: String,
    epoch: u64,
    remote: String,
    remote_gateway: String,
    remote_ip: String,
    path: String,
    cable: String,
    subnets: String,
    status: String,
    rtt_p50_micros: Option<u32>,
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
pub(super) fn report(world: &World, now: Timestamp) -> Gateways {
    let peers = world.peers();
    let mut rows = Vec::new();
    for gateway in world.own_gateways() {
        if peers.is_empty() {
            rows.push(alone(world, gateway));
        }
        rows.extend(peers.iter().map(|peer| towards(world, gateway, peer, now)));
    }
    Gateways {
        cluster_id: world.own.clone(),
        gateways: rows,
    }
}

fn own(gateway: &Gateway) -> Row {
    Row {
        cluster_id: gateway.spec.cluster_id.clone(),
        gateway: gateway.spec.node.clone(),
        role: if gateway.spec.active { "active" } else { "standby" }.to_owned(),
        epoch: gateway.spec.epoch,
        cable: "wireguard".to_owned(),
        ..Row::default()
    }
}

fn alone(world: &World, gateway: &Gateway) -> Row {
    let is_live = world.live_agents.contains(&gateway.spec.node);
    let trouble = if is_live {
        world::gateway_trouble(gateway)
    } else {
        Some("the gateway agent is not running".to_owned())
    };
    Row {
        status: if !is_live {
            "unknown"
        } else if trouble.is_some() {
            "error"
        } else {
            "ready"
        }
        .to_owned(),
        message: trouble.unwrap_or_else(|| "no peers yet".to_owned()),
        ..own(gateway)
    }
}

fn towards(world: &World, gateway: &Gateway, peer: &Cluster, now: Timestamp) -> Row {
    let id = &peer.spec.cluster_id;
    let row = Row {
        remote: id.clone(),
        subnets: world::prefixes(peer),
        ..own(gateway)
    };
    if let Some(refusal) = world::refusal(peer) {
        return Row {
            status: "refused".to_owned(),
            message: refusal,
            ..row
        };
    }
    let best = world
        .cables(gateway)
        .filter(|cable| cable.connection.cluster_id == *id)
        .min_by_key(|cable| rank(world, cable));
    let Some(cable) = best else {
        let is_live = world.live_agents.contains(&gateway.spec.node);
        let message = if !is_live {
            "the gateway agent is not running".to_owned()
        } else {
            world::gateway_trouble(gateway).unwrap_or_else(|| format!("no gateway of {id} is known yet"))
        };
        return Row {
            status: if is_live { "connecting" } else { "unknown" }.to_owned(),
            message,
            ..row
        };
    };
    let connection = cable.connection;
    let remote = world.gateway(id, &connection.node);
    Row {
        remote_gateway: connection.node.clone(),
        remote_ip: cable.remote_ip(),
        path: cable.path(remote),
        status: cable.state().to_owned(),
        rtt_p50_micros: connection.rtt.map(|rtt| rtt.p50_micros),
        loss_percent: connection.loss_percent,
        mtu: connection.mtu,
        last_handshake_time: connection.last_handshake_time.clone(),
        handshake: figures::ago(connection.last_handshake_time.as_deref(), now),
        rx_bytes: connection.rx_bytes,
        tx_bytes: connection.tx_bytes,
        reason: cable.reason(),
        message: cable.message(),
        ..row
    }
}

/// The best cable first: one that works, to the gateway that its cluster calls active.
fn rank(world: &World, cable: &Cable<'_>) -> (u8, bool, String) {
    let connection = cable.connection;
    let state = match cable.state() {
        "connected" => 0,
        "degraded" => 1,
        "connecting" => 2,
        _ => 3,
    };
    let is_active = world
        .gateway(&connection.cluster_id, &connection.node)
        .is_some_and(|remote| remote.spec.active);
    (state, !is_active, connection.node.clone())
}

impl Shown for Gateways {
    fn table(&self, wide: bool) -> Table {
        let mut columns = vec![
            "CLUSTER",
            "GATEWAY",
            "ROLE",
            "REMOTE",
            "REMOTE IP",
            "PATH",
            "CABLE",
            "SUBNETS",
            "STATUS",
            "RTT P50",
            "LOSS",
            "MTU",
            "HANDSHAKE",
            "RX",
            "TX",
            "MESSAGE",
        ];
        if wide {
            columns.extend(["REMOTE GATEWAY", "EPOCH"]);
        }
        let mut table = Table::new(&columns);
        for row in &self.gateways {
            let has_cable = !row.remote_gateway.is_empty();
            let mut cells = vec![
                row.cluster_id.clone(),
                row.gateway.clone(),
                row.role.clone(),
                row.remote.clone(),
                row.remote_ip.clone(),
                row.path.clone(),
                row.cable.clone(),
                row.subnets.clone(),
                row.status.clone(),
                row.rtt_p50_micros.map(figures::millis).unwrap_or_default(),
                row.loss_percent.map(figures::percent).unwrap_or_default(),
                row.mtu.map(|mtu| mtu.to_string()).unwrap_or_default(),
                row.handshake.clone(),
                if has_cable {
                    figures::bytes(row.rx_bytes)
                } else {
                    String::new()
                },
                if has_cable {
                    figures::bytes(row.tx_bytes)
                } else {
                    String::new()
                },
                row.message.clone(),
            ];
            if wide {
                cells.extend([row.remote_gateway.clone(), row.epoch.to_string()]);
            }
            table.row(cells);
        }
        table
    }
}

impl Report for Gateways {
    fn trouble(&self) -> Option<String> {
        if self.gateways.is_empty() {
            return Some(format!(
                "\"{}\" has no gateway yet: see `kubectl -n {} get pods`",
                self.cluster_id,
                model::names::SYSTEM_NAMESPACE
            ));
        }
        let bad: Vec<String> = self
            .gateways
            .iter()
            .filter(|row| !matches!(row.status.as_str(), "connected" | "ready"))
            .map(|row| format!("{} to {}: {}", row.gateway, row.remote, row.status))
            .collect();
        (!bad.is_empty()).then(|| format!("not all is connected: {}", bad.join(", ")))
    }
}

#[cfg(test)]
#[path = "gateways_tests.rs"]
mod tests;
