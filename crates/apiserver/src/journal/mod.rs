//! Makes commits durable: one redb file, and one thread that writes it.
//!
//! The directory holds `store.redb` and `lock` (held by the one process that may use it). Opening reads everything into the
//! [`Store`], which answers all reads; the file is only written from then on. redb never overwrites a page that the last
//! synced commit uses, so a kill or a power cut in the middle of a commit leaves the one before it.
//!
//! A transaction is handed over with [`Journal::append`], under the store's lock, so transactions lie in the order of their
//! revisions. The thread takes whatever has gathered, drops the history that is no longer wanted, writes both in one
//! commit, syncs once, and reports the batch: writers that wait at the same time share one sync, and nothing waits for a
//! timer.
//!
//! After a failed commit nobody knows what the disk holds, so the journal takes no more: what had not been synced is taken
//! back in memory too, reads go on with what was acknowledged, and every write is told why until the process is started anew.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    panic::AssertUnwindSafe,
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
};

use jiff::Timestamp;
use redb::Database;

use crate::store::{Change, Floor, Key, Revision, Store};

mod file;

use file::LoadError;

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    #[error("data directory {dir}: {action} failed: {source}")]
    Io {
        dir: PathBuf,
        action: &'static str,
        source: io::Error,
    },
    #[error("data directory {dir} is in use by another process; stop that one first")]
    Locked { dir: PathBuf },
    #[error("{file} cannot be opened: {why}; make it readable and writable, or restore a backup")]
    Refused { file: PathBuf, why: String },
    #[error("{file} is damaged: {what}; restore a backup")]
    Damaged { file: PathBuf, what: String },
    #[error("{file} has format {format}, which only a newer version reads; use that version")]
    Newer { file: PathBuf, format: u64 },
    #[error("{file} exists already; move it away to restore a backup in its place")]
    Exists { file: PathBuf },
}

/// A batch that has reached the disk, or the reason why none will any more.
pub(crate) type Synced = Result<Vec<Change>, String>;

/// What goes to the disk together.
#[derive(Debug, Default)]
struct Batch {
    changes: Vec<(Change, Timestamp)>,
    dropped: Vec<(Floor, Vec<Revision>)>,
}

#[derive(Default)]
struct Queue {
    changes: Vec<(Change, Timestamp)>,
    closing: bool,
    failed: Option<String>,
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    arrived: Condvar,
}

/// The writer side. Dropping it writes what is queued and stops the thread.
pub(crate) struct Journal {
    shared: Arc<Shared>,
    thread: Option<thread::JoinHandle<()>>,
}

impl std::fmt::Debug for Journal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Journal").finish_non_exhaustive()
    }
}

/// The open file; [`Journal::start`] takes it over.
#[derive(Debug)]
pub(crate) struct Log {
    path: PathBuf,
    database: Database,
    _lock: Option<File>,
}

/// Reads a directory into an empty `store`, and returns the file ready for writing.
pub(crate) fn open(dir: &Path, store: &mut Store) -> Result<Log, JournalError> {
    let lock = lock(dir)?;
    let path = dir.join(FILE);
    if !path.exists() {
        create(dir, Revision::default(), std::iter::empty())?;
    }
    hide(&path);
    let (database, path) = guarded(path, |path| builder().open(path), store)?;
    Ok(Log {
        path,
        database,
        _lock: Some(lock),
    })
}

/// Makes the file of a directory that has none, as of `revision`, with these objects.
pub(crate) fn restore<'a>(
    dir: &Path,
    revision: Revision,
    objects: impl IntoIterator<Item = (Key, &'a [u8])>,
) -> Result<(), JournalError> {
    let _lock = lock(dir)?;
    let path = dir.join(FILE);
    if path.exists() {
        return Err(JournalError::Exists { file: path });
    }
    create(dir, revision, objects)
}

/// Opens the database and loads it. redb panics where a page says nonsense, so a panic here means damage; where panics
/// abort, the process ends instead, which refuses the file too.
fn guarded(
    path: PathBuf,
    open: impl FnOnce(&Path) -> Result<Database, redb::DatabaseError>,
    store: &mut Store,
) -> Result<(Database, PathBuf), JournalError> {
    let opened = std::panic::catch_unwind(AssertUnwindSafe(|| {
        let mut database = open(&path).map_err(|error| refused(&path, &error))?;
        file::load(&mut database, store).map_err(|error| unloadable(&path, error))?;
        Ok(database)
    }));
    match opened {
        Ok(opened) => opened.map(|database| (database, path)),
        Err(_) => Err(JournalError::Damaged {
            file: path,
            what: "its pages contradict each other".to_owned(),
        }),
    }
}

fn unloadable(path: &Path, error: LoadError) -> JournalError {
    let file = path.to_owned();
    match error {
        LoadError::Database(error) => JournalError::Damaged {
            file,
            what: error.to_string(),
        },
        LoadError::Damaged(what) => JournalError::Damaged { file, what },
        LoadError::Newer(format) => JournalError::Newer { file, format },
    }
}

fn lock(dir: &Path) -> Result<File, JournalError> {
    fs::create_dir_all(dir).map_err(failed(dir, "creating it"))?;
    let mut options = OpenOptions::new();
    let lock = options.create(true).truncate(false).write(true).open(dir.join("lock"));
    let lock = lock.map_err(failed(dir, "locking it"))?;
    lock.try_lock()
        .map_err(|_| JournalError::Locked { dir: dir.to_owned() })?;
    Ok(lock)
}

