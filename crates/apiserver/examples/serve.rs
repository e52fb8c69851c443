//! A cluster without nodes, to look at with kubectl:
//!
//! ```text
//! cargo run -p apiserver --example serve -- /tmp/cluster
//! KUBECONFIG=/tmp/cluster/kubeconfig kubectl get all -A
//! ```

use std::{error::Error, net::TcpListener, path::PathBuf};

use apiserver::{ApiServer, Config, ServerTls};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let dir = PathBuf::from(std::env::args().nth(1).ok_or("usage: serve DIRECTORY")?);
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let tls = ServerTls::load_or_create(&dir.join("tls"), &["localhost".into()], &[address.ip()])?;
    let token = uuid::Uuid::new_v4().to_string();
    let ca_file = dir.join("tls/ca.crt");
    let kubeconfig = serde_json::json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "example",
        "clusters": [{"name": "example", "cluster": {"server": format!("https://{address}"), "certificate-authority": ca_file}}],
        "users": [{"name": "admin", "user": {"token": token}}],
        "contexts": [{"name": "example", "context": {"cluster": "example", "user": "admin"}}],
    });
    std::fs::write(dir.join("kubeconfig"), kubeconfig.to_string())?;
    let server = ApiServer::open(Config {
        data_dir: Some(dir.join("data")),
        service_prefixes: vec!["10.96.0.0/16".parse()?],
        advertise: Some(address),
        admin_token: token,
        root_ca: Some(tls.ca_pem().to_owned()),
        crds: Vec::new(),
    })?;
    println!(
        "serving on https://{address}, kubeconfig in {}",
        dir.join("kubeconfig").display()
    );
    let interrupted = async {
        if let Err(error) = tokio::signal::ctrl_c().await {
            eprintln!("cannot wait for an interrupt: {error}");
        }
    };
    server.serve_tls(listener, tls, interrupted).await?;
    Ok(())
}
