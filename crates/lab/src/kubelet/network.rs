//! The node's CNI: a bridge that is the pods' router, a route to every other node's pods, and masquerading to the world outside.
//!
//! Pods have addresses of full length, so that two pods of a node also meet through the node's routing: an answer within the
//! bridge would pass by the connection tracking that a Service address needs (what `br_netfilter` is for elsewhere).

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fmt::Write;
use std::net::IpAddr;
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use ipnet::IpNet;
use k8s_openapi::api::core::v1::Node;
use nix::sys::signal::Signal;

use crate::namespace::{self, Namespace};
use crate::process;
use crate::topology::{nth, nth_in};
use crate::wiring::nodad;

/// The numbers that pods of a node may have. Number 1 is the node itself.
pub(super) const NUMBERS: std::ops::RangeInclusive<u8> = 2..=254;

/// What makes up the network of a node.
#[derive(Debug, Clone)]
pub(super) struct Network {
    /// The name of the node's namespace, the beginning of its pods'.
    pub(super) namespace: String,
    /// The node's part of the pod prefixes.
    pub(super) pod_prefixes: Vec<IpNet>,
    /// The whole cluster's pod prefixes.
    pub(super) cluster_prefixes: Vec<IpNet>,
    /// Of every link to a pod.
    pub(super) mtu: u16,
}

impl Network {
    /// Makes the bridge and the masquerading, or finds them made.
    ///
    /// # Errors
    /// When `ip` or `nft` refuses.
    pub(super) async fn set_up(&self) -> anyhow::Result<()> {
        namespace::write_sysctls([
            ("ipv4/ip_forward", "1"),
            ("ipv6/conf/all/forwarding", "1"),
            // The way back from a pod to its neighbour is through the node, and meant to be.
            ("ipv4/conf/default/send_redirects", "0"),
            ("ipv4/conf/all/send_redirects", "0"),
        ])?;
        if !std::path::Path::new("/proc/sys/net/ipv4/conf").join(BRIDGE).exists() {
            let line = format!(
                "link add {BRIDGE} address {} mtu {} type bridge stp_state 0 mcast_snooping 0\n",
                self.bridge_address(),
                self.mtu
            );
            namespace::ip(&line)
                .await
                .context("cannot make the bridge of the pods")?;
        }
        namespace::ip(&self.bridge_batch())
            .await
            .context("cannot set up the bridge of the pods")?;
        namespace::feed(
            "nft",
            &["-f", "-"],
            &masquerading(&self.pod_prefixes, &self.cluster_prefixes),
            Stdio::null(),
        )
        .await
    }

    /// A pod's addresses.
    pub(super) fn addresses(&self, number: u8) -> Vec<IpAddr> {
        self.pod_prefixes
            .iter()
            .map(|prefix| nth(*prefix, u32::from(number)))
            .collect()
    }

    /// A pod's namespace.
    pub(super) fn pod_namespace(&self, number: u8) -> Namespace {
        Namespace::named(format!("{}-p{number}", self.namespace))
    }

    /// Makes a pod's namespace and its link.
    ///
    /// # Errors
    /// When `ip` refuses.
    pub(super) async fn attach(&self, number: u8) -> anyhow::Result<()> {
        let pod = self.pod_namespace(number);
        // What a kill in the middle of the last attempt left.
        self.detach(number).await?;
        namespace::ip(&self.node_batch(number))
            .await
            .context("cannot make the pod's link")?;
        pod.sysctls(POD_SYSCTLS.iter().copied())?;
        pod.ip(&self.pod_batch(number)).await
    }