/// The file appears by rename, so it is either whole or not there.
fn create<'a>(
    dir: &Path,
    revision: Revision,
    objects: impl IntoIterator<Item = (Key, &'a [u8])>,
) -> Result<(), JournalError> {
    let (path, beside) = (dir.join(FILE), dir.join("store.new"));
    if let Err(error) = fs::remove_file(&beside)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(failed(dir, "removing an unfinished file")(error));
    }
    OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(PRIVATE)
        .open(&beside)
        .map_err(failed(dir, "creating the file"))?;
    let database = builder().create(&beside).map_err(|error| refused(&beside, &error))?;
    file::create(&database, revision, objects).map_err(|error| JournalError::Refused {
        file: beside.clone(),
        why: error.to_string(),
    })?;
    drop(database);
    fs::rename(&beside, &path).map_err(failed(dir, "naming the new file"))?;
    File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(failed(dir, "syncing it"))
}

/// Takes the file from the eyes of others, who may see one that a backup tool has put back.
fn hide(path: &Path) {
    let mode = fs::metadata(path).map(|found| found.permissions().mode());
    if mode.is_ok_and(|mode| mode & 0o077 != 0)
        && let Err(error) = fs::set_permissions(path, fs::Permissions::from_mode(PRIVATE))
    {
        tracing::warn!(file = %path.display(), %error, "others may read the credentials in this file; set its mode to 0600");
    }
}

fn failed(dir: &Path, action: &'static str) -> impl FnOnce(io::Error) -> JournalError {
    let dir = dir.to_owned();
    move |source| JournalError::Io { dir, action, source }
}

fn refused(path: &Path, error: &redb::DatabaseError) -> JournalError {
    let file = path.to_owned();
    match error {
        redb::DatabaseError::Storage(redb::StorageError::Corrupted(what)) => JournalError::Damaged {
            file,
            what: what.clone(),
        },
        other => JournalError::Refused {
            file,
            why: other.to_string(),
        },
    }
}

fn builder() -> redb::Builder {
    let mut builder = redb::Builder::new();
    // Reads are answered from memory, so only the inner pages of the trees are worth keeping.
    builder.set_cache_size(CACHE);
    builder
}

impl Journal {
    /// Starts the thread. `store` is compacted and, after a failure, rolled back; `synced` is called after every batch, in order.
    pub(crate) fn start(
        log: Log,
        store: Arc<Mutex<Store>>,
        synced: impl Fn(Synced) + Send + 'static,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("journal".into())
            .spawn(move || run(&log, &theirs, &store, &synced))?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// Queues a transaction. Fails at once when an earlier one could not be written.
    pub(crate) fn append(&self, changes: &[Change], now: Timestamp) -> Result<(), String> {
        let mut queue = self.shared.lock();
        if let Some(why) = &queue.failed {
            return Err(why.clone());
        }
        queue.changes.extend(changes.iter().map(|change| (change.clone(), now)));
        self.shared.arrived.notify_one();
        Ok(())
    }

    /// Why the journal takes no more writes, if it does not.
    pub(crate) fn failure(&self) -> Option<String> {
        self.shared.lock().failed.clone()
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.shared.lock().closing = true;
        self.shared.arrived.notify_one();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the journal thread panicked");
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What has gathered; none once the journal is closing and all is written.
    fn next_batch(&self) -> Option<Vec<(Change, Timestamp)>> {
        let mut queue = self.lock();
        while queue.changes.is_empty() && !queue.closing {
            queue = self.arrived.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        let changes = std::mem::take(&mut queue.changes);
        (!changes.is_empty()).then_some(changes)
    }
}

fn run(log: &Log, shared: &Shared, store: &Mutex<Store>, synced: &impl Fn(Synced)) {
    let held = || store.lock().unwrap_or_else(PoisonError::into_inner);
    let mut durable = None;
    while let Some(changes) = shared.next_batch() {
        let before = changes.first().map(|(change, _)| Revision(change.revision.0 - 1));
        let safe = *durable.get_or_insert(before.unwrap_or_default());
        let batch = Batch {
            changes,
            dropped: held().compact(Timestamp::now(), safe),
        };
        if let Err(error) = file::write(&log.database, &batch) {
            let why = format!(
                "cannot write {}: {error}; reads go on with what was saved, writes need a restart once this is mended",
                log.path.display()
            );
            tracing::error!(%error, file = %log.path.display(), "the journal failed; every further write is refused");
            // Both locks in the order of a writer, so that no write slips in between.
            let mut store = held();
            shared.lock().failed = Some(why.clone());
            store.roll_back(safe);
            drop(store);
            synced(Err(why));
            return;
        }
        let changes: Vec<Change> = batch.changes.into_iter().map(|(change, _)| change).collect();
        durable = newest(&changes);
        synced(Ok(changes));
    }
}

/// The newest revision in a batch.
pub(crate) fn newest(batch: &[Change]) -> Option<Revision> {
    batch.last().map(|change| change.revision)
}

const FILE: &str = "store.redb";
const CACHE: usize = 8 << 20;
/// The file holds Secrets, and the key of all tokens.
const PRIVATE: u32 = 0o600;

#[cfg(test)]
mod disk;
#[cfg(test)]
mod tests;
