//! API servers on this machine that no lab made.

use std::net::TcpListener;
use std::path::Path;

use apiserver::{ApiServer, Config, ServerTls};
use serde_json::json;
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// Some servers. Dropping them ends them.
pub(crate) struct Servers {
    folder: TempDir,
    _runtime: Runtime,
}

impl Servers {
    pub(crate) fn start(count: u8) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let runtime = Runtime::new().expect("a runtime");
        for number in 1..=count {
            runtime.spawn(serve(folder.path(), number));
        }
        Self {
            folder,
            _runtime: runtime,
        }
    }

    /// Where `cluster1.kubeconfig` and the others are.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }
}

fn serve(folder: &Path, number: u8) -> impl Future<Output = ()> + use<> {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("a bound socket has an address");
    let data = folder.join(number.to_string());
    let kubernetes = format!("10.{number}.0.1").parse().expect("an address");
    let tls = ServerTls::load_or_create(&data.join("tls"), &["localhost".into()], &[address.ip(), kubernetes])
        .expect("a certificate");
    let kubeconfig = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": format!("https://{address}"), "certificate-authority": data.join("tls/ca.crt")}}],
        "users": [{"name": "u", "user": {"token": "an administrator's"}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
    });
    std::fs::write(
        folder.join(format!("cluster{number}.kubeconfig")),
        kubeconfig.to_string(),
    )
    .expect("a kubeconfig");
    let server = ApiServer::open(Config {
        data_dir: Some(data.join("data")),
        service_prefixes: vec![format!("10.{number}.0.0/16").parse().expect("a prefix")],
        advertise: Some(address),
        admin_token: "an administrator's".to_owned(),
        root_ca: Some(tls.ca_pem().to_owned()),
        crds: Vec::new(),
    })
    .expect("a server");
    async move {
        server
            .serve_tls(listener, tls, std::future::pending::<()>())
            .await
            .expect("the server serves");
    }
}
