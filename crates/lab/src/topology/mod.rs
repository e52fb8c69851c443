//! What a lab consists of: a pure function of its options, so that a seed repeats a lab to the last address.
//!
//! ```text
//!                       internet                       routes between the networks, owns none
//!          ┌───────────────┼──────────────┐
//!     east-switch     west-switch   broker-switch      a bridge and the network's router, 192.0.2.17
//!   ┌──────┼──────┐        …              │
//! east-api │  east-w1                   broker         one namespace each, one link to the switch
//!       east-gw1
//! ```
//!
//! Node networks are taken in order from the ranges reserved for documentation, so that they read alike in every lab. Pod and
//! service prefixes are random: software that has learnt one by heart fails here.

mod addresses;
#[cfg(test)]
mod tests;

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use addresses::Pool;
pub(crate) use addresses::{nth, nth_in};

/// What a person may choose about a lab.
#[derive(Debug, Clone)]
pub struct Options {
    /// The lab's name, part of every namespace's.
    pub lab: LabName,
    /// Fixes every random choice.
    pub seed: u64,
    /// The clusters' names.
    pub clusters: Vec<String>,
    /// Nodes per cluster that may become gateways.
    pub gateways: usize,
    /// Other nodes per cluster.
    pub workers: usize,
    /// Which families there are, on nodes and pods alike.
    pub ip_family: IpFamily,
    /// The MTU of every link between hosts.
    pub underlay_mtu: u16,
    /// All clusters claim the same pod and service prefixes, which no product can join.
    pub is_overlapping: bool,
    /// API servers that take the embedded ones' place: those of the clusters, in order, then the broker's. Or none.
    pub servers: Vec<Server>,
}

/// An API server that was there before the lab.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Server {
    /// A kubeconfig with an administrator's rights.
    pub kubeconfig: PathBuf,
    /// The prefixes from which it gives Services their addresses, of the lab's families.
    pub service_prefixes: Vec<IpNet>,
}

/// A lab's name: 1 to 12 lower-case letters and digits. Without a dash, so that no two labs' namespaces are confused.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LabName(String);

/// The address families of a lab.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum IpFamily {
    /// IPv4 only.
    V4,
    /// IPv6 only.
    V6,
    /// Both; IPv4 first.
    Dual,
}

/// The whole lab.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Topology {
    /// The lab's name.
    pub lab: LabName,
    /// What every random choice came from.
    pub seed: u64,
    /// The families of every network here.
    pub ip_family: IpFamily,
    /// The MTU of every link between hosts.
    pub underlay_mtu: u16,
    /// The clusters, in the order asked for.
    pub clusters: Vec<Cluster>,
    /// The network of the broker's host.
    pub broker_network: Network,
    /// The host kept for the broker.
    pub broker: Host,
    /// The API server that is reached at the broker's host, if it is not of the lab.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broker_server: Option<Server>,
}

/// One Kubernetes cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Cluster {
    /// Its name, a prefix of its hosts' names.
    pub name: String,
    /// The network of its hosts.
    pub network: Network,
    /// The host of its API server.
    pub api: Host,
    /// Its nodes.
    pub nodes: Vec<Node>,
    /// One prefix per family, from which the nodes' are taken.
    pub pod_prefixes: Vec<IpNet>,
    /// One prefix per family for Services.
    pub service_prefixes: Vec<IpNet>,
    /// Its API server, if it is not of the lab.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<Server>,
}

/// A node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Node {
    /// The host that it is.
    #[serde(flatten)]
    pub host: Host,
    /// What it is meant for.
    pub role: NodeRole,
    /// The part of the cluster's pod prefixes that is this node's own.
    pub pod_prefixes: Vec<IpNet>,
}

/// What a node is meant for. The lab only names it so; labels are `tombolo join`'s business.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NodeRole {
    /// May become a gateway.
    Gateway,
    /// Runs pods only.
    Worker,
}

/// A machine with one link to the switch of its network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// Unique in the lab, and the last part of its namespace's name.
    pub name: String,
    /// One address per family, with the length of its network's prefix.
    pub addresses: Vec<IpNet>,
}

/// A switch, and the network around it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// Its number in the lab.
    pub number: u8,
    /// The switch's host name.
    pub switch: String,
    /// The switch's own addresses, which are the hosts' default routers.
    pub router: Vec<IpNet>,
}

/// The options ask for a lab that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TopologyError {
    /// A cluster's name is no label.
    #[error("'{0}' cannot be a cluster's name: it takes 1 to 20 lower-case letters, digits and inner dashes")]
    ClusterName(String),
    /// A cluster's name means something else to the lab.
    #[error("a cluster cannot be called '{0}', which is a host of its own in every lab; choose another name")]
    ReservedName(String),
    /// Two clusters of one name.
    #[error("two clusters are called '{0}'; give each a name of its own")]
    DuplicateCluster(String),
    /// Too many clusters, or none.
    #[error("a lab has 1 to {max} clusters, not {0}", max = Pool::CLUSTERS)]
    ClusterCount(usize),
    /// Too many nodes, or none.
    #[error("a cluster has 1 to {max} nodes, gateways and workers together, not {0}", max = Pool::NODES)]
    NodeCount(usize),
    /// The links could not carry what the families require.
    #[error("an underlay MTU of {mtu} cannot be used: {least} is the least that the address families here allow")]
    UnderlayMtu {
        /// What was asked for.
        mtu: u16,
        /// What would do.
        least: u16,
    },
}

