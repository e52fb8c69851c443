//! The role that is a cluster's API server: the embedded one, on a host of its own.

use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::{fs, io};

use anyhow::Context;
use apiserver::{ApiServer, Config, ServerTls};
use k8s_openapi::ByteString;
use serde_json::{Value, json};

use crate::process::replace_file;
use crate::state::Lab;
use crate::topology::{Cluster, LabName, nth};

/// Which cluster's server to be.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The lab.
    #[arg(long)]
    pub name: LabName,
    /// The cluster, in the namespace of whose API host this runs.
    #[arg(long)]
    pub cluster: String,
}

/// Serves until the process is asked to end. Data, certificate authority and token survive.
///
/// # Errors
/// When the lab has no such cluster, the data is damaged, or the port is taken.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let lab = Lab::open(&args.name)?;
    let cluster = lab.cluster(&args.cluster)?;
    let directory = lab.directory().api(&cluster.name);
    let token = admin_token(&directory)?;
    let addresses: Vec<IpAddr> = cluster.api.addresses.iter().map(ipnet::IpNet::addr).collect();
    let services = cluster.service_prefixes.iter().map(|prefix| nth(*prefix, 1));
    let known: Vec<IpAddr> = addresses
        .iter()
        .copied()
        .chain(services)
        .chain([Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()])
        .collect();
    let mut names: Vec<String> = NAMES.iter().map(|name| (*name).to_owned()).collect();
    names.push(cluster.api.name.clone());
    let tls = ServerTls::load_or_create(&directory.join("tls"), &names, &known)
        .context("cannot make the server's certificate")?;

    let listener = listen()?;
    let server = ApiServer::open(Config {
        data_dir: Some(directory.join("data")),
        service_prefixes: cluster.service_prefixes.clone(),
        advertise: Some(SocketAddr::new(cluster.api.address(), PORT)),
        admin_token: token.clone(),
        root_ca: Some(tls.ca_pem().to_owned()),
        crds: Vec::new(),
    })
    .context("cannot open the API server's data")?;
    // Last, because whoever waits for it takes it for a sign that there is a server.
    let path = lab.directory().kubeconfig(&cluster.name);
    let text =
        serde_json::to_vec_pretty(&kubeconfig(cluster, tls.ca_pem(), &token)).context("cannot write the kubeconfig")?;
    replace_file(&path, &text).with_context(|| format!("cannot write {}", path.display()))?;
    tracing::info!(cluster = cluster.name, address = %cluster.api.address(), port = PORT, "API server serves");
    server
        .serve_tls(listener, tls, daemon::shutdown())
        .await
        .context("the API server ended")
}

/// At both families where there are two: a kernel without IPv6 has no such address.
fn listen() -> anyhow::Result<TcpListener> {
    let listener =
        TcpListener::bind((Ipv6Addr::UNSPECIFIED, PORT)).or_else(|_| TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT)));
    listener
        .with_context(|| format!("cannot listen on TCP port {PORT}; is another API server of this cluster running?"))
}

/// The administrator's token, made when there is none.
fn admin_token(directory: &Path) -> anyhow::Result<String> {
    let path = directory.join("admin.token");
    match fs::read_to_string(&path) {
        Ok(token) => return Ok(token),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
    let mut random = [0; 32];
    fs::File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut random))
        .context("the kernel gives no random bytes")?;
    let token: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    let write = || -> io::Result<()> {
        fs::create_dir_all(directory)?;
        let mut file = fs::File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        io::Write::write_all(&mut file, token.as_bytes())
    };
    write().with_context(|| format!("cannot write {}", path.display()))?;
    Ok(token)
}

/// JSON, which every reader of YAML reads.
fn kubeconfig(cluster: &Cluster, ca: &str, token: &str) -> Value {
    let name = &cluster.name;
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": {
            "server": format!("https://{}", SocketAddr::new(cluster.api.address(), PORT)),
            "certificate-authority-data": ByteString(ca.as_bytes().to_vec()),
        }}],
        "users": [{"name": format!("{name}-admin"), "user": {"token": token}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": format!("{name}-admin")}}],
        "current-context": name,
    })
}

const PORT: u16 = 6443;
/// As kubeadm puts into a server's certificate.
const NAMES: &[&str] = &[
    "localhost",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
];
