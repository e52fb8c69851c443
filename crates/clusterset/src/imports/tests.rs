use std::collections::BTreeSet;

use model::{ExportedService, PrefixSet, Protocol, ProtocolRange, ReadyEndpoint};
use proptest::prelude::*;
use proptest::sample::subsequence;

use super::*;

fn members(names: &[&str]) -> BTreeMap<ClusterId, Cluster> {
    let member = |name: &&str| {
        let id: ClusterId = name.parse().unwrap();
        let cluster = Cluster {
            id: id.clone(),
            pod_prefixes: PrefixSet::default(),
            service_prefixes: PrefixSet::default(),
            protocol: ProtocolRange { min: 1, max: 1 },
            state: ClusterState::Active,
            created: (0, String::new()),
        };
        (id, cluster)
    };
    names.iter().map(member).collect()
}

fn port(name: &str, protocol: Protocol, port: u16) -> ExportedPort {
    ExportedPort {
        name: name.into(),
        protocol,
        port,
        app_protocol: None,
    }
}

fn export(cluster: &str, exported_at: i64, ports: &[(&str, u16)]) -> Export {
    let target = |(name, number): &(&str, u16)| ((*name).to_owned(), number + 8_000);
    let host = cluster.bytes().map(u32::from).sum::<u32>() % 250;
    Export {
        service: ExportedService {
            cluster: cluster.parse().unwrap(),
            key: ServiceKey::new("shop", "cart"),
            kind: ImportKind::ClusterSetIP,
            ports: ports
                .iter()
                .map(|(name, number)| port(name, Protocol::Tcp, *number))
                .collect(),
            ip_families: vec![Family::V4],
            session_affinity: SessionAffinity::None,
            exported_at,
            service_ips: vec![],
            endpoints: vec![ReadyEndpoint {
                address: format!("10.1.0.{host}").parse().unwrap(),
                hostname: None,
                ports: ports.iter().map(target).collect(),
            }],
            ready_count: 1,
        },
        terms: Terms::default(),
    }
}

fn cart(exports: &[Export]) -> Import {
    let mut all = imports(exports, &members(&["east", "west", "north"]));
    all.remove(&ServiceKey::new("shop", "cart"))
        .expect("the service is imported")
}

fn reasons(import: &Import) -> Vec<&'static str> {
    import
        .conflicts
        .iter()
        .map(|conflict| conflict.reason.as_str())
        .collect()
}

fn names(import: &Import) -> Vec<(&str, u16)> {
    import
        .ports
        .iter()
        .map(|port| (port.name.as_str(), port.port))
        .collect()
}

#[test]
fn equal_exports_make_one_import_without_conflict() {
    let import = cart(&[export("west", 2, &[("http", 80)]), export("east", 1, &[("http", 80)])]);
    assert_eq!(names(&import), [("http", 80)]);
    assert_eq!(import.clusters, ["east", "west"].map(|id| id.parse().unwrap()));
    assert_eq!(reasons(&import), [""; 0]);
    let slices: Vec<&str> = import.slices.iter().map(|slice| slice.name.as_str()).collect();
    assert_eq!(slices, ["cart.east.ipv4.0", "cart.west.ipv4.0"]);
    assert_eq!(
        (import.slices[0].ports[0].name.as_str(), import.slices[0].ports[0].port),
        ("http", 8_080)
    );
}

#[test]
fn different_ports_are_united_and_each_leads_only_to_its_exporter() {
    let import = cart(&[export("east", 1, &[("a", 42)]), export("west", 2, &[("b", 4_242)])]);
    assert_eq!(names(&import), [("a", 42), ("b", 4_242)]);
    assert_eq!(reasons(&import), ["PortConflict"]);
    for (slice, own) in import.slices.iter().zip(["a", "b"]) {
        let carried: Vec<&str> = slice.ports.iter().map(|port| port.name.as_str()).collect();
        assert_eq!(carried, [own], "{}", slice.name);
    }
}

#[test]
fn one_name_with_two_numbers_is_the_oldest_exports() {
    let import = cart(&[export("west", 2, &[("a", 4_242)]), export("east", 1, &[("a", 42)])]);
    assert_eq!(names(&import), [("a", 42)]);
    assert_eq!(reasons(&import), ["PortConflict"]);
    assert!(import.slices.iter().all(|slice| slice.cluster.as_str() == "east"));
    assert!(
        import.conflicts[0]
            .to_string()
            .contains("east (the oldest export) and west")
    );
}

