//! A mirror over TLS, with an API server that goes away and comes back.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::time::{Duration, Instant};

use apiserver::{ApiServer, ServerTls};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::PostParams;
use serde_json::json;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::{Changes, Mirror, client};

/// Serves what is in `folder` at `address` until told to stop. Writes the kubeconfig of its administrator there.
fn serve(folder: &Path, listener: TcpListener) -> (oneshot::Sender<()>, JoinHandle<()>) {
    let address = listener.local_addr().unwrap();
    listener.set_nonblocking(true).unwrap();
    let tls = ServerTls::load_or_create(folder, &[], &[address.ip()]).unwrap();
    let server = ApiServer::open(apiserver::Config {
        data_dir: Some(folder.to_owned()),
        admin_token: "admin".to_owned(),
        ..apiserver::Config::default()
    })
    .unwrap();
    std::fs::write(folder.join("ca.crt"), tls.ca_pem()).unwrap();
    let kubeconfig = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "x",
        "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
        "users": [{"name": "x", "user": {"token": "admin"}}],
        "clusters": [{"name": "x", "cluster": {
            "server": format!("https://{address}"), "certificate-authority": folder.join("ca.crt"),
        }}],
    });
    std::fs::write(folder.join("kubeconfig"), kubeconfig.to_string()).unwrap();
    let (stop, stopped) = oneshot::channel();
    let task = tokio::spawn(async move {
        let shutdown = async { drop(stopped.await) };
        server.serve_tls(listener, tls, shutdown).await.unwrap();
    });
    (stop, task)
}

async fn create(folder: &Path, name: &str) {
    let client = client(Some(&folder.join("kubeconfig"))).await.unwrap();
    let map: ConfigMap = serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
    let maps = Api::namespaced(client, "default");
    maps.create(&PostParams::default(), &map).await.unwrap();
}

async fn appears(mirror: &Mirror<ConfigMap>, name: &str) -> Duration {
    let started = Instant::now();
    while !mirror
        .objects()
        .iter()
        .any(|map| map.metadata.name.as_deref() == Some(name))
    {
        assert!(started.elapsed() < Duration::from_secs(30), "waited for {name}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    started.elapsed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mirror_keeps_what_it_has_and_goes_on_when_the_server_is_back() {
    let folder = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address: SocketAddr = listener.local_addr().unwrap();
    assert_eq!(address.ip(), IpAddr::V4(Ipv4Addr::LOCALHOST));
    let (stop, task) = serve(folder.path(), listener);
    create(folder.path(), "before").await;
    let maps = Api::namespaced(
        client(Some(&folder.path().join("kubeconfig"))).await.unwrap(),
        "default",
    );
    let mirror: Mirror<ConfigMap> = Mirror::watch(maps, Default::default(), Changes::default());
    appears(&mirror, "before").await;

    stop.send(()).unwrap();
    task.await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!mirror.objects().is_empty(), "the copy stays while the server is away");

    let (stop, task) = serve(folder.path(), TcpListener::bind(address).unwrap());
    create(folder.path(), "after").await;
    let waited = appears(&mirror, "after").await;
    assert!(waited < Duration::from_secs(5), "noticed only after {waited:?}");
    appears(&mirror, "before").await;
    stop.send(()).unwrap();
    task.await.unwrap();
}
