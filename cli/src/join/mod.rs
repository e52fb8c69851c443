//! `tombolo join`: makes this cluster a member.
//!
//! ```text
//!  look      token, membership, nodes, prefixes, other members         nothing is changed up to here
//!  redeem    invitation → token of the member → Secret → the invitation ends
//!  apply     definitions, accounts, the claim (Cluster), node labels, daemons, the stanza in cluster DNS
//!  wait      until the agents have proven what there is to prove
//! ```
//!
//! Every step is an apply or can be seen to be done, so a join that was killed is run again, and one that is done says "unchanged".
//! The token is stored before its invitation ends: whichever step a kill comes after, either the invitation or the
//! membership is good.

mod claim;
pub mod clusterset_range;
pub mod discover;
mod earlier;
pub mod gateways;
pub mod name_server;
pub mod observe;
pub mod prefixes;
pub mod redeem;
mod settle;
pub mod wait;

use std::time::Duration;

use anyhow::{bail, ensure};
use clap::Args;
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::api::ListParams;
use model::ClusterId;
use serde::Serialize;

use self::claim::Claim;
use self::gateways::{Choice, ChosenBy};
use self::prefixes::Discovered;
use self::redeem::Clusterset;
use crate::apply::{self, Tally};
use crate::connect::{self, Connection, KubeTarget};
use crate::membership::Membership;
use crate::progress::Progress;
use crate::token::InviteToken;
use crate::{duration, manifests};

/// Makes this cluster a member of a clusterset. Run again, it finishes what is missing, or changes nothing and says so.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tombolo join tmb1_eyJ1cmwi…
  tombolo join $TOKEN --gateway-nodes edge-1,edge-2
  tombolo join $TOKEN --pod-prefix 10.42.0.0/16 --service-prefix 10.43.0.0/16
  tombolo join $TOKEN --no-wait -o json

Exit codes: 0 joined (or unchanged), 1 failed, 2 usage, 3 joined, but no other cluster answers.")]
pub struct Join {
    /// What `tombolo broker invite` printed
    #[arg(value_name = "TOKEN", env = "TOMBOLO_TOKEN", hide_env_values = true)]
    token: String,
    /// Refuse a token of any other cluster id
    #[arg(long, value_name = "ID")]
    cluster_id: Option<ClusterId>,
    /// Nodes that carry cables [default: those labelled tombolo.dev/gateway=true, else two ready workers]
    #[arg(long, value_name = "NODE,…", value_delimiter = ',')]
    gateway_nodes: Vec<String>,
    /// Prefix of this cluster's pods; may be repeated [default: as discovered]
    #[arg(long, value_name = "PREFIX", value_delimiter = ',')]
    pod_prefix: Vec<String>,
    /// Prefix of this cluster's services; may be repeated [default: as discovered]
    #[arg(long, value_name = "PREFIX", value_delimiter = ',')]
    service_prefix: Vec<String>,
    /// Range of this cluster's clusterset IPs, at most one a family; clients in this cluster see addresses of it
    /// [default: 244.174.0.0/16 and fd74:6f6d:626f:6c6f::/112]
    #[arg(long, value_name = "PREFIX", value_delimiter = ',')]
    clusterset_ip_range: Vec<String>,
    /// Reach the broker under this URL instead of the token's
    #[arg(long, value_name = "URL")]
    broker_url: Option<String>,
    /// Image of the daemons
    #[arg(long, value_name = "IMAGE", default_value_t = manifests::default_image())]
    image: String,
    /// How long to wait for the proof that it works
    #[arg(long, value_parser = duration::parse, default_value = "120s")]
    timeout: Duration,
    /// Do not wait for the proof
    #[arg(long)]
    no_wait: bool,
    /// Form of the outcome on standard output; progress goes to standard error
    #[arg(short, long, value_enum, default_value_t = JoinOutput::Text)]
    output: JoinOutput,
    #[command(flatten)]
    name_server: name_server::NameServerFlags,
    #[command(flatten)]
    target: KubeTarget,
}

/// Form of the outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum JoinOutput {
    /// Lines for a person
    Text,
    /// JSON for programs
    Json,
}

/// What became of a join.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    cluster_id: ClusterId,
    broker: String,
    unchanged: bool,
    created: usize,
    changed: usize,
    gateways: Vec<String>,
    pod_prefixes: Vec<String>,
    service_prefixes: Vec<String>,
    connected: Vec<ClusterId>,
    dead: Vec<ClusterId>,
    waited: bool,
}

