use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::sync::{oneshot, watch};

use super::{Action, Election, OnSilence, Record, Standing, Timing, Version};
use crate::explain;

/// Which election, and as whom.
#[derive(Debug, Clone)]
pub struct CampaignOptions {
    /// Namespace of the lease.
    pub namespace: String,
    /// Name of the lease.
    pub lease: String,
    /// This candidate. One that comes back under the same name takes up what it held.
    pub identity: String,
    /// How long things may take.
    pub timing: Timing,
    /// What to do when the API server does not answer.
    pub on_silence: OnSilence,
}

/// A running candidacy. Dropping it stops renewing without giving the lease back; [`Campaign::release`] gives it back.
#[derive(Debug)]
pub struct Campaign {
    standing: watch::Receiver<Standing>,
    release: Option<oneshot::Sender<()>>,
    worker: tokio::task::JoinHandle<()>,
}

/// Stands for an election for as long as `is_candidate` says so.
pub fn campaign(client: Client, options: CampaignOptions, is_candidate: watch::Receiver<bool>) -> Campaign {
    let (report, standing) = watch::channel(Standing::default());
    let (release, released) = oneshot::channel();
    let now = Instant::now();
    let worker = Worker {
        api: Api::namespaced(client, &options.namespace),
        election: Election::new(&options.identity, options.timing, options.on_silence, now),
        options,
        report,
        acquired: None,
        complaint: None,
    };
    Campaign {
        standing,
        release: Some(release),
        worker: tokio::spawn(worker.run(is_candidate, released)),
    }
}

impl Campaign {
    /// Who leads, and when that changes.
    pub fn standing(&self) -> watch::Receiver<Standing> {
        self.standing.clone()
    }

    /// Gives the lease back if it is held, so that another need not wait, and ends.
    pub async fn release(mut self) {
        if let Some(release) = self.release.take() {
            // If the worker is gone, there is nothing to give back.
            let _ = release.send(());
        }
        if tokio::time::timeout(RELEASE_DEADLINE, &mut self.worker).await.is_err() {
            tracing::debug!("a lease was not given back in time; it expires");
        }
    }
}

impl Drop for Campaign {
    fn drop(&mut self) {
        self.worker.abort();
    }
}

struct Worker {
    api: Api<Lease>,
    options: CampaignOptions,
    election: Election,
    report: watch::Sender<Standing>,
    acquired: Option<Timestamp>,
    /// What was last said about a failing server, so that it is said once.
    complaint: Option<String>,
}

impl Worker {
    async fn run(mut self, mut is_candidate: watch::Receiver<bool>, mut released: oneshot::Receiver<()>) {
        loop {
            self.election
                .set_candidate(*is_candidate.borrow_and_update(), Instant::now());
            self.tell();
            let deadline = self.election.standing_ends().filter(|ends| *ends > Instant::now());
            let step = async {
                match self.election.poll(Instant::now()) {
                    Action::Wait(until) => tokio::time::sleep_until(until.into()).await,
                    Action::Read => self.read().await,
                    Action::Write(record, version) => self.write(record, version).await,
                }
            };
            tokio::select! {
                biased;
                _ = &mut released => break,
                changed = is_candidate.changed() => if changed.is_err() { break },
                // A request that is cut short by this may have succeeded; the next one finds out.
                () = until(deadline) => {}
                () = step => {}
            }
        }
        self.give_back().await;
        self.tell();
    }

    async fn give_back(&mut self) {
        // A renewal that was cut short may have moved the version, which takes a second look.
        for _ in 0..3 {
            match self.election.release() {
                Some((record, version)) => self.write(record, version).await,
                None if self.election.standing(Instant::now()).leads => self.read().await,
                None => return,
            }
        }
    }

    async fn read(&mut self) {
        let outcome = tokio::time::timeout(REQUEST_DEADLINE, self.api.get_opt(&self.options.lease)).await;
        let now = Instant::now();
        match outcome {
            Ok(Ok(lease)) => {
                self.complaint = None;
                let (record, version) = lease.map(read_lease).unwrap_or_default();
                self.election.handle_read(record, version, now);
            }
            Ok(Err(error)) => self.failed(explain(&error), now),
            Err(_) => self.failed("no answer in time".to_owned(), now),
        }
    }

    async fn write(&mut self, record: Record, version: Version) {
        let sent = Instant::now();
        let lease = self.lease(&record, version.clone());
        let params = PostParams::default();
        let request = async {
            match &version {
                Some(_) => self.api.replace(&self.options.lease, &params, &lease).await,
                None => self.api.create(&params, &lease).await,
            }
        };
        let outcome = tokio::time::timeout(REQUEST_DEADLINE, request).await;
        let now = Instant::now();
        match outcome {
            Ok(Ok(lease)) => {
                self.complaint = None;
                let (record, version) = read_lease(lease);
                self.election.handle_written(record, version, sent, now);
            }
            // Another wrote first, made it first, or removed it.
            Ok(Err(kube::Error::Api(status))) if matches!(status.code, 404 | 409) => self.election.handle_conflict(now),
            Ok(Err(error)) => self.failed(explain(&error), now),
            Err(_) => self.failed("no answer in time".to_owned(), now),
        }
    }

    fn failed(&mut self, why: String, now: Instant) {
        if self.complaint.as_ref() != Some(&why) {
            tracing::warn!(lease = self.options.lease, why, "the lease cannot be reached");
            self.complaint = Some(why);
        }
        self.election.handle_failure(now);
    }

    fn tell(&mut self) {
        let standing = self.election.standing(Instant::now());
        self.report.send_if_modified(|current| {
            let is_news = *current != standing;
            if current.leads != standing.leads {
                let (leads, epoch) = (standing.leads, standing.epoch);
                tracing::info!(lease = self.options.lease, leads, epoch, holder = ?standing.holder, "election");
            }
            current.clone_from(&standing);
            is_news
        });
    }

    fn lease(&mut self, record: &Record, version: Version) -> Lease {
        let now = Timestamp::now();
        let is_new = !self.election.standing(Instant::now()).leads;
        let acquired = self.acquired.filter(|_| !is_new).unwrap_or(now);
        self.acquired = Some(acquired);
        Lease {
            metadata: ObjectMeta {
                name: Some(self.options.lease.clone()),
                namespace: Some(self.options.namespace.clone()),
                resource_version: version,
                ..ObjectMeta::default()
            },
            spec: Some(LeaseSpec {
                acquire_time: Some(MicroTime(acquired)),
                // An empty holder is what other implementations write for nobody, too.
                holder_identity: Some(record.holder.clone().unwrap_or_default()),
                lease_duration_seconds: record.duration.and_then(|time| i32::try_from(time.as_secs()).ok()),
                lease_transitions: i32::try_from(record.transitions).ok(),
                renew_time: Some(MicroTime(now)),
                ..LeaseSpec::default()
            }),
        }
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}

fn read_lease(lease: Lease) -> (Record, Version) {
    let spec = lease.spec.unwrap_or_default();
    let seconds = spec
        .lease_duration_seconds
        .and_then(|seconds| u64::try_from(seconds).ok());
    let record = Record {
        holder: spec.holder_identity.filter(|holder| !holder.is_empty()),
        transitions: spec
            .lease_transitions
            .and_then(|count| u64::try_from(count).ok())
            .unwrap_or(0),
        duration: seconds.map(Duration::from_secs),
    };
    (record, lease.metadata.resource_version)
}

const REQUEST_DEADLINE: Duration = Duration::from_secs(2);
const RELEASE_DEADLINE: Duration = Duration::from_secs(3);