impl Topology {
    /// Makes the lab of these options.
    ///
    /// # Errors
    /// When a name or a number is out of bounds.
    pub fn generate(options: &Options) -> Result<Self, TopologyError> {
        check(options)?;
        let taken: Vec<IpNet> = options
            .servers
            .iter()
            .flat_map(|server| server.service_prefixes.iter().copied())
            .collect();
        let mut pool = Pool::new(options.seed, options.ip_family, &taken);
        let broker_network = pool.network("broker-switch".to_owned(), 0);
        let broker = Host {
            name: "broker".to_owned(),
            addresses: Pool::host(&broker_network, 0),
        };
        let mut clusters: Vec<Cluster> = Vec::new();
        for (index, name) in options.clusters.iter().enumerate() {
            let network = pool.network(format!("{name}-switch"), index + 1);
            let (pod_prefixes, service_prefixes) = match clusters.first() {
                Some(first) if options.is_overlapping => (first.pod_prefixes.clone(), first.service_prefixes.clone()),
                _ => pool.prefixes(),
            };
            let server = options.servers.get(index).cloned();
            let service_prefixes = match &server {
                Some(server) => server.service_prefixes.clone(),
                None => service_prefixes,
            };
            let gateways = (1..=options.gateways).map(|number| (format!("{name}-gw{number}"), NodeRole::Gateway));
            let workers = (1..=options.workers).map(|number| (format!("{name}-w{number}"), NodeRole::Worker));
            let nodes = gateways.chain(workers).enumerate().map(|(index, (host, role))| Node {
                host: Host {
                    name: host,
                    addresses: Pool::host(&network, index + 1),
                },
                role,
                pod_prefixes: pod_prefixes
                    .iter()
                    .map(|prefix| Pool::node_prefix(*prefix, index))
                    .collect(),
            });
            clusters.push(Cluster {
                name: name.clone(),
                api: Host {
                    name: format!("{name}-api"),
                    addresses: Pool::host(&network, 0),
                },
                nodes: nodes.collect(),
                pod_prefixes,
                service_prefixes,
                server,
                network,
            });
        }
        Ok(Self {
            lab: options.lab.clone(),
            seed: options.seed,
            ip_family: options.ip_family,
            underlay_mtu: options.underlay_mtu,
            clusters,
            broker_network,
            broker,
            broker_server: options.servers.get(options.clusters.len()).cloned(),
        })
    }

    /// The cluster of this name.
    pub fn cluster(&self, name: &str) -> Option<&Cluster> {
        self.clusters.iter().find(|cluster| cluster.name == name)
    }

    /// Every network with its hosts, the broker's first.
    pub fn networks(&self) -> impl Iterator<Item = (&Network, Vec<&Host>)> {
        std::iter::once((&self.broker_network, vec![&self.broker])).chain(
            self.clusters
                .iter()
                .map(|cluster| (&cluster.network, cluster.hosts().collect())),
        )
    }

    /// The name of every host, switches and the internet included.
    pub fn host_names(&self) -> Vec<String> {
        let mut names = vec![INTERNET.to_owned()];
        for (network, hosts) in self.networks() {
            names.push(network.switch.clone());
            names.extend(hosts.into_iter().map(|host| host.name.clone()));
        }
        names
    }
}

impl Cluster {
    /// The hosts on its network.
    pub fn hosts(&self) -> impl Iterator<Item = &Host> {
        std::iter::once(&self.api).chain(self.nodes.iter().map(|node| &node.host))
    }

    /// The address of cluster DNS in each family: the tenth of the service prefix, as kubeadm has it.
    pub fn dns_addresses(&self) -> Vec<IpAddr> {
        self.service_prefixes.iter().map(|prefix| nth(*prefix, 10)).collect()
    }
}

impl Host {
    /// Its address in the lab's first family.
    ///
    /// # Panics
    /// Never: every host has an address.
    pub fn address(&self) -> IpAddr {
        self.addresses.first().expect("a lab has at least one family").addr()
    }
}

impl LabName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for LabName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        if text.is_empty() || text.len() > 12 || !text.bytes().all(is_plain) {
            return Err(format!(
                "'{text}' cannot be a lab's name: it takes 1 to 12 lower-case letters and digits"
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for LabName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<LabName> for String {
    fn from(name: LabName) -> Self {
        name.0
    }
}

impl fmt::Display for LabName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn check(options: &Options) -> Result<(), TopologyError> {
    let clusters = &options.clusters;
    if clusters.is_empty() || clusters.len() > Pool::CLUSTERS {
        return Err(TopologyError::ClusterCount(clusters.len()));
    }
    let nodes = options.gateways + options.workers;
    if nodes == 0 || nodes > Pool::NODES {
        return Err(TopologyError::NodeCount(nodes));
    }
    for (index, name) in clusters.iter().enumerate() {
        let is_inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if name.is_empty()
            || name.len() > 20
            || !name.bytes().all(is_inner)
            || name.starts_with('-')
            || name.ends_with('-')
        {
            return Err(TopologyError::ClusterName(name.clone()));
        }
        if RESERVED.contains(&name.as_str()) {
            return Err(TopologyError::ReservedName(name.clone()));
        }
        if clusters[..index].contains(name) {
            return Err(TopologyError::DuplicateCluster(name.clone()));
        }
    }
    // The least that each protocol demands of a link (RFC 791, RFC 8200).
    let least = if options.ip_family == IpFamily::V4 { 576 } else { 1280 };
    if options.underlay_mtu < least {
        return Err(TopologyError::UnderlayMtu {
            mtu: options.underlay_mtu,
            least,
        });
    }
    Ok(())
}

/// The host that joins all networks.
pub const INTERNET: &str = "internet";

const RESERVED: [&str; 2] = ["broker", INTERNET];
