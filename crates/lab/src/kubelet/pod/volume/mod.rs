//! The volumes of a pod: what they hold, where they lie on the machine, and where containers see them.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};
use std::{fs, io};

use anyhow::{Context, bail, ensure};
use k8s_openapi::api::core::v1::{
    Container, DownwardAPIVolumeFile, HostPathVolumeSource, KeyToPath, Pod, ProjectedVolumeSource, Volume, VolumeMount,
};
use serde_json::json;

use super::facts::Facts;
use super::sources::Sources;
use super::token::Tokens;
use crate::container::Mount;

/// What volumes are made from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Contents<'a> {
    pub(super) facts: Facts<'a>,
    pub(super) sources: &'a Sources,
    pub(super) tokens: &'a Tokens,
}

/// Where volumes lie.
#[derive(Debug, Clone, Copy)]
pub(super) struct Places<'a> {
    /// The pod's own directory.
    pub(super) pod: &'a Path,
    /// What the pod sees of the node's file system.
    pub(super) node_root: &'a Path,
}

/// A file in a volume: what it holds, and its permissions.
type Files = BTreeMap<PathBuf, (Vec<u8>, u32)>;

/// The pod's volumes, with the one that admission adds for the service account's token.
pub(super) fn volumes(pod: &Pod) -> Vec<Volume> {
    let mut volumes = pod
        .spec
        .as_ref()
        .and_then(|spec| spec.volumes.clone())
        .unwrap_or_default();
    if has_token(pod) {
        volumes.push(token_volume());
    }
    volumes
}

/// Makes every volume, or brings what is in it up to date.
///
/// # Errors
/// When something that it is made from is missing, or the machine's file system refuses.
pub(super) fn write_all(contents: Contents<'_>, places: Places<'_>) -> anyhow::Result<()> {
    for volume in volumes(contents.facts.pod) {
        write(&volume, contents, places).with_context(|| format!("cannot make the volume '{}'", volume.name))?;
    }
    Ok(())
}

/// What of the volumes a container sees.
///
/// # Errors
/// When it mounts a volume that the pod does not have.
pub(super) fn mounts(pod: &Pod, container: &Container, places: Places<'_>) -> anyhow::Result<Vec<Mount>> {
    let volumes = volumes(pod);
    let mut wanted = container.volume_mounts.clone().unwrap_or_default();
    if has_token(pod) && !wanted.iter().any(|mount| mount.mount_path == TOKEN_DIRECTORY) {
        let name = TOKEN_VOLUME.to_owned();
        wanted.push(VolumeMount {
            name,
            mount_path: TOKEN_DIRECTORY.to_owned(),
            ..VolumeMount::default()
        });
    }
    let mut mounts = Vec::new();
    for mount in wanted {
        let volume = volumes.iter().find(|volume| volume.name == mount.name);
        let volume = volume.with_context(|| format!("the pod has no volume '{}'", mount.name))?;
        let mut source = place(volume, places)?;
        if let Some(part) = mount.sub_path.as_deref().filter(|part| !part.is_empty()) {
            source.push(inner(Path::new(part))?);
            if !source.exists() {
                fs::create_dir_all(&source).with_context(|| format!("cannot make the subPath '{part}'"))?;
            }
        }
        let is_read_only = mount.read_only == Some(true) || is_projection(volume);
        mounts.push(Mount {
            source,
            target: PathBuf::from(mount.mount_path),
            is_read_only,
        });
    }
    // What lies within another comes after it.
    mounts.sort_by(|one, other| one.target.cmp(&other.target));
    Ok(mounts)
}

fn write(volume: &Volume, contents: Contents<'_>, places: Places<'_>) -> anyhow::Result<()> {
    let place = place(volume, places)?;
    if let Some(source) = &volume.host_path {
        return make_host_path(source, &place);
    }
    fs::create_dir_all(&place).with_context(|| format!("cannot make {}", place.display()))?;
    if volume.empty_dir.is_some() {
        return fs::set_permissions(&place, fs::Permissions::from_mode(0o1777)).context("cannot open it to all users");
    }
    write_files(&place, &files(volume, contents)?)
}

