//! The table of built-in kinds.

use super::{
    Kind, Origin, Registry, Traits, columns,
    rules::{self, Rules},
    selectable,
};
use crate::{schema::builtin::Builtin, store::Resource};

mod admission;

struct Row {
    group: &'static str,
    plural: &'static str,
    kind: &'static str,
    short: &'static [&'static str],
    namespaced: bool,
    definition: &'static str,
    traits: Traits,
    rules: &'static dyn Rules,
}

const PLAIN: Traits = Traits {
    status: false,
    generation: false,
    needs_version: false,
    create_on_update: false,
    returns_deleted: false,
    no_delete_collection: false,
    review: false,
};
const STATUS: Traits = Traits { status: true, ..PLAIN };
const WORKLOAD: Traits = Traits {
    status: true,
    generation: true,
    ..PLAIN
};
const REVIEW: Traits = Traits { review: true, ..PLAIN };

/// Every served kind has version `v1`.
static ROWS: &[Row] = &[
    row(
        "",
        "namespaces",
        "Namespace",
        &["ns"],
        false,
        "io.k8s.api.core.v1.Namespace",
        Traits {
            no_delete_collection: true,
            returns_deleted: true,
            ..STATUS
        },
        &rules::Namespaces,
    ),
    row(
        "",
        "nodes",
        "Node",
        &["no"],
        false,
        "io.k8s.api.core.v1.Node",
        STATUS,
        &rules::Nodes,
    ),
    row(
        "",
        "pods",
        "Pod",
        &["po"],
        true,
        "io.k8s.api.core.v1.Pod",
        Traits {
            returns_deleted: true,
            ..WORKLOAD
        },
        &rules::Pods,
    ),
    row(
        "",
        "services",
        "Service",
        &["svc"],
        true,
        "io.k8s.api.core.v1.Service",
        Traits {
            returns_deleted: true,
            ..STATUS
        },
        &rules::Services,
    ),
    row(
        "",
        "configmaps",
        "ConfigMap",
        &["cm"],
        true,
        "io.k8s.api.core.v1.ConfigMap",
        PLAIN,
        &rules::ConfigMaps,
    ),
    row(
        "",
        "secrets",
        "Secret",
        &[],
        true,
        "io.k8s.api.core.v1.Secret",
        PLAIN,
        &rules::Secrets,
    ),
    row(
        "",
        "serviceaccounts",
        "ServiceAccount",
        &["sa"],
        true,
        "io.k8s.api.core.v1.ServiceAccount",
        PLAIN,
        &rules::Plain,
    ),
    row(
        "",
        "events",
        "Event",
        &["ev"],
        true,
        "io.k8s.api.core.v1.Event",
        PLAIN,
        &rules::Events,
    ),
    row(
        "",
        "endpoints",
        "Endpoints",
        &["ep"],
        true,
        "io.k8s.api.core.v1.Endpoints",
        PLAIN,
        &rules::Plain,
    ),
    row(
        "events.k8s.io",
        "events",
        "Event",
        &["ev"],
        true,
        "io.k8s.api.events.v1.Event",
        PLAIN,
        &rules::NewEvents,
    ),
    row(
        "apps",
        "daemonsets",
        "DaemonSet",
        &["ds"],
        true,
        "io.k8s.api.apps.v1.DaemonSet",
        WORKLOAD,
        &rules::DaemonSets,
    ),
    row(
        "apps",
        "deployments",
        "Deployment",
        &["deploy"],
        true,
        "io.k8s.api.apps.v1.Deployment",
        WORKLOAD,
        &rules::Deployments,
    ),
    row(
        "apps",
        "replicasets",
        "ReplicaSet",
        &["rs"],
        true,
        "io.k8s.api.apps.v1.ReplicaSet",
        WORKLOAD,
        &rules::ReplicaSets,
    ),
    row(
        "discovery.k8s.io",
        "endpointslices",
        "EndpointSlice",
        &[],
        true,
        "io.k8s.api.discovery.v1.EndpointSlice",
        Traits {
            generation: true,
            ..PLAIN
        },
        &rules::EndpointSlices,
    ),
    row(
        "coordination.k8s.io",
        "leases",
        "Lease",
        &[],
        true,
        "io.k8s.api.coordination.v1.Lease",
        Traits {
            needs_version: true,
            create_on_update: true,
            ..PLAIN
        },
        &rules::Leases,
    ),
    row(
        "networking.k8s.io",
        "networkpolicies",
        "NetworkPolicy",
        &["netpol"],
        true,
        "io.k8s.api.networking.v1.NetworkPolicy",
        Traits {
            generation: true,
            ..PLAIN
        },
        &rules::NetworkPolicies,
    ),
    row(
        "apiregistration.k8s.io",
        "apiservices",
        "APIService",
        &[],
        false,
        "io.k8s.kube-aggregator.pkg.apis.apiregistration.v1.APIService",
        STATUS,
        &rules::ApiServices,
    ),
    row(
        "networking.k8s.io",
        "servicecidrs",
        "ServiceCIDR",
        &[],
        false,
        "io.k8s.api.networking.v1.ServiceCIDR",
        STATUS,
        &rules::ServiceRanges,
    ),
    row(
        "rbac.authorization.k8s.io",
        "roles",
        "Role",
        &[],
        true,
        "io.k8s.api.rbac.v1.Role",
        PLAIN,
        &rules::Roles,
    ),
    row(
        "rbac.authorization.k8s.io",
        "clusterroles",
        "ClusterRole",
        &[],
        false,
        "io.k8s.api.rbac.v1.ClusterRole",
        PLAIN,
        &rules::Roles,
    ),
    row(
        "rbac.authorization.k8s.io",
        "rolebindings",
        "RoleBinding",
        &[],
        true,
        "io.k8s.api.rbac.v1.RoleBinding",
        PLAIN,
        &rules::Bindings,
    ),
    row(
        "rbac.authorization.k8s.io",
        "clusterrolebindings",
        "ClusterRoleBinding",
        &[],
        false,
        "io.k8s.api.rbac.v1.ClusterRoleBinding",
        PLAIN,
        &rules::Bindings,
    ),
    row(
        "apiextensions.k8s.io",
        "customresourcedefinitions",
        "CustomResourceDefinition",
        &["crd", "crds"],
        false,
        "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinition",
        Traits {
            needs_version: true,
            ..WORKLOAD
        },
        &rules::Definitions,
    ),
    row(
        "authentication.k8s.io",
        "tokenreviews",
        "TokenReview",
        &[],
        false,
        "io.k8s.api.authentication.v1.TokenReview",
        REVIEW,
        &rules::Plain,
    ),
    row(
        "authentication.k8s.io",
        "selfsubjectreviews",
        "SelfSubjectReview",
        &[],
        false,
        "io.k8s.api.authentication.v1.SelfSubjectReview",
        REVIEW,
        &rules::Plain,
    ),
    row(
        "authorization.k8s.io",
        "subjectaccessreviews",
        "SubjectAccessReview",
        &[],
        false,
        "io.k8s.api.authorization.v1.SubjectAccessReview",
        REVIEW,
        &rules::Plain,
    ),
    row(
        "authorization.k8s.io",
        "selfsubjectaccessreviews",
        "SelfSubjectAccessReview",
        &[],
        false,
        "io.k8s.api.authorization.v1.SelfSubjectAccessReview",
        REVIEW,
        &rules::Plain,
    ),
    row(
        "authorization.k8s.io",
        "selfsubjectrulesreviews",
        "SelfSubjectRulesReview",
        &[],
        false,
        "io.k8s.api.authorization.v1.SelfSubjectRulesReview",
        REVIEW,
        &rules::Plain,
    ),
];

