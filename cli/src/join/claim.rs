//! Whether the claim of a cluster that has just joined stands.
//!
//! Two clusters may join at the same moment and claim the same prefix: each looks before it writes, and neither finds the other. The broker's
//! creation time decides, which counts in whole seconds, and then the uid. So whatever beats our claim is on the broker at the latest
//! one second after ours. A look after that second is final: a join that ends well has not lost.

use std::time::Duration;

use clusterset::claims;
use k8s_api::Cluster;
use k8s_runtime::Find;
use kube::Api;
use model::ClusterId;
use tokio::time::Instant;

use super::redeem::Clusterset;
use crate::connect::Connection;

/// The claim on the broker.
#[derive(Debug)]
pub(super) struct Claim {
    own: ClusterId,
    broker: Connection,
    seen: Option<Instant>,
}

/// What is known of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Nothing yet: what is waited for.
    Open(&'static str),
    /// An older claim has the prefix: which, and whose.
    Lost(String),
    /// It stands, and these other members take part.
    Stands(Vec<ClusterId>),
}

impl Claim {
    /// A claim that the agents are about to write.
    pub(super) fn new(own: ClusterId, broker: Connection) -> Self {
        Self {
            own,
            broker,
            seen: None,
        }
    }

    /// Looks. To be called often; it asks for little until there is something to know.
    ///
    /// # Errors
    /// When the broker does not answer.
    pub(super) async fn look(&mut self) -> anyhow::Result<Standing> {
        let clusters: Api<Cluster> = Api::namespaced(self.broker.client.clone(), &self.own.broker_namespace());
        let Some(seen) = self.seen else {
            let claim = clusters.find(self.own.as_str()).await;
            let claim = claim.map_err(self.broker.failed("read the own claim"))?;
            self.seen = claim.map(|_| Instant::now());
            return Ok(Standing::Open("the claim of its prefixes on the broker"));
        };
        if seen.elapsed() < CLOCK_TICK {
            return Ok(Standing::Open("claims of the same moment"));
        }
        Ok(standing(&self.own, &Clusterset::read(&self.broker).await?))
    }
}

fn standing(own: &ClusterId, clusterset: &Clusterset) -> Standing {
    let verdict = claims::arbitrate(clusterset.clusters.values());
    match verdict.overlaps.iter().find(|overlap| overlap.cluster == *own) {
        Some(lost) => Standing::Lost(format!(
            "its prefix {} overlaps {}, which \"{}\" claimed first",
            lost.prefix, lost.with_prefix, lost.with
        )),
        None => Standing::Stands(clusterset.active_peers(own).map(|peer| peer.id.clone()).collect()),
    }
}

/// In which Kubernetes tells the age of objects.
const CLOCK_TICK: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use model::{ClusterState, PrefixSet, ProtocolRange};

    fn member(id: &str, pods: &str, created: (i64, &str)) -> (ClusterId, model::Cluster) {
        let id: ClusterId = id.parse().unwrap();
        let cluster = model::Cluster {
            id: id.clone(),
            pod_prefixes: PrefixSet::parse([pods]).unwrap(),
            service_prefixes: PrefixSet::default(),
            protocol: ProtocolRange { min: 1, max: 1 },
            state: ClusterState::Active,
            created: (created.0, created.1.to_owned()),
        };
        (id, cluster)
    }

    #[test]
    fn of_two_claims_of_one_moment_one_stands_and_the_other_knows() {
        let clusterset = Clusterset {
            incarnation: String::new(),
            clusters: [
                member("east", "10.1.0.0/16", (7, "b")),
                member("west", "10.1.2.0/24", (7, "a")),
            ]
            .into(),
        };
        let [east, west] = ["east", "west"].map(|id| id.parse::<ClusterId>().unwrap());
        assert_eq!(standing(&west, &clusterset), Standing::Stands(vec![east.clone()]));
        let lost = "its prefix 10.1.0.0/16 overlaps 10.1.2.0/24, which \"west\" claimed first";
        assert_eq!(standing(&east, &clusterset), Standing::Lost(lost.to_owned()));
    }
}