/// Where a volume lies on the machine.
fn place(volume: &Volume, places: Places<'_>) -> anyhow::Result<PathBuf> {
    let Some(source) = &volume.host_path else {
        return Ok(places.pod.join("volumes").join(&volume.name));
    };
    let path = Path::new(&source.path);
    let path_in_root = inner(path.strip_prefix("/").unwrap_or(path))?;
    // A node shares the machine's kernel and distribution; all other files are its own.
    let is_shared = OF_THE_MACHINE.iter().any(|shared| path.starts_with(shared));
    Ok(if is_shared {
        path.to_owned()
    } else {
        places.node_root.join(path_in_root)
    })
}

fn make_host_path(source: &HostPathVolumeSource, place: &Path) -> anyhow::Result<()> {
    let found = fs::metadata(place).map(|metadata| metadata.is_dir());
    let made = match (source.type_.as_deref().unwrap_or_default(), found) {
        ("Directory" | "DirectoryOrCreate", Ok(false)) => bail!("'{}' on the node is no directory", source.path),
        ("File" | "FileOrCreate", Ok(true)) => bail!("'{}' on the node is a directory, not a file", source.path),
        (_, Ok(_)) => Ok(()),
        // Container runtimes make a directory where the API asks for nothing in particular.
        ("" | "DirectoryOrCreate", Err(_)) => fs::create_dir_all(place),
        ("FileOrCreate", Err(_)) => {
            let parent = place.parent().unwrap_or(Path::new("/"));
            fs::create_dir_all(parent).and_then(|()| fs::write(place, ""))
        }
        (kind, Err(_)) => bail!("there is no {kind} '{}' on the node", source.path),
    };
    made.with_context(|| format!("cannot make '{}' on the node", source.path))
}

/// What a volume made from objects holds.
fn files(volume: &Volume, contents: Contents<'_>) -> anyhow::Result<Files> {
    let Contents { facts, sources, .. } = contents;
    if let Some(source) = &volume.config_map {
        let object = sources.config_map(&source.name, source.optional)?;
        let all = object.map(Sources::files_of).unwrap_or_default();
        return select(all, source.items.as_deref(), mode(source.default_mode));
    }
    if let Some(source) = &volume.secret {
        let name = source.secret_name.as_deref().unwrap_or_default();
        let all = sources
            .secret(name, source.optional)?
            .map(Sources::files_of_secret)
            .unwrap_or_default();
        return select(all, source.items.as_deref(), mode(source.default_mode));
    }
    if let Some(source) = &volume.downward_api {
        return downward(source.items.as_deref(), facts, mode(source.default_mode));
    }
    if let Some(source) = &volume.projected {
        return projected(&volume.name, source, contents);
    }
    bail!("the lab's kubelet knows hostPath, emptyDir, configMap, secret, downwardAPI and projected only")
}

fn projected(volume: &str, source: &ProjectedVolumeSource, contents: Contents<'_>) -> anyhow::Result<Files> {
    let Contents { facts, sources, tokens } = contents;
    let mode = mode(source.default_mode);
    let mut files = Files::new();
    for source in source.sources.iter().flatten() {
        if let Some(source) = &source.config_map {
            let all = sources
                .config_map(&source.name, source.optional)?
                .map(Sources::files_of)
                .unwrap_or_default();
            files.extend(select(all, source.items.as_deref(), mode)?);
        }
        if let Some(source) = &source.secret {
            let all = sources
                .secret(&source.name, source.optional)?
                .map(Sources::files_of_secret)
                .unwrap_or_default();
            files.extend(select(all, source.items.as_deref(), mode)?);
        }
        if let Some(source) = &source.downward_api {
            files.extend(downward(source.items.as_deref(), facts, mode)?);
        }
        if let Some(source) = &source.service_account_token {
            let token = tokens
                .text(volume, &source.path)
                .context("there is no token of the service account yet")?;
            files.insert(inner(Path::new(&source.path))?, (token.as_bytes().to_vec(), mode));
        }
    }
    Ok(files)
}

