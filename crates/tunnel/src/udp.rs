use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;

use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, Socket, Type};

/// The sockets of one port, one a family.
#[derive(Debug)]
pub(crate) struct UdpPort {
    v4: UdpSocket,
    /// Absent on a host without IPv6.
    v6: Option<UdpSocket>,
    port: u16,
}

/// The cable port cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on UDP port {port}: another process may have it (see \"ss -lunp sport = :{port}\")")]
pub struct BindError {
    /// The port.
    pub port: u16,
    /// What the kernel said.
    #[source]
    pub source: io::Error,
}

impl UdpPort {
    /// Listens on all addresses of both families; port 0 takes any free one.
    pub(crate) fn bind(port: u16) -> Result<Self, BindError> {
        let failed = |source| BindError { port, source };
        let v4 = bind_socket(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))).map_err(failed)?;
        let port = v4.local_addr().map_err(failed)?.port();
        let v6 = match bind_socket(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))) {
            Ok(socket) => Some(socket),
            Err(error) if is_without_ipv6(&error) => {
                tracing::warn!(%error, "this host has no IPv6: cables use IPv4 only");
                None
            }
            Err(source) => return Err(BindError { port, source }),
        };
        Ok(Self { v4, v6, port })
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn sockets(&self) -> impl Iterator<Item = &UdpSocket> {
        std::iter::once(&self.v4).chain(&self.v6)
    }

    /// The socket by which an address is reached.
    pub(crate) fn socket_for(&self, to: SocketAddr) -> Option<&UdpSocket> {
        if to.is_ipv4() { Some(&self.v4) } else { self.v6.as_ref() }
    }

    pub(crate) fn send(&self, to: SocketAddr, datagram: &[u8]) -> io::Result<()> {
        let without = || io::Error::from_raw_os_error(libc::EAFNOSUPPORT);
        let socket = self.socket_for(to).ok_or_else(without)?;
        socket.send_to(datagram, to).map(|_| ())
    }
}

fn bind_socket(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::DGRAM.cloexec().nonblocking(),
        Some(Protocol::UDP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // A burst of a full congestion window must not be lost before the loop comes round. Without CAP_NET_ADMIN the kernel's
    // limit applies, which costs speed and nothing else.
    if setsockopt(&socket, sockopt::RcvBufForce, &SOCKET_BUFFER).is_err() {
        socket.set_recv_buffer_size(SOCKET_BUFFER)?;
    }
    if setsockopt(&socket, sockopt::SndBufForce, &SOCKET_BUFFER).is_err() {
        socket.set_send_buffer_size(SOCKET_BUFFER)?;
    }
    never_fragment(&socket, address.is_ipv6())?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// Datagrams go out whole or not at all, and what the path takes is measured: the kernel's own memory of it, which any ICMP error may
/// write to, does not count.
fn never_fragment(socket: &Socket, is_ipv6: bool) -> io::Result<()> {
    let (level, name, value) = if is_ipv6 {
        (libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_PROBE)
    } else {
        (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_PROBE)
    };
    // SAFETY: the descriptor is open for as long as `socket` is borrowed, and the option is an int, of which the kernel reads
    // the length that it is told.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            (&raw const value).cast(),
            size_of_val(&value) as libc::socklen_t,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

fn is_without_ipv6(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL))
}

const SOCKET_BUFFER: usize = 4 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_is_taken_is_named() {
        let first = UdpPort::bind(0).unwrap();
        let error = UdpPort::bind(first.port()).unwrap_err();
        assert!(
            error.to_string().contains(&format!("UDP port {}", first.port())),
            "{error}"
        );
    }

    #[test]
    fn both_families_share_one_port() {
        let port = UdpPort::bind(0).unwrap();
        for socket in port.sockets() {
            assert_eq!(socket.local_addr().unwrap().port(), port.port());
        }
    }
}
