//! The manifests that `join` and `broker` apply, embedded from `deploy/manifests`.
//!
//! They are plain YAML with `${NAME}` in a few places, so that they can be read, and applied by hand with `envsubst`. The
//! CustomResourceDefinitions come from the types themselves.

use serde_json::Value;

/// A value for a `${NAME}` in a manifest.
pub type Variable<'a> = (&'a str, &'a str);

/// What a member cluster runs, in the order in which it is applied. Needs `IMAGE`.
pub const MEMBER: [(&str, &str); 5] = [
    ("namespace.yaml", include_str!("../../deploy/manifests/namespace.yaml")),
    ("rbac.yaml", include_str!("../../deploy/manifests/rbac.yaml")),
    (
        "route-agent.yaml",
        include_str!("../../deploy/manifests/route-agent.yaml"),
    ),
    (
        "gateway-agent.yaml",
        include_str!("../../deploy/manifests/gateway-agent.yaml"),
    ),
    (
        "lighthouse-dns.yaml",
        include_str!("../../deploy/manifests/lighthouse-dns.yaml"),
    ),
];

/// What every member may read on the broker.
pub const BROKER: (&str, &str) = ("broker.yaml", include_str!("../../deploy/manifests/broker.yaml"));

/// One member's room on the broker. Needs `CLUSTER_ID`.
pub const BROKER_MEMBER: (&str, &str) = (
    "broker-member.yaml",
    include_str!("../../deploy/manifests/broker-member.yaml"),
);

/// Why a manifest cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    /// A `${NAME}` without a value.
    #[error("{file}: no value is known for ${{{name}}}")]
    UnknownVariable {
        /// The manifest.
        file: String,
        /// The variable.
        name: String,
    },
    /// The result is no YAML.
    #[error("{file}: {why}")]
    Malformed {
        /// The manifest.
        file: String,
        /// What the parser says.
        why: String,
    },
}

/// Fills the variables in and reads the documents.
///
/// # Errors
/// Names the manifest and the variable without a value, or what is wrong with the YAML.
pub fn render((file, template): (&str, &str), variables: &[Variable<'_>]) -> Result<Vec<Value>, RenderError> {
    let text = substitute(file, template, variables)?;
    serde_saphyr::from_multiple(&text).map_err(|error| RenderError::Malformed {
        file: file.to_owned(),
        why: error.to_string(),
    })
}

fn substitute(file: &str, template: &str, variables: &[Variable<'_>]) -> Result<String, RenderError> {
    let mut text = String::with_capacity(template.len());
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("${") {
        let (name, after) = after.split_once('}').unwrap_or((after, ""));
        let unknown = || RenderError::UnknownVariable {
            file: file.to_owned(),
            name: name.to_owned(),
        };
        let (_, value) = variables.iter().find(|(known, _)| *known == name).ok_or_else(unknown)?;
        text.push_str(before);
        text.push_str(value);
        rest = after;
    }
    text.push_str(rest);
    Ok(text)
}

/// The image that this build's manifests name unless told otherwise.
pub fn default_image() -> String {
    format!("tombolo/tombolo:{}", env!("CARGO_PKG_VERSION"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member() -> Vec<Value> {
        MEMBER
            .iter()
            .flat_map(|manifest| render(*manifest, &[("IMAGE", "tombolo/tombolo:test")]).unwrap())
            .collect()
    }

    fn workloads() -> Vec<Value> {
        let mut all = member();
        all.retain(|object| object["kind"] == "DaemonSet" || object["kind"] == "Deployment");
        all
    }

    fn container(workload: &Value) -> &Value {
        &workload["spec"]["template"]["spec"]["containers"][0]
    }

    #[test]
    fn every_container_has_exactly_these_capabilities() {
        let expected = [
            ("tombolo-route-agent", vec!["NET_ADMIN"]),
            ("tombolo-gateway-agent", vec!["BPF", "NET_ADMIN"]),
            ("tombolo-lighthouse-dns", vec!["NET_BIND_SERVICE"]),
        ];
        let found: Vec<(String, Value)> = workloads()
            .iter()
            .map(|workload| {
                let security = &container(workload)["securityContext"];
                assert_eq!(security["capabilities"]["drop"], serde_json::json!(["ALL"]));
                assert_eq!(security["allowPrivilegeEscalation"], false);
                assert_eq!(security.get("privileged"), None);
                let name = workload["metadata"]["name"].as_str().unwrap().to_owned();
                (name, security["capabilities"]["add"].clone())
            })
            .collect();
        let expected: Vec<(String, Value)> = expected.into_iter().map(|(n, c)| (n.to_owned(), c.into())).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn every_container_is_the_image_with_its_own_command_and_knows_where_it_is() {
        for workload in workloads() {
            let name = workload["metadata"]["name"].as_str().unwrap();
            let container = container(&workload);
            assert_eq!(container["image"], "tombolo/tombolo:test");
            assert_eq!(
                container["command"],
                serde_json::json!([format!("/usr/local/bin/{name}")])
            );
            let env: Vec<&str> = container["env"]
                .as_array()
                .unwrap()
                .iter()
                .map(|variable| variable["name"].as_str().unwrap())
                .collect();
            assert!(
                env.starts_with(&["NODE_NAME", "POD_NAMESPACE", "POD_IP"]),
                "{name}: {env:?}"
            );
            assert!(container["readinessProbe"]["httpGet"]["port"].is_number(), "{name}");
        }
    }

    #[test]
    fn host_network_pods_are_probed_on_the_loopback() {
        for workload in workloads() {
            let on_host = workload["spec"]["template"]["spec"]["hostNetwork"] == true;
            let probed = &container(&workload)["readinessProbe"]["httpGet"]["host"];
            assert_eq!(on_host, probed == "127.0.0.1", "{}", workload["metadata"]["name"]);
        }
    }

    #[test]
    fn no_role_grants_everything_of_anything() {
        for object in member() {
            for rule in object["rules"].as_array().into_iter().flatten() {
                assert!(
                    !rule.to_string().contains("\"*\""),
                    "{}: {rule}",
                    object["metadata"]["name"]
                );
            }
        }
    }

    #[test]
    fn secrets_are_granted_by_name_only() {
        let mut broker = render(BROKER_MEMBER, &[("CLUSTER_ID", "east")]).unwrap();
        broker.extend(member());
        let rules = broker
            .iter()
            .flat_map(|object| object["rules"].as_array().into_iter().flatten());
        let secret_rules: Vec<&Value> = rules
            .filter(|rule| rule["resources"].to_string().contains("secrets"))
            .collect();
        assert_eq!(secret_rules.len(), 2);
        for rule in secret_rules {
            assert!(
                rule["resourceNames"].as_array().is_some_and(|names| names.len() == 1),
                "{rule}"
            );
        }
    }

    #[test]
    fn a_variable_without_a_value_is_named() {
        let error = render(("x.yaml", "a: ${WHAT}"), &[]).unwrap_err();
        assert_eq!(error.to_string(), "x.yaml: no value is known for ${WHAT}");
        assert!(render(("x.yaml", "a: [${OPEN"), &[]).is_err());
    }
}
