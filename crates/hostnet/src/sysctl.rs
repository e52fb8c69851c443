//! Kernel settings: their names, and which of them a node needs.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::desired::Desired;
use crate::state::{Family, Observed};
use crate::tags;

/// A sysctl as its path below `/proc/sys`, as in `net/ipv4/conf/eth0.100/rp_filter`. Slashes, because link names may have dots.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct SysctlKey(String);

/// A text that cannot name a network sysctl.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" does not name a network setting; write its path below /proc/sys, as in net/ipv4/ip_forward")]
pub struct InvalidSysctlKey(String);

impl SysctlKey {
    /// Every key that a plan for a node with this underlay may read or set.
    pub fn all_for(underlay: &str) -> Vec<Self> {
        let mut keys = vec![
            Self::new(IPV4_FORWARD),
            Self::new(IPV6_FORWARD),
            Self::new(BE_LIBERAL),
            Self::new(LOOSE),
            Self::conf("ipv4", "all", "rp_filter"),
            Self::conf("ipv4", underlay, "rp_filter"),
            Self::conf("ipv6", underlay, "accept_ra"),
        ];
        for link in [tags::VXLAN_LINK, tags::TUN_LINK] {
            keys.push(Self::conf("ipv4", link, "rp_filter"));
            keys.push(Self::conf("ipv6", link, "disable_ipv6"));
        }
        keys.push(Self::conf("ipv6", tags::VXLAN_LINK, "addr_gen_mode"));
        keys
    }

    /// The path below `/proc/sys`.
    pub fn path(&self) -> &str {
        &self.0
    }

    /// The link that the key is about, if it is about one.
    pub fn device(&self) -> Option<&str> {
        let mut parts = self.0.split('/');
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some("net"), Some("ipv4" | "ipv6"), Some("conf"), Some(device))
                if !matches!(device, "all" | "default") =>
            {
                Some(device)
            }
            _ => None,
        }
    }

    fn new(path: &str) -> Self {
        Self(path.to_owned())
    }

    fn conf(family: &str, device: &str, name: &str) -> Self {
        Self(format!("net/{family}/conf/{device}/{name}"))
    }
}

/// The settings that the node needs and, where the answer depends on it, does not have yet.
pub(crate) fn needed(desired: &Desired, observed: &Observed, families: &[Family]) -> BTreeMap<SysctlKey, String> {
    let value = |key: &SysctlKey| observed.state.sysctls.get(key).map(String::as_str);
    let mut needed = BTreeMap::new();
    let mut need = |key: SysctlKey, value: &str| needed.insert(key, value.to_owned());

    if families.contains(&Family::V4) {
        need(SysctlKey::new(IPV4_FORWARD), "1");
    }
    if families.contains(&Family::V6) {
        need(SysctlKey::new(IPV6_FORWARD), "1");
        // A host that starts to forward stops to hear router advertisements, and loses its default route, unless this is 2.
        let accept_ra = SysctlKey::conf("ipv6", &desired.underlay.device, "accept_ra");
        if value(&SysctlKey::new(IPV6_FORWARD)) == Some("0") && value(&accept_ra) == Some("1") {
            need(accept_ra, "2");
        }
    }
    if desired.gateway {
        // A flow may pass another gateway one way and this one the other way: conntrack here sees half of it.
        need(SysctlKey::new(BE_LIBERAL), "1");
        need(SysctlKey::new(LOOSE), "1");
    }

    // Vteps are IPv6, also where the cluster is not: nodes that switch IPv6 off by default need it on our links.
    need(SysctlKey::conf("ipv6", tags::VXLAN_LINK, "disable_ipv6"), "0");
    // None but the vtep address: the kernel's own link-local one would be a second identity.
    need(SysctlKey::conf("ipv6", tags::VXLAN_LINK, "addr_gen_mode"), "1");
    need(SysctlKey::conf("ipv4", tags::VXLAN_LINK, "rp_filter"), "2");
    if observed.facts.tun.is_some() {
        need(SysctlKey::conf("ipv6", tags::TUN_LINK, "disable_ipv6"), "0");
        need(SysctlKey::conf("ipv4", tags::TUN_LINK, "rp_filter"), "2");
    }
    // The kernel uses the larger of `all` and the link's own. Strict (1) drops what comes back another way; 0 is no filter at
    // all, which we have no business to tighten.
    let underlay = SysctlKey::conf("ipv4", &desired.underlay.device, "rp_filter");
    let all = value(&SysctlKey::conf("ipv4", "all", "rp_filter"));
    if value(&underlay).max(all) == Some("1") {
        need(underlay, "2");
    }
    needed
}

const IPV4_FORWARD: &str = "net/ipv4/ip_forward";
const IPV6_FORWARD: &str = "net/ipv6/conf/all/forwarding";
const BE_LIBERAL: &str = "net/netfilter/nf_conntrack_tcp_be_liberal";
const LOOSE: &str = "net/netfilter/nf_conntrack_tcp_loose";

impl fmt::Display for SysctlKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for SysctlKey {
    type Err = InvalidSysctlKey;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.split('/');
        let inside = parts.next() == Some("net") && parts.all(|part| !matches!(part, "" | "." | ".."));
        if inside && text.len() > 4 {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidSysctlKey(text.to_owned()))
        }
    }
}

impl From<SysctlKey> for String {
    fn from(key: SysctlKey) -> Self {
        key.0
    }
}

impl TryFrom<String> for SysctlKey {
    type Error = InvalidSysctlKey;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_stay_below_net() {
        for text in [
            "",
            "net",
            "net/",
            "kernel/panic",
            "net/../kernel/panic",
            "net//ipv4",
            "/net/ipv4/ip_forward",
        ] {
            assert!(text.parse::<SysctlKey>().is_err(), "{text}");
        }
        for key in SysctlKey::all_for("eth0.100") {
            assert_eq!(key.path().parse(), Ok(key.clone()));
        }
    }

    #[test]
    fn a_link_name_with_a_dot_is_one_name() {
        assert_eq!(
            SysctlKey::conf("ipv4", "eth0.100", "rp_filter").device(),
            Some("eth0.100")
        );
        assert_eq!(SysctlKey::conf("ipv4", "all", "rp_filter").device(), None);
        assert_eq!(SysctlKey::new(IPV4_FORWARD).device(), None);
    }
}
