//! `show clusters`: a row a member.

use jiff::Timestamp;
use k8s_api::Cluster;
use serde::Serialize;

use super::Report;
use super::figures;
use super::world::{self, World};
use crate::output::{Shown, Table};

pub(super) const EXAMPLES: &str = "\
Examples:
  tombolo show clusters
  tombolo show clusters -o yaml

Exit codes: 0 every member is accepted and connected, 1 failed, 3 not every member is.";

/// The report.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Clusters {
    cluster_id: String,
    clusters: Vec<Row>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    cluster_id: String,
    is_local: bool,
    state: String,
    status: String,
    pod_prefixes: Vec<String>,
    service_prefixes: Vec<String>,
    gateways: Vec<String>,
    active_gateway: Option<String>,
    /// Cables of ours to it that work, of all.
    connected: usize,
    cables: usize,
    joined_at: Option<String>,
    message: String,
    #[serde(skip)]
    age: String,
}

/// Makes the report.
pub(super) fn report(world: &World, now: Timestamp) -> Clusters {
    let mut rows: Vec<Row> = world.clusters.iter().map(|cluster| row(world, cluster, now)).collect();
    rows.sort_by(|a, b| (!a.is_local, &a.cluster_id).cmp(&(!b.is_local, &b.cluster_id)));
    Clusters {
        cluster_id: world.own.clone(),
        clusters: rows,
    }
}

fn row(world: &World, cluster: &Cluster, now: Timestamp) -> Row {
    let spec = &cluster.spec;
    let id = &spec.cluster_id;
    let is_local = *id == world.own;
    let cables: Vec<_> = world
        .own_gateways()
        .into_iter()
        .flat_map(|gateway| world.cables(gateway))
        .filter(|cable| cable.connection.cluster_id == *id)
        .collect();
    let connected = cables.iter().filter(|cable| cable.state() == "connected").count();
    let refusal = world::refusal(cluster);
    let status = match (&refusal, spec.state.as_str()) {
        (Some(_), _) => "refused",
        (None, "Leaving") => "leaving",
        (None, "Evicted") => "evicted",
        _ if is_local => "accepted",
        _ if connected > 0 => "connected",
        _ => "unconnected",
    };
    let gateways = world.gateways.iter().filter(|gateway| gateway.spec.cluster_id == *id);
    let mut active: Vec<_> = gateways.clone().filter(|gateway| gateway.spec.active).collect();
    active.sort_by_key(|gateway| gateway.spec.epoch);
    let joined: Option<Timestamp> = spec.claimed_at.as_deref().and_then(|time| time.parse().ok());
    Row {
        cluster_id: id.clone(),
        is_local,
        state: spec.state.clone(),
        status: status.to_owned(),
        pod_prefixes: spec.pod_prefixes.clone(),
        service_prefixes: spec.service_prefixes.clone(),
        gateways: gateways.map(|gateway| gateway.spec.node.clone()).collect(),
        active_gateway: active.last().map(|gateway| gateway.spec.node.clone()),
        connected,
        cables: cables.len(),
        joined_at: spec.claimed_at.clone(),
        message: refusal.unwrap_or_default(),
        age: joined
            .map(|then| figures::age(now.as_second() - then.as_second()))
            .unwrap_or_default(),
    }
}

impl Shown for Clusters {
    fn table(&self, wide: bool) -> Table {
        let mut columns = vec![
            "CLUSTER", "LOCAL", "STATUS", "PODS", "SERVICES", "GATEWAYS", "CABLES", "AGE", "MESSAGE",
        ];
        if wide {
            columns.extend(["STATE", "ACTIVE GATEWAY"]);
        }
        let mut table = Table::new(&columns);
        for row in &self.clusters {
            let mut cells = vec![
                row.cluster_id.clone(),
                if row.is_local { "*".to_owned() } else { String::new() },
                row.status.clone(),
                row.pod_prefixes.join(","),
                row.service_prefixes.join(","),
                row.gateways.len().to_string(),
                if row.is_local {
                    String::new()
                } else {
                    format!("{}/{}", row.connected, row.cables)
                },
                row.age.clone(),
                row.message.clone(),
            ];
            if wide {
                cells.extend([row.state.clone(), row.active_gateway.clone().unwrap_or_default()]);
            }
            table.row(cells);
        }
        table
    }
}

impl Report for Clusters {
    fn trouble(&self) -> Option<String> {
        let bad: Vec<String> = self
            .clusters
            .iter()
            .filter(|row| matches!(row.status.as_str(), "refused" | "unconnected"))
            .map(|row| format!("{}: {}", row.cluster_id, row.status))
            .collect();
        (!bad.is_empty()).then(|| format!("not every member is connected: {}", bad.join(", ")))
    }
}
