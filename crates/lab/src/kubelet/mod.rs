//! The kubelet of one node: makes the node a Node, and the pods bound to it processes.
//!
//! ```text
//!  Nodes ──▶ routes to the other nodes' pods                     (network)
//!  Pods bound to this node ──▶ one worker each                   (pod)
//!  every 10 s: the Lease; the Node when it is not as it should   (node)
//! ```
//!
//! It decides from mirrors, never from events: at each turn every pod there is has a worker, and every worker whose pod is gone
//! is told so. A kubelet that was killed leaves its pods running; the next one takes them over by their records ([`record`]), and
//! removes those whose pod has gone in between. It talks to the API server with `kube` only.
//!
//! Left out: images, cgroups, init containers, liveness and startup probes, exec probes, events, resource limits, static pods.

mod network;
mod node;
mod pod;
pub mod record;

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::runtime::watcher;
use kube::{Api, Client, ResourceExt};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::mirror::{self, Changes, Mirror};
use crate::process;
use crate::state::Lab;
use crate::topology::{Cluster, LabName, nth};
use network::Network;
use node::Identity;

/// Which node to be.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The lab.
    #[arg(long)]
    pub name: LabName,
    /// The cluster.
    #[arg(long)]
    pub cluster: String,
    /// The node's host name, in whose namespace this runs.
    #[arg(long)]
    pub node: String,
    /// Kubeconfig of an administrator of the cluster.
    #[arg(long)]
    pub kubeconfig: PathBuf,
}

/// Runs the kubelet until the process ends. Its pods stay.
///
/// # Errors
/// When the lab has no such node, the kubeconfig cannot be used, or the node's network cannot be set up.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let kubelet = Arc::new(Kubelet::new(&args).await?);
    kubelet.network.set_up().await?;
    let records = record::all(&kubelet.directory)?;
    kubelet.reserve(&records);
    tracing::info!(node = kubelet.identity.name, pods = records.len(), "kubelet started");

    let changes = Changes::default();
    let bound = watcher::Config::default().fields(&format!("spec.nodeName={}", kubelet.identity.name));
    let pods: Mirror<Pod> = Mirror::watch(Api::all(kubelet.client.clone()), bound, changes.clone());
    let nodes: Mirror<Node> = Mirror::watch(
        Api::all(kubelet.client.clone()),
        watcher::Config::default(),
        changes.clone(),
    );
    let mut workers = Workers::new(Arc::clone(&kubelet), records);
    let heart = tokio::spawn(beat(Arc::clone(&kubelet)));
    loop {
        if pods.is_synced() {
            workers.follow(&pods.objects());
        }
        if nodes.is_synced() {
            let nodes = nodes.objects();
            if let Err(error) = kubelet.network.route(&kubelet.identity.name, &nodes).await {
                tracing::warn!(
                    error = format!("{error:#}"),
                    "some pods of other nodes are out of reach"
                );
            }
            kubelet.observe(nodes.iter().find(|node| node.name_any() == kubelet.identity.name));
        }
        if heart.is_finished() {
            anyhow::bail!("the task that renews the node's Lease has ended");
        }
        changes.next(RESYNC).await;
    }
}

/// What everything on the node shares.
struct Kubelet {
    lab: Lab,
    cluster: Cluster,
    client: Client,
    identity: Identity,
    network: Network,
    /// The address of the `kubernetes` Service.
    api: IpAddr,
    /// The node's directory on the machine.
    directory: PathBuf,
    /// The node's own file system, within it.
    root: PathBuf,
    /// The program that plays the lab's roles.
    program: PathBuf,
    numbers: Mutex<Numbers>,
    /// Whether the API server has a Node of ours that is Ready.
    is_published: watch::Sender<bool>,
}

/// Which of the pods' numbers are taken. One that was given back comes last, so that no stale state meets a new pod.
#[derive(Debug, Default)]
struct Numbers {
    taken: BTreeSet<u8>,
    last: u8,
}

/// A client cannot be shown, and the rest says no more than the name.
impl std::fmt::Debug for Kubelet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kubelet")
            .field("node", &self.identity.name)
            .finish_non_exhaustive()
    }
}

