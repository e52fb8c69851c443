//! The kinds of `policy`.

use super::{Row, WORKLOAD, row};
use crate::kinds::rules;

pub(super) static ROWS: &[Row] = &[row(
    "policy",
    "poddisruptionbudgets",
    "PodDisruptionBudget",
    &["pdb"],
    true,
    "io.k8s.api.policy.v1.PodDisruptionBudget",
    WORKLOAD,
    &rules::DisruptionBudgets,
)];
