//! What runs in the clusters: pods of the test's own, and the gateways.

use serde_json::Value;

use super::{Lab, read, wait};

impl Lab {
    /// Starts a pod on a node, and says its address.
    pub fn pod(&self, cluster: &str, name: &str, node: &str, image: &str) -> String {
        let manifest = format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: default}}\nspec:\n  nodeName: {node}\n  \
             containers: [{{name: main, image: {image}}}]\n"
        );
        self.apply(cluster, &manifest);
        let address = "jsonpath={.status.podIP}";
        let said = self.kubectl(cluster, &["get", "pod", name, "-o", address]);
        said.trim().to_owned()
    }

    /// The node that is a cluster's gateway; in the middle of a failover there is none for a moment.
    pub fn active_gateway(&self, cluster: &str) -> String {
        wait(&format!("{cluster} to have an active gateway"), || {
            // The exit code is of all connections.
            let output = self.try_tombolo(cluster, &["show", "gateways", "-o", "json"]);
            let report: Value = serde_json::from_slice(&output.stdout).ok()?;
            let active = report["gateways"]
                .as_array()?
                .iter()
                .find(|row| row["role"] == "active")?;
            Some(active["gateway"].as_str()?.to_owned())
        })
    }

    /// Ends a gateway's agent the gentle way: its pod is deleted, and the DaemonSet makes another.
    pub fn drain(&self, cluster: &str, gateway: &str) {
        let kubectl = |arguments: &[&str]| {
            let inside = ["--namespace", "tombolo-system"];
            self.kubectl(cluster, &[&inside[..], arguments].concat())
        };
        let pods = read(&kubectl(&["get", "pods", "-o", "json"]));
        let pods = pods["items"].as_array().expect("items").iter();
        let name = pods
            .filter(|pod| pod["spec"]["nodeName"] == gateway)
            .filter_map(|pod| pod["metadata"]["name"].as_str())
            .find(|name| name.starts_with("tombolo-gateway-agent"))
            .expect("an agent on the gateway");
        kubectl(&["delete", "pod", name, "--wait=false"]);
    }
}