impl Kubelet {
    async fn new(args: &Args) -> anyhow::Result<Self> {
        let lab = Lab::open(&args.name)?;
        let cluster = lab.cluster(&args.cluster)?.clone();
        let node = cluster.nodes.iter().find(|node| node.host.name == args.node);
        let node = node.with_context(|| format!("the cluster '{}' has no node '{}'", args.cluster, args.node))?;
        let directory = lab.directory().node(&node.host.name);
        let root = directory.join("root");
        std::fs::create_dir_all(&root).with_context(|| format!("cannot make {}", root.display()))?;
        Ok(Self {
            client: mirror::client(Some(&args.kubeconfig)).await?,
            identity: Identity {
                name: node.host.name.clone(),
                addresses: node.host.addresses.iter().map(ipnet::IpNet::addr).collect(),
                pod_prefixes: node.pod_prefixes.clone(),
            },
            network: Network {
                namespace: lab.namespace(&node.host.name).name().to_owned(),
                pod_prefixes: node.pod_prefixes.clone(),
                cluster_prefixes: cluster.pod_prefixes.clone(),
                mtu: lab.topology().underlay_mtu,
            },
            api: nth(
                *cluster
                    .service_prefixes
                    .first()
                    .context("the cluster has no service prefix")?,
                1,
            ),
            root,
            directory,
            program: process::program()?,
            numbers: Mutex::default(),
            is_published: watch::Sender::new(false),
            cluster,
            lab,
        })
    }

    fn reserve(&self, records: &[record::Pod]) {
        let mut numbers = self.numbers.lock().unwrap_or_else(PoisonError::into_inner);
        numbers.taken.extend(records.iter().filter_map(|record| record.number));
        numbers.last = numbers.taken.last().copied().unwrap_or(0);
    }

    fn take_number(&self) -> Option<u8> {
        self.numbers.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn release(&self, number: Option<u8>) {
        if let Some(number) = number {
            self.numbers
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .taken
                .remove(&number);
        }
    }

    fn observe(&self, node: Option<&Arc<Node>>) {
        let is_published = node.is_some_and(|node| node::is_ready(node));
        self.is_published
            .send_if_modified(|current| std::mem::replace(current, is_published) != is_published);
    }
}

impl Numbers {
    fn take(&mut self) -> Option<u8> {
        let after = network::NUMBERS.filter(|number| *number > self.last);
        let number = after
            .chain(network::NUMBERS)
            .find(|number| !self.taken.contains(number))?;
        self.taken.insert(number);
        self.last = number;
        Some(number)
    }
}

/// Renews the Lease, and makes the Node ready whenever it is not.
async fn beat(kubelet: Arc<Kubelet>) {
    let mut published = kubelet.is_published.subscribe();
    loop {
        let mut pause = HEARTBEAT;
        // Its Lease first: a Node without one counts as silent.
        if let Err(error) = within(kubelet.identity.renew(&kubelet.client)).await {
            tracing::debug!(%error, "the Lease is not renewed");
            pause = RETRY;
        }
        if !*published.borrow_and_update() {
            match within(kubelet.identity.publish(&kubelet.client)).await {
                Ok(()) => tracing::info!("the Node is ready"),
                Err(error) => {
                    tracing::debug!(%error, "the Node is not published");
                    pause = RETRY;
                }
            }
        }
        let _ = tokio::time::timeout(pause, published.changed()).await;
    }
}

/// The workers of the pods, by uid.
struct Workers {
    kubelet: Arc<Kubelet>,
    /// Pods of an earlier kubelet that nobody has taken over yet.
    remembered: BTreeMap<String, record::Pod>,
    running: BTreeMap<String, Worker>,
}

struct Worker {
    pod: watch::Sender<Option<Arc<Pod>>>,
    task: JoinHandle<()>,
}

impl Workers {
    fn new(kubelet: Arc<Kubelet>, records: Vec<record::Pod>) -> Self {
        let remembered = records.into_iter().map(|record| (record.uid.clone(), record)).collect();
        Self {
            kubelet,
            remembered,
            running: BTreeMap::new(),
        }
    }

