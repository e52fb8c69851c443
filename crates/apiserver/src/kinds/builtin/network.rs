//! The kinds of `networking.k8s.io` and `discovery.k8s.io`.

use super::{PLAIN, Row, STATUS, Traits, row};
use crate::kinds::rules;

pub(super) static ROWS: &[Row] = &[
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
        "networking.k8s.io",
        "servicecidrs",
        "ServiceCIDR",
        &[],
        false,
        "io.k8s.api.networking.v1.ServiceCIDR",
        STATUS,
        &rules::ServiceRanges,
    ),
];