#[test]
fn one_number_under_two_names_has_the_oldest_name_and_reaches_both() {
    let import = cart(&[export("east", 1, &[("http", 80)]), export("west", 2, &[("web", 80)])]);
    assert_eq!(names(&import), [("http", 80)]);
    let west = &import.slices[1];
    assert_eq!((west.ports[0].name.as_str(), west.ports[0].port), ("http", 8_080));
}

#[test]
fn the_oldest_type_wins_and_the_other_gets_no_traffic() {
    let mut headless = export("west", 2, &[("http", 80)]);
    headless.service.kind = ImportKind::Headless;
    let import = cart(&[headless, export("east", 1, &[("http", 80)])]);
    assert_eq!(import.kind, ImportKind::ClusterSetIP);
    assert_eq!(reasons(&import), ["TypeConflict"]);
    assert_eq!(import.clusters.len(), 2);
    assert!(import.slices.iter().all(|slice| slice.cluster.as_str() == "east"));
}

#[test]
fn every_difference_has_its_reason() {
    let base = export("east", 1, &[("http", 80)]);
    let other = |change: fn(&mut Export)| {
        let mut other = export("west", 2, &[("http", 80)]);
        change(&mut other);
        other
    };
    let sticky = |timeout_seconds| SessionAffinity::ClientIp { timeout_seconds };
    for (change, reason) in [
        (
            (|e| e.service.session_affinity = SessionAffinity::ClientIp { timeout_seconds: 9 }) as fn(&mut Export),
            "SessionAffinityConflict",
        ),
        (
            |e| drop(e.terms.labels.insert("a".into(), "b".into())),
            "LabelsConflict",
        ),
        (
            |e| drop(e.terms.annotations.insert("a".into(), "b".into())),
            "AnnotationsConflict",
        ),
        (
            |e| e.terms.internal_traffic_policy = Some("Local".into()),
            "InternalTrafficPolicyConflict",
        ),
        (
            |e| e.terms.traffic_distribution = Some("PreferClose".into()),
            "TrafficDistributionConflict",
        ),
        (|e| e.service.ip_families.push(Family::V6), "IPFamilyConflict"),
        (|e| e.service.ports[0].app_protocol = Some("h2c".into()), "PortConflict"),
    ] {
        let import = cart(&[base.clone(), other(change)]);
        assert_eq!(reasons(&import), [reason]);
        assert_eq!(import.terms, base.terms, "{reason}: the oldest wins");
        assert_eq!(import.session_affinity, SessionAffinity::None);
    }
    let (mut a, mut b) = (base.clone(), export("west", 2, &[("http", 80)]));
    (a.service.session_affinity, b.service.session_affinity) = (sticky(10), sticky(20));
    let import = cart(&[a, b]);
    assert_eq!(reasons(&import), ["SessionAffinityConfigConflict"]);
    assert_eq!(import.session_affinity, sticky(10));
}

#[test]
fn clusters_that_are_not_active_do_not_count() {
    let exports = [export("east", 1, &[("http", 80)]), export("mars", 0, &[("http", 81)])];
    assert_eq!(names(&cart(&exports)), [("http", 80)]);
    let mut clusters = members(&["east"]);
    clusters.get_mut(&"east".parse().unwrap()).unwrap().state = ClusterState::Leaving;
    assert!(imports(&exports, &clusters).is_empty());
}

#[test]
fn a_large_headless_service_has_several_slices() {
    let mut big = export("east", 1, &[("http", 80)]);
    big.service.kind = ImportKind::Headless;
    big.service.endpoints = (0..250)
        .map(|n| ReadyEndpoint {
            address: format!("10.1.1.{n}").parse().unwrap(),
            hostname: Some(format!("cart-{n}")),
            ports: vec![],
        })
        .collect();
    let import = cart(&[big]);
    let sizes: Vec<usize> = import.slices.iter().map(|slice| slice.endpoints.len()).collect();
    assert_eq!(sizes, [100, 100, 50]);
    assert!(import.slices[0].ports.is_empty());
}

fn any_ports() -> impl Strategy<Value = Vec<ExportedPort>> {
    let names = prop::sample::select(vec!["", "a", "b", "c"]);
    let protocols = prop::sample::select(vec![Protocol::Tcp, Protocol::Udp]);
    prop::collection::vec((names, protocols, 80u16..84), 0..4).prop_map(|ports| {
        ports
            .into_iter()
            .map(|(name, protocol, number)| port(name, protocol, number))
            .collect()
    })
}

