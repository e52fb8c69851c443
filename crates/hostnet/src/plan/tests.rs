use proptest::prelude::*;

use super::*;
use crate::desired::{Peer, RemoteCluster, Source, Underlay, Via};
use crate::op::Blocked;
use crate::state::{Nexthop, TunLink};
use crate::sysctl::SysctlKey;
use crate::vips::{SLOTS, VipElements, VipPort, Vips};
use crate::vtep::vtep;

/// A worker of a cluster with one gateway, and one other dual-stack cluster.
fn worker() -> Desired {
    Desired {
        underlay: Underlay {
            device: "eth0".into(),
            local: "192.0.2.3".parse().unwrap(),
        },
        vtep: vtep("node-3"),
        peers: vec![Peer {
            vtep: vtep("gw-1"),
            underlay: "192.0.2.1".parse().unwrap(),
        }],
        local: nets(&["10.1.0.0/16", "fd01::/48"]),
        sources: vec![Source {
            address: "10.1.3.1".parse().unwrap(),
            assign: false,
        }],
        clusters: BTreeMap::from([("west".into(), west(Via::Vtep(vtep("gw-1").address)))]),
        gateway: false,
        vips: vips(),
        untracked: None,
        keep_source: true,
    }
}

fn vips() -> Vips {
    let port = VipPort {
        address: "244.174.0.9".parse().unwrap(),
        protocol: crate::Protocol::Tcp,
        port: 80,
    };
    let mut elements = VipElements::default();
    for slot in 0..SLOTS {
        elements.put(port, slot, "10.2.0.9:8080".parse().unwrap());
    }
    let other = VipPort { port: 81, ..port };
    elements.sole.insert(other, "10.2.0.9:8081".parse().unwrap());
    Vips {
        range: nets(&["244.174.0.0/16"]),
        elements,
    }
}

fn west(via: Via) -> RemoteCluster {
    RemoteCluster {
        prefixes: nets(&["10.2.0.0/16", "10.102.0.0/16", "fd02::/48"]),
        mtu: 1420,
        via,
        transit: true,
    }
}

fn node() -> Observed {
    let mut observed = Observed::default();
    observed.facts.underlay_mtu = Some(1500);
    observed.facts.addresses = BTreeSet::from(["192.0.2.3".parse().unwrap(), "10.1.3.1".parse().unwrap()]);
    observed
}

fn nets(texts: &[&str]) -> BTreeSet<ipnet::IpNet> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn settle(desired: &Desired, observed: &mut Observed) -> Plan {
    let steps = plan(desired, observed);
    for op in &steps.ops {
        observed.apply(op).unwrap();
    }
    assert_eq!(plan(desired, observed).ops, [], "a second plan still has work");
    steps
}

fn way(observed: &Observed, table: u32, prefix: &str) -> Option<Nexthop> {
    let key = RouteKey {
        table,
        prefix: prefix.parse().unwrap(),
        metric: tags::METRIC,
    };
    match observed.state.routes.get(&key)? {
        Route::Via { nexthop, .. } => observed.state.nexthops.get(nexthop).copied(),
        Route::Unreachable | Route::Other => None,
    }
}

#[test]
fn a_failover_is_one_op_a_family() {
    let (mut desired, mut observed) = (worker(), node());
    settle(&desired, &mut observed);
    let other = vtep("gw-2").address;
    let before = desired.clone();
    desired.clusters.insert("west".into(), west(Via::Vtep(other)));
    assert_eq!(crate::moves(&before, &before).ops, []);
    let moves = crate::moves(&before, &desired);
    let steps = settle(&desired, &mut observed);
    assert_eq!(moves, steps, "the short way and the whole one agree");
    assert!(
        matches!(steps.ops[..], [Op::SetNexthop(_, Nexthop::Vtep(a)), Op::SetNexthop(_, Nexthop::Vtep(b))] if a == other && b == other)
    );
}

