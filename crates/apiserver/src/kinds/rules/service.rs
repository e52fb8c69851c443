//! Service: what is defaulted, what an update keeps, what is refused.

use serde_json::{Map, Value, json};

use super::{Context, NameRule, Rules};
use crate::{
    field::FieldError,
    kinds::names,
    object::{child_mut, list_at, set_default, text_at},
    status::Status,
};

mod addresses;
mod ports;

pub(crate) use addresses::ServicePrefixes;

#[derive(Debug)]
pub(crate) struct Services;

impl Rules for Services {
    fn default(&self, object: &mut Value) {
        let spec = child_mut(object, "spec");
        set_default(spec, "type", "ClusterIP");
        set_default(spec, "sessionAffinity", "None");
        match spec["sessionAffinity"].as_str() {
            Some("ClientIP") => {
                let config = json!({"clientIP": {"timeoutSeconds": 10800}});
                set_default(spec, "sessionAffinityConfig", config);
            }
            Some("None") => {
                spec.shift_remove("sessionAffinityConfig");
            }
            _ => {}
        }
        if spec["type"] != "ExternalName" {
            set_default(spec, "internalTrafficPolicy", "Cluster");
        }
        if is_reached_from_outside(spec) {
            set_default(spec, "externalTrafficPolicy", "Cluster");
        }
        if spec["type"] == "LoadBalancer" {
            set_default(spec, "allocateLoadBalancerNodePorts", true);
        }
        let ingress = object
            .pointer_mut("/status/loadBalancer/ingress")
            .and_then(Value::as_array_mut);
        for one in ingress.into_iter().flatten().filter(|one| one["ip"].is_string()) {
            set_default(one.as_object_mut().expect("has a field"), "ipMode", "VIP");
        }
        let ports = object.pointer_mut("/spec/ports").and_then(Value::as_array_mut);
        for port in ports.into_iter().flatten().filter_map(Value::as_object_mut) {
            set_default(port, "protocol", "TCP");
            let is_unset = |target: &Value| *target == 0 || *target == "";
            if port.get("targetPort").is_some_and(is_unset) {
                port.shift_remove("targetPort");
            }
            if let Some(number) = port.get("port").cloned() {
                set_default(port, "targetPort", number);
            }
        }
    }

    fn create(&self, object: &mut Value, context: &Context<'_>) -> Result<(), Status> {
        object["status"] = json!({"loadBalancer": {}});
        addresses::allocate(object, context)?;
        ports::allocate(object, context)
    }

    fn update(&self, old: &Value, new: &mut Value, context: &Context<'_>) -> Result<(), Status> {
        let before = &old["spec"];
        let had_nodes = ports::are_on_nodes(before);
        let has_nodes = ports::are_on_nodes(&new["spec"]);
        let spec = child_mut(new, "spec");
        let has_addresses = spec["type"] != "ExternalName";
        for field in ADDRESSES {
            match before.get(field) {
                Some(value) if has_addresses => set_default(spec, field, value.clone()),
                Some(_) => drop_unchanged(before, spec, field),
                None => {}
            }
        }
        match (had_nodes, has_nodes) {
            (true, true) => ports::keep(before, spec),
            (true, false) => drop_node_ports(before, spec),
            _ => {}
        }
        if before["type"] == "LoadBalancer" && spec["type"] != "LoadBalancer" {
            drop_unchanged(before, spec, "allocateLoadBalancerNodePorts");
            drop_unchanged(before, spec, "loadBalancerClass");
        }
        if before.as_object().is_some_and(is_reached_from_outside) && !is_reached_from_outside(spec) {
            drop_unchanged(before, spec, "externalTrafficPolicy");
        }
        addresses::allocate(new, context)?;
        ports::allocate(new, context)
    }

    fn validate(&self, object: &Value, old: Option<&Value>) -> Vec<FieldError> {
        let spec = &object["spec"];
        let mut errors = Vec::new();
        let kind = text_at(spec, &["type"]);
        let is_headless = text_at(spec, &["clusterIP"]) == "None";
        if list_at(spec, &["ports"]).is_empty() && !is_headless && kind != "ExternalName" {
            errors.push(FieldError::required("spec.ports", ""));
        }
        errors.extend(wrong_for_type(spec, kind, is_headless));
        errors.extend(ports::check(spec));
        errors.extend(wrong_affinity(spec));
        let (before, after) = (old.map(|old| &old["spec"]["clusterIPs"]), &spec["clusterIPs"]);
        if kind != "ExternalName" && before.is_some_and(|before| before.is_array() && before[0] != after[0]) {
            let why = "may not change once set";
            errors.push(FieldError::invalid("spec.clusterIPs[0]", after.clone(), why));
        }
        if !TYPES.contains(&kind) {
            errors.push(FieldError::not_supported("spec.type", kind, TYPES));
        }
        errors.extend(ports::check_together(spec));
        for field in ["internalTrafficPolicy", "externalTrafficPolicy"] {
            let given = text_at(spec, &[field]);
            if !given.is_empty() && !POLICIES.contains(&given) {
                errors.push(FieldError::not_supported(format!("spec.{field}"), given, POLICIES));
            }
        }
        errors
    }

    fn names(&self) -> NameRule {
        NameRule::Label
    }
}

