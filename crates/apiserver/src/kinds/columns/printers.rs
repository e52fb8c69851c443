//! Cells of the built-in kinds.

use serde_json::{Value, json};

use super::{joined, none_if_empty, number_at};
use crate::{
    object::{list_at, strings_at, text_at},
    selector::LabelSelector,
};

type Printers = &'static [(&'static str, fn(&Value) -> Value)];

/// The columns between name and age, and those after age that only `-o wide` shows.
pub(crate) fn of(group: &str, plural: &str) -> (Printers, Printers) {
    match (group, plural) {
        ("", "pods") => (
            &[("Ready", pod_ready), ("Status", pod_status), ("Restarts", pod_restarts)],
            &[
                ("IP", |pod| none_if_empty(text_at(pod, &["status", "podIP"]))),
                ("Node", |pod| none_if_empty(text_at(pod, &["spec", "nodeName"]))),
                ("Nominated Node", |_| "<none>".into()),
                ("Readiness Gates", |_| "<none>".into()),
            ],
        ),
        ("", "services") => (
            &[
                ("Type", |service| text_at(service, &["spec", "type"]).into()),
                ("Cluster-IP", |service| {
                    none_if_empty(text_at(service, &["spec", "clusterIP"]))
                }),
                ("External-IP", external_ip),
                ("Port(s)", service_ports),
            ],
            &[("Selector", |service| pairs(&service["spec"]["selector"]))],
        ),
        ("", "namespaces") => (
            &[("Status", |namespace| text_at(namespace, &["status", "phase"]).into())],
            &[],
        ),
        ("", "nodes") => (
            &[("Status", node_status), ("Roles", node_roles)],
            &[
                ("Version", |node| {
                    text_at(node, &["status", "nodeInfo", "kubeletVersion"]).into()
                }),
                ("Internal-IP", |node| node_address(node, "InternalIP")),
                ("External-IP", |node| node_address(node, "ExternalIP")),
            ],
        ),
        ("", "configmaps") => (
            &[("Data", |map| (count(&map["data"]) + count(&map["binaryData"])).into())],
            &[],
        ),
        ("", "secrets") => (
            &[
                ("Type", |secret| text_at(secret, &["type"]).into()),
                ("Data", |secret| count(&secret["data"]).into()),
            ],
            &[],
        ),
        ("", "serviceaccounts") => (
            &[("Secrets", |account| list_at(account, &["secrets"]).len().into())],
            &[],
        ),
        ("", "events") => (
            &[
                ("Last Seen", |event| none_if_empty(text_at(event, &["lastTimestamp"]))),
                ("Type", |event| text_at(event, &["type"]).into()),
                ("Reason", |event| text_at(event, &["reason"]).into()),
                ("Object", |event| {
                    let of = |field| text_at(event, &["involvedObject", field]);
                    format!("{}/{}", of("kind").to_lowercase(), of("name")).into()
                }),
                ("Message", |event| text_at(event, &["message"]).trim().into()),
            ],
            &[],
        ),
        ("apps", "deployments") => (
            &[
                ("Ready", |object| ratio(object, "readyReplicas", &["spec", "replicas"])),
                ("Up-to-date", |object| {
                    number_at(object, &["status", "updatedReplicas"]).into()
                }),
                ("Available", |object| {
                    number_at(object, &["status", "availableReplicas"]).into()
                }),
            ],
            TEMPLATE,
        ),
        ("apps", "replicasets") => (
            &[
                ("Desired", |object| number_at(object, &["spec", "replicas"]).into()),
                ("Current", |object| number_at(object, &["status", "replicas"]).into()),
                ("Ready", |object| number_at(object, &["status", "readyReplicas"]).into()),
            ],
            TEMPLATE,
        ),
        ("apps", "statefulsets") => (
            &[("Ready", |object| ratio(object, "readyReplicas", &["spec", "replicas"]))],
            CONTAINERS,
        ),
        ("apps", "controllerrevisions") => (
            &[
                ("Controller", controller),
                ("Revision", |object| number_at(object, &["revision"]).into()),
            ],
            &[],
        ),
        ("apps", "daemonsets") => (
            &[
                ("Desired", |object| {
                    number_at(object, &["status", "desiredNumberScheduled"]).into()
                }),
                ("Current", |object| {
                    number_at(object, &["status", "currentNumberScheduled"]).into()
                }),
                ("Ready", |object| number_at(object, &["status", "numberReady"]).into()),
                ("Up-to-date", |object| {
                    number_at(object, &["status", "updatedNumberScheduled"]).into()
                }),
                ("Available", |object| {
                    number_at(object, &["status", "numberAvailable"]).into()
                }),
                ("Node Selector", |object| {
                    pairs(&object["spec"]["template"]["spec"]["nodeSelector"])
                }),
            ],
            TEMPLATE,
        ),
        ("policy", "poddisruptionbudgets") => (
            &[
                ("Min Available", |budget| int_or_text(&budget["spec"]["minAvailable"])),
                ("Max Unavailable", |budget| {
                    int_or_text(&budget["spec"]["maxUnavailable"])
                }),
                ("Allowed Disruptions", |budget| {
                    number_at(budget, &["status", "disruptionsAllowed"]).into()
                }),
            ],
            &[],
        ),
        ("discovery.k8s.io", "endpointslices") => (
            &[
                ("AddressType", |slice| text_at(slice, &["addressType"]).into()),
                ("Ports", |slice| {
                    let ports = list_at(slice, &["ports"])
                        .iter()
                        .filter_map(|port| port["port"].as_u64());
                    let ports: Vec<String> = ports.map(|port| port.to_string()).collect();
                    if ports.is_empty() {
                        "<unset>".into()
                    } else {
                        ports.join(",").into()
                    }
                }),
                ("Endpoints", |slice| {
                    let all = list_at(slice, &["endpoints"])
                        .iter()
                        .flat_map(|one| strings_at(one, &["addresses"]));
                    let all: Vec<&str> = all.collect();
                    let shown = all.iter().take(3).copied().collect::<Vec<_>>().join(",");
                    match all.len() {
                        0 => "<unset>".into(),
                        1..=3 => shown.into(),
                        more => format!("{shown} + {} more...", more - 3).into(),
                    }
                }),
            ],
            &[],
        ),
        ("coordination.k8s.io", "leases") => (
            &[("Holder", |lease| text_at(lease, &["spec", "holderIdentity"]).into())],
            &[],
        ),
        ("rbac.authorization.k8s.io", "rolebindings" | "clusterrolebindings") => (
            &[("Role", |binding| {
                let of = |field| text_at(binding, &["roleRef", field]);
                format!("{}/{}", of("kind"), of("name")).into()
            })],
            &[],
        ),
        ("networking.k8s.io", "servicecidrs") => (&[("CIDRs", |cidr| joined(cidr, &["spec", "cidrs"]))], &[]),
        _ => (&[], &[]),
    }
}

