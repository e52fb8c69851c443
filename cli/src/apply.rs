//! Server-side apply and deletion of objects of any kind, and whether that changed something.

use std::time::Duration;

use anyhow::{Context, ensure};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_runtime::Find;
use kube::api::{ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams, TypeMeta};
use kube::{Api, ResourceExt};
use serde_json::Value;

use crate::connect::{Connection, is_not_found};

/// The field manager of the CLI. Not the agents' one: an apply takes back the fields that its own manager does not repeat.
pub const MANAGER: &str = "tombolo-cli";

/// What an apply did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// There was no such object.
    Created,
    /// It was another one.
    Changed,
    /// It was so already.
    Unchanged,
}

/// Applies objects in order, and counts what that changed.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    /// Created objects.
    pub created: usize,
    /// Changed objects.
    pub changed: usize,
    /// Objects that were so already.
    pub unchanged: usize,
}

impl Tally {
    /// Counts one more.
    pub fn count(&mut self, change: Change) {
        match change {
            Change::Created => self.created += 1,
            Change::Changed => self.changed += 1,
            Change::Unchanged => self.unchanged += 1,
        }
    }

    /// Whether nothing changed.
    pub fn is_unchanged(&self) -> bool {
        self.created == 0 && self.changed == 0
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} created, {} changed, {} unchanged",
            self.created, self.changed, self.unchanged
        )
    }
}

/// Applies one object.
///
/// # Errors
/// Names the object, the server and why it refused.
pub async fn apply(to: &Connection, object: &Value) -> anyhow::Result<Change> {
    let (api, name, what) = target(to, object)?;
    let before = api.find(&name).await.map_err(to.failed(format!("read {what}")))?;
    let after = api
        .patch(&name, &PatchParams::apply(MANAGER).force(), &Patch::Apply(object))
        .await
        .map_err(to.failed(format!("apply {what}")))?;
    Ok(match before {
        None => Change::Created,
        Some(before) if before.resource_version() == after.resource_version() => Change::Unchanged,
        Some(_) => Change::Changed,
    })
}

/// Applies objects in order.
///
/// # Errors
/// Stops at the first one that is refused.
pub async fn apply_all<'a>(
    to: &Connection,
    objects: impl IntoIterator<Item = &'a Value>,
    tally: &mut Tally,
) -> anyhow::Result<()> {
    for object in objects {
        tally.count(apply(to, object).await?);
    }
    Ok(())
}

/// Deletes an object; one that is gone already is no error.
///
/// # Errors
/// Names the object, the server and why it refused.
pub async fn delete(from: &Connection, object: &Value) -> anyhow::Result<()> {
    let (api, name, what) = target(from, object)?;
    match api.delete(&name, &DeleteParams::background()).await {
        Ok(_) => Ok(()),
        Err(error) if is_not_found(&error) => Ok(()),
        Err(error) => Err(from.failed(format!("delete {what}"))(error)),
    }
}

/// Deletes every object of a kind in a namespace; `like` names both.
///
/// # Errors
/// Names the kind, the server and why it refused.
pub async fn delete_every(from: &Connection, like: &Value) -> anyhow::Result<()> {
    let types: TypeMeta = serde_json::from_value(like.clone()).context("an object without apiVersion and kind")?;
    let namespace = like["metadata"]["namespace"]
        .as_str()
        .context("an object without a namespace")?;
    let resource = ApiResource::from_gvk(&GroupVersionKind::try_from(&types)?);
    let api: Api<DynamicObject> = Api::namespaced_with(from.client.clone(), namespace, &resource);
    match api
        .delete_collection(&DeleteParams::default(), &ListParams::default())
        .await
    {
        Ok(_) => Ok(()),
        Err(error) if is_not_found(&error) => Ok(()),
        Err(error) => Err(from.failed(format!("delete every {} in {namespace}", types.kind))(
            error,
        )),
    }
}

/// Applies CustomResourceDefinitions and waits until the server serves them.
///
/// # Errors
/// Names the definition that is refused, or not served in time.
pub async fn apply_crds(to: &Connection, crds: &[CustomResourceDefinition], tally: &mut Tally) -> anyhow::Result<()> {
    for crd in crds {
        tally.count(apply(to, &crd_value(crd)).await?);
    }
    for crd in crds {
        wait_until_served(to, k8s_api::crds::name(crd)).await?;
    }
    Ok(())
}

