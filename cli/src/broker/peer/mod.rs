//! `tombolo broker add-peer`: a member without Kubernetes, which is any WireGuard with a few prefixes behind it.
//!
//! Nobody speaks for such a member, so the administrator writes its `Cluster` and its one `Gateway` (`probe: none`) into a namespace of
//! its own, as an agent would have. Members do the rest by themselves. What the other side needs is printed.

mod config;

use std::net::SocketAddr;

use anyhow::{Context, bail, ensure};
use clap::{Args, ValueEnum};
use jiff::Timestamp;
use k8s_api::{AddressSpec, Gateway, GatewaySpec};
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use model::{ClusterId, PrefixSet, PublicKey, Snapshot, names};
use serde_json::{Value, json};

use self::config::PeerConfig;
use super::member::{self, STOCK_PEER_ANNOTATION, Stage};
use crate::apply::{self, Tally};
use crate::connect::{Connection, KubeTarget};
use crate::join::prefixes::Found;
use crate::join::redeem::{self, Clusterset};
use crate::output;

/// Lets a stock WireGuard peer in, and prints its configuration. Run again, it prints that of now.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tombolo broker add-peer office --public-key \"$(wg pubkey < office.key)\" \\
      --endpoint 198.51.100.7:51820 --prefix 192.168.10.0/24 > office.conf
  tombolo broker add-peer van --public-key … --prefix 192.168.20.0/24     # behind a NAT: it calls, nobody calls it
  tombolo broker evict office

The peer speaks with one gateway of each cluster, because WireGuard gives a prefix to one peer only: it does not follow a
failover by itself. Run the command again for the gateways of then.")]
pub struct AddPeer {
    /// Id of the new member: 1 to 50 lower-case letters, digits and '-'
    #[arg(value_name = "CLUSTER-ID")]
    id: ClusterId,
    /// Its WireGuard public key, base64
    #[arg(long, value_name = "KEY")]
    public_key: PublicKey,
    /// Prefix behind it, such as 192.168.10.0/24; may be given more than once
    #[arg(long = "prefix", value_name = "PREFIX", required = true)]
    prefixes: Vec<String>,
    /// Address and UDP port where it listens [default: none, it always calls first]
    #[arg(long, value_name = "IP:PORT")]
    endpoint: Option<SocketAddr>,
    /// MTU of the link that its cables leave by, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = 1500, value_parser = clap::value_parser!(u16).range(1280..))]
    underlay_mtu: u16,
    /// Form of the configuration
    #[arg(short, long, value_enum, default_value_t = Form::Conf)]
    output: Form,
}

/// Form of the configuration.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Form {
    /// As `wg-quick` reads it
    Conf,
    /// JSON for programs
    Json,
}

impl AddPeer {
    pub(super) async fn run(&self, target: &KubeTarget) -> anyhow::Result<()> {
        let broker = target.connect("broker").await?;
        let found = Found {
            prefixes: PrefixSet::parse(&self.prefixes).context("--prefix")?,
            origin: "--prefix".to_owned(),
        };
        let mut tally = Tally::default();
        let config = self.add(&broker, &found, &mut tally).await?;
        eprintln!(
            "Stock WireGuard peer \"{}\" is {} of the clusterset of {}.",
            self.id,
            if tally.is_unchanged() {
                "unchanged, a member"
            } else {
                "a member"
            },
            broker.url
        );
        if config.peers.is_empty() {
            eprintln!("No other member has a gateway yet: run this again when there is one.");
        }
        output::print(&match self.output {
            Form::Conf => config.to_string(),
            Form::Json => format!("{}\n", serde_json::to_string_pretty(&config)?),
        });
        Ok(())
    }

    async fn add(&self, broker: &Connection, found: &Found, tally: &mut Tally) -> anyhow::Result<PeerConfig> {
        let clusterset = Clusterset::read(broker).await?;
        let before = member::find(broker, &self.id, Timestamp::now()).await?;
        let stage = before.as_ref().map(|member| member.stage);
        if let Some(stage) = stage
            && !matches!(stage, Stage::StockPeer | Stage::Evicted)
        {
            bail!(
                "cluster id \"{}\" is taken: it is {stage}. Choose another id, or evict that one first",
                self.id
            );
        }
        clusterset.refuse_overlap_of(&self.id, "prefix", found, "--prefix")?;
        let others = self.others(broker, &clusterset).await?;
        ensure_key_is_free(&others, &self.id, &self.public_key)?;
        if stage == Some(Stage::Evicted) {
            member::drop_tombstone(broker, &self.id).await?;
        }
        apply::apply_all(broker, &self.objects(&found.prefixes), tally).await?;
        let own = model::Gateway::try_from(&Gateway::new(NODE, self.spec()))?;
        Ok(PeerConfig::new(&others, &own))
    }

