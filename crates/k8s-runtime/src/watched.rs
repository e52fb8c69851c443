//! Guarded watches.

use std::collections::BTreeMap;
use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt, StreamExt};
use kube::core::DeserializeGuard;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::sync::watch;

use crate::explain;

/// Everything of one kind, as last seen.
#[derive(Debug, Clone)]
pub struct Watched<K> {
    /// The objects that can be read.
    pub objects: BTreeMap<ObjectKey, Arc<K>>,
    /// The objects that cannot, and why.
    pub malformed: BTreeMap<ObjectKey, String>,
    /// Whether this is how it is now.
    pub link: Link,
}

/// How a watch stands to its server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Link {
    /// Nothing was heard yet; if it was tried, why not.
    Connecting(Option<String>),
    /// Everything was listed, and changes come as they happen.
    Live,
    /// The server does not have the kind.
    Absent,
    /// Everything was listed once, and then the server was lost for this reason. What was known is kept.
    Lost(String),
}

/// Where an object is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    /// Its namespace; none for cluster-scoped kinds.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
}

impl<K> Watched<K> {
    /// Whether everything was listed at least once, so that what is not here is not there.
    pub fn is_synced(&self) -> bool {
        matches!(self.link, Link::Live | Link::Lost(_))
    }

    fn empty() -> Self {
        Self {
            objects: BTreeMap::new(),
            malformed: BTreeMap::new(),
            link: Link::Connecting(None),
        }
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{namespace}/{}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

/// Watches every object that `api` reaches, for as long as a receiver is kept. Server lost, kind missing, object malformed: it
/// says so and goes on.
///
/// ```no_run
/// # fn watch(client: kube::Client) {
/// let clusters = k8s_runtime::watch_all::<k8s_api::Cluster>(kube::Api::namespaced(client, "tombolo-system"));
/// # }
/// ```
pub fn watch_all<K>(api: Api<DeserializeGuard<K>>) -> watch::Receiver<Arc<Watched<K>>>
where
    K: Resource<DynamicType = ()> + DeserializeOwned + Clone + fmt::Debug + Send + Sync + 'static,
{
    watch_some(api, watcher::Config::default())
}

/// The same for a selection of objects.
pub fn watch_some<K>(api: Api<DeserializeGuard<K>>, selection: watcher::Config) -> watch::Receiver<Arc<Watched<K>>>
where
    K: Resource<DynamicType = ()> + DeserializeOwned + Clone + fmt::Debug + Send + Sync + 'static,
{
    let (sender, receiver) = watch::channel(Arc::new(Watched::empty()));
    let selection = selection.timeout(WATCH_SECONDS);
    tokio::spawn(async move {
        let mut follower = Follower {
            state: Watched::empty(),
            listing: None,
            sender: sender.clone(),
        };
        tokio::select! {
            () = follower.follow(api, selection) => {}
            () = sender.closed() => {}
        }
    });
    receiver
}

struct Follower<K> {
    state: Watched<K>,
    /// What a list has told so far; it replaces the state when it is complete.
    listing: Option<Watched<K>>,
    sender: watch::Sender<Arc<Watched<K>>>,
}

impl<K> Follower<K>
where
    K: Resource<DynamicType = ()> + DeserializeOwned + Clone + fmt::Debug + Send + Sync + 'static,
{
    async fn follow(&mut self, api: Api<DeserializeGuard<K>>, selection: watcher::Config) {
        let mut pause = SHORTEST_PAUSE;
        loop {
            // A new watcher lists again, which proves that the server is back even if nothing has changed there.
            let error = self.until_lost(api.clone(), selection.clone(), &mut pause).await;
            let link = self.after(&error);
            if self.state.link != link {
                tracing::info!(kind = %K::kind(&()), state = ?link, "watch interrupted");
                if link == Link::Absent && !self.state.is_synced() {
                    self.state.objects.clear();
                }
                self.state.link = link;
                self.publish();
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn until_lost(
        &mut self,
        api: Api<DeserializeGuard<K>>,
        selection: watcher::Config,
        pause: &mut Duration,
    ) -> watcher::Error {
        let mut events = pin!(kube::runtime::watcher(api, selection));
        while let Some(event) = events.next().await {
            let mut next = Some(event);
            let mut is_news = false;
            // Whatever has arrived already is told together.
            while let Some(event) = next {
                match event {
                    Ok(event) => is_news |= self.handle(event),
                    Err(error) => {
                        if is_news {
                            self.publish();
                        }
                        return error;
                    }
                }
                next = events.next().now_or_never().flatten();
            }
            if is_news {
                *pause = SHORTEST_PAUSE;
                self.publish();
            }
        }
        watcher::Error::NoResourceVersion
    }

    /// Takes in an event; whether there is something to tell.
    fn handle(&mut self, event: Event<DeserializeGuard<K>>) -> bool {
        match event {
            Event::Init => {
                self.listing = Some(Watched::empty());
                false
            }
            Event::InitApply(object) => {
                put(self.listing.get_or_insert_with(Watched::empty), object);
                false
            }
            Event::InitDone => {
                self.state = self.listing.take().unwrap_or_else(Watched::empty);
                self.state.link = Link::Live;
                true
            }
            Event::Apply(object) => {
                put(&mut self.state, object);
                true
            }
            Event::Delete(object) => {
                let key = key(&object);
                self.state.objects.remove(&key);
                self.state.malformed.remove(&key);
                true
            }
        }
    }

    fn after(&self, error: &watcher::Error) -> Link {
        use watcher::Error;
        let why = match error {
            Error::InitialListFailed(kube::Error::Api(status)) if status.code == 404 => {
                return if self.state.is_synced() {
                    Link::Lost("the server does not have the kind any more".to_owned())
                } else {
                    Link::Absent
                };
            }
            Error::InitialListFailed(error) | Error::WatchStartFailed(error) | Error::WatchFailed(error) => {
                explain(error)
            }
            Error::WatchError(status) => status.message.clone(),
            Error::NoResourceVersion => "it ended the watch".to_owned(),
        };
        if self.state.is_synced() {
            Link::Lost(why)
        } else {
            Link::Connecting(Some(why))
        }
    }

    fn publish(&self) {
        self.sender.send_replace(Arc::new(self.state.clone()));
    }
}

fn put<K: Resource<DynamicType = ()>>(to: &mut Watched<K>, object: DeserializeGuard<K>) {
    let key = key(&object);
    match object.0 {
        Ok(mut object) => {
            // The largest part of many objects, and nobody's business here.
            object.meta_mut().managed_fields = None;
            to.malformed.remove(&key);
            to.objects.insert(key, Arc::new(object));
        }
        Err(invalid) => {
            tracing::warn!(kind = %K::kind(&()), object = %key, error = %invalid.error, "skipping a malformed object");
            to.objects.remove(&key);
            to.malformed.insert(key, invalid.error);
        }
    }
}

fn key<K: Resource<DynamicType = ()>>(object: &DeserializeGuard<K>) -> ObjectKey {
    ObjectKey {
        namespace: object.namespace(),
        name: object.name_any(),
    }
}

/// A watch ends after so long and is resumed, so that a server that vanished without a word is missed soon.
const WATCH_SECONDS: u32 = 30;
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
