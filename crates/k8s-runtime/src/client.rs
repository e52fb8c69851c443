use std::path::{Path, PathBuf};
use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

/// Which API server to speak to.
#[derive(Debug, Clone, Default)]
pub struct ClientOptions {
    /// A kubeconfig. Without one: the pod's own account inside a cluster, else `$KUBECONFIG` or `~/.kube/config`.
    pub kubeconfig: Option<PathBuf>,
    /// A context of the kubeconfig other than its current one.
    pub context: Option<String>,
}

/// Where an API server is, and what to know it by.
#[derive(Debug, Clone, Copy, Default)]
pub struct ServerAddress<'a> {
    /// `https://HOST:PORT`.
    pub url: &'a str,
    /// Its CA certificates (PEM); empty to trust what the system trusts.
    pub ca: &'a str,
    /// The name or address in its certificate, where that is not the URL's host; a kubeconfig's `tls-server-name`.
    pub name: &'a str,
}

/// Why there is no client. The server itself was not asked yet.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The kubeconfig cannot be used.
    #[error("the kubeconfig {} cannot be used: check the file and its context", path.display())]
    Kubeconfig {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: kube::config::KubeconfigError,
    },
    /// Nothing says where the API server is.
    #[error("nothing says where the API server is: run in a pod, set KUBECONFIG, or give --kubeconfig")]
    Nowhere(#[source] kube::config::InferConfigError),
    /// The pod's account is incomplete.
    #[error("the pod's service account cannot be used: is its token mounted?")]
    InCluster(#[source] kube::config::InClusterError),
    /// The URL is none.
    #[error("the API server's URL \"{url}\" is malformed: write https://HOST:PORT")]
    Url {
        /// As given.
        url: String,
        /// Why.
        #[source]
        source: http::uri::InvalidUri,
    },
    /// The CA is none.
    #[error("the CA of {url} is malformed: it must be certificates in PEM")]
    Ca {
        /// The server.
        url: String,
    },
    /// TLS or the credentials cannot be set up.
    #[error("cannot set up a connection to {url}: check the CA and the credentials")]
    SetUp {
        /// The server.
        url: String,
        /// Why.
        #[source]
        source: Box<kube::Error>,
    },
}

/// A client by kubeconfig or by the pod's own account. It does not connect yet.
///
/// # Errors
/// When nothing usable says where the server is and who we are.
pub async fn client(options: &ClientOptions) -> Result<Client, ConnectError> {
    let config = match &options.kubeconfig {
        Some(path) => from_file(path, options.context.clone()).await?,
        None if std::env::var_os("KUBERNETES_SERVICE_HOST").is_some() => {
            Config::incluster().map_err(ConnectError::InCluster)?
        }
        None => Config::infer().await.map_err(ConnectError::Nowhere)?,
    };
    from_config(config)
}

/// A client of a server with a bearer token.
///
/// # Errors
/// When one of them is malformed; the message says which.
pub fn client_for(server: ServerAddress<'_>, token: &str) -> Result<Client, ConnectError> {
    let ServerAddress { url, ca, name } = server;
    let parsed = url.parse().map_err(|source| ConnectError::Url {
        url: url.to_owned(),
        source,
    })?;
    let mut config = Config::new(parsed);
    if !ca.trim().is_empty() {
        config.root_cert = Some(certificates(ca).ok_or_else(|| ConnectError::Ca { url: url.to_owned() })?);
    }
    config.tls_server_name = (!name.is_empty()).then(|| name.to_owned());
    config.auth_info.token = Some(token.to_owned().into());
    from_config(config)
}

/// Makes ring the process's TLS provider. Every client does it; a process that uses TLS otherwise may do it earlier.
pub fn install_crypto_provider() {
    // It fails only where there is one already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

async fn from_file(path: &Path, context: Option<String>) -> Result<Config, ConnectError> {
    let fail = |source| ConnectError::Kubeconfig {
        path: path.to_owned(),
        source,
    };
    let file = Kubeconfig::read_from(path).map_err(fail)?;
    let options = KubeConfigOptions {
        context,
        ..KubeConfigOptions::default()
    };
    Config::from_custom_kubeconfig(file, &options).await.map_err(fail)
}

fn from_config(mut config: Config) -> Result<Client, ConnectError> {
    install_crypto_provider();
    // Left alone, kube retries for a quarter of an hour and reads for ever. Whoever needs another try decides so itself.
    config.default_retry = false;
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    config.read_timeout = Some(READ_TIMEOUT);
    config.reset_reader_on_write = true;
    let url = config.cluster_url.to_string();
    Client::try_from(config).map_err(|source| ConnectError::SetUp {
        url,
        source: Box::new(source),
    })
}

fn certificates(pem: &str) -> Option<Vec<Vec<u8>>> {
    let certificates: Vec<Vec<u8>> = CertificateDer::pem_slice_iter(pem.as_bytes())
        .map(|certificate| certificate.map(|der| der.as_ref().to_vec()))
        .collect::<Result<_, _>>()
        .ok()?;
    (!certificates.is_empty()).then_some(certificates)
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Longer than a watch lasts ([`crate::watched`]), so that a quiet watch is not taken for a dead connection.
const READ_TIMEOUT: Duration = Duration::from_secs(45);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn malformed_parameters_are_named() {
        let at = |url, ca| client_for(ServerAddress { url, ca, name: "" }, "t");
        let error = at("https://exa mple", "").err().unwrap().to_string();
        assert!(
            error.contains("exa mple") && error.contains("https://HOST:PORT"),
            "{error}"
        );
        let error = at("https://broker:6443", "no pem").err().unwrap().to_string();
        assert!(
            error.contains("https://broker:6443") && error.contains("PEM"),
            "{error}"
        );
        let options = ClientOptions {
            kubeconfig: Some("/nonexistent/kubeconfig".into()),
            context: None,
        };
        let error = client(&options).await.err().unwrap().to_string();
        assert!(error.contains("/nonexistent/kubeconfig"), "{error}");
    }

    #[tokio::test]
    async fn a_refused_connection_fails_soon_and_says_so() {
        // A port that was free a moment ago.
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let url = format!("http://127.0.0.1:{port}");
        let server = ServerAddress {
            url: &url,
            ..ServerAddress::default()
        };
        let client = client_for(server, "t").unwrap();
        let asked = tokio::time::timeout(Duration::from_secs(10), client.apiserver_version());
        let error = asked.await.expect("an answer within 10 s").unwrap_err();
        assert!(
            crate::explain(&error).contains("connection refused"),
            "{}",
            crate::explain(&error)
        );
    }
}