    /// Gives every pod a worker, and every worker the pod as it is.
    fn follow(&mut self, pods: &[Arc<Pod>]) {
        let mut gone: BTreeSet<String> = self.running.keys().chain(self.remembered.keys()).cloned().collect();
        for pod in pods {
            let uid = pod.uid().unwrap_or_default();
            gone.remove(&uid);
            match self.running.get(&uid) {
                Some(worker) => send(worker, Some(pod)),
                None => self.begin(uid, pod),
            }
        }
        for uid in gone {
            match (self.running.get(&uid), self.remembered.remove(&uid)) {
                (Some(worker), _) => send(worker, None),
                (None, Some(record)) => self.spawn(uid, None, record),
                (None, None) => {}
            }
        }
        self.running.retain(|_, worker| !worker.task.is_finished());
    }

    fn begin(&mut self, uid: String, pod: &Arc<Pod>) {
        let is_deleted = pod.metadata.deletion_timestamp.is_some();
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
        let record = match self.remembered.remove(&uid) {
            Some(record) => record,
            None if is_deleted => {
                // Nothing of it is here; it only waits for a kubelet to say so.
                let (send, mut pods) = watch::channel(Some(Arc::clone(pod)));
                let (kubelet, pod) = (Arc::clone(&self.kubelet), Arc::clone(pod));
                let task = tokio::spawn(async move { pod::delete(&kubelet, &pod, &mut pods).await });
                self.running.insert(uid, Worker { pod: send, task });
                return;
            }
            None if matches!(phase, Some("Succeeded" | "Failed")) => return,
            None => {
                let Some(record) = pod::begin(pod, || self.kubelet.take_number()) else {
                    tracing::warn!(pod = pod.name_any(), "the node has no address left for the pod");
                    return;
                };
                // Before anything is made, so that whatever a kill leaves has a name.
                if let Err(error) = record.save(&self.kubelet.directory) {
                    tracing::warn!(
                        pod = pod.name_any(),
                        error = format!("{error:#}"),
                        "the pod is not begun"
                    );
                    self.kubelet.release(record.number);
                    return;
                }
                record
            }
        };
        self.spawn(uid, Some(Arc::clone(pod)), record);
    }

    fn spawn(&mut self, uid: String, pod: Option<Arc<Pod>>, record: record::Pod) {
        let (send, receive) = watch::channel(pod);
        let task = tokio::spawn(pod::run(Arc::clone(&self.kubelet), receive, record));
        self.running.insert(uid, Worker { pod: send, task });
    }
}

fn send(worker: &Worker, pod: Option<&Arc<Pod>>) {
    worker.pod.send_if_modified(|current| {
        let is_new =
            current.as_ref().map(|pod| &pod.metadata.resource_version) != pod.map(|pod| &pod.metadata.resource_version);
        if is_new {
            *current = pod.cloned();
        }
        is_new
    });
}

/// Why a call to the API server brought nothing.
#[derive(Debug, thiserror::Error)]
enum CallError {
    #[error("no answer within {CALL:?}")]
    Timeout,
    #[error(transparent)]
    Refused(#[from] kube::Error),
}

impl CallError {
    /// The object is not what the call was about any more; to call again would not help.
    fn is_settled(&self) -> bool {
        matches!(self, Self::Refused(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict())
    }
}

/// A call to the API server that does not wait for ever.
async fn within<T>(call: impl Future<Output = Result<T, kube::Error>>) -> Result<T, CallError> {
    match tokio::time::timeout(CALL, call).await {
        Ok(result) => Ok(result?),
        Err(_) => Err(CallError::Timeout),
    }
}

const CALL: Duration = Duration::from_secs(5);
const HEARTBEAT: Duration = Duration::from_secs(10);
const RESYNC: Duration = Duration::from_secs(5);
const RETRY: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_last_and_run_out() {
        let mut numbers = Numbers::default();
        assert_eq!((numbers.take(), numbers.take()), (Some(2), Some(3)));
        numbers.taken.remove(&2);
        assert_eq!(numbers.take(), Some(4), "2 was in use a moment ago");
        for expected in 5..=254 {
            assert_eq!(numbers.take(), Some(expected));
        }
        assert_eq!(numbers.take(), Some(2));
        assert_eq!(numbers.take(), None);
    }
}
