//! The Multi-Cluster Services API (KEP-1645), release v0.5.0: `v1beta1` is stored, `v1alpha1` is served with the same fields.

use k8s_openapi::api::core::v1::SessionAffinityConfig;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use crate::service_export::{ServiceExport, ServiceExportSpec, ServiceExportStatus};

/// ServiceExport condition: the service can be exported.
pub const VALID: &str = "Valid";
/// ServiceExport condition: the clusterset has been told.
pub const EXPORT_READY: &str = "Ready";
/// ServiceExport condition: exporters disagree.
pub const CONFLICT: &str = "Conflict";

/// ServiceImport condition: the service can be reached.
pub const IMPORT_READY: &str = "Ready";

/// A service of the clusterset, in every cluster that has its namespace.
#[derive(CustomResource, JsonSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Default)]
#[kube(
    group = "multicluster.x-k8s.io",
    version = "v1beta1",
    kind = "ServiceImport",
    namespaced,
    shortname = "svcim",
    shortname = "svcimport",
    status = "ServiceImportStatus",
    derive = "PartialEq",
    doc = "A service imported from clusters in the clusterset.",
    printcolumn(name = "Type", type_ = "string", json_path = ".spec.type"),
    printcolumn(name = "IP", type_ = "string", json_path = ".spec.ips"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct ServiceImportSpec {
    /// Ports of the service.
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub ports: Vec<ServicePort>,
    /// Clusterset IPs, in the order of `ipFamilies`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2))]
    pub ips: Option<Vec<String>>,
    /// Families.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2))]
    pub ip_families: Option<Vec<String>>,
    /// With or without a clusterset IP.
    #[serde(rename = "type")]
    pub type_: ServiceImportType,
    /// `None` or `ClientIP`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_affinity: Option<String>,
    /// Its settings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_affinity_config: Option<SessionAffinityConfig>,
    /// Of the oldest exporter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub internal_traffic_policy: Option<String>,
    /// Of the oldest exporter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traffic_distribution: Option<String>,
}

/// Type of an import.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ServiceImportType {
    /// One virtual IP a family.
    #[default]
    ClusterSetIP,
    /// The endpoints themselves.
    Headless,
}

/// A port of an import.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Eq, Default)]
#[serde(rename_all = "camelCase")]
pub struct ServicePort {
    /// Name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Protocol; TCP where it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    /// Application protocol.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app_protocol: Option<String>,
    /// Number.
    pub port: i32,
}

/// State of an import.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Default)]
pub struct ServiceImportStatus {
    /// The clusters that export the service.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["cluster"]))]
    pub clusters: Vec<ClusterStatus>,
    /// `Ready`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// An exporting cluster.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct ClusterStatus {
    /// Its id.
    pub cluster: String,
}
