//! The CustomResourceDefinitions, generated from the types. `cargo xtask crds` writes them to `deploy/crds`.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

use crate::service_export::Definition;
use crate::{Broker, Cluster, ExportedService, Gateway, RouteAgent, mcs};

/// The kinds that a broker keeps.
pub fn broker() -> Vec<CustomResourceDefinition> {
    vec![Broker::crd(), Cluster::crd(), Gateway::crd(), ExportedService::crd()]
}

/// Our own kinds in a member cluster.
pub fn member() -> Vec<CustomResourceDefinition> {
    let mut crds = broker();
    crds.push(RouteAgent::crd());
    crds
}

/// The MCS API, both served versions, with the labels by which its releases avoid a downgrade.
pub fn mcs() -> Vec<CustomResourceDefinition> {
    [with_optional_spec(Definition::crd()), mcs::ServiceImport::crd()]
        .into_iter()
        .map(with_v1alpha1)
        .collect()
}

/// The name of a definition.
pub fn name(crd: &CustomResourceDefinition) -> &str {
    crd.metadata.name.as_deref().expect("a generated definition has a name")
}

/// Every definition as the file that `deploy/crds` keeps: its name and its text.
pub fn yaml_documents() -> Vec<(String, String)> {
    member().iter().chain(&mcs()).map(document).collect()
}

fn document(crd: &CustomResourceDefinition) -> (String, String) {
    let mut value = serde_json::to_value(crd).expect("a generated definition is plain data");
    value
        .as_object_mut()
        .expect("a definition is an object")
        .remove("status");
    let yaml = serde_saphyr::to_string(&value).expect("plain data has a YAML form");
    let text = format!("# Generated from the Rust types by `cargo xtask crds`; do not edit.\n{yaml}");
    (format!("{}.yaml", name(crd)), text)
}

/// Most exports are a name and nothing else.
fn with_optional_spec(mut crd: CustomResourceDefinition) -> CustomResourceDefinition {
    for version in &mut crd.spec.versions {
        let schema = version
            .schema
            .as_mut()
            .and_then(|schema| schema.open_api_v3_schema.as_mut());
        if let Some(schema) = schema {
            schema.required = None;
            // Not the Rust type's name.
            schema.title = Some(crd.spec.names.kind.clone());
        }
    }
    crd
}

fn with_v1alpha1(mut crd: CustomResourceDefinition) -> CustomResourceDefinition {
    let mut old = crd.spec.versions[0].clone();
    old.name = "v1alpha1".to_owned();
    old.storage = false;
    crd.spec.versions.insert(0, old);
    let labels = crd.metadata.labels.get_or_insert_default();
    labels.insert("multicluster.x-k8s.io/release-version".to_owned(), "v0.5.0".to_owned());
    labels.insert("multicluster.x-k8s.io/crd-schema-revision".to_owned(), "0".to_owned());
    crd
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_one_version_of_each_kind_is_stored() {
        for crd in member().into_iter().chain(mcs()) {
            let stored = crd.spec.versions.iter().filter(|version| version.storage).count();
            assert_eq!(stored, 1, "{}", name(&crd));
            assert!(crd.spec.versions.iter().all(|version| version.served), "{}", name(&crd));
        }
    }

    #[test]
    fn the_files_say_what_the_types_say() {
        let files = yaml_documents();
        assert_eq!(files.len(), 7);
        for ((file, text), crd) in files.iter().zip(member().into_iter().chain(mcs())) {
            assert_eq!(file, &format!("{}.yaml", name(&crd)));
            let read: CustomResourceDefinition = serde_saphyr::from_str(text).unwrap();
            assert_eq!(read.spec, crd.spec, "{file}");
        }
    }

    #[test]
    fn every_spec_has_a_schema_and_only_an_export_can_do_without() {
        for crd in member().into_iter().chain(mcs()) {
            for version in &crd.spec.versions {
                let schema = version.schema.as_ref().and_then(|s| s.open_api_v3_schema.as_ref());
                let schema = schema.expect("a version has a schema");
                let spec = schema.properties.as_ref().and_then(|properties| properties.get("spec"));
                assert!(spec.is_some_and(|spec| spec.default.is_none()), "{}", name(&crd));
                let is_required = schema.required.iter().flatten().any(|field| field == "spec");
                assert_eq!(is_required, crd.spec.names.kind != "ServiceExport", "{}", name(&crd));
            }
        }
    }
}
