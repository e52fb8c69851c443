//! What stands in the cells of the built-in kinds.

use serde_json::{Value, json};

use crate::{
    object::{list_at, strings_at, text_at},
    selector::LabelSelector,
};

pub(super) fn none_if_empty(text: &str) -> Value {
    if text.is_empty() { "<none>".into() } else { text.into() }
}

pub(super) fn joined(value: &Value, path: &[&str]) -> Value {
    none_if_empty(&strings_at(value, path).join(","))
}

pub(super) fn number_at(value: &Value, path: &[&str]) -> i64 {
    path.iter()
        .try_fold(value, |at, field| at.get(field))
        .and_then(Value::as_i64)
        .unwrap_or_default()
}

/// The first few of many.
fn some(all: &[String], empty: &str) -> Value {
    let shown = all[..all.len().min(SHOWN)].join(",");
    match all.len() {
        0 => empty.into(),
        count if count > SHOWN => format!("{shown} + {} more...", count - SHOWN).into(),
        _ => shown.into(),
    }
}

pub(super) fn selector(selector: &Value) -> Value {
    none_if_empty(&LabelSelector::text_of(selector))
}

/// `deployment.apps/web`: which object made this one.
pub(super) fn controller(object: &Value) -> Value {
    let owners = list_at(object, &["metadata", "ownerReferences"]);
    let Some(owner) = owners.iter().find(|owner| owner["controller"] == true) else {
        return "<none>".into();
    };
    let of = |field| text_at(owner, &[field]);
    let kind = of("kind").to_lowercase();
    match of("apiVersion").split_once('/') {
        Some((group, _)) => format!("{kind}.{group}/{}", of("name")).into(),
        None => format!("{kind}/{}", of("name")).into(),
    }
}

pub(super) fn joined_field(object: &Value, field: &str) -> Value {
    let containers = list_at(object, &["spec", "template", "spec", "containers"]);
    containers
        .iter()
        .filter_map(|container| container[field].as_str())
        .collect::<Vec<_>>()
        .join(",")
        .into()
}

/// A number or a share.
pub(super) fn int_or_text(value: &Value) -> Value {
    match value {
        Value::Null => "N/A".into(),
        Value::String(share) => share.clone().into(),
        number => number.to_string().into(),
    }
}

pub(super) fn count(map: &Value) -> usize {
    map.as_object().map_or(0, serde_json::Map::len)
}

pub(super) fn pairs(map: &Value) -> Value {
    let pairs = map
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, value)| match value.as_str() {
            Some(text) => format!("{key}={text}"),
            None => key.clone(),
        });
    none_if_empty(&pairs.collect::<Vec<_>>().join(","))
}

pub(super) fn ready_of_wanted(object: &Value) -> Value {
    let (ready, wanted) = (["status", "readyReplicas"], ["spec", "replicas"]);
    format!("{}/{}", number_at(object, &ready), number_at(object, &wanted)).into()
}

pub(super) fn pod_ready(pod: &Value) -> Value {
    let ready = list_at(pod, &["status", "containerStatuses"])
        .iter()
        .filter(|one| one["ready"] == true)
        .count();
    format!("{ready}/{}", list_at(pod, &["spec", "containers"]).len()).into()
}

pub(super) fn pod_status(pod: &Value) -> Value {
    let phase = text_at(pod, &["status", "phase"]);
    let is_going = pod["metadata"].get("deletionTimestamp").is_some();
    if is_going && !["Succeeded", "Failed"].contains(&phase) {
        return "Terminating".into();
    }
    let stopped = list_at(pod, &["status", "containerStatuses"]).iter().find_map(|one| {
        let (waiting, ended) = (&one["state"]["waiting"], &one["state"]["terminated"]);
        match (text_at(waiting, &["reason"]), text_at(ended, &["reason"])) {
            ("", "") if !ended.is_object() => None,
            ("", "") => Some(match number_at(ended, &["signal"]) {
                0 => format!("ExitCode:{}", number_at(ended, &["exitCode"])),
                signal => format!("Signal:{signal}"),
            }),
            ("", reason) | (reason, _) => Some(reason.to_owned()),
        }
    });
    let reason = text_at(pod, &["status", "reason"]);
    let whole = if reason.is_empty() { phase } else { reason };
    stopped.unwrap_or_else(|| whole.to_owned()).into()
}

