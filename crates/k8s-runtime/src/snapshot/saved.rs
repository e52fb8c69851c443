//! The last snapshot on disk.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use model::{ClusterId, ClusterState, Snapshot};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

#[derive(Serialize)]
struct Kept<'a> {
    format: u32,
    snapshot: &'a Snapshot,
}

#[derive(Deserialize)]
struct Found {
    format: u32,
    snapshot: serde_json::Value,
}

/// The snapshot at `path`, if there is one that this build can read and that is of this cluster.
pub(super) fn load(path: &Path, cluster: Option<&ClusterId>) -> Option<Snapshot> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "the saved snapshot cannot be read; waiting for the API server");
            return None;
        }
    };
    let found = serde_json::from_slice::<Found>(&text)
        .ok()
        .filter(|found| found.format == FORMAT);
    let snapshot = found.and_then(|found| serde_json::from_value::<Snapshot>(found.snapshot).ok());
    let Some(snapshot) = snapshot else {
        tracing::warn!(path = %path.display(), "the saved snapshot is of another build or damaged; waiting for the API server");
        return None;
    };
    cluster
        .is_none_or(|cluster| *cluster == snapshot.cluster)
        .then_some(snapshot)
}

/// Saves the newest snapshot until there will be no more: at most once a second, and less often if that takes long, because a large
/// one changes often. One of a cluster that leaves is not kept: if it
/// comes back, it comes to another clusterset.
pub(super) async fn keep(mut snapshots: watch::Receiver<Option<Arc<Snapshot>>>, path: PathBuf) {
    while snapshots.changed().await.is_ok() {
        let Some(snapshot) = snapshots.borrow_and_update().clone() else {
            continue;
        };
        let started = Instant::now();
        let to = path.clone();
        let is_leaving = snapshot.own().is_some_and(|own| own.state == ClusterState::Leaving);
        let work = move || if is_leaving { forget(&to) } else { save(&to, &snapshot) };
        match tokio::task::spawn_blocking(work).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(path = %path.display(), %error, "the snapshot cannot be saved; a restart will need the API server");
            }
            Err(error) => tracing::error!(%error, "saving the snapshot ended early"),
        }
        tokio::time::sleep((started.elapsed() * REST).clamp(SAVE_PAUSE, LONGEST_PAUSE)).await;
    }
}

/// Writes aside and renames into place: the path never holds half a snapshot.
pub(super) fn save(path: &Path, snapshot: &Snapshot) -> io::Result<()> {
    let aside = path.with_extension("new");
    // Left by a process that was killed here.
    forget(&aside)?;
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&aside)?;
    let mut writer = BufWriter::new(file);
    serde_json::to_writer(
        &mut writer,
        &Kept {
            format: FORMAT,
            snapshot,
        },
    )?;
    writer.flush()?;
    writer.get_ref().sync_all()?;
    fs::rename(&aside, path)?;
    match path.parent() {
        Some(directory) if !directory.as_os_str().is_empty() => File::open(directory)?.sync_all(),
        _ => Ok(()),
    }
}

fn forget(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Grows when a build can no longer read what an older one saved.
const FORMAT: u32 = 1;
const SAVE_PAUSE: Duration = Duration::from_secs(1);
/// A pause lasts so many times as long as the saving before it.
const REST: u32 = 50;
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_snapshot_reads_back_and_is_private() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("snapshot.json");
        let snapshot = Snapshot::empty("east".parse().unwrap());
        save(&path, &snapshot).unwrap();
        save(&path, &snapshot).unwrap();
        assert_eq!(load(&path, None), Some(snapshot.clone()));
        assert_eq!(load(&path, Some(&"east".parse().unwrap())), Some(snapshot));
        assert_eq!(load(&path, Some(&"west".parse().unwrap())), None);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn damage_and_other_formats_are_no_snapshot() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("snapshot.json");
        assert_eq!(load(&path, None), None);
        for text in [
            "",
            "{",
            "{\"format\":1,\"snapshot\":{}}",
            "{\"format\":99,\"snapshot\":{\"cluster\":\"east\"}}",
        ] {
            fs::write(&path, text).unwrap();
            assert_eq!(load(&path, None), None, "{text}");
        }
    }
}
