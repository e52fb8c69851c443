//! From a pod and where it is to what its containers are.

use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{Container, Pod};

use super::facts::{Facts, expand};
use super::security;
use super::sources::Sources;
use super::volume::{self, Places};
use crate::container::{Mount, Spec};
use crate::image;

/// Why a container cannot be: the reason and the message of its waiting state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) reason: &'static str,
    pub(super) message: String,
}

/// All that a specification is made from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Circumstances<'a> {
    pub(super) facts: Facts<'a>,
    pub(super) sources: &'a Sources,
    pub(super) places: Places<'a>,
    /// The name of the network namespace.
    pub(super) network_namespace: &'a str,
    /// The program that the lab is, beside which images' programs lie.
    pub(super) program: &'a Path,
}

/// What a container is.
pub(super) fn specification(container: &Container, around: Circumstances<'_>) -> Result<Spec, Refusal> {
    let Circumstances { facts, places, .. } = around;
    let reference = container.image.as_deref().unwrap_or_default();
    let image = image::find(reference, around.program).ok_or_else(|| Refusal {
        reason: "ErrImageNeverPull",
        message: format!("the lab has no image '{reference}', only {}", image::names().join(", ")),
    })?;
    let misconfigured = |error: anyhow::Error| Refusal {
        reason: "CreateContainerConfigError",
        message: format!("{error:#}"),
    };
    let environment = facts.environment(container, around.sources).map_err(misconfigured)?;
    let mut mounts = volume::mounts(facts.pod, container, places).map_err(misconfigured)?;
    for name in ["hosts", "hostname", "resolv.conf"] {
        let target = Path::new("/etc").join(name);
        mounts.push(Mount {
            source: places.pod.join(name),
            target,
            is_read_only: false,
        });
    }

    let words = |words: Option<&Vec<String>>| -> Vec<String> {
        words
            .into_iter()
            .flatten()
            .map(|word| expand(word, &environment))
            .collect()
    };
    let mut argv = words(container.command.as_ref());
    if argv.is_empty() {
        argv = image.entrypoint;
    }
    argv.extend(words(container.args.as_ref()));
    let security = container.security_context.as_ref();
    Ok(Spec {
        network_namespace: around.network_namespace.to_owned(),
        hostname: (!is_on_host(facts.pod)).then(|| facts.hostname()),
        root: places.pod.join("roots").join(&container.name),
        programs: image.programs,
        mounts,
        is_root_read_only: security.and_then(|security| security.read_only_root_filesystem) == Some(true),
        argv,
        environment,
        working_directory: PathBuf::from(container.working_dir.as_deref().unwrap_or("/")),
        privileges: security::privileges(facts.pod, container),
    })
}

/// The pod has no network of its own.
pub(super) fn is_on_host(pod: &Pod) -> bool {
    pod.spec.as_ref().and_then(|spec| spec.host_network) == Some(true)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn specify(container: &serde_json::Value) -> Result<Spec, Refusal> {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "p", "namespace": "shop"},
            "spec": {"automountServiceAccountToken": false, "containers": [container]},
        }))
        .unwrap();
        let facts = Facts {
            pod: &pod,
            node: "n",
            pod_addresses: &[],
            host_addresses: &[],
            api: "10.2.0.1".parse().unwrap(),
        };
        let places = Places {
            pod: Path::new("/p"),
            node_root: Path::new("/node"),
        };
        let around = Circumstances {
            facts,
            sources: &Sources::default(),
            places,
            network_namespace: "tl-x",
            program: Path::new("/b/tombolo"),
        };
        specification(&pod.spec.as_ref().unwrap().containers[0], around)
    }

    #[test]
    fn a_command_replaces_the_entrypoint_and_args_follow_either() {
        let plain = specify(
            &json!({"name": "c", "image": "lab/echo", "args": ["--port", "$(PORT)"], "env": [{"name": "PORT", "value": "9"}]}),
        );
        assert_eq!(
            plain.unwrap().argv,
            ["/usr/local/bin/tombolo", "lab", "echo", "--port", "9"]
        );
        let own = specify(&json!({"name": "c", "image": "lab/echo", "command": ["sleep"], "args": ["1"]})).unwrap();
        assert_eq!(own.argv, ["sleep", "1"]);
        assert_eq!(own.hostname.as_deref(), Some("p"));
    }

    #[test]
    fn an_unknown_image_is_refused_with_the_known_ones() {
        let refusal = specify(&json!({"name": "c", "image": "nginx"})).unwrap_err();
        assert_eq!(refusal.reason, "ErrImageNeverPull");
        assert!(refusal.message.contains("lab/echo"));
    }

    #[test]
    fn a_mount_without_its_volume_is_a_configuration_error() {
        let mounts = json!([{"name": "nowhere", "mountPath": "/x"}]);
        let refusal = specify(&json!({"name": "c", "image": "lab/echo", "volumeMounts": mounts})).unwrap_err();
        assert_eq!(refusal.reason, "CreateContainerConfigError");
        assert!(refusal.message.contains("nowhere"));
    }
}
