//! Which prefixes a cluster has, from everything that may tell. Pure: [`super::discover`] does the reading.
//!
//! Services: the flag, else ServiceCIDR objects, else kubeadm's configuration. Pods: the flag, else what is in use (the nodes' podCIDRs and
//! the pools of the CNI), widened to the configured range around it where kubeadm or kube-proxy know one, so that a node that
//! is added later needs nothing. Nothing found is an error that names the flag.

use ipnet::IpNet;
use model::PrefixSet;
use serde_json::Value;

/// A text that may hold prefixes, and where it is from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// In words, such as `node worker-1`.
    pub origin: String,
    /// Prefixes.
    pub prefixes: Vec<String>,
}

impl Source {
    /// A source.
    pub fn new<T: Into<String>>(origin: impl Into<String>, prefixes: impl IntoIterator<Item = T>) -> Self {
        Self {
            origin: origin.into(),
            prefixes: prefixes.into_iter().map(Into::into).collect(),
        }
    }
}

/// Everything that was read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sources {
    /// `--pod-prefix`.
    pub pod_flags: Vec<String>,
    /// `--service-prefix`.
    pub service_flags: Vec<String>,
    /// ServiceCIDR objects.
    pub service_cidrs: Vec<Source>,
    /// Service ranges in configuration files (kubeadm).
    pub configured_services: Vec<Source>,
    /// Pod ranges in configuration files (kubeadm, kube-proxy).
    pub configured_pods: Vec<Source>,
    /// podCIDRs of nodes.
    pub nodes: Vec<Source>,
    /// Pools of the CNI (Calico, Cilium).
    pub pools: Vec<Source>,
}

/// Prefixes, and how they were found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The prefixes.
    pub prefixes: PrefixSet,
    /// In words.
    pub origin: String,
}

/// A cluster's prefixes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Discovered {
    /// Of pods.
    pub pods: Found,
    /// Of services.
    pub services: Found,
}

/// Why no prefixes can be told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DiscoverError {
    /// Nothing tells.
    #[error(
        "nothing in this cluster tells the prefixes of its {what}: {looked_at}. Give {flag}, such as {flag} {example}"
    )]
    NothingFound {
        /// Pods or services.
        what: &'static str,
        /// Where it was looked for.
        looked_at: &'static str,
        /// The flag that says it.
        flag: &'static str,
        /// A value for it.
        example: &'static str,
    },
    /// A prefix is malformed.
    #[error("{origin}: {why}")]
    Malformed {
        /// The flag or object.
        origin: String,
        /// What is wrong, and the mend.
        why: model::InvalidPrefix,
    },
    /// Pods and services share addresses.
    #[error(
        "pod prefix {pods} ({pod_origin}) and service prefix {services} ({service_origin}) of this cluster overlap; give the right ones with {POD_FLAG} and {SERVICE_FLAG}"
    )]
    OwnOverlap {
        /// A pod prefix.
        pods: IpNet,
        /// Where it is from.
        pod_origin: String,
        /// A service prefix.
        services: IpNet,
        /// Where it is from.
        service_origin: String,
    },
}

/// Tells the prefixes.
///
/// # Errors
/// When nothing tells them, one is malformed, or pods and services overlap.
pub fn discover(sources: &Sources) -> Result<Discovered, DiscoverError> {
    let pods = pods(sources)?;
    let services = services(sources)?;
    if let Some((pod, service)) = pods.prefixes.overlap(&services.prefixes) {
        return Err(DiscoverError::OwnOverlap {
            pods: pod,
            pod_origin: pods.origin,
            services: service,
            service_origin: services.origin,
        });
    }
    Ok(Discovered { pods, services })
}

fn services(sources: &Sources) -> Result<Found, DiscoverError> {
    let flags = [Source::new(SERVICE_FLAG, sources.service_flags.clone())];
    for candidates in [&flags[..], &sources.service_cidrs, &sources.configured_services] {
        if let Some(found) = union(candidates)? {
            return Ok(found);
        }
    }
    Err(DiscoverError::NothingFound {
        what: "services",
        looked_at: "no ServiceCIDR object, no kubeadm configuration",
        flag: SERVICE_FLAG,
        example: "10.96.0.0/16",
    })
}

