//! What the name server does beside its own zone: zones of other clusters that it passes on, and hosts outside Kubernetes that may ask
//! it. Flags, what an earlier join was told, and what becomes of them in the objects that are applied. Pure but for the reading.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use clap::Args;
use k8s_api::Cluster;
use k8s_runtime::Find;
use kube::{Api, ResourceExt};
use model::names::{CLUSTERSET_ZONE, DNS_SERVICE, SYSTEM_NAMESPACE};
use model::{ClusterId, PrefixSet};
use serde_json::{Value, json};

use crate::apply;
use crate::connect::Connection;

/// Flags of `tombolo join`.
#[derive(Debug, Clone, Default, Args)]
pub struct NameServerFlags {
    /// Let pods resolve another cluster's own zone by that cluster's DNS, over the cable; may be repeated; "none" ends all
    #[arg(long, value_name = "ZONE=ADDRESS,…", help_heading = "DNS")]
    dns_forward: Vec<String>,
    /// Let hosts of this prefix, outside Kubernetes, resolve clusterset.local by the Service tombolo-lighthouse-dns-external; may be
    /// repeated; "none" ends it
    #[arg(long, value_name = "PREFIX", value_delimiter = ',', help_heading = "DNS")]
    dns_allow: Vec<String>,
}

/// Why the flags cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameServerError {
    /// A forward lacks a part, or an address is none.
    #[error("--dns-forward: \"{0}\" is no forward; write ZONE=ADDRESS[,ADDRESS…], such as west.lan=10.112.0.10")]
    Forward(String),
    /// The zone is our own.
    #[error("--dns-forward: {0} is within {CLUSTERSET_ZONE}, which is answered here")]
    Own(String),
    /// A prefix is malformed.
    #[error("--dns-allow: {0}")]
    Allow(model::InvalidPrefix),
}

/// What the name server is to do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NameServer {
    /// Zones, and the servers to ask, as text.
    forwards: BTreeMap<String, String>,
    allow: PrefixSet,
}

impl NameServerFlags {
    /// These, else those of the earlier join.
    ///
    /// # Errors
    /// When a text is malformed, or the cluster does not answer.
    pub(super) async fn settle(&self, cluster: &Connection, id: &ClusterId) -> anyhow::Result<Settled> {
        let claims: Api<Cluster> = Api::namespaced(cluster.client.clone(), SYSTEM_NAMESPACE);
        let earlier = match claims.find(id.as_str()).await {
            Ok(earlier) => earlier.map(|claim| claim.annotations().clone()).unwrap_or_default(),
            Err(error) => return Err(cluster.failed(format!("read Cluster {SYSTEM_NAMESPACE}/{id}"))(error)),
        };
        let earlier = Self::remembered(&earlier);
        Ok(Settled {
            was_open: !earlier.parse()?.allow.is_empty(),
            now: self.or(&earlier).parse()?,
        })
    }

    fn remembered(annotations: &BTreeMap<String, String>) -> Self {
        let words = |annotation| {
            let text = annotations.get(annotation).map(String::as_str).unwrap_or_default();
            text.split_whitespace().map(str::to_owned).collect()
        };
        Self {
            dns_forward: words(FORWARDS),
            dns_allow: words(ALLOW),
        }
    }

    fn or(&self, earlier: &Self) -> Self {
        let pick = |now: &[String], earlier: &[String]| match now {
            [] => earlier.to_vec(),
            [none] if none == "none" => Vec::new(),
            now => now.to_vec(),
        };
        Self {
            dns_forward: pick(&self.dns_forward, &earlier.dns_forward),
            dns_allow: pick(&self.dns_allow, &earlier.dns_allow),
        }
    }

    fn parse(&self) -> Result<NameServer, NameServerError> {
        Ok(NameServer {
            forwards: self
                .dns_forward
                .iter()
                .map(|text| forward(text))
                .collect::<Result<_, _>>()?,
            allow: PrefixSet::parse(&self.dns_allow).map_err(NameServerError::Allow)?,
        })
    }
}

fn forward(text: &str) -> Result<(String, String), NameServerError> {
    let malformed = || NameServerError::Forward(text.to_owned());
    let (zone, servers) = text.split_once('=').ok_or_else(malformed)?;
    let zone = zone.trim_end_matches('.').to_ascii_lowercase();
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    let is_server = |server: &str| server.parse::<IpAddr>().is_ok() || server.parse::<SocketAddr>().is_ok();
    if zone.len() > 200 || !zone.split('.').all(is_label) || !servers.split(',').all(is_server) {
        return Err(malformed());
    }
    if zone == CLUSTERSET_ZONE || zone.ends_with(&format!(".{CLUSTERSET_ZONE}")) {
        return Err(NameServerError::Own(zone));
    }
    Ok((zone, servers.to_owned()))
}

/// What it is to do, and what changes by that.
#[derive(Debug)]
pub(super) struct Settled {
    pub(super) now: NameServer,
    was_open: bool,
}

impl Settled {
    /// Hosts outside may no longer ask.
    ///
    /// # Errors
    /// When the cluster refuses.
    pub(super) async fn close(&self, cluster: &Connection) -> anyhow::Result<()> {
        if self.was_open && self.now.allow.is_empty() {
            apply::delete(cluster, &external_service()).await?;
        }
        Ok(())
    }
}

impl NameServer {
    /// The zones that cluster DNS is to ask it for.
    pub(super) fn zones(&self) -> Vec<String> {
        let own = std::iter::once(CLUSTERSET_ZONE.to_owned());
        own.chain(self.forwards.keys().cloned()).collect()
    }

