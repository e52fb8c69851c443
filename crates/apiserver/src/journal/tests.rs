use std::sync::mpsc;

use proptest::prelude::*;
use serde_json::json;

use super::{disk::Disk, *};
use crate::store::{Limits, Place, Resource, Txn};

fn things() -> Resource {
    Resource::new("x.io", "things")
}

fn key(name: &str) -> Key {
    Key::new(&things(), "ns", name)
}

fn put(store: &mut Store, name: &str, value: u32) -> Vec<Change> {
    let mut txn = Txn::new(store);
    txn.put(key(name), json!({"metadata": {"name": name}, "v": value}));
    commit(store, txn.into_changes())
}

fn delete(store: &mut Store, name: &str) -> Vec<Change> {
    let Some(last) = store.get(&key(name)).map(|object| (**object).clone()) else {
        return Vec::new();
    };
    let mut txn = Txn::new(store);
    txn.delete(key(name), last);
    commit(store, txn.into_changes())
}

fn commit(store: &mut Store, changes: Vec<Change>) -> Vec<Change> {
    store.commit(&changes, Timestamp::now());
    changes
}

fn batch(changes: Vec<Change>) -> Batch {
    Batch {
        changes: changes.into_iter().map(|change| (change, Timestamp::now())).collect(),
        dropped: Vec::new(),
    }
}

fn reopen(dir: &Path) -> (Store, Log) {
    let mut store = Store::default();
    let log = open(dir, &mut store).unwrap();
    (store, log)
}

/// Opens a simulated disk, a new one included.
fn mount(disk: &Disk) -> Result<(Store, Log), JournalError> {
    let new = redb::StorageBackend::len(disk).unwrap() == 0;
    let mut store = Store::default();
    let open = |_: &Path| {
        let database = builder().create_with_backend(disk.clone())?;
        if new {
            file::create(&database, Revision::default(), std::iter::empty()).unwrap();
        }
        Ok(database)
    };
    let (database, path) = guarded("disk".into(), open, &mut store)?;
    let log = Log {
        path,
        database,
        _lock: None,
    };
    Ok((store, log))
}

type Running = (Arc<Mutex<Store>>, Journal, mpsc::Receiver<Synced>);

fn start((store, log): (Store, Log)) -> Running {
    let store = Arc::new(Mutex::new(store));
    let (sender, receiver) = mpsc::channel();
    let journal = Journal::start(log, Arc::clone(&store), move |batch| sender.send(batch).unwrap()).unwrap();
    (store, journal, receiver)
}

fn write(store: &Mutex<Store>, journal: &Journal, name: &str, value: u32) -> Result<(), String> {
    let mut store = store.lock().unwrap();
    let changes = put(&mut store, name, value);
    journal.append(&changes, Timestamp::now())
}

#[test]
fn what_was_synced_is_there_again_with_its_revision_and_history() {
    let dir = tempfile::tempdir().unwrap();
    let (store, journal, synced) = start(reopen(dir.path()));
    write(&store, &journal, "a", 1).unwrap();
    write(&store, &journal, "a", 2).unwrap();
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
    assert_eq!(again.get(&key("a")).unwrap()["v"], 2);
    let events = again.events_after(&things(), Revision(0), Revision(2)).unwrap();
    let values: Vec<_> = events
        .map(|event| {
            (
                event.object["v"].clone(),
                event.previous.as_ref().map(|before| before["v"].clone()),
            )
        })
        .collect();
    assert_eq!(values, [(json!(1), None), (json!(2), Some(json!(1)))]);
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
fn dropped_history_is_dropped_on_disk_and_stays_expired() {
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits {
        events: 3,
        ..Limits::default()
    };
    let mut store = Store::new(limits);
    let log = open(dir.path(), &mut store).unwrap();
    let (store, journal, synced) = start((store, log));
    for value in 0..10 {
        write(&store, &journal, "a", value).unwrap();
        synced.recv().unwrap().unwrap();
    }
    drop(journal);
    let (again, _log) = reopen(dir.path());
    assert!(again.events_after(&things(), Revision(6), Revision(10)).is_err());
    let kept = again.events_after(&things(), Revision(7), Revision(10)).unwrap();
    assert_eq!(kept.count(), 3);
}

#[test]
fn a_file_that_is_no_database_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    drop(reopen(dir.path()));
    let path = dir.path().join(FILE);
    fs::write(
        &path,
        b"not a database at all, but long enough to hold a header".repeat(100),
    )
    .unwrap();
    let error = open(dir.path(), &mut Store::default()).unwrap_err().to_string();
    assert!(error.contains("store.redb") && error.contains("backup"), "{error}");
}

