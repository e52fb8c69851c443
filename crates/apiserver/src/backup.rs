//! A copy of everything, as of one revision, in a form that outlives the format of the data directory: lines of JSON.
//!
//! ```text
//! {"backup":"apiserver","format":1,"revision":4711}
//! ["","configmaps","default","settings",{"kind":"ConfigMap",…}]          group, plural, namespace, name, object
//! …
//! {"objects":123,"sha256":"…"}                                           of all bytes before this line
//! ```

use std::{
    io::{self, BufRead},
    path::Path,
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::{
    journal::{self, JournalError},
    object::ObjectMut as _,
    store::{Key, Object, Resource, Revision},
};

/// Why a backup cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error("cannot read the backup")]
    Io(#[source] io::Error),
    #[error("line {line} is not one of a backup: {why}")]
    Line { line: usize, why: String },
    #[error("the backup has format {0}, which only a newer version reads; use that version")]
    Newer(u64),
    #[error("the backup ends too early; it was not copied to its end")]
    Cut,
    #[error("the backup has been changed: its checksum does not match")]
    Checksum,
}

/// A whole backup, checked.
#[derive(Clone, Debug)]
pub struct Backup {
    revision: Revision,
    objects: Vec<(Key, Value)>,
}

#[derive(Serialize, Deserialize)]
struct Head {
    backup: String,
    format: u64,
    revision: u64,
}

#[derive(Serialize, Deserialize)]
struct Tail {
    objects: usize,
    sha256: String,
}

impl Backup {
    /// Reads a backup to its end.
    pub fn read(mut from: impl BufRead) -> Result<Self, BackupError> {
        let mut hash = Sha256::new();
        let mut backup: Option<Self> = None;
        let mut text = Vec::new();
        for line in 1.. {
            text.clear();
            if from.read_until(b'\n', &mut text).map_err(BackupError::Io)? == 0 {
                break;
            }
            let wrong = |error: serde_json::Error| BackupError::Line {
                line,
                why: error.to_string(),
            };
            match &mut backup {
                None => {
                    let head: Head = serde_json::from_slice(&text).map_err(wrong)?;
                    if head.format != FORMAT {
                        return Err(BackupError::Newer(head.format));
                    }
                    backup = Some(Self {
                        revision: Revision(head.revision),
                        objects: Vec::new(),
                    });
                }
                Some(backup) if text.starts_with(b"[") => {
                    let row: (String, String, String, String, Value) = serde_json::from_slice(&text).map_err(wrong)?;
                    let (group, plural, namespace, name, object) = row;
                    let key = Key::new(&Resource::new(&group, &plural), &namespace, &name);
                    backup.objects.push((key, object));
                }
                Some(backup) => {
                    // A last line that breaks off is an end that is missing.
                    let tail: Tail = serde_json::from_slice(&text).map_err(|_| BackupError::Cut)?;
                    if tail.objects != backup.objects.len() || tail.sha256 != hex(hash) {
                        return Err(BackupError::Checksum);
                    }
                    return Ok(backup.clone());
                }
            }
            hash.update(&text);
        }
        Err(BackupError::Cut)
    }

    /// How many objects it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.objects.len()
    }

    /// Whether it holds nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }

    /// Changes the objects for which `change` returns true; they get a resourceVersion of their own.
    pub fn change(&mut self, mut change: impl FnMut(&mut Value) -> bool) {
        let version = self.restored_revision().to_string();
        for (_, object) in &mut self.objects {
            if change(object) {
                object.set_meta("resourceVersion", version.as_str());
            }
        }
    }

    /// Makes the store of a data directory that has none.
    pub fn restore(&self, data_dir: &Path) -> Result<(), JournalError> {
        let objects: Vec<(Key, Vec<u8>)> = self
            .objects
            .iter()
            .map(|(key, object)| {
                let text = serde_json::to_vec(object).expect("JSON values always serialize");
                (key.clone(), text)
            })
            .collect();
        let rows = objects.iter().map(|(key, text)| (key.clone(), text.as_slice()));
        journal::restore(data_dir, self.restored_revision(), rows)
    }

    /// Beyond anything that a client can have seen.
    fn restored_revision(&self) -> Revision {
        Revision(self.revision.0 + LEAP)
    }
}