    /// Removes a pod's namespace with all that lives in it, and its link.
    ///
    /// # Errors
    /// When something cannot be removed.
    pub(super) async fn detach(&self, number: u8) -> anyhow::Result<()> {
        let pod = self.pod_namespace(number);
        if let Ok(identity) = pod.identity() {
            let living =
                process::living_in(&BTreeSet::from([identity])).context("cannot look for the pod's processes")?;
            living.iter().for_each(|process| process.signal(Signal::SIGKILL));
            if !process::ended(&living, Duration::from_secs(5)).await {
                tracing::warn!(
                    namespace = pod.name(),
                    "a process does not end; it loses its network all the same"
                );
            }
            pod.remove()
                .with_context(|| format!("cannot remove the network namespace '{}'", pod.name()))?;
        }
        let link = pod_link(number);
        if std::path::Path::new("/proc/sys/net/ipv4/conf").join(&link).exists() {
            // The kernel may take it away with the namespace, at a time of its own.
            if let Err(error) = namespace::ip(&format!("link del {link}\n")).await {
                tracing::debug!(link, %error, "the link was gone");
            }
        }
        Ok(())
    }

    /// Makes the routes to the other nodes' pods what the Nodes say.
    ///
    /// # Errors
    /// When `ip` refuses.
    pub(super) async fn route(&self, own_node: &str, nodes: &[std::sync::Arc<Node>]) -> anyhow::Result<()> {
        let wanted = routes(own_node, nodes.iter().map(AsRef::as_ref));
        let batch = difference(&wanted, &observe().await?);
        if batch.is_empty() {
            return Ok(());
        }
        namespace::ip(&batch)
            .await
            .context("cannot set the routes to the other nodes' pods")
    }

    /// The bridge's Ethernet address. Without one of its own it would have the lowest of its ports, which a new pod may change; and what other
    /// pods send to the old one is lost until they ask for it again, up to a minute later.
    fn bridge_address(&self) -> String {
        let router = self.pod_prefixes.first().map(|prefix| nth(*prefix, 1));
        let [a, b, c, d] = match router {
            Some(IpAddr::V4(ip)) => ip.octets(),
            _ => [0, 0, 0, 1],
        };
        format!("0a:58:{a:02x}:{b:02x}:{c:02x}:{d:02x}")
    }

    fn bridge_batch(&self) -> String {
        let mut batch = String::new();
        for prefix in &self.pod_prefixes {
            let own = nth_in(*prefix, 1);
            line(
                &mut batch,
                format_args!("address replace {own} dev {BRIDGE}{}", nodad(own)),
            );
        }
        line(&mut batch, format_args!("link set {BRIDGE} up"));
        batch
    }

    fn node_batch(&self, number: u8) -> String {
        let (pod, link, mtu) = (self.pod_namespace(number), pod_link(number), self.mtu);
        let mut batch = String::new();
        line(&mut batch, format_args!("netns add {}", pod.name()));
        line(
            &mut batch,
            format_args!(
                "link add {link} mtu {mtu} type veth peer name eth0 mtu {mtu} netns {}",
                pod.name()
            ),
        );
        line(&mut batch, format_args!("link set {link} master {BRIDGE} up"));
        batch
    }

    fn pod_batch(&self, number: u8) -> String {
        let mut batch = String::from("link set lo up\nlink set eth0 up\n");
        for prefix in &self.pod_prefixes {
            let address = IpNet::from(nth(*prefix, u32::from(number)));
            let router = nth(*prefix, 1);
            line(
                &mut batch,
                format_args!("address add {address} dev eth0{}", nodad(address)),
            );
            line(&mut batch, format_args!("route add {router} dev eth0"));
            line(&mut batch, format_args!("route add default via {router} dev eth0"));
        }
        batch
    }
}

/// A way to another node's pods.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Route {
    prefix: IpNet,
    via: IpAddr,
}

/// The routes that the Nodes ask for.
fn routes<'a>(own_node: &str, nodes: impl Iterator<Item = &'a Node>) -> BTreeSet<Route> {
    let mut routes = BTreeSet::new();
    for node in nodes.filter(|node| node.metadata.name.as_deref() != Some(own_node)) {
        let spec = node.spec.as_ref();
        let prefixes = spec.and_then(|spec| spec.pod_cidrs.as_deref()).unwrap_or_default();
        let prefixes = prefixes.iter().filter_map(|prefix| prefix.parse::<IpNet>().ok());
        let addresses: Vec<IpAddr> = internal_addresses(node).collect();
        for prefix in prefixes {
            let via = addresses
                .iter()
                .find(|address| address.is_ipv4() == prefix.addr().is_ipv4());
            routes.extend(via.map(|via| Route { prefix, via: *via }));
        }
    }
    routes
}