fn pods(sources: &Sources) -> Result<Found, DiscoverError> {
    if let Some(found) = union(&[Source::new(POD_FLAG, sources.pod_flags.clone())])? {
        return Ok(found);
    }
    let configured = union(&sources.configured_pods)?;
    let in_use: Vec<Source> = sources.nodes.iter().chain(&sources.pools).cloned().collect();
    match (union(&in_use)?, configured) {
        (None, Some(configured)) => Ok(configured),
        (Some(in_use), None) => Ok(in_use),
        (Some(in_use), Some(configured)) => Ok(widen(in_use, &configured)),
        (None, None) => Err(DiscoverError::NothingFound {
            what: "pods",
            looked_at: "no podCIDR on a node, no kubeadm or kube-proxy configuration, no Calico or Cilium pool",
            flag: POD_FLAG,
            example: "10.244.0.0/16",
        }),
    }
}

/// What is in use, with every configured range around a part of it. A configured range that nothing uses is left out: it is stale.
fn widen(in_use: Found, configured: &Found) -> Found {
    let around: PrefixSet = configured
        .prefixes
        .iter()
        .filter(|range| in_use.prefixes.iter().any(|used| range.contains(used)))
        .copied()
        .collect();
    if around.is_empty() {
        return in_use;
    }
    let prefixes = in_use.prefixes.union(&around);
    let origin = if prefixes == around {
        configured.origin.clone()
    } else {
        format!("{}, {}", configured.origin, in_use.origin)
    };
    Found { prefixes, origin }
}

fn union(sources: &[Source]) -> Result<Option<Found>, DiscoverError> {
    let mut prefixes = PrefixSet::default();
    let mut origins: Vec<&str> = Vec::new();
    for source in sources.iter().filter(|source| !source.prefixes.is_empty()) {
        let read = PrefixSet::parse(&source.prefixes).map_err(|why| DiscoverError::Malformed {
            origin: source.origin.clone(),
            why,
        })?;
        prefixes = prefixes.union(&read);
        origins.push(&source.origin);
    }
    Ok((!prefixes.is_empty()).then(|| Found {
        prefixes,
        origin: match origins.as_slice() {
            [first, second, third, .., _] => format!("{first}, {second}, {third} and {} more", origins.len() - 3),
            few => few.join(", "),
        },
    }))
}

/// Pod and service ranges in kubeadm's ClusterConfiguration.
pub fn from_kubeadm(yaml: &str) -> (Vec<String>, Vec<String>) {
    let read = |field: &str| ranges(&parse(yaml)["networking"][field]);
    (read("podSubnet"), read("serviceSubnet"))
}

/// The pod range in kube-proxy's KubeProxyConfiguration.
pub fn from_kube_proxy(yaml: &str) -> Vec<String> {
    ranges(&parse(yaml)["clusterCIDR"])
}

/// A comma-separated list of prefixes, as configuration files write it.
pub fn split(text: &str) -> Vec<String> {
    text.split([',', ' '])
        .filter(|part| !part.is_empty())
        .map(str::to_owned)
        .collect()
}

fn ranges(value: &Value) -> Vec<String> {
    value.as_str().map(split).unwrap_or_default()
}

/// A file that is no YAML tells nothing; another source or the flag will.
fn parse(yaml: &str) -> Value {
    serde_saphyr::from_str(yaml).unwrap_or_default()
}

/// The flag for pods.
pub const POD_FLAG: &str = "--pod-prefix";
/// The flag for services.
pub const SERVICE_FLAG: &str = "--service-prefix";

#[cfg(test)]
mod tests {
    use super::*;

    fn lab() -> Sources {
        Sources {
            service_cidrs: vec![Source::new("ServiceCIDR kubernetes", ["10.96.0.0/16", "fd00:1::/112"])],
            nodes: vec![
                Source::new("node a", ["10.244.0.0/24", "fd00:2::/64"]),
                Source::new("node b", ["10.244.1.0/24"]),
            ],
            ..Sources::default()
        }
    }

    fn show(found: &Found) -> String {
        format!("{} ({})", found.prefixes, found.origin)
    }

