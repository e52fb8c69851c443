//! The DNS against a real API: the embedded server, in process.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use apiserver::{ApiServer, Config};
use domain::base::iana::{Class, Rcode, Rtype};
use domain::base::{Message, MessageBuilder, Name};
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::json;
use tokio::net::UdpSocket;

use super::{Args, follow};

/// The code of one answer to a question over UDP, or nothing when none comes.
async fn ask(port: u16, name: &str) -> Option<Rcode> {
    let mut builder = MessageBuilder::new_vec();
    builder.header_mut().set_random_id();
    let mut builder = builder.question();
    builder
        .push((Name::vec_from_str(name).unwrap(), Rtype::A, Class::IN))
        .unwrap();
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect(("127.0.0.1", port)).await.unwrap();
    socket.send(builder.into_message().as_slice()).await.ok()?;
    let mut buffer = [0; 512];
    let received = tokio::time::timeout(Duration::from_millis(500), socket.recv(&mut buffer)).await;
    Some(
        Message::from_octets(&buffer[..received.ok()?.ok()?])
            .unwrap()
            .header()
            .rcode(),
    )
}

async fn eventually(what: &str, port: u16, name: &str, rcode: Rcode) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while ask(port, name).await != Some(rcode) {
        assert!(Instant::now() < deadline, "waited for {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A port that was free a moment ago, for TCP and for UDP.
fn free_port() -> u16 {
    let free = || {
        let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = tcp.local_addr().unwrap().port();
        std::net::UdpSocket::bind(("127.0.0.1", port)).ok().map(|_| port)
    };
    std::iter::repeat_with(free).flatten().next().expect("a free port")
}

#[tokio::test]
async fn the_config_map_is_obeyed_while_it_is_sound() {
    let server = ApiServer::open(Config {
        service_prefixes: vec!["10.96.0.0/24".parse().unwrap()],
        admin_token: "admin".to_owned(),
        ..Config::default()
    })
    .unwrap();
    let client = Client::new(server.admin_router(), "default");
    let port = free_port();
    let corefile = |zone: &str| json!({"data": {"Corefile": format!("{zone}:{port} {{\n kubernetes\n reload\n}}\n")}});
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "kube-system");
    let mut map = corefile("cluster.local");
    map["metadata"] = json!({"name": "coredns"});
    maps.create(&PostParams::default(), &serde_json::from_value(map).unwrap())
        .await
        .unwrap();

    let args = Args {
        kubeconfig: None,
        namespace: "kube-system".to_owned(),
        config_map: "coredns".to_owned(),
        health_port: 0,
        ready_port: 0,
    };
    let is_ready = Arc::new(AtomicBool::new(false));
    let ready = Arc::clone(&is_ready);
    let task = tokio::spawn({
        let client = client.clone();
        async move { follow(client, &args, &ready).await }
    });
    eventually(
        "the API's own service",
        port,
        "kubernetes.default.svc.cluster.local",
        Rcode::NOERROR,
    )
    .await;
    let services: Api<Service> = Api::namespaced(client, "default");
    let service = json!({"metadata": {"name": "cart"}, "spec": {"ports": [{"port": 80}]}});
    services
        .create(&PostParams::default(), &serde_json::from_value(service).unwrap())
        .await
        .unwrap();
    eventually("a new service", port, "cart.default.svc.cluster.local", Rcode::NOERROR).await;
    assert!(is_ready.load(Ordering::Relaxed));

    let patch = async |change: serde_json::Value| {
        maps.patch("coredns", &PatchParams::default(), &Patch::Merge(&change))
            .await
            .unwrap();
    };
    patch(corefile("other.local")).await;
    eventually("the new zone", port, "cart.default.svc.other.local", Rcode::NOERROR).await;
    assert_eq!(
        ask(port, "cart.default.svc.cluster.local").await,
        Some(Rcode::REFUSED),
        "the old zone is gone"
    );
    patch(json!({"data": {"Corefile": "nonsense"}})).await;
    patch(corefile("third.local")).await;
    eventually(
        "the zone after the bad one",
        port,
        "cart.default.svc.third.local",
        Rcode::NOERROR,
    )
    .await;
    task.abort();
}