fn select(mut all: BTreeMap<String, Vec<u8>>, items: Option<&[KeyToPath]>, mode: u32) -> anyhow::Result<Files> {
    let Some(items) = items else {
        return Ok(all
            .into_iter()
            .map(|(key, value)| (PathBuf::from(key), (value, mode)))
            .collect());
    };
    let mut files = Files::new();
    for item in items {
        let value = all
            .remove(&item.key)
            .with_context(|| format!("there is no key '{}' to put into it", item.key))?;
        files.insert(
            inner(Path::new(&item.path))?,
            (value, item.mode.map_or(mode, i32::cast_unsigned)),
        );
    }
    Ok(files)
}

fn downward(items: Option<&[DownwardAPIVolumeFile]>, facts: Facts<'_>, mode: u32) -> anyhow::Result<Files> {
    let mut files = Files::new();
    for item in items.unwrap_or_default() {
        let field = item
            .field_ref
            .as_ref()
            .context("the lab's kubelet knows fieldRef only in a downwardAPI volume")?;
        let value = facts.field(&field.field_path)?.into_bytes();
        files.insert(
            inner(Path::new(&item.path))?,
            (value, item.mode.map_or(mode, i32::cast_unsigned)),
        );
    }
    Ok(files)
}

/// Makes a directory hold these files, each replaced as a whole.
fn write_files(directory: &Path, files: &Files) -> anyhow::Result<()> {
    for (path, (contents, mode)) in files {
        let path = directory.join(path);
        let write = || -> io::Result<()> {
            fs::create_dir_all(path.parent().unwrap_or(directory))?;
            if fs::read(&path).is_ok_and(|current| current == *contents) {
                return Ok(());
            }
            let draft = path.with_extension("draft");
            fs::write(&draft, contents)?;
            fs::set_permissions(&draft, fs::Permissions::from_mode(*mode))?;
            fs::rename(&draft, &path)
        };
        write().with_context(|| format!("cannot write {}", path.display()))?;
    }
    let entries = fs::read_dir(directory).with_context(|| format!("cannot read {}", directory.display()))?;
    for entry in entries.flatten() {
        let is_wanted = files.keys().any(|path| path.starts_with(entry.file_name()));
        if !is_wanted && entry.path().is_file() {
            fs::remove_file(entry.path()).with_context(|| format!("cannot remove {}", entry.path().display()))?;
        }
    }
    Ok(())
}

/// A path that stays below where it starts.
fn inner(path: &Path) -> anyhow::Result<PathBuf> {
    let stays = path
        .components()
        .all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    ensure!(stays, "the path '{}' leads out of the volume", path.display());
    Ok(path.to_owned())
}

fn mode(mode: Option<i32>) -> u32 {
    mode.map_or(0o644, i32::cast_unsigned)
}

fn is_projection(volume: &Volume) -> bool {
    volume.config_map.is_some()
        || volume.secret.is_some()
        || volume.projected.is_some()
        || volume.downward_api.is_some()
}

/// A real API server's admission has put the volume into the pod already; the embedded one leaves it to the kubelet.
fn has_token(pod: &Pod) -> bool {
    let Some(spec) = &pod.spec else { return false };
    let is_mounted = |container: &Container| {
        container
            .volume_mounts
            .iter()
            .flatten()
            .any(|mount| mount.mount_path == TOKEN_DIRECTORY)
    };
    spec.automount_service_account_token != Some(false) && !spec.containers.iter().any(is_mounted)
}

/// As the admission plugin `ServiceAccount` writes it.
fn token_volume() -> Volume {
    serde_json::from_value(json!({
        "name": TOKEN_VOLUME,
        "projected": {"sources": [
            {"serviceAccountToken": {"path": "token", "expirationSeconds": 3607}},
            {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
            {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}]}},
        ]},
    }))
    .expect("it is a volume, as a test shows")
}

const TOKEN_VOLUME: &str = "kube-api-access";
const TOKEN_DIRECTORY: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const OF_THE_MACHINE: [&str; 5] = ["/dev", "/lib/modules", "/proc", "/sys", "/usr"];
