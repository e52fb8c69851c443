//! The tables of the file, and what is in them.
//!
//! | table | key | value |
//! |---|---|---|
//! | `objects` | group, plural, namespace, name | the object as JSON |
//! | `history` | revision | an event: when, whose, what it replaced, and the last state if it was a deletion |
//! | `floors` | group, plural | the newest revision that has been dropped from this resource's history |
//! | `numbers` | `format`, `revision`, `floor` | |

use jiff::Timestamp;
use redb::{Database, ReadTransaction, ReadableDatabase as _, ReadableTable as _, TableDefinition, WriteTransaction};

use super::Batch;
use crate::store::{Floor, Key, Object, Past, Resource, Revision, Store};

type Name = (&'static str, &'static str, &'static str, &'static str);
/// Milliseconds since 1970, whose, what it replaced (empty: nothing), the last state (empty: not a deletion).
type PastRow = (i64, Name, &'static [u8], &'static [u8]);

const OBJECTS: TableDefinition<'_, Name, &[u8]> = TableDefinition::new("objects");
const HISTORY: TableDefinition<'_, u64, PastRow> = TableDefinition::new("history");
const FLOORS: TableDefinition<'_, (&str, &str), u64> = TableDefinition::new("floors");
const NUMBERS: TableDefinition<'_, &str, u64> = TableDefinition::new("numbers");

/// The layout that this code reads and writes.
const FORMAT: u64 = 1;

/// Why a file cannot be loaded.
#[derive(Debug)]
pub(super) enum LoadError {
    Database(Box<redb::Error>),
    Damaged(String),
    Newer(u64),
}

impl<E: Into<redb::Error>> From<E> for LoadError {
    fn from(error: E) -> Self {
        Self::Database(Box::new(error.into()))
    }
}

/// Makes the tables of a new file. `floor` is where its history begins.
pub(super) fn create<'a>(
    database: &Database,
    revision: Revision,
    objects: impl IntoIterator<Item = (Key, &'a [u8])>,
) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    {
        let mut table = transaction.open_table(OBJECTS)?;
        for (key, text) in objects {
            table.insert(name(&key), text)?;
        }
        transaction.open_table(HISTORY)?;
        transaction.open_table(FLOORS)?;
        let mut numbers = transaction.open_table(NUMBERS)?;
        numbers.insert("format", FORMAT)?;
        numbers.insert("revision", revision.0)?;
        numbers.insert("floor", revision.0)?;
    }
    Ok(transaction.commit()?)
}

/// Writes a batch in one transaction, and syncs it.
pub(super) fn write(database: &Database, batch: &Batch) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    put(&transaction, batch)?;
    Ok(transaction.commit()?)
}

fn put(transaction: &WriteTransaction, batch: &Batch) -> Result<(), redb::Error> {
    let mut objects = transaction.open_table(OBJECTS)?;
    let mut history = transaction.open_table(HISTORY)?;
    for (change, at) in &batch.changes {
        let text = serde_json::to_vec(&*change.object).expect("JSON values always serialize");
        let name = name(&change.key);
        let replaced = if change.deleted {
            objects.remove(name)?
        } else {
            objects.insert(name, text.as_slice())?
        };
        let before = replaced.as_ref().map(|guard| guard.value()).unwrap_or_default();
        let last: &[u8] = if change.deleted { &text } else { &[] };
        history.insert(change.revision.0, (at.as_millisecond(), name, before, last))?;
    }
    let mut floors = transaction.open_table(FLOORS)?;
    for (floor, revisions) in &batch.dropped {
        for revision in revisions {
            history.remove(revision.0)?;
        }
        floors.insert((&*floor.resource.group, &*floor.resource.plural), floor.revision.0)?;
    }
    if let Some((newest, _)) = batch.changes.last() {
        transaction.open_table(NUMBERS)?.insert("revision", newest.revision.0)?;
    }
    Ok(())
}

/// Fills an empty store.
pub(super) fn load(database: &mut Database, store: &mut Store) -> Result<(), LoadError> {
    // After a kill the checksums have been verified already; after an orderly end nobody has looked at them.
    match database.check_integrity() {
        Ok(true) => {}
        Ok(false) => return Err(LoadError::Damaged("its checksums do not match".to_owned())),
        Err(error) => return Err(LoadError::Damaged(error.to_string())),
    }
    let transaction = database.begin_read()?;
    let numbers = transaction.open_table(NUMBERS)?;
    let number = |name: &str| -> Result<u64, LoadError> {
        let found = numbers.get(name)?.map(|guard| guard.value());
        found.ok_or_else(|| LoadError::Damaged(format!("number {name:?} is missing")))
    };
    match number("format")? {
        FORMAT => {}
        newer => return Err(LoadError::Newer(newer)),
    }
    for row in transaction.open_table(OBJECTS)?.iter()? {
        let (name, text) = row?;
        let key = key(name.value());
        let object = Object::from_text(text.value()).map_err(|error| damaged(&key, &error))?;
        store.load(key, object);
    }
    let past = history(&transaction)?;
    store
        .load_history(past)
        .map_err(|revision| LoadError::Damaged(format!("the event of revision {revision} belongs to no object")))?;
    let mut floors = Vec::new();
    for row in transaction.open_table(FLOORS)?.iter()? {
        let (resource, revision) = row?;
        let (group, plural) = resource.value();
        floors.push(Floor {
            resource: Resource::new(group, plural),
            revision: Revision(revision.value()),
        });
    }
    store.loaded(Revision(number("revision")?), Revision(number("floor")?), floors);
    Ok(())
}

/// The events, newest first.
fn history(transaction: &ReadTransaction) -> Result<Vec<Past>, LoadError> {
    let mut all = Vec::new();
    for row in transaction.open_table(HISTORY)?.iter()?.rev() {
        let (revision, event) = row?;
        let (at, name, before, last) = event.value();
        let key = key(name);
        let object = |text: &[u8]| -> Result<Option<Object>, LoadError> {
            let object = (!text.is_empty()).then(|| Object::from_text(text)).transpose();
            object.map_err(|error| damaged(&key, &error))
        };
        all.push(Past {
            revision: Revision(revision.value()),
            at: Timestamp::from_millisecond(at).unwrap_or_default(),
            previous: object(before)?,
            last: object(last)?,
            key,
        });
    }
    Ok(all)
}

fn damaged(key: &Key, error: &serde_json::Error) -> LoadError {
    let Key { resource, place } = key;
    LoadError::Damaged(format!("{resource} {}/{}: {error}", place.namespace, place.name))
}

fn name(key: &Key) -> (&str, &str, &str, &str) {
    let Key { resource, place } = key;
    (&resource.group, &resource.plural, &place.namespace, &place.name)
}

fn key((group, plural, namespace, name): (&str, &str, &str, &str)) -> Key {
    Key::new(&Resource::new(group, plural), namespace, name)
}
