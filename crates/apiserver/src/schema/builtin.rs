//! The schemas of the built-in kinds: k8s-openapi's, with [`super::lists`] written in.

use std::sync::Arc;

use k8s_openapi::{
    api::{
        admissionregistration::v1::{ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding},
        apps::v1::{ControllerRevision, DaemonSet, Deployment, ReplicaSet, StatefulSet},
        authentication::v1::{SelfSubjectReview, TokenRequest, TokenReview},
        authorization::v1::{
            LocalSubjectAccessReview, SelfSubjectAccessReview, SelfSubjectRulesReview, SubjectAccessReview,
        },
        coordination::v1::Lease,
        core::v1::{ConfigMap, Endpoints, Event, Namespace, Node, Pod, Secret, Service, ServiceAccount},
        discovery::v1::EndpointSlice,
        events,
        networking::v1::{NetworkPolicy, ServiceCIDR},
        policy::v1::PodDisruptionBudget,
        rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding},
    },
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
    apimachinery::pkg::apis::meta::v1::{DeleteOptions, ObjectMeta, Status},
    kube_aggregator::pkg::apis::apiregistration::v1::APIService,
};
use schemars::generate::{SchemaGenerator, SchemaSettings};
use serde_json::{Map, Value, json};

use super::{
    Schema,
    compile::{Compiler, as_object},
    lists::{DEFAULTS, ROWS, Row},
};

/// All definitions, as OpenAPI v3 components. Large, so generated on demand and not kept.
pub(crate) fn definitions() -> Map<String, Value> {
    let mut settings = SchemaSettings::draft2020_12();
    settings.definitions_path = "/components/schemas".into();
    let mut generator = SchemaGenerator::new(settings);
    macro_rules! add {
        ($($kind:ty),* $(,)?) => { $( generator.subschema_for::<$kind>(); )* };
    }
    add!(
        Namespace,
        Node,
        Pod,
        Service,
        ConfigMap,
        Secret,
        ServiceAccount,
        Endpoints,
        Event,
        events::v1::Event,
        NetworkPolicy,
        PodDisruptionBudget,
        APIService,
        DaemonSet,
        Deployment,
        ReplicaSet,
        StatefulSet,
        ControllerRevision,
        EndpointSlice,
        Lease,
        Role,
        RoleBinding,
        ClusterRole,
        ClusterRoleBinding,
        CustomResourceDefinition,
        ServiceCIDR,
        ValidatingAdmissionPolicy,
        ValidatingAdmissionPolicyBinding,
        TokenRequest,
        TokenReview,
        LocalSubjectAccessReview,
        SubjectAccessReview,
        SelfSubjectAccessReview,
        SelfSubjectRulesReview,
        SelfSubjectReview,
        ObjectMeta,
        DeleteOptions,
        Status,
    );
    let mut definitions = generator.take_definitions(false);
    for (definition, field, row) in ROWS {
        if let Some(target) = target(&mut definitions, definition, field) {
            annotate(target, *row);
        }
    }
    for (definition, field, default) in DEFAULTS {
        if let Some(target) = target(&mut definitions, definition, field) {
            target.insert("default".into(), (*default).into());
        }
    }
    definitions
}

/// The compiled schemas by definition name (`io.k8s.api.core.v1.Pod`).
#[derive(Debug)]
pub(crate) struct Builtin {
    compiled: std::collections::HashMap<String, Arc<Schema>>,
    pub metadata: Arc<Schema>,
}

impl Builtin {
    /// Compiles the schemas of these definitions.
    pub(crate) fn load(names: &[&str]) -> Self {
        let definitions = definitions();
        let mut compiler = Compiler::generated(&definitions);
        let mut compile = |name: &str| {
            let source = json!({"$ref": format!("#/components/schemas/{name}")});
            Arc::new(
                compiler
                    .compile(&source, name)
                    .expect("generated schemas compile, as a test shows"),
            )
        };
        let metadata = compile("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta");
        let compiled = names
            .iter()
            .map(|name| {
                (
                    (*name).to_owned(),
                    Arc::new(as_object((*compile(name)).clone(), &metadata)),
                )
            })
            .collect();
        Self { compiled, metadata }
    }

    pub(crate) fn schema(&self, definition: &str) -> Arc<Schema> {
        self.compiled
            .get(definition)
            .map_or_else(|| Arc::new(super::ANY.clone()), Arc::clone)
    }
}

fn target<'a>(
    definitions: &'a mut Map<String, Value>,
    definition: &str,
    field: &str,
) -> Option<&'a mut Map<String, Value>> {
    let found = definitions.get_mut(definition)?;
    if field.is_empty() {
        found.as_object_mut()
    } else {
        found.get_mut("properties")?.get_mut(field)?.as_object_mut()
    }
}

fn annotate(target: &mut Map<String, Value>, row: Row) {
    let mut set = |name: &str, value: Value| {
        target.insert(format!("x-kubernetes-{name}"), value);
    };
    match row {
        Row::Map { keys, merge_key } | Row::Retain { keys, merge_key } => {
            set("list-type", "map".into());
            set("list-map-keys", json!(keys));
            set("patch-merge-key", merge_key.into());
            let retain = matches!(row, Row::Retain { .. });
            set(
                "patch-strategy",
                if retain { "merge,retainKeys" } else { "merge" }.into(),
            );
        }
        Row::MergeOnly { merge_key } => {
            set("list-type", "atomic".into());
            set("patch-merge-key", merge_key.into());
            set("patch-strategy", "merge".into());
        }
        Row::Set { merge } => {
            set("list-type", "set".into());
            if merge {
                set("patch-strategy", "merge".into());
            }
        }
        Row::AtomicMap => set("map-type", "atomic".into()),
        Row::RetainKeys => set("patch-strategy", "retainKeys".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_of_the_table_names_something() {
        let mut definitions = definitions();
        for (definition, field, _) in ROWS {
            assert!(
                target(&mut definitions, definition, field).is_some(),
                "{definition}.{field}"
            );
        }
        for (definition, field, _) in DEFAULTS {
            assert!(
                target(&mut definitions, definition, field).is_some(),
                "{definition}.{field}"
            );
        }
    }
}
