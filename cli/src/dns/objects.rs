//! Reading and writing the objects that configure cluster DNS.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use k8s_runtime::Find;
use kube::Api;
use kube::api::{ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ObjectMeta, PostParams, Preconditions};
use serde_json::{Value, json};

use super::corefile::{self, Outline, Upstream};
use super::{COREFILE, Edited, NAMESPACE, Outcome, custom, operator, stanza_for_a_person};
use crate::apply::{Change, MANAGER};
use crate::connect::{Connection, is_not_found};

/// What is to be done.
#[derive(Debug, Clone, Copy)]
pub(super) enum Edit<'a> {
    PutIn(&'a Upstream),
    TakeOut,
}

impl Edit<'_> {
    fn left_alone(self, why: String) -> Outcome {
        Outcome::LeftAlone {
            why,
            text: match self {
                Self::PutIn(upstream) => stanza_for_a_person(upstream),
                Self::TakeOut => String::new(),
            },
        }
    }
}

/// The ConfigMaps of `kube-system`.
pub(super) struct ConfigMaps<'a> {
    cluster: &'a Connection,
    api: Api<ConfigMap>,
}

impl<'a> ConfigMaps<'a> {
    pub(super) fn new(cluster: &'a Connection) -> Self {
        Self {
            cluster,
            api: Api::namespaced(cluster.client.clone(), NAMESPACE),
        }
    }

    /// Its data, if it is there.
    pub(super) async fn read(&self, name: &str) -> anyhow::Result<Option<BTreeMap<String, String>>> {
        Ok(self.object(name).await?.map(|object| object.data.unwrap_or_default()))
    }

    async fn object(&self, name: &str) -> anyhow::Result<Option<ConfigMap>> {
        let found = self.api.find(name).await;
        found.map_err(self.cluster.failed(format!("read ConfigMap {NAMESPACE}/{name}")))
    }

    pub(super) async fn edit_corefile(&self, name: &str, edit: Edit<'_>) -> anyhow::Result<Edited> {
        let change = |data: &BTreeMap<String, String>| {
            let Some(before) = data.get(COREFILE) else {
                return Err(format!("it has no {COREFILE}"));
            };
            let after = match edit {
                Edit::PutIn(upstream) => corefile::with_stanza(before, upstream),
                Edit::TakeOut => corefile::without_stanza(before),
            };
            let mut data = data.clone();
            data.insert(
                COREFILE.to_owned(),
                after.map_err(|why| format!("its {COREFILE} is not understood: {why}"))?,
            );
            Ok(data)
        };
        self.change(name, edit, change).await
    }

    pub(super) async fn put_in_custom(&self, outline: &Outline, upstream: &Upstream) -> anyhow::Result<Edited> {
        let change = |data: &BTreeMap<String, String>| {
            custom::with_key(outline, data, upstream).map_err(|why| format!("it is not understood: {why}"))
        };
        self.change(custom::NAME, Edit::PutIn(upstream), change).await
    }

    /// Nothing where there is nothing of ours. A ConfigMap that we made and that holds nothing else goes.
    pub(super) async fn take_out_of_custom(&self) -> anyhow::Result<Option<Edited>> {
        let Some(object) = self.object(custom::NAME).await? else {
            return Ok(None);
        };
        let data = object.data.unwrap_or_default();
        if !data.contains_key(custom::KEY) {
            return Ok(None);
        }
        let labels = object.metadata.labels.unwrap_or_default();
        let is_our_own = labels.get(MANAGED_BY).is_some_and(|manager| manager == MANAGER);
        if !is_our_own || data.len() > 1 {
            let change = |data: &BTreeMap<String, String>| Ok(custom::without_key(data));
            return self.change(custom::NAME, Edit::TakeOut, change).await.map(Some);
        }
        let as_read = DeleteParams::default().preconditions(Preconditions {
            resource_version: object.metadata.resource_version,
            uid: object.metadata.uid,
        });
        match self.api.delete(custom::NAME, &as_read).await {
            Err(error) if !is_not_found(&error) => {
                let doing = format!("delete ConfigMap {NAMESPACE}/{}", custom::NAME);
                Err(self.cluster.failed(doing)(error))
            }
            _ => Ok(Some(Edited {
                object: format!("ConfigMap {NAMESPACE}/{}", custom::NAME),
                outcome: Outcome::Done(Change::Changed),
            })),
        }
    }

