//! What this gateway publishes about itself, as writes.

use std::net::IpAddr;

use clusterset::choice;
use k8s_api::{AddressSpec, Gateway, GatewaySpec, GatewayStatus, mirror_name};
use k8s_runtime::{Change, Order};
use kube::core::ApiResource;
use model::{ClusterId, GatewayId, Node, ProbeRole, PublicKey, Snapshot, names};
use probe::{Reach, Says};
use serde_json::{Value, json};
use tunnel::CableStatus;

use crate::node::NodeAddresses;

/// What stays the same for the life of the process.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    pub(crate) gateway: GatewayId,
    pub(crate) public_key: PublicKey,
    pub(crate) port: u16,
    pub(crate) priority: i32,
    /// Addresses that the administrator knows and the node does not.
    pub(crate) public: Vec<IpAddr>,
}

/// The spec of the own `Gateway`.
pub(crate) fn spec(identity: &Identity, node: &Node, kernel: &NodeAddresses, role: ProbeRole) -> GatewaySpec {
    let address = |kind: &str, ip: &IpAddr| AddressSpec {
        kind: kind.to_owned(),
        ip: ip.to_string(),
        port: None,
    };
    let private = node.addresses.iter().map(|ip| address("private", ip));
    let public = identity.public.iter().map(|ip| address("public", ip));
    GatewaySpec {
        cluster_id: identity.gateway.cluster.to_string(),
        node: identity.gateway.node.to_string(),
        public_key: identity.public_key.to_string(),
        addresses: private.chain(public).collect(),
        port: identity.port,
        lanes: tunnel::offered_lanes(),
        priority: identity.priority,
        active: role.active,
        epoch: role.epoch,
        probe: "tombolo".to_owned(),
        underlay_mtu: kernel.underlay_mtu(&node.addresses).unwrap_or(ETHERNET),
    }
}

/// What this gateway says in probes: its role, and the clusters that it has a working cable to.
pub(crate) fn says(snapshot: &Snapshot, role: ProbeRole, cables: &[CableStatus]) -> Says {
    let mtu = |cluster: &ClusterId| {
        let usable = cables
            .iter()
            .map(|cable| &cable.connection)
            .filter(|connection| connection.remote.cluster == *cluster && connection.state.is_usable());
        // A failover among them must not make a packet too large.
        usable.filter_map(|connection| connection.mtu).min()
    };
    Says {
        role,
        reach: Reach::new(choice::others(snapshot).map(|cluster| (cluster, mtu(cluster)))),
        ..Says::default()
    }
}

/// Whether it says that it has a working cable to every other cluster.
pub(crate) fn reaches_all(says: &Says, snapshot: &Snapshot) -> bool {
    let reach = says.reach.of(choice::others(snapshot));
    reach.is_some_and(|reach| reach.values().all(Option::is_some))
}

/// Whether the published gateway says what the spec says.
pub(crate) fn is_told(published: &model::Gateway, spec: GatewaySpec) -> bool {
    let wanted = model::Gateway::try_from(&Gateway::new("", spec));
    wanted.is_ok_and(|wanted| {
        model::Gateway {
            connections: published.connections.clone(),
            ..wanted
        } == *published
    })
}

/// Writes the spec.
pub(crate) fn publish(namespace: &str, me: &GatewayId, spec: &GatewaySpec) -> Order {
    let mut object = identity(namespace, me);
    object["metadata"]["labels"] = json!({ names::CLUSTER_LABEL: me.cluster });
    object["spec"] = json!(spec);
    order(namespace, me, Change::Apply(object))
}

/// Writes the status.
pub(crate) fn publish_status(namespace: &str, me: &GatewayId, status: &GatewayStatus) -> Order {
    let mut object = identity(namespace, me);
    object["status"] = json!(status);
    order(namespace, me, Change::Status(object))
}

fn name(me: &GatewayId) -> String {
    mirror_name(&me.cluster, me.node.as_str())
}

fn identity(namespace: &str, me: &GatewayId) -> Value {
    json!({
        "apiVersion": "tombolo.dev/v1alpha1",
        "kind": "Gateway",
        "metadata": { "name": name(me), "namespace": namespace },
    })
}

fn order(namespace: &str, me: &GatewayId, change: Change) -> Order {
    Order {
        resource: ApiResource::erase::<Gateway>(&()),
        namespace: Some(namespace.to_owned()),
        name: name(me),
        manager: names::FIELD_MANAGER.to_owned(),
        change,
    }
}

/// Where the kernel does not tell.
const ETHERNET: u16 = 1500;
