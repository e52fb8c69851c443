use std::collections::BTreeMap;
use std::net::IpAddr;

use clusterset::routes::{LinkFacts, NodeFacts};
use nix::ifaddrs::getifaddrs;

/// Links and addresses of the node, other than our own links.
///
/// # Errors
/// When the kernel does not tell.
pub fn node_facts() -> std::io::Result<NodeFacts> {
    let mut links: BTreeMap<String, Vec<IpAddr>> = BTreeMap::new();
    for entry in getifaddrs()? {
        let address = entry.address.as_ref().and_then(|address| {
            let v4 = address.as_sockaddr_in().map(|v4| IpAddr::from(v4.ip()));
            v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::from(v6.ip())))
        });
        if let Some(address) = address
            && ![hostnet::tags::VXLAN_LINK, hostnet::tags::TUN_LINK].contains(&entry.interface_name.as_str())
        {
            links.entry(entry.interface_name).or_default().push(address);
        }
    }
    let links = links.into_iter().map(|(name, addresses)| LinkFacts { name, addresses });
    Ok(NodeFacts { links: links.collect() })
}