/// What was found before anything is changed.
struct Findings {
    membership: Option<Membership>,
    nodes: Vec<Node>,
    gateways: Choice,
    prefixes: Discovered,
    /// The range of clusterset IPs as told; empty for the default.
    clusterset_range: Vec<String>,
}

impl Findings {
    fn refuse_range_of_peers(&self, own: &ClusterId, clusterset: &Clusterset) -> anyhow::Result<()> {
        let peers = clusterset.active_peers(own).map(|peer| (&peer.id, peer.prefixes()));
        clusterset_range::range(&self.clusterset_range, &self.prefixes, peers)?;
        Ok(())
    }
}

impl Join {
    /// Joins.
    ///
    /// # Errors
    /// Says what is wrong, with which object, and the mend.
    pub async fn run(&self) -> anyhow::Result<()> {
        let invite = self.invitation()?;
        let cluster = self.target.connect("cluster").await?;
        let mut progress = Progress::default();
        let outcome = self.join(&invite, &cluster, &mut progress).await?;
        match self.output {
            JoinOutput::Json => println!("{}", serde_json::to_string_pretty(&outcome)?),
            JoinOutput::Text if outcome.unchanged => {
                println!("Cluster \"{}\" is a member already: unchanged.", outcome.cluster_id);
            }
            JoinOutput::Text => println!("Cluster \"{}\" has joined.", outcome.cluster_id),
        }
        if outcome.waited && outcome.connected.is_empty() && !outcome.dead.is_empty() {
            return Err(crate::exit::NotConnected(format!(
                "\"{}\" has joined, but no other cluster answers. See `tombolo show connections`; cables need UDP {} between \
                 the gateways",
                outcome.cluster_id,
                model::names::CABLE_PORT
            ))
            .into());
        }
        Ok(())
    }

    fn invitation(&self) -> anyhow::Result<InviteToken> {
        let mut invite = InviteToken::decode(&self.token)?;
        if let Some(id) = &self.cluster_id {
            ensure!(
                *id == invite.cluster_id,
                "the token is of cluster \"{}\", not of \"{id}\". Ask for one with: tombolo broker invite {id}",
                invite.cluster_id
            );
        }
        if let Some(url) = &self.broker_url {
            invite.url = url.trim_end_matches('/').to_owned();
        }
        Ok(invite)
    }

    async fn join(
        &self,
        invite: &InviteToken,
        cluster: &Connection,
        progress: &mut Progress,
    ) -> anyhow::Result<Outcome> {
        let id = &invite.cluster_id;
        self.await_end_of_earlier(cluster, progress).await?;
        let findings = self.look(invite, cluster, progress).await?;
        let mut tally = Tally::default();
        let namespace = manifests::render(manifests::MEMBER[0], &[])?;
        let mut claim = None;
        let clusterset = match &findings.membership {
            Some(membership) => {
                let clusterset = self.meet_again(membership, &findings, progress).await?;
                // An earlier join was killed before the agents had written it.
                if clusterset.as_ref().is_some_and(|set| !set.clusters.contains_key(id)) {
                    claim = Some(Claim::new(id.clone(), membership.connect()?));
                }
                clusterset
            }
            None => {
                let (membership, clusterset) = self.meet(invite, &findings, progress).await?;
                apply::apply_all(cluster, &namespace, &mut tally).await?;
                tally.count(apply::apply(cluster, &membership.secret()).await?);
                progress.step(
                    "broker",
                    format!("{} knows this cluster as \"{id}\" now", membership.url),
                );
                claim = Some(Claim::new(id.clone(), membership.connect()?));
                Some(clusterset)
            }
        };
        if let Err(error) = redeem::end(invite).await
            && findings.membership.is_none()
        {
            progress.warn(format!("{error}. It ends by itself at {}", invite.expires));
        }
        let dns_edited = settle::apply(self, &findings, id, cluster, &mut tally, progress).await?;
        let verdict = if self.no_wait {
            None
        } else {
            let expected = wait::Expected {
                own: id.clone(),
                peers: match &clusterset {
                    Some(clusterset) => clusterset.active_peers(id).map(|peer| peer.id.clone()).collect(),
                    None => observe::mirrored_peers(cluster, id).await?,
                },
                dns_edited,
            };
            Some(
                settle::wait(
                    cluster,
                    &findings.gateways.nodes,
                    expected,
                    claim,
                    self.timeout,
                    progress,
                )
                .await?,
            )
        };
        let (connected, dead) = verdict.clone().unwrap_or_default();
        let texts = |set: &model::PrefixSet| set.iter().map(ToString::to_string).collect();
        Ok(Outcome {
            cluster_id: id.clone(),
            broker: invite.url.clone(),
            unchanged: tally.is_unchanged(),
            created: tally.created,
            changed: tally.changed,
            gateways: findings.gateways.nodes,
            pod_prefixes: texts(&findings.prefixes.pods.prefixes),
            service_prefixes: texts(&findings.prefixes.services.prefixes),
            connected,
            dead,
            waited: verdict.is_some(),
        })
    }

