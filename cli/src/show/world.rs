//! What `show` reads, and what may be believed of it.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{anyhow, bail};
use futures::try_join;
use k8s_api::mcs::{ServiceExport, ServiceImport};
use k8s_api::{Cluster, ConnectionStatus, ExportedService, Gateway, condition};
use k8s_openapi::api::core::v1::{Pod, Secret};
use k8s_runtime::Find;
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use model::names::{BROKER_SECRET, SYSTEM_NAMESPACE};

use crate::connect::{Connection, is_not_found};

/// Everything at one moment.
#[derive(Debug, Default)]
pub(crate) struct World {
    /// Our id.
    pub(crate) own: String,
    /// All members.
    pub(crate) clusters: Vec<Cluster>,
    /// All gateways; ours have a status.
    pub(crate) gateways: Vec<Gateway>,
    /// All exports.
    pub(crate) exports: Vec<ExportedService>,
    /// Our users' wishes.
    pub(crate) wishes: Vec<ServiceExport>,
    /// What is imported here.
    pub(crate) imports: Vec<ServiceImport>,
    /// Nodes whose gateway agent runs.
    pub(crate) live_agents: BTreeSet<String>,
}

impl World {
    /// Reads it.
    pub(crate) async fn read(cluster: &Connection) -> anyhow::Result<Self> {
        match tokio::time::timeout(PATIENCE, Self::read_patiently(cluster)).await {
            Ok(world) => world,
            Err(_) => Err(anyhow!(
                "the cluster {} did not answer within {} s",
                cluster.url,
                PATIENCE.as_secs()
            )),
        }
    }

    async fn read_patiently(cluster: &Connection) -> anyhow::Result<Self> {
        let client = &cluster.client;
        let all = ListParams::default();
        let agents = ListParams::default().labels("app.kubernetes.io/name=tombolo-gateway-agent");
        let secrets: Api<Secret> = Api::namespaced(client.clone(), SYSTEM_NAMESPACE);
        let clusters: Api<Cluster> = Api::namespaced(client.clone(), SYSTEM_NAMESPACE);
        let gateways: Api<Gateway> = Api::namespaced(client.clone(), SYSTEM_NAMESPACE);
        let exports: Api<ExportedService> = Api::namespaced(client.clone(), SYSTEM_NAMESPACE);
        let pods: Api<Pod> = Api::namespaced(client.clone(), SYSTEM_NAMESPACE);
        let wishes: Api<ServiceExport> = Api::all(client.clone());
        let imports: Api<ServiceImport> = Api::all(client.clone());
        let read = async {
            try_join!(
                secrets.find(BROKER_SECRET),
                clusters.list(&all),
                gateways.list(&all),
                exports.list(&all),
                wishes.list(&all),
                imports.list(&all),
                pods.list(&agents),
            )
        };
        let (secret, clusters, gateways, exports, wishes, imports, pods) = match read.await {
            Ok(read) => read,
            Err(error) if is_not_found(&error) => bail!(no_member(cluster)),
            Err(error) => return Err(cluster.failed("read the state of the clusterset")(error)),
        };
        let own = secret
            .and_then(|secret| secret.data?.remove("clusterId"))
            .and_then(|id| String::from_utf8(id.0).ok());
        let Some(own) = own else {
            bail!(no_member(cluster));
        };
        Ok(Self {
            own,
            clusters: clusters.items,
            gateways: gateways.items,
            exports: exports.items,
            wishes: wishes.items,
            imports: imports.items,
            live_agents: pods.iter().filter(|pod| is_ready(pod)).filter_map(node_of).collect(),
        })
    }

    /// Our gateways, by name.
    pub(crate) fn own_gateways(&self) -> Vec<&Gateway> {
        let mut own: Vec<&Gateway> = self
            .gateways
            .iter()
            .filter(|gateway| gateway.spec.cluster_id == self.own)
            .collect();
        own.sort_by_key(|gateway| &gateway.spec.node);
        own
    }

    /// The other members that take part, by id.
    pub(crate) fn peers(&self) -> Vec<&Cluster> {
        let mut peers: Vec<&Cluster> = self
            .clusters
            .iter()
            .filter(|cluster| cluster.spec.cluster_id != self.own && is_active(cluster))
            .collect();
        peers.sort_by_key(|cluster| &cluster.spec.cluster_id);
        peers
    }

