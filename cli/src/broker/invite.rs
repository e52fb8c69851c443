use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use jiff::Timestamp;
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use kube::api::{DeleteParams, PostParams};
use kube::{Api, ResourceExt};
use model::ClusterId;

use super::member::{self, EXPIRES_ANNOTATION, INVITE_SECRET, Stage};
use crate::apply::{self, Tally};
use crate::connect::{Connection, KubeTarget, is_not_found};
use crate::token::InviteToken;
use crate::{duration, manifests};

/// Lets a cluster in. Prints one token for `tombolo join`; it is good for one use, and for a short time.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tombolo broker invite east
  tombolo broker invite east --ttl 1h --broker-url https://broker.example.net:6443
  tombolo broker invite east --again        # the token was lost, or ended unused")]
pub struct Invite {
    /// Id of the new member: 1 to 50 lower-case letters, digits and '-'; it stays for the life of the membership
    #[arg(value_name = "CLUSTER-ID")]
    id: ClusterId,
    /// How long the token is good for (a Kubernetes API server gives no less than 10m)
    #[arg(long, value_parser = duration::parse, default_value = "15m")]
    ttl: Duration,
    /// URL under which the member reaches the broker [default: that of the kubeconfig]
    #[arg(long, value_name = "URL")]
    broker_url: Option<String>,
    /// Name or address in the broker's certificate, if the URL's host is not in it [default: that of the kubeconfig]
    #[arg(long, value_name = "NAME")]
    tls_server_name: Option<String>,
    /// Invite an id that is taken; an invitation that is open ends, a membership stays
    #[arg(long)]
    again: bool,
}

impl Invite {
    pub(super) async fn run(&self, target: &KubeTarget) -> anyhow::Result<()> {
        let mut broker = target.connect("broker").await?;
        if let Some(name) = &self.tls_server_name {
            broker.tls_server_name.clone_from(name);
        }
        let url = self.broker_url.as_deref().unwrap_or(&broker.url);
        let token = invite(&broker, &self.id, url, self.ttl, self.again).await?;
        eprintln!(
            "Invitation of cluster \"{}\" to the broker at {url}; good for one use until {}.",
            self.id, token.expires
        );
        if is_loopback(url) {
            eprintln!("Note: {url} is this machine only; give --broker-url for a member elsewhere.");
        }
        eprintln!("In the cluster, run: tombolo join <token>");
        println!("{}", token.encode());
        Ok(())
    }
}

/// Makes room for a member and an invitation for it.
///
/// # Errors
/// When the id is taken and `again` is not given, or the broker refuses.
pub async fn invite(
    broker: &Connection,
    id: &ClusterId,
    url: &str,
    ttl: Duration,
    again: bool,
) -> anyhow::Result<InviteToken> {
    let now = Timestamp::now();
    let stage = member::find(broker, id, now).await?.map(|member| member.stage);
    if let Some(why) = stage.and_then(taken)
        && !again
    {
        bail!("cluster id \"{id}\" is taken: {why}. Choose another id, or invite this one once more with --again");
    }
    let manifest = manifests::render(manifests::BROKER_MEMBER, &[("CLUSTER_ID", id.as_str())])?;
    apply::apply_all(broker, &manifest, &mut Tally::default()).await?;
    if stage == Some(Stage::Evicted) {
        member::drop_tombstone(broker, id).await?;
    }
    let secret = replace_secret(broker, id, now + ttl).await?;
    let (token, expires) = request_token(broker, id, &secret, ttl).await?;
    Ok(InviteToken {
        url: url.trim_end_matches('/').to_owned(),
        ca: broker.ca.clone(),
        tls_server_name: broker.tls_server_name.clone(),
        cluster_id: id.clone(),
        token,
        expires,
    })
}

/// Why an id in this stage may not simply be invited.
fn taken(stage: Stage) -> Option<String> {
    match stage {
        Stage::Invited(expires) => Some(format!("an invitation is open until {expires}")),
        Stage::Joining => Some("a cluster has used its invitation and is joining".to_owned()),
        Stage::Member => Some("it is a member".to_owned()),
        Stage::StockPeer => Some("it is a stock WireGuard peer, to be evicted first".to_owned()),
        Stage::Leaving => Some("it is a member that is leaving".to_owned()),
        Stage::Lapsed | Stage::Evicted => None,
    }
}

/// A new Secret, so that an earlier invitation ends with the earlier one.
async fn replace_secret(broker: &Connection, id: &ClusterId, expires: Timestamp) -> anyhow::Result<Secret> {
    let namespace = id.broker_namespace();
    let secrets: Api<Secret> = Api::namespaced(broker.client.clone(), &namespace);
    match secrets.delete(INVITE_SECRET, &DeleteParams::default()).await {
        Err(error) if !is_not_found(&error) => {
            return Err(broker.failed(format!("delete Secret {namespace}/{INVITE_SECRET}"))(
                error,
            ));
        }
        _ => {}
    }
    let mut secret = Secret::default();
    secret.metadata.name = Some(INVITE_SECRET.to_owned());
    secret
        .annotations_mut()
        .insert(EXPIRES_ANNOTATION.to_owned(), expires.to_string());
    secrets
        .create(&PostParams::default(), &secret)
        .await
        .map_err(broker.failed(format!("create Secret {namespace}/{INVITE_SECRET}")))
}

async fn request_token(
    broker: &Connection,
    id: &ClusterId,
    bound_to: &Secret,
    ttl: Duration,
) -> anyhow::Result<(String, Timestamp)> {
    let namespace = id.broker_namespace();
    let accounts: Api<ServiceAccount> = Api::namespaced(broker.client.clone(), &namespace);
    let request = TokenRequest {
        spec: TokenRequestSpec {
            expiration_seconds: Some(i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX)),
            bound_object_ref: Some(BoundObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("Secret".to_owned()),
                name: Some(INVITE_SECRET.to_owned()),
                uid: bound_to.uid(),
            }),
            ..TokenRequestSpec::default()
        },
        ..TokenRequest::default()
    };
    let status = accounts
        .create_token_request("invite", &PostParams::default(), &request)
        .await
        .map_err(broker.failed(format!("request a token of ServiceAccount {namespace}/invite")))?
        .status
        .context("the broker answered the token request without a token")?;
    Ok((status.token, status.expiration_timestamp.0))
}

fn is_loopback(url: &str) -> bool {
    let host = url.split_once("://").map_or(url, |(_, rest)| rest);
    ["127.", "localhost", "[::1]"]
        .iter()
        .any(|start| host.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lapsed_and_evicted_ids_are_free() {
        let later = Timestamp::from_second(1).unwrap();
        for stage in [
            Stage::Invited(later),
            Stage::Joining,
            Stage::Member,
            Stage::StockPeer,
            Stage::Leaving,
        ] {
            assert!(taken(stage).is_some(), "{stage}");
        }
        assert_eq!(taken(Stage::Lapsed), None);
        assert_eq!(taken(Stage::Evicted), None);
    }

    #[test]
    fn loopback_urls_are_noticed() {
        assert!(is_loopback("https://127.0.0.1:6443") && is_loopback("https://[::1]:6443"));
        assert!(!is_loopback("https://192.0.2.1:6443") && !is_loopback("https://broker.example.net"));
    }
}
