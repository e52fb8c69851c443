//! What is wrong with the spec of a pod, in a pod or in a template: containers and what they refer to.

use serde_json::Value;

use crate::{
    field::FieldError,
    kinds::names,
    object::{list_at, text_at},
};

/// Everything that is wrong with the spec at `path`.
pub(super) fn check(spec: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = wrong_volumes(spec, path);
    let volumes: Vec<&str> = list_at(spec, &["volumes"])
        .iter()
        .map(|one| text_at(one, &["name"]))
        .collect();
    let mut taken = Vec::new();
    if list_at(spec, &["containers"]).is_empty() {
        errors.push(FieldError::required(format!("{path}.containers"), ""));
    }
    for field in ["containers", "initContainers"] {
        for (n, container) in list_at(spec, &[field]).iter().enumerate() {
            let at = format!("{path}.{field}[{n}]");
            let name = text_at(container, &["name"]);
            errors.extend(wrong_name(name, &format!("{at}.name"), &taken));
            taken.push(name);
            errors.extend(wrong_container(container, &at, &volumes));
        }
    }
    let one_of = |field: &str, known: &[&'static str]| {
        let given = text_at(spec, &[field]);
        let is_wrong = !given.is_empty() && !known.contains(&given);
        is_wrong.then(|| FieldError::not_supported(format!("{path}.{field}"), given, known.iter().copied()))
    };
    errors.extend(one_of("restartPolicy", &["Always", "OnFailure", "Never"]));
    errors.extend(one_of(
        "dnsPolicy",
        &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"],
    ));
    for field in ["terminationGracePeriodSeconds", "activeDeadlineSeconds"] {
        if let Some(seconds) = spec[field].as_i64().filter(|seconds| *seconds < 0) {
            let why = "must be greater than or equal to 0";
            errors.push(FieldError::invalid(format!("{path}.{field}"), seconds, why));
        }
    }
    errors
}

fn wrong_volumes(spec: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut taken = Vec::new();
    for (n, volume) in list_at(spec, &["volumes"]).iter().enumerate() {
        let name = text_at(volume, &["name"]);
        errors.extend(wrong_name(name, &format!("{path}.volumes[{n}].name"), &taken));
        taken.push(name);
    }
    errors
}

fn wrong_name(name: &str, at: &str, taken: &[&str]) -> Vec<FieldError> {
    if name.is_empty() {
        return vec![FieldError::required(at, "")];
    }
    let wrong = names::wrong_dns_label(name).into_iter();
    let mut errors: Vec<FieldError> = wrong.map(|why| FieldError::invalid(at, name, why)).collect();
    if errors.is_empty() && taken.contains(&name) {
        errors.push(FieldError::duplicate(at, name));
    }
    errors
}

fn wrong_container(container: &Value, path: &str, volumes: &[&str]) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let image = text_at(container, &["image"]);
    if image.is_empty() {
        errors.push(FieldError::required(format!("{path}.image"), ""));
    } else if image.trim() != image {
        let why = "must not have leading or trailing whitespace";
        errors.push(FieldError::invalid(format!("{path}.image"), image, why));
    }
    for (n, port) in list_at(container, &["ports"]).iter().enumerate() {
        errors.extend(wrong_port(port, &format!("{path}.ports[{n}]")));
    }
    for (n, variable) in list_at(container, &["env"]).iter().enumerate() {
        let at = format!("{path}.env[{n}]");
        if text_at(variable, &["name"]).is_empty() {
            errors.push(FieldError::required(format!("{at}.name"), ""));
        }
        if !text_at(variable, &["value"]).is_empty() && variable["valueFrom"].is_object() {
            let why = "may not be specified when `value` is not empty";
            errors.push(FieldError::invalid(format!("{at}.valueFrom"), "", why));
        }
    }
    let mut paths = Vec::new();
    for (n, mount) in list_at(container, &["volumeMounts"]).iter().enumerate() {
        let at = |field: &str| format!("{path}.volumeMounts[{n}].{field}");
        let (name, place) = (text_at(mount, &["name"]), text_at(mount, &["mountPath"]));
        match name {
            "" => errors.push(FieldError::required(at("name"), "")),
            _ if !volumes.contains(&name) => errors.push(FieldError::not_found(at("name"), name)),
            _ => {}
        }
        match place {
            "" => errors.push(FieldError::required(at("mountPath"), "")),
            _ if paths.contains(&place) => errors.push(FieldError::invalid(at("mountPath"), place, "must be unique")),
            _ => {}
        }
        paths.push(place);
    }
    let policy = text_at(container, &["imagePullPolicy"]);
    let known = ["Always", "IfNotPresent", "Never"];
    if !policy.is_empty() && !known.contains(&policy) {
        errors.push(FieldError::not_supported(
            format!("{path}.imagePullPolicy"),
            policy,
            known,
        ));
    }
    errors
}