fn internal_addresses(node: &Node) -> impl Iterator<Item = IpAddr> {
    let addresses = node
        .status
        .as_ref()
        .and_then(|status| status.addresses.as_deref())
        .unwrap_or_default();
    addresses
        .iter()
        .filter(|address| address.type_ == "InternalIP")
        .filter_map(|address| address.address.parse().ok())
}

/// The `ip` commands from what is to what is wanted.
fn difference(wanted: &BTreeSet<Route>, observed: &BTreeSet<Route>) -> String {
    let mut batch = String::new();
    for route in observed
        .difference(wanted)
        .filter(|old| !wanted.iter().any(|new| new.prefix == old.prefix))
    {
        line(&mut batch, format_args!("route del {} proto {PROTOCOL}", route.prefix));
    }
    for route in wanted.difference(observed) {
        line(
            &mut batch,
            format_args!("route replace {} via {} proto {PROTOCOL}", route.prefix, route.via),
        );
    }
    batch
}

async fn observe() -> anyhow::Result<BTreeSet<Route>> {
    let mut routes = BTreeSet::new();
    for family in ["-4", "-6"] {
        let output = tokio::process::Command::new("ip")
            .args([family, "-json", "route", "show", "proto", PROTOCOL])
            .kill_on_drop(true)
            .output()
            .await
            .context("cannot start ip")?;
        routes.extend(parse_routes(&output.stdout));
    }
    Ok(routes)
}

/// Reads `ip -json route show`. Nothing at all is an empty list, and so is what cannot be read: it will be set anew.
fn parse_routes(json: &[u8]) -> Vec<Route> {
    #[derive(serde::Deserialize)]
    struct Line {
        dst: String,
        gateway: IpAddr,
    }
    let lines: Vec<Line> = serde_json::from_slice(json).unwrap_or_default();
    let parse = |line: &Line| {
        Some(Route {
            prefix: line.dst.parse().ok()?,
            via: line.gateway,
        })
    };
    lines.iter().filter_map(parse).collect()
}

/// What a CNI does for pods that talk to the world: packets that leave the cluster's pod prefix get the node's address.
fn masquerading(node: &[IpNet], cluster: &[IpNet]) -> String {
    let mut text = format!("table inet {TABLE} {{\n}}\ndelete table inet {TABLE}\ntable inet {TABLE} {{\n");
    text.push_str("\tchain postrouting {\n\t\ttype nat hook postrouting priority srcnat; policy accept;\n");
    for (own, all) in node.iter().zip(cluster) {
        let (family, multicast) = if own.addr().is_ipv4() {
            ("ip", "224.0.0.0/4")
        } else {
            ("ip6", "ff00::/8")
        };
        line(
            &mut text,
            format_args!("\t\t{family} saddr {own} {family} daddr != {{ {all}, {multicast} }} masquerade fully-random"),
        );
    }
    text.push_str("\t}\n}\n");
    text
}

fn pod_link(number: u8) -> String {
    format!("pod{number}")
}

fn line(batch: &mut String, text: std::fmt::Arguments<'_>) {
    writeln!(batch, "{text}").expect("writing to a String cannot fail");
}

/// The link that CNIs call so.
const BRIDGE: &str = "cni0";
/// The only table that the kubelet touches.
const TABLE: &str = "lab-cni";
/// Tells the kubelet's routes from everybody else's.
const PROTOCOL: &str = "90";

/// Before its link is up, so that no link-local address waits for the proof that it is alone.
const POD_SYSCTLS: &[(&str, &str)] = &[
    ("ipv4/conf/all/accept_redirects", "0"),
    ("ipv4/conf/eth0/accept_redirects", "0"),
    ("ipv6/conf/all/accept_redirects", "0"),
    ("ipv6/conf/eth0/accept_redirects", "0"),
    ("ipv6/conf/eth0/accept_dad", "0"),
    ("ipv6/conf/eth0/accept_ra", "0"),
];
