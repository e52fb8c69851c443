//! Every fixed name, port and number. They are chosen so that a Submariner can run on the same node while one replaces the other.

/// API group of our own kinds.
pub const GROUP: &str = "tombolo.dev";
/// Version of our own kinds.
pub const VERSION: &str = "v1alpha1";
/// The level of the broker's kinds that this build writes (see `Broker.spec.apiLevel`).
pub const API_LEVEL: u32 = 1;
/// The protocol version that this build speaks on cables.
pub const PROTOCOL: u32 = 1;

/// Where our own objects live in a member cluster.
pub const SYSTEM_NAMESPACE: &str = "tombolo-system";
/// A member's namespace on the broker is this plus its cluster id.
pub const MEMBER_NAMESPACE_PREFIX: &str = "tombolo-m-";
/// The one `Broker` object.
pub const BROKER_NAME: &str = "tombolo";
/// The Secret in a member that holds its way to the broker.
pub const BROKER_SECRET: &str = "tombolo-broker";

/// On nodes: this node may carry cables.
pub const GATEWAY_LABEL: &str = "tombolo.dev/gateway";
/// On every object that came from, or goes to, another cluster: its owner's cluster id.
pub const CLUSTER_LABEL: &str = "tombolo.dev/cluster";
/// The field manager of server-side applies, and the value of `app.kubernetes.io/managed-by`.
pub const FIELD_MANAGER: &str = "tombolo";

/// On a `ServiceImport`, by way of `exportedAnnotations`: whose endpoints come first, `local`, `nearest` or `spread`.
pub const PREFER_ANNOTATION: &str = "tombolo.dev/prefer";

/// MCS API: the service that an imported EndpointSlice belongs to.
pub const MCS_SERVICE_NAME_LABEL: &str = "multicluster.kubernetes.io/service-name";
/// MCS API: the cluster that an imported EndpointSlice came from.
pub const MCS_SOURCE_CLUSTER_LABEL: &str = "multicluster.kubernetes.io/source-cluster";
/// `endpointslice.kubernetes.io/managed-by` on the slices that we write.
pub const SLICE_MANAGER: &str = "tombolo.dev";

/// Lease of the active gateway; its transitions are the epoch.
pub const GATEWAY_LEASE: &str = "tombolo-gateway";
/// Lease of the one gateway agent that talks to the broker.
pub const SYNC_LEASE: &str = "tombolo-sync";

/// UDP port of all cables.
pub const CABLE_PORT: u16 = 4510;
/// UDP port of probes inside a cable.
pub const PROBE_PORT: u16 = 4511;
/// UDP port of deep probes: on every node, at its address in the pod network.
pub const DEEP_PROBE_PORT: u16 = 4512;
/// UDP port of deep probes that gateways track, and so are their answers: asked only while the others stay unanswered.
pub const TRACKED_PROBE_PORT: u16 = 4513;
/// UDP port of the VXLAN between the nodes of one cluster.
pub const VXLAN_PORT: u16 = 4801;
/// VXLAN network identifier.
pub const VXLAN_VNI: u32 = 7450;
/// Admin (metrics and health) ports.
pub const GATEWAY_ADMIN_PORT: u16 = 9440;
/// See [`GATEWAY_ADMIN_PORT`].
pub const ROUTE_ADMIN_PORT: u16 = 9441;
/// See [`GATEWAY_ADMIN_PORT`].
pub const DNS_ADMIN_PORT: u16 = 9442;

/// The TUN device of the cables.
pub const TUN_LINK: &str = "tombolo0";
/// The VXLAN device between nodes.
pub const VXLAN_LINK: &str = "tombolo-vx";

/// IPv4 address of both links of ours, the same on every node and never on a wire. The kernel's loose reverse-path filter
/// (`rp_filter` 2) drops whatever comes in by a link that has no IPv4 address at all, unless the way back is that link.
pub const LINK_ANCHOR: std::net::Ipv4Addr = std::net::Ipv4Addr::new(169, 254, 174, 174);

/// The clusterset zone (KEP-1645).
pub const CLUSTERSET_ZONE: &str = "clusterset.local";
/// Where clusterset IPs are unless join was told otherwise. The same in every cluster, as they never leave the client's node:
/// a corner of the reserved class E and of the unique local addresses, which pods, services and nodes hardly ever have.
pub const CLUSTERSET_RANGES: [&str; 2] = ["244.174.0.0/16", "fd74:6f6d:626f:6c6f::/112"];
/// Service of the DNS server in [`SYSTEM_NAMESPACE`].
pub const DNS_SERVICE: &str = "tombolo-lighthouse-dns";

/// Key, last snapshot and sysctl memory of a node.
pub const STATE_DIR: &str = "/var/lib/tombolo";

/// Bytes that WireGuard adds to an inner packet over an IPv4 underlay: 20 IP, 8 UDP, 32 WireGuard.
pub const WIREGUARD_OVERHEAD_V4: u16 = 60;
/// Bytes that WireGuard adds over an IPv6 underlay.
pub const WIREGUARD_OVERHEAD_V6: u16 = 80;
/// Bytes that VXLAN adds over an IPv4 underlay: 20 IP, 8 UDP, 8 VXLAN, 14 Ethernet.
pub const VXLAN_OVERHEAD_V4: u16 = 50;
/// Bytes that VXLAN adds over an IPv6 underlay.
pub const VXLAN_OVERHEAD_V6: u16 = 70;

/// At most so many ready endpoints of a service that has a clusterset IP are published per cluster.
pub const MAX_ENDPOINTS: usize = 100;
/// At most so many ready endpoints of a headless service are published per cluster.
pub const MAX_HEADLESS_ENDPOINTS: usize = 1000;
