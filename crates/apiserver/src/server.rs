//! The server's state, and the one way to change it.

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
};

use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::watch;

use crate::{
    Config,
    admission::{self, Policies},
    auth::{KeyError, SigningKey, Tokens, User},
    journal::{self, Journal, JournalError},
    kinds::{Registry, builtin, custom, rules::ServicePrefixes},
    object::text_at,
    rest::{self, FieldValidation, Write},
    schema::Schema,
    status::Status,
    store::{Change, Key, Limits, Resource, Revision, Store, Txn},
};

mod bootstrap;

/// Why a server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error("cannot start the journal thread")]
    Thread(#[source] io::Error),
    #[error("the admin token is empty: without one nobody could use the server")]
    NoAdminToken,
    #[error("no key to sign the tokens of service accounts with: {0}")]
    SigningKey(String),
    #[error("cannot create {what}: {status}")]
    Bootstrap { what: String, status: String },
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Server {
    store: Arc<Mutex<Store>>,
    journal: Option<Journal>,
    progress: Arc<Progress>,
    registry: RwLock<Arc<Registry>>,
    metadata: Arc<Schema>,
    pub services: ServicePrefixes,
    pub tokens: Tokens,
    pub advertise: Option<SocketAddr>,
    root_ca: Option<String>,
    /// Becomes true when the server stops; open watches end then.
    pub closing: watch::Sender<bool>,
}

/// What has become safe to show.
#[derive(Debug)]
struct Progress {
    durable: watch::Sender<Durable>,
    resources: Mutex<HashMap<Resource, watch::Sender<Revision>>>,
}

#[derive(Clone, Debug, Default)]
struct Durable {
    revision: Revision,
    failed: Option<String>,
}

impl Server {
    pub(crate) fn open(config: Config) -> Result<Self, OpenError> {
        Self::open_keeping(config, Limits::default())
    }

    /// The same, with this much history.
    fn open_keeping(config: Config, limits: Limits) -> Result<Self, OpenError> {
        if config.admin_token.is_empty() {
            return Err(OpenError::NoAdminToken);
        }
        let mut store = Store::new(limits);
        let log = config
            .data_dir
            .as_deref()
            .map(|dir| journal::open(dir, &mut store))
            .transpose()?;
        let start = Durable {
            revision: store.revision(),
            failed: None,
        };
        let progress = Arc::new(Progress {
            durable: watch::Sender::new(start),
            resources: Mutex::default(),
        });
        let store = Arc::new(Mutex::new(store));
        let reporter = Arc::clone(&progress);
        let report = move |batch: journal::Synced| match batch {
            Ok(batch) => reporter.publish(&batch),
            Err(why) => reporter.fail(why),
        };
        let journal = log
            .map(|log| Journal::start(log, Arc::clone(&store), report))
            .transpose();
        let (key, made) = signing_key(&store.lock().unwrap_or_else(PoisonError::into_inner))
            .map_err(|error| OpenError::SigningKey(error.to_string()))?;
        let (registry, builtin) = builtin::registry();
        let server = Self {
            store,
            journal: journal.map_err(OpenError::Thread)?,
            progress,
            registry: RwLock::new(Arc::new(registry)),
            metadata: builtin.metadata,
            services: ServicePrefixes::new(config.service_prefixes),
            tokens: Tokens::new(&config.admin_token, key),
            advertise: config.advertise,
            root_ca: config.root_ca,
            closing: watch::Sender::new(false),
        };
        let definitions: Vec<Arc<Value>> = server
            .store()
            .list(&definitions(), None)
            .map(|(_, object)| Arc::clone(object))
            .collect();
        definitions
            .iter()
            .for_each(|definition| server.serve_definition(definition));
        server.load_policies();
        bootstrap::run(&server, made, &config.crds)?;
        Ok(server)
    }

    /// The current state. Not to be held across an await.
    pub(crate) fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn registry(&self) -> Arc<Registry> {
        Arc::clone(&self.registry.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Runs a transaction. What it staged is committed if it succeeds (and `dry_run` is false); the revision is what must
    /// be [durable](Self::durable) before anybody hears of the result.
    pub(crate) fn write<T>(
        &self,
        dry_run: bool,
        change: impl FnOnce(&mut Txn<'_>, &Registry) -> Result<T, Status>,
    ) -> Result<(T, Revision), Status> {
        let registry = self.registry();
        let mut store = self.store();
        let mut txn = Txn::new(&store);
        let result = change(&mut txn, &registry)?;
        let now = Timestamp::now();
        rest::settle(&mut txn, &registry, now);
        let changes = txn.into_changes();
        if dry_run || changes.is_empty() {
            return Ok((result, store.revision()));
        }
        if let Some(journal) = &self.journal {
            journal.append(&changes, now).map_err(Status::internal)?;
        }
        store.commit(&changes, now);
        let revision = store.revision();
        for change in &changes {
            if change.key.resource == definitions() {
                self.update_definition(change);
            } else if Policies::has(&change.key.resource) {
                let object = (!change.deleted).then_some(&*change.object);
                self.change_registry(|registry| registry.policies.take(&change.key, object));
            }
        }
        if self.journal.is_none() {
            store.compact(now, revision);
            self.progress.publish(&changes);
        }
        drop(store);
        Ok((result, revision))
    }

    /// Reads, and waits until what was read has reached the disk. If it was taken back instead, what is left is read.
    pub(crate) async fn read<T>(&self, read: impl Fn(&Store) -> T) -> Result<T, Status> {
        loop {
            let (found, revision) = {
                let store = self.store();
                (read(&store), store.revision())
            };
            match self.durable(revision).await {
                Ok(()) => return Ok(found),
                Err(status) if self.store().revision() >= revision => return Err(status),
                Err(_) => {}
            }
        }
    }

    /// Waits until a revision has reached the disk.
    pub(crate) async fn durable(&self, revision: Revision) -> Result<(), Status> {
        let mut durable = self.progress.durable.subscribe();
        let state = durable
            .wait_for(|state| state.failed.is_some() || state.revision >= revision)
            .await;
        match state {
            Ok(state) if state.revision >= revision => Ok(()),
            Ok(state) => Err(Status::internal(state.failed.clone().unwrap_or_default())),
            Err(_) => Err(Status::internal("the server is stopping")),
        }
    }

    /// The newest revision that may be shown.
    pub(crate) fn shown(&self) -> Revision {
        self.progress.durable.borrow().revision
    }

    /// Tells when a resource has new events to show.
    pub(crate) fn subscribe(&self, resource: &Resource) -> watch::Receiver<Revision> {
        let mut resources = self.progress.resources.lock().unwrap_or_else(PoisonError::into_inner);
        resources
            .entry(resource.clone())
            .or_insert_with(|| watch::Sender::new(Revision(0)))
            .subscribe()
    }

    /// Whether writes are still taken.
    pub(crate) fn health(&self) -> Result<(), String> {
        self.journal.as_ref().and_then(Journal::failure).map_or(Ok(()), Err)
    }

    fn update_definition(&self, change: &Change) {
        if change.deleted {
            self.change_registry(|registry| registry.replace_custom(&change.key.place.name, Vec::new()));
            self.progress.wake(&Resource::new(
                text_at(&change.object, &["spec", "group"]),
                text_at(&change.object, &["spec", "names", "plural"]),
            ));
        } else {
            self.serve_definition(&change.object);
        }
    }

    fn serve_definition(&self, definition: &Value) {
        use crate::object::Object as _;
        let name = definition.name();
        match custom::kinds(definition, &self.metadata) {
            Ok(kinds) => self.change_registry(|registry| registry.replace_custom(name, kinds)),
            Err(error) => tracing::error!(definition = name, %error, "cannot serve a custom resource"),
        }
    }

    /// Puts the stored policies into force.
    fn load_policies(&self) {
        let store = self.store();
        for resource in [admission::policies(), admission::bindings()] {
            for (place, object) in store.list(&resource, None) {
                let key = Key::new(&resource, &place.namespace, &place.name);
                self.change_registry(|registry| registry.policies.take(&key, Some(object)));
            }
        }
    }

    fn change_registry(&self, change: impl FnOnce(&mut Registry)) {
        let mut held = self.registry.write().unwrap_or_else(PoisonError::into_inner);
        change(Arc::make_mut(&mut held));
    }

    /// A write of the server itself.
    fn own_write<'a>(
        &'a self,
        registry: &'a Registry,
        user: &'a User,
        group: &str,
        plural: &str,
        namespace: &'a str,
    ) -> Option<Write<'a>> {
        Some(Write {
            kind: registry.of_resource(&Resource::new(group, plural))?,
            registry,
            services: &self.services,
            user,
            root_ca: self.root_ca(),
            namespace,
            subresource: "",
            manager: "kube-apiserver",
            validation: FieldValidation::Ignore,
            now: Timestamp::now(),
        })
    }

    /// What every namespace gets beside its ServiceAccount.
    pub(crate) fn root_ca(&self) -> Option<&str> {
        self.root_ca.as_deref()
    }
}

impl Progress {
    fn publish(&self, changes: &[Change]) {
        let Some(revision) = journal::newest(changes) else {
            return;
        };
        self.durable
            .send_modify(|state| state.revision = state.revision.max(revision));
        let resources = self.resources.lock().unwrap_or_else(PoisonError::into_inner);
        for change in changes {
            if let Some(sender) = resources.get(&change.key.resource) {
                sender.send_replace(change.revision);
            }
        }
    }

    /// Lets the watchers of a resource look whether it is still there.
    fn wake(&self, resource: &Resource) {
        let resources = self.resources.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = resources.get(resource) {
            sender.send_modify(|_| {});
        }
    }

    fn fail(&self, why: String) {
        self.durable.send_modify(|state| state.failed = Some(why));
    }
}

/// The stored key, or a new one and its record.
fn signing_key(store: &Store) -> Result<(SigningKey, Option<Value>), KeyError> {
    match store.get(&SigningKey::place()) {
        Some(record) => SigningKey::from_record(record).map(|key| (key, None)),
        None => SigningKey::generate().map(|(key, record)| (key, Some(record))),
    }
}

fn definitions() -> Resource {
    Resource::new("apiextensions.k8s.io", "customresourcedefinitions")
}

#[cfg(test)]
mod model;
