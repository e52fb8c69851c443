//! The ConfigMaps and Secrets that a pod is made from.

use std::collections::BTreeMap;

use anyhow::Context;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use kube::{Api, Client, ResourceExt};

/// Those that there are. Whether one may be missing is for who asks to know.
#[derive(Debug, Clone, Default)]
pub(super) struct Sources {
    config_maps: BTreeMap<String, ConfigMap>,
    secrets: BTreeMap<String, Secret>,
}

impl Sources {
    /// Reads what the pod refers to.
    ///
    /// # Errors
    /// When the API server does not answer; an object that is not there is none.
    pub(super) async fn read(client: &Client, pod: &Pod) -> anyhow::Result<Self> {
        let (config_maps, secrets) = references(pod);
        let namespace = pod.namespace().unwrap_or_default();
        let mut sources = Self::default();
        let api: Api<ConfigMap> = Api::namespaced(client.clone(), &namespace);
        for name in config_maps {
            let found = api
                .get_opt(&name)
                .await
                .with_context(|| format!("cannot read the ConfigMap '{name}'"))?;
            sources.config_maps.extend(found.map(|object| (name, object)));
        }
        let api: Api<Secret> = Api::namespaced(client.clone(), &namespace);
        for name in secrets {
            let found = api
                .get_opt(&name)
                .await
                .with_context(|| format!("cannot read the Secret '{name}'"))?;
            sources.secrets.extend(found.map(|object| (name, object)));
        }
        Ok(sources)
    }

    /// A ConfigMap by name.
    ///
    /// # Errors
    /// When it is missing and must not be.
    pub(super) fn config_map(&self, name: &str, optional: Option<bool>) -> anyhow::Result<Option<&ConfigMap>> {
        let found = self.config_maps.get(name);
        anyhow::ensure!(
            found.is_some() || optional == Some(true),
            "there is no ConfigMap '{name}' in the pod's namespace"
        );
        Ok(found)
    }

    /// A Secret by name.
    ///
    /// # Errors
    /// When it is missing and must not be.
    pub(super) fn secret(&self, name: &str, optional: Option<bool>) -> anyhow::Result<Option<&Secret>> {
        let found = self.secrets.get(name);
        anyhow::ensure!(
            found.is_some() || optional == Some(true),
            "there is no Secret '{name}' in the pod's namespace"
        );
        Ok(found)
    }

    /// The files that a ConfigMap is.
    pub(super) fn files_of(object: &ConfigMap) -> BTreeMap<String, Vec<u8>> {
        let text = object
            .data
            .iter()
            .flatten()
            .map(|(key, value)| (key.clone(), value.clone().into_bytes()));
        let bytes = object
            .binary_data
            .iter()
            .flatten()
            .map(|(key, value)| (key.clone(), value.0.clone()));
        text.chain(bytes).collect()
    }

    /// The files that a Secret is.
    pub(super) fn files_of_secret(object: &Secret) -> BTreeMap<String, Vec<u8>> {
        object
            .data
            .iter()
            .flatten()
            .map(|(key, ByteString(value))| (key.clone(), value.clone()))
            .collect()
    }

    /// The variables that a ConfigMap is.
    pub(super) fn text_of(object: &ConfigMap) -> BTreeMap<String, String> {
        object.data.clone().unwrap_or_default()
    }

    /// The variables that a Secret is.
    pub(super) fn text_of_secret(object: &Secret) -> BTreeMap<String, String> {
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Self::files_of_secret(object)
            .into_iter()
            .map(|(key, value)| (key, text(value)))
            .collect()
    }
}

/// The names of the ConfigMaps and of the Secrets.
fn references(pod: &Pod) -> (Vec<String>, Vec<String>) {
    let (mut config_maps, mut secrets) = (Vec::new(), Vec::new());
    let Some(spec) = &pod.spec else {
        return (config_maps, secrets);
    };
    for volume in super::volume::volumes(pod) {
        config_maps.extend(volume.config_map.as_ref().map(|source| source.name.clone()));
        secrets.extend(volume.secret.as_ref().and_then(|source| source.secret_name.clone()));
        let projected = volume
            .projected
            .iter()
            .flat_map(|projected| projected.sources.iter().flatten());
        for source in projected {
            config_maps.extend(source.config_map.as_ref().map(|source| source.name.clone()));
            secrets.extend(source.secret.as_ref().map(|source| source.name.clone()));
        }
    }
    for container in &spec.containers {
        for from in container.env_from.iter().flatten() {
            config_maps.extend(from.config_map_ref.as_ref().map(|source| source.name.clone()));
            secrets.extend(from.secret_ref.as_ref().map(|source| source.name.clone()));
        }
        for source in container
            .env
            .iter()
            .flatten()
            .filter_map(|variable| variable.value_from.as_ref())
        {
            config_maps.extend(source.config_map_key_ref.as_ref().map(|key| key.name.clone()));
            secrets.extend(source.secret_key_ref.as_ref().map(|key| key.name.clone()));
        }
    }
    config_maps.sort();
    config_maps.dedup();
    secrets.sort();
    secrets.dedup();
    (config_maps, secrets)
}
