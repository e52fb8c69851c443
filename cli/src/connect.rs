//! Ways to an API server, and errors that name its address and why it did not answer.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, anyhow};
use clap::Args;
use k8s_runtime::ServerAddress;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

/// Which cluster a command speaks to.
#[derive(Debug, Clone, Default, Args)]
pub struct KubeTarget {
    /// Kubeconfig file [default: $KUBECONFIG, then ~/.kube/config, then the pod's own account]
    #[arg(long, global = true, value_name = "FILE", help_heading = "Cluster")]
    pub kubeconfig: Option<PathBuf>,
    /// Context in the kubeconfig [default: its current context]
    #[arg(long, global = true, value_name = "NAME", help_heading = "Cluster")]
    pub context: Option<String>,
}

/// An API server that a command speaks to.
#[derive(Clone)]
pub struct Connection {
    /// Its client.
    pub client: Client,
    /// Its URL.
    pub url: String,
    /// Its CA certificates (PEM), where the system's trust store does not know them.
    pub ca: String,
    /// The name in its certificate, where that is not the URL's host.
    pub tls_server_name: String,
    role: &'static str,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection")
            .field("role", &self.role)
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

impl KubeTarget {
    /// A connection by kubeconfig. `role` is what errors call the server, such as "cluster" or "broker".
    ///
    /// # Errors
    /// When no kubeconfig is found, or it does not say how to reach the server.
    pub async fn connect(&self, role: &'static str) -> anyhow::Result<Connection> {
        k8s_runtime::install_crypto_provider();
        let options = KubeConfigOptions {
            context: self.context.clone(),
            ..KubeConfigOptions::default()
        };
        let config = match &self.kubeconfig {
            Some(path) => {
                let file = Kubeconfig::read_from(path)
                    .with_context(|| format!("cannot read the {role}'s kubeconfig {}", path.display()))?;
                Config::from_custom_kubeconfig(file, &options).await
            }
            None if self.context.is_some() => Config::from_kubeconfig(&options).await,
            None => match Config::infer().await {
                Ok(config) => return connection(config, role),
                Err(_) => Config::from_kubeconfig(&options).await,
            },
        };
        let config = config.map_err(|error| {
            anyhow!("cannot tell where the {role} is: {error}. Set KUBECONFIG, or give --kubeconfig and --context")
        })?;
        connection(config, role)
    }
}

/// A connection with a bearer token, as members have to the broker.
///
/// # Errors
/// When the URL or the CA is malformed.
pub fn with_token(server: ServerAddress<'_>, token: &str, role: &'static str) -> anyhow::Result<Connection> {
    k8s_runtime::install_crypto_provider();
    let ServerAddress { url, ca, name } = server;
    let uri = url
        .parse()
        .map_err(|_| anyhow!("the {role}'s URL \"{url}\" is malformed; write https://HOST:PORT"))?;
    let mut config = Config::new(uri);
    if !ca.is_empty() {
        config.root_cert = Some(der_certificates(ca).with_context(|| format!("the {role}'s CA is malformed"))?);
    }
    config.tls_server_name = (!name.is_empty()).then(|| name.to_owned());
    config.auth_info.token = Some(token.to_owned().into());
    connection(config, role)
}

fn connection(mut config: Config, role: &'static str) -> anyhow::Result<Connection> {
    // kube retries for minutes and reads for ever unless told otherwise.
    config.default_retry = false;
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    config.read_timeout = Some(READ_TIMEOUT);
    config.reset_reader_on_write = true;
    let url = config.cluster_url.to_string().trim_end_matches('/').to_owned();
    let ca = config
        .root_cert
        .iter()
        .flatten()
        .map(|der| pem_certificate(der))
        .collect();
    let tls_server_name = config.tls_server_name.clone().unwrap_or_default();
    let client = Client::try_from(config).map_err(|error| anyhow!("cannot speak to the {role} at {url}: {error}"))?;
    Ok(Connection {
        client,
        url,
        ca,
        tls_server_name,
        role,
    })
}

impl Connection {
    /// A connection over a client that exists already, such as an in-process one.
    pub fn over(client: Client, url: impl Into<String>, ca: impl Into<String>, role: &'static str) -> Self {
        Self {
            client,
            url: url.into(),
            ca: ca.into(),
            tls_server_name: String::new(),
            role,
        }
    }

    /// Turns a client error into one for a person: what was tried, with which server, why it failed.
    pub fn failed(&self, doing: impl Into<String>) -> impl FnOnce(kube::Error) -> anyhow::Error {
        let (role, url, doing) = (self.role, self.url.clone(), doing.into());
        move |error| {
            let why = k8s_runtime::explain(&error);
            match &error {
                kube::Error::Api(_) => anyhow!("cannot {doing} at the {role} {url}: {why}"),
                _ => anyhow!("cannot {doing}: the {role} {url} does not answer: {why}"),
            }
        }
    }
}

/// Whether the server answered that the credential is not (or no longer) valid.
pub fn is_unauthorized(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 401)
}

/// Whether the server answered that there is no such object, or no such kind.
pub fn is_not_found(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404)
}

fn der_certificates(pem: &str) -> anyhow::Result<Vec<Vec<u8>>> {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    let certificates = certificates.map_err(|error| anyhow!("{error}"))?;
    anyhow::ensure!(!certificates.is_empty(), "it holds no certificate");
    Ok(certificates.into_iter().map(|der| der.to_vec()).collect())
}

fn pem_certificate(der: &[u8]) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let lines: Vec<&str> = text
        .as_bytes()
        .chunks(64)
        .map(|line| std::str::from_utf8(line).expect("base64 is ASCII"))
        .collect();
    format!(
        "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
        lines.join("\n")
    )
}

/// SHA-256 of the first CA certificate, as hex; empty where there is none.
pub fn ca_fingerprint(pem: &str) -> String {
    use sha2::{Digest, Sha256};
    match der_certificates(pem) {
        Ok(certificates) => Sha256::digest(&certificates[0])
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect(),
        Err(_) => String::new(),
    }
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const READ_TIMEOUT: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_unreachable_server_is_named_with_its_address_and_why() {
        // Port 9 (discard) has no listener on the loopback.
        let broker = with_token(
            ServerAddress {
                url: "https://127.0.0.1:9",
                ..ServerAddress::default()
            },
            "x",
            "broker",
        )
        .unwrap();
        let error = broker.client.apiserver_version().await.unwrap_err();
        let text = broker.failed("redeem the token")(error).to_string();
        assert!(
            text.contains("https://127.0.0.1:9") && text.contains("refused"),
            "{text}"
        );
        assert!(text.starts_with("cannot redeem the token: the broker https"), "{text}");
    }

    #[test]
    fn malformed_addresses_and_cas_are_refused() {
        let at = |url, ca| ServerAddress { url, ca, name: "" };
        assert!(
            with_token(at("not a url", ""), "x", "broker")
                .unwrap_err()
                .to_string()
                .contains("https://HOST:PORT")
        );
        assert!(with_token(at("https://h:1", "no pem"), "x", "broker").is_err());
    }

    #[test]
    fn a_certificate_survives_the_way_through_pem() {
        let der = vec![7u8; 100];
        assert_eq!(der_certificates(&pem_certificate(&der)).unwrap(), vec![der]);
    }
}
