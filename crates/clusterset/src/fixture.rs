//! Small members and gateways for tests.

use model::{
    AddressKind, Cluster, ClusterState, Gateway, GatewayAddress, GatewayId, PrefixSet, ProbeMode, ProtocolRange,
    PublicKey,
};

/// A member with one pod prefix.
pub(crate) fn cluster(id: &str, pods: &str) -> Cluster {
    Cluster {
        id: id.parse().unwrap(),
        pod_prefixes: PrefixSet::parse([pods]).unwrap(),
        service_prefixes: PrefixSet::default(),
        protocol: ProtocolRange { min: 1, max: 1 },
        state: ClusterState::Active,
        created: (1, id.to_owned()),
    }
}

/// A gateway with a key of its own and no address.
pub(crate) fn gateway(cluster: &str, node: &str) -> Gateway {
    let mut key = [0; 32];
    for (byte, letter) in key.iter_mut().zip(cluster.bytes().chain(*b".").chain(node.bytes())) {
        *byte = letter;
    }
    Gateway {
        id: GatewayId {
            cluster: cluster.parse().unwrap(),
            node: node.parse().unwrap(),
        },
        public_key: PublicKey::from_bytes(key),
        addresses: vec![],
        port: 4510,
        lanes: 1,
        priority: 0,
        active: false,
        epoch: 0,
        probe: ProbeMode::Tombolo,
        underlay_mtu: 1500,
        connections: vec![],
    }
}

/// A gateway with one address.
pub(crate) fn gateway_at(cluster: &str, node: &str, ip: &str) -> Gateway {
    let address = GatewayAddress {
        kind: AddressKind::Private,
        ip: ip.parse().unwrap(),
        port: None,
    };
    Gateway {
        addresses: vec![address],
        ..gateway(cluster, node)
    }
}