/// How many of a pod's own conditions of readiness hold.
pub(super) fn pod_gates(pod: &Value) -> Value {
    let gates = list_at(pod, &["spec", "readinessGates"]);
    let holds = |gate: &&Value| {
        let mut conditions = list_at(pod, &["status", "conditions"]).iter();
        conditions.any(|one| one["type"] == gate["conditionType"] && one["status"] == "True")
    };
    match gates.len() {
        0 => "<none>".into(),
        all => format!("{}/{all}", gates.iter().filter(holds).count()).into(),
    }
}

pub(super) fn pod_restarts(pod: &Value) -> Value {
    let statuses = list_at(pod, &["status", "containerStatuses"]).iter();
    statuses
        .map(|one| one["restartCount"].as_u64().unwrap_or_default())
        .sum::<u64>()
        .to_string()
        .into()
}

pub(super) fn external_ip(service: &Value) -> Value {
    let kind = text_at(service, &["spec", "type"]);
    if kind == "ExternalName" {
        return text_at(service, &["spec", "externalName"]).into();
    }
    let ingress = list_at(service, &["status", "loadBalancer", "ingress"]).iter();
    let balanced = ingress.map(|one| match text_at(one, &["ip"]) {
        "" => text_at(one, &["hostname"]),
        ip => ip,
    });
    let mut all: Vec<&str> = balanced
        .filter(|place| kind == "LoadBalancer" && !place.is_empty())
        .collect();
    all.extend(strings_at(service, &["spec", "externalIPs"]));
    match all.is_empty() {
        true if kind == "LoadBalancer" => "<pending>".into(),
        true => "<none>".into(),
        false => all.join(",").into(),
    }
}

pub(super) fn service_ports(service: &Value) -> Value {
    let ports = list_at(service, &["spec", "ports"]).iter().map(|port| {
        let node = port["nodePort"]
            .as_u64()
            .map(|node| format!(":{node}"))
            .unwrap_or_default();
        format!("{}{node}/{}", port["port"], text_at(port, &["protocol"]))
    });
    none_if_empty(&ports.collect::<Vec<_>>().join(","))
}

pub(super) fn node_status(node: &Value) -> Value {
    let ready = list_at(node, &["status", "conditions"])
        .iter()
        .find(|one| one["type"] == "Ready");
    let mut status = match ready.map(|one| text_at(one, &["status"])) {
        Some("True") => "Ready".to_owned(),
        Some(_) => "NotReady".to_owned(),
        None => "Unknown".to_owned(),
    };
    if node["spec"]["unschedulable"] == json!(true) {
        status.push_str(",SchedulingDisabled");
    }
    status.into()
}

pub(super) fn node_roles(node: &Value) -> Value {
    let labels = node["metadata"]["labels"].as_object().into_iter().flatten();
    let mut roles: Vec<&str> = labels
        .filter_map(|(key, value)| match key.as_str() {
            "kubernetes.io/role" => value.as_str(),
            key => key.strip_prefix("node-role.kubernetes.io/"),
        })
        .filter(|role| !role.is_empty())
        .collect();
    roles.sort_unstable();
    none_if_empty(&roles.join(","))
}

pub(super) fn node_info(node: &Value, field: &str) -> Value {
    match text_at(node, &["status", "nodeInfo", field]) {
        "" => "<unknown>".into(),
        known => known.into(),
    }
}

pub(super) fn node_address(node: &Value, kind: &str) -> Value {
    let found = list_at(node, &["status", "addresses"])
        .iter()
        .find(|one| one["type"] == kind);
    none_if_empty(found.map_or("", |one| text_at(one, &["address"])))
}

/// `10.0.0.1:80,…`
pub(super) fn endpoints(object: &Value) -> Value {
    let mut all = Vec::new();
    for subset in list_at(object, &["subsets"]) {
        let addresses = || list_at(subset, &["addresses"]).iter().map(|one| text_at(one, &["ip"]));
        let ports = list_at(subset, &["ports"]);
        if ports.is_empty() {
            all.extend(addresses().map(str::to_owned));
        }
        for port in ports {
            all.extend(addresses().map(|ip| match ip.contains(':') {
                true => format!("[{ip}]:{}", port["port"]),
                false => format!("{ip}:{}", port["port"]),
            }));
        }
    }
    some(&all, "<none>")
}

