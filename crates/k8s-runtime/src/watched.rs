//! Guarded watches.

use std::collections::BTreeMap;
use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt, StreamExt};
use kube::runtime::watcher::{self, Event};
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::sync::watch;

use crate::{Guarded, explain};

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
pub fn watch_all<K>(api: Api<Guarded<K>>) -> watch::Receiver<Arc<Watched<K>>>
where
    K: Resource<DynamicType = ()> + DeserializeOwned + Clone + fmt::Debug + Send + Sync + 'static,
{
    watch_some(api, watcher::Config::default())
}

/// The same for a selection of objects.
pub fn watch_some<K>(api: Api<Guarded<K>>, selection: watcher::Config) -> watch::Receiver<Arc<Watched<K>>>
where
    K: Resource<DynamicType = ()> + DeserializeOwned + Clone + fmt::Debug + Send + Sync + 'static,
{
    let (sender, receiver) = watch::channel(Arc::new(Watched::empty()));
    let selection = selection.timeout(WATCH_SECONDS);
    tokio::spawn(async move {
        let mut follower = Follower {
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
    /// What a list has told so far; it replaces the state when it is complete.
    listing: Option<Watched<K>>,
    /// The state. Who reads it lets go of it soon, so that it is changed in place: of thousands of objects each tells of itself, and a
    /// copy of all for each would be most of the work.
    sender: watch::Sender<Arc<Watched<K>>>,
}

impl<K> Follower<K>
where
    K: Resource<DynamicType = ()> + DeserializeOwned + Clone + fmt::Debug + Send + Sync + 'static,
{
    async fn follow(&mut self, api: Api<Guarded<K>>, selection: watcher::Config) {
        let mut pause = SHORTEST_PAUSE;
        loop {
            // A new watcher lists again, which proves that the server is back even if nothing has changed there.
            let error = self.until_lost(api.clone(), selection.clone(), &mut pause).await;
            let link = self.after(&error);
            if self.sender.borrow().link != link {
                tracing::info!(kind = %K::kind(&()), state = ?link, "watch interrupted");
                self.change(|state| {
                    if link == Link::Absent && !state.is_synced() {
                        state.objects.clear();
                    }
                    state.link = link;
                });
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn until_lost(
        &mut self,
        api: Api<Guarded<K>>,
        selection: watcher::Config,
        pause: &mut Duration,
    ) -> watcher::Error {
        let mut events = pin!(kube::runtime::watcher(api, selection));
        while let Some(event) = events.next().await {
            let mut next = Some(event);
            let mut news = Vec::new();
            // Whatever has arrived already is told together.
            let end = loop {
                match next {
                    Some(Ok(event)) => news.extend(self.handle(event)),
                    Some(Err(error)) => break Some(error),
                    None => break None,
                }
                next = events.next().now_or_never().flatten();
            };
            if !news.is_empty() {
                if end.is_none() {
                    *pause = SHORTEST_PAUSE;
                }
                self.change(|state| news.into_iter().for_each(|change| change.make(state)));
            }
            if let Some(error) = end {
                return error;
            }
        }
        watcher::Error::NoResourceVersion
    }

    /// Takes in an event: what it changes of what is told.
    fn handle(&mut self, event: Event<Guarded<K>>) -> Option<Change<K>> {
        match event {
            Event::Init => {
                self.listing = Some(Watched::empty());
                None
            }
            Event::InitApply(object) => {
                read(object).make(self.listing.get_or_insert_with(Watched::empty));
                None
            }
            Event::InitDone => {
                let mut listed = self.listing.take().unwrap_or_else(Watched::empty);
                listed.link = Link::Live;
                Some(Change::All(listed))
            }
            Event::Apply(object) => Some(read(object)),
            Event::Delete(object) => Some(Change::Remove(key(&object))),
        }
    }

    fn after(&self, error: &watcher::Error) -> Link {
        use watcher::Error;
        let why = match error {
            Error::InitialListFailed(kube::Error::Api(status)) if status.code == 404 => {
                return if self.sender.borrow().is_synced() {
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
        if self.sender.borrow().is_synced() {
            Link::Lost(why)
        } else {
            Link::Connecting(Some(why))
        }
    }

    /// Changes the state, and tells it.
    fn change(&self, how: impl FnOnce(&mut Watched<K>)) {
        self.sender.send_modify(|state| how(Arc::make_mut(state)));
    }
}

/// A change of the state.
enum Change<K> {
    All(Watched<K>),
    Put(ObjectKey, Arc<K>),
    Skip(ObjectKey, String),
    Remove(ObjectKey),
}

impl<K> Change<K> {
    fn make(self, state: &mut Watched<K>) {
        match self {
            Self::All(listed) => *state = listed,
            Self::Put(key, object) => {
                state.malformed.remove(&key);
                state.objects.insert(key, object);
            }
            Self::Skip(key, why) => {
                state.objects.remove(&key);
                state.malformed.insert(key, why);
            }
            Self::Remove(key) => {
                state.objects.remove(&key);
                state.malformed.remove(&key);
            }
        }
    }
}

fn read<K: Resource<DynamicType = ()>>(object: Guarded<K>) -> Change<K> {
    let key = key(&object);
    match object.0 {
        Ok(mut object) => {
            // The largest part of many objects, and nobody's business here.
            object.meta_mut().managed_fields = None;
            Change::Put(key, Arc::new(object))
        }
        Err(malformed) => {
            tracing::warn!(kind = %K::kind(&()), object = %key, error = %malformed.why, "skipping a malformed object");
            Change::Skip(key, malformed.why)
        }
    }
}

fn key<K: Resource<DynamicType = ()>>(object: &Guarded<K>) -> ObjectKey {
    ObjectKey {
        namespace: object.namespace(),
        name: object.name_any(),
    }
}

/// A watch ends after so long and is resumed, so that a server that vanished without a word is missed soon.
const WATCH_SECONDS: u32 = 30;
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
