//! ServiceImports and their EndpointSlices in the users' namespaces.
//!
//! A service is imported where its namespace exists (namespace sameness, KEP-1645); others wait for it. Only what carries our labels is
//! ever pruned. The slices have the import as owner, so that they go with it also when nobody of us runs.

use std::collections::BTreeMap;

use clusterset::exports::Export;
use clusterset::imports::{Import, imports};
use k8s_api::condition::{self, Finding};
use k8s_api::mcs::{self, ServiceImport};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use model::{ClusterState, ImportKind, ServiceKey, names};
use serde_json::json;

use super::addresses;
use super::convert::{self, kind_name};
use super::exports::{self, OwnExports};
use super::import_objects::{SLICE_MANAGED_BY, import_object, slice_object};
use super::members::Members;
use super::world::{World, has_labels, is_ours};
use super::write::{Side, Write};

/// All imports as they are to be.
pub(super) type Imports = BTreeMap<ServiceKey, Import>;

/// Decides all imports: own exports as they are now, others as mirrored.
pub(super) fn decide(world: &World, own: &OwnExports, members: &Members) -> Imports {
    if world.own_state() == Some(ClusterState::Leaving) {
        return Imports::new();
    }
    let own = own.values().flatten().map(|exported| exported.export.clone());
    let others = world
        .local
        .exported
        .iter()
        .filter(|object| object.spec.cluster_id != world.cluster.as_str());
    let others = others.filter_map(|object| convert::export(object).ok());
    let exports: Vec<Export> = own.chain(others).collect();
    imports(&exports, &members.clusters)
}

/// Writes that bring ServiceImports and EndpointSlices in step.
pub(super) fn plan(world: &World, wanted: &Imports, now: Timestamp) -> Vec<Write> {
    let namespaces = world.namespaces();
    let existing: BTreeMap<ServiceKey, &ServiceImport> = world
        .local
        .imports
        .iter()
        .map(|import| (exports::key(import.as_ref()), import.as_ref()))
        .collect();
    let mut slices: BTreeMap<(String, String), &EndpointSlice> = world
        .local
        .slices
        .iter()
        .filter(|slice| {
            slice
                .labels()
                .get(SLICE_MANAGED_BY)
                .is_some_and(|value| value == names::SLICE_MANAGER)
        })
        .map(|slice| {
            (
                (slice.namespace().unwrap_or_default(), slice.name_any()),
                slice.as_ref(),
            )
        })
        .collect();
    let mut writes = Vec::new();
    let ips = addresses::allocate(world, wanted);
    for (key, import) in wanted.iter().filter(|(key, _)| namespaces.contains(&key.namespace)) {
        let ips = ips.get(key).map_or(&[][..], Vec::as_slice);
        let object = import_object(key, import, ips);
        let there = existing.get(key).copied();
        if !there.is_some_and(|there| is_same_import(there, &object)) {
            let write = Write::apply(Side::Local, &object);
            let is_ours_alone = import.clusters.iter().all(|id| *id == world.cluster);
            writes.push(if there.is_none() && is_ours_alone {
                write.after_others()
            } else {
                write
            });
        }
        // Status and slices need the import to be there: they are written in the round after.
        let Some(there) = there else { continue };
        writes.extend(import_status(there, import, ips.len(), now));
        for slice in &import.slices {
            let object = slice_object(key, slice, there);
            let old = slices.remove(&(key.namespace.clone(), slice.name.clone()));
            if !old.is_some_and(|old| is_same_slice(old, &object)) {
                writes.push(Write::apply(Side::Local, &object));
            }
        }
    }
    // Slices go before their imports, so that nothing is sent to endpoints without one.
    writes.extend(slices.into_values().map(|slice| Write::delete(Side::Local, slice)));
    let stale = existing
        .into_iter()
        .filter(|(key, object)| !wanted.contains_key(key) && is_ours(*object));
    writes.extend(stale.map(|(_, object)| Write::delete(Side::Local, object)));
    writes
}

/// Labels and annotations are compared whole: the controller alone owns an import, and a label that is exported no more must go.
fn is_same_import(there: &ServiceImport, wanted: &ServiceImport) -> bool {
    there.spec == wanted.spec && there.labels() == wanted.labels() && there.annotations() == wanted.annotations()
}

fn import_status(there: &ServiceImport, import: &Import, ips: usize, now: Timestamp) -> Option<Write> {
    let before = there.status.clone().unwrap_or_default();
    let clusters: Vec<mcs::ClusterStatus> = import
        .clusters
        .iter()
        .map(|id| mcs::ClusterStatus {
            cluster: id.to_string(),
        })
        .collect();
    let ready = readiness(import, ips);
    let conditions = condition::merge(&before.conditions, &[ready], there.metadata.generation, now);
    let is_same = before.clusters == clusters && before.conditions == conditions;
    let status = json!({ "clusters": clusters, "conditions": conditions });
    (!is_same).then(|| Write::status(Side::Local, there, &status))
}

/// What the `Ready` condition says of an import that has so many clusterset IPs.
fn readiness(import: &Import, ips: usize) -> Finding {
    let kind = kind_name(import.kind);
    let imported = format!("imported as {kind} from {} clusters", import.clusters.len());
    let families = import.ip_families.len();
    if import.kind == ImportKind::Headless || (ips > 0 && ips == families) {
        return Finding::new(mcs::IMPORT_READY, true, "Ready", imported);
    }
    let mend =
        "the range of clusterset IPs is full, or has none of the family: see `tombolo join --clusterset-ip-range`";
    if ips == 0 {
        let message = format!("{imported}, but without a clusterset IP: {mend}");
        return Finding::new(mcs::IMPORT_READY, false, "Pending", message);
    }
    let message = format!("{imported}, but with {ips} clusterset IP for {families} families: {mend}");
    Finding::new(mcs::IMPORT_READY, false, "IPFamilyNotSupported", message)
}

fn is_same_slice(there: &EndpointSlice, wanted: &EndpointSlice) -> bool {
    let owner = |slice: &EndpointSlice| slice.owner_references().first().map(|owner| owner.uid.clone());
    there.endpoints == wanted.endpoints
        && there.ports.as_deref().unwrap_or_default() == wanted.ports.as_deref().unwrap_or_default()
        && owner(there) == owner(wanted)
        && has_labels(there, wanted.labels())
}