const TEMPLATE: Printers = &[
    CONTAINERS[0],
    CONTAINERS[1],
    ("Selector", |object| {
        none_if_empty(&LabelSelector::text_of(&object["spec"]["selector"]))
    }),
];
const CONTAINERS: Printers = &[
    ("Containers", |object| joined_field(object, "name")),
    ("Images", |object| joined_field(object, "image")),
];

/// `deployment.apps/web`: which object made this one.
fn controller(object: &Value) -> Value {
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

fn joined_field(object: &Value, field: &str) -> Value {
    let containers = list_at(object, &["spec", "template", "spec", "containers"]);
    containers
        .iter()
        .filter_map(|container| container[field].as_str())
        .collect::<Vec<_>>()
        .join(",")
        .into()
}

/// A number or a share.
fn int_or_text(value: &Value) -> Value {
    match value {
        Value::Null => "N/A".into(),
        Value::String(share) => share.clone().into(),
        number => number.to_string().into(),
    }
}

fn count(map: &Value) -> usize {
    map.as_object().map_or(0, serde_json::Map::len)
}

fn pairs(map: &Value) -> Value {
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

fn ratio(object: &Value, ready: &str, wanted: &[&str]) -> Value {
    format!(
        "{}/{}",
        number_at(object, &["status", ready]),
        number_at(object, wanted)
    )
    .into()
}

fn pod_ready(pod: &Value) -> Value {
    let ready = list_at(pod, &["status", "containerStatuses"])
        .iter()
        .filter(|one| one["ready"] == true)
        .count();
    format!("{ready}/{}", list_at(pod, &["spec", "containers"]).len()).into()
}

fn pod_status(pod: &Value) -> Value {
    if pod["metadata"].get("deletionTimestamp").is_some() {
        return "Terminating".into();
    }
    let reason = |state: &str| {
        let statuses = list_at(pod, &["status", "containerStatuses"]).iter();
        statuses
            .map(|one| text_at(one, &["state", state, "reason"]))
            .find(|reason| !reason.is_empty())
    };
    let given = text_at(pod, &["status", "reason"]);
    let phase = text_at(pod, &["status", "phase"]);
    let shown = Some(given)
        .filter(|text| !text.is_empty())
        .or(reason("waiting"))
        .or(reason("terminated"));
    shown.unwrap_or(phase).into()
}

fn pod_restarts(pod: &Value) -> Value {
    let statuses = list_at(pod, &["status", "containerStatuses"]).iter();
    statuses
        .map(|one| one["restartCount"].as_u64().unwrap_or_default())
        .sum::<u64>()
        .to_string()
        .into()
}

fn external_ip(service: &Value) -> Value {
    let mut all: Vec<&str> = strings_at(service, &["spec", "externalIPs"]);
    let ingress = list_at(service, &["status", "loadBalancer", "ingress"]);
    all.extend(
        ingress
            .iter()
            .map(|one| text_at(one, &["ip"]))
            .filter(|ip| !ip.is_empty()),
    );
    match (text_at(service, &["spec", "type"]), all.is_empty()) {
        ("ExternalName", _) => text_at(service, &["spec", "externalName"]).into(),
        ("LoadBalancer", true) => "<pending>".into(),
        (_, true) => "<none>".into(),
        _ => all.join(",").into(),
    }
}

fn service_ports(service: &Value) -> Value {
    let ports = list_at(service, &["spec", "ports"]).iter().map(|port| {
        let node = port["nodePort"]
            .as_u64()
            .map(|node| format!(":{node}"))
            .unwrap_or_default();
        format!("{}{node}/{}", port["port"], text_at(port, &["protocol"]))
    });
    none_if_empty(&ports.collect::<Vec<_>>().join(","))
}

fn node_status(node: &Value) -> Value {
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

fn node_roles(node: &Value) -> Value {
    let labels = node["metadata"]["labels"].as_object().into_iter().flatten();
    let roles: Vec<&str> = labels
        .filter_map(|(key, _)| key.strip_prefix("node-role.kubernetes.io/"))
        .collect();
    none_if_empty(&roles.join(","))
}

fn node_address(node: &Value, kind: &str) -> Value {
    let found = list_at(node, &["status", "addresses"])
        .iter()
        .find(|one| one["type"] == kind);
    none_if_empty(found.map_or("", |one| text_at(one, &["address"])))
}
