//! Connections, and all that may be peculiar about one of their packets.

use packet::Checksum;
use proptest::prelude::*;

/// A connection, and what its next packet says.
#[derive(Debug, Clone)]
pub(super) struct Sender {
    v6: bool,
    tcp: bool,
    port: u16,
    seq: u32,
    ack: u32,
    window: u16,
    id: u16,
    dont_fragment: bool,
    ttl: u8,
    class: u8,
    option: u8,
}

/// What is peculiar to one packet.
#[derive(Debug, Clone, Copy)]
pub(super) enum Event {
    Next,
    Flags(u8),
    Size(u16),
    Gap,
    Ack,
    Window,
    Identification(u16),
    Fragmentable,
    Ttl,
    Class(u8),
    Option,
    Damage(u8),
}

impl Sender {
    pub(super) fn of(number: u16) -> Self {
        Self {
            v6: number & 1 == 1,
            tcp: number & 2 == 0,
            port: 1000 + number,
            seq: 0xffff_f000,
            ack: 7,
            window: 500,
            id: 0xfff0,
            dont_fragment: true,
            ttl: 64,
            class: 0,
            option: 0,
        }
    }

    pub(super) fn next(&mut self, event: Event) -> Vec<u8> {
        let (mut flags, mut size, mut damage) = (ACK, SIZE, None);
        match event {
            Event::Next => {}
            Event::Flags(other) => flags = other,
            Event::Size(other) => size = other.into(),
            Event::Gap => self.seq = self.seq.wrapping_add(1),
            Event::Ack => self.ack += 1,
            Event::Window => self.window += 1,
            Event::Identification(step) => self.id = self.id.wrapping_add(step).wrapping_sub(1),
            Event::Fragmentable => self.dont_fragment = !self.dont_fragment,
            Event::Ttl => self.ttl -= 1,
            Event::Class(class) => self.class = class,
            Event::Option => self.option += 1,
            Event::Damage(at) => damage = Some(at),
        }
        let mut packet = self.build(flags, size);
        if let Some(at) = damage {
            // Behind the addresses, where a flow would become another, and the ports.
            let at = packet.len() - 1 - usize::from(at) % size.max(1);
            packet[at] ^= 1;
        }
        self.seq = self.seq.wrapping_add(size as u32);
        self.id = self.id.wrapping_add(1);
        packet
    }

    fn build(&self, flags: u8, size: usize) -> Vec<u8> {
        let mut transport = [self.port.to_be_bytes(), 9u16.to_be_bytes()].concat();
        let (protocol, sum_at) = if self.tcp { (6, 16) } else { (17, 6) };
        if self.tcp {
            transport.extend(self.seq.to_be_bytes());
            transport.extend(self.ack.to_be_bytes());
            transport.extend([0x60, flags]);
            transport.extend(self.window.to_be_bytes());
            // Checksum, urgent pointer, and an option that nobody knows.
            transport.extend([0, 0, 0, 0, 0xfd, 4, self.option, 0]);
        } else {
            transport.extend((8 + size as u16).to_be_bytes());
            transport.extend([0, 0]);
        }
        transport.extend((0..size).map(|at| (self.seq as usize + at * 7) as u8));
        let len = transport.len() as u16;
        let addresses = if self.v6 {
            [V6_SOURCE, V6_TARGET].concat()
        } else {
            vec![10, 9, 0, 1, 10, 9, 0, 2]
        };
        let pseudo = Checksum::new()
            .with(&addresses)
            .with(&[0, protocol])
            .with(&len.to_be_bytes());
        let sum = pseudo.with(&transport).finish().to_be_bytes();
        transport[sum_at..sum_at + 2].copy_from_slice(&sum);
        let mut packet = if self.v6 {
            let mut header = vec![0x60 | self.class >> 4, self.class << 4, 0, 0];
            header.extend(len.to_be_bytes());
            header.extend([protocol, self.ttl]);
            header
        } else {
            let mut header = vec![0x45, self.class];
            header.extend((20 + len).to_be_bytes());
            header.extend(self.id.to_be_bytes());
            header.extend([u8::from(self.dont_fragment) << 6, 0, self.ttl, protocol, 0, 0]);
            let sum = Checksum::new().with(&header).with(&addresses).finish();
            header[10..12].copy_from_slice(&sum.to_be_bytes());
            header
        };
        packet.extend(addresses);
        packet.extend(transport);
        packet
    }
}

pub(super) fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        40 => Just(Event::Next),
        2 => prop_oneof![Just(PSH | ACK), Just(FIN | ACK), Just(CWR | ACK), Just(ECE | ACK), Just(SYN), Just(RST), Just(URG | ACK)]
            .prop_map(Event::Flags),
        2 => (0u16..2 * SIZE as u16).prop_map(Event::Size),
        1 => Just(Event::Gap),
        1 => Just(Event::Ack),
        1 => Just(Event::Window),
        1 => (0u16..3).prop_map(Event::Identification),
        1 => Just(Event::Fragmentable),
        1 => Just(Event::Ttl),
        1 => (0u8..4).prop_map(Event::Class),
        1 => Just(Event::Option),
        1 => any::<u8>().prop_map(Event::Damage),
    ]
}

/// Packets of four flows, one of each kind, mixed.
pub(super) fn traffic() -> impl Strategy<Value = Vec<Vec<u8>>> {
    proptest::collection::vec((0u16..4, event()), 1..60).prop_map(|steps| {
        let mut senders: Vec<_> = (0..4).map(Sender::of).collect();
        let packet = |(flow, event): (u16, Event)| senders[usize::from(flow)].next(event);
        steps.into_iter().map(packet).collect()
    })
}

pub(super) const V6_SOURCE: [u8; 16] = [0xfd, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
const V6_TARGET: [u8; 16] = [0xfd, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];
const SIZE: usize = 200;
const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const PSH: u8 = 0x08;
const ACK: u8 = 0x10;
const URG: u8 = 0x20;
const ECE: u8 = 0x40;
const CWR: u8 = 0x80;
