//! The kinds of `admissionregistration.k8s.io`.

use super::{PLAIN, Row, Traits, WORKLOAD, row};
use crate::admission;

pub(super) static ROWS: &[Row] = &[
    row(
        "admissionregistration.k8s.io",
        "validatingadmissionpolicies",
        "ValidatingAdmissionPolicy",
        &[],
        false,
        "io.k8s.api.admissionregistration.v1.ValidatingAdmissionPolicy",
        WORKLOAD,
        &admission::PolicyRules,
    ),
    row(
        "admissionregistration.k8s.io",
        "validatingadmissionpolicybindings",
        "ValidatingAdmissionPolicyBinding",
        &[],
        false,
        "io.k8s.api.admissionregistration.v1.ValidatingAdmissionPolicyBinding",
        Traits {
            generation: true,
            ..PLAIN
        },
        &admission::BindingRules,
    ),
];
