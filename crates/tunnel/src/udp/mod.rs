//! The sockets of the cable port.
//!
//! All lanes listen on one port: a socket a lane and family, in a group that shares the port, and a program that picks the socket
//! of the lane that a datagram names ([`steering`](crate::steering)). A lane above the first has a second pair of sockets on a
//! port of their own, for peers that it initiates to: so lanes differ in the source port, which spreads them over queues of network
//! cards and over paths, and still only one port has to be open.

mod message;
mod run;

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use nix::sys::socket::{setsockopt, sockopt};
use packet::ecn::Ecn;
use socket2::{Domain, Protocol, Socket, Type};

pub(crate) use message::Inbox;
pub(crate) use run::{Delivery, Run};

/// Which of a lane's sockets a datagram came or goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) enum Via {
    /// The port of all cables.
    #[default]
    Port,
    /// The lane's own port.
    Own,
}

/// An address of the other end, and by which of our sockets it is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Remote {
    pub(crate) via: Via,
    pub(crate) address: SocketAddr,
}

/// The sockets of one port, one a family.
#[derive(Debug)]
pub(crate) struct UdpPort {
    v4: UdpSocket,
    /// Absent on a host without IPv6.
    v6: Option<UdpSocket>,
    port: u16,
    /// Whether the kernel splits a run for us. Given up when a device refuses.
    splits: AtomicBool,
    merges: bool,
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
        Self::bind_sockets(port, Sharing::Refused)
    }

    /// Listens on one port with several sockets, in the order in which a program will number them. Nobody else may have the port.
    pub(crate) fn bind_group(port: u16, members: usize) -> Result<Vec<Self>, BindError> {
        let first = Self::bind_sockets(port, Sharing::Refused)?;
        let port = first.port;
        let mut group = vec![first];
        if members > 1 {
            // Only now, so that an engine that was here before is not joined but noticed.
            for socket in group[0].sockets() {
                setsockopt(socket, sockopt::ReusePort, &true).map_err(|errno| BindError {
                    port,
                    source: errno.into(),
                })?;
            }
        }
        for _ in 1..members {
            group.push(Self::bind_sockets(port, Sharing::Joined)?);
        }
        Ok(group)
    }

    fn bind_sockets(port: u16, sharing: Sharing) -> Result<Self, BindError> {
        let failed = |source| BindError { port, source };
        let v4 = bind_socket(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)), sharing).map_err(failed)?;
        let port = v4.local_addr().map_err(failed)?.port();
        let v6 = match bind_socket(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)), sharing) {
            Ok(socket) => Some(socket),
            Err(error) if is_without_ipv6(&error) => {
                tracing::warn!(%error, "this host has no IPv6: cables use IPv4 only");
                None
            }
            Err(source) => return Err(BindError { port, source }),
        };
        // Zero changes nothing, but a kernel that does not know the option says so.
        let splits = set_option(&v4, libc::SOL_UDP, libc::UDP_SEGMENT, 0).is_ok();
        let merges = std::iter::once(&v4)
            .chain(&v6)
            .all(|socket| set_option(socket, libc::SOL_UDP, libc::UDP_GRO, 1).is_ok());
        Ok(Self {
            v4,
            v6,
            port,
            splits: AtomicBool::new(splits),
            merges,
        })
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Whether the kernel splits what we send.
    pub(crate) fn splits(&self) -> bool {
        self.splits.load(Relaxed)
    }

    /// Whether the kernel merges what we receive.
    pub(crate) fn merges(&self) -> bool {
        self.merges
    }

    pub(crate) fn sockets(&self) -> impl Iterator<Item = &UdpSocket> {
        std::iter::once(&self.v4).chain(&self.v6)
    }

    pub(crate) fn send(&self, to: SocketAddr, datagram: &[u8]) -> io::Result<()> {
        message::send(self.socket(to)?, to, Ecn::NotCapable, None, datagram)
    }

    /// Sends a run.
    pub(crate) fn send_run(&self, run: &Run) -> Delivery {
        let Some((to, ecn)) = run.destination() else {
            return Delivery::default();
        };
        let delivery = run.deliver(self.splits(), |segment, bytes| {
            message::send(self.socket(to.address)?, to.address, ecn, segment, bytes)
        });
        if let Some(error) = &delivery.refused
            && error.raw_os_error() == Some(libc::EIO)
        {
            tracing::warn!(%error, port = self.port, "the network device cannot split datagrams: sending is slower");
            self.splits.store(false, Relaxed);
        }
        delivery
    }

    fn socket(&self, to: SocketAddr) -> io::Result<&UdpSocket> {
        match (to, &self.v6) {
            (SocketAddr::V4(_), _) => Ok(&self.v4),
            (SocketAddr::V6(_), Some(v6)) => Ok(v6),
            (SocketAddr::V6(_), None) => Err(io::Error::from_raw_os_error(libc::EAFNOSUPPORT)),
        }
    }
}

/// Whether a port may be had together with other sockets of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sharing {
    Refused,
    Joined,
}

fn bind_socket(address: SocketAddr, sharing: Sharing) -> io::Result<UdpSocket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::DGRAM.cloexec().nonblocking(),
        Some(Protocol::UDP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
        socket.set_recv_tclass_v6(true)?;
    } else {
        socket.set_recv_tos_v4(true)?;
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
    socket.set_reuse_port(sharing == Sharing::Joined)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// Datagrams go out whole or not at all, and what the path takes is measured: the kernel's own memory of it, which any ICMP error may
/// write to, does not count.
fn never_fragment(socket: &Socket, is_ipv6: bool) -> io::Result<()> {
    let (level, option, value) = if is_ipv6 {
        (libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_PROBE)
    } else {
        (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_PROBE)
    };
    set_option(socket, level, option, value)
}

fn set_option(socket: &impl AsRawFd, level: libc::c_int, option: libc::c_int, value: libc::c_int) -> io::Result<()> {
    // SAFETY: the descriptor is open, and the kernel reads the four bytes that the pointer refers to.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            (&raw const value).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
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
        for members in [1, 3] {
            let first = UdpPort::bind_group(0, members).unwrap();
            for others in [1, 3] {
                let error = UdpPort::bind_group(first[0].port(), others).unwrap_err();
                assert!(
                    error.to_string().contains(&format!("UDP port {}", first[0].port())),
                    "{error}"
                );
            }
        }
    }

    #[test]
    fn both_families_share_one_port() {
        let port = UdpPort::bind(0).unwrap();
        for socket in port.sockets() {
            assert_eq!(socket.local_addr().unwrap().port(), port.port());
        }
    }
}
