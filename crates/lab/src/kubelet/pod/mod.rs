//! One pod on a node, from its binding to its last trace.
//!
//! ```text
//!  network ─▶ tokens, sources, volumes ─▶ a supervisor per container ─▶ (deletion) stop all ─▶ undo the network ─▶ forget
//! ```
//!
//! Each step is tried until it succeeds or the pod is deleted; what stands in the way is the reason that its containers wait.
//! Everything that was begun is in a record on disk, so another kubelet goes on where this one was killed.

mod facts;
mod probe;
mod resolver;
mod security;
mod shared;
mod sources;
mod specification;
mod state;
mod supervise;
mod token;
mod volume;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use kube::api::{DeleteParams, Preconditions};
use kube::{Api, ResourceExt};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::{Kubelet, record, within};
use crate::process::ProcessId;
use shared::Shared;
use specification::is_on_host;

/// Runs a pod until nothing of it is left. `pods` brings what the API server has of it; `None` when it is gone from there.
pub(super) async fn run(kubelet: Arc<Kubelet>, mut pods: watch::Receiver<Option<Arc<Pod>>>, record: record::Pod) {
    let Some(pod) = pods.borrow().clone() else {
        return forget(&kubelet, &record).await;
    };
    let shared = Arc::new(Shared::new(kubelet, pod, record));
    let (stop, stopped) = watch::channel(None);
    let mut supervisors = JoinSet::new();
    let mut written = None;
    tokio::select! {
        () = shared.prepare() => {
            for container in shared.containers() {
                let remembered = shared.remembered(&container.name);
                supervisors.spawn(supervise::supervise(Arc::clone(&shared), container, remembered, stopped.clone()));
            }
            tokio::select! {
                () = shared.keep_current() => {}
                () = shared.report(&mut written) => {}
                () = followed_to_deletion(&shared, &mut pods) => {}
            }
        }
        () = shared.report(&mut written) => {}
        () = followed_to_deletion(&shared, &mut pods) => {}
    }
    // Containers that an earlier kubelet started and that this one has not come to supervising end with the rest.
    if supervisors.is_empty() {
        for container in shared.containers() {
            let remembered = shared.remembered(&container.name);
            if remembered.process.is_some_and(ProcessId::is_alive) {
                supervisors.spawn(supervise::supervise(
                    Arc::clone(&shared),
                    container,
                    remembered,
                    stopped.clone(),
                ));
            }
        }
    }
    let _ = stop.send(Some(grace(&shared.pod())));
    while supervisors.join_next().await.is_some() {}
    let _ = shared.write_status(&mut written).await;
    forget(&shared.kubelet, &shared.record()).await;
    delete(&shared.kubelet, &shared.pod(), &mut pods).await;
}

/// Removes what a pod left on the node: processes, network, files. Tries until it succeeds.
pub(super) async fn forget(kubelet: &Kubelet, record: &record::Pod) {
    for process in record.containers.values().filter_map(|container| container.process) {
        process.signal_session(nix::sys::signal::Signal::SIGKILL);
    }
    loop {
        let network = match record.number {
            Some(number) => kubelet.network.detach(number).await,
            None => Ok(()),
        };
        let directory = record::directory(&kubelet.directory, &record.uid);
        let files = std::fs::remove_dir_all(&directory);
        let files = files.or_else(|error| {
            if error.kind() == std::io::ErrorKind::NotFound {
                Ok(())
            } else {
                Err(error)
            }
        });
        match network.and_then(|()| files.with_context(|| format!("cannot remove {}", directory.display()))) {
            Ok(()) => break,
            Err(error) => tracing::warn!(
                pod = record.name,
                error = format!("{error:#}"),
                "something of the pod is left"
            ),
        }
        tokio::time::sleep(RETRY).await;
    }
    kubelet.release(record.number);
    tracing::info!(pod = record.name, "pod removed");
}

/// Takes a pod that has ended off the API server, so that another can have its name.
pub(super) async fn delete(kubelet: &Kubelet, pod: &Pod, pods: &mut watch::Receiver<Option<Arc<Pod>>>) {
    let api: Api<Pod> = Api::namespaced(kubelet.client.clone(), &pod.namespace().unwrap_or_default());
    let parameters = DeleteParams {
        grace_period_seconds: Some(0),
        preconditions: Some(Preconditions {
            uid: pod.uid(),
            resource_version: None,
        }),
        ..DeleteParams::default()
    };
    while pods.borrow().is_some() {
        match within(api.delete(&pod.name_any(), &parameters)).await {
            Ok(_) => return,
            Err(error) if error.is_settled() => return,
            Err(error) => tracing::debug!(pod = pod.name_any(), %error, "not deleted yet"),
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// A new pod's record.
pub(super) fn begin(pod: &Pod, number: impl FnOnce() -> Option<u8>) -> Option<record::Pod> {
    let number = if is_on_host(pod) { None } else { Some(number()?) };
    Some(record::Pod {
        namespace: pod.namespace().unwrap_or_default(),
        name: pod.name_any(),
        uid: pod.uid().unwrap_or_default(),
        number,
        started_at: Timestamp::now(),
        containers: BTreeMap::new(),
    })
}

/// Takes over what the API server has, until it wants the pod gone.
async fn followed_to_deletion(shared: &Shared, pods: &mut watch::Receiver<Option<Arc<Pod>>>) {
    loop {
        let Some(pod) = pods.borrow_and_update().clone() else {
            return;
        };
        let is_deleted = pod.metadata.deletion_timestamp.is_some();
        shared.follow(pod);
        if is_deleted || pods.changed().await.is_err() {
            return;
        }
    }
}

fn grace(pod: &Pod) -> Duration {
    let asked = pod.metadata.deletion_grace_period_seconds;
    let asked = asked.or_else(|| pod.spec.as_ref()?.termination_grace_period_seconds);
    Duration::from_secs(asked.and_then(|seconds| u64::try_from(seconds).ok()).unwrap_or(30))
}

const RETRY: Duration = Duration::from_millis(500);