#[expect(clippy::too_many_arguments, reason = "one argument a column of the table")]
const fn row(
    group: &'static str,
    plural: &'static str,
    kind: &'static str,
    short: &'static [&'static str],
    namespaced: bool,
    definition: &'static str,
    traits: Traits,
    rules: &'static dyn Rules,
) -> Row {
    Row {
        group,
        plural,
        kind,
        short,
        namespaced,
        definition,
        traits,
        rules,
    }
}

/// The registry without any custom kind, and the schemas that custom ones build on.
pub(crate) fn registry() -> (Registry, Builtin) {
    let rows = || ROWS.iter().chain(admission::ROWS);
    let definitions: Vec<&str> = rows().map(|row| row.definition).collect();
    let builtin = Builtin::load(&definitions);
    let mut registry = Registry::default();
    for row in rows() {
        let in_all = matches!(
            row.plural,
            "pods" | "services" | "daemonsets" | "deployments" | "replicasets"
        );
        let extension = row.plural == "customresourcedefinitions";
        let categories: &[&str] = if in_all { &["all"] } else { &[] };
        let categories = if extension { &["api-extensions"] } else { categories };
        registry.insert(Kind {
            resource: Resource::new(row.group, row.plural),
            version: "v1".into(),
            kind: row.kind.into(),
            list_kind: format!("{}List", row.kind),
            singular: row.kind.to_lowercase(),
            short_names: row.short.iter().map(|name| (*name).to_owned()).collect(),
            categories: categories.iter().map(|name| (*name).to_owned()).collect(),
            namespaced: row.namespaced,
            schema: builtin.schema(row.definition),
            columns: columns::builtin(row.group, row.plural),
            selectable: selectable::of(row.group, row.plural)
                .iter()
                .map(|field| (*field).to_owned())
                .collect(),
            traits: row.traits,
            scale: None,
            rules: row.rules,
            storage_version: "v1".into(),
            deprecation: deprecation(row.kind),
            origin: Origin::Builtin {
                definition: row.definition,
            },
        });
    }
    (registry, builtin)
}

/// What clients of a built-in kind are warned of.
fn deprecation(kind: &str) -> Option<String> {
    (kind == "Endpoints")
        .then(|| "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice".to_owned())
}
