//! What is known of a pod while it runs, and the status that this makes.

use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Container, Pod};
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

/// What is known of a pod.
#[derive(Debug, Clone)]
pub(super) struct PodState {
    pub(super) started_at: Timestamp,
    pub(super) addresses: Vec<IpAddr>,
    pub(super) containers: BTreeMap<String, ContainerState>,
}

/// What is known of a container.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ContainerState {
    pub(super) phase: Phase,
    pub(super) last: Option<End>,
    pub(super) restarts: i32,
    pub(super) is_ready: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Phase {
    Waiting {
        reason: String,
        message: String,
    },
    Running {
        since: Timestamp,
    },
    /// For good.
    Ended(End),
}

/// How a process ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct End {
    pub(super) started_at: Timestamp,
    pub(super) finished_at: Timestamp,
    /// Not known of a process that an earlier kubelet started.
    pub(super) code: Option<i32>,
}

impl ContainerState {
    pub(super) fn waiting(reason: &str, message: &str) -> Self {
        let phase = Phase::Waiting {
            reason: reason.to_owned(),
            message: message.to_owned(),
        };
        Self {
            phase,
            last: None,
            restarts: 0,
            is_ready: false,
        }
    }

    fn is_running(&self) -> bool {
        matches!(self.phase, Phase::Running { .. })
    }

    fn was_started(&self) -> bool {
        self.is_running() || self.last.is_some() || matches!(self.phase, Phase::Ended(_))
    }
}

impl End {
    fn is_success(&self) -> bool {
        self.code == Some(0)
    }
}

/// The status of the pod, without the times of its conditions' changes that `pod` has already.
pub(super) fn status(pod: &Pod, state: &PodState, host_addresses: &[IpAddr]) -> Value {
    let containers: &[Container] = pod
        .spec
        .as_ref()
        .map(|spec| spec.containers.as_slice())
        .unwrap_or_default();
    let known: Vec<(&Container, &ContainerState)> = containers
        .iter()
        .filter_map(|container| Some((container, state.containers.get(&container.name)?)))
        .collect();
    let unready: Vec<&str> = known
        .iter()
        .filter(|(_, state)| !(state.is_running() && state.is_ready))
        .map(|(container, _)| container.name.as_str())
        .collect();
    let phase = phase(&known);
    let is_over = matches!(phase, "Succeeded" | "Failed");
    let ready = match (is_over, unready.is_empty()) {
        (true, _) => ("False", Some("PodCompleted"), None),
        (false, true) => ("True", None, None),
        (false, false) => (
            "False",
            Some("ContainersNotReady"),
            Some(format!("containers with unready status: [{}]", unready.join(" "))),
        ),
    };
    let condition = |kind: &str, (status, reason, message): (&str, Option<&str>, Option<String>)| {
        let mut condition = json!({"type": kind, "status": status, "lastTransitionTime": since(pod, kind, status)});
        reason
            .into_iter()
            .for_each(|reason| condition["reason"] = reason.into());
        message
            .into_iter()
            .for_each(|message| condition["message"] = message.into());
        condition
    };
    let yes = || ("True", None, None);
    let list = |addresses: &[IpAddr]| {
        addresses
            .iter()
            .map(|address| json!({"ip": address}))
            .collect::<Vec<_>>()
    };
    json!({
        "phase": phase,
        "conditions": [
            condition("Initialized", yes()),
            condition("Ready", ready.clone()),
            condition("ContainersReady", ready),
            condition("PodScheduled", yes()),
        ],
        "hostIP": host_addresses.first(),
        "hostIPs": list(host_addresses),
        "podIP": state.addresses.first(),
        "podIPs": list(&state.addresses),
        "startTime": seconds(state.started_at),
        "qosClass": "BestEffort",
        "containerStatuses": known.iter().map(|(container, state)| container_status(container, state)).collect::<Vec<_>>(),
    })
}

/// The Ready condition that a status holds.
pub(super) fn readiness(status: &Value) -> Option<&str> {
    let conditions = status.get("conditions")?.as_array()?;
    conditions
        .iter()
        .find(|condition| condition["type"] == "Ready")?
        .get("status")?
        .as_str()
}

fn phase(containers: &[(&Container, &ContainerState)]) -> &'static str {
    let ends: Option<Vec<&End>> = containers
        .iter()
        .map(|(_, state)| match &state.phase {
            Phase::Ended(end) => Some(end),
            _ => None,
        })
        .collect();
    match ends {
        Some(ends) if !ends.is_empty() => {
            if ends.iter().all(|end| end.is_success()) {
                "Succeeded"
            } else {
                "Failed"
            }
        }
        _ if containers.iter().all(|(_, state)| state.was_started()) => "Running",
        _ => "Pending",
    }
}