#[test]
fn a_file_that_is_too_new_is_refused() {
    let disk = Disk::default();
    let (_, log) = mount(&disk).unwrap();
    let transaction = log.database.begin_write().unwrap();
    let numbers: redb::TableDefinition<'_, &str, u64> = redb::TableDefinition::new("numbers");
    transaction.open_table(numbers).unwrap().insert("format", 2).unwrap();
    transaction.commit().unwrap();
    drop(log);
    assert!(matches!(mount(&disk), Err(JournalError::Newer { format: 2, .. })));
}

#[test]
fn an_unfinished_new_file_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("store.new"), b"half").unwrap();
    let (store, _log) = reopen(dir.path());
    assert_eq!(store.revision(), Revision(0));
}

/// Whatever is left of the room: what was acknowledged stays readable, what was not is taken back, the reason is told.
fn a_disk_that_stops_taking_writes(stop: impl FnOnce(&Disk), reason: &str) {
    let disk = Disk::default();
    let (store, journal, synced) = start(mount(&disk).unwrap());
    write(&store, &journal, "a", 1).unwrap();
    assert!(synced.recv().unwrap().is_ok());
    stop(&disk);
    let big = "x".repeat(8 << 20);
    {
        let mut store = store.lock().unwrap();
        let mut txn = Txn::new(&store);
        txn.put(key("a"), json!({"metadata": {}, "v": big}));
        txn.put(key("b"), json!({"metadata": {}, "v": 0}));
        let changes = txn.into_changes();
        commit(&mut store, changes.clone());
        journal.append(&changes, Timestamp::now()).unwrap();
    }
    let why = synced.recv().unwrap().unwrap_err();
    assert!(why.contains(reason), "{why}");
    assert_eq!(write(&Mutex::new(Store::default()), &journal, "c", 1), Err(why));
    let store = store.lock().unwrap();
    assert_eq!(
        (store.revision(), store.list(&things(), None).count()),
        (Revision(1), 1)
    );
    assert_eq!(store.get(&key("a")).unwrap()["v"], 1);
    drop(journal);
    let (again, _log) = mount(&disk.after_kill()).unwrap();
    assert_eq!(again.get(&key("a")).unwrap()["v"], 1);
    assert_eq!(again.revision(), Revision(1));
}

#[test]
fn a_full_disk_keeps_what_it_has() {
    a_disk_that_stops_taking_writes(Disk::fill, "no storage space");
}

#[test]
fn a_read_only_disk_keeps_what_it_has() {
    a_disk_that_stops_taking_writes(Disk::make_read_only, "read-only");
}

type Content = std::collections::BTreeMap<Place, serde_json::Value>;

