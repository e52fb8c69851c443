//! What a pod can be told about itself, and the variables that come of it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use anyhow::{Context, bail};
use k8s_openapi::api::core::v1::{Container, EnvVar, EnvVarSource, Pod};
use kube::ResourceExt;

use super::sources::Sources;

/// A pod and where it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Facts<'a> {
    pub(super) pod: &'a Pod,
    pub(super) node: &'a str,
    pub(super) pod_addresses: &'a [IpAddr],
    pub(super) host_addresses: &'a [IpAddr],
    /// The address of the `kubernetes` Service, whose port is 443.
    pub(super) api: IpAddr,
}

impl Facts<'_> {
    /// The pod's host name.
    pub(super) fn hostname(&self) -> String {
        let spec = self.pod.spec.as_ref();
        if spec.and_then(|spec| spec.host_network) == Some(true) {
            return self.node.to_owned();
        }
        let name = spec
            .and_then(|spec| spec.hostname.clone())
            .unwrap_or_else(|| self.pod.name_any());
        // A host name is one label.
        name.chars()
            .take(63)
            .collect::<String>()
            .trim_end_matches(['-', '.'])
            .to_owned()
    }

    /// A field by its path, as `fieldRef` has it.
    pub(super) fn field(&self, path: &str) -> anyhow::Result<String> {
        let pod = self.pod;
        let join = |addresses: &[IpAddr]| addresses.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(",");
        Ok(match path {
            "metadata.name" => pod.name_any(),
            "metadata.namespace" => pod.namespace().unwrap_or_default(),
            "metadata.uid" => pod.uid().unwrap_or_default(),
            "metadata.labels" => listing(pod.labels()),
            "metadata.annotations" => listing(pod.annotations()),
            "spec.nodeName" => self.node.to_owned(),
            "spec.serviceAccountName" => service_account(pod).to_owned(),
            "status.podIP" => self.pod_addresses.first().map(IpAddr::to_string).unwrap_or_default(),
            "status.podIPs" => join(self.pod_addresses),
            "status.hostIP" => self.host_addresses.first().map(IpAddr::to_string).unwrap_or_default(),
            "status.hostIPs" => join(self.host_addresses),
            _ => match (
                subscript(path, "metadata.labels"),
                subscript(path, "metadata.annotations"),
            ) {
                (Some(key), _) => pod.labels().get(key).cloned().unwrap_or_default(),
                (_, Some(key)) => pod.annotations().get(key).cloned().unwrap_or_default(),
                _ => bail!("the lab's kubelet knows no field '{path}' for a fieldRef"),
            },
        })
    }

    /// All variables of a container, in the order in which later ones win.
    pub(super) fn environment(
        &self,
        container: &Container,
        sources: &Sources,
    ) -> anyhow::Result<BTreeMap<String, String>> {
        let is_root = runs_as_root(self.pod, container);
        let mut environment = BTreeMap::from([
            ("PATH".to_owned(), crate::container::DEFAULT_PATH.to_owned()),
            ("HOME".to_owned(), if is_root { "/root" } else { "/" }.to_owned()),
            ("HOSTNAME".to_owned(), self.hostname()),
            ("KUBERNETES_SERVICE_HOST".to_owned(), self.api.to_string()),
            ("KUBERNETES_SERVICE_PORT".to_owned(), "443".to_owned()),
            ("KUBERNETES_SERVICE_PORT_HTTPS".to_owned(), "443".to_owned()),
        ]);
        for from in container.env_from.iter().flatten() {
            let prefix = from.prefix.as_deref().unwrap_or_default();
            let values = if let Some(source) = &from.config_map_ref {
                sources.config_map(&source.name, source.optional)?.map(Sources::text_of)
            } else if let Some(source) = &from.secret_ref {
                sources
                    .secret(&source.name, source.optional)?
                    .map(Sources::text_of_secret)
            } else {
                None
            };
            environment.extend(
                values
                    .into_iter()
                    .flatten()
                    .map(|(key, value)| (format!("{prefix}{key}"), value)),
            );
        }
        for variable in container.env.iter().flatten() {
            if let Some(value) = self.value(variable, sources, &environment)? {
                environment.insert(variable.name.clone(), value);
            }
        }
        Ok(environment)
    }

    fn value(
        &self,
        variable: &EnvVar,
        sources: &Sources,
        before: &BTreeMap<String, String>,
    ) -> anyhow::Result<Option<String>> {
        let Some(source) = &variable.value_from else {
            return Ok(Some(expand(variable.value.as_deref().unwrap_or_default(), before)));
        };
        self.sourced(source, sources)
            .with_context(|| format!("cannot set the variable '{}'", variable.name))
    }

    fn sourced(&self, source: &EnvVarSource, sources: &Sources) -> anyhow::Result<Option<String>> {
        if let Some(field) = &source.field_ref {
            return self.field(&field.field_path).map(Some);
        }
        if let Some(key) = &source.config_map_key_ref {
            let object = sources.config_map(&key.name, key.optional)?;
            let value = object.and_then(|object| Sources::text_of(object).remove(&key.key));
            return required(value, key.optional, &key.key, &format!("ConfigMap '{}'", key.name));
        }
        if let Some(key) = &source.secret_key_ref {
            let object = sources.secret(&key.name, key.optional)?;
            let value = object.and_then(|object| Sources::text_of_secret(object).remove(&key.key));
            return required(value, key.optional, &key.key, &format!("Secret '{}'", key.name));
        }
        bail!("the lab's kubelet knows fieldRef, configMapKeyRef and secretKeyRef only")
    }
}

