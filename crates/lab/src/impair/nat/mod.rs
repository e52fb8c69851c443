//! Many hosts behind one IPv4 address, as a home or a cloud's NAT gateway has it. Pure.
//!
//! A host that sends opens an outside port, which stays its own while it is used. The kind decides who may send to that port; a
//! symmetric NAT opens another port for each address and port sent to, which is what defeats hole punching. TCP follows the same
//! rule as UDP; echo requests have their identifier in the port's place. ICMP errors follow the packet that they quote. Later
//! fragments have no ports and are dropped, as small NATs do; IPv6 passes as it is.

use std::collections::{BTreeSet, HashMap};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use packet::{Checksum, IpHeader, protocol};

use super::settings::{NatKind, NatSettings};

/// Who sends from which outside port.
#[derive(Debug)]
pub(super) struct Nat {
    settings: NatSettings,
    ports: HashMap<Flow, u16>,
    mappings: HashMap<(u8, u16), Mapping>,
    next_port: u16,
}

/// What has an outside port of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Flow {
    protocol: u8,
    host: SocketAddrV4,
    /// Only behind a symmetric NAT.
    peer: Option<SocketAddrV4>,
}

#[derive(Debug)]
struct Mapping {
    flow: Flow,
    /// To whom the host has sent.
    peers: BTreeSet<SocketAddrV4>,
    used: Instant,
}

impl Nat {
    pub(super) fn new(settings: NatSettings) -> Self {
        Self {
            settings,
            ports: HashMap::new(),
            mappings: HashMap::new(),
            next_port: FIRST_PORT,
        }
    }

    pub(super) fn settings(&self) -> NatSettings {
        self.settings
    }

    /// Translates a packet of a host. False: it does not pass.
    pub(super) fn outbound(&mut self, now: Instant, packet: &mut [u8]) -> bool {
        let Some(header) = Header::of(packet) else {
            return packet.first().is_some_and(|byte| byte >> 4 == 6);
        };
        // The router's own, such as its ICMP errors.
        if header.source == self.settings.outside {
            return true;
        }
        let Some(ports) = header.ports(packet) else {
            return false;
        };
        let peer = SocketAddrV4::new(header.destination, ports.destination);
        let flow = Flow {
            protocol: header.protocol,
            host: SocketAddrV4::new(header.source, ports.source),
            peer: (self.settings.kind == NatKind::Symmetric).then_some(peer),
        };
        let Some(port) = self.port_of(now, flow) else {
            return false;
        };
        if let Some(mapping) = self.mappings.get_mut(&(flow.protocol, port)) {
            mapping.peers.insert(peer);
            mapping.used = now;
        }
        packet[SOURCE].copy_from_slice(&self.settings.outside.octets());
        header.write_port(packet, ports.source_at, port);
        header.finish(packet);
        true
    }

    /// Translates a packet for a host. False: nobody inside asked for it.
    pub(super) fn inbound(&self, now: Instant, packet: &mut [u8]) -> bool {
        let Some(header) = Header::of(packet) else {
            return packet.first().is_some_and(|byte| byte >> 4 == 6);
        };
        if header.destination != self.settings.outside {
            return false;
        }
        if header.is_icmp_error(packet) {
            return self.inbound_error(&header, packet);
        }
        let Some(ports) = header.ports(packet) else {
            return false;
        };
        let peer = SocketAddrV4::new(header.source, ports.source);
        let kind = self.settings.kind;
        let Some(mapping) = self.mappings.get(&(header.protocol, ports.destination)) else {
            return false;
        };
        let may = match kind {
            NatKind::FullCone => true,
            NatKind::AddressRestricted => mapping.peers.iter().any(|known| known.ip() == peer.ip()),
            // Echo replies have one identifier for both ends.
            NatKind::PortRestricted | NatKind::Symmetric if header.protocol == protocol::ICMP => {
                mapping.peers.iter().any(|known| known.ip() == peer.ip())
            }
            NatKind::PortRestricted | NatKind::Symmetric => mapping.peers.contains(&peer),
        };
        let is_fresh = now.saturating_duration_since(mapping.used) < patience(header.protocol);
        if !may || !is_fresh {
            return false;
        }
        let host = mapping.flow.host;
        packet[DESTINATION].copy_from_slice(&host.ip().octets());
        header.write_port(packet, ports.destination_at, host.port());
        header.finish(packet);
        true
    }

    /// The error quotes a packet that has left here, which is translated back.
    fn inbound_error(&self, header: &Header, packet: &mut [u8]) -> bool {
        let quoted_at = header.length + ICMP_HEADER;
        let Some(quoted) = packet.get_mut(quoted_at..) else {
            return false;
        };
        let Some(inner) = Header::of_quoted(quoted).filter(|inner| inner.source == self.settings.outside) else {
            return false;
        };
        let Some(ports) = inner.ports(quoted) else {
            return false;
        };
        let Some(mapping) = self.mappings.get(&(inner.protocol, ports.source)) else {
            return false;
        };
        let host = mapping.flow.host;
        quoted[SOURCE].copy_from_slice(&host.ip().octets());
        inner.write_port(quoted, ports.source_at, host.port());
        inner.finish_header(quoted);
        packet[DESTINATION].copy_from_slice(&host.ip().octets());
        header.finish(packet);
        true
    }

