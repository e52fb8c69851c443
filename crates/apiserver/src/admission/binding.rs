//! Bindings: which policy is in force, where, with which parameters, and to what effect.

use std::sync::Arc;

use serde_json::Value;

use super::{Request, matching::Scope};
use crate::{
    object::{strings_at, text_at},
    selector::LabelSelector,
    store::{Key, Txn},
};

#[derive(Clone, Debug)]
pub(super) struct Binding {
    pub policy: String,
    pub scope: Scope,
    pub denies: bool,
    pub warns: bool,
    params: Option<ParamRef>,
}

#[derive(Clone, Debug)]
struct ParamRef {
    name: String,
    namespace: String,
    selector: Option<LabelSelector>,
    /// What is missing is no reason to refuse.
    may_be_missing: bool,
}

/// The kind that a policy's parameters are of.
#[derive(Clone, Debug)]
pub(super) struct ParamKind {
    pub api_version: String,
    pub kind: String,
}

impl Binding {
    pub(super) fn read(object: &Value) -> Self {
        let actions = strings_at(object, &["spec", "validationActions"]);
        let params = object["spec"].get("paramRef").filter(|written| written.is_object());
        Self {
            policy: text_at(object, &["spec", "policyName"]).to_owned(),
            scope: Scope::read(&object["spec"]["matchResources"]),
            denies: actions.contains(&"Deny"),
            warns: actions.contains(&"Warn"),
            params: params.map(|written| ParamRef {
                name: text_at(written, &["name"]).to_owned(),
                namespace: text_at(written, &["namespace"]).to_owned(),
                selector: written.get("selector").map(LabelSelector::from_object),
                may_be_missing: text_at(written, &["parameterNotFoundAction"]) == "Allow",
            }),
        }
    }

    /// The parameters to evaluate with, one after the other. Without a kind of parameters there is one evaluation, without any.
    pub(super) fn params(
        &self,
        txn: &Txn<'_>,
        request: &Request<'_>,
        kind: Option<&ParamKind>,
    ) -> Result<Vec<Option<Arc<Value>>>, String> {
        let (Some(kind), Some(wanted)) = (kind, &self.params) else {
            return Ok(vec![None]);
        };
        let failed = |why: &str| format!("failed to configure binding: {why}");
        let known = request.write.registry.of_kind(&kind.api_version, &kind.kind);
        let Some(known) = known else {
            return Err(failed(&format!(
                "paramKind {}, Kind={} is not known",
                kind.api_version, kind.kind
            )));
        };
        let namespace = match (known.namespaced, wanted.namespace.as_str()) {
            (false, _) => "",
            (true, "") => request.write.namespace,
            (true, named) => named,
        };
        let found: Vec<Option<Arc<Value>>> = match &wanted.selector {
            Some(selector) => {
                let all = txn.list(&known.resource, (!namespace.is_empty()).then_some(namespace));
                let objects = all.into_iter().map(|(_, object)| object);
                let labels = |object: &Value| object["metadata"].get("labels").and_then(Value::as_object).cloned();
                objects
                    .filter(|object| selector.matches(labels(object).as_ref()))
                    .map(Some)
                    .collect()
            }
            None => txn
                .get(&Key::new(&known.resource, namespace, &wanted.name))
                .map(Some)
                .into_iter()
                .collect(),
        };
        if found.is_empty() && !wanted.may_be_missing {
            return Err(failed(
                "no params found for policy binding with `Deny` parameterNotFoundAction",
            ));
        }
        Ok(found)
    }
}
