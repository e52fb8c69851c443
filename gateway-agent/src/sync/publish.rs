//! Own objects to the broker: the cluster, its gateways, its exports, all in the own namespace there.
//!
//! An evicted cluster publishes nothing more. One that leaves tells only that it does. Stale objects of ours are pruned, both on the
//! broker and at home: exports that are no longer wanted, and gateways on nodes that no longer are gateways.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use clusterset::exports::{Export, Exported};
use k8s_api::{Cluster, ClusterSpec, ExportedService, ExportedServiceSpec, Gateway, mirror_name};
use kube::ResourceExt;
use model::{ClusterState, names};

use super::convert;
use super::exports::OwnExports;
use super::world::{Remote, World, by_name, has_labels, is_ours, labels};
use super::write::{Side, Write};

/// Writes to the broker that bring the own namespace in step.
pub(super) fn plan(world: &World, exports: Option<&OwnExports>) -> Vec<Write> {
    let (Some(remote), Some(own), Some(state)) = (&world.broker, world.own_cluster(), world.own_state()) else {
        return Vec::new();
    };
    if state == ClusterState::Evicted {
        return Vec::new();
    }
    let mut writes: Vec<Write> = cluster(world, own).into_iter().collect();
    let is_active = state == ClusterState::Active;
    let gateways = if is_active { own_gateways(world) } else { Vec::new() };
    publish_gateways(world, remote, &gateways, &mut writes);
    if let Some(exports) = exports {
        let exports = if is_active {
            specs(exports, |exported| exported.export.clone())
        } else {
            BTreeMap::new()
        };
        publish_exports(world, remote, &exports, &mut writes);
    }
    writes
}

/// Own exports at home, where every agent reads them.
pub(super) fn plan_exported(world: &World, exports: &OwnExports) -> Vec<Write> {
    let mut writes = Vec::new();
    let is_leaving = world.own_state() == Some(ClusterState::Leaving);
    let exports = if is_leaving {
        BTreeMap::new()
    } else {
        specs(exports, Exported::at_home)
    };
    let existing: BTreeMap<String, &ExportedService> = world
        .local
        .exported
        .iter()
        .filter(|object| object.spec.cluster_id == world.cluster.as_str())
        .map(|object| (object.name_any(), object.as_ref()))
        .collect();
    let mut wanted = BTreeSet::new();
    for (name, spec) in exports {
        let name = mirror_name(&world.cluster, &name);
        let object = exported(world, &name, &world.namespace, spec);
        match existing.get(&name) {
            Some(existing) if is_same_export(existing, &object) => {}
            Some(_) => writes.push(Write::apply(Side::Local, &object)),
            None => writes.push(Write::apply(Side::Local, &object).after_others()),
        }
        wanted.insert(name);
    }
    let stale = existing
        .into_iter()
        .filter(|(name, object)| !wanted.contains(name) && is_ours(*object));
    writes.extend(stale.map(|(_, object)| Write::delete(Side::Local, object)));
    writes
}

/// Removal of own gateways on nodes that are gateways no more. Their agents are gone and cannot do it themselves.
pub(super) fn plan_retired(world: &World) -> Vec<Write> {
    let gateways = gateway_nodes(world);
    let retired = world.local.gateways.iter().filter(|gateway| {
        is_own_gateway(world, gateway) && gateway.spec.probe != "none" && !gateways.contains(gateway.spec.node.as_str())
    });
    retired
        .map(|gateway| Write::delete(Side::Local, gateway.as_ref()))
        .collect()
}

/// Own exports as the broker has them, by name; none while it is away.
pub(super) fn told(world: &World) -> Option<BTreeMap<String, &ExportedService>> {
    let remote = world.broker.as_ref()?;
    Some(by_name(own_of(world, &remote.exported)))
}

fn cluster(world: &World, own: &Cluster) -> Option<Write> {
    let spec = ClusterSpec {
        claimed_at: None,
        claim_uid: None,
        clusterset_ip_ranges: Vec::new(),
        ..own.spec.clone()
    };
    let existing = world.own_on_broker();
    if existing.is_some_and(|object| object.spec == spec && has_labels(object, &labels(&world.cluster))) {
        return None;
    }
    let mut object = Cluster::new(world.cluster.as_str(), spec);
    object.metadata.namespace = Some(world.own_namespace());
    object.metadata.labels = Some(labels(&world.cluster));
    // An administrator may have evicted us meanwhile: then the version has moved, and this write fails.
    object.metadata.resource_version = existing.and_then(ResourceExt::resource_version);
    Some(Write::apply(Side::Broker, &object))
}