    /// Changes the data until nobody else does so in between; makes the object if it is not there.
    async fn change(
        &self,
        name: &str,
        edit: Edit<'_>,
        change: impl Fn(&BTreeMap<String, String>) -> Result<BTreeMap<String, String>, String>,
    ) -> anyhow::Result<Edited> {
        let what = format!("ConfigMap {NAMESPACE}/{name}");
        let edited = |outcome| Edited {
            object: what.clone(),
            outcome,
        };
        for _ in 0..ATTEMPTS {
            let found = self.object(name).await?;
            let is_new = found.is_none();
            let mut object = found.unwrap_or_else(|| own_config_map(name));
            let before = object.data.take().unwrap_or_default();
            let after = match change(&before) {
                Ok(after) if after == before => return Ok(edited(Outcome::Done(Change::Unchanged))),
                Ok(after) => after,
                Err(why) => return Ok(edited(edit.left_alone(why))),
            };
            object.data = Some(after);
            let written = if is_new {
                self.api.create(&params(), &object).await
            } else {
                self.api.replace(name, &params(), &object).await
            };
            match written {
                Ok(_) if is_new => return Ok(edited(Outcome::Done(Change::Created))),
                Ok(_) => return Ok(edited(Outcome::Done(Change::Changed))),
                Err(error) if is_conflict(&error) => {}
                Err(error) => return Err(self.cluster.failed(format!("change {what}"))(error)),
            }
        }
        Ok(edited(edit.left_alone(changed_by_others())))
    }
}

/// The object of OpenShift's DNS operator.
pub(super) struct Operator<'a> {
    cluster: &'a Connection,
    api: Api<DynamicObject>,
}

impl<'a> Operator<'a> {
    pub(super) fn new(cluster: &'a Connection) -> Self {
        let kind = GroupVersionKind::gvk("operator.openshift.io", "v1", "DNS");
        let resource = ApiResource::from_gvk_with_plural(&kind, "dnses");
        Self {
            cluster,
            api: Api::all_with(cluster.client.clone(), &resource),
        }
    }

    /// Nothing where there is no such object.
    pub(super) async fn edit(&self, edit: Edit<'_>) -> anyhow::Result<Option<Edited>> {
        let edited = |outcome| {
            Ok(Some(Edited {
                object: WHAT.to_owned(),
                outcome,
            }))
        };
        for _ in 0..ATTEMPTS {
            let found = self.api.find("default").await;
            let Some(object) = found.map_err(self.cluster.failed(format!("read {WHAT}")))? else {
                return Ok(None);
            };
            let before = serde_json::to_value(&object)?;
            let after = match edit {
                Edit::PutIn(upstream) => operator::with_entry(&before, upstream),
                Edit::TakeOut => operator::without_entry(&before),
            };
            let after: DynamicObject = match after {
                Ok(after) if after == before => return edited(Outcome::Done(Change::Unchanged)),
                Ok(after) => serde_json::from_value(after)?,
                Err(why) => {
                    let text = match edit {
                        Edit::PutIn(upstream) => entry_for_a_person(&operator::entry(upstream)),
                        Edit::TakeOut => String::new(),
                    };
                    let why = why.to_string();
                    return edited(Outcome::LeftAlone { why, text });
                }
            };
            match self.api.replace("default", &params(), &after).await {
                Ok(_) => return edited(Outcome::Done(Change::Changed)),
                Err(error) if is_conflict(&error) => {}
                Err(error) => return Err(self.cluster.failed(format!("change {WHAT}"))(error)),
            }
        }
        edited(edit.left_alone(changed_by_others()))
    }
}

fn own_config_map(name: &str) -> ConfigMap {
    let labels = [(MANAGED_BY.to_owned(), MANAGER.to_owned())];
    ConfigMap {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(NAMESPACE.to_owned()),
            labels: Some(labels.into()),
            ..ObjectMeta::default()
        },
        ..ConfigMap::default()
    }
}

fn params() -> PostParams {
    PostParams {
        field_manager: Some(MANAGER.to_owned()),
        ..PostParams::default()
    }
}

fn is_conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 409)
}

fn changed_by_others() -> String {
    format!("it was changed by somebody else {ATTEMPTS} times in a row")
}

fn entry_for_a_person(entry: &Value) -> String {
    format!("{:#}\n", json!({ "spec": { "servers": [entry] } }))
}

/// The operator's object, for a person.
const WHAT: &str = "dns.operator.openshift.io/default";
/// On a ConfigMap that join made.
const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
const ATTEMPTS: usize = 5;