    /// The other members as they are on the broker.
    async fn others(&self, broker: &Connection, clusterset: &Clusterset) -> anyhow::Result<Snapshot> {
        let mut snapshot = Snapshot::empty(self.id.clone());
        snapshot.clusters = clusterset
            .active_peers(&self.id)
            .map(|cluster| (cluster.id.clone(), cluster.clone()))
            .collect();
        let gateways: Api<Gateway> = Api::all(broker.client.clone());
        let gateways = gateways
            .list(&ListParams::default())
            .await
            .map_err(broker.failed("list the gateways"))?;
        // What cannot be understood, or speaks for another cluster, is nobody's gateway.
        let believed = gateways.iter().filter_map(|object| {
            let gateway = model::Gateway::try_from(object).ok()?;
            redeem::is_of(object.namespace().as_deref(), &gateway.id.cluster).then_some(gateway)
        });
        snapshot.gateways = believed
            .filter(|gateway| snapshot.clusters.contains_key(&gateway.id.cluster))
            .map(|gateway| (gateway.id.clone(), gateway))
            .collect();
        Ok(snapshot)
    }

    fn spec(&self) -> GatewaySpec {
        let address = self.endpoint.map(|endpoint| AddressSpec {
            kind: "public".to_owned(),
            ip: endpoint.ip().to_string(),
            port: None,
        });
        GatewaySpec {
            cluster_id: self.id.to_string(),
            node: NODE.to_owned(),
            public_key: self.public_key.to_string(),
            addresses: address.into_iter().collect(),
            port: self.endpoint.map_or(WIREGUARD_PORT, |endpoint| endpoint.port()),
            lanes: 1,
            priority: 0,
            active: true,
            epoch: 1,
            probe: "none".to_owned(),
            underlay_mtu: self.underlay_mtu,
        }
    }

    fn objects(&self, prefixes: &PrefixSet) -> [Value; 3] {
        let namespace = self.id.broker_namespace();
        let labels = json!({ names::CLUSTER_LABEL: self.id, "app.kubernetes.io/managed-by": "tombolo" });
        let mut cluster = redeem::claim(&self.id, prefixes, &PrefixSet::default());
        cluster["metadata"]["namespace"] = json!(namespace);
        cluster["metadata"]["annotations"] = json!({ STOCK_PEER_ANNOTATION: "true" });
        [
            json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": namespace, "labels": labels } }),
            cluster,
            json!({
                "apiVersion": "tombolo.dev/v1alpha1",
                "kind": "Gateway",
                "metadata": { "name": NODE, "namespace": namespace, "labels": { names::CLUSTER_LABEL: self.id } },
                "spec": self.spec(),
            }),
        ]
    }
}

/// Two gateways of one key could not be told apart, and the younger would get no cable.
fn ensure_key_is_free(others: &Snapshot, own: &ClusterId, key: &PublicKey) -> anyhow::Result<()> {
    let holder = others.gateways.values().find(|gateway| gateway.public_key == *key);
    ensure!(
        holder.is_none(),
        "public key {key} is that of gateway {}: give \"{own}\" a key of its own (wg genkey)",
        holder.map(|gateway| gateway.id.to_string()).unwrap_or_default()
    );
    Ok(())
}

/// A peer is one host; its gateway needs a name.
const NODE: &str = "wireguard";
/// Where WireGuard listens when nobody says otherwise.
const WIREGUARD_PORT: u16 = 51_820;

#[cfg(test)]
mod tests {
    use k8s_api::Cluster;

    use super::*;

    fn add_peer(endpoint: Option<&str>) -> AddPeer {
        AddPeer {
            id: "office".parse().unwrap(),
            public_key: PublicKey::from_bytes([7; 32]),
            prefixes: vec!["192.168.10.0/24".to_owned()],
            endpoint: endpoint.map(|endpoint| endpoint.parse().unwrap()),
            underlay_mtu: 1500,
            output: Form::Conf,
        }
    }

    #[test]
    fn what_is_written_is_what_members_read() {
        let [_, cluster, gateway] =
            add_peer(Some("198.51.100.7:4500")).objects(&PrefixSet::parse(["192.168.10.0/24"]).unwrap());
        let cluster: Cluster = serde_json::from_value(cluster).unwrap();
        let cluster = model::Cluster::try_from(&cluster).unwrap();
        assert_eq!(cluster.prefixes(), PrefixSet::parse(["192.168.10.0/24"]).unwrap());
        let gateway: Gateway = serde_json::from_value(gateway).unwrap();
        let gateway = model::Gateway::try_from(&gateway).unwrap();
        assert_eq!(gateway.probe, model::ProbeMode::None);
        assert_eq!(gateway.candidates(), ["198.51.100.7:4500".parse().unwrap()]);
    }

    #[test]
    fn a_peer_behind_a_nat_is_never_called() {
        let gateway = Gateway::new(NODE, add_peer(None).spec());
        assert!(model::Gateway::try_from(&gateway).unwrap().candidates().is_empty());
    }

    #[test]
    fn a_key_is_one_gateways() {
        let mut others = Snapshot::empty("office".parse().unwrap());
        let mut spec = add_peer(None).spec();
        "east".clone_into(&mut spec.cluster_id);
        let gateway = model::Gateway::try_from(&Gateway::new(NODE, spec)).unwrap();
        others.gateways.insert(gateway.id.clone(), gateway);
        let office = "office".parse().unwrap();
        let error = ensure_key_is_free(&others, &office, &PublicKey::from_bytes([7; 32])).unwrap_err();
        assert!(error.to_string().contains("east.wireguard"), "{error}");
        assert!(ensure_key_is_free(&others, &office, &PublicKey::from_bytes([8; 32])).is_ok());
    }
}
