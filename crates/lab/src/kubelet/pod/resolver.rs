//! A pod's `/etc/resolv.conf` and `/etc/hosts`.

use std::fmt::Write;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;

use super::facts::Facts;

/// The resolver's configuration that the pod's `dnsPolicy` asks for.
///
/// The hosts of a lab have no name server, so `Default` names none.
pub(super) fn resolv_conf(pod: &Pod, cluster_dns: &[IpAddr]) -> String {
    let spec = pod.spec.clone().unwrap_or_default();
    let is_on_host = spec.host_network == Some(true);
    let (mut servers, mut search, mut options) = match spec.dns_policy.as_deref() {
        Some("Default" | "None") => Default::default(),
        None | Some("ClusterFirst") if is_on_host => Default::default(),
        _ => {
            let namespace = pod.namespace().unwrap_or_default();
            let search = vec![
                format!("{namespace}.svc.{DOMAIN}"),
                format!("svc.{DOMAIN}"),
                DOMAIN.to_owned(),
            ];
            let servers: Vec<String> = cluster_dns.iter().map(IpAddr::to_string).collect();
            (servers, search, vec!["ndots:5".to_owned()])
        }
    };
    if let Some(more) = spec.dns_config {
        servers.extend(more.nameservers.into_iter().flatten());
        search.extend(more.searches.into_iter().flatten());
        options.extend(more.options.into_iter().flatten().filter_map(|option| {
            let name = option.name?;
            Some(option.value.map_or(name.clone(), |value| format!("{name}:{value}")))
        }));
    }
    let mut text = String::new();
    for server in servers {
        line(&mut text, &["nameserver", &server]);
    }
    if !search.is_empty() {
        line(&mut text, &["search", &search.join(" ")]);
    }
    if !options.is_empty() {
        line(&mut text, &["options", &options.join(" ")]);
    }
    text
}

/// The names that the pod knows without asking.
pub(super) fn hosts(facts: &Facts<'_>) -> String {
    let mut text = String::from("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n");
    let name = facts.hostname();
    for address in facts.pod_addresses {
        line(&mut text, &[&address.to_string(), &name]);
    }
    let aliases = facts
        .pod
        .spec
        .as_ref()
        .and_then(|spec| spec.host_aliases.clone())
        .unwrap_or_default();
    for alias in aliases {
        line(&mut text, &[&alias.ip, &alias.hostnames.unwrap_or_default().join(" ")]);
    }
    text
}

fn line(text: &mut String, words: &[&str]) {
    writeln!(text, "{}", words.join("\t")).expect("writing to a String cannot fail");
}

const DOMAIN: &str = "cluster.local";

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn text(spec: &Value) -> String {
        let mut spec = spec.clone();
        spec["containers"] = json!([]);
        let pod: Pod =
            serde_json::from_value(json!({"metadata": {"name": "p", "namespace": "shop"}, "spec": spec})).unwrap();
        resolv_conf(&pod, &["10.2.0.10".parse().unwrap()])
    }

    #[test]
    fn the_policy_decides() {
        let cluster =
            "nameserver\t10.2.0.10\nsearch\tshop.svc.cluster.local svc.cluster.local cluster.local\noptions\tndots:5\n";
        assert_eq!(text(&json!({})), cluster);
        assert_eq!(text(&json!({"dnsPolicy": "ClusterFirst"})), cluster);
        assert_eq!(text(&json!({"dnsPolicy": "ClusterFirst", "hostNetwork": true})), "");
        assert_eq!(
            text(&json!({"dnsPolicy": "ClusterFirstWithHostNet", "hostNetwork": true})),
            cluster
        );
        assert_eq!(text(&json!({"dnsPolicy": "Default"})), "");
    }

    #[test]
    fn own_configuration_comes_after_the_policy() {
        let own =
            json!({"nameservers": ["192.0.2.53"], "options": [{"name": "ndots", "value": "2"}, {"name": "edns0"}]});
        assert_eq!(
            text(&json!({"dnsPolicy": "None", "dnsConfig": own})),
            "nameserver\t192.0.2.53\noptions\tndots:2 edns0\n"
        );
    }
}
