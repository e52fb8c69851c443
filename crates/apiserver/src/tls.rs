//! The server's certificate, signed by a CA of its own that survives restarts.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    net::IpAddr,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use sha2::{Digest as _, Sha256};

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("{path}: {action} failed")]
    Io {
        path: PathBuf,
        action: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("cannot make a certificate for {what}")]
    Certificate {
        what: String,
        #[source]
        source: rcgen::Error,
    },
    #[error(
        "{path} does not hold a usable key or certificate; remove it to get a new CA (clients must then join again)"
    )]
    Damaged { path: PathBuf },
    #[error("the TLS library refuses the certificate")]
    Refused(#[source] rustls::Error),
}

/// A certificate for some names, and the CA that clients verify it by.
#[derive(Clone)]
pub struct ServerTls {
    ca_pem: String,
    ca_der: Vec<u8>,
    pub(crate) config: Arc<rustls::ServerConfig>,
}

impl std::fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerTls")
            .field("ca", &self.ca_fingerprint())
            .finish_non_exhaustive()
    }
}

impl ServerTls {
    /// Loads the CA from `dir` (`ca.crt`, `ca.key`), or creates it there, and signs a fresh certificate for these names and addresses.
    pub fn load_or_create(dir: &Path, names: &[String], ips: &[IpAddr]) -> Result<Self, TlsError> {
        let (certificate, key) = (dir.join("ca.crt"), dir.join("ca.key"));
        let io = |path: &Path, action| {
            let path = path.to_owned();
            move |source| TlsError::Io { path, action, source }
        };
        fs::create_dir_all(dir).map_err(io(dir, "creating the directory"))?;
        if !key.exists() || !certificate.exists() {
            let (ca_pem, key_pem) = create_ca()?;
            write_private(&key, &key_pem).map_err(io(&key, "writing the CA's key"))?;
            fs::write(&certificate, &ca_pem).map_err(io(&certificate, "writing the CA"))?;
        }
        let ca_pem = fs::read_to_string(&certificate).map_err(io(&certificate, "reading the CA"))?;
        let key_pem = fs::read_to_string(&key).map_err(io(&key, "reading the CA's key"))?;
        let ca_der = CertificateDer::from_pem_slice(ca_pem.as_bytes()).map_err(|_| TlsError::Damaged {
            path: certificate.clone(),
        })?;
        let ca_key = KeyPair::from_pem(&key_pem).map_err(|_| TlsError::Damaged { path: key.clone() })?;
        // The issuer only needs the name and key of the CA, and the name is always the same.
        let issuer = Issuer::new(ca_params(), ca_key);
        let (chain, server_key) = sign(&issuer, names, ips)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Refused)?
            .with_no_client_auth()
            .with_single_cert(vec![chain, ca_der.clone()], server_key)
            .map_err(TlsError::Refused)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self {
            ca_pem,
            ca_der: ca_der.to_vec(),
            config: Arc::new(config),
        })
    }

    /// The CA certificate, for kubeconfigs and tokens.
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// The SHA-256 of the CA certificate, in hexadecimal.
    pub fn ca_fingerprint(&self) -> String {
        Sha256::digest(&self.ca_der)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }
}

fn ca_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "kubernetes-ca");
    params.key_usages = vec![
        KeyUsagePurpose::KeyCertSign,
        KeyUsagePurpose::CrlSign,
        KeyUsagePurpose::DigitalSignature,
    ];
    params
}

fn create_ca() -> Result<(String, String), TlsError> {
    let failed = |source| TlsError::Certificate {
        what: "the CA".into(),
        source,
    };
    let key = KeyPair::generate().map_err(failed)?;
    let certificate = ca_params().self_signed(&key).map_err(failed)?;
    Ok((certificate.pem(), key.serialize_pem()))
}

fn sign(
    issuer: &Issuer<'_, KeyPair>,
    names: &[String],
    ips: &[IpAddr],
) -> Result<(CertificateDer<'static>, PrivateKeyDer<'static>), TlsError> {
    let failed = |source| TlsError::Certificate {
        what: names.join(", "),
        source,
    };
    let mut params = CertificateParams::new(names.to_vec()).map_err(failed)?;
    params
        .subject_alt_names
        .extend(ips.iter().map(|ip| SanType::IpAddress(*ip)));
    params.distinguished_name.push(DnType::CommonName, "kube-apiserver");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate().map_err(failed)?;
    let certificate = params.signed_by(&key, issuer).map_err(failed)?;
    let key = PrivateKeyDer::try_from(key.serialize_der()).map_err(|_| failed(rcgen::Error::CouldNotParseKeyPair))?;
    Ok((certificate.der().clone(), key))
}

fn write_private(path: &Path, text: &str) -> io::Result<()> {
    OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(path)?
        .write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ca_survives_a_restart_and_its_key_is_private() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let names = ["localhost".to_owned()];
        let first = ServerTls::load_or_create(dir.path(), &names, &["127.0.0.1".parse().unwrap()]).unwrap();
        let again = ServerTls::load_or_create(dir.path(), &names, &[]).unwrap();
        assert_eq!(first.ca_fingerprint(), again.ca_fingerprint());
        assert_eq!(first.ca_fingerprint().len(), 64);
        let mode = fs::metadata(dir.path().join("ca.key")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_damaged_ca_names_its_file() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("ca.crt"), "x").unwrap();
        fs::write(dir.path().join("ca.key"), "x").unwrap();
        let error = ServerTls::load_or_create(dir.path(), &[], &[]).unwrap_err().to_string();
        assert!(error.contains("ca.crt"), "{error}");
    }
}
