//! What the broker knows of one member.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use k8s_api::Cluster;
use k8s_openapi::api::core::v1::{Namespace, Secret};
use k8s_runtime::Find;
use kube::api::{DeleteParams, ListParams};
use kube::{Api, ResourceExt};
use model::ClusterId;

use crate::connect::{Connection, is_not_found};

/// The Secret that an invitation is bound to; it dies with it.
pub(super) const INVITE_SECRET: &str = "invite";
/// On that Secret: when the invitation ends (RFC 3339).
pub(super) const EXPIRES_ANNOTATION: &str = "tombolo.dev/expires";
/// On a `Cluster`: when it was evicted (RFC 3339).
pub(super) const EVICTED_ANNOTATION: &str = "tombolo.dev/evicted-at";
/// On a `Cluster`: nobody speaks for it, the administrator wrote it.
pub(super) const STOCK_PEER_ANNOTATION: &str = "tombolo.dev/stock-peer";

/// How far an id is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// There is an invitation that nobody has used; it ends then.
    Invited(Timestamp),
    /// The invitation ended unused.
    Lapsed,
    /// A cluster used its invitation and has not told about itself yet.
    Joining,
    /// It is a member.
    Member,
    /// It is a WireGuard without Tombolo.
    StockPeer,
    /// It is cleaning up to go.
    Leaving,
    /// It was thrown out; the tombstone is kept for some days.
    Evicted,
}

impl std::fmt::Display for Stage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Invited(_) => "invited",
            Self::Lapsed => "lapsed",
            Self::Joining => "joining",
            Self::Member => "member",
            Self::StockPeer => "stock peer",
            Self::Leaving => "leaving",
            Self::Evicted => "evicted",
        })
    }
}

/// One id on the broker.
#[derive(Debug, Clone)]
pub(super) struct Member {
    /// Its id.
    pub(super) id: ClusterId,
    /// How far it is.
    pub(super) stage: Stage,
    /// What it tells about itself.
    pub(super) cluster: Option<Cluster>,
}

/// Everybody whom the broker has a namespace for, by id.
pub(super) async fn all(broker: &Connection, now: Timestamp) -> anyhow::Result<BTreeMap<ClusterId, Member>> {
    let namespaces: Api<Namespace> = Api::all(broker.client.clone());
    let everything = ListParams::default();
    let namespaces = namespaces
        .list(&everything)
        .await
        .map_err(broker.failed("list namespaces"))?;
    let ids: BTreeSet<ClusterId> = namespaces
        .iter()
        .filter(|namespace| namespace.metadata.deletion_timestamp.is_none())
        .filter_map(|namespace| ClusterId::from_broker_namespace(&namespace.name_any()))
        .collect();
    let mut members = BTreeMap::new();
    for id in ids {
        members.insert(id.clone(), read(broker, &id, now).await?);
    }
    Ok(members)
}

/// One id, or none where it has no namespace.
pub(super) async fn find(broker: &Connection, id: &ClusterId, now: Timestamp) -> anyhow::Result<Option<Member>> {
    let namespaces: Api<Namespace> = Api::all(broker.client.clone());
    let name = id.broker_namespace();
    let namespace = namespaces
        .find(&name)
        .await
        .map_err(broker.failed(format!("read namespace {name}")))?;
    match namespace {
        Some(_) => Ok(Some(read(broker, id, now).await?)),
        None => Ok(None),
    }
}

async fn read(broker: &Connection, id: &ClusterId, now: Timestamp) -> anyhow::Result<Member> {
    let namespace = id.broker_namespace();
    let clusters: Api<Cluster> = Api::namespaced(broker.client.clone(), &namespace);
    let cluster = clusters
        .find(id.as_str())
        .await
        .map_err(broker.failed(format!("read Cluster {namespace}/{id}")))?;
    let secrets: Api<Secret> = Api::namespaced(broker.client.clone(), &namespace);
    let invite = secrets
        .find(INVITE_SECRET)
        .await
        .map_err(broker.failed(format!("read Secret {namespace}/{INVITE_SECRET}")))?;
    let expires = invite.as_ref().map(|secret| {
        secret
            .annotations()
            .get(EXPIRES_ANNOTATION)
            .and_then(|time| time.parse().ok())
    });
    Ok(Member {
        id: id.clone(),
        stage: match &cluster {
            Some(cluster)
                if cluster.annotations().contains_key(STOCK_PEER_ANNOTATION) && cluster.spec.state == "Active" =>
            {
                Stage::StockPeer
            }
            _ => stage(
                cluster.as_ref().map(|cluster| cluster.spec.state.as_str()),
                expires,
                now,
            ),
        },
        cluster,
    })
}

/// A new member of this id must not find its predecessor's tombstone.
pub(super) async fn drop_tombstone(broker: &Connection, id: &ClusterId) -> anyhow::Result<()> {
    let clusters: Api<Cluster> = Api::namespaced(broker.client.clone(), &id.broker_namespace());
    match clusters.delete(id.as_str(), &DeleteParams::default()).await {
        Err(error) if !is_not_found(&error) => Err(broker.failed(format!("delete the tombstone of {id}"))(error)),
        _ => Ok(()),
    }
}

/// `state` is that of its `Cluster`, `invite` the end of its invitation if there is one (none inside where it is unreadable).
fn stage(state: Option<&str>, invite: Option<Option<Timestamp>>, now: Timestamp) -> Stage {
    match (state, invite) {
        (Some("Evicted"), _) => Stage::Evicted,
        (Some("Leaving"), _) => Stage::Leaving,
        (Some(_), _) => Stage::Member,
        (None, Some(Some(expires))) if expires > now => Stage::Invited(expires),
        (None, Some(_)) => Stage::Lapsed,
        (None, None) => Stage::Joining,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_far_an_id_is() {
        let now = Timestamp::from_second(100).unwrap();
        let later = Timestamp::from_second(101).unwrap();
        assert_eq!(stage(None, Some(Some(later)), now), Stage::Invited(later));
        assert_eq!(stage(None, Some(Some(now)), now), Stage::Lapsed);
        assert_eq!(stage(None, Some(None), now), Stage::Lapsed);
        assert_eq!(stage(None, None, now), Stage::Joining);
        assert_eq!(stage(Some("Active"), None, now), Stage::Member);
        assert_eq!(stage(Some("Active"), Some(Some(later)), now), Stage::Member);
        assert_eq!(stage(Some("Leaving"), None, now), Stage::Leaving);
        assert_eq!(stage(Some("Evicted"), Some(Some(later)), now), Stage::Evicted);
    }
}