#[test]
fn a_gateway_without_a_reader_on_its_tun_answers_unreachable() {
    let mut desired = worker();
    desired.gateway = true;
    desired.clusters.insert("west".into(), west(Via::Tun));
    let mut observed = node();
    assert_eq!(settle(&desired, &mut observed).blocked, [Blocked::TunAbsent]);
    observed.facts.tun = Some(TunLink { carrier: false });
    assert_eq!(settle(&desired, &mut observed).blocked, [Blocked::TunWithoutReader]);
    assert_eq!(way(&observed, tags::TABLE_OWN, "10.2.0.0/16"), None);

    observed.facts.tun = Some(TunLink { carrier: true });
    assert_eq!(settle(&desired, &mut observed).blocked, []);
    for table in [tags::TABLE_OWN, tags::TABLE_TRANSIT] {
        assert_eq!(way(&observed, table, "fd02::/48"), Some(Nexthop::Tun));
    }
}

#[test]
fn a_worker_sends_nothing_on_that_came_by_vxlan() {
    let mut observed = node();
    observed.facts.tun = Some(TunLink { carrier: true });
    settle(&worker(), &mut observed);
    assert_eq!(
        way(&observed, tags::TABLE_OWN, "10.2.0.0/16"),
        Some(Nexthop::Vtep(vtep("gw-1").address))
    );
    assert_eq!(way(&observed, tags::TABLE_TRANSIT, "10.2.0.0/16"), None);
}

#[test]
fn a_lower_underlay_mtu_lowers_link_and_routes() {
    let (desired, mut observed) = (worker(), node());
    settle(&desired, &mut observed);
    observed.facts.underlay_mtu = Some(1400);
    let steps = settle(&desired, &mut observed);
    assert_eq!(steps.ops[0], Op::SetVxlanMtu(1350));
    let mtus: BTreeSet<_> = observed
        .state
        .routes
        .values()
        .filter_map(|r| match r {
            Route::Via { mtu, .. } => *mtu,
            Route::Unreachable | Route::Other => None,
        })
        .collect();
    assert_eq!(mtus, BTreeSet::from([1350]));
}

#[test]
fn guards_and_backstops_come_before_routes_and_routes_before_rules() {
    let steps = plan(&worker(), &node());
    let at = |found: fn(&Op) -> bool| steps.ops.iter().position(found).unwrap();
    let nft = at(|op| matches!(op, Op::WriteNft(_)));
    let last_backstop = steps
        .ops
        .iter()
        .rposition(|op| matches!(op, Op::AddRoute(_, Route::Unreachable)))
        .unwrap();
    let route = at(|op| matches!(op, Op::AddRoute(_, Route::Via { .. })));
    let rule = at(|op| matches!(op, Op::AddRule(_)));
    assert!(nft < last_backstop && last_backstop < route && route < rule);
}

#[test]
fn a_missing_source_is_named_and_pods_still_get_through() {
    let mut observed = node();
    observed.facts.addresses.clear();
    let steps = settle(&worker(), &mut observed);
    assert_eq!(
        steps.blocked,
        [Blocked::SourceAbsent {
            address: "10.1.3.1".parse().unwrap()
        }]
    );
    assert!(way(&observed, tags::TABLE_OWN, "10.2.0.0/16").is_some());
}

#[test]
fn strict_filters_are_loosened_and_absent_ones_left() {
    let key = |device: &str| {
        format!("net/ipv4/conf/{device}/rp_filter")
            .parse::<SysctlKey>()
            .unwrap()
    };
    let set_for = |all: &str, underlay: &str| {
        let mut observed = node();
        observed.state.sysctls = BTreeMap::from([(key("all"), all.into()), (key("eth0"), underlay.into())]);
        settle(&worker(), &mut observed);
        observed.state.sysctls[&key("eth0")].clone()
    };
    assert_eq!(set_for("0", "0"), "0");
    assert_eq!(set_for("1", "0"), "2");
    assert_eq!(set_for("0", "1"), "2");
    assert_eq!(set_for("2", "1"), "1");
}

