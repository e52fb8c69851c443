use std::fs;
use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use apiserver::{ApiServer, Config, ServerTls};
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use super::install::install;
use crate::connect::{Connection, ca_fingerprint};

/// Runs a broker: an embedded API server that keeps our kinds only, in one process and one folder.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tombolo broker serve --data-dir /var/lib/tombolo-broker --listen 192.0.2.1:6443
  tombolo broker serve --data-dir ./broker --listen 0.0.0.0:6443 --public-address broker.example.net

It writes a kubeconfig of the administrator to <data-dir>/admin.kubeconfig; the other broker commands take it by
--kubeconfig. Everything that was acknowledged survives a kill at any moment. Losing the broker stops no traffic.")]
pub struct Serve {
    /// Folder that keeps everything: certificates, the administrator's kubeconfig, the log of writes
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
    /// Address to listen on
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "0.0.0.0:6443")]
    listen: SocketAddr,
    /// Name or address under which members reach it; the first one goes into invitations [default: the address listened on]
    #[arg(long, value_name = "HOST|IP", value_delimiter = ',')]
    public_address: Vec<String>,
}

impl Serve {
    pub(super) async fn run(&self) -> anyhow::Result<()> {
        let dir = &self.data_dir;
        fs::create_dir_all(dir).with_context(|| format!("cannot create --data-dir {}", dir.display()))?;
        let listener = TcpListener::bind(self.listen).map_err(|error| self.cannot_listen(&error))?;
        let port = listener.local_addr()?.port();
        let addresses = self.addresses();
        let url = format!("https://{}", host_port(&addresses[0], port));
        let (names, ips) = certificate_subjects(&addresses);
        k8s_runtime::install_crypto_provider();
        let tls = ServerTls::load_or_create(dir, &names, &ips)
            .with_context(|| format!("cannot make or read the certificates in {}", dir.display()))?;
        let ca = tls.ca_pem().to_owned();
        let token = admin_token(&dir.join("admin.token"))?;
        let server = ApiServer::open(Config {
            data_dir: Some(dir.clone()),
            admin_token: token.clone(),
            ..Config::default()
        })
        .with_context(|| format!("cannot open the broker's data in {}", dir.display()))?;
        // The administrator's own client needs no network, so the broker is complete before it listens.
        let client = kube::Client::new(server.admin_router(), "default");
        install(&Connection::over(client, url.clone(), ca.clone(), "broker")).await?;
        let kubeconfig = dir.join("admin.kubeconfig");
        write_private(&kubeconfig, admin_kubeconfig(&url, &ca, &token).as_bytes())?;
        self.greet(&url, &ca, &kubeconfig);
        server
            .serve_tls(listener, tls, shutdown_signal()?)
            .await
            .context("the broker stopped")
    }

    /// Under which names and addresses it is reached, the one for invitations first.
    fn addresses(&self) -> Vec<String> {
        let mut addresses = self.public_address.clone();
        let own = match self.listen.ip() {
            ip if ip.is_unspecified() => outgoing_address(),
            ip => ip,
        };
        addresses.push(own.to_string());
        addresses.extend(["127.0.0.1", "::1", "localhost"].map(String::from));
        addresses
    }

    fn greet(&self, url: &str, ca: &str, kubeconfig: &Path) {
        crate::output::print(&format!(
            "Broker      {url}\n\
             Listening   {listen}\n\
             CA          SHA-256 {fingerprint}\n\
             Kubeconfig  {kubeconfig} (the administrator's: keep it secret)\n\n\
             Let a cluster in:  tombolo broker invite <cluster-id> --kubeconfig {kubeconfig}\n",
            listen = self.listen,
            fingerprint = ca_fingerprint(ca),
            kubeconfig = kubeconfig.display(),
        ));
    }

    fn cannot_listen(&self, error: &io::Error) -> anyhow::Error {
        let mend = match error.kind() {
            io::ErrorKind::AddrInUse => "another process listens there; stop it, or give another port with --listen",
            io::ErrorKind::AddrNotAvailable => {
                "no interface of this machine has the address; give one that it has with --listen"
            }
            io::ErrorKind::PermissionDenied => "ports below 1024 need root; give another port with --listen",
            _ => "give another address with --listen",
        };
        anyhow::anyhow!("cannot listen on {}: {error}; {mend}", self.listen)
    }
}

