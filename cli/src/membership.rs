//! What this cluster knows of its own membership: the Secret that `join` wrote.

use std::collections::BTreeMap;

use anyhow::{Context, anyhow};
use k8s_openapi::api::core::v1::Secret;
use k8s_runtime::Find;
use k8s_runtime::ServerAddress;
use kube::Api;
use model::ClusterId;
use model::names::{BROKER_SECRET, SYSTEM_NAMESPACE};
use serde_json::{Value, json};

use crate::connect::{self, Connection};

/// A way to the broker, as a member.
#[derive(Clone, PartialEq, Eq)]
pub struct Membership {
    /// Where the broker is.
    pub url: String,
    /// Its CA certificates (PEM); empty where the system trusts it.
    pub ca: String,
    /// The name in its certificate, where that is not the URL's host.
    pub tls_server_name: String,
    /// Bearer token of ServiceAccount `member`.
    pub token: String,
    /// Our id.
    pub cluster_id: ClusterId,
    /// Incarnation of the broker that let us in.
    pub incarnation: String,
    /// When the token was issued and when it ends (RFC 3339), where that is known; the sync leader renews it at half life.
    pub token_life: Option<(String, String)>,
}

impl std::fmt::Debug for Membership {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Membership")
            .field("url", &self.url)
            .field("cluster_id", &self.cluster_id)
            .finish_non_exhaustive()
    }
}

impl Membership {
    /// Reads it; none where this cluster is no member.
    ///
    /// # Errors
    /// When the cluster does not answer, or the Secret is not what `join` writes.
    pub async fn read(cluster: &Connection) -> anyhow::Result<Option<Self>> {
        let api: Api<Secret> = Api::namespaced(cluster.client.clone(), SYSTEM_NAMESPACE);
        let secret = api
            .find(BROKER_SECRET)
            .await
            .map_err(cluster.failed(format!("read Secret {SYSTEM_NAMESPACE}/{BROKER_SECRET}")))?;
        secret
            .map(|secret| {
                Self::from_secret(&secret).with_context(|| {
                    format!(
                        "Secret {SYSTEM_NAMESPACE}/{BROKER_SECRET} is damaged; delete it, then join with a new token \
                         (tombolo broker invite <cluster-id> --again)"
                    )
                })
            })
            .transpose()
    }

    fn from_secret(secret: &Secret) -> anyhow::Result<Self> {
        let data = secret.data.clone().unwrap_or_default();
        Ok(Self {
            url: text(&data, "url")?,
            ca: text(&data, "ca.crt")?,
            tls_server_name: text(&data, "tlsServerName").unwrap_or_default(),
            token: text(&data, "token")?,
            cluster_id: text(&data, "clusterId")?.parse()?,
            incarnation: text(&data, "incarnation")?,
            token_life: text(&data, "tokenIssued").ok().zip(text(&data, "tokenExpires").ok()),
        })
    }

    /// The Secret to apply.
    pub fn secret(&self) -> Value {
        let mut data = json!({
            "url": self.url,
            "ca.crt": self.ca,
            "token": self.token,
            "clusterId": self.cluster_id,
            "incarnation": self.incarnation,
        });
        if !self.tls_server_name.is_empty() {
            data["tlsServerName"] = json!(self.tls_server_name);
        }
        if let Some((issued, expires)) = &self.token_life {
            data["tokenIssued"] = json!(issued);
            data["tokenExpires"] = json!(expires);
        }
        json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": { "name": BROKER_SECRET, "namespace": SYSTEM_NAMESPACE },
            "type": "Opaque",
            "stringData": data,
        })
    }

    /// Whether it is a membership in the same clusterset, under the same id. The CA tells brokers apart where there is one, because a
    /// broker may have several addresses.
    pub fn is_same(&self, url: &str, ca: &str, id: &ClusterId) -> bool {
        let same_broker = if ca.is_empty() || self.ca.is_empty() {
            self.url == url
        } else {
            self.ca.trim() == ca.trim()
        };
        same_broker && self.cluster_id == *id
    }

    /// A connection to the broker as this member.
    ///
    /// # Errors
    /// When the stored address or CA is malformed.
    pub fn connect(&self) -> anyhow::Result<Connection> {
        let server = ServerAddress {
            url: &self.url,
            ca: &self.ca,
            name: &self.tls_server_name,
        };
        connect::with_token(server, &self.token, "broker")
    }
}

fn text(data: &BTreeMap<String, k8s_openapi::ByteString>, key: &str) -> anyhow::Result<String> {
    let bytes = data.get(key).ok_or_else(|| anyhow!("its key {key} is missing"))?;
    String::from_utf8(bytes.0.clone()).map_err(|_| anyhow!("its key {key} is no text"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn membership() -> Membership {
        Membership {
            url: "https://192.0.2.1:6443".into(),
            ca: "PEM".into(),
            tls_server_name: "broker.example".into(),
            token: "hidden".into(),
            cluster_id: "east".parse().unwrap(),
            incarnation: "i".into(),
            token_life: Some(("2026-01-01T00:00:00Z".into(), "2026-01-31T00:00:00Z".into())),
        }
    }

    #[test]
    fn a_broker_is_known_by_its_ca_whatever_its_address() {
        let east = "east".parse().unwrap();
        assert!(membership().is_same("https://other:6443", "PEM\n", &east));
        assert!(!membership().is_same("https://192.0.2.1:6443", "OTHER", &east));
        assert!(!membership().is_same("https://192.0.2.1:6443", "PEM", &"west".parse().unwrap()));
        let publicly_trusted = Membership {
            ca: String::new(),
            ..membership()
        };
        assert!(publicly_trusted.is_same("https://192.0.2.1:6443", "", &east));
        assert!(!publicly_trusted.is_same("https://other", "", &east));
    }

    #[test]
    fn a_damaged_secret_names_the_key() {
        let error = Membership::from_secret(&Secret::default()).unwrap_err().to_string();
        assert_eq!(error, "its key url is missing");
    }

    #[test]
    fn what_join_writes_is_read_back() {
        let mut secret: Secret = serde_json::from_value(membership().secret()).unwrap();
        secret.data = secret.string_data.take().map(|data| {
            data.into_iter()
                .map(|(key, text)| (key, k8s_openapi::ByteString(text.into_bytes())))
                .collect()
        });
        assert_eq!(Membership::from_secret(&secret).unwrap(), membership());
    }
}
