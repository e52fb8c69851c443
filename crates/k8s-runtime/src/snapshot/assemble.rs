//! A view from what the watches say. Pure but for what it remembers: an object that did not change is not converted again.

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_api::mcs::ServiceImport;
use k8s_api::{Cluster, ConvertError, ExportedService, Gateway, clusterset_range, mirror_name, node_from};
use k8s_openapi::api::core::v1::Node;
use kube::{Resource, ResourceExt};
use model::{ByKey, ClusterId, ClusterState, ImportedService, Keyed, Snapshot, names};

use super::sources::Latest;
use super::{Freshness, View};
use crate::watched::{Link, ObjectKey, Watched};

/// What was converted last, by kind.
#[derive(Default)]
pub(super) struct Assembler {
    clusters: Conversions<Cluster, model::Cluster>,
    gateways: Conversions<Gateway, model::Gateway>,
    exports: Collected<ExportedService, model::ExportedService>,
    imports: Collected<ServiceImport, ImportedService>,
    nodes: Conversions<Node, model::Node>,
}

impl Assembler {
    /// The view that follows `previous`.
    pub(super) fn view(&mut self, latest: &Latest, cluster: Option<&ClusterId>, previous: &View) -> View {
        if let Some(why) = unheard(latest, previous.snapshot.is_some()) {
            return View {
                freshness: frozen(previous, why),
                ..previous.clone()
            };
        }
        let Some(cluster) = cluster.cloned().or_else(|| own_cluster(&latest.clusters)) else {
            return View {
                freshness: frozen(
                    previous,
                    "no Cluster object says which cluster this is; `tombolo join` writes it".to_owned(),
                ),
                ..previous.clone()
            };
        };
        let (snapshot, malformed) = self.assemble(latest, cluster);
        // The same snapshot stays the same allocation, so that comparing views is cheap.
        let snapshot = match &previous.snapshot {
            Some(same) if **same == snapshot => Arc::clone(same),
            _ => Arc::new(snapshot),
        };
        View {
            snapshot: Some(snapshot),
            freshness: lost(latest).map_or(Freshness::Live, Freshness::Stale),
            malformed,
        }
    }

    fn assemble(&mut self, latest: &Latest, cluster: ClusterId) -> (Snapshot, Vec<ConvertError>) {
        let mut snapshot = Snapshot::empty(cluster);
        let mut malformed = Vec::new();
        let clusters = self.clusters.of(&latest.clusters, &mut malformed, |object| {
            let cluster = model::Cluster::try_from(object)?;
            named("Cluster", object, cluster.id.as_str())?;
            Ok(cluster)
        });
        snapshot.clusters = clusters.map(|cluster| (cluster.id.clone(), cluster)).collect();
        let own = latest.clusters.objects.values();
        for object in own.filter(|object| object.name_any() == snapshot.cluster.as_str()) {
            match clusterset_range(object) {
                Ok(range) => snapshot.clusterset_range = range,
                Err(error) => malformed.push(error),
            }
        }
        let gateways = self.gateways.of(&latest.gateways, &mut malformed, |object| {
            let gateway = model::Gateway::try_from(object)?;
            named("Gateway", object, &gateway.id.to_string())?;
            Ok(gateway)
        });
        snapshot.gateways = gateways.map(|gateway| (gateway.id.clone(), gateway)).collect();
        if let Some(watched) = &latest.exports {
            snapshot.exports = self.exports.of(watched, &mut malformed, |object| {
                let export = model::ExportedService::try_from(object)?;
                named(
                    "ExportedService",
                    object,
                    &mirror_name(&export.cluster, &export.key.broker_name()),
                )?;
                Ok(export)
            });
        }
        if let Some(watched) = &latest.imports {
            snapshot.imports = self
                .imports
                .of(watched, &mut malformed, |object| ImportedService::try_from(object));
        }
        if let Some(watched) = &latest.nodes {
            let nodes = self.nodes.of(watched, &mut malformed, node_from);
            snapshot.nodes = nodes.map(|node| (node.name.clone(), node)).collect();
        }
        without_the_departed(&mut snapshot);
        (snapshot, malformed)
    }
}

fn frozen(previous: &View, why: String) -> Freshness {
    match previous.snapshot {
        Some(_) => Freshness::Stale(why),
        None => Freshness::Waiting(why),
    }
}

/// Which watch has told nothing yet. A kind that the server does not have counts as none of it, unless a snapshot says otherwise.
fn unheard(latest: &Latest, has_snapshot: bool) -> Option<String> {
    latest.links().into_iter().find_map(|(kind, link)| match link {
        Link::Connecting(None) => Some(format!("{kind} objects were not listed yet")),
        Link::Connecting(Some(why)) => Some(format!("{kind} objects cannot be listed: {why}")),
        // Without the MCS API there is nothing to import, and everything else goes on.
        Link::Absent if kind == "ServiceImport" => None,
        Link::Absent if has_snapshot || kind == "Cluster" => Some(format!(
            "the API server does not have the kind {kind}; `tombolo join` installs it"
        )),
        Link::Absent | Link::Live | Link::Lost(_) => None,
    })
}

