//! The columns of the built-in kinds, as the real server has them.

use serde_json::Value;

use super::cells::{
    api_service_available, api_service_backend, controller, count, endpoints, event_count, event_first_seen,
    event_last_seen, event_message, event_object, event_part, event_source, external_ip, int_or_text, joined,
    joined_field, node_address, node_info, node_roles, node_status, none_if_empty, number_at, pairs, pod_gates,
    pod_ready, pod_restarts, pod_status, ready_of_wanted, selector, service_ports, slice_endpoints, slice_ports,
    subjects,
};
use crate::object::{list_at, text_at};

/// One column.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    pub name: &'static str,
    pub kind: &'static str,
    pub priority: i64,
    pub cell: Printed,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Printed {
    Name,
    Age,
    Created,
    Cell(fn(&Value) -> Value),
    /// How long ago a time was.
    Since(fn(&Value) -> &str),
}

const fn row(name: &'static str, kind: &'static str, priority: i64, cell: Printed) -> Row {
    Row {
        name,
        kind,
        priority,
        cell,
    }
}

const fn text(name: &'static str, cell: fn(&Value) -> Value) -> Row {
    row(name, "string", 0, Printed::Cell(cell))
}

const fn integer(name: &'static str, cell: fn(&Value) -> Value) -> Row {
    row(name, "integer", 0, Printed::Cell(cell))
}

/// A column that only `-o wide` shows.
const fn wide(name: &'static str, cell: fn(&Value) -> Value) -> Row {
    row(name, "string", 1, Printed::Cell(cell))
}

const NAME: Row = row("Name", "string", 0, Printed::Name);
const AGE: Row = row("Age", "string", 0, Printed::Age);

/// The columns of a built-in resource.
pub(super) fn of(group: &str, plural: &str) -> &'static [Row] {
    match (group, plural) {
        ("", "pods") => PODS,
        ("", "services") => SERVICES,
        ("", "namespaces") => NAMESPACES,
        ("", "nodes") => NODES,
        ("", "configmaps") => CONFIG_MAPS,
        ("", "secrets") => SECRETS,
        ("", "serviceaccounts") => SERVICE_ACCOUNTS,
        ("", "endpoints") => ENDPOINTS,
        ("" | "events.k8s.io", "events") => EVENTS,
        ("apps", "deployments") => DEPLOYMENTS,
        ("apps", "replicasets") => REPLICA_SETS,
        ("apps", "statefulsets") => STATEFUL_SETS,
        ("apps", "daemonsets") => DAEMON_SETS,
        ("apps", "controllerrevisions") => REVISIONS,
        ("policy", "poddisruptionbudgets") => BUDGETS,
        ("discovery.k8s.io", "endpointslices") => SLICES,
        ("coordination.k8s.io", "leases") => LEASES,
        ("rbac.authorization.k8s.io", "rolebindings" | "clusterrolebindings") => BINDINGS,
        ("networking.k8s.io", "servicecidrs") => SERVICE_RANGES,
        ("networking.k8s.io", "networkpolicies") => NETWORK_POLICIES,
        ("apiregistration.k8s.io", "apiservices") => API_SERVICES,
        ("admissionregistration.k8s.io", "validatingadmissionpolicies") => POLICIES,
        ("admissionregistration.k8s.io", "validatingadmissionpolicybindings") => POLICY_BINDINGS,
        _ => OTHERS,
    }
}

/// Kinds that nobody has written columns for.
const OTHERS: &[Row] = &[NAME, row("Created At", "date", 0, Printed::Created)];

const PODS: &[Row] = &[
    NAME,
    text("Ready", pod_ready),
    text("Status", pod_status),
    text("Restarts", pod_restarts),
    AGE,
    wide("IP", |pod| none_if_empty(text_at(pod, &["status", "podIP"]))),
    wide("Node", |pod| none_if_empty(text_at(pod, &["spec", "nodeName"]))),
    wide("Nominated Node", |pod| {
        none_if_empty(text_at(pod, &["status", "nominatedNodeName"]))
    }),
    wide("Readiness Gates", pod_gates),
];

const SERVICES: &[Row] = &[
    NAME,
    text("Type", |service| text_at(service, &["spec", "type"]).into()),
    text("Cluster-IP", |service| {
        none_if_empty(text_at(service, &["spec", "clusterIP"]))
    }),
    text("External-IP", external_ip),
    text("Port(s)", service_ports),
    AGE,
    wide("Selector", |service| pairs(&service["spec"]["selector"])),
];

const NAMESPACES: &[Row] = &[
    NAME,
    text("Status", |namespace| text_at(namespace, &["status", "phase"]).into()),
    AGE,
];

const NODES: &[Row] = &[
    NAME,
    text("Status", node_status),
    text("Roles", node_roles),
    AGE,
    text("Version", |node| {
        text_at(node, &["status", "nodeInfo", "kubeletVersion"]).into()
    }),
    wide("Internal-IP", |node| node_address(node, "InternalIP")),
    wide("External-IP", |node| node_address(node, "ExternalIP")),
    wide("OS-Image", |node| node_info(node, "osImage")),
    wide("Kernel-Version", |node| node_info(node, "kernelVersion")),
    wide("Container-Runtime", |node| node_info(node, "containerRuntimeVersion")),
];

const CONFIG_MAPS: &[Row] = &[
    NAME,
    text("Data", |map| (count(&map["data"]) + count(&map["binaryData"])).into()),
    AGE,
];

const SECRETS: &[Row] = &[
    NAME,
    text("Type", |secret| text_at(secret, &["type"]).into()),
    text("Data", |secret| count(&secret["data"]).into()),
    AGE,
];