#[test]
fn forwarding_does_not_cost_the_default_route_of_a_router_advertisement() {
    let key = |text: &str| text.parse::<SysctlKey>().unwrap();
    let mut observed = node();
    observed.state.sysctls = BTreeMap::from([
        (key("net/ipv6/conf/all/forwarding"), "0".into()),
        (key("net/ipv6/conf/eth0/accept_ra"), "1".into()),
    ]);
    settle(&worker(), &mut observed);
    assert_eq!(observed.state.sysctls[&key("net/ipv6/conf/eth0/accept_ra")], "2");
}

const PREFIXES: [&str; 8] = [
    "10.2.0.0/16",
    "10.3.0.0/16",
    "10.3.4.0/24",
    "10.102.0.0/16",
    "fd02::/48",
    "fd03::/48",
    "fd03:0:0:1::/64",
    "10.9.9.9/32",
];

fn any_desired() -> impl Strategy<Value = Desired> {
    let prefixes = || proptest::sample::subsequence(PREFIXES.to_vec(), 0..5).prop_map(|p| nets(&p));
    let via = prop_oneof![
        Just(Via::Tun),
        Just(Via::Unreachable),
        (0..3_u8).prop_map(|n| Via::Vtep(vtep(&format!("gw-{n}")).address))
    ];
    let cluster =
        (prefixes(), 1280..1500_u32, via, any::<bool>()).prop_map(|(prefixes, mtu, via, transit)| RemoteCluster {
            prefixes,
            mtu,
            via,
            transit,
        });
    let clusters = proptest::collection::btree_map("(west|north|south)", cluster, 0..4);
    let peers = proptest::collection::vec(
        prop_oneof![
            (0..3_u8).prop_map(|n| (n, IpAddr::from([192, 0, 2, n]))),
            Just((9, "2001:db8::9".parse().unwrap()))
        ],
        0..4,
    );
    let sources = proptest::collection::vec(
        (
            proptest::sample::select(vec!["10.1.3.1", "10.1.3.9", "fd01::3"]),
            any::<bool>(),
        ),
        0..3,
    );
    let vips = prop_oneof![Just(Vips::default()), Just(vips())];
    (clusters, peers, sources, any::<bool>(), any::<bool>(), prefixes(), vips).prop_map(
        |(clusters, peers, sources, gateway, keep_source, local, vips)| Desired {
            peers: peers
                .into_iter()
                .map(|(n, underlay)| Peer {
                    vtep: vtep(&format!("gw-{n}")),
                    underlay,
                })
                .collect(),
            sources: sources
                .into_iter()
                .map(|(a, assign)| Source {
                    address: a.parse().unwrap(),
                    assign,
                })
                .collect(),
            clusters,
            gateway,
            keep_source,
            local,
            vips,
            ..worker()
        },
    )
}

