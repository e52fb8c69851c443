//! A local copy of every object of one kind, kept up to date by a watch.
//!
//! The lab's control plane decides from whole states, never from events: a watch only keeps a [`Mirror`] current and says
//! through a [`Changes`] that something moved. An object that does not parse is reported and left out; it never stops the
//! watch. When the API server is away, the copy stays as it was, and the watch tries again within a second for as long as it takes.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use futures::StreamExt;
use k8s_runtime::Guarded;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client, Config, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// A client that gives up soon: everything here retries by itself, and an answer that comes late is no use to it. Without a
/// kubeconfig it uses the service account of the pod that it runs in.
pub(crate) async fn client(kubeconfig: Option<&Path>) -> anyhow::Result<Client> {
    let mut config = match kubeconfig {
        None => Config::incluster().context("no kubeconfig is given, and this is no pod with a service account")?,
        Some(path) => {
            let kubeconfig = Kubeconfig::read_from(path)
                .with_context(|| format!("cannot read the kubeconfig {}", path.display()))?;
            Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
                .await
                .with_context(|| format!("the kubeconfig {} names no usable cluster", path.display()))?
        }
    };
    config.default_retry = false;
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    Client::try_from(config).context("cannot make an API client")
}

/// Tells a loop that one of its mirrors moved.
#[derive(Debug, Clone, Default)]
pub(crate) struct Changes(Arc<Notify>);

impl Changes {
    /// Waits for a change or for `resync`, then lets a burst of changes settle.
    pub(crate) async fn next(&self, resync: Duration) {
        if tokio::time::timeout(resync, self.0.notified()).await.is_ok() {
            tokio::time::sleep(SETTLE).await;
        }
    }

    /// Wakes the loop.
    pub(crate) fn mark(&self) {
        self.0.notify_one();
    }
}

/// Lets a loop rest after a round that took so long, as kube-proxy's `minSyncPeriod` does: while thousands of objects are made, not
/// everything is done anew for each.
pub(crate) async fn rest(took: Duration) {
    tokio::time::sleep((took * REST).min(LONGEST_REST)).await;
}

/// The local copy. Dropping it ends its watch.
#[derive(Debug)]
pub(crate) struct Mirror<K> {
    state: Arc<Mutex<State<K>>>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct State<K> {
    objects: BTreeMap<Key, Arc<K>>,
    /// What a list in progress has brought so far; it replaces `objects` when it is complete.
    listed: BTreeMap<Key, Arc<K>>,
    is_synced: bool,
}

/// Namespace (empty for cluster-scoped kinds) and name.
type Key = (String, String);

impl<K> Mirror<K>
where
    K: Resource + DeserializeOwned + Clone + Debug + Send + Sync + 'static,
    K::DynamicType: Clone,
{
    /// Watches what `api` and `selection` admit.
    pub(crate) fn watch(api: Api<Guarded<K>>, selection: watcher::Config, changes: Changes) -> Self {
        let state = Arc::new(Mutex::new(State {
            objects: BTreeMap::new(),
            listed: BTreeMap::new(),
            is_synced: false,
        }));
        let task = tokio::spawn(follow(
            api,
            selection.timeout(WATCH_SECONDS),
            Arc::clone(&state),
            changes,
        ));
        Self { state, task }
    }

    /// Whether the copy has ever been complete.
    pub(crate) fn is_synced(&self) -> bool {
        lock(&self.state).is_synced
    }

    /// Every object, in the order of namespace and name.
    pub(crate) fn objects(&self) -> Vec<Arc<K>> {
        lock(&self.state).objects.values().cloned().collect()
    }
}

impl<K> Drop for Mirror<K> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn follow<K>(api: Api<Guarded<K>>, selection: watcher::Config, state: Arc<Mutex<State<K>>>, changes: Changes)
where
    K: Resource + DeserializeOwned + Clone + Debug + Send + Sync + 'static,
    K::DynamicType: Clone,
{
    let mut events = std::pin::pin!(watcher::watcher(api, selection));
    let mut pause = RETRY_MIN;
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => {
                pause = RETRY_MIN;
                if lock(&state).take(event) {
                    changes.mark();
                }
            }
            Err(error) => {
                tracing::debug!(%error, "watch interrupted");
                tokio::time::sleep(pause).await;
                pause = RETRY_MAX.min(pause * 2);
            }
        }
    }
}

