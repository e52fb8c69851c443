//! The whole state in one file: the first record is `{"revision":N}`, then one record an object, and one `{"objects":count}` at the end.
//!
//! The file appears by rename, so it is either whole or the previous one; a file without its end is damage, not a torn tail.

use std::{
    fs::{self, File},
    io::{self, BufWriter, Write as _},
    path::Path,
    sync::Arc,
};

use serde_json::{Value, json};

use super::{JournalError, frame, record};
use crate::store::{Change, Key, Revision, Store};

/// The state at one revision; cheap to take, because objects are shared.
#[derive(Debug)]
pub(crate) struct State {
    pub revision: Revision,
    objects: Vec<(Key, Arc<Value>)>,
}

pub(crate) fn take(store: &Store) -> State {
    let objects = store
        .resources()
        .flat_map(|resource| {
            let key = |place: &crate::store::Place| Key {
                resource: resource.clone(),
                place: place.clone(),
            };
            store
                .list(resource, None)
                .map(move |(place, object)| (key(place), Arc::clone(object)))
        })
        .collect();
    State {
        revision: store.revision(),
        objects,
    }
}

/// Writes the file and returns its size.
pub(crate) fn write(path: &Path, state: &State) -> io::Result<u64> {
    let temporary = path.with_extension("new");
    let mut file = BufWriter::new(File::create(&temporary)?);
    let mut size = 0;
    let mut put = |payload: &[u8]| {
        let mut framed = Vec::with_capacity(payload.len() + 32);
        frame::write(&mut framed, payload);
        size += framed.len() as u64;
        file.write_all(&framed)
    };
    put(json!({"revision": state.revision.0}).to_string().as_bytes())?;
    for (key, object) in &state.objects {
        let change = Change {
            revision: state.revision,
            key: key.clone(),
            deleted: false,
            object: Arc::clone(object),
        };
        put(&record::encode(&[change]))?;
    }
    put(json!({"objects": state.objects.len()}).to_string().as_bytes())?;
    file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
    fs::rename(&temporary, path)?;
    Ok(size)
}

/// Loads the file, if there is one.
pub(crate) fn read(path: &Path, store: &mut Store) -> Result<(), JournalError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => {
            return Err(JournalError::Io {
                dir: path.to_owned(),
                action: "reading the snapshot",
                source,
            });
        }
    };
    let damaged = |offset: u64, what: &str| JournalError::Damaged {
        file: path.to_owned(),
        offset,
        what: what.to_owned(),
    };
    let mut revision = None;
    let mut objects = 0u64;
    let mut end = 0;
    for frame in frame::frames(&bytes) {
        end = frame.end;
        let value: Value =
            serde_json::from_slice(frame.payload).map_err(|error| damaged(frame.start, &error.to_string()))?;
        if let Some(number) = value.get("revision").and_then(Value::as_u64) {
            revision = Some(Revision(number));
        } else if let Some(count) = value.get("objects").and_then(Value::as_u64) {
            let Some(revision) = revision else {
                return Err(damaged(0, "no revision"));
            };
            if count != objects {
                return Err(damaged(frame.start, "objects are missing"));
            }
            store.loaded(revision);
            return Ok(());
        } else {
            let changes = record::decode(frame.payload).map_err(|what| damaged(frame.start, &what))?;
            for change in changes {
                objects += 1;
                store.load(change.key, Arc::unwrap_or_clone(change.object));
            }
        }
    }
    Err(damaged(end, "its end is missing"))
}
