//! A node that is up and does not do its work: forwarding off, or some packets dropped.

use std::process::Stdio;

use anyhow::{Context, bail};

use super::Fault;
use crate::namespace::{Namespace, feed};
use crate::state::Lab;
use crate::target::Target;

impl Lab {
    /// Turns a node's forwarding off or on, for both families.
    ///
    /// # Errors
    /// When there is no such node.
    pub(super) fn set_forwarding(&self, target: &str, is_on: bool) -> anyhow::Result<()> {
        let value = if is_on { "1" } else { "0" };
        let settings = ["ipv4/ip_forward", "ipv6/conf/all/forwarding"];
        self.namespace_of_node(target)?
            .sysctls(settings.into_iter().map(|name| (name, value)))
    }

    /// Has a node drop the packets that the fault says; or none. What the kernel has merged counts as one packet.
    ///
    /// # Errors
    /// When there is no such node, or nft fails.
    pub(super) async fn drop_packets(&self, fault: &Fault) -> anyhow::Result<()> {
        let namespace = self.namespace_of_node(&fault.target)?;
        // Added before it is deleted: only so can a table be deleted that may not be there.
        let mut rules = format!("add table inet {TABLE}\ndelete table inet {TABLE}\n");
        let mut add = |hook: &str, matches: &[String]| {
            let chain = format!("inet {TABLE} {hook}");
            rules += &format!("add table inet {TABLE}\n");
            rules += &format!("add chain {chain} {{ type filter hook {hook} priority -300; }}\n");
            for packets in matches {
                rules += &format!("add rule {chain} {packets} drop\n");
            }
        };
        let larger = fault.drops_larger.map(|bytes| format!("meta length > {bytes}"));
        let untracked = fault.drops_untracked.then(|| "ct state untracked".to_owned());
        let forwarded: Vec<String> = larger.into_iter().chain(untracked).collect();
        if !forwarded.is_empty() {
            add("forward", &forwarded);
        }
        if let Some(port) = fault.drops_port {
            add("input", &[format!("udp sport {port}"), format!("udp dport {port}")]);
        }
        let name = namespace.name();
        feed("ip", &["netns", "exec", name, "nft", "-f", "-"], &rules, Stdio::null())
            .await
            .with_context(|| format!("in the network namespace '{name}'"))
    }

    pub(super) fn namespace_of_node(&self, target: &str) -> anyhow::Result<Namespace> {
        match Target::find(self, target, None)? {
            Target::Node { host, .. } => Ok(self.namespace(&host)),
            _ => bail!("'{target}' is no node, which this fault needs: name one as CLUSTER/NODE"),
        }
    }
}

/// Nobody else's, so that clearing it touches nothing else.
const TABLE: &str = "lab-fault";
