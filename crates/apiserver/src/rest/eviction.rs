//! A pod's subresource `eviction`: a deletion that asks the pod's disruption budget first.
//!
//! A budget's status says how many pods may go. Whoever keeps it sets `disruptionsAllowed`; an eviction takes one of them in the same
//! transaction that deletes the pod, so two evictions never share one.

use serde_json::{Value, json};

use super::{DeleteOptions, Outcome, Write, checks::arrange, delete, existing};
use crate::{
    object::{Object as _, child_mut, list_at, text_at},
    selector::LabelSelector,
    status::Status,
    store::{Key, Resource, Txn},
};

/// Deletes a pod if its budget allows it.
pub(crate) fn evict_pod(txn: &mut Txn<'_>, write: &Write<'_>, name: &str, eviction: &Value) -> Result<Outcome, Status> {
    let pod = existing(txn, write, name)?;
    if is_disruption(&pod) {
        spend(txn, write, &pod)?;
    }
    let grace_seconds = eviction["deleteOptions"]["gracePeriodSeconds"].as_i64();
    let options = DeleteOptions {
        grace_seconds,
        ..DeleteOptions::default()
    };
    delete(txn, write, name, &options)
}

/// Whether anybody loses something when a pod goes.
fn is_disruption(pod: &Value) -> bool {
    let phase = text_at(pod, &["status", "phase"]);
    !pod.is_terminating() && !["Succeeded", "Failed", "Pending"].contains(&phase)
}

/// Takes one disruption from the budget of a pod, if it has one.
fn spend(txn: &mut Txn<'_>, write: &Write<'_>, pod: &Value) -> Result<(), Status> {
    let resource = Resource::new("policy", "poddisruptionbudgets");
    let labels = pod.meta("labels").and_then(Value::as_object);
    let mut budgets = txn.list(&resource, Some(write.namespace));
    budgets.retain(|(_, budget)| {
        let selector = &budget["spec"]["selector"];
        selector.is_object() && LabelSelector::from_object(selector).matches(labels)
    });
    let budget = match budgets.as_slice() {
        [] => return Ok(()),
        [(_, budget)] => budget,
        _ => {
            let why =
                "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
            return Err(Status::internal(why));
        }
    };
    let number = |field: &str| budget["status"][field].as_i64().unwrap_or_default();
    let (healthy, needed) = (number("currentHealthy"), number("desiredHealthy"));
    let always = text_at(budget, &["spec", "unhealthyPodEvictionPolicy"]) == "AlwaysAllow";
    if !is_ready(pod) && (always || needed > 0 && healthy >= needed) {
        return Ok(());
    }
    let generation = budget.meta("generation").and_then(Value::as_i64).unwrap_or_default();
    if number("observedGeneration") < generation {
        let why = "is still being processed by the server.";
        return Err(Status::over_budget(
            &format!("The disruption budget {} {why}", budget.name()),
            10,
        ));
    }
    if number("disruptionsAllowed") <= 0 {
        let why = format!("needs {needed} healthy pods and has {healthy} currently");
        return Err(Status::over_budget(
            &format!("The disruption budget {} {why}", budget.name()),
            0,
        ));
    }
    let mut left = (**budget).clone();
    let status = child_mut(&mut left, "status");
    status.insert("disruptionsAllowed".into(), (number("disruptionsAllowed") - 1).into());
    let gone = status.entry("disruptedPods").or_insert_with(|| json!({}));
    gone[pod.name()] = write.time().into();
    arrange(&mut left);
    let key = Key::new(&resource, write.namespace, budget.name());
    txn.put(key, left);
    Ok(())
}

fn is_ready(pod: &Value) -> bool {
    let mut conditions = list_at(pod, &["status", "conditions"]).iter();
    conditions.any(|one| one["type"] == "Ready" && one["status"] == "True")
}
