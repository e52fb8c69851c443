//! The server: says who it is and whom it sees, then sends back what it gets.
//!
//! Over TCP the first line is `pod=<name> client=<address>`, and after it everything the client sends comes back until the
//! client closes. Over UDP every datagram is answered by one that holds the same line and then the datagram. A small HTTP
//! server answers the readiness probe at `/ready`; `/set?ready=false` or a file makes it fail.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::routing::get;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream, UdpSocket};

use crate::dual_stack;

/// Where to answer, and as whom.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The TCP and UDP port.
    #[arg(long, default_value_t = 8080)]
    pub port: u16,
    /// The port of the readiness probe.
    #[arg(long, default_value_t = 8081)]
    pub ready_port: u16,
    /// While this file is there, the server is not ready.
    #[arg(long, default_value = "/tmp/not-ready")]
    pub not_ready_file: PathBuf,
    /// The name to answer with.
    #[arg(long, env = "POD_NAME", default_value = "unnamed")]
    pub pod_name: String,
}

/// Answers until the process ends.
///
/// # Errors
/// When a port cannot be bound.
pub async fn run(args: Args) -> anyhow::Result<()> {
    Server::bind(args).await?.serve().await
}

/// The server with its ports bound.
#[derive(Debug)]
pub(super) struct Server {
    tcp: TcpListener,
    udp: UdpSocket,
    http: TcpListener,
    readiness: Arc<Readiness>,
    pod_name: String,
}

impl Server {
    pub(super) async fn bind(args: Args) -> anyhow::Result<Self> {
        let tcp = dual_stack::tcp(args.port).await?;
        let udp = dual_stack::udp(tcp.local_addr()?.port()).await?;
        let readiness = Readiness {
            is_set: AtomicBool::new(true),
            not_ready_file: args.not_ready_file,
        };
        let http = dual_stack::tcp(args.ready_port).await?;
        Ok(Self {
            tcp,
            udp,
            http,
            readiness: Arc::new(readiness),
            pod_name: args.pod_name,
        })
    }

    /// The port of TCP and UDP, and that of the readiness probe.
    #[cfg(test)]
    pub(super) fn ports(&self) -> (u16, u16) {
        let port = |listener: &TcpListener| listener.local_addr().map(|address| address.port()).unwrap_or_default();
        (port(&self.tcp), port(&self.http))
    }

    pub(super) async fn serve(self) -> anyhow::Result<()> {
        let router = axum::Router::new()
            .route("/ready", get(ready))
            .route("/set", get(set))
            .with_state(self.readiness);
        tokio::try_join!(
            accept(&self.tcp, &self.pod_name),
            answer_datagrams(&self.udp, &self.pod_name),
            async {
                axum::serve(self.http, router)
                    .await
                    .context("the readiness server ended")
            },
        )?;
        Ok(())
    }
}

async fn accept(listener: &TcpListener, pod_name: &str) -> anyhow::Result<()> {
    loop {
        // A client that went away between its SYN and here is no reason to stop.
        let Ok((stream, client)) = listener.accept().await else {
            continue;
        };
        let greeting = greeting(pod_name, client);
        tokio::spawn(async move {
            if let Err(error) = converse(stream, &greeting).await {
                tracing::debug!(%client, %error, "conversation broken off");
            }
        });
    }
}

async fn converse(mut stream: TcpStream, greeting: &str) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    stream.write_all(greeting.as_bytes()).await?;
    let (mut reader, mut writer) = stream.split();
    tokio::io::copy(&mut reader, &mut writer).await?;
    writer.shutdown().await
}

async fn answer_datagrams(socket: &UdpSocket, pod_name: &str) -> anyhow::Result<()> {
    let mut buffer = vec![0; 65_536];
    loop {
        // An error here is an ICMP message about an earlier answer.
        let Ok((length, client)) = socket.recv_from(&mut buffer).await else {
            continue;
        };
        let mut answer = greeting(pod_name, client).into_bytes();
        answer.extend_from_slice(&buffer[..length]);
        if let Err(error) = socket.send_to(&answer, client).await {
            tracing::debug!(%client, %error, "datagram not answered");
        }
    }
}

fn greeting(pod_name: &str, client: SocketAddr) -> String {
    // An IPv4 client of a dual-stack socket shows as ::ffff:a.b.c.d.
    let address: IpAddr = client.ip().to_canonical();
    format!("pod={pod_name} client={address}\n")
}

#[derive(Debug)]
struct Readiness {
    is_set: AtomicBool,
    not_ready_file: PathBuf,
}

async fn ready(State(readiness): State<Arc<Readiness>>) -> (StatusCode, &'static str) {
    if readiness.is_set.load(Ordering::Relaxed) && !readiness.not_ready_file.exists() {
        (StatusCode::OK, "ready\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready\n")
    }
}

#[derive(Debug, serde::Deserialize)]
struct Setting {
    ready: bool,
}

async fn set(State(readiness): State<Arc<Readiness>>, Query(setting): Query<Setting>) -> &'static str {
    readiness.is_set.store(setting.ready, Ordering::Relaxed);
    "set\n"
}
