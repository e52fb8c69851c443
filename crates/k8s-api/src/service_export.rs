//! The ServiceExport. The MCS API makes its `spec` optional, so an export may be a name and nothing else, whoever installed the
//! definition; and kube's derive takes a kind's `spec` for required. So there are two types: [`Definition`], of which the
//! CustomResourceDefinition is made, and [`ServiceExport`], which is what is read and written.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta};
use kube::{CustomResource, Resource};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Declares that the Service with the same name and namespace should be exported to the clusterset.
#[derive(Resource, Serialize, Deserialize, Debug, Clone, PartialEq)]
#[resource(inherit = Definition)]
#[serde(into = "Definition")]
pub struct ServiceExport {
    /// The service's own name and namespace.
    pub metadata: ObjectMeta,
    /// Empty where the object has none.
    #[serde(default)]
    pub spec: ServiceExportSpec,
    /// What we say of it.
    #[serde(default)]
    pub status: Option<ServiceExportStatus>,
}

impl ServiceExport {
    /// An export of the service of this name.
    pub fn new(name: &str, spec: ServiceExportSpec) -> Self {
        let Definition { metadata, spec, status } = Definition::new(name, spec);
        Self { metadata, spec, status }
    }
}

impl From<ServiceExport> for Definition {
    fn from(export: ServiceExport) -> Self {
        let ServiceExport { metadata, spec, status } = export;
        Self { metadata, spec, status }
    }
}

/// Asks for the service of the same name and namespace to be exported to the clusterset.
#[derive(CustomResource, JsonSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Eq, Default)]
#[kube(
    group = "multicluster.x-k8s.io",
    version = "v1beta1",
    kind = "ServiceExport",
    root = "Definition",
    namespaced,
    shortname = "svcex",
    shortname = "svcexport",
    status = "ServiceExportStatus",
    derive = "PartialEq",
    doc = "Declares that the Service with the same name and namespace should be exported to the clusterset.",
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct ServiceExportSpec {
    /// Labels for the derived ServiceImports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exported_labels: Option<BTreeMap<String, String>>,
    /// Annotations for the derived ServiceImports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exported_annotations: Option<BTreeMap<String, String>>,
}

/// What became of an export.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Default)]
pub struct ServiceExportStatus {
    /// `Valid`, `Ready` and `Conflict`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_export_without_spec_is_one_that_asks_for_nothing_more() {
        let bare = json!({
            "apiVersion": "multicluster.x-k8s.io/v1beta1", "kind": "ServiceExport",
            "metadata": {"name": "cart", "namespace": "shop"},
        });
        let export: ServiceExport = serde_json::from_value(bare).unwrap();
        assert_eq!(export.spec, ServiceExportSpec::default());
        let with_status: ServiceExport =
            serde_json::from_value(json!({"metadata": {"name": "cart"}, "status": {}})).unwrap();
        assert_eq!(with_status.status, Some(ServiceExportStatus::default()));
    }

    #[test]
    fn what_is_written_says_its_kind_and_reads_the_same() {
        let labels = BTreeMap::from([("tier".to_owned(), "gold".to_owned())]);
        let spec = ServiceExportSpec {
            exported_labels: Some(labels),
            exported_annotations: None,
        };
        let export = ServiceExport::new("cart", spec);
        let written = serde_json::to_value(&export).unwrap();
        assert_eq!(
            written,
            json!({
                "apiVersion": "multicluster.x-k8s.io/v1beta1", "kind": "ServiceExport",
                "metadata": {"name": "cart"}, "spec": {"exportedLabels": {"tier": "gold"}},
            })
        );
        assert_eq!(serde_json::from_value::<ServiceExport>(written).unwrap(), export);
        assert_eq!(
            ServiceExport::url_path(&(), Some("shop")),
            "/apis/multicluster.x-k8s.io/v1beta1/namespaces/shop/serviceexports"
        );
    }
}