    /// Notes it on the own Cluster, for a join that is run again without the flags.
    pub(super) fn remember(&self, annotations: &mut Value) {
        let forwards: Vec<String> = self.texts().collect();
        let allow: Vec<String> = self.allow.iter().map(ToString::to_string).collect();
        for (annotation, words) in [(FORWARDS, forwards), (ALLOW, allow)] {
            if !words.is_empty() {
                annotations[annotation] = words.join(" ").into();
            }
        }
    }

    /// Changes the objects accordingly, if the name server's Deployment is among them.
    pub(super) fn shape(&self, objects: &mut Vec<Value>) {
        let mut args: Vec<String> = self.texts().flat_map(|text| ["--forward".to_owned(), text]).collect();
        if !self.allow.is_empty() {
            args.extend(["--external-listen".to_owned(), format!("[::]:{EXTERNAL_PORT}")]);
            let prefixes = self.allow.iter();
            args.extend(prefixes.flat_map(|prefix| ["--external-allow".to_owned(), prefix.to_string()]));
        }
        if args.is_empty() {
            return;
        }
        let is_ours = |object: &&mut Value| object["kind"] == "Deployment" && object["metadata"]["name"] == DNS_SERVICE;
        let Some(deployment) = objects.iter_mut().find(is_ours) else {
            return;
        };
        deployment["spec"]["template"]["spec"]["containers"][0]["args"] = json!(args);
        if !self.allow.is_empty() {
            objects.push(external_service());
        }
    }

    fn texts(&self) -> impl Iterator<Item = String> {
        self.forwards.iter().map(|(zone, servers)| format!("{zone}={servers}"))
    }
}

/// Clients keep their source addresses, by which they are told apart; so a node without a pod of the name server does not answer.
fn external_service() -> Value {
    let port = |name: &str, protocol: &str| json!({ "name": name, "protocol": protocol, "port": 53, "targetPort": EXTERNAL_PORT });
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {
            "name": format!("{DNS_SERVICE}-external"), "namespace": SYSTEM_NAMESPACE,
            "labels": { "app.kubernetes.io/name": DNS_SERVICE, "app.kubernetes.io/part-of": "tombolo" },
        },
        "spec": {
            "type": "LoadBalancer", "externalTrafficPolicy": "Local",
            "selector": { "app.kubernetes.io/name": DNS_SERVICE },
            "ports": [port("dns", "UDP"), port("dns-tcp", "TCP")],
        },
    })
}

/// On the own `Cluster`: zones that are passed on.
const FORWARDS: &str = "tombolo.dev/dns-forward";
/// On the own `Cluster`: who may ask from outside.
const ALLOW: &str = "tombolo.dev/dns-allow";
/// Where the pods answer hosts outside.
const EXTERNAL_PORT: u16 = 5300;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifests;

    fn flags(forwards: &[&str], allow: &[&str]) -> NameServerFlags {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        NameServerFlags {
            dns_forward: owned(forwards),
            dns_allow: owned(allow),
        }
    }

    fn manifest() -> Vec<Value> {
        manifests::render(manifests::MEMBER[4], &[("IMAGE", "i")]).unwrap()
    }

    #[test]
    fn flags_become_arguments_a_service_and_zones_of_cluster_dns() {
        let told = flags(&["West.lan.=10.112.0.10,fd00::a"], &["192.0.2.0/24"])
            .parse()
            .unwrap();
        assert_eq!(told.zones(), ["clusterset.local", "west.lan"]);
        let mut objects = manifest();
        told.shape(&mut objects);
        let args = &objects[1]["spec"]["template"]["spec"]["containers"][0]["args"];
        let expected = json!([
            "--forward",
            "west.lan=10.112.0.10,fd00::a",
            "--external-listen",
            "[::]:5300",
            "--external-allow",
            "192.0.2.0/24"
        ]);
        assert_eq!(*args, expected);
        assert_eq!(objects.last().unwrap()["spec"]["externalTrafficPolicy"], "Local");
    }

    #[test]
    fn without_flags_the_manifest_stays_as_it_is() {
        let mut objects = manifest();
        NameServer::default().shape(&mut objects);
        assert_eq!(objects, manifest());
    }

    #[test]
    fn an_earlier_join_is_remembered_until_another_word_or_none() {
        let told = flags(&["a.lan=10.0.0.1", "b.lan=10.0.0.2"], &["192.0.2.0/24"]);
        let mut annotations = json!({});
        told.parse().unwrap().remember(&mut annotations);
        let earlier = NameServerFlags::remembered(&serde_json::from_value(annotations).unwrap());
        let again = |now: NameServerFlags| now.or(&earlier).parse().unwrap();
        assert_eq!(again(NameServerFlags::default()), told.parse().unwrap());
        assert_eq!(
            again(flags(&["c.lan=10.0.0.3"], &[])).zones(),
            ["clusterset.local", "c.lan"]
        );
        assert_eq!(again(flags(&["none"], &["none"])), NameServer::default());
    }

    #[test]
    fn what_cannot_be_says_why() {
        for bad in [
            "west.lan",
            "=10.0.0.1",
            "a..b=10.0.0.1",
            "a b=10.0.0.1",
            "west.lan=dns",
            "west.lan=",
        ] {
            assert_eq!(
                flags(&[bad], &[]).parse(),
                Err(NameServerError::Forward(bad.to_owned()))
            );
        }
        let own = flags(&["svc.clusterset.local=10.0.0.1"], &[]).parse();
        assert_eq!(own, Err(NameServerError::Own("svc.clusterset.local".to_owned())));
        assert!(
            flags(&[], &["192.0.2.1/99"])
                .parse()
                .unwrap_err()
                .to_string()
                .contains("--dns-allow")
        );
    }
}
