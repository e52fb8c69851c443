//! The sockets: UDP and TCP at every port that the Corefile names.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::resolver::Resolver;
use crate::dual_stack;

/// The sockets of one port. Dropping it closes them.
#[derive(Debug)]
pub(super) struct Listener {
    tasks: [JoinHandle<()>; 2],
}

impl Listener {
    /// Binds a port and answers there with whatever resolver is current.
    pub(super) async fn bind(port: u16, current: watch::Receiver<Arc<Resolver>>) -> anyhow::Result<Self> {
        let udp = dual_stack::udp(port).await?;
        let tcp = dual_stack::tcp(port).await?;
        Ok(Self {
            tasks: [
                tokio::spawn(serve_udp(Arc::new(udp), port, current.clone())),
                tokio::spawn(serve_tcp(tcp, port, current)),
            ],
        })
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

async fn serve_udp(socket: Arc<UdpSocket>, port: u16, current: watch::Receiver<Arc<Resolver>>) {
    let mut buffer = vec![0; usize::from(u16::MAX)];
    loop {
        // An error here is an ICMP message about an earlier answer.
        let Ok((length, client)) = socket.recv_from(&mut buffer).await else {
            continue;
        };
        let message = buffer[..length].to_vec();
        let (socket, resolver) = (Arc::clone(&socket), Arc::clone(&current.borrow()));
        tokio::spawn(async move {
            if let Some(answer) = resolver.respond(&message, port, None).await
                && let Err(error) = socket.send_to(&answer, client).await
            {
                tracing::debug!(%client, %error, "answer not sent");
            }
        });
    }
}

async fn serve_tcp(listener: TcpListener, port: u16, current: watch::Receiver<Arc<Resolver>>) {
    loop {
        let Ok((stream, client)) = listener.accept().await else {
            continue;
        };
        let current = current.clone();
        tokio::spawn(async move {
            if let Err(error) = converse(stream, port, &current).await {
                tracing::debug!(%client, %error, "conversation broken off");
            }
        });
    }
}

/// Answers queries, each after its length, until the client closes or falls silent.
async fn converse(mut stream: TcpStream, port: u16, current: &watch::Receiver<Arc<Resolver>>) -> std::io::Result<()> {
    while let Ok(length) = tokio::time::timeout(IDLE, stream.read_u16()).await {
        let mut message = vec![0; usize::from(length?)];
        stream.read_exact(&mut message).await?;
        let resolver = Arc::clone(&current.borrow());
        let Some(answer) = resolver.respond(&message, port, Some(usize::from(u16::MAX))).await else {
            break;
        };
        let length = u16::try_from(answer.len()).map_err(std::io::Error::other)?;
        stream
            .write_all(&[&length.to_be_bytes(), answer.as_slice()].concat())
            .await?;
    }
    Ok(())
}

const IDLE: Duration = Duration::from_secs(10);