fn publish_gateways(world: &World, remote: &Remote, gateways: &[&Gateway], writes: &mut Vec<Write>) {
    let existing = by_name(own_of(world, &remote.gateways));
    for gateway in gateways {
        let mut object = Gateway::new(&gateway.spec.node, gateway.spec.clone());
        object.metadata.namespace = Some(world.own_namespace());
        object.metadata.labels = Some(labels(&world.cluster));
        let is_same = |existing: &&Gateway| existing.spec == object.spec && has_labels(*existing, object.labels());
        if !existing.get(&gateway.spec.node).is_some_and(is_same) {
            writes.push(Write::apply(Side::Broker, &object));
        }
    }
    let is_wanted = |name: &str| gateways.iter().any(|gateway| gateway.spec.node == name);
    let stale = existing
        .into_iter()
        .filter(|(name, object)| !is_wanted(name) && is_ours(*object));
    writes.extend(stale.map(|(_, object)| Write::delete(Side::Broker, object)));
}

fn publish_exports(
    world: &World,
    remote: &Remote,
    exports: &BTreeMap<String, ExportedServiceSpec>,
    writes: &mut Vec<Write>,
) {
    let existing = by_name(own_of(world, &remote.exported));
    for (name, spec) in exports {
        let object = exported(world, name, &world.own_namespace(), spec.clone());
        if !existing
            .get(name)
            .is_some_and(|existing| is_same_export(existing, &object))
        {
            writes.push(Write::apply(Side::Broker, &object));
        }
    }
    let stale = existing
        .into_iter()
        .filter(|(name, object)| !exports.contains_key(name) && is_ours(*object));
    writes.extend(stale.map(|(_, object)| Write::delete(Side::Broker, object)));
}

fn exported(world: &World, name: &str, namespace: &str, spec: ExportedServiceSpec) -> ExportedService {
    let mut object = ExportedService::new(name, spec);
    object.metadata.namespace = Some(namespace.to_owned());
    object.metadata.labels = Some(labels(&world.cluster));
    object
}

fn is_same_export(existing: &ExportedService, wanted: &ExportedService) -> bool {
    existing.spec == wanted.spec && has_labels(existing, wanted.labels())
}

/// Specs of the exports that are valid, by their name on the broker; `view` chooses what the reader is told.
fn specs(exports: &OwnExports, view: impl Fn(&Exported) -> Export) -> BTreeMap<String, ExportedServiceSpec> {
    let valid = exports
        .iter()
        .filter_map(|(key, exported)| Some((key, exported.as_ref().ok()?)));
    valid
        .map(|(key, exported)| (key.broker_name(), convert::exported_spec(&view(exported))))
        .collect()
}

/// Own gateways on nodes that are gateways.
fn own_gateways(world: &World) -> Vec<&Gateway> {
    let nodes = gateway_nodes(world);
    let gateways = world.local.gateways.iter().map(Arc::as_ref);
    gateways
        .filter(|gateway| is_own_gateway(world, gateway) && nodes.contains(gateway.spec.node.as_str()))
        .collect()
}

fn is_own_gateway(world: &World, gateway: &Gateway) -> bool {
    let name = mirror_name(&world.cluster, &gateway.spec.node);
    gateway.spec.cluster_id == world.cluster.as_str() && gateway.name_any() == name
}

fn gateway_nodes(world: &World) -> BTreeSet<&str> {
    let nodes = world.local.nodes.iter();
    nodes
        .filter(|node| {
            node.labels()
                .get(names::GATEWAY_LABEL)
                .is_some_and(|value| value == "true")
        })
        .filter_map(|node| node.metadata.name.as_deref())
        .collect()
}

/// Objects in the own namespace on the broker.
fn own_of<'a, K: ResourceExt>(world: &World, objects: &'a [Arc<K>]) -> impl Iterator<Item = &'a K> {
    let namespace = world.own_namespace();
    let objects = objects.iter().map(Arc::as_ref);
    objects.filter(move |object| object.meta().namespace.as_ref() == Some(&namespace))
}
