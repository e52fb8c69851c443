//! Server-side apply: who owns which field.
//!
//! Every object carries `managedFields`: per manager the set of fields it owns ([`FieldSet`]). Two rules keep them true:
//!
//! * A **plain write** (create, update, patch) owns what it changed. Everybody else loses what was changed or removed.
//! * An **apply** states all that its manager wants. Its fields are merged into the live object; what the manager applied
//!   before and leaves out now is removed, unless another manager owns it too ([`prune()`]). A value that differs from what another
//!   manager owns is a conflict; `force` takes the field over.
//!
//! ```text
//! live + config ──merge──▶ merged ──prune(last set, everyone's sets)──▶ pruned ──compare with live──▶ conflicts | new owners
//! ```
//!
//! The fields are those of the kind's schema: list elements are known by their keys, atomic lists and maps have one owner.
//! The rules are those of structured-merge-diff (KEP-555).

mod compare;
mod fieldset;
mod managed;
mod merge;
mod prune;

pub(crate) use compare::compare;
pub(crate) use fieldset::{FieldSet, of_value};
pub(crate) use managed::{ApplyRequest, Manager, Managers, Operation};
pub(crate) use merge::merge;
pub(crate) use prune::prune;

#[cfg(test)]
mod tests;
