//! What the tasks of a pod share, and what they do to keep the node and the API server in step with it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context;
use k8s_openapi::api::core::v1::{Container, Pod};
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::facts::Facts;
use super::sources::Sources;
use super::specification::{self, Circumstances, Refusal};
use super::state::{self, ContainerState, Phase, PodState};
use super::token::Tokens;
use super::volume::{self, Contents, Places};
use super::{RETRY, resolver};
use crate::container::Spec;
use crate::kubelet::{CALL, CallError, Kubelet, record, within};
use crate::process::ProcessId;

/// What the tasks of a pod share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) kubelet: Arc<Kubelet>,
    changed: Notify,
    inner: Mutex<Inner>,
    tokens: tokio::sync::Mutex<Tokens>,
}

#[derive(Debug)]
struct Inner {
    pod: Arc<Pod>,
    record: record::Pod,
    state: PodState,
    sources: Arc<Sources>,
}

impl Shared {
    pub(super) fn new(kubelet: Arc<Kubelet>, pod: Arc<Pod>, record: record::Pod) -> Self {
        let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
        let containers = containers.map(|container| (container.name.clone(), initial_state(&pod, container, &record)));
        let containers: BTreeMap<String, ContainerState> = containers.collect();
        let addresses = match record.number {
            Some(number) => kubelet.network.addresses(number),
            None => kubelet.identity.addresses.clone(),
        };
        let state = PodState {
            started_at: record.started_at,
            addresses,
            containers,
        };
        let inner = Inner {
            pod,
            record,
            state,
            sources: Arc::default(),
        };
        Self {
            kubelet,
            changed: Notify::new(),
            inner: Mutex::new(inner),
            tokens: tokio::sync::Mutex::default(),
        }
    }

    /// Takes over what the API server has of the pod.
    pub(super) fn follow(&self, pod: Arc<Pod>) {
        self.lock().pod = pod;
        self.changed.notify_one();
    }

