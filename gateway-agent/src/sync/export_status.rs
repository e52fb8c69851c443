//! What a `ServiceExport` is told of itself: `Valid`, `Ready` and `Conflict` (MCS API).

use std::collections::BTreeMap;

use clusterset::exports::{Exported, Refusal};
use clusterset::imports::Import;
use k8s_api::ExportedService;
use k8s_api::condition::{self, Finding};
use k8s_api::mcs::{self, ServiceExport};
use k8s_openapi::jiff::Timestamp;
use model::{ClusterState, ServiceKey};
use serde_json::json;

use super::convert;
use super::exports::{self, OwnExports};
use super::imports::Imports;
use super::publish;
use super::world::World;
use super::write::{Side, Write};

/// Conditions of the own ServiceExports.
pub(super) fn plan(world: &World, own: &OwnExports, imports: &Imports, now: Timestamp) -> Vec<Write> {
    let objects = world.local.exports.iter();
    let told = publish::told(world);
    objects
        .filter_map(|object| {
            let key = exports::key(object.as_ref());
            let exported = own.get(&key)?;
            let mut findings = vec![validity(exported)];
            findings.extend(ready(world, told.as_ref(), object, &key, exported));
            if let Some(import) = imports.get(&key) {
                findings.push(conflict(import));
            }
            let before = object.status.as_ref().map_or(&[][..], |status| &status.conditions);
            let after = condition::merge(before, &findings, object.metadata.generation, now);
            let is_own = |kind: &str| [mcs::VALID, mcs::EXPORT_READY, mcs::CONFLICT].contains(&kind);
            let conditions: Vec<_> = after.iter().filter(|condition| is_own(&condition.type_)).collect();
            (before != after).then(|| Write::status(Side::Local, object.as_ref(), &json!({ "conditions": conditions })))
        })
        .collect()
}

/// What the `Ready` condition says, or nothing where it is to stay. `told` is what the broker has of us.
fn ready(
    world: &World,
    told: Option<&BTreeMap<String, &ExportedService>>,
    object: &ServiceExport,
    key: &ServiceKey,
    exported: &Result<Exported, Refusal>,
) -> Option<Finding> {
    let pending = |message: &str| Finding::new(mcs::EXPORT_READY, false, "Pending", message);
    let Ok(exported) = exported else {
        let message = "it is not exported, because it is not valid: see the Valid condition";
        return Some(Finding::new(mcs::EXPORT_READY, false, "Failed", message));
    };
    if world.own_state() == Some(ClusterState::Evicted) {
        let message = "this cluster was evicted from the clusterset";
        return Some(Finding::new(mcs::EXPORT_READY, false, "Failed", message));
    }
    let conditions = object.status.as_ref().map_or(&[][..], |status| &status.conditions);
    let was_ready = condition::is_true(conditions, mcs::EXPORT_READY);
    let Some(told) = told else {
        let message = "waiting for the broker: see the SyncedWithBroker condition of the gateways";
        return (!was_ready).then(|| pending(message));
    };
    let spec = convert::exported_spec(&exported.export);
    if told.get(&key.broker_name()).is_some_and(|told| told.spec == spec) {
        Some(readiness(exported))
    } else {
        // Endpoints come and go all the time; the export does not become unready for the moment until the broker has them.
        (!was_ready).then(|| pending("the broker is being told"))
    }
}

fn conflict(import: &Import) -> Finding {
    if import.conflicts.is_empty() {
        return Finding::new(mcs::CONFLICT, false, "NoConflicts", "all exports of the service agree");
    }
    let reasons: Vec<&str> = import
        .conflicts
        .iter()
        .map(|conflict| conflict.reason.as_str())
        .collect();
    let messages: Vec<String> = import.conflicts.iter().map(ToString::to_string).collect();
    Finding::new(mcs::CONFLICT, true, reasons.join(","), messages.join(". "))
}

/// What the `Valid` condition says.
fn validity(exported: &Result<Exported, Refusal>) -> Finding {
    match exported {
        Ok(_) => Finding::new(mcs::VALID, true, "Valid", "the service can be exported"),
        Err(refusal) => {
            let reason = match refusal {
                Refusal::NoService(_) => "NoService",
                Refusal::InvalidServiceType(_) => "InvalidServiceType",
            };
            Finding::new(mcs::VALID, false, reason, refusal.to_string())
        }
    }
}

/// What the `Ready` condition says of an export that the broker has.
fn readiness(exported: &Exported) -> Finding {
    let service = &exported.export.service;
    let told = service.endpoints.len();
    let mut message = format!("the clusterset knows it; {} endpoints are ready", service.ready_count);
    let mut reason = "Exported";
    if exported.is_truncated {
        reason = "Truncated";
        message = format!(
            "{} endpoints are ready, and only {told} of them are told",
            service.ready_count
        );
    }
    if exported.unreachable > 0 {
        message.push_str(&format!(
            "; {} more are outside the cluster's pod prefixes, so other clusters cannot reach them",
            exported.unreachable
        ));
    }
    Finding::new(mcs::EXPORT_READY, true, reason, message)
}
