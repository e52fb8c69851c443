//! Which agent talks to the broker, and starting and stopping that.

use std::time::Duration;

use k8s_runtime::lease::{Campaign, CampaignOptions, OnSilence, Standing, Timing, campaign};
use kube::Client;
use model::{GatewayId, names};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::sync::{self, Context, SyncReport};

/// This agent's part in the sync with the broker: it leads, or waits to.
#[derive(Debug)]
pub(crate) struct SyncLeader {
    campaign: Campaign,
    report: watch::Receiver<SyncReport>,
    worker: JoinHandle<()>,
}

impl SyncLeader {
    /// Stands for the election, and leads whenever it is won.
    pub(crate) fn start(client: &Client, namespace: &str, me: &GatewayId) -> Self {
        let (candidacy, is_candidate) = watch::channel(true);
        let options = CampaignOptions {
            namespace: namespace.to_owned(),
            lease: names::SYNC_LEASE.to_owned(),
            identity: me.node.to_string(),
            timing: Timing::SHORT,
            on_silence: OnSilence::Stop,
        };
        let campaign = campaign(client.clone(), options, is_candidate);
        let (sender, report) = watch::channel(SyncReport::default());
        let context = Context {
            local: client.clone(),
            namespace: namespace.to_owned(),
            cluster: me.cluster.clone(),
            node: me.node.clone(),
            report: sender,
        };
        let worker = tokio::spawn(lead_when_elected(context, campaign.standing(), candidacy));
        Self {
            campaign,
            report,
            worker,
        }
    }

    pub(crate) fn standing(&self) -> watch::Receiver<Standing> {
        self.campaign.standing()
    }

    pub(crate) fn report(&self) -> watch::Receiver<SyncReport> {
        self.report.clone()
    }

    /// Stops, and then lets another lead.
    pub(crate) async fn release(self) {
        self.worker.abort();
        // It has ended when this resolves, so that two never lead.
        let _ = self.worker.await;
        self.campaign.release().await;
    }
}

async fn lead_when_elected(context: Context, mut standing: watch::Receiver<Standing>, candidacy: watch::Sender<bool>) {
    loop {
        if standing.wait_for(|standing| standing.leads).await.is_err() {
            return;
        }
        context.report.send_replace(SyncReport::default());
        // Whichever ends first, the other is dropped, which stops the leader at once.
        let ended = tokio::select! {
            ended = sync::run(context.clone()) => ended,
            _ = standing.wait_for(|standing| !standing.leads) => continue,
        };
        if let Err(error) = ended {
            tracing::warn!("{error:#}");
        }
        candidacy.send_replace(false);
        tokio::time::sleep(SIT_OUT).await;
        candidacy.send_replace(true);
    }
}

/// Long enough for another candidate to see that the lease is free. If there is none, this one tries again.
const SIT_OUT: Duration = Duration::from_secs(3);