impl<K: Resource> State<K> {
    /// Takes one event in; true when the visible objects may have changed.
    fn take(&mut self, event: Event<Guarded<K>>) -> bool {
        match event {
            Event::Init => {
                self.listed.clear();
                return false;
            }
            Event::InitApply(object) => {
                insert(&mut self.listed, object);
                return false;
            }
            Event::InitDone => {
                self.objects = std::mem::take(&mut self.listed);
                self.is_synced = true;
            }
            Event::Apply(object) => insert(&mut self.objects, object),
            Event::Delete(object) => {
                self.objects.remove(&key(&object));
            }
        }
        true
    }
}

fn insert<K: Resource>(objects: &mut BTreeMap<Key, Arc<K>>, object: Guarded<K>) {
    let key = key(&object);
    match object.0 {
        Ok(object) => {
            objects.insert(key, Arc::new(object));
        }
        Err(malformed) => {
            tracing::warn!(
                namespace = key.0,
                name = key.1,
                error = malformed.why,
                "skipped an object that does not parse"
            );
            objects.remove(&key);
        }
    }
}

fn key<K: Resource>(object: &Guarded<K>) -> Key {
    (object.namespace().unwrap_or_default(), object.name_any())
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // The maps are whole after every operation, so a panic elsewhere while they were held does no harm.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A rest lasts so many times as long as the round before it.
const REST: u32 = 4;
const LONGEST_REST: Duration = Duration::from_secs(1);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(1);
const SETTLE: Duration = Duration::from_millis(5);
/// A watch is renewed this often, so that one over a cut link is noticed.
const WATCH_SECONDS: u32 = 30;

#[cfg(test)]
mod live_tests;
#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;
    use serde_json::{Value, json};

    use super::*;

    fn guarded(value: Value) -> Guarded<ConfigMap> {
        serde_json::from_value(value).unwrap()
    }

    fn names(state: &State<ConfigMap>) -> Vec<&str> {
        state.objects.keys().map(|key| key.1.as_str()).collect()
    }

    #[test]
    fn a_list_replaces_everything_at_once_and_bad_objects_are_left_out() {
        let mut state = State {
            objects: BTreeMap::new(),
            listed: BTreeMap::new(),
            is_synced: false,
        };
        state.take(Event::Apply(guarded(
            json!({"metadata": {"name": "old", "namespace": "n"}}),
        )));
        state.take(Event::Init);
        state.take(Event::InitApply(guarded(
            json!({"metadata": {"name": "good", "namespace": "n"}}),
        )));
        let bad = json!({"metadata": {"name": "bad", "namespace": "n"}, "data": 7});
        state.take(Event::InitApply(guarded(bad.clone())));
        assert_eq!(names(&state), ["old"], "nothing moves before the list is complete");
        assert!(state.take(Event::InitDone) && state.is_synced);
        assert_eq!(names(&state), ["good"]);
        state.take(Event::Apply(guarded(
            json!({"metadata": {"name": "bad", "namespace": "n"}, "data": {}}),
        )));
        assert_eq!(names(&state), ["bad", "good"]);
        state.take(Event::Apply(guarded(bad)));
        assert_eq!(
            names(&state),
            ["good"],
            "an object that turned bad is no longer believed"
        );
        state.take(Event::Delete(guarded(
            json!({"metadata": {"name": "good", "namespace": "n"}}),
        )));
        assert!(names(&state).is_empty());
    }
}