/// The backup of a state, in parts of moderate size.
pub(crate) fn parts(revision: Revision, objects: Vec<(Key, Object)>) -> impl Iterator<Item = Vec<u8>> {
    let count = objects.len();
    let mut hash = Sha256::new();
    let head = Head {
        backup: "apiserver".to_owned(),
        format: FORMAT,
        revision: revision.0,
    };
    let mut head = Some(line(&head));
    let mut objects = objects.into_iter();
    let mut ended = false;
    std::iter::from_fn(move || {
        let mut part = head.take().unwrap_or_default();
        while part.len() < PART
            && let Some((key, object)) = objects.next()
        {
            let Key { resource, place } = &key;
            let object: &Arc<Value> = &object;
            let row = (
                &*resource.group,
                &*resource.plural,
                &place.namespace,
                &place.name,
                &**object,
            );
            part.extend(line(&row));
        }
        hash.update(&part);
        if part.len() < PART && !ended {
            ended = true;
            let sha256 = hex(std::mem::take(&mut hash));
            part.extend(line(&Tail { objects: count, sha256 }));
        }
        (!part.is_empty()).then_some(part)
    })
}

fn line(value: &impl Serialize) -> Vec<u8> {
    let mut text = serde_json::to_vec(value).expect("JSON values always serialize");
    text.push(b'\n');
    text
}

fn hex(hash: Sha256) -> String {
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

const FORMAT: u64 = 1;
/// No server gives as many revisions between two backups.
const LEAP: u64 = 1_000_000_000;
const PART: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn objects(count: usize) -> Vec<(Key, Object)> {
        let object = |n: usize| {
            Object::from(Arc::new(
                json!({"metadata": {"name": n.to_string()}, "fill": "x".repeat(1000)}),
            ))
        };
        let key = |n: usize| Key::new(&Resource::new("x.io", "things"), "ns", &n.to_string());
        (0..count).map(|n| (key(n), object(n))).collect()
    }

    fn text(count: usize) -> Vec<u8> {
        parts(Revision(7), objects(count)).flatten().collect()
    }

    #[test]
    fn what_was_written_is_read_again() {
        for count in [0, 1, 300] {
            let backup = Backup::read(&*text(count)).unwrap();
            assert_eq!((backup.revision, backup.len()), (Revision(7), count));
            for ((key, object), (other, found)) in objects(count).into_iter().zip(&backup.objects) {
                assert_eq!((&key, &**object), (other, found));
            }
        }
    }

    #[test]
    fn half_a_backup_is_none_and_neither_is_a_changed_one() {
        let whole = text(3);
        for end in 0..whole.len() - 1 {
            assert!(Backup::read(&whole[..end]).is_err(), "cut at {end} of {}", whole.len());
        }
        let at = whole.len() / 2;
        let mut changed = whole;
        changed[at] ^= 1;
        assert!(matches!(Backup::read(&*changed), Err(BackupError::Checksum)));
    }

    #[test]
    fn a_restored_directory_goes_on_far_beyond_the_backup() {
        let dir = tempfile::tempdir().unwrap();
        let mut backup = Backup::read(&*text(2)).unwrap();
        backup.change(|object| object["metadata"]["name"] == "1");
        backup.restore(dir.path()).unwrap();
        assert!(matches!(backup.restore(dir.path()), Err(JournalError::Exists { .. })));
        let mut store = crate::store::Store::default();
        let _log = journal::open(dir.path(), &mut store).unwrap();
        let things = Resource::new("x.io", "things");
        assert_eq!(store.revision(), Revision(7 + LEAP));
        assert!(store.events_after(&things, Revision(7), store.revision()).is_err());
        let changed = store.get(&Key::new(&things, "ns", "1")).unwrap();
        assert_eq!(changed["metadata"]["resourceVersion"], store.revision().to_string());
    }
}