pub(super) fn slice_ports(slice: &Value) -> Value {
    let ports = list_at(slice, &["ports"]).iter();
    let ports = ports.map(|port| match (port["port"].as_u64(), text_at(port, &["name"])) {
        (Some(number), _) => number.to_string(),
        (None, "") => "*".to_owned(),
        (None, name) => name.to_owned(),
    });
    some(&ports.collect::<Vec<_>>(), "<unset>")
}

pub(super) fn slice_endpoints(slice: &Value) -> Value {
    let all = list_at(slice, &["endpoints"])
        .iter()
        .flat_map(|one| strings_at(one, &["addresses"]));
    some(&all.map(str::to_owned).collect::<Vec<_>>(), "<unset>")
}

/// The subjects of one kind.
pub(super) fn subjects(binding: &Value, kind: &str) -> Value {
    let subjects = list_at(binding, &["subjects"]).iter().filter(|one| one["kind"] == kind);
    let names = subjects.map(|one| match (kind, text_at(one, &["name"])) {
        ("ServiceAccount", name) => format!("{}/{name}", text_at(one, &["namespace"])),
        (_, name) => name.to_owned(),
    });
    names.collect::<Vec<_>>().join(", ").into()
}

pub(super) fn api_service_backend(service: &Value) -> Value {
    let backend = &service["spec"]["service"];
    match backend.is_object() {
        true => format!("{}/{}", text_at(backend, &["namespace"]), text_at(backend, &["name"])).into(),
        false => "Local".into(),
    }
}

pub(super) fn api_service_available(service: &Value) -> Value {
    let mut conditions = list_at(service, &["status", "conditions"]).iter();
    let Some(condition) = conditions.find(|one| one["type"] == "Available") else {
        return "Unknown".into();
    };
    match text_at(condition, &["status"]) {
        "True" => "True".into(),
        status => format!("{status} ({})", text_at(condition, &["reason"])).into(),
    }
}

/// A field of an event, which has another name in each of its two groups.
fn either<'a>(event: &'a Value, old: &str, new: &str) -> &'a Value {
    match &event[old] {
        Value::Null => &event[new],
        found => found,
    }
}

/// A field of the object that an event is about.
pub(super) fn event_part<'a>(event: &'a Value, field: &str) -> &'a str {
    text_at(either(event, "involvedObject", "regarding"), &[field])
}

pub(super) fn event_object(event: &Value) -> Value {
    let kind = event_part(event, "kind").to_lowercase();
    match event_part(event, "name") {
        "" => kind.into(),
        name => format!("{kind}/{name}").into(),
    }
}

pub(super) fn event_message(event: &Value) -> Value {
    either(event, "message", "note")
        .as_str()
        .unwrap_or_default()
        .trim()
        .into()
}

pub(super) fn event_source(event: &Value) -> Value {
    let source = either(event, "source", "deprecatedSource");
    let (component, instance) = match text_at(source, &["component"]) {
        "" => {
            let reporting = either(event, "reportingComponent", "reportingController");
            (
                reporting.as_str().unwrap_or_default(),
                text_at(event, &["reportingInstance"]),
            )
        }
        component => (component, text_at(source, &["host"])),
    };
    match instance {
        "" => component.into(),
        instance => format!("{component}, {instance}").into(),
    }
}

pub(super) fn event_count(event: &Value) -> Value {
    let once = either(event, "count", "deprecatedCount")
        .as_i64()
        .filter(|count| *count > 0);
    event["series"]["count"].as_i64().or(once).unwrap_or(1).into()
}

pub(super) fn event_first_seen(event: &Value) -> &str {
    let first = either(event, "firstTimestamp", "deprecatedFirstTimestamp").as_str();
    first.unwrap_or_else(|| text_at(event, &["eventTime"]))
}

pub(super) fn event_last_seen(event: &Value) -> &str {
    let last = either(event, "lastTimestamp", "deprecatedLastTimestamp").as_str();
    let repeated = event["series"]["lastObservedTime"].as_str();
    repeated.or(last).unwrap_or_else(|| event_first_seen(event))
}

/// How many of many are shown.
const SHOWN: usize = 3;