fn container_status(container: &Container, state: &ContainerState) -> Value {
    let image = container.image.as_deref().unwrap_or_default();
    let current = match &state.phase {
        Phase::Waiting { reason, message } => json!({"waiting": {"reason": reason, "message": message}}),
        Phase::Running { since } => json!({"running": {"startedAt": seconds(*since)}}),
        Phase::Ended(end) => json!({"terminated": terminated(end)}),
    };
    json!({
        "name": container.name,
        "image": image,
        "imageID": image,
        "ready": state.is_running() && state.is_ready,
        "started": state.is_running(),
        "restartCount": state.restarts,
        "state": current,
        "lastState": state.last.as_ref().map_or_else(|| json!({}), |end| json!({"terminated": terminated(end)})),
    })
}

fn terminated(end: &End) -> Value {
    let reason = match end.code {
        Some(0) => "Completed",
        Some(_) => "Error",
        None => "ContainerStatusUnknown",
    };
    json!({
        "exitCode": end.code.unwrap_or(137),
        "reason": reason,
        "startedAt": seconds(end.started_at),
        "finishedAt": seconds(end.finished_at),
    })
}

/// Since when a condition has this status: as the pod has it, or now.
fn since(pod: &Pod, kind: &str, status: &str) -> String {
    let conditions = pod
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_deref())
        .unwrap_or_default();
    let same = conditions
        .iter()
        .find(|condition| condition.type_ == kind && condition.status == status);
    let time = same
        .and_then(|condition| condition.last_transition_time.as_ref())
        .map(|time| time.0);
    seconds(time.unwrap_or_else(Timestamp::now))
}

/// `metav1.Time` knows no fractions.
fn seconds(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod() -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "p"},
            "spec": {"containers": [{"name": "a", "image": "i"}, {"name": "b"}]},
            "status": {"conditions": [
                {"type": "Ready", "status": "True", "lastTransitionTime": "2020-01-01T00:00:00Z"},
            ]},
        }))
        .unwrap()
    }

    fn end(code: i32) -> End {
        End {
            started_at: Timestamp::UNIX_EPOCH,
            finished_at: Timestamp::UNIX_EPOCH,
            code: Some(code),
        }
    }

    fn with(phases: [Phase; 2]) -> Value {
        let states = phases.map(|phase| ContainerState {
            phase,
            last: None,
            restarts: 0,
            is_ready: true,
        });
        let names = ["a".to_owned(), "b".to_owned()];
        let containers = names.into_iter().zip(states).collect();
        let state = PodState {
            started_at: Timestamp::UNIX_EPOCH,
            addresses: vec!["10.1.0.2".parse().unwrap()],
            containers,
        };
        status(&pod(), &state, &["192.0.2.3".parse().unwrap()])
    }

    fn running() -> Phase {
        Phase::Running {
            since: Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn a_pod_is_ready_when_all_its_containers_are() {
        let all = with([running(), running()]);
        assert_eq!(
            (all["phase"].as_str(), readiness(&all)),
            (Some("Running"), Some("True"))
        );
        assert_eq!(
            all["conditions"][1]["lastTransitionTime"], "2020-01-01T00:00:00Z",
            "it was ready before"
        );
        assert_eq!(all["podIPs"], json!([{"ip": "10.1.0.2"}]));
        let waiting = Phase::Waiting {
            reason: "r".into(),
            message: String::new(),
        };
        let one = with([running(), waiting]);
        assert_eq!(
            (one["phase"].as_str(), readiness(&one)),
            (Some("Pending"), Some("False"))
        );
        assert_eq!(one["conditions"][1]["message"], "containers with unready status: [b]");
    }

    #[test]
    fn how_the_containers_ended_is_how_the_pod_did() {
        assert_eq!(with([Phase::Ended(end(0)), Phase::Ended(end(0))])["phase"], "Succeeded");
        let failed = with([Phase::Ended(end(0)), Phase::Ended(end(2))]);
        assert_eq!(failed["phase"], "Failed");
        assert_eq!(failed["containerStatuses"][1]["state"]["terminated"]["exitCode"], 2);
        assert_eq!(with([running(), Phase::Ended(end(0))])["phase"], "Running");
    }
}
