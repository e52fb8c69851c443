//! The node's own objects: its Node, and the Lease by which the cluster knows that it lives.

use std::net::IpAddr;

use ipnet::IpNet;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::{Value, json};

/// Who the node is.
#[derive(Debug, Clone)]
pub(super) struct Identity {
    pub(super) name: String,
    pub(super) addresses: Vec<IpAddr>,
    pub(super) pod_prefixes: Vec<IpNet>,
}

impl Identity {
    /// Makes the Node what the kubelet knows: labels, pod prefixes, addresses, readiness. What others write stays.
    ///
    /// # Errors
    /// When the API server does not take it.
    pub(super) async fn publish(&self, client: &Client) -> Result<(), kube::Error> {
        let nodes: Api<Node> = Api::all(client.clone());
        nodes
            .patch(
                &self.name,
                &PatchParams::apply(MANAGER).force(),
                &Patch::Apply(self.node()),
            )
            .await?;
        let status = json!({"status": self.status(Timestamp::now())});
        // No strategic merge: by its key, the type, two internal addresses would be one.
        nodes
            .patch_status(&self.name, &PatchParams::default(), &Patch::Merge(status))
            .await?;
        Ok(())
    }

    /// Renews the Lease.
    ///
    /// # Errors
    /// When the API server does not take it.
    pub(super) async fn renew(&self, client: &Client) -> Result<(), kube::Error> {
        let leases: Api<Lease> = Api::namespaced(client.clone(), "kube-node-lease");
        let lease = json!({
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": self.name},
            "spec": {
                "holderIdentity": self.name,
                "leaseDurationSeconds": 40,
                "renewTime": MicroTime(Timestamp::now()),
            },
        });
        leases
            .patch(&self.name, &PatchParams::apply(MANAGER).force(), &Patch::Apply(lease))
            .await?;
        Ok(())
    }

    fn node(&self) -> Value {
        json!({
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {
                "name": self.name,
                "labels": {
                    "kubernetes.io/hostname": self.name,
                    "kubernetes.io/os": "linux",
                    "kubernetes.io/arch": architecture(),
                    "node-role.kubernetes.io/worker": "",
                },
            },
            "spec": {
                "podCIDR": self.pod_prefixes.first(),
                "podCIDRs": self.pod_prefixes,
            },
        })
    }

    fn status(&self, now: Timestamp) -> Value {
        let condition = |kind: &str, status: &str, reason: &str, message: &str| {
            json!({
                "type": kind, "status": status, "reason": reason, "message": message,
                "lastHeartbeatTime": now.strftime(SECONDS).to_string(),
                "lastTransitionTime": now.strftime(SECONDS).to_string(),
            })
        };
        let mut addresses: Vec<Value> = self
            .addresses
            .iter()
            .map(|address| json!({"type": "InternalIP", "address": address}))
            .collect();
        addresses.push(json!({"type": "Hostname", "address": self.name}));
        let capacity = json!({"cpu": "2", "memory": "4Gi", "pods": "250"});
        json!({
            "addresses": addresses,
            "capacity": capacity,
            "allocatable": capacity,
            "conditions": [
                condition("MemoryPressure", "False", "KubeletHasSufficientMemory", "the lab does not measure it"),
                condition("DiskPressure", "False", "KubeletHasNoDiskPressure", "the lab does not measure it"),
                condition("PIDPressure", "False", "KubeletHasSufficientPID", "the lab does not measure it"),
                condition("Ready", "True", "KubeletReady", "the lab's kubelet runs and the pod network is set up"),
            ],
            "nodeInfo": {
                "architecture": architecture(),
                "bootID": "",
                "containerRuntimeVersion": concat!("lab://", env!("CARGO_PKG_VERSION")),
                "kernelVersion": kernel(),
                "kubeProxyVersion": "",
                "kubeletVersion": concat!("v1.33.0-lab.", env!("CARGO_PKG_VERSION")),
                "machineID": "",
                "operatingSystem": "linux",
                "osImage": "network namespace",
                "systemUUID": "",
            },
        })
    }
}

/// The Ready condition of the Node holds.
pub(super) fn is_ready(node: &Node) -> bool {
    let conditions = node
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_deref())
        .unwrap_or_default();
    conditions
        .iter()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn kernel() -> String {
    std::fs::read_to_string("/proc/sys/kernel/osrelease")
        .map(|text| text.trim().to_owned())
        .unwrap_or_default()
}

/// Field manager of what only the kubelet writes.
const MANAGER: &str = "kubelet";
/// `metav1.Time` knows no fractions.
const SECONDS: &str = "%Y-%m-%dT%H:%M:%SZ";