fn lost(latest: &Latest) -> Option<String> {
    latest.links().into_iter().find_map(|(kind, link)| match link {
        Link::Lost(why) => Some(format!("the API server cannot be watched for {kind} objects: {why}")),
        _ => None,
    })
}

/// The cluster that this is: its `Cluster` was written by join, while mirrors are managed by the sync leader.
fn own_cluster(clusters: &Watched<Cluster>) -> Option<ClusterId> {
    let mut own = clusters.objects.values().filter(|object| !is_mirror(object.as_ref()));
    own.find_map(|object| object.spec.cluster_id.parse().ok())
}

fn is_mirror(object: &Cluster) -> bool {
    object
        .labels()
        .get(MANAGED_BY)
        .is_some_and(|manager| manager == names::FIELD_MANAGER)
}

/// A member that was evicted has no gateways and no exports, whatever is still lying around of them.
fn without_the_departed(snapshot: &mut Snapshot) {
    let evicted: BTreeSet<ClusterId> = snapshot
        .clusters
        .values()
        .filter(|cluster| cluster.state == ClusterState::Evicted && cluster.id != snapshot.cluster)
        .map(|cluster| cluster.id.clone())
        .collect();
    snapshot.gateways.retain(|id, _| !evicted.contains(&id.cluster));
    if !evicted.is_empty() {
        snapshot.exports.retain(|export| !evicted.contains(&export.cluster));
    }
}

/// Objects of one kind, each with what became of it.
struct Conversions<K, T>(Vec<Conversion<K, T>>);

struct Conversion<K, T> {
    key: ObjectKey,
    object: Arc<K>,
    result: Result<T, ConvertError>,
}

impl<K: Resource<DynamicType = ()>, T: Clone> Conversions<K, T> {
    /// What the objects are that can be used; those that cannot are added to `malformed`.
    fn of(
        &mut self,
        watched: &Watched<K>,
        malformed: &mut Vec<ConvertError>,
        convert: impl Fn(&K) -> Result<T, ConvertError>,
    ) -> impl Iterator<Item = T> {
        self.follow(watched, malformed, convert, |_| (), |_| ());
        self.0.iter().filter_map(|known| known.result.as_ref().ok().cloned())
    }

    /// Takes the objects in, and tells what is gone and what has come.
    fn follow(
        &mut self,
        watched: &Watched<K>,
        malformed: &mut Vec<ConvertError>,
        convert: impl Fn(&K) -> Result<T, ConvertError>,
        mut gone: impl FnMut(T),
        mut come: impl FnMut(&T),
    ) {
        // Both are in the order of the keys.
        let mut before = std::mem::take(&mut self.0).into_iter().peekable();
        let mut forget = |known: Conversion<K, T>| known.result.into_iter().for_each(&mut gone);
        let conversions = watched.objects.iter().map(|(key, object)| {
            let mut same = before.next_if(|known| Arc::ptr_eq(&known.object, object));
            if same.is_none() {
                std::iter::from_fn(|| before.next_if(|known| known.key < *key)).for_each(&mut forget);
                same = before.next_if(|known| Arc::ptr_eq(&known.object, object));
            }
            same.unwrap_or_else(|| {
                let result = convert(object);
                result.iter().for_each(&mut come);
                Conversion {
                    key: key.clone(),
                    object: Arc::clone(object),
                    result,
                }
            })
        });
        self.0 = conversions.collect();
        before.for_each(forget);
        malformed.extend(watched.malformed.iter().map(|(key, why)| ConvertError {
            kind: kind_name::<K>(),
            name: key.to_string(),
            field: "object".to_owned(),
            why: why.clone(),
        }));
        malformed.extend(self.0.iter().filter_map(|known| known.result.as_ref().err().cloned()));
    }
}

impl<K, T> Default for Conversions<K, T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

/// Objects of one kind of which there may be thousands: what they are is changed, not collected anew.
struct Collected<K, T> {
    conversions: Conversions<K, Arc<T>>,
    all: ByKey<T>,
}

impl<K: Resource<DynamicType = ()>, T: Keyed> Collected<K, T> {
    /// As [`Conversions::of`].
    fn of(
        &mut self,
        watched: &Watched<K>,
        malformed: &mut Vec<ConvertError>,
        convert: impl Fn(&K) -> Result<T, ConvertError>,
    ) -> ByKey<T> {
        let (mut gone, mut come) = (Vec::new(), Vec::new());
        self.conversions.follow(
            watched,
            malformed,
            |object| convert(object).map(Arc::new),
            |one| gone.push(one),
            |one| come.push(Arc::clone(one)),
        );
        self.all = self.all.after(&gone, &come);
        self.all.clone()
    }
}

impl<K, T> Default for Collected<K, T> {
    fn default() -> Self {
        Self {
            conversions: Conversions::default(),
            all: ByKey::default(),
        }
    }
}

