use std::net::Ipv4Addr;

use model::Protocol;
use proptest::prelude::*;

use super::*;

fn request() -> Request {
    Request {
        key: ServiceKey::new("shop", "cart"),
        exported_at: 42,
        labels: [("tier".to_owned(), "gold".to_owned())].into(),
        annotations: BTreeMap::new(),
    }
}

fn service(reach: Reach) -> Service {
    Service {
        reach,
        ports: vec![ExportedPort {
            name: "http".into(),
            protocol: Protocol::Tcp,
            port: 80,
            app_protocol: None,
        }],
        ip_families: vec![Family::V4],
        session_affinity: SessionAffinity::None,
        internal_traffic_policy: Some("Cluster".into()),
        traffic_distribution: None,
    }
}

fn backend(address: &str) -> Backend {
    Backend {
        address: address.parse().unwrap(),
        hostname: Some("cart-0".into()),
        is_ready: true,
        ports: vec![("http".into(), 8080)],
    }
}

fn pods() -> PrefixSet {
    PrefixSet::parse(["10.42.0.0/16", "fd42::/56"]).unwrap()
}

fn decide(service: &Service, backends: &[Backend]) -> Exported {
    export(&"east".parse().unwrap(), &request(), Some(service), backends, &pods()).unwrap()
}

fn cluster_ip() -> Service {
    service(Reach::Ips(vec!["10.43.0.1".parse().unwrap()]))
}

fn addresses(exported: &Exported) -> Vec<String> {
    let endpoints = &exported.export.service.endpoints;
    endpoints.iter().map(|endpoint| endpoint.address.to_string()).collect()
}

#[test]
fn a_service_is_told_with_its_own_ips_and_ready_endpoints() {
    let mut waiting = backend("10.42.0.9");
    waiting.is_ready = false;
    let exported = decide(&cluster_ip(), &[backend("10.42.0.7"), waiting]);
    assert_eq!(addresses(&exported), ["10.42.0.7"]);
    let told = exported.export.service;
    assert_eq!(
        (told.ready_count, told.exported_at, told.kind),
        (1, 42, ImportKind::ClusterSetIP)
    );
    assert_eq!(told.service_ips, ["10.43.0.1".parse::<IpAddr>().unwrap()]);
    assert_eq!(told.endpoints[0].ports, [("http".to_owned(), 8080)]);
    assert_eq!(told.endpoints[0].hostname, None, "hostnames are for headless services");
    assert_eq!(exported.export.terms.labels["tier"], "gold");
}

#[test]
fn what_cannot_be_exported_has_a_reason() {
    let east = "east".parse().unwrap();
    let refused = |service: Option<&Service>| export(&east, &request(), service, &[], &pods()).unwrap_err();
    assert_eq!(refused(None), Refusal::NoService(request().key));
    let alias = service(Reach::ExternalName);
    assert_eq!(refused(Some(&alias)), Refusal::InvalidServiceType(request().key));
}

#[test]
fn endpoints_outside_the_pod_prefixes_count_only_behind_a_service_ip() {
    let backends = [backend("10.42.0.7"), backend("192.0.2.1")];
    let behind_ip = decide(&cluster_ip(), &backends);
    assert_eq!(
        (addresses(&behind_ip).len(), behind_ip.export.service.ready_count),
        (1, 2)
    );
    assert_eq!(behind_ip.unreachable, 0);
    let headless = decide(&service(Reach::Headless), &backends);
    assert_eq!(
        (addresses(&headless).len(), headless.export.service.ready_count),
        (1, 1)
    );
    assert_eq!(headless.unreachable, 1);
    assert_eq!(headless.export.service.endpoints[0].hostname.as_deref(), Some("cart-0"));
    assert!(headless.export.service.service_ips.is_empty());
}

#[test]
fn ports_of_one_address_in_several_slices_come_together() {
    let mut other = backend("10.42.0.7");
    other.ports = vec![("metrics".into(), 9090)];
    let exported = decide(&cluster_ip(), &[backend("10.42.0.7"), other]);
    let ports = &exported.export.service.endpoints[0].ports;
    assert_eq!(ports, &[("http".to_owned(), 8080), ("metrics".to_owned(), 9090)]);
}

#[test]
fn a_dual_stack_pod_counts_once_and_foreign_families_not_at_all() {
    let backends = [backend("10.42.0.7"), backend("fd42::7")];
    assert_eq!(addresses(&decide(&cluster_ip(), &backends)), ["10.42.0.7"]);
    let mut dual = cluster_ip();
    dual.ip_families.push(Family::V6);
    let exported = decide(&dual, &backends);
    assert_eq!(
        (addresses(&exported).len(), exported.export.service.ready_count),
        (2, 1)
    );
}

#[test]
fn a_large_headless_service_is_truncated() {
    let exported = decide(&service(Reach::Headless), &many(1_200));
    assert!(exported.is_truncated);
    assert_eq!(exported.export.service.endpoints.len(), MAX_HEADLESS_ENDPOINTS);
    assert_eq!(exported.export.service.ready_count, 1_200);
}

#[test]
fn a_member_is_believed_only_for_its_own_addresses() {
    let backends = [backend("10.42.0.7")];
    let mut told = decide(&cluster_ip(), &backends).export.service;
    let mut same = told.clone();
    confine(&mut same, &pods(), &PrefixSet::parse(["10.43.0.0/16"]).unwrap());
    assert_eq!(same, told);
    confine(
        &mut told,
        &PrefixSet::parse(["10.99.0.0/16"]).unwrap(),
        &PrefixSet::default(),
    );
    assert!(told.endpoints.is_empty() && told.service_ips.is_empty());
}

fn many(count: u32) -> Vec<Backend> {
    let address = |n: u32| Ipv4Addr::from(0x0a2a_0000 + n).to_string();
    (1..=count).map(|n| backend(&address(n))).collect()
}

proptest! {
    #[test]
    fn the_subset_is_bounded_stable_and_independent_of_order(count in 1u32..300, gone in any::<prop::sample::Index>()) {
        let mut backends = many(count);
        let before = decide(&cluster_ip(), &backends);
        prop_assert_eq!(addresses(&before).len(), backends.len().min(MAX_ENDPOINTS));
        prop_assert_eq!(before.export.service.ready_count, count);
        backends.reverse();
        prop_assert_eq!(&decide(&cluster_ip(), &backends), &before);
        backends.remove(gone.index(backends.len()));
        let after = addresses(&decide(&cluster_ip(), &backends));
        let lost = addresses(&before).iter().filter(|address| !after.contains(address)).count();
        prop_assert!(lost <= 1, "one endpoint went, {} left the list", lost);
    }
}
