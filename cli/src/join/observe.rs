//! Reads what [`super::wait`] judges.

use std::collections::BTreeSet;

use futures::try_join;
use k8s_api::{Cluster, Gateway, RouteAgent};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Node;
use k8s_runtime::Find;
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use model::ClusterId;
use model::names::{DNS_SERVICE, SYSTEM_NAMESPACE};

use super::gateways::is_ready;
use super::wait::Observed;
use crate::connect::Connection;

/// Reads it all at one moment, more or less.
///
/// # Errors
/// When the cluster does not answer.
pub async fn read(cluster: &Connection, gateway_nodes: &[String]) -> anyhow::Result<Observed> {
    let client = &cluster.client;
    let all = ListParams::default();
    let clusters: Api<Cluster> = Api::namespaced(client.clone(), SYSTEM_NAMESPACE);
    let gateways: Api<Gateway> = Api::namespaced(client.clone(), SYSTEM_NAMESPACE);
    let route_agents: Api<RouteAgent> = Api::namespaced(client.clone(), SYSTEM_NAMESPACE);
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), SYSTEM_NAMESPACE);
    let nodes: Api<Node> = Api::all(client.clone());
    let (clusters, gateways, route_agents, nodes, dns) = try_join!(
        clusters.list(&all),
        gateways.list(&all),
        route_agents.list(&all),
        nodes.list(&all),
        deployments.find(DNS_SERVICE),
    )
    .map_err(cluster.failed(format!("read what the agents report in {SYSTEM_NAMESPACE}")))?;
    // A node that is down is its own trouble; a join does not wait for it.
    let ready: Vec<String> = nodes
        .iter()
        .filter(|node| is_ready(node))
        .map(ResourceExt::name_any)
        .collect();
    Ok(Observed {
        gateway_nodes: gateway_nodes
            .iter()
            .filter(|name| ready.contains(name))
            .cloned()
            .collect(),
        nodes: ready,
        clusters: clusters.items,
        gateways: gateways.items,
        route_agents: route_agents.items,
        dns,
    })
}

/// The other active members, as they are mirrored here.
///
/// # Errors
/// When the cluster does not answer.
pub async fn mirrored_peers(cluster: &Connection, own: &ClusterId) -> anyhow::Result<BTreeSet<ClusterId>> {
    let clusters: Api<Cluster> = Api::namespaced(cluster.client.clone(), SYSTEM_NAMESPACE);
    let clusters = clusters
        .list(&ListParams::default())
        .await
        .map_err(cluster.failed("list the members"))?;
    Ok(clusters
        .iter()
        .filter(|cluster| cluster.spec.state == "Active")
        .filter_map(|cluster| cluster.spec.cluster_id.parse().ok())
        .filter(|id| id != own)
        .collect())
}
