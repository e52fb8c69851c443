//! When a join is done. The agents prove; this only reads what they say.
//!
//! The first cluster proves itself: gateways and route agents are ready, and the clusterset zone is answered through cluster DNS. A
//! later one waits, besides, for a cable with an authenticated round trip to every live cluster. A cluster is taken for dead when every
//! cable to it has failed for a while; it is listed, and not waited for.

use std::collections::BTreeSet;
use std::time::Duration;

use k8s_api::{Cluster, Gateway, RouteAgent, condition};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use model::ClusterId;

/// Everything that is looked at, at one moment.
#[derive(Debug, Clone, Default)]
pub struct Observed {
    /// Nodes that should be gateways.
    pub gateway_nodes: Vec<String>,
    /// Nodes that should have a route agent.
    pub nodes: Vec<String>,
    /// Mirrors and the own object.
    pub clusters: Vec<Cluster>,
    /// Mirrors and the own ones.
    pub gateways: Vec<Gateway>,
    /// Of every node.
    pub route_agents: Vec<RouteAgent>,
    /// lighthouse-dns.
    pub dns: Option<Deployment>,
}

/// What is expected, besides.
#[derive(Debug, Clone)]
pub struct Expected {
    /// Our id.
    pub own: ClusterId,
    /// The other active members, as the broker lists them.
    pub peers: BTreeSet<ClusterId>,
    /// Whether cluster DNS was told of the clusterset zone, so that it can be proven.
    pub dns_edited: bool,
}

/// Where a join is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Not yet: what is missing, for a person.
    Waiting(Vec<String>),
    /// It cannot become good by waiting.
    Refused(String),
    /// Done.
    Done {
        /// Clusters with a proven path.
        connected: Vec<ClusterId>,
        /// Clusters that do not answer, and why.
        dead: Vec<(ClusterId, String)>,
    },
}

/// Judges. `since_ready` is how long the own side has been ready: that long every peer has been tried.
pub fn judge(observed: &Observed, expected: &Expected, since_ready: Option<Duration>) -> Verdict {
    let own_cluster = observed
        .clusters
        .iter()
        .find(|cluster| cluster.spec.cluster_id == expected.own.as_str());
    let conditions = own_cluster
        .and_then(|cluster| cluster.status.as_ref())
        .map(|status| status.conditions.as_slice())
        .unwrap_or_default();
    if let Some(refusal) = find(conditions, condition::ACCEPTED).filter(|c| c.status == "False") {
        return Verdict::Refused(format!("{}: {}", refusal.reason, refusal.message));
    }
    let missing = own_side(observed, expected);
    if !missing.is_empty() {
        return Verdict::Waiting(missing);
    }
    peers(observed, expected, since_ready.unwrap_or_default())
}

/// What the own side still lacks; empty when it is ready.
pub fn own_side(observed: &Observed, expected: &Expected) -> Vec<String> {
    let mut missing = Vec::new();
    let own: Vec<&Gateway> = own_gateways(observed, expected).collect();
    for node in &observed.gateway_nodes {
        let conditions = own
            .iter()
            .find(|gateway| gateway.spec.node == *node)
            .and_then(|gateway| gateway.status.as_ref())
            .map(|status| status.conditions.as_slice());
        missing.extend(unready("gateway", node, conditions));
    }
    for node in &observed.nodes {
        let conditions = observed
            .route_agents
            .iter()
            .find(|agent| agent.spec.node == *node)
            .and_then(|agent| agent.status.as_ref())
            .map(|status| status.conditions.as_slice());
        missing.extend(unready("route agent", node, conditions));
    }
    if !own.iter().any(|gateway| is_true(gateway, condition::SYNCED)) {
        let why = own.iter().find_map(|gateway| of(gateway, condition::SYNCED));
        missing.push(format!(
            "exchange with the broker{}",
            why.map(|c| format!(" ({})", c.message)).unwrap_or_default()
        ));
    }
    let status = observed.dns.as_ref().and_then(|dns| dns.status.as_ref());
    if status.and_then(|status| status.ready_replicas).unwrap_or(0) == 0 {
        missing.push("lighthouse-dns".to_owned());
    } else if expected.dns_edited && !own.iter().any(|gateway| is_true(gateway, condition::CLUSTER_DNS)) {
        missing.push("clusterset.local through cluster DNS".to_owned());
    }
    missing
}

fn peers(observed: &Observed, expected: &Expected, tried: Duration) -> Verdict {
    let (mut connected, mut dead, mut missing) = (Vec::new(), Vec::new(), Vec::new());
    for peer in &expected.peers {
        let cables: Vec<_> = own_gateways(observed, expected)
            .filter_map(|gateway| gateway.status.as_ref())
            .flat_map(|status| &status.connections)
            .filter(|connection| connection.cluster_id == peer.as_str())
            .collect();
        let message = cables
            .iter()
            .map(|cable| cable.message.as_str())
            .find(|message| !message.is_empty())
            .unwrap_or(if cables.is_empty() {
                "it has no gateway yet"
            } else {
                "no answer"
            });
        if cables.iter().any(|cable| cable.state == "connected") {
            connected.push(peer.clone());
        } else if tried >= PATIENCE && cables.iter().all(|cable| cable.state == "error") {
            dead.push((peer.clone(), message.to_owned()));
        } else {
            missing.push(format!("a path to {peer} ({message})"));
        }
    }
    if missing.is_empty() {
        Verdict::Done { connected, dead }
    } else {
        Verdict::Waiting(missing)
    }
}

fn own_gateways<'a>(observed: &'a Observed, expected: &'a Expected) -> impl Iterator<Item = &'a Gateway> {
    observed
        .gateways
        .iter()
        .filter(|gateway| gateway.spec.cluster_id == expected.own.as_str())
}

fn unready(what: &str, node: &str, conditions: Option<&[Condition]>) -> Option<String> {
    let conditions = conditions.unwrap_or_default();
    match find(conditions, condition::READY) {
        Some(ready) if ready.status == "True" => None,
        Some(not) if !not.message.is_empty() => Some(format!("{what} on {node} ({})", not.message)),
        _ => Some(format!("{what} on {node}")),
    }
}

fn is_true(gateway: &Gateway, kind: &str) -> bool {
    of(gateway, kind).is_some_and(|condition| condition.status == "True")
}

fn of<'a>(gateway: &'a Gateway, kind: &str) -> Option<&'a Condition> {
    find(&gateway.status.as_ref()?.conditions, kind)
}

fn find<'a>(conditions: &'a [Condition], kind: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.type_ == kind)
}

/// How long a peer is tried before it may be called dead.
const PATIENCE: Duration = Duration::from_secs(15);

#[cfg(test)]
#[path = "wait_tests.rs"]
mod tests;
