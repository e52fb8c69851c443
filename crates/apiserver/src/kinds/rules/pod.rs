//! Pod, and the pod templates of workloads.

use serde_json::{Map, Value, json};

use super::{Context, Rules, conditions, containers};
use crate::{
    field::FieldError,
    object::{child_mut, list_at, set_default},
    status::Status,
};

#[derive(Debug)]
pub(crate) struct Pods;

impl Rules for Pods {
    fn default(&self, object: &mut Value) {
        child_mut(object, "spec");
        conditions(object, &["lastProbeTime", "lastTransitionTime"]);
        default_spec(&mut object["spec"]);
        set_default(child_mut(object, "spec"), "enableServiceLinks", true);
    }

    /// What the admission plugins of a real server set.
    fn create(&self, object: &mut Value, _context: &Context<'_>) -> Result<(), Status> {
        object["status"] = json!({"phase": "Pending", "qosClass": qos(object)});
        let spec = child_mut(object, "spec");
        let account = ["serviceAccountName", "serviceAccount"]
            .iter()
            .find_map(|field| spec.get(*field)?.as_str());
        let account = account.unwrap_or("default").to_owned();
        spec.insert("serviceAccountName".into(), account.clone().into());
        spec.insert("serviceAccount".into(), account.into());
        set_default(spec, "priority", 0);
        set_default(spec, "preemptionPolicy", "PreemptLowerPriority");
        let tolerations = spec.entry("tolerations").or_insert_with(|| json!([]));
        for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
            let tolerated = |one: &Value| one["key"] == key || (one["key"].is_null() && one["operator"] == "Exists");
            if let Some(list) = tolerations.as_array_mut().filter(|list| !list.iter().any(tolerated)) {
                list.push(json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}));
            }
        }
        Ok(())
    }

    fn validate(&self, object: &Value, old: Option<&Value>) -> Vec<FieldError> {
        let mut errors = containers::check(&object["spec"], "spec");
        for field in ["containers", "initContainers"] {
            let count = |pod: &Value| list_at(pod, &["spec", field]).len();
            if old.is_some_and(|old| count(old) != count(object)) {
                let why = "pod updates may not add or remove containers";
                return vec![FieldError::forbidden(format!("spec.{field}"), why)];
            }
        }
        if old.is_some_and(|old| fixed(old) != fixed(object)) {
            errors.push(FieldError::forbidden(
                "spec",
                "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,\
                 `spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),\
                 `spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)",
            ));
        }
        errors
    }
}

/// The part of a pod's spec that never changes.
fn fixed(pod: &Value) -> Value {
    let mut spec = pod["spec"].clone();
    if let Some(map) = spec.as_object_mut() {
        map.retain(|field, _| {
            !["activeDeadlineSeconds", "tolerations", "terminationGracePeriodSeconds"].contains(&field.as_str())
        });
        for field in ["containers", "initContainers"] {
            let containers = map.get_mut(field).and_then(Value::as_array_mut);
            for container in containers.into_iter().flatten().filter_map(Value::as_object_mut) {
                container.shift_remove("image");
            }
        }
    }
    spec
}

/// Guaranteed when every container's limits equal its requests, BestEffort when there are none.
fn qos(pod: &Value) -> &'static str {
    let containers = list_at(pod, &["spec", "containers"]);
    let part = |container: &Value, part: &str| container["resources"][part].as_object().cloned().unwrap_or_default();
    let none = |one: &Value| part(one, "limits").is_empty() && part(one, "requests").is_empty();
    let full = |one: &Value| {
        let (limits, requests) = (part(one, "limits"), part(one, "requests"));
        ["cpu", "memory"].iter().all(|resource| {
            limits.contains_key(*resource) && requests.get(*resource).is_none_or(|want| *want == limits[*resource])
        })
    };
    match containers {
        all if all.iter().all(none) => "BestEffort",
        all if all.iter().all(full) => "Guaranteed",
        _ => "Burstable",
    }
}

