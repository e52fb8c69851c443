//! Restarts, and TLS.

use std::{net::TcpListener, path::Path, time::Duration};

use apiserver::{ApiServer, Config, ServerTls};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Client, api::PostParams};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::fixture::{ADMIN, config, send, soon};

fn open(dir: &Path) -> ApiServer {
    ApiServer::open(Config {
        data_dir: Some(dir.to_owned()),
        ..config()
    })
    .unwrap()
}

fn revision(object: &Value) -> u64 {
    object["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn everything_is_there_again_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let maps = "/api/v1/namespaces/default/configmaps";
    let first = open(dir.path());
    let made = send(
        &first,
        ADMIN,
        "POST",
        maps,
        Some(json!({"metadata": {"name": "a"}, "data": {"k": "v"}})),
    )
    .await
    .body;
    let request = json!({"spec": {"expirationSeconds": 600}});
    let token = send(
        &first,
        ADMIN,
        "POST",
        "/api/v1/namespaces/default/serviceaccounts/default/token",
        Some(request),
    )
    .await;
    let token = token.body["status"]["token"].as_str().unwrap().to_owned();
    send(&first, ADMIN, "POST", maps, Some(json!({"metadata": {"name": "gone"}}))).await;
    send(&first, ADMIN, "DELETE", &format!("{maps}/gone"), None).await;
    let last = revision(&send(&first, ADMIN, "GET", maps, None).await.body);
    drop(first);

    let second = open(dir.path());
    assert_eq!(send(&second, ADMIN, "GET", &format!("{maps}/a"), None).await.body, made);
    assert_eq!(
        send(&second, ADMIN, "GET", &format!("{maps}/gone"), None).await.code,
        404
    );
    let list = send(&second, &token, "GET", "/apis", None).await;
    assert_eq!(list.code, 200, "tokens survive");
    let next = send(&second, ADMIN, "POST", maps, Some(json!({"metadata": {"name": "b"}})))
        .await
        .body;
    assert!(revision(&next) > last, "revisions never go back");
}

#[tokio::test]
async fn custom_kinds_are_served_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let schema = json!({"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}});
    let crd = json!({"metadata": {"name": "blobs.x.io"}, "spec": {"group": "x.io", "scope": "Cluster",
        "names": {"plural": "blobs", "kind": "Blob"},
        "versions": [{"name": "v1", "served": true, "storage": true, "schema": schema}]}});
    let with_crd = Config {
        data_dir: Some(dir.path().to_owned()),
        crds: vec![crd],
        ..config()
    };
    let first = ApiServer::open(with_crd).unwrap();
    let blob = json!({"apiVersion": "x.io/v1", "kind": "Blob", "metadata": {"name": "b"}, "any": {"thing": [1]}});
    assert_eq!(
        send(&first, ADMIN, "POST", "/apis/x.io/v1/blobs", Some(blob))
            .await
            .code,
        201
    );
    drop(first);
    let second = open(dir.path());
    assert_eq!(
        send(&second, ADMIN, "GET", "/apis/x.io/v1/blobs/b", None).await.body["any"],
        json!({"thing": [1]})
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_over_tls_reads_writes_and_sees_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let server = open(&dir.path().join("data"));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let tls = ServerTls::load_or_create(&dir.path().join("tls"), &["localhost".into()], &[address.ip()]).unwrap();
    let ca = tls.ca_pem().to_owned();
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = server.clone();
    let task = tokio::spawn(async move {
        serving
            .serve_tls(listener, tls, async {
                let _stopped = stopped.await;
            })
            .await
    });
    let kubeconfig = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": format!("https://{address}"), "certificate-authority-data": base64(&ca)}}],
        "users": [{"name": "u", "user": {"token": ADMIN}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
    });
    let kubeconfig = serde_json::from_value(kubeconfig).unwrap();
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &kube::config::KubeConfigOptions::default())
        .await
        .unwrap();
    let client = Client::try_from(config).unwrap();
    let maps: Api<ConfigMap> = Api::default_namespaced(client);
    let made: ConfigMap = serde_json::from_value(json!({"metadata": {"name": "a"}})).unwrap();
    soon("a write over TLS", maps.create(&PostParams::default(), &made))
        .await
        .unwrap();
    let version = made.metadata.resource_version.unwrap_or_else(|| "0".into());
    let mut watch = std::pin::pin!(maps.watch(&kube::api::WatchParams::default(), &version).await.unwrap());
    soon("the first event", futures::TryStreamExt::try_next(&mut watch))
        .await
        .unwrap();
    stop.send(()).unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(10), async {
        while let Ok(Some(_)) = futures::TryStreamExt::try_next(&mut watch).await {}
    });
    ended.await.expect("a shutdown ends watches");
    soon("the server to stop", task).await.unwrap().unwrap();
}

fn base64(text: &str) -> String {
    use base64::Engine as _;
    base64::prelude::BASE64_STANDARD.encode(text)
}
