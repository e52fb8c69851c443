//! Node.

use ipnet::IpNet;
use serde_json::{Value, json};

use super::{Context, Rules, conditions};
use crate::{
    field::FieldError,
    object::{child_mut, set_default, strings_at, text_at},
    status::Status,
};

#[derive(Debug)]
pub(crate) struct Nodes;

impl Rules for Nodes {
    /// `podCIDR` is the first of `podCIDRs`.
    fn default(&self, object: &mut Value) {
        let one = text_at(object, &["spec", "podCIDR"]).to_owned();
        let first = object["spec"]["podCIDRs"][0].as_str().unwrap_or_default().to_owned();
        if !one.is_empty() && first.is_empty() {
            object["spec"]["podCIDRs"] = json!([one]);
        } else if one.is_empty() && !first.is_empty() {
            object["spec"]["podCIDR"] = first.into();
        }
        conditions(object, &["lastHeartbeatTime", "lastTransitionTime"]);
        if object["status"].is_object() {
            zeroes(object);
        }
    }

    /// A node is not ready before somebody says so; admission makes that a taint.
    fn create(&self, object: &mut Value, _context: &Context<'_>) -> Result<(), Status> {
        child_mut(object, "status");
        zeroes(object);
        let taints = child_mut(object, "spec").entry("taints").or_insert_with(|| json!([]));
        let is_ours = |taint: &Value| taint["key"] == NOT_READY && taint["effect"] == "NoSchedule";
        if let Some(taints) = taints.as_array_mut().filter(|taints| !taints.iter().any(is_ours)) {
            taints.push(json!({"key": NOT_READY, "effect": "NoSchedule"}));
        }
        Ok(())
    }

    fn validate(&self, object: &Value, old: Option<&Value>) -> Vec<FieldError> {
        for (n, prefix) in strings_at(object, &["spec", "podCIDRs"]).into_iter().enumerate() {
            if prefix.parse::<IpNet>().is_err() {
                let why = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";
                return vec![FieldError::invalid(format!("spec.podCIDRs[{n}]"), prefix, why)];
            }
        }
        let before = old.map(|old| &old["spec"]["podCIDRs"]).filter(|cidrs| !cidrs.is_null());
        match before {
            Some(before) if *before != object["spec"]["podCIDRs"] => {
                vec![FieldError::forbidden(
                    "spec.podCIDRs",
                    "node updates may not change podCIDR except from \"\" to valid",
                )]
            }
            _ => Vec::new(),
        }
    }
}

/// What Go writes of a status even when nobody has set it.
fn zeroes(object: &mut Value) {
    let status = child_mut(object, "status");
    set_default(status, "daemonEndpoints", json!({"kubeletEndpoint": {"Port": 0}}));
    let info = status.entry("nodeInfo").or_insert_with(|| json!({}));
    if let Some(info) = info.as_object_mut() {
        INFO.iter().for_each(|field| set_default(info, field, ""));
    }
}

const NOT_READY: &str = "node.kubernetes.io/not-ready";

const INFO: [&str; 10] = [
    "machineID",
    "systemUUID",
    "bootID",
    "kernelVersion",
    "osImage",
    "containerRuntimeVersion",
    "kubeletVersion",
    "kubeProxyVersion",
    "operatingSystem",
    "architecture",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_keeps_the_fields_that_go_always_writes() {
        let mut node = json!({"status": {"nodeInfo": {"kubeletVersion": "v1"},
            "conditions": [{"type": "Ready", "status": "True", "reason": "x", "message": ""}]}});
        Nodes.default(&mut node);
        assert_eq!(node["status"]["nodeInfo"]["kubeletVersion"], "v1");
        assert_eq!(node["status"]["nodeInfo"]["bootID"], "");
        let ready = json!({"type": "Ready", "status": "True", "reason": "x", "lastHeartbeatTime": null,
                           "lastTransitionTime": null});
        assert_eq!(node["status"]["conditions"][0], ready);
        let once = node.clone();
        Nodes.default(&mut node);
        assert_eq!(node, once);
    }
}
