//! The way to the broker, as join left it in a Secret.

use std::fmt;

use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::jiff::Timestamp;
use k8s_runtime::ServerAddress;
use model::ClusterId;

/// Where the broker is and how we are known there.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Access {
    /// `https://host:port`.
    pub(super) url: String,
    /// Its CA certificates, PEM.
    pub(super) ca: String,
    /// The name in its certificate, where that is not the URL's host.
    pub(super) tls_server_name: String,
    /// Token of the ServiceAccount `member`.
    pub(super) token: String,
    /// When the token was issued and when it ends, if that was written down.
    pub(super) life: Option<(Timestamp, Timestamp)>,
}

/// The Secret does not tell how to reach the broker.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum AccessError {
    #[error("Secret tombolo-broker: {0} is missing; run `tombolo join` again with a new token")]
    Missing(&'static str),
    #[error("Secret tombolo-broker is of cluster {0}, not of {1}; run `tombolo leave` here, then `tombolo join`")]
    OtherCluster(String, ClusterId),
}

impl Access {
    /// Reads the Secret of `cluster`.
    pub(super) fn read(secret: &Secret, cluster: &ClusterId) -> Result<Self, AccessError> {
        let text = |key: &'static str| {
            let bytes = secret.data.as_ref()?.get(key)?;
            let text = String::from_utf8(bytes.0.clone()).ok()?;
            Some(text.trim().to_owned()).filter(|text| !text.is_empty())
        };
        let needed = |key: &'static str| text(key).ok_or(AccessError::Missing(key));
        let of = needed("clusterId")?;
        if of != cluster.as_str() {
            return Err(AccessError::OtherCluster(of, cluster.clone()));
        }
        let time = |key| text(key)?.parse::<Timestamp>().ok();
        Ok(Self {
            url: needed("url")?,
            ca: text("ca.crt").unwrap_or_default(),
            tls_server_name: text("tlsServerName").unwrap_or_default(),
            token: needed("token")?,
            life: time(TOKEN_ISSUED).zip(time(TOKEN_EXPIRES)),
        })
    }
}

impl Access {
    pub(super) fn server(&self) -> ServerAddress<'_> {
        ServerAddress {
            url: &self.url,
            ca: &self.ca,
            name: &self.tls_server_name,
        }
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access")
            .field("url", &self.url)
            .field("life", &self.life)
            .finish_non_exhaustive()
    }
}

/// Key of the Secret: when the token was issued (RFC 3339).
pub(super) const TOKEN_ISSUED: &str = "tokenIssued";
/// Key of the Secret: when the token ends (RFC 3339).
pub(super) const TOKEN_EXPIRES: &str = "tokenExpires";

#[cfg(test)]
mod tests {
    use k8s_openapi::ByteString;

    use super::*;

    fn secret(entries: &[(&str, &str)]) -> Secret {
        let data = entries
            .iter()
            .map(|(key, value)| ((*key).to_owned(), ByteString(value.as_bytes().to_vec())));
        Secret {
            data: Some(data.collect()),
            ..Secret::default()
        }
    }

    fn read(entries: &[(&str, &str)]) -> Result<Access, String> {
        Access::read(&secret(entries), &"east".parse().unwrap()).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_missing_is_named_with_the_mend() {
        let error = read(&[("clusterId", "east"), ("url", "https://b:6443")]).unwrap_err();
        assert!(
            error.contains("token is missing") && error.contains("tombolo join"),
            "{error}"
        );
        let error = read(&[("clusterId", "west")]).unwrap_err();
        assert!(error.contains("of cluster west, not of east"), "{error}");
    }

    #[test]
    fn the_life_of_the_token_is_known_only_whole() {
        let base = [("clusterId", "east"), ("url", "https://b:6443"), ("token", "t\n")];
        let access = read(&base).unwrap();
        assert_eq!((access.token.as_str(), access.life), ("t", None));
        assert_eq!(access.server().name, "");
        let named = read(&[&base[..], &[("tlsServerName", "broker.example")]].concat()).unwrap();
        assert_eq!(named.server().name, "broker.example");
        let issued = ("tokenIssued", "2026-01-01T00:00:00Z");
        assert_eq!(read(&[&base[..], &[issued]].concat()).unwrap().life, None);
        let expires = ("tokenExpires", "2026-01-31T00:00:00Z");
        assert!(read(&[&base[..], &[issued, expires]].concat()).unwrap().life.is_some());
    }

    #[test]
    fn the_token_is_never_printed() {
        let access = read(&[("clusterId", "east"), ("url", "https://b:6443"), ("token", "hush")]).unwrap();
        assert!(!format!("{access:?}").contains("hush"));
    }
}
