//! The broker's objects into the own cluster, where every agent reads them, as `<cluster>.<name>`.
//!
//! Every mirrored `Cluster` carries age and uid of the broker's object, and so does the own one: all members decide claims from the same
//! figures. Addresses outside a member's own accepted prefixes are taken out of its exports.

use std::collections::BTreeMap;
use std::sync::Arc;

use clusterset::exports::confine;
use k8s_api::{Broker, Cluster, ClusterSpec, ExportedService, Gateway};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;
use model::{ClusterId, names};
use serde_json::json;

use super::admission::Admitted;
use super::convert;
use super::members::Members;
use super::world::{MANAGED_BY, World, by_name, has_labels, labels};
use super::write::{Side, Write};

/// Writes that bring the mirrors in step with what is there. What is not is the business of [`super::prune`].
pub(super) fn plan(world: &World, admitted: &Admitted, members: &Members) -> Vec<Write> {
    let mut writes: Vec<Write> = own_claim(world).into_iter().collect();
    let there = by_name(world.local.clusters.iter().map(Arc::as_ref));
    for (id, cluster) in &admitted.clusters {
        writes.extend(mirror_cluster(world, &there, id, cluster));
    }
    let there = by_name(world.local.gateways.iter().map(Arc::as_ref));
    for (name, gateway) in &admitted.gateways {
        if let Some(id) = admitted.live_source(gateway.as_ref()) {
            writes.extend(mirror_gateway(world, &there, &id, name, gateway));
        }
    }
    let there = by_name(world.local.exported.iter().map(Arc::as_ref));
    for (name, exported) in &admitted.exported {
        // What a member may export is known only once its claims are.
        if let Some(id) = admitted.live_source(exported.as_ref())
            && members.clusters.contains_key(&id)
        {
            writes.extend(mirror_export(world, &there, &id, name, exported, members));
        }
    }
    writes
}

/// The broker's own object, mirrored. After a restore of the broker it is written last: see [`super::round`].
pub(super) fn plan_broker(world: &World) -> Option<Write> {
    let source = world
        .broker
        .as_ref()?
        .brokers
        .iter()
        .find(|object| object.name_any() == names::BROKER_NAME)?;
    let mirrored = world
        .local
        .brokers
        .iter()
        .find(|object| object.name_any() == names::BROKER_NAME);
    if mirrored.is_some_and(|mirrored| mirrored.spec == source.spec) {
        return None;
    }
    let mut object = Broker::new(names::BROKER_NAME, source.spec.clone());
    object.metadata.labels = Some([(MANAGED_BY.to_owned(), names::FIELD_MANAGER.to_owned())].into());
    Some(Write::apply(Side::Local, &object))
}

/// Age and uid of the own claim, as all members see it, beside what join wrote.
fn own_claim(world: &World) -> Option<Write> {
    let (own, source) = (world.own_cluster()?, world.own_on_broker()?);
    let claimed = claim(source);
    if (own.spec.claimed_at.clone(), own.spec.claim_uid.clone()) == claimed {
        return None;
    }
    Some(Write::annex(
        Side::Local,
        own,
        &json!({ "claimedAt": claimed.0, "claimUid": claimed.1 }),
    ))
}

fn claim(source: &Cluster) -> (Option<String>, Option<String>) {
    (source.creation_timestamp().map(|time| time.0.to_string()), source.uid())
}

/// The mirrors of one kind that are there, by name.
type There<'a, K> = BTreeMap<String, &'a K>;

fn mirror_cluster(world: &World, there: &There<Cluster>, id: &ClusterId, source: &Cluster) -> Option<Write> {
    let (claimed_at, claim_uid) = claim(source);
    let spec = ClusterSpec {
        claimed_at,
        claim_uid,
        ..source.spec.clone()
    };
    let mut object = Cluster::new(id.as_str(), spec);
    object.metadata = metadata(world, id, id.as_str());
    let is_same = |existing: &Cluster| existing.spec == object.spec;
    (!is_mirrored(there, &object, is_same)).then(|| Write::apply(Side::Local, &object))
}

fn mirror_gateway(
    world: &World,
    there: &There<Gateway>,
    id: &ClusterId,
    name: &str,
    source: &Gateway,
) -> Option<Write> {
    let mut object = Gateway::new(name, source.spec.clone());
    object.metadata = metadata(world, id, name);
    let is_same = |existing: &Gateway| existing.spec == object.spec;
    (!is_mirrored(there, &object, is_same)).then(|| Write::apply(Side::Local, &object))
}

fn mirror_export(
    world: &World,
    there: &There<ExportedService>,
    id: &ClusterId,
    name: &str,
    source: &ExportedService,
    members: &Members,
) -> Option<Write> {
    let mut export = convert::export(source).ok()?;
    confine(&mut export.service, &members.pods(id), &members.services(id));
    let mut object = ExportedService::new(name, convert::exported_spec(&export));
    object.metadata = metadata(world, id, name);
    let is_same = |existing: &ExportedService| existing.spec == object.spec;
    (!is_mirrored(there, &object, is_same)).then(|| Write::apply(Side::Local, &object))
}

fn is_mirrored<K: ResourceExt>(there: &There<K>, wanted: &K, is_same: impl Fn(&K) -> bool) -> bool {
    let mirror = there.get(&wanted.name_any());
    mirror.is_some_and(|mirror| is_same(mirror) && has_labels(*mirror, wanted.labels()))
}

fn metadata(world: &World, owner: &ClusterId, name: &str) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.to_owned()),
        namespace: Some(world.namespace.clone()),
        labels: Some(labels(owner)),
        ..ObjectMeta::default()
    }
}
