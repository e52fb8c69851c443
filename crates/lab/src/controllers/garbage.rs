//! Garbage collection: an object all of whose owners are gone goes too.
//!
//! It watches the metadata of every kind that the API server lists and lets be deleted, custom ones included; the list of kinds
//! is read again every few seconds. The mirrors of different kinds are not of one moment, so a mirror without the owner is no
//! proof: before anything is deleted, the API server is asked for each owner by name. Only background deletion is done.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::{DeleteParams, Preconditions, PropagationPolicy};
use kube::core::{ApiResource, DynamicObject, PartialObjectMeta};
use kube::discovery::{Discovery, Scope, verbs};
use kube::{Api, Client, ResourceExt};

use crate::mirror::{self, Changes, Mirror};

/// Collects for as long as it is polled.
pub(super) async fn run(client: Client) {
    let changes = Changes::default();
    let mut kinds: BTreeMap<Kind, Watched> = BTreeMap::new();
    let mut discovered: Option<Instant> = None;
    loop {
        if discovered.is_none_or(|at| at.elapsed() > DISCOVERY) {
            match discover(&client).await {
                Ok(found) => {
                    follow(&mut kinds, found, &client, &changes);
                    discovered = Some(Instant::now());
                }
                Err(error) => tracing::debug!(%error, "cannot discover the kinds that the API server has"),
            }
        }
        let started = Instant::now();
        if let Err(error) = collect(&client, &kinds).await {
            tracing::debug!(%error, "collection interrupted");
        }
        mirror::rest(started.elapsed()).await;
        changes.next(RESYNC).await;
    }
}

/// Group and kind: an owner reference may name another version of its kind than the one that is watched.
type Kind = (String, String);

#[derive(Debug)]
struct Watched {
    resource: ApiResource,
    scope: Scope,
    mirror: Mirror<PartialObjectMeta>,
}

async fn discover(client: &Client) -> Result<BTreeMap<Kind, (ApiResource, Scope)>, kube::Error> {
    let discovery = Discovery::new(client.clone()).run().await?;
    let resources = discovery
        .groups()
        .flat_map(kube::discovery::ApiGroup::recommended_resources);
    let needed = [verbs::LIST, verbs::WATCH, verbs::DELETE];
    let collectable = resources.filter(|(resource, capabilities)| {
        // Events own nothing, belong to nobody, and come in crowds.
        resource.kind != "Event" && needed.iter().all(|verb| capabilities.supports_operation(verb))
    });
    Ok(collectable
        .map(|(resource, capabilities)| {
            (
                (resource.group.clone(), resource.kind.clone()),
                (resource, capabilities.scope),
            )
        })
        .collect())
}

/// Makes the watches those of the kinds found; the watches of the others end.
fn follow(
    kinds: &mut BTreeMap<Kind, Watched>,
    found: BTreeMap<Kind, (ApiResource, Scope)>,
    client: &Client,
    changes: &Changes,
) {
    kinds.retain(|kind, _| found.contains_key(kind));
    for (kind, (resource, scope)) in found {
        kinds.entry(kind).or_insert_with(|| {
            let api = Api::all_with(client.clone(), &resource);
            Watched {
                resource,
                scope,
                mirror: Mirror::watch(api, Default::default(), changes.clone()),
            }
        });
    }
}

async fn collect(client: &Client, kinds: &BTreeMap<Kind, Watched>) -> Result<(), kube::Error> {
    let objects: BTreeMap<&Kind, Vec<Arc<PartialObjectMeta>>> = kinds
        .iter()
        .map(|(kind, watched)| (kind, watched.mirror.objects()))
        .collect();
    let living: BTreeSet<&str> = objects
        .values()
        .flatten()
        .filter_map(|object| object.metadata.uid.as_deref())
        .collect();
    for (kind, objects) in &objects {
        for object in objects
            .iter()
            .filter(|object| seems_orphaned(&object.metadata, &living))
        {
            if is_orphaned(client, kinds, &object.metadata).await? {
                delete(client, &kinds[*kind], object).await?;
            }
        }
    }
    Ok(())
}

/// It has owners, and none of them is in sight.
fn seems_orphaned(object: &ObjectMeta, living: &BTreeSet<&str>) -> bool {
    let owners = object.owner_references.as_deref().unwrap_or_default();
    object.deletion_timestamp.is_none()
        && !owners.is_empty()
        && owners.iter().all(|owner| !living.contains(owner.uid.as_str()))
}

/// The API server knows none of its owners. An owner of a kind that the server does not have counts as there.
async fn is_orphaned(
    client: &Client,
    kinds: &BTreeMap<Kind, Watched>,
    object: &ObjectMeta,
) -> Result<bool, kube::Error> {
    for owner in object.owner_references.iter().flatten() {
        let Some(watched) = kinds.get(&kind_of(owner)) else {
            return Ok(false);
        };
        let found = api(client, watched, object.namespace.as_deref())
            .get_metadata_opt(&owner.name)
            .await?;
        if found.is_some_and(|found| found.metadata.uid.as_deref() == Some(owner.uid.as_str())) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn kind_of(owner: &OwnerReference) -> Kind {
    let group = owner.api_version.split_once('/').map_or("", |(group, _)| group);
    (group.to_owned(), owner.kind.clone())
}

async fn delete(client: &Client, watched: &Watched, object: &PartialObjectMeta) -> Result<(), kube::Error> {
    let parameters = DeleteParams {
        propagation_policy: Some(PropagationPolicy::Background),
        preconditions: Some(Preconditions {
            uid: object.uid(),
            resource_version: None,
        }),
        ..DeleteParams::default()
    };
    let name = object.name_any();
    let owners: Vec<&OwnerReference> = object.metadata.owner_references.iter().flatten().collect();
    match api(client, watched, object.metadata.namespace.as_deref())
        .delete(&name, &parameters)
        .await
    {
        Ok(_) => {
            let owner = owners.first().map_or("", |owner| owner.name.as_str());
            tracing::info!(
                kind = watched.resource.kind,
                name,
                owner,
                "deleted what its owner left behind"
            );
            Ok(())
        }
        Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => Ok(()),
        Err(error) => Err(error),
    }
}

fn api(client: &Client, watched: &Watched, namespace: Option<&str>) -> Api<DynamicObject> {
    match (&watched.scope, namespace) {
        (Scope::Namespaced, Some(namespace)) => Api::namespaced_with(client.clone(), namespace, &watched.resource),
        _ => Api::all_with(client.clone(), &watched.resource),
    }
}

const RESYNC: Duration = Duration::from_secs(2);
const DISCOVERY: Duration = Duration::from_secs(5);