/// An object says who it is twice. Where the two differ, one of them is a mistake, and another object may be meant.
fn named(kind: &'static str, object: &impl ResourceExt, name: &str) -> Result<(), ConvertError> {
    if object.name_any() == name {
        return Ok(());
    }
    Err(ConvertError {
        kind,
        name: object.name_any(),
        field: "metadata.name".to_owned(),
        why: format!("it must be \"{name}\", as the spec says"),
    })
}

fn kind_name<K: Resource<DynamicType = ()>>() -> &'static str {
    match K::kind(&()) {
        std::borrow::Cow::Borrowed(name) => name,
        std::borrow::Cow::Owned(_) => "object",
    }
}

const MANAGED_BY: &str = "app.kubernetes.io/managed-by";

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::BTreeMap;

    use k8s_openapi::api::core::v1::Namespace;

    use super::*;

    fn namespace(name: &str) -> (ObjectKey, Arc<Namespace>) {
        let mut object = Namespace::default();
        object.metadata.name = Some(name.to_owned());
        let key = ObjectKey {
            namespace: None,
            name: name.to_owned(),
        };
        (key, Arc::new(object))
    }

    #[test]
    fn only_what_changed_is_converted_and_what_is_bad_is_told_every_time() {
        let [a, b, c, bad] = ["a", "b", "c", "bad"].map(namespace);
        let mut watched = Watched {
            objects: BTreeMap::from([a.clone(), c.clone(), bad]),
            malformed: BTreeMap::new(),
            link: Link::Live,
        };
        let (converted, mut conversions) = (RefCell::new(Vec::new()), Conversions::default());
        let mut look = |watched: &Watched<Namespace>| {
            let mut malformed = Vec::new();
            let good = conversions.of(watched, &mut malformed, |object| {
                let name = object.name_any();
                converted.borrow_mut().push(name.clone());
                if name == "bad" {
                    return named("Namespace", object, "good").map(|()| name);
                }
                Ok(name)
            });
            let good: Vec<String> = good.collect();
            (good.concat(), malformed.len(), converted.take().concat())
        };
        let said = |good: &str, converted: &str| (good.to_owned(), 1, converted.to_owned());
        assert_eq!(look(&watched), said("ac", "abadc"));
        assert_eq!(look(&watched), said("ac", ""));
        watched.objects.extend([b.clone(), namespace("c")]);
        assert_eq!(look(&watched), said("abc", "bc"), "one is new, one is another");
        watched.objects.remove(&a.0);
        assert_eq!(look(&watched), said("bc", ""));
        watched.objects.extend([a]);
        watched.objects.remove(&b.0);
        assert_eq!(look(&watched), said("ac", "a"), "what was gone is forgotten");
    }

    /// What a namespace is, as far as this test goes: its last letter is what it is known by.
    #[derive(Debug, PartialEq, Eq)]
    struct Letter(String);

    impl Keyed for Letter {
        type Key<'a> = &'a str;

        fn key(&self) -> &str {
            &self.0[self.0.len() - 1..]
        }

        fn compare(&self, key: &str) -> std::cmp::Ordering {
            self.key().cmp(key)
        }
    }

    #[test]
    fn a_collection_follows_its_objects_in_an_order_of_its_own() {
        let mut watched = Watched {
            objects: BTreeMap::new(),
            malformed: BTreeMap::new(),
            link: Link::Live,
        };
        let mut collected = Collected::<Namespace, Letter>::default();
        let mut look = |change: &dyn Fn(&mut BTreeMap<ObjectKey, Arc<Namespace>>)| {
            change(&mut watched.objects);
            let mut malformed = Vec::new();
            let all = collected.of(&watched, &mut malformed, |object| {
                let name = object.labels().get("is").cloned().unwrap_or(object.name_any());
                named("Namespace", object, name.trim_start_matches('!')).map(|()| Letter(name))
            });
            let names: Vec<&str> = all.iter().map(|one| one.0.as_str()).collect();
            (names.join(" "), malformed.len())
        };
        let labelled = |name: &str, is: &str| {
            let (key, mut object) = namespace(name);
            Arc::make_mut(&mut object).metadata.labels = Some(BTreeMap::from([("is".to_owned(), is.to_owned())]));
            (key, object)
        };
        let said = |names: &str, malformed| (names.to_owned(), malformed);
        let [ac, bb, ca] = ["ac", "bb", "ca"].map(namespace);
        assert_eq!(
            look(&|objects| objects.extend([ac.clone(), bb.clone(), ca.clone()])),
            said("ca bb ac", 0)
        );
        assert_eq!(look(&|_| ()), said("ca bb ac", 0));
        assert_eq!(
            look(&|objects| objects.extend([labelled("bb", "!bb")])),
            said("ca !bb ac", 0),
            "changed"
        );
        assert_eq!(
            look(&|objects| objects.extend([labelled("ca", "x")])),
            said("!bb ac", 1),
            "now malformed"
        );
        assert_eq!(look(&|objects| drop(objects.remove(&ac.0))), said("!bb", 1), "gone");
        assert_eq!(
            look(&|objects| objects.extend([ac.clone(), ca.clone()])),
            said("ca !bb ac", 0),
            "back"
        );
    }
}
