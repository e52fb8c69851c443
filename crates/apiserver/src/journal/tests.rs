use std::sync::mpsc;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::store::{Key, Resource, Txn};

fn things() -> Resource {
    Resource::new("x.io", "things")
}

fn write(store: &Mutex<Store>, journal: &Journal, name: &str, value: u32) {
    let mut store = store.lock().unwrap();
    let mut txn = Txn::new(&store);
    txn.put(
        Key::new(&things(), "ns", name),
        json!({"metadata": {"name": name}, "v": value}),
    );
    let changes = txn.into_changes();
    store.commit(&changes);
    journal.append(changes).unwrap();
}

fn reopen(dir: &Path) -> (Store, Log) {
    let mut store = Store::default();
    let log = open(dir, &mut store).unwrap();
    (store, log)
}

fn start(dir: &Path) -> (Arc<Mutex<Store>>, Journal, mpsc::Receiver<Synced>) {
    let (store, log) = reopen(dir);
    let store = Arc::new(Mutex::new(store));
    let (sender, receiver) = mpsc::channel();
    let journal = Journal::start(log, Arc::clone(&store), move |batch| sender.send(batch).unwrap()).unwrap();
    (store, journal, receiver)
}

#[test]
fn what_was_synced_is_there_again_with_its_revision() {
    let dir = tempfile::tempdir().unwrap();
    let (store, journal, synced) = start(dir.path());
    write(&store, &journal, "a", 1);
    write(&store, &journal, "a", 2);
    drop(journal);
    let revisions: Vec<u64> = synced
        .iter()
        .flat_map(|batch| batch.unwrap())
        .map(|change| change.revision.0)
        .collect();
    assert_eq!(
        revisions,
        [1, 2],
        "everything queued is written before the journal closes"
    );
    let (again, _log) = reopen(dir.path());
    assert_eq!(again.revision(), Revision(2));
    assert_eq!(again.get(&Key::new(&things(), "ns", "a")).unwrap()["v"], 2);
    assert_eq!(
        again.events_after(&things(), Revision(0), Revision(2)).unwrap().count(),
        2,
        "history is replayed too"
    );
}

#[test]
fn a_second_process_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (_store, _log) = reopen(dir.path());
    assert!(matches!(
        open(dir.path(), &mut Store::default()),
        Err(JournalError::Locked { .. })
    ));
}

#[test]
fn a_snapshot_replaces_the_log_and_keeps_the_revision() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, mut log) = reopen(dir.path());
    let mut txn = Txn::new(&store);
    for n in 0..10 {
        txn.put(Key::new(&things(), "ns", &n.to_string()), json!({"metadata": {}}));
    }
    txn.delete(Key::new(&things(), "ns", "3"), json!({"metadata": {}}));
    let changes = txn.into_changes();
    store.commit(&changes);
    let mut framed = Vec::new();
    frame::write(&mut framed, &record::encode(&changes));
    log.append(&[(framed, changes)]).unwrap();
    log.compact(&Mutex::new(store)).unwrap();
    assert_eq!(fs::metadata(dir.path().join("log")).unwrap().len(), 0);
    drop(log);
    let (again, _log) = reopen(dir.path());
    assert_eq!(again.revision(), Revision(11));
    assert_eq!(again.list(&things(), None).count(), 9);
}

#[test]
fn a_snapshot_without_its_end_is_damage() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("snapshot");
    snapshot::write(&path, &snapshot::take(&Store::default())).unwrap();
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() - 3]).unwrap();
    assert!(matches!(
        open(dir.path(), &mut Store::default()),
        Err(JournalError::Damaged { .. })
    ));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Cut the log anywhere, or flip any byte: what is read is a prefix of what was written, and whole records
    /// before the damage are all there.
    #[test]
    fn a_torn_tail_costs_only_the_tail(
        payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..8),
        cut in any::<prop::sample::Index>(),
        flip in any::<bool>(),
    ) {
        let mut bytes = Vec::new();
        let mut ends = Vec::new();
        for payload in &payloads {
            frame::write(&mut bytes, payload);
            ends.push(bytes.len());
        }
        let at = cut.index(bytes.len());
        if flip { bytes[at] ^= 0x40 } else { bytes.truncate(at) }
        let read: Vec<Vec<u8>> = frame::frames(&bytes).map(|frame| frame.payload.to_vec()).collect();
        let whole = ends.iter().filter(|end| **end <= at).count();
        prop_assert_eq!(read.len(), whole);
        prop_assert_eq!(&read[..], &payloads[..whole]);
    }
}
