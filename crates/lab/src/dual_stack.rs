//! Sockets that answer both families at one port, or IPv4 alone on a kernel without IPv6.

use std::net::{Ipv4Addr, Ipv6Addr};

use anyhow::Context;
use tokio::net::{TcpListener, UdpSocket};

/// Listens for TCP at every address of this network namespace. Port 0 chooses a free one.
pub(crate) async fn tcp(port: u16) -> anyhow::Result<TcpListener> {
    match TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).await {
        Ok(listener) => Ok(listener),
        Err(_) => TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))
            .await
            .with_context(|| format!("cannot listen on TCP port {port}")),
    }
}

/// Receives UDP at every address of this network namespace.
pub(crate) async fn udp(port: u16) -> anyhow::Result<UdpSocket> {
    match UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port)).await {
        Ok(socket) => Ok(socket),
        Err(_) => UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port))
            .await
            .with_context(|| format!("cannot receive on UDP port {port}")),
    }
}