/// The defaults of a pod's spec, in a pod or in a template.
pub(crate) fn default_spec(spec: &mut Value) {
    let Some(spec) = spec.as_object_mut() else { return };
    let host_network = spec.get("hostNetwork").and_then(Value::as_bool).unwrap_or_default();
    for field in ["initContainers", "containers", "ephemeralContainers"] {
        let containers = spec.get_mut(field).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten().filter_map(Value::as_object_mut) {
            default_container(container, host_network);
        }
    }
    let volumes = spec.get_mut("volumes").and_then(Value::as_array_mut);
    for volume in volumes.into_iter().flatten().filter_map(Value::as_object_mut) {
        default_volume(volume);
    }
    set_default(spec, "restartPolicy", "Always");
    set_default(spec, "terminationGracePeriodSeconds", 30);
    set_default(spec, "dnsPolicy", "ClusterFirst");
    set_default(spec, "securityContext", json!({}));
    set_default(spec, "schedulerName", "default-scheduler");
    for (field, other) in [
        ("serviceAccountName", "serviceAccount"),
        ("serviceAccount", "serviceAccountName"),
    ] {
        if let Some(account) = spec.get(field).filter(|value| !value.is_null()).cloned() {
            set_default(spec, other, account);
        }
    }
}

fn default_container(container: &mut Map<String, Value>, host_network: bool) {
    let image = container.get("image").and_then(Value::as_str).unwrap_or_default();
    let tag = image
        .rsplit('/')
        .next()
        .and_then(|last| last.split_once(':'))
        .map(|(_, tag)| tag);
    let latest = !image.contains('@') && tag.is_none_or(|tag| tag == "latest");
    set_default(container, "resources", json!({}));
    set_default(container, "terminationMessagePath", "/dev/termination-log");
    set_default(container, "terminationMessagePolicy", "File");
    set_default(
        container,
        "imagePullPolicy",
        if latest { "Always" } else { "IfNotPresent" },
    );
    let ports = container.get_mut("ports").and_then(Value::as_array_mut);
    for port in ports.into_iter().flatten().filter_map(Value::as_object_mut) {
        set_default(port, "protocol", "TCP");
        if let (true, Some(number)) = (host_network, port.get("containerPort").cloned()) {
            set_default(port, "hostPort", number);
        }
    }
    for field in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(probe) = container.get_mut(field).and_then(Value::as_object_mut) {
            for (name, value) in [
                ("timeoutSeconds", 1),
                ("periodSeconds", 10),
                ("successThreshold", 1),
                ("failureThreshold", 3),
            ] {
                set_default(probe, name, value);
            }
            if let Some(get) = probe.get_mut("httpGet").and_then(Value::as_object_mut) {
                set_default(get, "path", "/");
                set_default(get, "scheme", "HTTP");
            }
        }
    }
    let env = container
        .get_mut("env")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten();
    for reference in env.filter_map(|one| one.get_mut("valueFrom")?.get_mut("fieldRef")?.as_object_mut()) {
        set_default(reference, "apiVersion", "v1");
    }
}

fn default_volume(volume: &mut Map<String, Value>) {
    if volume.keys().all(|field| field == "name") {
        volume.insert("emptyDir".into(), json!({}));
    }
    for field in ["configMap", "secret", "projected", "downwardAPI"] {
        if let Some(source) = volume.get_mut(field).and_then(Value::as_object_mut) {
            set_default(source, "defaultMode", 420);
        }
    }
    if let Some(path) = volume.get_mut("hostPath").and_then(Value::as_object_mut) {
        set_default(path, "type", "");
    }
    let sources = volume
        .get_mut("projected")
        .and_then(|projected| projected.get_mut("sources")?.as_array_mut());
    for source in sources.into_iter().flatten() {
        if let Some(token) = source.get_mut("serviceAccountToken").and_then(Value::as_object_mut) {
            set_default(token, "expirationSeconds", 3600);
        }
    }
}
