use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::Shared;
use crate::answer::{Outcome, Transport, answer, brief};

/// Accepts for ever.
pub(super) async fn serve(listener: TcpListener, shared: Shared) {
    let slots = Arc::new(Semaphore::new(MAX_CLIENTS));
    loop {
        let slot = Arc::clone(&slots)
            .acquire_owned()
            .await
            .expect("the semaphore is never closed");
        match listener.accept().await {
            Ok((stream, client)) => {
                let shared = shared.clone();
                tokio::spawn(async move {
                    if let Err(error) = serve_stream(stream, client.ip(), &shared).await {
                        tracing::debug!(%error, "a TCP client");
                    }
                    drop(slot);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a TCP client");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Queries one after the other, each after its length (RFC 7766).
async fn serve_stream(mut stream: TcpStream, client: IpAddr, shared: &Shared) -> std::io::Result<()> {
    let (mut query, mut response, mut message) = (Vec::new(), Vec::new(), Vec::new());
    for turn in 0.. {
        let Ok(length) = tokio::time::timeout(IDLE, stream.read_u16()).await else {
            return Ok(());
        };
        match length {
            Ok(length) => query.resize(usize::from(length), 0),
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(()),
            Err(error) => return Err(error),
        }
        tokio::time::timeout(IDLE, stream.read_exact(&mut query)).await??;
        if !respond(&query, client, turn, shared, &mut response).await {
            return Ok(());
        }
        let length = u16::try_from(response.len()).expect("a response is built within 65,535 bytes");
        message.clear();
        message.extend(length.to_be_bytes());
        message.extend_from_slice(&response);
        tokio::time::timeout(IDLE, stream.write_all(&message)).await??;
    }
    Ok(())
}

/// Writes the response; false when there is none.
async fn respond(query: &[u8], client: IpAddr, turn: usize, shared: &Shared, response: &mut Vec<u8>) -> bool {
    let zone = shared.zone.load_full();
    let asker = shared.asker(Transport::Tcp, client);
    let answered = if !shared.access.admits(asker.address) {
        brief(query, Outcome::Refused, response)
    } else if let Some(forwarder) = &shared.forwarder
        && let Some(servers) = forwarder.servers(query, &zone)
    {
        let relayed = forwarder.relay_stream(query, servers).await;
        *response = relayed.unwrap_or_default();
        return !response.is_empty();
    } else {
        answer(query, &zone, &asker, turn, response)
    };
    match answered {
        Some(answered) => shared.metrics.count(Transport::Tcp, answered.outcome),
        None => shared.metrics.ignored.inc(),
    }
    answered.is_some()
}

const MAX_CLIENTS: usize = 256;
const IDLE: Duration = Duration::from_secs(10);
