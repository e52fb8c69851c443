//! Serving over TLS.

use std::{future::Future, io, pin::pin, sync::Arc, time::Duration};

use axum::Router;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
    time::timeout,
};
use tokio_rustls::TlsAcceptor;

use crate::{server::Server, tls::ServerTls};

/// Why serving ended.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("cannot use the listening socket")]
    Listener(#[source] io::Error),
}

/// Accepts connections until `shutdown` resolves, then ends watches and waits a moment for the rest.
pub(crate) async fn serve_tls(
    router: Router,
    server: &Arc<Server>,
    listener: std::net::TcpListener,
    tls: &ServerTls,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    listener.set_nonblocking(true).map_err(ServeError::Listener)?;
    let listener = TcpListener::from_std(listener).map_err(ServeError::Listener)?;
    let acceptor = TlsAcceptor::from(Arc::clone(&tls.config));
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
                        tracing::warn!(limit = CONNECTIONS, "too many connections; one was refused");
                        continue;
                    };
                    let (acceptor, router) = (acceptor.clone(), router.clone());
                    let mut closing = server.closing.subscribe();
                    connections.spawn(async move {
                        let closing = async move {
                            let _stopped = closing.wait_for(|closing| *closing).await;
                        };
                        connection(stream, &acceptor, router, closing).await;
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    server.closing.send_replace(true);
    let drained = async { while connections.join_next().await.is_some() {} };
    if timeout(DRAIN, drained).await.is_err() {
        tracing::debug!("some connections did not end in time");
    }
    Ok(())
}

async fn connection(stream: TcpStream, acceptor: &TlsAcceptor, router: Router, closing: impl Future<Output = ()>) {
    let _fast = stream.set_nodelay(true);
    let stream = match timeout(HANDSHAKE, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::debug!(%error, "TLS handshake failed"),
        Err(_) => return tracing::debug!("TLS handshake timed out"),
    };
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HANDSHAKE);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(Some(KEEP_ALIVE))
        .max_concurrent_streams(STREAMS);
    let mut serving = pin!(builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router)));
    let mut closing = pin!(closing);
    let result = tokio::select! {
        result = &mut serving => result,
        () = &mut closing => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = result {
        tracing::trace!(%error, "connection ended");
    }
}

const CONNECTIONS: usize = 4096;
const STREAMS: u32 = 1000;
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Dead peers are noticed by HTTP/2 pings, so that their watches end.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
const DRAIN: Duration = Duration::from_secs(2);
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