    /// The flow's outside port, opened if need be; none when all are taken.
    fn port_of(&mut self, now: Instant, flow: Flow) -> Option<u16> {
        if let Some(port) = self.ports.get(&flow) {
            return Some(*port);
        }
        let is_free = |mapping: Option<&Mapping>| {
            mapping.is_none_or(|mapping| now.saturating_duration_since(mapping.used) >= patience(mapping.flow.protocol))
        };
        let candidates = (self.next_port..=u16::MAX).chain(FIRST_PORT..self.next_port);
        let port = candidates
            .into_iter()
            .find(|port| is_free(self.mappings.get(&(flow.protocol, *port))))?;
        self.next_port = port.checked_add(1).unwrap_or(FIRST_PORT);
        let mapping = Mapping {
            flow,
            peers: BTreeSet::new(),
            used: now,
        };
        if let Some(old) = self.mappings.insert((flow.protocol, port), mapping) {
            self.ports.remove(&old.flow);
        }
        self.ports.insert(flow, port);
        Some(port)
    }
}

/// What is translated of an IPv4 packet.
struct Header {
    source: Ipv4Addr,
    destination: Ipv4Addr,
    protocol: u8,
    length: usize,
    is_later_fragment: bool,
}

/// Ports, and where they stand.
struct Ports {
    source: u16,
    destination: u16,
    source_at: usize,
    destination_at: usize,
}

impl Header {
    fn of(packet: &[u8]) -> Option<Self> {
        let header = IpHeader::parse(packet).ok()?;
        let (std::net::IpAddr::V4(source), std::net::IpAddr::V4(destination)) = (header.source, header.destination)
        else {
            return None;
        };
        Some(Self {
            source,
            destination,
            protocol: header.protocol,
            length: header.header_len,
            is_later_fragment: header.is_later_fragment,
        })
    }

    /// Of a packet of which an error quotes the beginning, so that its length may exceed what is there.
    fn of_quoted(packet: &[u8]) -> Option<Self> {
        let octets = |at: usize| packet.get(at..at + 4).and_then(|bytes| <[u8; 4]>::try_from(bytes).ok());
        let first = *packet.first()?;
        (first >> 4 == 4).then_some(())?;
        Some(Self {
            source: octets(12)?.into(),
            destination: octets(16)?.into(),
            protocol: packet[9],
            length: usize::from(first & 15) * 4,
            is_later_fragment: u16::from_be_bytes([packet[6], packet[7]]) & 0x1fff != 0,
        })
    }

    fn ports(&self, packet: &[u8]) -> Option<Ports> {
        if self.is_later_fragment {
            return None;
        }
        let word = |at: usize| Some(u16::from_be_bytes([*packet.get(at)?, *packet.get(at + 1)?]));
        match self.protocol {
            protocol::TCP | protocol::UDP => Some(Ports {
                source: word(self.length)?,
                destination: word(self.length + 2)?,
                source_at: self.length,
                destination_at: self.length + 2,
            }),
            protocol::ICMP if matches!(packet.get(self.length)?, 0 | 8) => {
                let (identifier, at) = (word(self.length + 4)?, self.length + 4);
                Some(Ports {
                    source: identifier,
                    destination: identifier,
                    source_at: at,
                    destination_at: at,
                })
            }
            _ => None,
        }
    }

    fn is_icmp_error(&self, packet: &[u8]) -> bool {
        self.protocol == protocol::ICMP && matches!(packet.get(self.length), Some(3 | 11 | 12))
    }

    fn write_port(&self, packet: &mut [u8], at: usize, port: u16) {
        packet[at..at + 2].copy_from_slice(&port.to_be_bytes());
    }

    /// Makes the checksums right after addresses and ports have changed.
    fn finish(&self, packet: &mut [u8]) {
        self.finish_header(packet);
        let at = self.length
            + match self.protocol {
                protocol::TCP => 16,
                protocol::UDP => 6,
                _ => 2,
            };
        let is_unused = self.protocol == protocol::UDP && packet.get(at..at + 2) == Some(&[0, 0]);
        if packet.len() < at + 2 || is_unused {
            return;
        }
        packet[at..at + 2].fill(0);
        let mut sum = Checksum::new();
        if self.protocol != protocol::ICMP {
            // At most 65,535, as the packet's own length field has it.
            let length = (packet.len() - self.length) as u16;
            sum = sum
                .with(&packet[SOURCE.start..DESTINATION.end])
                .with(&[0, self.protocol])
                .with(&length.to_be_bytes());
        }
        let sum = match sum.with(&packet[self.length..]).finish() {
            // In UDP, no checksum at all is written as 0.
            0 if self.protocol == protocol::UDP => u16::MAX,
            sum => sum,
        };
        packet[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    }

    fn finish_header(&self, packet: &mut [u8]) {
        packet[10..12].fill(0);
        let sum = Checksum::new().with(&packet[..self.length]).finish();
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
    }
}

/// How long a mapping outlives its last packet from inside.
fn patience(protocol: u8) -> Duration {
    match protocol {
        protocol::TCP => Duration::from_secs(2 * 3600),
        _ => Duration::from_secs(120),
    }
}

const SOURCE: std::ops::Range<usize> = 12..16;
const DESTINATION: std::ops::Range<usize> = 16..20;
const ICMP_HEADER: usize = 8;
/// Above what hosts listen on.
const FIRST_PORT: u16 = 20_000;

#[cfg(test)]
mod tests;
