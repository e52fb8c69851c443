//! Clusterset IPs of the imports. The imports themselves are the memory of what is allocated: what one has it keeps.

use std::collections::BTreeMap;
use std::net::IpAddr;

use clusterset::vip;
use model::{ImportKind, ImportedService, PrefixSet, ServiceKey};

use super::imports::Imports;
use super::world::World;

/// The clusterset IPs of every import that has some, in the order of its families.
///
/// Addresses that any member uses for its pods or services are left out. Imports whose namespace does not exist yet are given one
/// too: it costs nothing, and they have it when the namespace comes.
pub(super) fn allocate(world: &World, imports: &Imports) -> BTreeMap<ServiceKey, Vec<IpAddr>> {
    let wanted = imports
        .iter()
        .filter(|(_, import)| import.kind == ImportKind::ClusterSetIP)
        .map(|(key, import)| (key.clone(), import.ip_families.clone()))
        .collect();
    let held = world.local.imports.iter();
    let held = held
        .filter_map(|object| ImportedService::try_from(object.as_ref()).ok())
        .map(|import| (import.key, import.ips))
        .collect();
    let members = world.members();
    let taken: PrefixSet = members
        .values()
        .flat_map(|member| member.prefixes().iter().copied().collect::<Vec<_>>())
        .collect();
    vip::allocate(&wanted, &held, &range(world), &taken)
}

/// A range that cannot be read gives nobody an address; its object is reported as malformed.
fn range(world: &World) -> PrefixSet {
    let own = world.own_cluster();
    own.and_then(|own| k8s_api::clusterset_range(own).ok())
        .unwrap_or_default()
}
