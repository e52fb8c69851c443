//! From an invitation to a membership: a token for ServiceAccount `member`, and who else is there.

use std::collections::BTreeMap;

use anyhow::{Context, bail, ensure};
use clusterset::claims;
use jiff::Timestamp;
use k8s_api::Cluster;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use kube::Api;
use kube::api::{DeleteParams, ListParams, PostParams};
use model::{ClusterId, ClusterState, PrefixSet};

use super::prefixes::{Discovered, Found, POD_FLAG, SERVICE_FLAG};
use crate::connect::{self, Connection, is_not_found, is_unauthorized};
use crate::membership::Membership;
use crate::token::InviteToken;

/// Uses the invitation to get a token of the member. The invitation stays good until [`end`].
///
/// # Errors
/// Tells an expired, a used and a revoked invitation, and an unreachable broker.
pub async fn redeem(invite: &InviteToken, broker: &Connection) -> anyhow::Result<Membership> {
    let id = &invite.cluster_id;
    let now = Timestamp::now();
    if invite.is_expired(now) {
        bail!(
            "the token of \"{id}\" ended at {}. Ask the broker's administrator for another: tombolo broker invite {id}",
            invite.expires
        );
    }
    let accounts: Api<ServiceAccount> = Api::namespaced(broker.client.clone(), &id.broker_namespace());
    let request = TokenRequest {
        spec: TokenRequestSpec {
            expiration_seconds: Some(TOKEN_SECONDS),
            ..TokenRequestSpec::default()
        },
        ..TokenRequest::default()
    };
    let answer = match accounts
        .create_token_request("member", &PostParams::default(), &request)
        .await
    {
        Ok(answer) => answer,
        Err(error) if is_unauthorized(&error) => bail!(
            "the broker {} does not accept the token of \"{id}\": it was used already, or revoked. Ask the broker's \
             administrator for another: tombolo broker invite {id} --again",
            invite.url
        ),
        Err(error) => return Err(broker.failed(format!("redeem the token of \"{id}\""))(error)),
    };
    let status = answer.status.context("the broker answered without a token")?;
    Ok(Membership {
        url: invite.url.clone(),
        ca: invite.ca.clone(),
        tls_server_name: invite.tls_server_name.clone(),
        token: status.token,
        cluster_id: id.clone(),
        incarnation: String::new(),
        token_life: Some((now.to_string(), status.expiration_timestamp.0.to_string())),
    })
}

/// Ends the invitation: the token is bound to this Secret and dies with it. What is dead already is just as well.
///
/// # Errors
/// When the broker does not answer, or refuses.
pub async fn end(invite: &InviteToken) -> anyhow::Result<()> {
    if invite.is_expired(Timestamp::now()) {
        return Ok(());
    }
    let broker = connect::with_token(invite.server(), &invite.token, "broker")?;
    let secrets: Api<Secret> = Api::namespaced(broker.client.clone(), &invite.cluster_id.broker_namespace());
    match secrets.delete("invite", &DeleteParams::default()).await {
        Ok(_) => Ok(()),
        Err(error) if is_not_found(&error) || is_unauthorized(&error) => Ok(()),
        Err(error) => Err(broker.failed("end the invitation")(error)),
    }
}

/// The broker as a member sees it.
#[derive(Debug)]
pub struct Clusterset {
    /// Its incarnation.
    pub incarnation: String,
    /// The members that can be understood, by id.
    pub clusters: BTreeMap<ClusterId, model::Cluster>,
}

impl Clusterset {
    /// Reads it.
    ///
    /// # Errors
    /// When the broker does not answer, or is of a newer Tombolo.
    pub async fn read(broker: &Connection) -> anyhow::Result<Self> {
        let brokers: Api<k8s_api::Broker> = Api::all(broker.client.clone());
        let object = brokers
            .get(model::names::BROKER_NAME)
            .await
            .map_err(broker.failed("read the Broker object"))?;
        ensure!(
            object.spec.api_level >= 1,
            "the broker {} has API level {}, which no tombolo knows",
            broker.url,
            object.spec.api_level
        );
        let clusters: Api<Cluster> = Api::all(broker.client.clone());
        let clusters = clusters
            .list(&ListParams::default())
            .await
            .map_err(broker.failed("list the members"))?;
        Ok(Self {
            incarnation: object.spec.incarnation,
            clusters: clusters
                .iter()
                .filter_map(believed)
                .map(|cluster| (cluster.id.clone(), cluster))
                .collect(),
        })
    }

    /// The other members that take part.
    pub fn active_peers(&self, own: &ClusterId) -> impl Iterator<Item = &model::Cluster> {
        self.clusters
            .values()
            .filter(move |cluster| cluster.id != *own && cluster.state == ClusterState::Active)
    }

    /// Fails if a prefix is another member's already. Two clusters that join at the same moment are not told apart here; that is
    /// arbitrated afterwards, by everybody alike.
    ///
    /// # Errors
    /// Names both prefixes, both clusters, and the mend.
    pub fn refuse_overlap(&self, own: &ClusterId, prefixes: &Discovered) -> anyhow::Result<()> {
        self.refuse_overlap_of(own, "pod prefix", &prefixes.pods, POD_FLAG)?;
        self.refuse_overlap_of(own, "service prefix", &prefixes.services, SERVICE_FLAG)
    }