    /// Looks at the cluster; changes nothing.
    async fn look(
        &self,
        invite: &InviteToken,
        cluster: &Connection,
        progress: &mut Progress,
    ) -> anyhow::Result<Findings> {
        let membership = Membership::read(cluster).await?;
        if let Some(member) = &membership
            && !member.is_same(&invite.url, &invite.ca, &invite.cluster_id)
        {
            bail!(
                "this cluster ({}) is a member already, as \"{}\" of the broker {}; the token is of \"{}\" at {}. Run `tombolo leave` first",
                cluster.url,
                member.cluster_id,
                member.url,
                invite.cluster_id,
                invite.url
            );
        }
        let nodes: Api<Node> = Api::all(cluster.client.clone());
        let nodes = nodes
            .list(&ListParams::default())
            .await
            .map_err(cluster.failed("list nodes"))?
            .items;
        progress.step("cluster", format!("{} has {} nodes", cluster.url, nodes.len()));
        let gateways = gateways::choose(&nodes, &self.gateway_nodes)?;
        let chosen = match gateways.by {
            ChosenBy::Flag => "as asked",
            ChosenBy::Label => "as labelled",
            ChosenBy::Us => "picked among the ready nodes; change it with --gateway-nodes",
        };
        progress.step("gateways", format!("{} ({chosen})", gateways.nodes.join(", ")));
        let mut sources = discover::read(cluster, &nodes).await?;
        let clusterset_range = self.remember_flags(cluster, &invite.cluster_id, &mut sources).await?;
        let prefixes = prefixes::discover(&sources)?;
        clusterset_range::range(&clusterset_range, &prefixes, [])?;
        progress.step(
            "prefixes",
            format!("pods {} ({})", prefixes.pods.prefixes, prefixes.pods.origin),
        );
        progress.step(
            "prefixes",
            format!("services {} ({})", prefixes.services.prefixes, prefixes.services.origin),
        );
        Ok(Findings {
            membership,
            nodes,
            gateways,
            prefixes,
            clusterset_range,
        })
    }

    /// Redeems the invitation and looks at the other members before anything is written here.
    async fn meet(
        &self,
        invite: &InviteToken,
        findings: &Findings,
        progress: &mut Progress,
    ) -> anyhow::Result<(Membership, Clusterset)> {
        let guest = connect::with_token(invite.server(), &invite.token, "broker")?;
        let mut membership = redeem::redeem(invite, &guest).await?;
        let clusterset = Clusterset::read(&membership.connect()?).await?;
        clusterset.refuse_overlap(&invite.cluster_id, &findings.prefixes)?;
        findings.refuse_range_of_peers(&invite.cluster_id, &clusterset)?;
        membership.incarnation.clone_from(&clusterset.incarnation);
        let peers: Vec<&str> = clusterset
            .active_peers(&invite.cluster_id)
            .map(|peer| peer.id.as_str())
            .collect();
        progress.step(
            "broker",
            match peers.as_slice() {
                [] => format!("{} answers; no other member yet", invite.url),
                peers => format!("{} answers; members: {}", invite.url, peers.join(", ")),
            },
        );
        Ok((membership, clusterset))
    }

    /// A member's second join needs no broker; it is asked for its news if it answers.
    async fn meet_again(
        &self,
        membership: &Membership,
        findings: &Findings,
        progress: &mut Progress,
    ) -> anyhow::Result<Option<Clusterset>> {
        progress.step(
            "broker",
            format!(
                "this cluster is \"{}\" of {} already",
                membership.cluster_id, membership.url
            ),
        );
        match Clusterset::read(&membership.connect()?).await {
            Ok(clusterset) => {
                clusterset.refuse_overlap(&membership.cluster_id, &findings.prefixes)?;
                findings.refuse_range_of_peers(&membership.cluster_id, &clusterset)?;
                Ok(Some(clusterset))
            }
            Err(error) => {
                progress.warn(format!("{error}. Going on with what is known here"));
                Ok(None)
            }
        }
    }
}
