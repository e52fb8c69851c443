//! What differs between the zones of two snapshots, from what differs between the snapshots.
//!
//! Snapshots share what did not change, so that only the services are looked at of which an export or the import is another one, or
//! which a cluster exports that came to life or died.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use model::{ByKey, ClusterId, Keyed, ServiceKey, Snapshot};

use super::view::Name;
use super::{ClusterNames, SERVICES, is_routed, live_clusters, service_name, service_view};

/// What is to be done to a zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The name has this from now on, or is gone.
    Name(String, Option<Name>),
    /// The clusterset IP belongs to this name from now on, or to none.
    Reverse(IpAddr, Option<String>),
}

/// What turns the zone of the snapshot `before` into that of `after`. Some of it may be so already.
pub fn changes<'a>(
    before: &'a Snapshot,
    after: &'a Snapshot,
    cluster_names: ClusterNames,
) -> impl Iterator<Item = Change> + 'a {
    let live = [before, after].map(live_clusters);
    let services = changed_services([before, after], &live);
    let reverse = reverse_changes([before, after], &services);
    let names = services.into_iter().flat_map(move |key| {
        let [old, new] = [(before, &live[0]), (after, &live[1])]
            .map(|(snapshot, live)| service_view(snapshot, key, live, cluster_names));
        let mut changes = Vec::new();
        for (name, _) in old.names().filter(|(name, _)| new.name(name).is_none()) {
            if !is_above_services(after, name) {
                changes.push(Change::Name(name.to_owned(), None));
            }
        }
        for (name, content) in new.names().filter(|(name, content)| old.name(name) != Some(content)) {
            changes.push(Change::Name(name.to_owned(), Some(content.clone())));
        }
        changes
    });
    names.chain(reverse)
}

/// The services whose names may have changed.
fn changed_services<'a>(
    [before, after]: [&'a Snapshot; 2],
    live: &[BTreeSet<ClusterId>; 2],
) -> BTreeSet<&'a ServiceKey> {
    if before.cluster != after.cluster {
        let exports = before.exports.iter().chain(&after.exports);
        return exports.map(|export| &export.key).collect();
    }
    let exports = differing(&before.exports, &after.exports);
    let imports = differing(&before.imports, &after.imports);
    let mut changed: BTreeSet<_> = exports.map(|export| &export.key).collect();
    changed.extend(imports.map(|import| &import.key));
    let turned: BTreeSet<_> = live[0].symmetric_difference(&live[1]).collect();
    if !turned.is_empty() {
        let exports = after.exports.iter().filter(|export| turned.contains(&export.cluster));
        changed.extend(exports.map(|export| &export.key));
    }
    changed
}

/// Who a clusterset IP belongs to, of those that changed. Of several services the first one has it.
fn reverse_changes([before, after]: [&Snapshot; 2], services: &BTreeSet<&ServiceKey>) -> Vec<Change> {
    let mut owners: BTreeMap<IpAddr, Option<&ServiceKey>> = BTreeMap::new();
    for key in services {
        let [old, new] = [before, after].map(|snapshot| clusterset_ips(snapshot, key));
        let only = |one: &[IpAddr], other: &[IpAddr]| -> Vec<_> {
            one.iter()
                .filter(|ip| !other.contains(ip))
                .map(|ip| (*ip, None))
                .collect()
        };
        owners.extend(only(old, new));
        owners.extend(only(new, old));
    }
    if !owners.is_empty() {
        for import in after.imports.iter().filter(|import| is_routed(import)) {
            for ip in &import.ips {
                if let Some(owner @ None) = owners.get_mut(ip)
                    && is_exported(after, &import.key)
                {
                    *owner = Some(&import.key);
                }
            }
        }
    }
    let change = |(ip, owner): (IpAddr, Option<&ServiceKey>)| Change::Reverse(ip, owner.map(service_name));
    owners.into_iter().map(change).collect()
}

/// The addresses that a service is reached by.
fn clusterset_ips<'a>(snapshot: &'a Snapshot, key: &ServiceKey) -> &'a [IpAddr] {
    let import = snapshot.imports.get(key).filter(|import| is_routed(import));
    import
        .filter(|_| is_exported(snapshot, key))
        .map_or(&[], |import| &import.ips)
}

fn is_exported(snapshot: &Snapshot, key: &ServiceKey) -> bool {
    snapshot.exports_of(key).next().is_some()
}

/// Whether a name stands above those of services that there are.
fn is_above_services(snapshot: &Snapshot, name: &str) -> bool {
    if name == SERVICES {
        return !snapshot.exports.is_empty();
    }
    name.strip_suffix(SERVICES)
        .and_then(|rest| rest.strip_suffix('.'))
        .is_some_and(|namespace| snapshot.exports_in(namespace).next().is_some())
}

/// What one has and the other has not, of each key once.
fn differing<'a, T: Keyed>(one: &'a ByKey<T>, other: &'a ByKey<T>) -> impl Iterator<Item = &'a T> {
    let (mut one, mut other) = (one.iter().peekable(), other.iter().peekable());
    std::iter::from_fn(move || {
        loop {
            match (one.peek(), other.peek()) {
                (Some(here), Some(there)) if Arc::ptr_eq(here, there) => {
                    one.next();
                    other.next();
                }
                (Some(here), Some(there)) => {
                    let order = here.compare(there.key());
                    let there = other.next_if(|_| order.is_ge());
                    return one.next_if(|_| order.is_le()).or(there).map(Arc::as_ref);
                }
                _ => return one.next().or_else(|| other.next()).map(Arc::as_ref),
            }
        }
    })
}

#[cfg(test)]
mod tests;