fn is_reached_from_outside(spec: &Map<String, Value>) -> bool {
    let has_addresses = spec
        .get("externalIPs")
        .and_then(Value::as_array)
        .is_some_and(|ips| !ips.is_empty());
    match spec.get("type").and_then(Value::as_str) {
        Some("NodePort" | "LoadBalancer") => true,
        Some("ClusterIP") => has_addresses,
        _ => false,
    }
}

/// Removes what an update sends back as it was, though the service's new type has no use for it.
fn drop_unchanged(before: &Value, spec: &mut Map<String, Value>, field: &str) {
    if spec.get(field) == before.get(field) {
        spec.shift_remove(field);
    }
}

fn drop_node_ports(before: &Value, spec: &mut Map<String, Value>) {
    let nodes = |ports: &[Value]| {
        ports
            .iter()
            .filter_map(|port| port["nodePort"].as_u64())
            .collect::<Vec<_>>()
    };
    let Some(ports) = spec.get_mut("ports").and_then(Value::as_array_mut) else {
        return;
    };
    if nodes(list_at(before, &["ports"])) == nodes(ports) {
        for port in ports.iter_mut().filter_map(Value::as_object_mut) {
            port.shift_remove("nodePort");
        }
    }
}

/// What services of one type may not have, or must have.
fn wrong_for_type(spec: &Value, kind: &str, is_headless: bool) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if is_headless && matches!(kind, "LoadBalancer" | "NodePort") {
        let why = format!("may not be set to 'None' for {kind} services");
        errors.push(FieldError::invalid("spec.clusterIPs[0]", "None", why));
    }
    if kind == "ExternalName" {
        let set = ["clusterIPs", "ipFamilies", "ipFamilyPolicy"].into_iter();
        let set = set.filter(|field| spec.get(field).is_some_and(|value| !value.is_null()));
        let why = "may not be set for ExternalName services";
        errors.extend(set.map(|field| FieldError::forbidden(format!("spec.{field}"), why)));
        let name = text_at(spec, &["externalName"]);
        match name.strip_suffix('.').unwrap_or(name) {
            "" => errors.push(FieldError::required("spec.externalName", "")),
            bare => {
                let wrong = names::wrong_subdomain(bare).into_iter();
                errors.extend(wrong.map(|why| FieldError::invalid("spec.externalName", bare, why)));
            }
        }
    }
    errors
}

fn wrong_affinity(spec: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let affinity = text_at(spec, &["sessionAffinity"]);
    if !["ClientIP", "None"].contains(&affinity) {
        errors.push(FieldError::not_supported(
            "spec.sessionAffinity",
            affinity,
            ["ClientIP", "None"],
        ));
    }
    let seconds = spec["sessionAffinityConfig"]["clientIP"]["timeoutSeconds"].as_i64();
    if let Some(wrong) = seconds.filter(|seconds| affinity == "ClientIP" && !(1..=86_400).contains(seconds)) {
        let at = "spec.sessionAffinityConfig.clientIP.timeoutSeconds";
        errors.push(FieldError::invalid(
            at,
            wrong,
            "must be greater than 0 and less than 86400",
        ));
    }
    errors
}

const ADDRESSES: [&str; 4] = ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"];
const TYPES: [&str; 4] = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
const POLICIES: [&str; 2] = ["Cluster", "Local"];

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(spec: &Value) -> Vec<String> {
        let mut service = json!({"spec": spec});
        Services.default(&mut service);
        let errors = Services.validate(&service, None);
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn ports_are_told_apart_by_name_number_and_protocol() {
        let of = |ports: Value| wrong(&json!({"ports": ports}));
        assert!(of(json!([{"port": 53, "name": "a"}, {"port": 53, "name": "b", "protocol": "UDP"}])).is_empty());
        assert_eq!(
            of(json!([{"port": 80, "name": "a"}, {"port": 80, "name": "b"}])),
            [
                "spec.ports[1]: Duplicate value: {\"Name\":\"\",\"Protocol\":\"TCP\",\"AppProtocol\":null,\"Port\":80,\
              \"TargetPort\":0,\"NodePort\":0}"
            ]
        );
        assert_eq!(
            of(json!([{"port": 80, "name": "a"}, {"port": 81}])),
            ["spec.ports[1].name: Required value"]
        );
        assert_eq!(of(json!([{"port": 0, "targetPort": "no port"}])).len(), 2);
        assert_eq!(
            of(json!([{"port": 80, "nodePort": 30080}])),
            ["spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'"]
        );
    }

    #[test]
    fn types_exclude_each_other() {
        assert_eq!(
            wrong(&json!({"type": "NodePort", "clusterIP": "None", "ports": [{"port": 80}]})),
            ["spec.clusterIPs[0]: Invalid value: \"None\": may not be set to 'None' for NodePort services"]
        );
        assert_eq!(
            wrong(&json!({"type": "ExternalName"})),
            ["spec.externalName: Required value"]
        );
        assert!(wrong(&json!({"type": "ExternalName", "externalName": "a.example."})).is_empty());
        assert_eq!(wrong(&json!({"type": "Tunnel", "ports": [{"port": 80}]})).len(), 1);
    }

    #[test]
    fn balancers_ask_for_node_ports() {
        let mut service = json!({"spec": {"type": "LoadBalancer", "ports": [{"port": 80, "targetPort": 0}]}});
        Services.default(&mut service);
        assert_eq!(service["spec"]["allocateLoadBalancerNodePorts"], true);
        assert_eq!(service["spec"]["externalTrafficPolicy"], "Cluster");
        assert_eq!(service["spec"]["ports"][0]["targetPort"], 80);
    }
}
