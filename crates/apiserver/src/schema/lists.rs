//! What k8s-openapi's schemas leave out: which lists and maps have one owner, and how lists merge.
//!
//! Taken from the extensions in Kubernetes' published OpenAPI (`x-kubernetes-list-type`, `-list-map-keys`, `-map-type`,
//! `-patch-strategy`, `-patch-merge-key`), for the kinds served here. What stands in no row is an atomic list or a granular map.

/// How a list or map field is owned and patched.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Row {
    /// List of objects: keys for apply, merge key for strategic merge patch.
    Map {
        keys: &'static [&'static str],
        merge_key: &'static str,
    },
    /// The same; a patch may also retain keys.
    Retain {
        keys: &'static [&'static str],
        merge_key: &'static str,
    },
    /// Owned as a whole, but a strategic merge patch merges it by this key.
    MergeOnly { merge_key: &'static str },
    /// Set of scalars, merged by patches.
    Set { merge: bool },
    /// Map or struct with one owner.
    AtomicMap,
    /// Struct whose patches may retain keys.
    RetainKeys,
}

use Row::{AtomicMap, Map, MergeOnly, Retain, RetainKeys, Set};

/// (definition, field, row). An empty field is the definition itself.
pub(crate) const ROWS: &[(&str, &str, Row)] = &[
    ("io.k8s.api.admissionregistration.v1.MatchResources", "", AtomicMap),
    (
        "io.k8s.api.admissionregistration.v1.NamedRuleWithOperations",
        "",
        AtomicMap,
    ),
    ("io.k8s.api.admissionregistration.v1.ParamKind", "", AtomicMap),
    ("io.k8s.api.admissionregistration.v1.ParamRef", "", AtomicMap),
    (
        "io.k8s.api.admissionregistration.v1.ValidatingAdmissionPolicyBindingSpec",
        "validationActions",
        Set { merge: false },
    ),
    (
        "io.k8s.api.admissionregistration.v1.ValidatingAdmissionPolicySpec",
        "matchConditions",
        Map {
            keys: &["name"],
            merge_key: "name",
        },
    ),
    (
        "io.k8s.api.admissionregistration.v1.ValidatingAdmissionPolicySpec",
        "variables",
        Map {
            keys: &["name"],
            merge_key: "name",
        },
    ),
    (
        "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta",
        "finalizers",
        Set { merge: true },
    ),
    (
        "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta",
        "ownerReferences",
        Map {
            keys: &["uid"],
            merge_key: "uid",
        },
    ),
    ("io.k8s.apimachinery.pkg.apis.meta.v1.OwnerReference", "", AtomicMap),
    ("io.k8s.apimachinery.pkg.apis.meta.v1.LabelSelector", "", AtomicMap),
    (
        "io.k8s.api.core.v1.PodSpec",
        "containers",
        Map {
            keys: &["name"],
            merge_key: "name",
        },
    ),
    (
        "io.k8s.api.core.v1.PodSpec",
        "initContainers",
        Map {
            keys: &["name"],
            merge_key: "name",
        },
    ),
    (
        "io.k8s.api.core.v1.PodSpec",
        "ephemeralContainers",
        Map {
            keys: &["name"],
            merge_key: "name",
        },
    ),
    (
        "io.k8s.api.core.v1.PodSpec",
        "volumes",
        Retain {
            keys: &["name"],
            merge_key: "name",
        },
    ),
    (
        "io.k8s.api.core.v1.PodSpec",
        "resourceClaims",
        Retain {
            keys: &["name"],
            merge_key: "name",
        },
    ),
    (
        "io.k8s.api.core.v1.PodSpec",
        "imagePullSecrets",
        Map {
            keys: &["name"],
            merge_key: "name",
        },
    ),
    (
        "io.k8s.api.core.v1.PodSpec",
        "hostAliases",
        Map {
            keys: &["ip"],
            merge_key: "ip",
        },
    ),
    (
        "io.k8s.api.core.v1.PodSpec",
        "schedulingGates",
        Map {
            keys: &["name"],
            merge_key: "name",
        },
    ),
    (
        "io.k8s.api.core.v1.PodSpec",
        "topologySpreadConstraints",
        Map {
            keys: &["topologyKey", "whenUnsatisfiable"],
            merge_key: "topologyKey",
        },
    ),
    ("io.k8s.api.core.v1.PodSpec", "nodeSelector", AtomicMap),
    (
        "io.k8s.api.core.v1.PodStatus",
        "conditions",
        Map {
            keys: &["type"],
            merge_key: "type",
        },
    ),
    (
        "io.k8s.api.core.v1.PodStatus",
        "podIPs",
        Map {
            keys: &["ip"],
            merge_key: "ip",
        },
    ),
    ("io.k8s.api.core.v1.PodStatus", "hostIPs", MergeOnly { merge_key: "ip" }),
    (
        "io.k8s.api.core.v1.Container",
        "env",
        Map {
            keys: &["name"],
            merge_key: "name",
        },
    ),
    (
        "io.k8s.api.core.v1.Container",
        "ports",
        Map {
            keys: &["containerPort", "protocol"],
            merge_key: "containerPort",
        },
    ),
    (
        "io.k8s.api.core.v1.Container",
        "volumeMounts",
        Map {
            keys: &["mountPath"],
            merge_key: "mountPath",
        },
    ),
    (
        "io.k8s.api.core.v1.Container",
        "volumeDevices",
        Map {
            keys: &["devicePath"],
            merge_key: "devicePath",
        },
    ),
    (
        "io.k8s.api.core.v1.EphemeralContainer",
        "env",
        Map {
            keys: &["name"],
            merge_key: "name",
        },
    ),
    (
        "io.k8s.api.core.v1.EphemeralContainer",
        "volumeMounts",
        Map {
            keys: &["mountPath"],
            merge_key: "mountPath",
        },
    ),
    (
        "io.k8s.api.core.v1.ServiceSpec",
        "ports",
        Map {
            keys: &["port", "protocol"],
            merge_key: "port",
        },
    ),
    ("io.k8s.api.core.v1.ServiceSpec", "selector", AtomicMap),
    (
        "io.k8s.api.core.v1.ServiceStatus",
        "conditions",
        Map {
            keys: &["type"],
            merge_key: "type",
        },
    ),
    (
        "io.k8s.api.core.v1.ServiceAccount",
        "secrets",
        Map {
            keys: &["name"],
            merge_key: "name",
        },
    ),
    ("io.k8s.api.core.v1.NodeSpec", "podCIDRs", Set { merge: true }),
    (
        // Published as a map by `type`, which a dual-stack node's two addresses of one type break: the real server lets them be.
        "io.k8s.api.core.v1.NodeStatus",
        "addresses",
        MergeOnly { merge_key: "type" },
    ),
    (
        "io.k8s.api.core.v1.NodeStatus",
        "conditions",
        Map {
            keys: &["type"],
            merge_key: "type",
        },
    ),
    (
        "io.k8s.api.core.v1.NamespaceStatus",
        "conditions",
        Map {
            keys: &["type"],
            merge_key: "type",
        },
    ),
    ("io.k8s.api.core.v1.LocalObjectReference", "", AtomicMap),
    ("io.k8s.api.core.v1.ObjectReference", "", AtomicMap),
    ("io.k8s.api.core.v1.SecretKeySelector", "", AtomicMap),
    ("io.k8s.api.core.v1.ConfigMapKeySelector", "", AtomicMap),
    ("io.k8s.api.core.v1.ObjectFieldSelector", "", AtomicMap),
    ("io.k8s.api.core.v1.ResourceFieldSelector", "", AtomicMap),
    ("io.k8s.api.core.v1.NodeSelector", "", AtomicMap),
    ("io.k8s.api.core.v1.NodeSelectorTerm", "", AtomicMap),
    ("io.k8s.api.core.v1.TypedLocalObjectReference", "", AtomicMap),
    ("io.k8s.api.apps.v1.DeploymentSpec", "strategy", RetainKeys),
    (
        "io.k8s.api.apps.v1.DeploymentStatus",
        "conditions",
        Map {
            keys: &["type"],
            merge_key: "type",
        },
    ),
    (
        "io.k8s.api.apps.v1.DaemonSetStatus",
        "conditions",
        Map {
            keys: &["type"],
            merge_key: "type",
        },
    ),
    (
        "io.k8s.api.apps.v1.ReplicaSetStatus",
        "conditions",
        Map {
            keys: &["type"],
            merge_key: "type",
        },
    ),
    (
        "io.k8s.api.apps.v1.StatefulSetStatus",
        "conditions",
        Map {
            keys: &["type"],
            merge_key: "type",
        },
    ),
    (
        "io.k8s.kube-aggregator.pkg.apis.apiregistration.v1.APIServiceStatus",
        "conditions",
        Map {
            keys: &["type"],
            merge_key: "type",
        },
    ),
    (
        "io.k8s.api.policy.v1.PodDisruptionBudgetStatus",
        "conditions",
        Map {
            keys: &["type"],
            merge_key: "type",
        },
    ),
    ("io.k8s.api.discovery.v1.Endpoint", "addresses", Set { merge: false }),
    ("io.k8s.api.discovery.v1.EndpointPort", "", AtomicMap),
    (
        "io.k8s.api.networking.v1.ServiceCIDRStatus",
        "conditions",
        Map {
            keys: &["type"],
            merge_key: "type",
        },
    ),
    ("io.k8s.api.rbac.v1.RoleRef", "", AtomicMap),
    ("io.k8s.api.rbac.v1.Subject", "", AtomicMap),
    (
        "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinitionStatus",
        "conditions",
        Map {
            keys: &["type"],
            merge_key: "type",
        },
    ),
];

/// Defaults that are also merge keys: without them `{port: 80}` and `{port: 80, protocol: TCP}` would be two ports.
pub(crate) const DEFAULTS: &[(&str, &str, &str)] = &[
    ("io.k8s.api.core.v1.ContainerPort", "protocol", "TCP"),
    ("io.k8s.api.core.v1.EndpointPort", "protocol", "TCP"),
    ("io.k8s.api.networking.v1.NetworkPolicyPort", "protocol", "TCP"),
    ("io.k8s.api.core.v1.ServicePort", "protocol", "TCP"),
];
