use super::*;

const OUTSIDE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 17);
const HOST: &str = "192.0.2.19:4510";

fn nat(kind: NatKind) -> Nat {
    Nat::new(NatSettings { kind, outside: OUTSIDE })
}

fn address(text: &str) -> SocketAddrV4 {
    text.parse().unwrap()
}

/// A UDP or TCP packet with right checksums.
fn packet(protocol: u8, from: SocketAddrV4, to: SocketAddrV4) -> Vec<u8> {
    let transport = if protocol == protocol::TCP { 20 } else { 8 };
    let length = 20 + transport + 5;
    let mut packet = vec![0; length];
    packet[..4].copy_from_slice(&[0x45, 0, 0, length as u8]);
    packet[8..10].copy_from_slice(&[64, protocol]);
    packet[SOURCE].copy_from_slice(&from.ip().octets());
    packet[DESTINATION].copy_from_slice(&to.ip().octets());
    packet[20..22].copy_from_slice(&from.port().to_be_bytes());
    packet[22..24].copy_from_slice(&to.port().to_be_bytes());
    if protocol == protocol::UDP {
        packet[24..26].copy_from_slice(&13u16.to_be_bytes());
        packet[26] = 1;
    }
    packet[length - 5..].copy_from_slice(b"hello");
    Header::of(&packet).unwrap().finish(&mut packet);
    packet
}

fn ends(packet: &[u8]) -> (SocketAddrV4, SocketAddrV4) {
    let header = Header::of(packet).unwrap();
    let ports = header.ports(packet).unwrap();
    assert_eq!(
        Checksum::new().with(&packet[..header.length]).finish(),
        0,
        "the header's checksum"
    );
    if header.protocol != protocol::ICMP {
        let length = (packet.len() - header.length) as u16;
        let sum = Checksum::new()
            .with(&packet[12..20])
            .with(&[0, header.protocol])
            .with(&length.to_be_bytes());
        assert_eq!(
            sum.with(&packet[header.length..]).finish(),
            0,
            "the transport's checksum"
        );
    }
    (
        SocketAddrV4::new(header.source, ports.source),
        SocketAddrV4::new(header.destination, ports.destination),
    )
}

/// Sends from the host, and says from which address it is seen to send.
fn send(nat: &mut Nat, now: Instant, protocol: u8, to: &str) -> SocketAddrV4 {
    let mut sent = packet(protocol, address(HOST), address(to));
    assert!(nat.outbound(now, &mut sent));
    let (seen, destination) = ends(&sent);
    assert_eq!((*seen.ip(), destination), (OUTSIDE, address(to)));
    seen
}

/// Whether a packet from outside reaches the host.
fn arrives(nat: &mut Nat, now: Instant, protocol: u8, from: &str, to: SocketAddrV4) -> bool {
    let mut sent = packet(protocol, address(from), to);
    let passes = nat.inbound(now, &mut sent);
    if passes {
        assert_eq!(ends(&sent), (address(from), address(HOST)));
    }
    passes
}

#[test]
fn each_kind_admits_whom_it_should() {
    let now = Instant::now();
    for (kind, other_port, other_host) in [
        (NatKind::FullCone, true, true),
        (NatKind::AddressRestricted, true, false),
        (NatKind::PortRestricted, false, false),
        (NatKind::Symmetric, false, false),
    ] {
        for protocol in [protocol::UDP, protocol::TCP] {
            let mut nat = nat(kind);
            let seen = send(&mut nat, now, protocol, "198.51.100.3:4510");
            let mut arrives = |from| arrives(&mut nat, now, protocol, from, seen);
            assert!(arrives("198.51.100.3:4510"), "{kind:?}: the answer");
            assert_eq!(arrives("198.51.100.3:99"), other_port, "{kind:?}: another port");
            assert_eq!(arrives("198.51.100.4:4510"), other_host, "{kind:?}: another host");
        }
    }
}

#[test]
fn only_a_symmetric_one_looks_different_to_everyone() {
    let now = Instant::now();
    for kind in [
        NatKind::FullCone,
        NatKind::AddressRestricted,
        NatKind::PortRestricted,
        NatKind::Symmetric,
    ] {
        let mut nat = nat(kind);
        let seen = ["198.51.100.3:4510", "198.51.100.4:4510", "198.51.100.3:4510"]
            .map(|to| send(&mut nat, now, protocol::UDP, to));
        assert_eq!(seen[0], seen[2]);
        assert_eq!(seen[0] != seen[1], kind == NatKind::Symmetric, "{kind:?}");
    }
}

#[test]
fn nobody_gets_in_who_was_not_asked_or_comes_late() {
    let now = Instant::now();
    let mut nat = nat(NatKind::FullCone);
    assert!(!arrives(
        &mut nat,
        now,
        protocol::UDP,
        "198.51.100.3:4510",
        SocketAddrV4::new(OUTSIDE, 4510)
    ));
    assert!(
        !arrives(&mut nat, now, protocol::UDP, "198.51.100.3:4510", address(HOST)),
        "by its own address"
    );
    let seen = send(&mut nat, now, protocol::UDP, "198.51.100.3:4510");
    let late = now + patience(protocol::UDP);
    assert!(!arrives(&mut nat, late, protocol::UDP, "198.51.100.3:4510", seen));
    assert_eq!(
        send(&mut nat, late, protocol::UDP, "198.51.100.3:4510"),
        seen,
        "and the host opens it again"
    );
}

#[test]
fn an_error_finds_the_host_whose_packet_it_quotes() {
    let now = Instant::now();
    let mut nat = nat(NatKind::Symmetric);
    let mut sent = packet(protocol::UDP, address(HOST), address("198.51.100.3:4510"));
    assert!(nat.outbound(now, &mut sent));
    let mut error = vec![0; 28];
    error[..4].copy_from_slice(&[0x45, 0, 0, (28 + sent.len()) as u8]);
    error[8..10].copy_from_slice(&[64, protocol::ICMP]);
    error[SOURCE].copy_from_slice(&[203, 0, 113, 254]);
    error[DESTINATION].copy_from_slice(&OUTSIDE.octets());
    error[20..22].copy_from_slice(&[3, 4]);
    error.extend(&sent);
    assert!(nat.inbound(now, &mut error));
    assert_eq!(&error[DESTINATION], address(HOST).ip().octets());
    assert_eq!(Checksum::new().with(&error[20..]).finish(), 0);
    let quoted = Header::of_quoted(&error[28..]).unwrap();
    assert_eq!(quoted.source, *address(HOST).ip());
    assert_eq!(quoted.ports(&error[28..]).unwrap().source, address(HOST).port());
}

#[test]
fn what_is_cut_short_or_another_family_does_no_harm() {
    let now = Instant::now();
    let mut nat = nat(NatKind::FullCone);
    let whole = packet(protocol::TCP, address(HOST), address("198.51.100.3:80"));
    for length in 0..whole.len() {
        let mut cut = whole[..length].to_vec();
        nat.outbound(now, &mut cut);
        nat.inbound(now, &mut cut);
    }
    let mut v6 = vec![0; 48];
    v6[0] = 0x60;
    v6[5] = 8;
    assert!(nat.outbound(now, &mut v6) && nat.inbound(now, &mut v6));
}