    #[test]
    fn without_configuration_the_live_union_counts() {
        let found = discover(&lab()).unwrap();
        assert_eq!(show(&found.pods), "10.244.0.0/23,fd00:2::/64 (node a, node b)");
        assert_eq!(
            show(&found.services),
            "10.96.0.0/16,fd00:1::/112 (ServiceCIDR kubernetes)"
        );
    }

    #[test]
    fn a_configured_range_covers_nodes_to_come() {
        let mut sources = lab();
        sources.configured_pods = vec![
            Source::new("kubeadm-config", ["10.244.0.0/16"]),
            Source::new("kube-proxy", ["10.244.0.0/16"]),
        ];
        let found = discover(&sources).unwrap();
        assert_eq!(
            show(&found.pods),
            "10.244.0.0/16,fd00:2::/64 (kubeadm-config, kube-proxy, node a, node b)"
        );
    }

    #[test]
    fn a_configured_range_that_nothing_uses_is_stale() {
        let mut sources = lab();
        sources.configured_pods = vec![Source::new("kubeadm-config", ["10.99.0.0/16"])];
        assert_eq!(discover(&sources).unwrap().pods, discover(&lab()).unwrap().pods);
    }

    #[test]
    fn pools_of_the_cni_count_where_nodes_have_no_pod_cidr() {
        let sources = Sources {
            nodes: vec![],
            pools: vec![Source::new("Calico IPPool default", ["192.168.0.0/16"])],
            ..lab()
        };
        assert_eq!(
            show(&discover(&sources).unwrap().pods),
            "192.168.0.0/16 (Calico IPPool default)"
        );
    }

    #[test]
    fn flags_come_first() {
        let sources = Sources {
            pod_flags: vec!["10.1.0.0/16".into()],
            service_flags: vec!["10.2.0.0/16".into()],
            ..lab()
        };
        let found = discover(&sources).unwrap();
        assert_eq!(show(&found.pods), "10.1.0.0/16 (--pod-prefix)");
        assert_eq!(show(&found.services), "10.2.0.0/16 (--service-prefix)");
    }

    #[test]
    fn nothing_found_names_the_flag() {
        let error = discover(&Sources::default()).unwrap_err().to_string();
        assert!(error.contains("--pod-prefix 10.244.0.0/16"), "{error}");
        let sources = Sources {
            service_cidrs: vec![],
            ..lab()
        };
        let error = discover(&sources).unwrap_err().to_string();
        assert!(error.contains("--service-prefix 10.96.0.0/16"), "{error}");
    }

    #[test]
    fn a_malformed_flag_names_itself_the_value_and_the_mend() {
        let sources = Sources {
            pod_flags: vec!["10.1.2.3/16".into()],
            ..lab()
        };
        assert_eq!(
            discover(&sources).unwrap_err().to_string(),
            "--pod-prefix: prefix \"10.1.2.3/16\" is not valid: host bits are set; write 10.1.0.0/16"
        );
    }

    #[test]
    fn pods_and_services_must_not_share_addresses() {
        let sources = Sources {
            pod_flags: vec!["10.96.0.0/12".into()],
            ..lab()
        };
        let error = discover(&sources).unwrap_err().to_string();
        assert!(
            error.contains("10.96.0.0/12 (--pod-prefix)") && error.contains("10.96.0.0/16"),
            "{error}"
        );
    }

    #[test]
    fn configuration_files_are_read() {
        let kubeadm = "kind: ClusterConfiguration\nnetworking:\n  podSubnet: 10.244.0.0/16,fd00::/56\n  serviceSubnet: 10.96.0.0/12\n";
        assert_eq!(
            from_kubeadm(kubeadm),
            (
                vec!["10.244.0.0/16".to_owned(), "fd00::/56".to_owned()],
                vec!["10.96.0.0/12".to_owned()]
            )
        );
        assert_eq!(
            from_kube_proxy("clusterCIDR: 10.244.0.0/16\nmode: nftables\n"),
            ["10.244.0.0/16"]
        );
        assert_eq!(from_kube_proxy("clusterCIDR: \"\"\n"), Vec::<String>::new());
        assert_eq!(from_kube_proxy("{ no yaml"), Vec::<String>::new());
    }
}
