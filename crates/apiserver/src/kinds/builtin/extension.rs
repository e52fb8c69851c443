//! The kinds that make other kinds.

use super::{Row, STATUS, Traits, WORKLOAD, row};
use crate::kinds::rules;

pub(super) static ROWS: &[Row] = &[
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
];
