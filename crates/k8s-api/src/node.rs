use k8s_openapi::api::core::v1::Node;
use model::PrefixSet;

use crate::ConvertError;

/// What we need of a Kubernetes node.
///
/// # Errors
/// When the name is no node name, or a pod prefix is malformed.
pub fn node_from(node: &Node) -> Result<model::Node, ConvertError> {
    let name = node.metadata.name.clone().unwrap_or_default();
    let fail = |field: &str, why: String| ConvertError::new("Node", &name, field, why);
    let spec = node.spec.clone().unwrap_or_default();
    let mut cidrs = spec.pod_cidrs.unwrap_or_default();
    if let Some(cidr) = spec.pod_cidr
        && !cidrs.contains(&cidr)
    {
        cidrs.push(cidr);
    }
    let status = node.status.clone().unwrap_or_default();
    let addresses = status.addresses.unwrap_or_default();
    let labels = node.metadata.labels.clone().unwrap_or_default();
    let conditions = status.conditions.unwrap_or_default();
    Ok(model::Node {
        name: name
            .parse()
            .map_err(|e: model::InvalidId| fail("metadata.name", e.to_string()))?,
        uid: node.metadata.uid.clone().unwrap_or_default(),
        addresses: addresses
            .iter()
            .filter(|address| address.type_ == "InternalIP")
            .filter_map(|address| address.address.parse().ok())
            .collect(),
        pod_prefixes: PrefixSet::parse(&cidrs).map_err(|e| fail("spec.podCIDRs", e.to_string()))?,
        is_gateway: labels
            .get(model::names::GATEWAY_LABEL)
            .is_some_and(|value| value == "true"),
        is_ready: conditions
            .iter()
            .any(|condition| condition.type_ == "Ready" && condition.status == "True"),
    })
}
