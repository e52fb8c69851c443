//! The ports of services, and the ports of nodes that lead to them.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::super::Context;
use crate::{
    field::FieldError,
    kinds::names,
    object::{Object as _, child_mut, list_at, set_default, text_at},
    status::Status,
    store::Resource,
};

/// Whether services of this type are reached at a port of every node.
pub(super) fn are_on_nodes(spec: &Value) -> bool {
    matches!(text_at(spec, &["type"]), "NodePort" | "LoadBalancer")
}

/// A port that is sent back without its node port keeps it.
pub(super) fn keep(before: &Value, spec: &mut Map<String, Value>) {
    let old = list_at(before, &["ports"]);
    let ports = spec.get_mut("ports").and_then(Value::as_array_mut);
    for port in ports.into_iter().flatten().filter_map(Value::as_object_mut) {
        let same = |other: &&Value| other.get("name") == port.get("name");
        if let Some(node) = old.iter().find(same).and_then(|other| other.get("nodePort")).cloned() {
            set_default(port, "nodePort", node);
        }
    }
}

/// Gives the ports of a service the node ports that they lack, or tells why not those that they ask for.
pub(super) fn allocate(object: &mut Value, context: &Context<'_>) -> Result<(), Status> {
    if !are_on_nodes(&object["spec"]) {
        return Ok(());
    }
    let (namespace, name) = (object.namespace().to_owned(), object.name().to_owned());
    let services = context.txn.list(&Resource::new("", "services"), None);
    let others = services
        .iter()
        .filter(|(at, _)| (&at.namespace, &at.name) != (&namespace, &name));
    let taken = others.flat_map(|(_, other)| list_at(other, &["spec", "ports"]));
    let mut taken: BTreeSet<u64> = taken.filter_map(|port| port["nodePort"].as_u64()).collect();
    let draws = object["spec"]["type"] != "LoadBalancer" || object["spec"]["allocateLoadBalancerNodePorts"] != false;
    let ports = child_mut(object, "spec").get_mut("ports").and_then(Value::as_array_mut);
    let mut ports: Vec<_> = ports.into_iter().flatten().filter_map(Value::as_object_mut).collect();
    let mut own = BTreeSet::new();
    for (n, port) in ports.iter().enumerate() {
        let Some(wanted) = port
            .get("nodePort")
            .and_then(Value::as_u64)
            .filter(|wanted| *wanted != 0)
        else {
            continue;
        };
        let why = if !RANGE.contains(&wanted) {
            "provided port is not in the valid range. The range of valid ports is 30000-32767"
        } else if taken.contains(&wanted) {
            "provided port is already allocated"
        } else {
            own.insert(wanted);
            continue;
        };
        let error = FieldError::invalid(format!("spec.ports[{n}].nodePort"), wanted, why);
        return Err(Status::invalid("", "Service", &name, &[error]));
    }
    taken.append(&mut own);
    for port in ports.iter_mut().filter(|_| draws) {
        if port.get("nodePort").is_some_and(|node| *node == 0) {
            port.shift_remove("nodePort");
        }
        if let Some(free) = RANGE.clone().find(|port| !taken.contains(port)) {
            set_default(port, "nodePort", free);
            taken.insert(free);
        }
    }
    Ok(())
}

/// Everything that is wrong with the ports of a service.
pub(super) fn check(spec: &Value) -> Vec<FieldError> {
    let ports = list_at(spec, &["ports"]);
    let mut errors = Vec::new();
    for (n, port) in ports.iter().enumerate() {
        errors.extend(wrong(port, n, ports));
    }
    errors
}

fn wrong(port: &Value, n: usize, ports: &[Value]) -> Vec<FieldError> {
    let at = |field: &str| format!("spec.ports[{n}].{field}");
    let name = text_at(port, &["name"]);
    let mut errors = Vec::new();
    if name.is_empty() && ports.len() > 1 {
        errors.push(FieldError::required(at("name"), ""));
    }
    if !name.is_empty() {
        let wrong = names::wrong_dns_label(name).into_iter();
        errors.extend(wrong.map(|why| FieldError::invalid(at("name"), name, why)));
        if ports[..n].iter().any(|other| other["name"] == name) {
            errors.push(FieldError::duplicate(at("name"), name));
        }
    }
    let is_port = |number: i64| (1..=65_535).contains(&number);
    let number = port["port"].as_i64().unwrap_or_default();
    if !is_port(number) {
        errors.push(FieldError::invalid(at("port"), number, NO_PORT));
    }
    if !["TCP", "UDP", "SCTP"].contains(&text_at(port, &["protocol"])) {
        let given = port["protocol"].clone();
        errors.push(FieldError::not_supported(at("protocol"), given, ["SCTP", "TCP", "UDP"]));
    }
    match &port["targetPort"] {
        Value::Number(target) if !target.as_i64().is_some_and(is_port) => {
            errors.push(FieldError::invalid(at("targetPort"), target.clone(), NO_PORT));
        }
        Value::String(target) => {
            let wrong = names::wrong_port_name(target).into_iter();
            errors.extend(wrong.map(|why| FieldError::invalid(at("targetPort"), target.as_str(), why)));
        }
        _ => {}
    }
    errors
}

fn node_port(port: &Value) -> Option<i64> {
    port["nodePort"].as_i64().filter(|node| *node != 0)
}

/// What only makes sense for some types of services, and pairs that stand there twice.
pub(super) fn check_together(spec: &Value) -> Vec<FieldError> {
    let ports = list_at(spec, &["ports"]);
    let mut errors = Vec::new();
    let with_nodes = || {
        ports
            .iter()
            .enumerate()
            .filter_map(|(n, port)| Some((n, port, node_port(port)?)))
    };
    if spec["type"] == "ClusterIP" {
        let why = "may not be used when `type` is 'ClusterIP'";
        errors.extend(with_nodes().map(|(n, ..)| FieldError::forbidden(format!("spec.ports[{n}].nodePort"), why)));
    }
    for (n, port, node) in with_nodes() {
        let same = |other: &Value| node_port(other) == Some(node) && other["protocol"] == port["protocol"];
        if ports[..n].iter().any(same) {
            errors.push(FieldError::duplicate(format!("spec.ports[{n}].nodePort"), node));
        }
    }
    for (n, port) in ports.iter().enumerate() {
        let same = |other: &Value| other["port"] == port["port"] && other["protocol"] == port["protocol"];
        if ports[..n].iter().any(same) {
            // The real server shows its own type, with what it compares.
            let shown = json!({"Name": "", "Protocol": port["protocol"], "AppProtocol": null, "Port": port["port"],
                               "TargetPort": 0, "NodePort": 0});
            errors.push(FieldError::duplicate(format!("spec.ports[{n}]"), shown));
        }
    }
    errors
}

const RANGE: std::ops::Range<u64> = 30_000..32_768;
const NO_PORT: &str = "must be between 1 and 65535, inclusive";
