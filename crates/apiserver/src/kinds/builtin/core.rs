//! The core kinds, leases, and the second view of events.

use super::{PLAIN, Row, STATUS, Traits, WORKLOAD, row};
use crate::kinds::rules;

pub(super) static ROWS: &[Row] = &[
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
        &rules::Endpoints,
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
];