/// Applies the MCS API, unless a newer release of it is there: another implementation may have brought it.
///
/// # Errors
/// As [`apply_crds`].
pub async fn apply_mcs_crds(to: &Connection, tally: &mut Tally) -> anyhow::Result<()> {
    let api: Api<CustomResourceDefinition> = Api::all(to.client.clone());
    for crd in k8s_api::crds::mcs() {
        let name = k8s_api::crds::name(&crd);
        let found = api.find(name).await.map_err(to.failed(format!("read {name}")))?;
        if found.is_none_or(|found| is_older(&found, &crd)) {
            apply_crds(to, &[crd], tally).await?;
        } else {
            tally.count(Change::Unchanged);
        }
    }
    Ok(())
}

/// Whether `found` should be replaced by `ours`: an older release, ours included (an apply of the same changes nothing), or
/// one without a release that lacks a version of ours.
fn is_older(found: &CustomResourceDefinition, ours: &CustomResourceDefinition) -> bool {
    match (release(found), release(ours)) {
        (Some(theirs), Some(ours)) => theirs <= ours,
        _ => ours.spec.versions.iter().any(|version| {
            !found
                .spec
                .versions
                .iter()
                .any(|served| served.name == version.name && served.served)
        }),
    }
}

/// `v0.5.0` as numbers.
fn release(crd: &CustomResourceDefinition) -> Option<Vec<u32>> {
    crd.labels()
        .get("multicluster.x-k8s.io/release-version")?
        .trim_start_matches('v')
        .split('.')
        .map(|number| number.parse().ok())
        .collect()
}

async fn wait_until_served(at: &Connection, name: &str) -> anyhow::Result<()> {
    let api: Api<CustomResourceDefinition> = Api::all(at.client.clone());
    let deadline = tokio::time::Instant::now() + ESTABLISH_DEADLINE;
    loop {
        let crd = api.get(name).await.map_err(at.failed(format!("read {name}")))?;
        let conditions = crd.status.and_then(|status| status.conditions).unwrap_or_default();
        let is = |kind: &str, status: &str| conditions.iter().any(|c| c.type_ == kind && c.status == status);
        if is("Established", "True") {
            return Ok(());
        }
        ensure!(
            tokio::time::Instant::now() < deadline,
            "the server at {} does not serve {name}: see the conditions of that CustomResourceDefinition",
            at.url
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn crd_value(crd: &CustomResourceDefinition) -> Value {
    let mut value = serde_json::to_value(crd).expect("a definition is plain data");
    value
        .as_object_mut()
        .expect("a definition is an object")
        .remove("status");
    value
}

fn target(on: &Connection, object: &Value) -> anyhow::Result<(Api<DynamicObject>, String, String)> {
    let types: TypeMeta = serde_json::from_value(object.clone()).context("an object without apiVersion and kind")?;
    let name = object["metadata"]["name"]
        .as_str()
        .context("an object without a name")?;
    let resource = ApiResource::from_gvk(&GroupVersionKind::try_from(&types)?);
    let client = on.client.clone();
    Ok(match object["metadata"]["namespace"].as_str() {
        Some(namespace) => (
            Api::namespaced_with(client, namespace, &resource),
            name.to_owned(),
            format!("{} {namespace}/{name}", types.kind),
        ),
        None => (
            Api::all_with(client, &resource),
            name.to_owned(),
            format!("{} {name}", types.kind),
        ),
    })
}

const ESTABLISH_DEADLINE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    fn crd(release: Option<&str>) -> CustomResourceDefinition {
        let mut crd = k8s_api::crds::mcs().remove(0);
        let labels = crd.metadata.labels.get_or_insert_default();
        labels.clear();
        if let Some(release) = release {
            labels.insert("multicluster.x-k8s.io/release-version".into(), release.into());
        }
        crd
    }

    #[test]
    fn a_newer_mcs_release_is_never_downgraded() {
        let ours = crd(Some("v0.5.0"));
        assert!(is_older(&crd(Some("v0.4.9")), &ours));
        assert!(is_older(&crd(Some("v0.5.0")), &ours));
        assert!(!is_older(&crd(Some("v0.5.1")), &ours));
        assert!(!is_older(&crd(Some("v0.10.0")), &ours));
    }

    #[test]
    fn without_a_release_the_served_versions_decide() {
        let ours = crd(Some("v0.5.0"));
        assert!(!is_older(&crd(None), &ours));
        let mut old = crd(None);
        old.spec.versions.retain(|version| version.name == "v1alpha1");
        assert!(is_older(&old, &ours));
    }
}
