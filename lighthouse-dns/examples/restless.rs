//! An API server in whose cluster exported services change all the time, to run the name server beside:
//!
//! ```text
//! cargo run --release -p lighthouse-dns --example restless -- /tmp/restless 1000 500
//! cargo run --release -p lighthouse-dns -- --kubeconfig /tmp/restless/kubeconfig --state-dir /tmp/restless
//! ```
//!
//! The services `service-0`, `service-1`, … of namespace `shop` have one address each, and so many of them a second get another one.
//! It says when all of them are there, and then how many changes it has made.

use std::error::Error;
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use apiserver::{ApiServer, Config, ServerTls};
use k8s_api::{Cluster, ExportedService};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};
use tokio::time::MissedTickBehavior;

type Outcome<T> = Result<T, Box<dyn Error>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [directory, services, changes] = arguments.as_slice() else {
        return Err("usage: restless DIRECTORY SERVICES CHANGES-A-SECOND".into());
    };
    let (directory, services, changes) = (PathBuf::from(directory), services.parse()?, changes.parse()?);
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let tls = ServerTls::load_or_create(&directory.join("tls"), &[], &[address.ip()])?;
    let crds = k8s_api::crds::member();
    let server = ApiServer::open(Config {
        data_dir: None,
        service_prefixes: vec!["10.96.0.0/16".parse()?],
        advertise: Some(address),
        admin_token: "restless".to_owned(),
        root_ca: Some(tls.ca_pem().to_owned()),
        crds: crds.iter().map(serde_json::to_value).collect::<Result<_, _>>()?,
    })?;
    let client = Client::new(server.admin_router(), "default");
    let serving = server.serve_tls(listener, tls, std::future::pending());
    let kubeconfig = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "restless",
        "clusters": [{"name": "restless", "cluster": {
            "server": format!("https://{address}"), "certificate-authority": directory.join("tls/ca.crt"),
        }}],
        "users": [{"name": "admin", "user": {"token": "restless"}}],
        "contexts": [{"name": "restless", "context": {"cluster": "restless", "user": "admin"}}],
    });
    let work = async {
        let exports = begin(&client, services).await?;
        std::fs::write(directory.join("kubeconfig"), kubeconfig.to_string())?;
        println!("serving on https://{address}");
        change(&exports, services, changes).await
    };
    tokio::select! {
        served = serving => Ok(served?),
        changed = work => changed,
    }
}

/// Makes the cluster and its services.
async fn begin(client: &Client, services: u32) -> Outcome<Api<ExportedService>> {
    let namespace: Namespace = serde_json::from_value(json!({"metadata": {"name": NAMESPACE}}))?;
    Api::all(client.clone())
        .create(&PostParams::default(), &namespace)
        .await?;
    let cluster: Cluster = serde_json::from_value(json!({
        "apiVersion": "tombolo.dev/v1alpha1", "kind": "Cluster", "metadata": {"name": "east"},
        "spec": {"clusterId": "east", "protocol": {"min": 1, "max": 1}},
    }))?;
    let clusters = Api::namespaced(client.clone(), NAMESPACE);
    clusters.create(&PostParams::default(), &cluster).await?;
    let exports = Api::namespaced(client.clone(), NAMESPACE);
    for number in 0..services {
        let export: ExportedService = serde_json::from_value(export(number))?;
        exports.create(&PostParams::default(), &export).await?;
    }
    Ok(exports)
}

fn export(number: u32) -> Value {
    let key = model::ServiceKey::new("shop", format!("service-{number}"));
    let cluster = "east".parse().expect("a cluster id");
    let name = k8s_api::mirror_name(&cluster, &key.broker_name());
    json!({
        "apiVersion": "tombolo.dev/v1alpha1", "kind": "ExportedService", "metadata": {"name": name},
        "spec": {
            "clusterId": "east", "namespace": key.namespace, "name": key.name, "type": "ClusterSetIP",
            "ports": [{"name": "http", "protocol": "TCP", "port": 80}], "ipFamilies": ["IPv4"],
            "exportedAt": "2026-01-01T00:00:00Z", "serviceIps": [Ipv4Addr::from(0x0a60_0000 + number)], "readyCount": 2,
        },
    })
}

/// Gives one service after the other another address, so many a second.
async fn change(exports: &Api<ExportedService>, services: u32, changes: u32) -> Outcome<()> {
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let names: Vec<String> = exports
        .list(&Default::default())
        .await?
        .iter()
        .map(ResourceExt::name_any)
        .collect();
    let start = Instant::now();
    let mut next = 0;
    loop {
        tick.tick().await;
        while f64::from(next) < f64::from(changes) * start.elapsed().as_secs_f64() {
            next += 1;
            let address = Ipv4Addr::from(0x0a60_0000 + next % (1 << 16));
            let patch = Patch::Merge(json!({"spec": {"serviceIps": [address]}}));
            let name = &names[(next % services) as usize];
            exports.patch(name, &PatchParams::default(), &patch).await?;
        }
        println!("{next} changes");
    }
}

const NAMESPACE: &str = "tombolo-system";
const TICK: Duration = Duration::from_millis(10);