    /// A gateway of another cluster.
    pub(crate) fn gateway(&self, cluster: &str, node: &str) -> Option<&Gateway> {
        self.gateways
            .iter()
            .find(|gateway| gateway.spec.cluster_id == cluster && gateway.spec.node == node)
    }

    /// Cables of one of our gateways, as they may be believed.
    pub(crate) fn cables<'a>(&'a self, gateway: &'a Gateway) -> impl Iterator<Item = Cable<'a>> {
        let is_live = self.live_agents.contains(&gateway.spec.node);
        let connections = gateway.status.iter().flat_map(|status| &status.connections);
        connections.map(move |connection| Cable { connection, is_live })
    }
}

/// A cable as an agent reported it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cable<'a> {
    /// The report.
    pub(crate) connection: &'a ConnectionStatus,
    is_live: bool,
}

impl Cable<'_> {
    /// Its state; `unknown` where the agent that reported it does not run.
    pub(crate) fn state(&self) -> &str {
        if self.is_live {
            &self.connection.state
        } else {
            "unknown"
        }
    }

    /// Why, as the word for it.
    pub(crate) fn reason(&self) -> Option<String> {
        self.connection.reason.clone().filter(|_| self.is_live)
    }

    /// Why, for a person.
    pub(crate) fn message(&self) -> String {
        if self.is_live {
            self.connection.message.clone()
        } else {
            format!(
                "the gateway agent is not running; last reported: {}",
                self.connection.state
            )
        }
    }

    /// `direct`, or `nat` where the other end answers from an address that it did not tell.
    pub(crate) fn path(&self, remote: Option<&Gateway>) -> String {
        let Some((ip, _)) = self
            .connection
            .remote_address
            .as_ref()
            .and_then(|address| address.rsplit_once(':'))
        else {
            return String::new();
        };
        let ip = ip.trim_matches(['[', ']']);
        let told = remote.is_some_and(|remote| remote.spec.addresses.iter().any(|address| address.ip == ip));
        if told { "direct" } else { "nat" }.to_owned()
    }

    /// The other end's address without the port.
    pub(crate) fn remote_ip(&self) -> String {
        let address = self.connection.remote_address.as_deref().unwrap_or_default();
        let ip = address.rsplit_once(':').map_or(address, |(ip, _)| ip);
        ip.trim_matches(['[', ']']).to_owned()
    }
}

/// Whether a member takes part; an unknown state reads as yes.
pub(crate) fn is_active(cluster: &Cluster) -> bool {
    !matches!(cluster.spec.state.as_str(), "Leaving" | "Evicted")
}

/// Why a member's claim is refused, if it is.
pub(crate) fn refusal(cluster: &Cluster) -> Option<String> {
    let conditions = &cluster.status.as_ref()?.conditions;
    let accepted = conditions.iter().find(|c| c.type_ == condition::ACCEPTED)?;
    (accepted.status == "False").then(|| format!("{}: {}", accepted.reason, accepted.message))
}

/// A member's prefixes as one word.
pub(crate) fn prefixes(cluster: &Cluster) -> String {
    let spec = &cluster.spec;
    let all: Vec<&str> = spec
        .pod_prefixes
        .iter()
        .chain(&spec.service_prefixes)
        .map(String::as_str)
        .collect();
    all.join(",")
}

/// What a gateway's agent says of itself when it is not ready.
pub(crate) fn gateway_trouble(gateway: &Gateway) -> Option<String> {
    let conditions = gateway
        .status
        .as_ref()
        .map(|status| status.conditions.as_slice())
        .unwrap_or_default();
    let bad = [condition::READY, condition::SYNCED]
        .iter()
        .filter_map(|kind| conditions.iter().find(|c| c.type_ == **kind && c.status == "False"))
        .find(|condition| !condition.message.is_empty());
    bad.map(|condition| condition.message.clone())
}

fn no_member(cluster: &Connection) -> String {
    format!(
        "this cluster ({}) is no member of a clusterset: make it one with `tombolo join`",
        cluster.url
    )
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_deref())
        .unwrap_or_default();
    pod.metadata.deletion_timestamp.is_none() && conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True")
}

fn node_of(pod: &Pod) -> Option<String> {
    pod.spec.as_ref()?.node_name.clone()
}

/// Name of a namespaced object with its namespace.
pub(crate) fn full_name(object: &impl ResourceExt) -> (String, String) {
    (object.namespace().unwrap_or_default(), object.name_any())
}

const PATIENCE: Duration = Duration::from_secs(2);
