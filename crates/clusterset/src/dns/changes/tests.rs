use super::*;
use crate::dns::tests::{USABLE, export_of, import_of, snapshot};
use crate::dns::zone_view;
use model::{ConnectionState, ImportKind, ServiceKey};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

/// Something that happens to a clusterset.
#[derive(Debug, Clone)]
enum Event {
    Export(ServiceKey, &'static str, i64, ImportKind, Vec<&'static str>),
    Unexport(ServiceKey, &'static str),
    Import(ServiceKey, Vec<&'static str>),
    Unimport(ServiceKey),
    Cables(Vec<&'static str>),
}

impl Event {
    fn happen(self, world: &mut Snapshot) {
        match self {
            Self::Export(key, cluster, age, kind, addresses) => export_of(world, key, cluster, age, kind, &addresses),
            Self::Unexport(key, cluster) => world.exports.remove((&key, &cluster.parse().unwrap())),
            Self::Import(key, ips) => import_of(world, key, &ips, vec![]),
            Self::Unimport(key) => world.imports.remove(&key),
            Self::Cables(to) => {
                let cables: Vec<(&str, ConnectionState)> = to.into_iter().map(|cluster| (cluster, USABLE)).collect();
                world.gateways = snapshot(&cables).gateways;
            }
        }
    }
}

fn any_event() -> impl Strategy<Value = Event> {
    let key =
        || (select(vec!["shop", "bank"]), select(vec!["cart", "till"])).prop_map(|(ns, n)| ServiceKey::new(ns, n));
    let cluster = || select(vec!["east", "west", "north"]);
    let kind = select(vec![ImportKind::ClusterSetIP, ImportKind::Headless]);
    let some = |of: &'static [&'static str]| subsequence(of, 0..=of.len()).prop_map(|chosen| chosen.to_vec());
    prop_oneof![
        6 => (key(), cluster(), 0i64..3, kind, some(&["10.1.0.1", "10.1.0.2", "fd01::1"]))
            .prop_map(|(key, cluster, age, kind, addresses)| Event::Export(key, cluster, age, kind, addresses)),
        3 => (key(), cluster()).prop_map(|(key, cluster)| Event::Unexport(key, cluster)),
        3 => (key(), some(&["243.0.0.1", "243.0.0.2", "fd43::1"])).prop_map(|(key, ips)| Event::Import(key, ips)),
        1 => key().prop_map(Event::Unimport),
        2 => some(&["west", "north"]).prop_map(Event::Cables),
    ]
}

proptest! {
    #[test]
    fn what_changes_leads_from_each_zone_to_the_next(
        steps in vec(vec(any_event(), 0..4), 1..12),
        is_strict in any::<bool>(),
    ) {
        let cluster_names = if is_strict { ClusterNames::Reserved } else { ClusterNames::Answered };
        let mut before = snapshot(&[]);
        let mut zone = zone_view(&before, cluster_names);
        for events in steps {
            let mut after = before.clone();
            events.into_iter().for_each(|event| event.happen(&mut after));
            for change in changes(&before, &after, cluster_names) {
                zone.make(change);
            }
            prop_assert_eq!(&zone, &zone_view(&after, cluster_names));
            before = after;
        }
        prop_assert_eq!(changes(&before, &before, cluster_names).next(), None);
    }
}

#[test]
fn of_what_did_not_change_nothing_is_said() {
    let mut before = snapshot(&[]);
    for name in ["cart", "till"] {
        let key = ServiceKey::new("shop", name);
        export_of(&mut before, key, "east", 1, ImportKind::ClusterSetIP, &["10.1.0.1"]);
    }
    let mut after = before.clone();
    let key = ServiceKey::new("shop", "till");
    export_of(&mut after, key, "east", 1, ImportKind::ClusterSetIP, &["10.1.0.2"]);
    let changed: Vec<String> = changes(&before, &after, ClusterNames::Answered)
        .map(|change| match change {
            Change::Name(name, Some(_)) => name,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(changed, ["east.till.shop.svc", "till.shop.svc"]);
}