    /// The same for one set of prefixes; `flag` is where others can be given.
    ///
    /// # Errors
    /// As [`Self::refuse_overlap`].
    pub fn refuse_overlap_of(&self, own: &ClusterId, what: &str, found: &Found, flag: &str) -> anyhow::Result<()> {
        let claim = model::Cluster {
            id: own.clone(),
            pod_prefixes: found.prefixes.clone(),
            service_prefixes: PrefixSet::default(),
            protocol: model::ProtocolRange { min: 0, max: 0 },
            state: ClusterState::Active,
            // A claim that is there keeps its age, and may have won already.
            created: self
                .clusters
                .get(own)
                .map_or((i64::MAX, String::new()), |cluster| cluster.created.clone()),
        };
        let verdict = claims::arbitrate(self.active_peers(own).chain([&claim]));
        if let Some(lost) = verdict.overlaps.iter().find(|overlap| overlap.cluster == *own) {
            bail!(
                "{what} {} of cluster \"{own}\" ({}) overlaps {}, which cluster \"{}\" has. Nothing was changed. Addresses must be \
                 unique in a clusterset: give \"{own}\" other prefixes ({flag}, if this one was told wrongly), or let \"{}\" \
                 leave first",
                lost.prefix,
                found.origin,
                lost.with_prefix,
                lost.with,
                lost.with
            );
        }
        Ok(())
    }
}

/// A member is believed about itself only: in its own namespace, under its own id.
fn believed(object: &Cluster) -> Option<model::Cluster> {
    let cluster = model::Cluster::try_from(object).ok()?;
    is_of(object.metadata.namespace.as_deref(), &cluster.id).then_some(cluster)
}

/// Whether what lies in this namespace of the broker is the word of that member.
pub fn is_of(namespace: Option<&str>, id: &ClusterId) -> bool {
    namespace == Some(id.broker_namespace().as_str())
}

/// What this cluster claims, as the object to apply.
pub fn claim(id: &ClusterId, pods: &PrefixSet, services: &PrefixSet) -> serde_json::Value {
    let list = |set: &PrefixSet| set.iter().map(ToString::to_string).collect::<Vec<_>>();
    serde_json::json!({
        "apiVersion": "tombolo.dev/v1alpha1",
        "kind": "Cluster",
        "metadata": {
            "name": id,
            "namespace": model::names::SYSTEM_NAMESPACE,
            "labels": { model::names::CLUSTER_LABEL: id },
        },
        "spec": {
            "clusterId": id,
            "podPrefixes": list(pods),
            "servicePrefixes": list(services),
            "protocol": k8s_api::ProtocolSpec::default(),
            "state": "Active",
        },
    })
}

/// A broker may be away for half of this before its members need a new invitation.
const TOKEN_SECONDS: i64 = 30 * 24 * 3600;

#[cfg(test)]
mod tests {
    use super::*;

    fn member(id: &str, pods: &str, created: i64) -> model::Cluster {
        model::Cluster {
            id: id.parse().unwrap(),
            pod_prefixes: PrefixSet::parse([pods]).unwrap(),
            service_prefixes: PrefixSet::default(),
            protocol: model::ProtocolRange { min: 1, max: 1 },
            state: ClusterState::Active,
            created: (created, String::new()),
        }
    }

    fn discovered(pods: &str) -> Discovered {
        let found = |prefix: &str| Found {
            prefixes: PrefixSet::parse([prefix]).unwrap(),
            origin: "node a".into(),
        };
        Discovered {
            pods: found(pods),
            services: found("10.250.0.0/16"),
        }
    }

    fn clusterset(members: Vec<model::Cluster>) -> Clusterset {
        Clusterset {
            incarnation: "i".into(),
            clusters: members.into_iter().map(|m| (m.id.clone(), m)).collect(),
        }
    }

    #[test]
    fn an_overlap_names_both_and_the_mend() {
        let set = clusterset(vec![member("east", "10.1.0.0/16", 1)]);
        let west = "west".parse().unwrap();
        let error = set
            .refuse_overlap(&west, &discovered("10.1.2.0/24"))
            .unwrap_err()
            .to_string();
        for part in [
            "10.1.2.0/24",
            "\"west\"",
            "node a",
            "10.1.0.0/16",
            "\"east\"",
            "--pod-prefix",
        ] {
            assert!(error.contains(part), "{part}: {error}");
        }
        assert!(set.refuse_overlap(&west, &discovered("10.2.0.0/16")).is_ok());
    }

    #[test]
    fn own_claims_and_refused_claims_of_others_are_no_obstacle() {
        let set = clusterset(vec![
            member("east", "10.1.0.0/16", 1),
            member("north", "10.1.0.0/16", 2),
        ]);
        assert!(
            set.refuse_overlap(&"east".parse().unwrap(), &discovered("10.9.0.0/16"))
                .is_ok()
        );
        // East won, so it may join again; north did not.
        assert!(
            set.refuse_overlap(&"east".parse().unwrap(), &discovered("10.1.0.0/16"))
                .is_ok()
        );
        assert!(
            set.refuse_overlap(&"north".parse().unwrap(), &discovered("10.1.0.0/16"))
                .is_err()
        );
        let alone = clusterset(vec![member("east", "10.1.0.0/16", 1)]);
        assert!(
            alone
                .refuse_overlap(&"east".parse().unwrap(), &discovered("10.1.0.0/16"))
                .is_ok()
        );
    }

    #[test]
    fn a_member_is_believed_about_itself_only() {
        let mut object: Cluster = serde_json::from_value(serde_json::json!({
            "apiVersion": "tombolo.dev/v1alpha1", "kind": "Cluster",
            "metadata": { "name": "east", "namespace": "tombolo-m-east" },
            "spec": { "clusterId": "east", "protocol": { "min": 1, "max": 1 } },
        }))
        .unwrap();
        assert!(believed(&object).is_some());
        object.metadata.namespace = Some("tombolo-m-west".into());
        assert!(believed(&object).is_none());
    }
}
