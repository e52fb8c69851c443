//! The same services for every server: a snapshot for ours, a zone file for the others, and the queries.

use std::fmt::Write as _;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use model::{
    Cluster, ClusterId, ClusterState, ExportedPort, ExportedService, Family, ImportKind, ImportedService, Preference,
    PrefixSet, Protocol, ProtocolRange, ServiceKey, SessionAffinity, Snapshot,
};

/// Files that say the same.
pub(super) struct Material {
    pub(super) snapshot: PathBuf,
    pub(super) zone: PathBuf,
    pub(super) queries: PathBuf,
}

impl Material {
    pub(super) fn write(folder: &Path, services: u32) -> anyhow::Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let write = |name: &str, content: Vec<u8>| {
            let path = folder.join(name);
            fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))?;
            anyhow::Ok(path)
        };
        Ok(Self {
            snapshot: write("snapshot.json", serde_json::to_vec(&snapshot(services))?)?,
            zone: write("clusterset.local.zone", zone(services).into_bytes())?,
            queries: write("queries", queries(services).into_bytes())?,
        })
    }
}

fn name(number: u32) -> String {
    format!("service-{number}")
}

fn address(number: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(244, 160, 0, 0)) + number)
}

fn zone(services: u32) -> String {
    let mut text = "$ORIGIN clusterset.local.\n$TTL 5\n@ SOA ns.dns hostmaster 1 7200 1800 86400 5\n@ NS ns.dns\nns.dns A 127.0.0.1\n\
                    dns-version TXT \"1.0.0\"\n"
        .to_owned();
    for number in 0..services {
        let _ = writeln!(text, "{}.shop.svc A {}", name(number), address(number));
    }
    text
}

/// Every service once at most, in an order that is no order, and the same for all.
fn queries(services: u32) -> String {
    let mut text = String::new();
    let count = u64::from(services);
    for turn in 0..count.min(20_000) {
        // A prime that no number of services here is a multiple of.
        let number = (turn * 1_000_003 + 17) % count;
        let _ = writeln!(text, "service-{number}.shop.svc.clusterset.local A");
    }
    text
}

fn snapshot(services: u32) -> Snapshot {
    let own: ClusterId = "east".parse().expect("an id");
    let mut snapshot = Snapshot::empty(own.clone());
    let cluster = Cluster {
        id: own.clone(),
        pod_prefixes: PrefixSet::default(),
        service_prefixes: PrefixSet::default(),
        protocol: ProtocolRange { min: 1, max: 1 },
        state: ClusterState::Active,
        created: (0, String::new()),
    };
    snapshot.clusters.insert(own.clone(), cluster);
    let (mut exports, mut imports) = (Vec::new(), Vec::new());
    for number in 0..services {
        let key = ServiceKey::new("shop", name(number));
        let port = ExportedPort {
            name: "http".to_owned(),
            protocol: Protocol::Tcp,
            port: 80,
            app_protocol: None,
        };
        let export = ExportedService {
            cluster: own.clone(),
            key: key.clone(),
            kind: ImportKind::ClusterSetIP,
            ports: vec![port.clone()],
            ip_families: vec![Family::V4],
            session_affinity: SessionAffinity::None,
            exported_at: 0,
            service_ips: vec![],
            endpoints: vec![],
            ready_count: 20,
        };
        let import = ImportedService {
            key: key.clone(),
            kind: ImportKind::ClusterSetIP,
            ips: vec![IpAddr::V4(address(number))],
            ports: vec![port],
            session_affinity: SessionAffinity::None,
            preference: Preference::Local,
            internal_traffic_policy: None,
            traffic_distribution: None,
        };
        exports.push(Arc::new(export));
        imports.push(Arc::new(import));
    }
    snapshot.exports = exports.into_iter().collect();
    snapshot.imports = imports.into_iter().collect();
    snapshot
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_files_speak_of_the_same_services() {
        let asked = queries(10);
        let mut names: Vec<&str> = asked.lines().filter_map(|line| line.split('.').next()).collect();
        names.sort_unstable();
        let expected: Vec<String> = (0..10).map(name).collect();
        assert_eq!(names, expected);
        assert!(
            expected
                .iter()
                .all(|name| zone(10).contains(&format!("\n{name}.shop.svc A 244.160.0.")))
        );
        assert_eq!((snapshot(10).imports.len(), snapshot(10).exports.len()), (10, 10));
    }
}