fn wrong_port(port: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let at = |field: &str| format!("{path}.{field}");
    let name = text_at(port, &["name"]);
    if !name.is_empty() {
        let wrong = names::wrong_port_name(name).into_iter();
        errors.extend(wrong.map(|why| FieldError::invalid(at("name"), name, why)));
    }
    let why = "must be between 1 and 65535, inclusive";
    match port["containerPort"].as_i64() {
        None | Some(0) => errors.push(FieldError::required(at("containerPort"), "")),
        Some(1..=65_535) => {}
        Some(other) => errors.push(FieldError::invalid(at("containerPort"), other, why)),
    }
    if let Some(other) = port["hostPort"].as_i64().filter(|other| !(0..=65_535).contains(other)) {
        errors.push(FieldError::invalid(at("hostPort"), other, why));
    }
    let protocol = text_at(port, &["protocol"]);
    if !["", "TCP", "UDP", "SCTP"].contains(&protocol) {
        errors.push(FieldError::not_supported(
            at("protocol"),
            protocol,
            ["SCTP", "TCP", "UDP"],
        ));
    }
    errors
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pod_refers_to_what_it_has() {
        let wrong = |spec: Value| check(&spec, "spec").iter().map(ToString::to_string).collect::<Vec<_>>();
        let good = json!({"volumes": [{"name": "v"}], "restartPolicy": "Never", "containers": [{"name": "a", "image": "i",
            "ports": [{"name": "http", "containerPort": 80}], "volumeMounts": [{"name": "v", "mountPath": "/v"}]}]});
        assert_eq!(wrong(good), [""; 0]);
        let container = |fields: Value| {
            let mut container = json!({"name": "a", "image": "i"});
            container
                .as_object_mut()
                .unwrap()
                .extend(fields.as_object().unwrap().clone());
            json!({"containers": [container]})
        };
        for (spec, expected) in [
            (json!({}), "spec.containers: Required value"),
            (
                container(json!({"name": ""})),
                "spec.containers[0].name: Required value",
            ),
            (
                container(json!({"image": ""})),
                "spec.containers[0].image: Required value",
            ),
            (
                container(json!({"volumeMounts": [{"name": "w", "mountPath": "/w"}]})),
                "spec.containers[0].volumeMounts[0].name: Not found: \"w\"",
            ),
            (
                container(json!({"ports": [{"containerPort": 70_000}]})),
                "spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive",
            ),
            (
                container(json!({"imagePullPolicy": "Maybe"})),
                "spec.containers[0].imagePullPolicy: Unsupported value: \"Maybe\": supported values: \"Always\", \
                 \"IfNotPresent\", \"Never\"",
            ),
            (
                json!({"containers": [{"name": "a", "image": "i"}, {"name": "a", "image": "i"}]}),
                "spec.containers[1].name: Duplicate value: \"a\"",
            ),
        ] {
            assert_eq!(wrong(spec), [expected]);
        }
    }
}
