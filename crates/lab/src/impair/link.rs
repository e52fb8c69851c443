//! A link as a whole: MTU, then address translation, then the pipe of the direction. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Instant;

use packet::{IpHeader, too_big_reply};

use super::nat::Nat;
use super::pipe::Pipe;
use super::settings::Settings;

/// Where a frame comes from, or goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// The host's.
    Near,
    /// Everybody else's.
    Far,
}

/// Both directions.
#[derive(Debug)]
pub(super) struct Link {
    out: Pipe,
    into: Pipe,
    nat: Option<Nat>,
}

impl Link {
    pub(super) fn new(settings: Settings, seed: u64) -> Self {
        Self {
            out: Pipe::new(settings.out, seed),
            into: Pipe::new(settings.into, seed.wrapping_add(1)),
            nat: settings.nat.map(Nat::new),
        }
    }

    /// New settings. A NAT that stays as it was keeps its mappings.
    pub(super) fn set(&mut self, settings: Settings) {
        self.out.set(settings.out);
        self.into.set(settings.into);
        if self.nat.as_ref().map(Nat::settings) != settings.nat {
            self.nat = settings.nat.map(Nat::new);
        }
    }

    /// Takes in an Ethernet frame that came from a side.
    pub(super) fn handle_frame(&mut self, from: Side, now: Instant, frame: &[u8]) {
        let mut frame = frame.to_vec();
        if let Some(packet) = ip_packet(&mut frame) {
            let settings = match from {
                Side::Near => self.out.settings(),
                Side::Far => self.into.settings(),
            };
            if let Some(mtu) = settings.mtu.filter(|mtu| packet.len() > usize::from(*mtu)) {
                let reply = (!settings.is_silent).then(|| too_big(packet, mtu)).flatten();
                if let Some(reply) = reply {
                    let reply = answer(&frame, &reply);
                    self.back(from).handle_frame(now, reply);
                }
                return;
            }
            let passes = match (&mut self.nat, from) {
                (None, _) => true,
                (Some(nat), Side::Near) => nat.outbound(now, packet),
                (Some(nat), Side::Far) => nat.inbound(now, packet),
            };
            if !passes {
                return;
            }
        }
        match from {
            Side::Near => self.out.handle_frame(now, frame),
            Side::Far => self.into.handle_frame(now, frame),
        }
    }

    /// The next frame that is due, and the side that it goes to.
    pub(super) fn poll_transmit(&mut self, now: Instant) -> Option<(Side, Vec<u8>)> {
        let out = self.out.poll_transmit(now).map(|frame| (Side::Far, frame));
        out.or_else(|| self.into.poll_transmit(now).map(|frame| (Side::Near, frame)))
    }

    /// When the next frame is due.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        [self.out.poll_timeout(), self.into.poll_timeout()]
            .into_iter()
            .flatten()
            .min()
    }

    fn back(&mut self, from: Side) -> &mut Pipe {
        match from {
            Side::Near => &mut self.into,
            Side::Far => &mut self.out,
        }
    }
}

/// The IP packet in a frame, without padding.
fn ip_packet(frame: &mut [u8]) -> Option<&mut [u8]> {
    let kind = u16::from_be_bytes([*frame.get(12)?, *frame.get(13)?]);
    if !matches!(kind, IPV4 | IPV6) {
        return None;
    }
    let packet = &mut frame[ETHERNET..];
    let length = IpHeader::parse(packet).ok()?.total_len;
    packet.get_mut(..length)
}

/// A router says so that nobody has: from a neighbour, an error with the neighbour's own address would be refused as a forgery.
fn too_big(packet: &[u8], mtu: u16) -> Option<Vec<u8>> {
    let source = match packet.first()? >> 4 {
        4 => IpAddr::V4(ROUTER_V4),
        _ => IpAddr::V6(ROUTER_V6),
    };
    too_big_reply(packet, Some(source), mtu)
}

/// A frame with a packet, back to whoever sent this one.
fn answer(frame: &[u8], packet: &[u8]) -> Vec<u8> {
    [&frame[6..12], &frame[..6], &frame[12..ETHERNET], packet].concat()
}

const ETHERNET: usize = 14;
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
/// Beside those of the internet's router, and nobody's in any lab.
const ROUTER_V4: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 253);
const ROUTER_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 2);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::impair::settings::Impairment;

    fn frame(length: u16, may_fragment: bool) -> Vec<u8> {
        let mut packet = vec![0; usize::from(length)];
        packet[..4].copy_from_slice(&[0x45, 0, (length >> 8) as u8, length as u8]);
        packet[6] = if may_fragment { 0 } else { 0x40 };
        packet[8..10].copy_from_slice(&[64, 17]);
        packet[12..16].copy_from_slice(&[192, 0, 2, 19]);
        packet[16..20].copy_from_slice(&[192, 0, 2, 35]);
        [&[1; 6][..], &[2; 6], &IPV4.to_be_bytes(), &packet].concat()
    }

    fn narrow(mtu: u16, is_silent: bool) -> Link {
        let out = Impairment {
            mtu: Some(mtu),
            is_silent,
            ..Impairment::default()
        };
        Link::new(
            Settings {
                out,
                ..Settings::default()
            },
            1,
        )
    }

    #[test]
    fn what_is_too_large_comes_back_as_an_error_or_not_at_all() {
        let now = Instant::now();
        let mut link = narrow(1300, false);
        link.handle_frame(Side::Near, now, &frame(1300, false));
        assert_eq!(link.poll_transmit(now), Some((Side::Far, frame(1300, false))));
        link.handle_frame(Side::Near, now, &frame(1301, false));
        let (side, error) = link.poll_transmit(now).unwrap();
        assert_eq!(side, Side::Near, "to the sender");
        assert_eq!(
            (&error[..6], &error[6..12]),
            (&[2; 6][..], &[1; 6][..]),
            "from whom it was sent to"
        );
        assert_eq!(&error[ETHERNET + 20..ETHERNET + 22], &[3, 4], "fragmentation needed");
        assert_eq!(u16::from_be_bytes([error[ETHERNET + 26], error[ETHERNET + 27]]), 1300);
        assert_eq!(link.poll_transmit(now), None);

        let mut link = narrow(1300, true);
        link.handle_frame(Side::Near, now, &frame(1301, false));
        assert_eq!(link.poll_timeout(), None, "silent");
        link.handle_frame(Side::Far, now, &frame(1301, false));
        assert_eq!(
            link.poll_transmit(now).unwrap().0,
            Side::Near,
            "the other direction is wide"
        );
    }

    #[test]
    fn what_is_no_packet_passes() {
        let now = Instant::now();
        let mut link = narrow(1300, false);
        for junk in [vec![], vec![0; 13], vec![8; 14], [&[0; 12][..], &[8, 0, 0x45]].concat()] {
            link.handle_frame(Side::Near, now, &junk);
            assert_eq!(link.poll_transmit(now), Some((Side::Far, junk)));
        }
    }
}
