use std::net::IpAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::connects;
use super::echo::{self, Server};
use super::fetch::{self, Output, Proto, Try};

async fn server() -> (u16, u16) {
    let args = echo::Args {
        port: 0,
        ready_port: 0,
        not_ready_file: "/nonexistent/not-ready".into(),
        pod_name: "cart-1".to_owned(),
    };
    let server = Server::bind(args).await.unwrap();
    let ports = server.ports();
    tokio::spawn(server.serve());
    ports
}

async fn fetch(proto: Proto, host: &str, port: u16, bytes: usize) -> Try {
    let args = fetch::Args {
        proto,
        host: host.to_owned(),
        port,
        count: 1,
        bytes,
        timeout: 10.0,
        source: true,
        resolve_only: false,
        output: Output::Json,
    };
    fetch::attempt(&args).await
}

#[tokio::test]
async fn what_is_sent_comes_back_and_the_source_is_seen() {
    let (port, _) = server().await;
    for (proto, bytes) in [
        (Proto::Tcp, 0),
        (Proto::Tcp, 1 << 20),
        (Proto::Udp, 0),
        (Proto::Udp, 1_400),
    ] {
        let result = fetch(proto, "127.0.0.1", port, bytes).await;
        assert!(result.ok, "{result:?}");
        assert_eq!(result.server_pod.as_deref(), Some("cart-1"));
        assert_eq!(result.client_seen, Some(IpAddr::from([127, 0, 0, 1])));
        assert_eq!(result.bytes, bytes);
    }
}

#[tokio::test]
async fn a_closed_port_and_an_unknown_name_are_reasons_not_panics() {
    // Nothing listens on the port of a listener that is gone.
    let port = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    for (proto, host) in [
        (Proto::Tcp, "127.0.0.1"),
        (Proto::Udp, "127.0.0.1"),
        (Proto::Tcp, "no name"),
    ] {
        let result = fetch(proto, host, port, 10).await;
        assert!(!result.ok && result.error.is_some(), "{result:?}");
    }
}

#[tokio::test]
async fn a_stranger_that_changes_the_bytes_is_noticed() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"pod=x client=127.0.0.1\n").await.unwrap();
        let mut sent = Vec::new();
        stream.read_to_end(&mut sent).await.unwrap();
        sent[7] ^= 1;
        stream.write_all(&sent).await.unwrap();
    });
    let result = fetch(Proto::Tcp, "127.0.0.1", port, 100).await;
    assert_eq!((result.ok, result.hash_ok), (false, Some(false)), "{result:?}");
}

#[tokio::test]
async fn readiness_turns_when_asked() {
    let (_, port) = server().await;
    let get = async |path: &str| {
        let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    };
    assert!(get("/ready").await.starts_with("HTTP/1.1 200"));
    get("/set?ready=false").await;
    assert!(get("/ready").await.starts_with("HTTP/1.1 503"));
    get("/set?ready=true").await;
    assert!(get("/ready").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn connections_are_counted_by_the_pod_that_answers() {
    let (port, _) = server().await;
    let args = connects::Args {
        to: ([127, 0, 0, 1], port).into(),
        seconds: 0.1,
        parallel: 2,
        pause: 0,
    };
    let summary = connects::connect(&args).await.unwrap();
    assert!(summary.errors.is_empty(), "{summary:?}");
    let pod = &summary.pods["cart-1"];
    assert_eq!(pod.connections, summary.connections);
    assert!(pod.connections >= 2 && pod.first <= pod.last, "{summary:?}");
}