    /// Makes the network and the volumes; returns when the containers can start.
    pub(super) async fn prepare(&self) {
        loop {
            match self.try_prepare().await {
                Ok(()) => return,
                Err(error) => {
                    let message = format!("{error:#}");
                    tracing::warn!(pod = self.name(), error = message, "cannot prepare the pod yet");
                    for container in self.containers() {
                        self.update(&container.name, |state| {
                            if let Phase::Waiting { message: shown, .. } = &mut state.phase {
                                shown.clone_from(&message);
                            }
                        });
                    }
                }
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    async fn try_prepare(&self) -> anyhow::Result<()> {
        let record = self.record();
        if let Some(number) = record.number {
            // With containers that live it is in use; without, it may be half made.
            let is_in_use = record
                .containers
                .values()
                .any(|container| container.process.is_some_and(ProcessId::is_alive));
            if !is_in_use || !self.kubelet.network.pod_namespace(number).exists() {
                self.kubelet.network.attach(number).await?;
            }
        }
        self.refresh().await
    }

    /// Keeps tokens, ConfigMaps and Secrets in the volumes up to date.
    pub(super) async fn keep_current(&self) {
        loop {
            tokio::time::sleep(REFRESH).await;
            if let Err(error) = self.refresh().await {
                tracing::debug!(
                    pod = self.name(),
                    error = format!("{error:#}"),
                    "the volumes stay as they are"
                );
            }
        }
    }

    async fn refresh(&self) -> anyhow::Result<()> {
        let pod = self.pod();
        let mut tokens = self.tokens.lock().await;
        let sources = tokio::time::timeout(CALL, async {
            tokens.renew(&self.kubelet.client, &pod).await?;
            Sources::read(&self.kubelet.client, &pod).await
        });
        let sources = sources.await.context("the API server does not answer")??;
        let addresses = self.lock().state.addresses.clone();
        let facts = self.facts(&pod, &addresses);
        let directory = self.directory();
        let places = self.places(&directory);
        volume::write_all(
            Contents {
                facts,
                sources: &sources,
                tokens: &tokens,
            },
            places,
        )?;
        let dns = self.kubelet.cluster.dns_addresses();
        let write = |name: &str, text: &str| {
            let path = directory.join(name);
            // In place: the file is mounted, and a mount does not follow a new one.
            std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
        };
        write("resolv.conf", &resolver::resolv_conf(&pod, &dns[..dns.len().min(1)]))?;
        write("hosts", &resolver::hosts(&facts))?;
        write("hostname", &format!("{}\n", facts.hostname()))?;
        self.lock().sources = Arc::new(sources);
        Ok(())
    }

    /// What a container is now.
    pub(super) fn specification(&self, container: &Container) -> Result<Spec, Refusal> {
        let (pod, sources, addresses, number) = {
            let inner = self.lock();
            let addresses = inner.state.addresses.clone();
            (
                Arc::clone(&inner.pod),
                Arc::clone(&inner.sources),
                addresses,
                inner.record.number,
            )
        };
        let namespace = match number {
            Some(number) => self.kubelet.network.pod_namespace(number).name().to_owned(),
            None => self.kubelet.network.namespace.clone(),
        };
        let directory = self.directory();
        let around = Circumstances {
            facts: self.facts(&pod, &addresses),
            sources: &sources,
            places: self.places(&directory),
            network_namespace: &namespace,
            program: &self.kubelet.program,
        };
        specification::specification(container, around)
    }

    fn facts<'a>(&'a self, pod: &'a Pod, addresses: &'a [IpAddr]) -> Facts<'a> {
        Facts {
            pod,
            node: &self.kubelet.identity.name,
            pod_addresses: addresses,
            host_addresses: &self.kubelet.identity.addresses,
            api: self.kubelet.api,
        }
    }

    fn places<'a>(&'a self, directory: &'a Path) -> Places<'a> {
        Places {
            pod: directory,
            node_root: &self.kubelet.root,
        }
    }

    /// Writes the status at every change, and when the API server has another one.
    pub(super) async fn report(&self, written: &mut Option<Value>) {
        loop {
            let pause = match self.write_status(written).await {
                Ok(()) => RESYNC,
                Err(error) => {
                    tracing::debug!(pod = self.name(), %error, "the status is not written yet");
                    RETRY
                }
            };
            let _ = tokio::time::timeout(pause, self.changed.notified()).await;
        }
    }

    pub(super) async fn write_status(&self, written: &mut Option<Value>) -> Result<(), CallError> {
        let (pod, state) = {
            let inner = self.lock();
            (Arc::clone(&inner.pod), inner.state.clone())
        };
        let status = state::status(&pod, &state, &self.kubelet.identity.addresses);
        let observed = serde_json::to_value(&pod.status).unwrap_or_default();
        // Others write as well: the node controller takes readiness away from pods of a silent node.
        let is_same = written.as_ref().is_some_and(|written| is_equal(written, &status))
            && state::readiness(&observed).is_none_or(|ready| Some(ready) == state::readiness(&status));
        if is_same {
            return Ok(());
        }
        let api: Api<Pod> = Api::namespaced(self.kubelet.client.clone(), &pod.namespace().unwrap_or_default());
        let patch = json!({"metadata": {"uid": pod.uid()}, "status": status});
        within(api.patch_status(&pod.name_any(), &PatchParams::default(), &Patch::Merge(patch))).await?;
        *written = Some(status);
        Ok(())
    }

    /// Changes what is known of a container. `change` runs under the lock, so it must not ask for anything else here.
    pub(super) fn update(&self, container: &str, change: impl FnOnce(&mut ContainerState)) {
        if let Some(state) = self.lock().state.containers.get_mut(container) {
            change(state);
        }
        self.changed.notify_one();
    }

    /// Writes down what is to be known after a kill.
    pub(super) fn remember(&self, container: &str, remembered: record::Container) {
        let record = {
            let mut inner = self.lock();
            inner.record.containers.insert(container.to_owned(), remembered);
            inner.record.clone()
        };
        if let Err(error) = record.save(&self.kubelet.directory) {
            tracing::warn!(
                pod = record.name,
                error = format!("{error:#}"),
                "a restarted kubelet will not know of a container"
            );
        }
    }

    pub(super) fn remembered(&self, container: &str) -> record::Container {
        self.lock()
            .record
            .containers
            .get(container)
            .cloned()
            .unwrap_or_default()
    }

    pub(super) fn is_ready(&self, container: &str) -> bool {
        self.lock()
            .state
            .containers
            .get(container)
            .is_some_and(|state| state.is_ready)
    }

    pub(super) fn restarts_after(&self, code: Option<i32>) -> bool {
        let pod = self.pod();
        match pod.spec.as_ref().and_then(|spec| spec.restart_policy.as_deref()) {
            Some("Never") => false,
            Some("OnFailure") => code != Some(0),
            _ => true,
        }
    }

    pub(super) fn containers(&self) -> Vec<Container> {
        self.pod()
            .spec
            .as_ref()
            .map(|spec| spec.containers.clone())
            .unwrap_or_default()
    }

    pub(super) fn name(&self) -> String {
        let pod = self.pod();
        format!("{}/{}", pod.namespace().unwrap_or_default(), pod.name_any())
    }

    pub(super) fn log(&self, container: &str) -> PathBuf {
        self.kubelet
            .lab
            .directory()
            .log(&format!("{}/{}/{container}", self.kubelet.cluster.name, self.name()))
    }

    pub(super) fn address(&self) -> Option<IpAddr> {
        self.lock().state.addresses.first().copied()
    }

    pub(super) fn directory(&self) -> PathBuf {
        record::directory(&self.kubelet.directory, &self.lock().record.uid)
    }

    pub(super) fn pod(&self) -> Arc<Pod> {
        Arc::clone(&self.lock().pod)
    }

    pub(super) fn record(&self) -> record::Pod {
        self.lock().record.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Each change is whole before the lock is given back, so a panic elsewhere while it was held does no harm.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is known before anybody has looked: a container that an earlier kubelet started is what that one said of it.
fn initial_state(pod: &Pod, container: &Container, record: &record::Pod) -> ContainerState {
    let mut state = ContainerState::waiting("ContainerCreating", "");
    let Some(remembered) = record.containers.get(&container.name) else {
        return state;
    };
    state.restarts = remembered.restarts;
    if remembered.process.is_some_and(ProcessId::is_alive) {
        let statuses = pod
            .status
            .as_ref()
            .and_then(|status| status.container_statuses.as_deref())
            .unwrap_or_default();
        state.is_ready = statuses
            .iter()
            .any(|status| status.name == container.name && status.ready);
        state.phase = Phase::Running {
            since: remembered.started_at.unwrap_or(record.started_at),
        };
    }
    state
}

/// The same but for the times of changes, which are made up anew each time.
fn is_equal(one: &Value, other: &Value) -> bool {
    let plain = |status: &Value| {
        let mut status = status.clone();
        for condition in status["conditions"].as_array_mut().into_iter().flatten() {
            condition["lastTransitionTime"] = Value::Null;
        }
        status
    };
    plain(one) == plain(other)
}

const RESYNC: Duration = Duration::from_secs(5);
const REFRESH: Duration = Duration::from_secs(10);
