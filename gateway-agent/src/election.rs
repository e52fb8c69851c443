//! Which gateway of the cluster is the active one.

use k8s_runtime::lease::{Campaign, CampaignOptions, OnSilence, Standing, Timing, campaign};
use kube::Client;
use model::{ClusterState, GatewayId, ProbeRole, Snapshot, names};
use tokio::sync::watch;

use crate::convalescence::Role;

/// This gateway's candidacy for the active role.
#[derive(Debug)]
pub(crate) struct ActiveRole {
    campaign: Campaign,
    candidacy: watch::Sender<bool>,
    standing: watch::Receiver<Standing>,
}

impl ActiveRole {
    /// Begins without standing for it.
    pub(crate) fn start(client: &Client, namespace: &str, me: &GatewayId) -> Self {
        let (candidacy, is_candidate) = watch::channel(false);
        let options = CampaignOptions {
            namespace: namespace.to_owned(),
            lease: names::GATEWAY_LEASE.to_owned(),
            identity: me.node.to_string(),
            timing: Timing::SHORT,
            // Packets do not care about the API server: the active gateway stays so until it sees another.
            on_silence: OnSilence::Freeze,
        };
        let campaign = campaign(client.clone(), options, is_candidate);
        let standing = campaign.standing();
        Self {
            campaign,
            candidacy,
            standing,
        }
    }

    pub(crate) fn standing(&self) -> watch::Receiver<Standing> {
        self.standing.clone()
    }

    /// Who has the role.
    pub(crate) fn held(&self) -> Role {
        let standing = self.standing.borrow();
        match (standing.leads, standing.is_free) {
            (true, _) => Role::Own,
            (false, true) => Role::Free,
            (false, false) => Role::Taken,
        }
    }

    /// Stands for the role or gives it up.
    pub(crate) fn set_candidate(&self, is_candidate: bool) {
        self.candidacy
            .send_if_modified(|current| std::mem::replace(current, is_candidate) != is_candidate);
    }

    /// The role as this gateway plays it.
    pub(crate) fn role(&self, snapshot: &Snapshot, me: &GatewayId) -> ProbeRole {
        role(&self.standing.borrow(), snapshot, me)
    }

    /// Gives the role to another.
    pub(crate) async fn release(self) {
        self.campaign.release().await;
    }
}

/// Before the lease was read, for want of an API server, the role is the one that was played last.
fn role(standing: &Standing, snapshot: &Snapshot, me: &GatewayId) -> ProbeRole {
    if standing.is_known {
        return ProbeRole {
            active: standing.leads,
            draining: false,
            epoch: standing.epoch,
        };
    }
    snapshot
        .gateways
        .get(me)
        .map_or(ProbeRole::default(), |last| ProbeRole {
            active: last.active,
            draining: false,
            epoch: last.epoch,
        })
}

/// Whether a gateway may be the active one: it carries packets, its node is meant to, and the cluster takes part.
pub(crate) fn is_fit(snapshot: &Snapshot, me: &GatewayId, engine_runs: bool) -> bool {
    let is_member = snapshot.own().is_some_and(|own| own.state == ClusterState::Active);
    engine_runs && is_member && snapshot.nodes.get(&me.node).is_some_and(|node| node.is_gateway)
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{Gateway, ProbeMode, PublicKey};

    #[test]
    fn without_an_api_server_the_last_role_is_played_on() {
        let me = GatewayId {
            cluster: "east".parse().unwrap(),
            node: "gw1".parse().unwrap(),
        };
        let mut snapshot = Snapshot::empty(me.cluster.clone());
        let unknown = Standing::default();
        assert_eq!(role(&unknown, &snapshot, &me), ProbeRole::default());
        let last = Gateway {
            id: me.clone(),
            public_key: PublicKey::from_bytes([1; 32]),
            addresses: vec![],
            port: 4510,
            lanes: 1,
            priority: 0,
            active: true,
            epoch: 5,
            probe: ProbeMode::Tombolo,
            underlay_mtu: 1500,
            connections: vec![],
        };
        snapshot.gateways.insert(me.clone(), last);
        let played = |active, epoch| ProbeRole {
            active,
            draining: false,
            epoch,
        };
        assert_eq!(role(&unknown, &snapshot, &me), played(true, 5));
        let follower = Standing {
            is_known: true,
            epoch: 6,
            ..Standing::default()
        };
        assert_eq!(role(&follower, &snapshot, &me), played(false, 6));
        assert!(!is_fit(&snapshot, &me, true), "nothing is known of the node yet");
    }
}
