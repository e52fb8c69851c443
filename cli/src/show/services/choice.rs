//! Who would answer a new connection from this cluster, and why: what `clusterset::vip` decides on every node, told by cluster.
//!
//! A node decides by port and by pod; here it is all ports together, by what the own cluster's agents report.

use clusterset::vip::rtt_class;
use k8s_api::ExportedService;
use k8s_api::mcs::{ServiceImport, ServiceImportType};
use kube::ResourceExt;
use model::Preference;
use model::names::PREFER_ANNOTATION;

use crate::show::world::World;

/// One cluster's part in answering.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// Percent of new connections; none where that is not settled by counts.
    pub(super) share: Option<u32>,
    pub(super) why: String,
}

impl Part {
    fn none(why: impl Into<String>) -> Self {
        Self {
            share: Some(0),
            why: why.into(),
        }
    }
}

/// The part of `export`, given the import and all exports of the same name.
pub(super) fn part(
    world: &World,
    import: Option<&ServiceImport>,
    exports: &[&ExportedService],
    export: &ExportedService,
) -> Part {
    let Some(import) = import else {
        let namespace = &export.spec.namespace;
        return Part::none(format!("not imported here; is there a namespace {namespace}?"));
    };
    if let Err(why) = can_answer(world, import, export) {
        return Part::none(why);
    }
    let of = |one: &ExportedService| one.spec.cluster_id.clone();
    let able: Vec<&ExportedService> = exports
        .iter()
        .copied()
        .filter(|one| can_answer(world, import, one).is_ok())
        .collect();
    let is_own = of(export) == world.own;
    let preference = Preference::read(import.annotations().get(PREFER_ANNOTATION).map(String::as_str));
    if import.spec.type_ == ServiceImportType::Headless {
        return Part {
            share: None,
            why: "headless: its pods are in every answer".to_owned(),
        };
    }
    if preference != Preference::Spread && able.iter().any(|one| of(one) == world.own) {
        return if is_own {
            Part {
                share: Some(100),
                why: "ready here, and pods of this cluster come first".to_owned(),
            }
        } else {
            Part::none("pods of this cluster come first")
        };
    }
    let chosen = match preference {
        Preference::Nearest => nearest(world, &able),
        _ => able.clone(),
    };
    if !chosen.iter().any(|one| of(one) == of(export)) {
        let nearer: Vec<String> = chosen.iter().map(|one| of(one)).collect();
        return Part::none(format!(
            "farther than {}, and {PREFER_ANNOTATION} asks for the nearest",
            nearer.join(", ")
        ));
    }
    let count = |one: &ExportedService| u64::from(one.spec.ready_count);
    let all: u64 = chosen.iter().map(|one| count(one)).sum();
    let share = (count(export) * 100 + all / 2) / all.max(1);
    Part {
        share: u32::try_from(share).ok(),
        why: match (able.len(), chosen.len()) {
            (1, _) => "the only live cluster with a ready pod".to_owned(),
            (_, 1) => format!("the nearest live cluster, as {PREFER_ANNOTATION} asks"),
            (all, some) if some < all => {
                format!("the nearest clusters share by their ready pods, as {PREFER_ANNOTATION} asks")
            }
            _ => "live clusters share by their ready pods".to_owned(),
        },
    }
}

/// Those whose round trip is of the least class, as nodes see it.
fn nearest<'a>(world: &World, exports: &[&'a ExportedService]) -> Vec<&'a ExportedService> {
    let distance = |export: &ExportedService| {
        let gateways = world.own_gateways().into_iter();
        let cables = gateways.flat_map(|gateway| world.cables(gateway));
        let to_it = cables
            .filter(|cable| cable.connection.cluster_id == export.spec.cluster_id && cable.state() == "connected");
        let classes = to_it.filter_map(|cable| Some(rtt_class(cable.connection.rtt.as_ref()?.p50_micros)));
        // A cluster whose round trip is unknown is the farthest.
        classes.min().unwrap_or(u32::MAX)
    };
    let least = exports.iter().map(|export| distance(export)).min();
    let all = exports.iter().copied();
    all.filter(|export| Some(distance(export)) == least).collect()
}

