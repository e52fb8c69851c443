//! Congestion marks, from a sender's socket over the outer header to the receiver's (RFC 6040).

use std::io::IoSliceMut;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::process::Command;

use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg};
use tunnel::{DropReason, Engine};

use crate::bed::{Bed, Side, must_skip, wait_until};
use crate::traffic::{set_option, udp};

const CAPABLE: i32 = 0b10;
const CONGESTED: u8 = 0b11;

/// A router on the way that marks what may be marked.
fn congest(side: &Side, rule: &str) {
    let script = format!(
        "table inet way {{ chain in {{ type filter hook prerouting priority -300; iifname \"under\" meta l4proto udp {rule}; }}; }}"
    );
    let status = Command::new("ip")
        .args(["netns", "exec", side.namespace.name(), "nft", &script])
        .status()
        .expect("nftables is installed");
    assert!(status.success(), "nft refuses {script}");
}

fn mark(socket: &UdpSocket, family: usize, tos: i32) {
    let (level, option) = [
        (libc::IPPROTO_IP, libc::IP_TOS),
        (libc::IPPROTO_IPV6, libc::IPV6_TCLASS),
    ][family];
    set_option(socket, level, (option, tos));
}

/// The mark of the next datagram.
fn receive_mark(socket: &UdpSocket) -> u8 {
    let (mut bytes, mut control) = ([0; 64], nix::cmsg_space!(i32));
    let mut parts = [IoSliceMut::new(&mut bytes)];
    let fd = socket.as_raw_fd();
    let message = recvmsg::<SockaddrStorage>(fd, &mut parts, Some(&mut control), MsgFlags::empty()).unwrap();
    let mark = message.cmsgs().unwrap().find_map(|message| match message {
        ControlMessageOwned::Ipv4Tos(tos) => Some(tos),
        ControlMessageOwned::Ipv6TClass(class) => Some(class as u8),
        _ => None,
    });
    mark.expect("the socket asks for it") & 0b11
}

#[test]
fn marks_cross_outwards_and_inwards() {
    if must_skip(None) {
        return;
    }
    for underlay in [0, 1] {
        let bed = Bed::with_lanes(underlay, 2);
        let ends = [0, 1].map(|family| {
            let (from, to) = (udp(&bed.east, family), udp(&bed.west, family));
            let (level, option) = [
                (libc::IPPROTO_IP, libc::IP_RECVTOS),
                (libc::IPPROTO_IPV6, libc::IPV6_RECVTCLASS),
            ][family];
            set_option(&to, level, (option, 1));
            (from, to)
        });
        let crossed = |family: usize, tos: i32| {
            let (from, to) = &ends[family];
            mark(from, family, tos);
            from.send_to(b"marked", to.local_addr().unwrap()).unwrap();
            receive_mark(to)
        };
        for family in [0, 1] {
            for tos in 0..4 {
                assert_eq!(
                    i32::from(crossed(family, tos)),
                    tos,
                    "family {family}, underlay {underlay}"
                );
            }
        }
        // Only what says on the outside that it understands is marked, so that an unmarked outside would fail here.
        let ip = ["ip", "ip6"][underlay];
        congest(&bed.west, &format!("{ip} ecn ect0 {ip} ecn set ce"));
        for family in [0, 1] {
            assert_eq!(
                crossed(family, CAPABLE),
                CONGESTED,
                "family {family}, underlay {underlay}"
            );
            assert_eq!(crossed(family, 0), 0, "family {family}, underlay {underlay}");
        }
        // A router that marks what does not understand: its datagrams are as good as lost.
        congest(&bed.west, &format!("{ip} ecn set ce"));
        let (from, to) = &ends[0];
        mark(from, 0, 0);
        wait_until("what cannot be marked is dropped", || {
            from.send_to(b"unmarked", to.local_addr().unwrap()).unwrap();
            bed.west.engine().dropped(DropReason::Congested) > 0
        });
    }
}
