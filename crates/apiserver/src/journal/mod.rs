//! Makes commits durable: an append log with group commit, and snapshots that keep it short.
//!
//! The directory holds `log` (one record a transaction), `snapshot` (the state as of one revision) and `lock` (held by the one
//! process that may write). Opening reads the snapshot, replays the records of the log that are newer, and cuts a torn
//! tail: a record that the process was killed in the middle of was never acknowledged.
//!
//! A transaction is handed over with [`Journal::append`], under the store's lock, so records lie in the order of their
//! revisions. One thread writes whatever has gathered, syncs once, and reports the batch; writers that wait at the same time
//! therefore share one fsync, and nothing waits for a timer. After a failed write the journal takes no more: the caller
//! learns why, and what had been acknowledged before is safe.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Seek as _, Write as _},
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
};

use crate::store::{Change, Revision, Store};

mod frame;
mod record;
mod snapshot;

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    #[error("data directory {dir}: {action} failed")]
    Io {
        dir: PathBuf,
        action: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("data directory {dir} is in use by another process; stop that one first")]
    Locked { dir: PathBuf },
    #[error("{file} is damaged at byte {offset}: {what}; restore it from a backup")]
    Damaged { file: PathBuf, offset: u64, what: String },
}

/// A batch that has reached the disk, or the reason why none will any more.
pub(crate) type Synced = Result<Vec<Change>, String>;

struct Queue {
    records: Vec<(Vec<u8>, Vec<Change>)>,
    closing: bool,
    failed: Option<String>,
}

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

/// Reads a directory into `store`, and returns the log ready for appending.
pub(crate) fn open(dir: &Path, store: &mut Store) -> Result<Log, JournalError> {
    let io = |action| {
        move |source| JournalError::Io {
            dir: dir.to_owned(),
            action,
            source,
        }
    };
    fs::create_dir_all(dir).map_err(io("creating it"))?;
    let lock = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(dir.join("lock"))
        .map_err(io("locking it"))?;
    lock.try_lock()
        .map_err(|_| JournalError::Locked { dir: dir.to_owned() })?;
    snapshot::read(&dir.join("snapshot"), store)?;
    let path = dir.join("log");
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(io("reading its log")(error)),
    };
    let mut good = 0;
    for frame in frame::frames(&bytes) {
        let changes = record::decode(frame.payload).map_err(|what| JournalError::Damaged {
            file: path.clone(),
            offset: frame.start,
            what,
        })?;
        let newer: Vec<Change> = changes
            .into_iter()
            .filter(|change| change.revision > store.revision())
            .collect();
        store.commit(&newer);
        good = frame.end;
    }
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(io("opening its log"))?;
    if good < bytes.len() as u64 {
        tracing::warn!(dropped = bytes.len() as u64 - good, log = %path.display(), "cut an unfinished record off the log");
    }
    file.set_len(good).map_err(io("cutting its log"))?;
    file.seek(io::SeekFrom::End(0)).map_err(io("opening its log"))?;
    sync_dir(dir).map_err(io("syncing it"))?;
    Ok(Log {
        dir: dir.to_owned(),
        file,
        length: good,
        compact_at: COMPACT_AT,
        _lock: lock,
    })
}

/// The open log file; [`Journal::start`] takes it over.
#[derive(Debug)]
pub(crate) struct Log {
    dir: PathBuf,
    file: File,
    length: u64,
    compact_at: u64,
    _lock: File,
}

impl Journal {
    /// Starts the thread. `store` is what snapshots are taken of; `synced` is called after every batch, in order.
    pub(crate) fn start(
        log: Log,
        store: Arc<Mutex<Store>>,
        synced: impl Fn(Synced) + Send + 'static,
    ) -> io::Result<Self> {
        let queue = Queue {
            records: Vec::new(),
            closing: false,
            failed: None,
        };
        let shared = Arc::new(Shared {
            queue: Mutex::new(queue),
            arrived: Condvar::new(),
        });
        let theirs = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("journal".into())
            .spawn(move || run(log, &theirs, &store, &synced))?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// Queues a transaction. Fails at once when an earlier one could not be written.
    pub(crate) fn append(&self, changes: Vec<Change>) -> Result<(), String> {
        let mut framed = Vec::new();
        frame::write(&mut framed, &record::encode(&changes));
        let mut queue = self.shared.lock();
        if let Some(why) = &queue.failed {
            return Err(why.clone());
        }
        queue.records.push((framed, changes));
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

    /// The next batch; none once the journal is closing and all is written.
    fn next_batch(&self) -> Option<Vec<(Vec<u8>, Vec<Change>)>> {
        let mut queue = self.lock();
        while queue.records.is_empty() && !queue.closing {
            queue = self.arrived.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        let batch = std::mem::take(&mut queue.records);
        (!batch.is_empty()).then_some(batch)
    }
}

fn run(mut log: Log, shared: &Shared, store: &Mutex<Store>, synced: &impl Fn(Synced)) {
    while let Some(batch) = shared.next_batch() {
        if let Err(error) = log.append(&batch) {
            let why = format!("cannot write {}: {error}", log.dir.join("log").display());
            tracing::error!(%error, dir = %log.dir.display(), "the journal failed; every further write is refused");
            shared.lock().failed = Some(why.clone());
            synced(Err(why));
            return;
        }
        synced(Ok(batch.into_iter().flat_map(|(_, changes)| changes).collect()));
        if log.length >= log.compact_at
            && let Err(error) = log.compact(store)
        {
            tracing::warn!(%error, dir = %log.dir.display(), "compaction failed; the log goes on growing");
            log.compact_at = log.length * 2;
        }
    }
}

impl Log {
    fn append(&mut self, batch: &[(Vec<u8>, Vec<Change>)]) -> io::Result<()> {
        let bytes: Vec<u8> = batch.iter().flat_map(|(framed, _)| framed).copied().collect();
        self.file.write_all(&bytes)?;
        self.file.sync_data()?;
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// Writes the whole state beside the log, then empties the log. A crash in between only leaves records that the
    /// snapshot already covers, and they are skipped on replay.
    fn compact(&mut self, store: &Mutex<Store>) -> io::Result<()> {
        let state = snapshot::take(&store.lock().unwrap_or_else(PoisonError::into_inner));
        let size = snapshot::write(&self.dir.join("snapshot"), &state)?;
        sync_dir(&self.dir)?;
        self.file.set_len(0)?;
        self.file.rewind()?;
        self.file.sync_all()?;
        tracing::debug!(revision = %state.revision, bytes = size, "compacted the log");
        self.length = 0;
        self.compact_at = COMPACT_AT.max(size * 2);
        Ok(())
    }
}

fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// The newest revision in a batch.
pub(crate) fn newest(batch: &[Change]) -> Option<Revision> {
    batch.last().map(|change| change.revision)
}

/// Log bytes after which a snapshot is taken.
const COMPACT_AT: u64 = 16 << 20;

#[cfg(test)]
mod tests;