fn can_answer(world: &World, import: &ServiceImport, export: &ExportedService) -> Result<(), String> {
    let cluster = &export.spec.cluster_id;
    let kind = format!("{:?}", import.spec.type_);
    if export.spec.kind != kind {
        return Err(format!("the import is {kind}, and this export is not"));
    }
    if export.spec.ready_count == 0 {
        return Err("no endpoint is ready".to_owned());
    }
    let mut cables = world
        .own_gateways()
        .into_iter()
        .flat_map(|gateway| world.cables(gateway));
    if *cluster != world.own
        && !cables.any(|cable| cable.connection.cluster_id == *cluster && cable.state() == "connected")
    {
        return Err("no cable to it works".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn export(cluster: &str, ready: u32) -> ExportedService {
        serde_json::from_value(json!({
            "apiVersion": "tombolo.dev/v1alpha1", "kind": "ExportedService", "metadata": { "name": "x" },
            "spec": { "clusterId": cluster, "namespace": "shop", "name": "cart", "type": "ClusterSetIP", "readyCount": ready,
                "ports": [], "exportedAt": "2026-01-01T00:00:00Z" },
        }))
        .unwrap()
    }

    fn import(kind: &str, prefer: &str) -> ServiceImport {
        serde_json::from_value(json!({
            "apiVersion": "multicluster.x-k8s.io/v1beta1", "kind": "ServiceImport",
            "metadata": { "name": "cart", "namespace": "shop", "annotations": { "tombolo.dev/prefer": prefer } },
            "spec": { "type": kind, "ports": [] },
        }))
        .unwrap()
    }

    /// East, with working cables to these.
    fn east(connected: &[&str]) -> World {
        let connection =
            |cluster: &&str| json!({ "clusterId": cluster, "node": "g", "state": "connected", "message": "" });
        let gateway = json!({
            "apiVersion": "tombolo.dev/v1alpha1", "kind": "Gateway", "metadata": { "name": "x" },
            "spec": { "clusterId": "east", "node": "gw1", "publicKey": "k", "addresses": [], "port": 4510 },
            "status": { "conditions": [], "connections": connected.iter().map(connection).collect::<Vec<_>>() },
        });
        World {
            own: "east".to_owned(),
            gateways: vec![serde_json::from_value(gateway).unwrap()],
            live_agents: ["gw1".to_owned()].into(),
            ..World::default()
        }
    }

    fn shares(world: &World, import: Option<&ServiceImport>, exports: &[ExportedService]) -> Vec<Option<u32>> {
        let all: Vec<&ExportedService> = exports.iter().collect();
        exports
            .iter()
            .map(|export| part(world, import, &all, export).share)
            .collect()
    }

    #[test]
    fn own_pods_come_first_and_others_share_by_their_ready_pods() {
        let world = east(&["west", "north"]);
        let import = import("ClusterSetIP", "");
        let exports = [export("east", 1), export("west", 3), export("north", 1)];
        assert_eq!(shares(&world, Some(&import), &exports), [Some(100), Some(0), Some(0)]);
        let exports = [export("east", 0), export("west", 3), export("north", 1)];
        assert_eq!(shares(&world, Some(&import), &exports), [Some(0), Some(75), Some(25)]);
    }

    #[test]
    fn dead_clusters_and_other_kinds_have_no_part() {
        let world = east(&["north"]);
        let exports = [export("west", 3), export("north", 1)];
        let cart = import("ClusterSetIP", "");
        assert_eq!(shares(&world, Some(&cart), &exports), [Some(0), Some(100)]);
        let all: Vec<&ExportedService> = exports.iter().collect();
        assert_eq!(part(&world, Some(&cart), &all, &exports[0]).why, "no cable to it works");
        let headless = import("Headless", "");
        assert!(
            part(&world, Some(&headless), &all, &exports[1])
                .why
                .contains("the import is Headless")
        );
        assert!(part(&world, None, &all, &exports[1]).why.contains("namespace shop"));
    }

    #[test]
    fn preferences_are_heeded() {
        let world = east(&["west", "north"]);
        let exports = [export("east", 1), export("west", 3)];
        let spread = import("ClusterSetIP", "spread");
        assert_eq!(shares(&world, Some(&spread), &exports), [Some(25), Some(75)]);
        let nearest = import("ClusterSetIP", "nearest");
        assert_eq!(shares(&world, Some(&nearest), &exports), [Some(100), Some(0)]);
        let others = [export("west", 3), export("north", 1)];
        assert_eq!(
            shares(&world, Some(&nearest), &others),
            [Some(75), Some(25)],
            "of unknown distance, both"
        );
    }

    #[test]
    fn the_nearest_answer_where_they_are_asked_for() {
        let mut world = east(&["west", "north", "south"]);
        let status = world.gateways[0].status.as_mut().unwrap();
        for (connection, micros) in status.connections.iter_mut().zip([900, 1_200, 40_000]) {
            let rtt = json!({ "lastMicros": 1, "p50Micros": micros, "p99Micros": 90_000 });
            connection.rtt = serde_json::from_value(rtt).unwrap();
        }
        let exports = [export("west", 3), export("north", 1), export("south", 5)];
        let nearest = import("ClusterSetIP", "nearest");
        assert_eq!(shares(&world, Some(&nearest), &exports), [Some(75), Some(25), Some(0)]);
        let all: Vec<&ExportedService> = exports.iter().collect();
        let south = part(&world, Some(&nearest), &all, &exports[2]);
        assert!(south.why.contains("farther than west, north"), "{}", south.why);
        assert_eq!(
            shares(&world, Some(&nearest), &exports[1..]),
            [Some(100), Some(0)],
            "north alone is near"
        );
        let local = import("ClusterSetIP", "local");
        assert_eq!(shares(&world, Some(&local), &exports), [Some(33), Some(11), Some(56)]);
    }
}
