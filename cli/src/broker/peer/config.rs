//! The configuration of the stock side: pure, from what the broker says.

use std::fmt;
use std::net::SocketAddr;

use clusterset::{choice, claims, mtu};
use model::{AddressKind, ClusterId, Gateway, GatewayId, PublicKey, Snapshot};
use serde::Serialize;

/// What the stock side needs to know.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PeerConfig {
    cluster_id: ClusterId,
    public_key: PublicKey,
    listen_port: Option<u16>,
    /// Bytes: what the narrowest of its cables takes.
    mtu: u16,
    pub(super) peers: Vec<Remote>,
}

/// One gateway.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Remote {
    gateway: GatewayId,
    public_key: PublicKey,
    endpoint: Option<SocketAddr>,
    /// Empty for a gateway that is not in use.
    allowed_ips: Vec<String>,
}

impl PeerConfig {
    /// Every gateway of every other member; the active one of each has its cluster's prefixes.
    pub(super) fn new(others: &Snapshot, own: &Gateway) -> Self {
        let accepted = claims::accepted(others);
        let mut peers = Vec::new();
        for cluster in others.clusters.keys() {
            let active = choice::active(others, cluster).map(|gateway| &gateway.id);
            let prefixes = accepted.get(cluster);
            peers.extend(others.gateways_of(cluster).map(|gateway| {
                let in_use = prefixes.filter(|_| active == Some(&gateway.id));
                Remote {
                    gateway: gateway.id.clone(),
                    public_key: gateway.public_key,
                    endpoint: endpoint(gateway, own),
                    allowed_ips: in_use
                        .into_iter()
                        .flat_map(|prefixes| prefixes.iter().map(ToString::to_string))
                        .collect(),
                }
            }));
        }
        Self {
            cluster_id: own.id.cluster.clone(),
            public_key: own.public_key,
            listen_port: own.candidates().first().map(SocketAddr::port),
            mtu: others
                .gateways
                .values()
                .map(|theirs| mtu::computed(own, theirs))
                .min()
                .unwrap_or(mtu::DEFAULT),
            peers,
        }
    }
}

/// The stock side tries one address only: one that is meant for the outside, if there is one, and of the family that it has itself.
fn endpoint(gateway: &Gateway, own: &Gateway) -> Option<SocketAddr> {
    let family = own.candidates().first().map(SocketAddr::is_ipv4);
    let mut addresses = gateway.addresses.clone();
    addresses.sort_by_key(|address| {
        (
            family.is_some_and(|is_v4| is_v4 != address.ip.is_ipv4()),
            address.kind == AddressKind::Private,
            address.kind,
        )
    });
    let best = addresses.first()?;
    Some(SocketAddr::new(best.ip, best.port.unwrap_or(gateway.port)))
}

/// The form of wg-quick(8).
impl fmt::Display for PeerConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "[Interface]")?;
        writeln!(f, "# The private key whose public key is {}", self.public_key)?;
        writeln!(f, "PrivateKey = ")?;
        if let Some(port) = self.listen_port {
            writeln!(f, "ListenPort = {port}")?;
        }
        writeln!(f, "MTU = {}", self.mtu)?;
        for remote in &self.peers {
            let standby = if remote.allowed_ips.is_empty() { ", standby" } else { "" };
            writeln!(f, "\n# {}{standby}", remote.gateway)?;
            writeln!(f, "[Peer]")?;
            writeln!(f, "PublicKey = {}", remote.public_key)?;
            if let Some(endpoint) = remote.endpoint {
                writeln!(f, "Endpoint = {endpoint}")?;
            }
            if !remote.allowed_ips.is_empty() {
                writeln!(f, "AllowedIPs = {}", remote.allowed_ips.join(", "))?;
            }
            writeln!(f, "PersistentKeepalive = {KEEPALIVE}")?;
        }
        Ok(())
    }
}

/// Seconds. It keeps a NAT on the way open, and the handshake young enough to count as a connection.
const KEEPALIVE: u16 = 25;

#[cfg(test)]
mod tests {
    use super::*;
    use model::{Cluster, ClusterState, GatewayAddress, PrefixSet, ProbeMode, ProtocolRange};

    fn gateway(cluster: &str, node: &str, addresses: &[(AddressKind, &str)]) -> Gateway {
        Gateway {
            id: GatewayId {
                cluster: cluster.parse().unwrap(),
                node: node.parse().unwrap(),
            },
            public_key: PublicKey::from_bytes([node.as_bytes()[0]; 32]),
            addresses: addresses
                .iter()
                .map(|(kind, ip)| GatewayAddress {
                    kind: *kind,
                    ip: ip.parse().unwrap(),
                    port: None,
                })
                .collect(),
            port: 4510,
            lanes: 1,
            priority: 0,
            active: node == "b",
            epoch: 3,
            probe: ProbeMode::Tombolo,
            underlay_mtu: 1500,
            connections: vec![],
        }
    }

    fn others(gateways: Vec<Gateway>) -> Snapshot {
        let mut snapshot = Snapshot::empty("office".parse().unwrap());
        let east = Cluster {
            id: "east".parse().unwrap(),
            pod_prefixes: PrefixSet::parse(["10.1.0.0/16"]).unwrap(),
            service_prefixes: PrefixSet::parse(["10.2.0.0/16"]).unwrap(),
            protocol: ProtocolRange { min: 1, max: 1 },
            state: ClusterState::Active,
            created: (1, String::new()),
        };
        snapshot.clusters.insert(east.id.clone(), east);
        snapshot.gateways = gateways.into_iter().map(|g| (g.id.clone(), g)).collect();
        snapshot
    }

    #[test]
    fn the_active_gateway_has_the_prefixes_and_the_outside_address_is_called() {
        let world = others(vec![
            gateway("east", "a", &[(AddressKind::Private, "10.0.0.1")]),
            gateway(
                "east",
                "b",
                &[(AddressKind::Private, "10.0.0.2"), (AddressKind::Public, "192.0.2.2")],
            ),
        ]);
        let own = gateway("office", "wireguard", &[(AddressKind::Public, "198.51.100.7")]);
        let text = PeerConfig::new(&world, &own).to_string();
        let key = |letter: u8| PublicKey::from_bytes([letter; 32]).to_string();
        let expected = format!(
            "[Interface]\n# The private key whose public key is {}\nPrivateKey = \nListenPort = 4510\nMTU = 1440\n\n\
             # east.a, standby\n[Peer]\nPublicKey = {}\nEndpoint = 10.0.0.1:4510\nPersistentKeepalive = 25\n\n\
             # east.b\n[Peer]\nPublicKey = {}\nEndpoint = 192.0.2.2:4510\nAllowedIPs = 10.1.0.0/16, 10.2.0.0/16\n\
             PersistentKeepalive = 25\n",
            key(b'w'),
            key(b'a'),
            key(b'b')
        );
        assert_eq!(text, expected);
    }

    #[test]
    fn the_own_family_comes_first() {
        let addresses = [(AddressKind::Private, "10.0.0.2"), (AddressKind::Public, "2001:db8::2")];
        let theirs = gateway("east", "b", &addresses);
        let of = |ip| endpoint(&theirs, &gateway("office", "w", &[(AddressKind::Public, ip)])).map(|e| e.to_string());
        assert_eq!(of("192.0.2.7").as_deref(), Some("10.0.0.2:4510"));
        assert_eq!(of("2001:db8::7").as_deref(), Some("[2001:db8::2]:4510"));
    }
}
