use k8s_api::{RouteAgent, RouteAgentSpec, RouteAgentStatus};
use k8s_runtime::{ApplyQueue, Change, Order, QueueOptions};
use kube::core::ApiResource;
use model::{NodeName, names};
use serde_json::json;

/// Writes the node's `RouteAgent`. What did not change is not written again; an API server that is away gets it when it is back.
#[derive(Debug)]
pub(crate) struct StatusWriter {
    queue: ApplyQueue,
    namespace: String,
    node: NodeName,
}

impl StatusWriter {
    pub(crate) fn start(client: kube::Client, namespace: &str, node: &NodeName) -> Self {
        let queue = ApplyQueue::start(client, QueueOptions::default());
        Self {
            queue,
            namespace: namespace.to_owned(),
            node: node.clone(),
        }
    }

    /// Has this status written.
    pub(crate) fn publish(&self, status: &RouteAgentStatus) {
        let identity = json!({
            "apiVersion": "tombolo.dev/v1alpha1",
            "kind": "RouteAgent",
            "metadata": { "name": self.node, "namespace": self.namespace },
        });
        let mut object = identity.clone();
        object["spec"] = json!(RouteAgentSpec {
            node: self.node.to_string()
        });
        let mut written = identity;
        written["status"] = json!(status);
        for change in [Change::Apply(object), Change::Status(written)] {
            let order = Order {
                resource: ApiResource::erase::<RouteAgent>(&()),
                namespace: Some(self.namespace.clone()),
                name: self.node.to_string(),
                manager: names::FIELD_MANAGER.to_owned(),
                change,
            };
            if let Err(full) = self.queue.submit(order) {
                tracing::debug!(%full, "the status waits for the next round");
            }
        }
    }
}
