//! What the controllers do: one write to the API server each.

use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions, PropagationPolicy};
use kube::core::{ApiResource, DynamicObject};
use kube::{Api, Client, Resource, ResourceExt};
use serde::Serialize;
use serde_json::{Value, json};

/// One write, as data, so that a controller can be a pure function.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Write {
    resource: ApiResource,
    namespace: Option<String>,
    pub(super) name: String,
    pub(super) verb: Verb,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Verb {
    Create(Value),
    /// Fails when the object has changed since it was read.
    Replace(Value),
    /// A JSON merge patch.
    Patch(Value),
    /// A JSON merge patch of the status.
    Status(Value),
    /// A strategic merge patch of the status, for a status that has other writers: it merges lists by their keys.
    SharedStatus(Value),
    /// Binds a pod to this node.
    Bind(String),
    /// Deletes the object with this uid, and no later one of the same name.
    Delete(Option<String>),
}

impl Write {
    pub(super) fn create<K: Resource<DynamicType = ()> + Serialize>(object: &K) -> Self {
        Self::to(object, Verb::Create(value(object)))
    }

    pub(super) fn replace<K: Resource<DynamicType = ()> + Serialize>(object: &K) -> Self {
        Self::to(object, Verb::Replace(value(object)))
    }

    pub(super) fn delete<K: Resource<DynamicType = ()>>(object: &K) -> Self {
        Self::to(object, Verb::Delete(object.uid()))
    }

    pub(super) fn status<K: Resource<DynamicType = ()>>(object: &K, status: &impl Serialize) -> Self {
        Self::to(object, Verb::Status(json!({ "status": status })))
    }

    pub(super) fn to<K: Resource<DynamicType = ()>>(object: &K, verb: Verb) -> Self {
        Self {
            resource: ApiResource::erase::<K>(&()),
            namespace: object.namespace(),
            name: object.name_any(),
            verb,
        }
    }

    /// The kind that it writes.
    pub(super) fn kind(&self) -> &str {
        &self.resource.kind
    }

    /// Does it.
    pub(super) async fn execute(&self, client: &Client) -> Result<(), kube::Error> {
        let api: Api<DynamicObject> = match &self.namespace {
            Some(namespace) => Api::namespaced_with(client.clone(), namespace, &self.resource),
            None => Api::all_with(client.clone(), &self.resource),
        };
        let post = PostParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PostParams::default()
        };
        let patch = PatchParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        match &self.verb {
            Verb::Create(object) => drop(api.create(&post, &dynamic(object)?).await?),
            Verb::Replace(object) => drop(api.replace(&self.name, &post, &dynamic(object)?).await?),
            Verb::Patch(change) => drop(api.patch(&self.name, &patch, &Patch::Merge(change)).await?),
            Verb::Status(change) => drop(api.patch_status(&self.name, &patch, &Patch::Merge(change)).await?),
            Verb::SharedStatus(change) => {
                drop(api.patch_status(&self.name, &patch, &Patch::Strategic(change)).await?);
            }
            Verb::Bind(node) => {
                let binding = json!({
                    "apiVersion": "v1", "kind": "Binding",
                    "metadata": {"name": self.name, "namespace": self.namespace},
                    "target": {"apiVersion": "v1", "kind": "Node", "name": node},
                });
                let _: Value = api.create_subresource("binding", &self.name, &post, &binding).await?;
            }
            Verb::Delete(uid) => {
                let parameters = DeleteParams {
                    propagation_policy: Some(PropagationPolicy::Background),
                    preconditions: Some(Preconditions {
                        uid: uid.clone(),
                        resource_version: None,
                    }),
                    ..DeleteParams::default()
                };
                drop(api.delete(&self.name, &parameters).await?);
            }
        }
        Ok(())
    }
}

/// An object as JSON, with the type that its Rust type implies and its serialization leaves out.
fn value<K: Resource<DynamicType = ()> + Serialize>(object: &K) -> Value {
    let mut value = serde_json::to_value(object).expect("Kubernetes objects have string keys");
    value["apiVersion"] = K::api_version(&()).into();
    value["kind"] = K::kind(&()).into();
    value
}

fn dynamic(object: &Value) -> Result<DynamicObject, kube::Error> {
    serde_json::from_value(object.clone()).map_err(kube::Error::SerdeError)
}

const FIELD_MANAGER: &str = "lab-controllers";
