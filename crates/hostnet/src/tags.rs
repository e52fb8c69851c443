//! The marks by which we know our own state in a kernel that others write too.

/// Routes for this node's own pods and host: remote prefix → VXLAN to the active gateway, or TUN on the active gateway itself.
pub const TABLE_OWN: u32 = 174;
/// Routes for what comes in by VXLAN on a gateway: remote prefix → TUN or unreachable.
pub const TABLE_TRANSIT: u32 = 175;
/// Protocol number on our routes, rules and nexthop objects (`rt_protos`: free).
pub const PROTOCOL: u8 = 174;
/// Priority of our policy rules: after `local` (0), before `main` (32766).
pub const RULE_PRIORITY: u32 = 174;
/// The nftables table, family `inet`.
pub const NFT_TABLE: &str = "tombolo";
/// Every link of ours begins with this.
pub const LINK_PREFIX: &str = "tombolo";
/// The VXLAN link between the nodes of one cluster.
pub const VXLAN_LINK: &str = "tombolo-vx";
/// The TUN device of the cables; the gateway agent makes it.
pub const TUN_LINK: &str = "tombolo0";
/// IPv4 address of the VXLAN link, the same on every node and never on a wire. The kernel's loose reverse-path filter drops
/// whatever comes in by a link that has no IPv4 address at all, unless the way back is that link.
pub const LINK_ANCHOR: std::net::Ipv4Addr = std::net::Ipv4Addr::new(169, 254, 174, 174);
/// VXLAN network identifier.
pub const VXLAN_VNI: u32 = 7450;
/// VXLAN UDP port.
pub const VXLAN_PORT: u16 = 4801;
/// UDP port of the deep probes that are tracked in transit.
pub const TRACKED_PROBE_PORT: u16 = 4513;

/// Metric of the routes that carry traffic. Not the families' defaults (0 and 1024), so that both read alike.
pub const METRIC: u32 = 100;
/// Metric of the unreachable backstops: the last resort of a table.
pub const BACKSTOP_METRIC: u32 = u32::MAX;

/// First nexthop object id of ours; the protocol number in the top byte keeps clear of routing daemons, which count up from 1.
pub const NEXTHOP_BASE: u32 = (PROTOCOL as u32) << 24;
/// Ids per family pair: one slot a remote cluster.
pub const NEXTHOP_SLOTS: u32 = 1 << 20;
/// The nexthop objects of [`TABLE_TRANSIT`]: this (IPv4) and the next (IPv6).
pub const NEXTHOP_TRANSIT: u32 = NEXTHOP_BASE + 2 * NEXTHOP_SLOTS;
/// The nexthop objects of clusterset IPs: this (IPv4) and the next (IPv6).
pub const NEXTHOP_VIP: u32 = NEXTHOP_TRANSIT + 2;

/// True for nexthop ids in our range.
pub fn is_our_nexthop(id: u32) -> bool {
    (NEXTHOP_BASE..=NEXTHOP_VIP + 1).contains(&id)
}