const SERVICE_ACCOUNTS: &[Row] = &[
    NAME,
    text("Secrets", |account| list_at(account, &["secrets"]).len().into()),
    AGE,
];

const ENDPOINTS: &[Row] = &[NAME, text("Endpoints", endpoints), AGE];

const EVENTS: &[Row] = &[
    row("Last Seen", "string", 0, Printed::Since(event_last_seen)),
    text("Type", |event| text_at(event, &["type"]).into()),
    text("Reason", |event| text_at(event, &["reason"]).into()),
    text("Object", event_object),
    wide("Subobject", |event| event_part(event, "fieldPath").into()),
    wide("Source", event_source),
    text("Message", event_message),
    row("First Seen", "string", 1, Printed::Since(event_first_seen)),
    wide("Count", event_count),
    wide("Name", |event| text_at(event, &["metadata", "name"]).into()),
];

const DEPLOYMENTS: &[Row] = &[
    NAME,
    text("Ready", ready_of_wanted),
    text("Up-to-date", |object| {
        number_at(object, &["status", "updatedReplicas"]).into()
    }),
    text("Available", |object| {
        number_at(object, &["status", "availableReplicas"]).into()
    }),
    AGE,
    CONTAINERS,
    IMAGES,
    SELECTOR,
];

const REPLICA_SETS: &[Row] = &[
    NAME,
    integer("Desired", |object| number_at(object, &["spec", "replicas"]).into()),
    integer("Current", |object| number_at(object, &["status", "replicas"]).into()),
    integer("Ready", |object| number_at(object, &["status", "readyReplicas"]).into()),
    AGE,
    CONTAINERS,
    IMAGES,
    SELECTOR,
];

const STATEFUL_SETS: &[Row] = &[NAME, text("Ready", ready_of_wanted), AGE, CONTAINERS, IMAGES];

const DAEMON_SETS: &[Row] = &[
    NAME,
    integer("Desired", |object| {
        number_at(object, &["status", "desiredNumberScheduled"]).into()
    }),
    integer("Current", |object| {
        number_at(object, &["status", "currentNumberScheduled"]).into()
    }),
    integer("Ready", |object| number_at(object, &["status", "numberReady"]).into()),
    integer("Up-to-date", |object| {
        number_at(object, &["status", "updatedNumberScheduled"]).into()
    }),
    integer("Available", |object| {
        number_at(object, &["status", "numberAvailable"]).into()
    }),
    text("Node Selector", |object| {
        pairs(&object["spec"]["template"]["spec"]["nodeSelector"])
    }),
    AGE,
    CONTAINERS,
    IMAGES,
    SELECTOR,
];

const CONTAINERS: Row = wide("Containers", |object| joined_field(object, "name"));
const IMAGES: Row = wide("Images", |object| joined_field(object, "image"));
const SELECTOR: Row = wide("Selector", |object| selector(&object["spec"]["selector"]));

const REVISIONS: &[Row] = &[
    NAME,
    text("Controller", controller),
    text("Revision", |object| number_at(object, &["revision"]).into()),
    AGE,
];

const BUDGETS: &[Row] = &[
    NAME,
    text("Min Available", |budget| int_or_text(&budget["spec"]["minAvailable"])),
    text("Max Unavailable", |budget| {
        int_or_text(&budget["spec"]["maxUnavailable"])
    }),
    integer("Allowed Disruptions", |budget| {
        number_at(budget, &["status", "disruptionsAllowed"]).into()
    }),
    AGE,
];

const SLICES: &[Row] = &[
    NAME,
    text("AddressType", |slice| text_at(slice, &["addressType"]).into()),
    text("Ports", slice_ports),
    text("Endpoints", slice_endpoints),
    AGE,
];

const LEASES: &[Row] = &[
    NAME,
    text("Holder", |lease| text_at(lease, &["spec", "holderIdentity"]).into()),
    AGE,
];

const BINDINGS: &[Row] = &[
    NAME,
    text("Role", |binding| {
        let of = |field| text_at(binding, &["roleRef", field]);
        format!("{}/{}", of("kind"), of("name")).into()
    }),
    AGE,
    wide("Users", |binding| subjects(binding, "User")),
    wide("Groups", |binding| subjects(binding, "Group")),
    wide("ServiceAccounts", |binding| subjects(binding, "ServiceAccount")),
];

const SERVICE_RANGES: &[Row] = &[NAME, text("CIDRs", |cidr| joined(cidr, &["spec", "cidrs"])), AGE];

const NETWORK_POLICIES: &[Row] = &[
    NAME,
    text("Pod-Selector", |policy| selector(&policy["spec"]["podSelector"])),
    AGE,
];

const API_SERVICES: &[Row] = &[
    NAME,
    text("Service", api_service_backend),
    text("Available", api_service_available),
    AGE,
];

const POLICIES: &[Row] = &[
    NAME,
    integer("Validations", |policy| {
        list_at(policy, &["spec", "validations"]).len().into()
    }),
    text("ParamKind", |policy| {
        let of = |field| text_at(policy, &["spec", "paramKind", field]);
        match of("kind") {
            "" => "<unset>".into(),
            kind => format!("{}/{kind}", of("apiVersion")).into(),
        }
    }),
    AGE,
];

const POLICY_BINDINGS: &[Row] = &[
    NAME,
    text("PolicyName", |binding| text_at(binding, &["spec", "policyName"]).into()),
    text("ParamRef", |binding| {
        let of = |field| text_at(binding, &["spec", "paramRef", field]);
        match (of("namespace"), of("name")) {
            (_, "") => "<unset>".into(),
            ("", name) => name.into(),
            (namespace, name) => format!("{namespace}/{name}").into(),
        }
    }),
    AGE,
];