/// What the world does to a node behind our back.
fn meddle(observed: &mut Observed, how: &[u8]) {
    for step in how {
        let state = &mut observed.state;
        match step % 19 {
            0 => (state.nft, state.vips) = Default::default(),
            1 => drop(state.rules.pop()),
            2 => state.rules.reverse(),
            3 => state.rules.extend(state.rules.clone()),
            4 => state.rules.insert(
                0,
                Rule {
                    mark: Some(7),
                    ..Rule::all(Family::V4, 9)
                },
            ),
            5 => drop(state.routes.pop_first()),
            6 => state.routes.values_mut().for_each(|route| *route = Route::Other),
            7 => state.drop_link(tags::VXLAN_LINK, &observed.facts.addresses),
            8 => state.vxlan.iter_mut().for_each(|link| link.mtu = 900),
            9 => state.vxlan.iter_mut().for_each(|link| link.df = false),
            10 => {
                if let Some(link) = &mut state.vxlan {
                    link.up = false;
                    state.drop_nexthops(|nexthop| matches!(nexthop, Nexthop::Vtep(_)));
                    state.addresses.clear();
                }
            }
            11 => observed.facts.tun = None,
            12 => observed.facts.tun = Some(TunLink { carrier: true }),
            13 => observed.facts.underlay_mtu = observed.facts.underlay_mtu.map_or(Some(1500), |_| None),
            15 => drop(state.vips.slots.pop_first()),
            16 => state
                .vips
                .slots
                .values_mut()
                .for_each(|slots| slots[5] = "10.2.0.1:1".parse().ok()),
            17 => drop(state.vips.sole.pop_first()),
            14 => state.nexthops.values_mut().for_each(|to| *to = Nexthop::Other),
            _ => state
                .fdb
                .values_mut()
                .for_each(|node| *node = "192.0.2.77".parse().unwrap()),
        }
        if observed.facts.tun.is_none() {
            observed.state.drop_link(tags::TUN_LINK, &observed.facts.addresses);
        }
        if observed.facts.underlay_mtu.is_none() {
            observed.state.drop_link(tags::VXLAN_LINK, &observed.facts.addresses);
        }
    }
}

proptest! {
    #[test]
    fn a_plan_applied_leaves_nothing_to_plan(
        before in any_desired(), desired in any_desired(), how in proptest::collection::vec(any::<u8>(), 0..6), tun: bool,
    ) {
        let mut observed = node();
        observed.facts.tun = tun.then_some(TunLink { carrier: true });
        settle(&before, &mut observed);
        meddle(&mut observed, &how);
        settle(&desired, &mut observed);

        // Every remote prefix has its backstop in both tables, and the rules stand in their order.
        for prefix in desired.clusters.values().flat_map(|cluster| &cluster.prefixes) {
            for table in [tags::TABLE_OWN, tags::TABLE_TRANSIT] {
                let key = RouteKey { table, prefix: *prefix, metric: tags::BACKSTOP_METRIC };
                prop_assert_eq!(observed.state.routes.get(&key), Some(&Route::Unreachable));
            }
        }
        let tables: Vec<_> = observed.state.rules.iter().filter(|r| r.family == Family::V4).map(|r| r.table).collect();
        prop_assert_eq!(tables, [tags::TABLE_TRANSIT, tags::TABLE_OWN]);
    }

    #[test]
    fn a_plan_names_only_what_is_ours(
        before in any_desired(), desired in any_desired(), how in proptest::collection::vec(any::<u8>(), 0..6),
    ) {
        let mut observed = node();
        settle(&before, &mut observed);
        meddle(&mut observed, &how);
        let keys = SysctlKey::all_for(&desired.underlay.device);
        for op in plan(&desired, &observed).ops {
            match op {
                Op::AddRoute(key, _) | Op::ReplaceRoute(key, _) | Op::RemoveRoute(key) => {
                    prop_assert!([tags::TABLE_OWN, tags::TABLE_TRANSIT].contains(&key.table));
                }
                Op::SetNexthop(id, _) | Op::RemoveNexthop(id) => prop_assert!(tags::is_our_nexthop(id)),
                Op::SetSysctl(key, _) => prop_assert!(keys.contains(&key), "{} is never read", key),
                _ => {}
            }
        }
    }

    #[test]
    fn a_plan_stopped_at_any_step_is_finished_by_the_next(before in any_desired(), desired in any_desired(), stop: prop::sample::Index) {
        let mut observed = node();
        observed.facts.tun = Some(TunLink { carrier: true });
        settle(&before, &mut observed);
        let steps = plan(&desired, &observed).ops;
        for op in &steps[..stop.index(steps.len() + 1)] {
            observed.apply(op).unwrap();
        }
        settle(&desired, &mut observed);
    }
}