prop_compose! {
    fn any_export(cluster: &'static str)(
        ports in any_ports(),
        exported_at in 0i64..3,
        headless in any::<bool>(),
        families in subsequence(vec![Family::V4, Family::V6], 1..=2),
        label in prop::option::of("[ab]"),
        timeout in prop::option::of(1u32..3),
    ) -> Export {
        let mut export = export(cluster, exported_at, &[]);
        let service = &mut export.service;
        service.endpoints[0].ports = ports.iter().map(|port| (port.name.clone(), port.port + 8_000)).collect();
        service.ports = ports;
        service.ip_families = families;
        if headless {
            service.kind = ImportKind::Headless;
        }
        if let Some(timeout_seconds) = timeout {
            service.session_affinity = SessionAffinity::ClientIp { timeout_seconds };
        }
        export.terms.labels.extend(label.map(|value| ("tier".to_owned(), value)));
        export
    }
}

fn any_exports() -> impl Strategy<Value = Vec<Export>> {
    (any_export("east"), any_export("west"), any_export("north"))
        .prop_flat_map(|(a, b, c)| subsequence(vec![a, b, c], 1..=3))
}

proptest! {
    #[test]
    fn order_does_not_matter(exports in any_exports(), seed in any::<u64>()) {
        let mut shuffled = exports.clone();
        for index in (1..shuffled.len()).rev() {
            shuffled.swap(index, (seed.rotate_left(index as u32 * 7) % (index as u64 + 1)) as usize);
        }
        for export in &mut shuffled {
            export.service.ports.reverse();
        }
        prop_assert_eq!(cart(&exports), cart(&shuffled));
    }

    #[test]
    fn repeated_exports_change_nothing(exports in any_exports()) {
        let twice: Vec<Export> = exports.iter().chain(&exports).cloned().collect();
        prop_assert_eq!(cart(&exports), cart(&twice));
    }

    #[test]
    fn the_oldest_decides(exports in any_exports()) {
        let import = cart(&exports);
        let oldest = exports.iter().min_by_key(|e| (e.service.exported_at, &e.service.cluster)).unwrap();
        prop_assert_eq!(import.kind, oldest.service.kind);
        prop_assert_eq!(import.session_affinity, oldest.service.session_affinity);
        prop_assert_eq!(&import.terms, &oldest.terms);
        prop_assert_eq!(import.conflicts.iter().all(|c| c.oldest == oldest.service.cluster), true);
    }

    #[test]
    fn every_port_has_an_exporter_and_none_appears_twice(exports in any_exports()) {
        let import = cart(&exports);
        for port in &import.ports {
            let has = |e: &&Export| e.service.kind == import.kind && e.service.ports.contains(port);
            prop_assert!(exports.iter().any(|e| has(&e)), "{:?} has no exporter", port);
        }
        let names: BTreeSet<_> = import.ports.iter().map(|port| &port.name).collect();
        let numbers: BTreeSet<_> = import.ports.iter().map(|port| (port.protocol, port.port)).collect();
        prop_assert_eq!((names.len(), numbers.len()), (import.ports.len(), import.ports.len()));
    }

    #[test]
    fn a_slice_carries_only_ports_that_its_cluster_exposes(exports in any_exports()) {
        let import = cart(&exports);
        for slice in &import.slices {
            let source = exports.iter().find(|e| e.service.cluster == slice.cluster).unwrap();
            prop_assert_eq!(source.service.kind, import.kind);
            for carried in &slice.ports {
                let port = import.ports.iter().find(|port| port.name == carried.name).unwrap();
                prop_assert!(source.service.ports.iter().any(|own| ports::is_same_number(own, port)));
            }
        }
    }

    #[test]
    fn exporters_that_agree_have_no_conflict_and_others_have(exports in any_exports()) {
        let bare = |e: &Export| {
            let mut bare = e.clone();
            bare.service.cluster = "east".parse().unwrap();
            bare.service.exported_at = 0;
            bare.service.endpoints.clear();
            bare.service.ports = ports::sorted(e);
            bare
        };
        let agree = exports.iter().all(|e| {
            let (a, mut b) = (bare(e), bare(&exports[0]));
            if a.service.kind == ImportKind::Headless {
                b.service.session_affinity = a.service.session_affinity;
            }
            a == b
        });
        prop_assert_eq!(cart(&exports).conflicts.is_empty(), agree);
    }
}