/// The token of the administrator, made once.
fn admin_token(path: &Path) -> anyhow::Result<String> {
    match fs::read_to_string(path) {
        Ok(token) => {
            let token = token.trim().to_owned();
            ensure!(
                !token.is_empty(),
                "{} is empty; delete it, and a new token is made",
                path.display()
            );
            Ok(token)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // Two version-4 UUIDs hold 244 random bits.
            let token = format!("{}{}", uuid::Uuid::new_v4().simple(), uuid::Uuid::new_v4().simple());
            write_private(path, token.as_bytes())?;
            Ok(token)
        }
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// Writes a file that only its owner may read, whole or not at all.
pub(super) fn write_private(path: &Path, text: &[u8]) -> anyhow::Result<()> {
    let write = || -> io::Result<()> {
        let beside = path.with_extension("new");
        let mut options = fs::OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(&beside)?;
        file.write_all(text)?;
        file.sync_all()?;
        fs::rename(&beside, path)
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

fn admin_kubeconfig(url: &str, ca: &str, token: &str) -> String {
    use base64::Engine as _;
    let ca = base64::engine::general_purpose::STANDARD.encode(ca);
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: broker\n\
         clusters:\n- name: broker\n  cluster:\n    server: {url}\n    certificate-authority-data: {ca}\n\
         users:\n- name: admin\n  user:\n    token: {token}\n\
         contexts:\n- name: broker\n  context:\n    cluster: broker\n    user: admin\n"
    )
}

fn certificate_subjects(addresses: &[String]) -> (Vec<String>, Vec<IpAddr>) {
    let ips = addresses.iter().filter_map(|address| address.parse().ok()).collect();
    let names = addresses
        .iter()
        .filter(|address| address.parse::<IpAddr>().is_err())
        .cloned()
        .collect();
    (names, ips)
}

fn host_port(host: &str, port: u16) -> String {
    match host.parse::<IpAddr>() {
        Ok(ip) => SocketAddr::new(ip, port).to_string(),
        Err(_) => format!("{host}:{port}"),
    }
}

/// The source address of this machine's default route. Connecting a UDP socket sends nothing.
fn outgoing_address() -> IpAddr {
    let ask = || -> io::Result<IpAddr> {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9))?;
        Ok(socket.local_addr()?.ip())
    };
    ask().unwrap_or(Ipv4Addr::LOCALHOST.into())
}

fn shutdown_signal() -> anyhow::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_token_is_made_once_and_only_its_owner_reads_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("admin.token");
        let token = admin_token(&path).unwrap();
        assert_eq!(token.len(), 64);
        assert_eq!(admin_token(&path).unwrap(), token);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::write(&path, "\n").unwrap();
        assert!(admin_token(&path).unwrap_err().to_string().contains("is empty"));
    }

    #[test]
    fn the_kubeconfig_is_one() {
        let text = admin_kubeconfig("https://[2001:db8::1]:6443", "PEM", "t");
        let config = kube::config::Kubeconfig::from_yaml(&text).unwrap();
        let cluster = config.clusters[0].cluster.clone().unwrap();
        assert_eq!(cluster.server.as_deref(), Some("https://[2001:db8::1]:6443"));
        assert_eq!(config.current_context.as_deref(), Some("broker"));
    }

    #[test]
    fn public_addresses_come_first_and_are_sorted_into_names_and_ips() {
        let serve = Serve {
            data_dir: "x".into(),
            listen: "192.0.2.1:6443".parse().unwrap(),
            public_address: vec!["broker.example.net".into(), "2001:db8::1".into()],
        };
        let addresses = serve.addresses();
        assert_eq!(addresses[..3], ["broker.example.net", "2001:db8::1", "192.0.2.1"]);
        let (names, ips) = certificate_subjects(&addresses);
        assert_eq!(names, ["broker.example.net", "localhost"]);
        assert_eq!(ips.len(), 4);
        assert_eq!(host_port(&addresses[1], 6443), "[2001:db8::1]:6443");
        assert_eq!(host_port(&addresses[0], 6443), "broker.example.net:6443");
    }
}