/// The pod's ServiceAccount.
pub(super) fn service_account(pod: &Pod) -> &str {
    pod.spec
        .as_ref()
        .and_then(|spec| spec.service_account_name.as_deref())
        .filter(|name| !name.is_empty())
        .unwrap_or("default")
}

/// Replaces `$(NAME)` by variables that are known; `$$(NAME)` stays as `$(NAME)`, and what is unknown stays as it is.
pub(super) fn expand(text: &str, variables: &BTreeMap<String, String>) -> String {
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        result.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let name = rest.strip_prefix('(').and_then(|inner| inner.split_once(')'));
        if let Some(escaped) = rest.strip_prefix('$') {
            result.push('$');
            rest = escaped;
        } else if let Some((value, after)) = name.and_then(|(name, after)| Some((variables.get(name)?, after))) {
            result.push_str(value);
            rest = after;
        } else {
            result.push('$');
        }
    }
    result + rest
}

fn runs_as_root(pod: &Pod, container: &Container) -> bool {
    super::security::privileges(pod, container).user == 0
}

fn required(value: Option<String>, optional: Option<bool>, key: &str, object: &str) -> anyhow::Result<Option<String>> {
    if value.is_none() && optional != Some(true) {
        bail!("the {object} has no key '{key}'");
    }
    Ok(value)
}

/// As the downward API lists labels in a file.
fn listing(values: &BTreeMap<String, String>) -> String {
    values.iter().map(|(key, value)| format!("{key}={value:?}\n")).collect()
}

/// The key in `metadata.labels['key']`.
fn subscript<'a>(path: &'a str, field: &str) -> Option<&'a str> {
    path.strip_prefix(field)?.strip_prefix("['")?.strip_suffix("']")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod() -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "cart-1", "namespace": "shop", "uid": "u", "labels": {"app.example/name": "cart"}},
            "spec": {"containers": [{"name": "c", "env": [
                {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                {"name": "WHERE", "value": "$(POD)@$(NODE) $$(POD) $(UNKNOWN)"},
                {"name": "LABEL", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app.example/name']"}}},
                {"name": "ADDRESSES", "valueFrom": {"fieldRef": {"fieldPath": "status.podIPs"}}},
                {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k", "optional": true}}},
            ]}]},
        }))
        .unwrap()
    }

    fn facts(pod: &Pod) -> Facts<'_> {
        const ADDRESSES: &[IpAddr] = &[
            IpAddr::V4(std::net::Ipv4Addr::new(10, 1, 0, 5)),
            IpAddr::V6(std::net::Ipv6Addr::LOCALHOST),
        ];
        Facts {
            pod,
            node: "gw1",
            pod_addresses: ADDRESSES,
            host_addresses: ADDRESSES,
            api: "10.2.0.1".parse().unwrap(),
        }
    }

    #[test]
    fn variables_come_from_fields_and_from_one_another() {
        let pod = pod();
        let container = &pod.spec.as_ref().unwrap().containers[0];
        let variables = facts(&pod).environment(container, &Sources::default()).unwrap();
        assert_eq!(variables["POD"], "cart-1");
        assert_eq!(variables["WHERE"], "cart-1@$(NODE) $(POD) $(UNKNOWN)");
        assert_eq!(variables["LABEL"], "cart");
        assert_eq!(variables["ADDRESSES"], "10.1.0.5,::1");
        assert_eq!(variables["HOSTNAME"], "cart-1");
        assert_eq!(variables["KUBERNETES_SERVICE_HOST"], "10.2.0.1");
        assert!(
            !variables.contains_key("KEY"),
            "what is optional and missing is left out"
        );
    }

    #[test]
    fn what_is_missing_and_not_optional_is_named() {
        let mut pod = pod();
        let env = pod.spec.as_mut().unwrap().containers[0].env.as_mut().unwrap();
        env[4]
            .value_from
            .as_mut()
            .unwrap()
            .secret_key_ref
            .as_mut()
            .unwrap()
            .optional = None;
        let container = &pod.spec.as_ref().unwrap().containers[0];
        let error = facts(&pod).environment(container, &Sources::default()).unwrap_err();
        assert!(format!("{error:#}").contains("Secret 's'"), "{error:#}");
        assert!(
            facts(&pod)
                .field("spec.secret")
                .unwrap_err()
                .to_string()
                .contains("spec.secret")
        );
    }
}