fn content(store: &Store) -> Content {
    let all = store.list(&things(), None);
    all.map(|(place, object)| (place.clone(), (**object).clone())).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Stop anywhere, in the middle of a commit too, by a kill or by a power cut that tears and loses what was not
    /// synced: the file opens, and holds the last acknowledged transaction or the one that was under way, whole, with its
    /// history.
    #[test]
    fn nothing_acknowledged_is_lost_wherever_it_stops(
        steps in prop::collection::vec((0u8..6, any::<u32>(), prop::bool::weighted(0.2)), 1..30),
        cut in 1usize..400,
        power in any::<bool>(),
        luck in prop::collection::vec(any::<bool>(), 64),
    ) {
        let disk = Disk::default();
        let (mut store, log) = mount(&disk).unwrap();
        disk.cut_after(cut);
        let mut states = vec![(Revision(0), Content::new())];
        let mut acknowledged = Revision(0);
        for (name, value, remove) in steps {
            let name = name.to_string();
            let changes = if remove { delete(&mut store, &name) } else { put(&mut store, &name, value) };
            let Some(newest) = newest(&changes) else { continue };
            states.push((newest, content(&store)));
            if file::write(&log.database, &batch(changes)).is_err() {
                prop_assert!(disk.is_cut());
                break;
            }
            acknowledged = newest;
        }
        let mut luck = luck.into_iter().cycle();
        let found = if power { disk.after_power_cut(|| luck.next().unwrap()) } else { disk.after_kill() };
        drop(log);
        let (again, _log) = mount(&found).unwrap();
        let revision = again.revision();
        prop_assert!(revision >= acknowledged, "{revision} after {acknowledged} was acknowledged");
        let then = states.iter().find(|(at, _)| *at == revision);
        prop_assert_eq!(Some(&content(&again)), then.map(|(_, content)| content));
        let events = again.events_after(&things(), Revision(0), revision).unwrap();
        prop_assert_eq!(events.map(|event| event.revision.0).collect::<Vec<_>>(), (1..=revision.0).collect::<Vec<_>>());
        for (at, then) in states.iter().filter(|(at, _)| *at <= revision) {
            let listed = again.list_at(&things(), None, *at).unwrap();
            let listed: Content = listed.into_iter().map(|(place, object)| (place, (*object).clone())).collect();
            prop_assert_eq!(&listed, then, "the list as of {}", at);
        }
    }
}

#[test]
fn others_cannot_read_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join(FILE);
    let mode = || fs::metadata(&file).unwrap().permissions().mode() & 0o777;
    drop(open(dir.path(), &mut Store::new(Limits::default())).unwrap());
    assert_eq!(mode(), PRIVATE);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    drop(open(dir.path(), &mut Store::new(Limits::default())).unwrap());
    assert_eq!(mode(), PRIVATE, "one that was copied back with a wider mode");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Damage to what had been synced is more than any kill can do. It is never served: the file is refused, or the damage hit
    /// nothing that counts, or, after a kill, only the last commit, which is then taken for one that did not get to its end.
    #[test]
    fn damage_is_never_served(
        values in prop::collection::vec(any::<u32>(), 1..40),
        tail in any::<bool>(),
        at in any::<prop::sample::Index>(),
        garbage in prop::collection::vec(any::<u8>(), 1..600),
        killed in any::<bool>(),
    ) {
        let disk = Disk::default();
        let (mut store, log) = mount(&disk).unwrap();
        let mut states = vec![(Revision(0), Content::new())];
        for (n, value) in values.into_iter().enumerate() {
            let changes = put(&mut store, &(n % 9).to_string(), value);
            file::write(&log.database, &batch(changes)).unwrap();
            states.push((store.revision(), content(&store)));
        }
        let running = disk.image();
        drop(log);
        let mut image = if killed { running } else { disk.image() };
        // Most of a small file is empty; damage there is no test.
        let used: Vec<usize> = (0..image.len()).filter(|n| image[*n] != 0).collect();
        let start = used[at.index(used.len())];
        if tail {
            image.truncate(start);
        } else {
            let end = (start + garbage.len()).min(image.len());
            image[start..end].copy_from_slice(&garbage[..end - start]);
        }
        if let Ok((again, _log)) = mount(&Disk::holding(image)) {
            let acceptable = states.iter().rev().take(if killed { 2 } else { 1 });
            let found = (again.revision(), content(&again));
            prop_assert!(acceptable.into_iter().any(|state| *state == found), "{found:?}");
        }
    }
}
