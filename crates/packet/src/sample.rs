//! Whole, right packets for the tests of this crate, of every layout that matters.

use crate::checksum::Checksum;
use crate::ip::protocol;

#[derive(Debug, Clone)]
pub(crate) struct Sample {
    v6: bool,
    tcp: bool,
    addresses: [u8; 2],
    ports: (u16, u16),
    pub(crate) seq: u32,
    pub(crate) ack: u32,
    pub(crate) flags: u8,
    pub(crate) window: u16,
    pub(crate) id: u16,
    pub(crate) dont_fragment: bool,
    pub(crate) ttl: u8,
    pub(crate) class: u8,
    pub(crate) options: Vec<u8>,
    extensions: Vec<(u8, u8)>,
    pub(crate) payload: Vec<u8>,
}

impl Sample {
    pub(crate) fn of(v6: bool, tcp: bool) -> Self {
        Self {
            v6,
            tcp,
            addresses: [1, 2],
            ports: (40_000, 5201),
            seq: 0xffff_fe00,
            ack: 77,
            flags: ACK,
            window: 500,
            id: 0xfffe,
            dont_fragment: true,
            ttl: 64,
            class: 0,
            options: Vec::new(),
            extensions: Vec::new(),
            payload: Vec::new(),
        }
    }

    pub(crate) fn tcp_v4() -> Self {
        Self::of(false, true)
    }

    pub(crate) fn tcp_v6() -> Self {
        Self::of(true, true)
    }

    pub(crate) fn udp_v4() -> Self {
        Self::of(false, false)
    }

    pub(crate) fn udp_v6() -> Self {
        Self::of(true, false)
    }

    pub(crate) fn ports(mut self, source: u16, destination: u16) -> Self {
        self.ports = (source, destination);
        self
    }

    pub(crate) fn swapped(mut self) -> Self {
        self.addresses.reverse();
        self
    }

    pub(crate) fn traffic_class(mut self, class: u8) -> Self {
        self.class = class;
        self
    }

    pub(crate) fn payload(mut self, payload: &[u8]) -> Self {
        self.payload = payload.to_vec();
        self
    }

    pub(crate) fn flags(mut self, flags: u8) -> Self {
        self.flags = flags;
        self
    }

    /// TCP options, a multiple of four bytes and at most 40.
    pub(crate) fn options(mut self, options: &[u8]) -> Self {
        self.options = options.to_vec();
        self
    }

    /// An IPv6 extension header of `8 + 8 × units` bytes before what is there already.
    pub(crate) fn extension(mut self, kind: u8, units: u8) -> Self {
        self.extensions.insert(0, (kind, units));
        self
    }

    pub(crate) fn build(&self) -> Vec<u8> {
        let transport_protocol = if self.tcp { protocol::TCP } else { protocol::UDP };
        let mut transport = self.transport();
        let [from, to] = self.addresses;
        let addresses = if self.v6 {
            let address = |last| [0xfd, last, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last];
            [address(from), address(to)].concat()
        } else {
            let address = |last| [10, last, last + 1, last + 2];
            [address(from), address(to)].concat()
        };
        let sum = Checksum::new()
            .with(&addresses)
            .with_word(transport_protocol.into())
            .with_word(transport.len() as u16)
            .with(&transport)
            .finish();
        let sum = if !self.tcp && sum == 0 { 0xffff } else { sum };
        let place = if self.tcp { 16 } else { 6 };
        transport[place..place + 2].copy_from_slice(&sum.to_be_bytes());
        let mut packet = if self.v6 {
            self.v6_header(transport_protocol, transport.len(), &addresses)
        } else {
            self.v4_header(transport_protocol, transport.len(), &addresses)
        };
        packet.extend_from_slice(&transport);
        packet
    }

    fn transport(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend_from_slice(&self.ports.0.to_be_bytes());
        bytes.extend_from_slice(&self.ports.1.to_be_bytes());
        if self.tcp {
            bytes.extend_from_slice(&self.seq.to_be_bytes());
            bytes.extend_from_slice(&self.ack.to_be_bytes());
            bytes.extend_from_slice(&[((20 + self.options.len()) << 2) as u8, self.flags]);
            bytes.extend_from_slice(&self.window.to_be_bytes());
            bytes.extend_from_slice(&[0; 4]);
            bytes.extend_from_slice(&self.options);
        } else {
            bytes.extend_from_slice(&(8 + self.payload.len() as u16).to_be_bytes());
            bytes.extend_from_slice(&[0; 2]);
        }
        bytes.extend_from_slice(&self.payload);
        bytes
    }

    fn v4_header(&self, next: u8, len: usize, addresses: &[u8]) -> Vec<u8> {
        let mut header = vec![0x45, self.class];
        header.extend_from_slice(&(20 + len as u16).to_be_bytes());
        header.extend_from_slice(&self.id.to_be_bytes());
        header.extend_from_slice(&[if self.dont_fragment { 0x40 } else { 0 }, 0, self.ttl, next, 0, 0]);
        header.extend_from_slice(addresses);
        let sum = Checksum::new().with(&header).finish();
        header[10..12].copy_from_slice(&sum.to_be_bytes());
        header
    }

    fn v6_header(&self, next: u8, len: usize, addresses: &[u8]) -> Vec<u8> {
        let mut extensions = Vec::new();
        let kinds = self.extensions.iter().map(|(kind, _)| *kind).skip(1).chain([next]);
        for ((_, units), next) in self.extensions.iter().zip(kinds) {
            extensions.extend_from_slice(&[next, *units]);
            extensions.resize(extensions.len() + 6 + usize::from(*units) * 8, 0);
        }
        let first = self.extensions.first().map_or(next, |(kind, _)| *kind);
        let mut header = vec![0x60 | self.class >> 4, self.class << 4, 0, 0];
        header.extend_from_slice(&((extensions.len() + len) as u16).to_be_bytes());
        header.extend_from_slice(&[first, self.ttl]);
        header.extend_from_slice(addresses);
        header.extend_from_slice(&extensions);
        header
    }
}

pub(crate) const FIN: u8 = 0x01;
pub(crate) const SYN: u8 = 0x02;
pub(crate) const RST: u8 = 0x04;
pub(crate) const PSH: u8 = 0x08;
pub(crate) const ACK: u8 = 0x10;
pub(crate) const URG: u8 = 0x20;
pub(crate) const CWR: u8 = 0x80;
