//! The kinds of `apps`.

use super::{PLAIN, Row, SCALED, WORKLOAD, row};
use crate::kinds::rules;

pub(super) static ROWS: &[Row] = &[
    row(
        "apps",
        "controllerrevisions",
        "ControllerRevision",
        &[],
        true,
        "io.k8s.api.apps.v1.ControllerRevision",
        PLAIN,
        &rules::ControllerRevisions,
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
        SCALED,
        &rules::Deployments,
    ),
    row(
        "apps",
        "replicasets",
        "ReplicaSet",
        &["rs"],
        true,
        "io.k8s.api.apps.v1.ReplicaSet",
        SCALED,
        &rules::ReplicaSets,
    ),
    row(
        "apps",
        "statefulsets",
        "StatefulSet",
        &["sts"],
        true,
        "io.k8s.api.apps.v1.StatefulSet",
        SCALED,
        &rules::StatefulSets,
    ),
];
