//! The merging of crate `packet` beside the kernel's own (GRO), on the same packets.
//!
//! A TUN device with NAPI passes what is written to it through the kernel's receive offload, and a packet socket sees what came of it,
//! with a header that says how it was merged. The law: every flow comes out of ours as it went in, and what ours made one of, the
//! kernel makes the very same of. We may merge less, and in one case more (`is_deliberate`). The kernel may merge less for a while,
//! when its clock ticks between two packets: then it is asked again.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::net::UdpSocket;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::process::Command;
use std::time::{Duration, Instant};

use packet::{Checksum, Coalescer, Merge, VirtioNetHeader, segment};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestError, TestRunner};

use crate::bed::{DEADLINE, Namespace, must_skip};
use crate::traffic::set_option;

/// A namespace with the device, and the socket that watches it.
struct Kernel {
    device: File,
    watch: File,
    /// For datagrams of UDP the kernel merges only what a socket wants merged.
    _sockets: [UdpSocket; 2],
    _namespace: Namespace,
}

impl Kernel {
    fn new() -> Self {
        let namespace = Namespace::new("gro");
        let device = namespace.run(open_device);
        for line in [
            "address add 10.9.0.2/32 dev lo",
            "address add fd09::2/128 dev lo",
            "link set gro0 up",
        ] {
            namespace.ip(line);
        }
        // How long the kernel waits for more of a flow after each packet, in nanoseconds.
        let status = Command::new("ip")
            .args(["netns", "exec", namespace.name(), "sh", "-c"])
            .arg("echo 2000000 > /sys/class/net/gro0/gro_flush_timeout")
            .status();
        assert!(status.expect("ip can be run").success());
        let sockets = namespace.run(|| ["10.9.0.2:9", "[fd09::2]:9"].map(|at| UdpSocket::bind(at).unwrap()));
        for socket in &sockets {
            set_option(socket, libc::SOL_UDP, (libc::UDP_GRO, 1));
        }
        let watch = namespace.run(open_watch);
        Self {
            device,
            watch,
            _sockets: sockets,
            _namespace: namespace,
        }
    }

    /// What the kernel makes of these packets, merged or not, each with its [`VirtioNetHeader`].
    fn merge(&mut self, packets: &[Vec<u8>]) -> Vec<Vec<u8>> {
        for packet in packets {
            self.device.write_all(packet).unwrap();
        }
        let (deadline, mut found, mut segments) = (Instant::now() + DEADLINE, Vec::new(), 0);
        let mut buffer = vec![0; 1 << 17];
        while segments < packets.len() {
            assert!(
                Instant::now() < deadline,
                "{segments} of {} packets came out",
                packets.len()
            );
            // Its time limit is short, and there is other traffic, such as what the kernel itself says on a new link.
            let Ok(len) = self.watch.read(&mut buffer) else {
                continue;
            };
            let whole = &buffer[..len];
            if is_ours(&whole[VirtioNetHeader::LEN..]) {
                segments += split(whole).len();
                found.push(whole.to_vec());
            }
        }
        found
    }
}

fn open_device() -> File {
    let device = File::options().read(true).write(true).open("/dev/net/tun").unwrap();
    // SAFETY: a request is bytes and integers, for which zero is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"gro0") {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI | libc::IFF_NAPI) as libc::c_short;
    // SAFETY: the descriptor is open, and the kernel reads and writes the request, which lives until the call returns.
    let result = unsafe { libc::ioctl(device.as_raw_fd(), libc::TUNSETIFF as _, &raw mut request) };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
    device
}

fn open_watch() -> File {
    const ALL: u16 = (libc::ETH_P_ALL as u16).to_be();
    // SAFETY: the call takes integers.
    let socket = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, ALL.into()) };
    assert!(socket >= 0, "{}", std::io::Error::last_os_error());
    // SAFETY: the descriptor was made just now, and nobody else has it.
    let socket = unsafe { OwnedFd::from_raw_fd(socket) };
    set_option(&socket, libc::SOL_PACKET, (libc::PACKET_VNET_HDR, 1));
    set_option(&socket, libc::SOL_SOCKET, (libc::SO_RCVBUFFORCE, 16 << 20));
    let limit = socket2::SockRef::from(&socket).set_read_timeout(Some(Duration::from_millis(100)));
    limit.unwrap();
    let index = nix::net::if_::if_nametoindex("gro0").unwrap();
    // SAFETY: an address is integers and bytes, for which zero is a value.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    (address.sll_family, address.sll_protocol, address.sll_ifindex) =
        (libc::AF_PACKET as u16, ALL, index.cast_signed());
    let len = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: the descriptor is open, and the kernel reads the address, which is of the length given.
    let result = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), len) };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
    socket.into()
}

/// What our coalescer makes of them.
fn ours(packets: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut coalescer = Coalescer::new(2048, Merge { tcp: true, udp: true });
    let mut out = Vec::new();
    for packet in packets {
        coalescer.spare()[..packet.len()].copy_from_slice(packet);
        coalescer.commit(packet.len(), &mut |write| out.push(write.to_vec()));
    }
    coalescer.flush(&mut |write| out.push(write.to_vec()));
    out
}

fn split(whole: &[u8]) -> Vec<Vec<u8>> {
    let mut whole = whole.to_vec();
    let (mut header, packet) = VirtioNetHeader::split(&mut whole).unwrap();
    if header.gso_type == VirtioNetHeader::GSO_NONE {
        // What the kernel has checked already is not to be computed again: a wrong sum would become right.
        header.flags = 0;
    }
    let mut segments = segment(header, packet).unwrap();
    let mut packets = Vec::new();
    while let Some(packet) = segments.next_packet() {
        packets.push(packet.to_vec());
    }
    packets
}

/// Packets by flow, in order.
fn flows(packets: impl IntoIterator<Item = Vec<u8>>) -> BTreeMap<u16, Vec<Vec<u8>>> {
    let mut flows = BTreeMap::<u16, Vec<_>>::new();
    for packet in packets {
        flows.entry(source_port(&packet)).or_default().push(packet);
    }
    flows
}

/// Where nothing is fragmented the identification of IPv4 means nothing (RFC 6864), and one that stays is not kept.
fn without_identification(packet: &[u8]) -> Vec<u8> {
    let mut packet = packet.to_vec();
    if packet[0] >> 4 == 4 && packet[6] & 0x40 != 0 {
        packet[4..6].fill(0);
        packet[10..12].fill(0);
    }
    packet
}

fn is_ours(packet: &[u8]) -> bool {
    match packet.first().map(|first| first >> 4) {
        Some(4) => packet[12..16] == [10, 9, 0, 1],
        Some(6) => packet[8..24] == V6_SOURCE,
        _ => false,
    }
}

fn source_port(packet: &[u8]) -> u16 {
    let at = if packet[0] >> 4 == 4 { 20 } else { 40 };
    u16::from_be_bytes([packet[at], packet[at + 1]])
}

/// A connection, and what its next packet says.
#[derive(Debug, Clone)]
struct Sender {
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
enum Event {
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
    fn of(number: u16) -> Self {
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

    fn next(&mut self, event: Event) -> Vec<u8> {
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

fn event() -> impl Strategy<Value = Event> {
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
fn traffic() -> impl Strategy<Value = Vec<Vec<u8>>> {
    proptest::collection::vec((0u16..4, event()), 1..60).prop_map(|steps| {
        let mut senders: Vec<_> = (0..4).map(Sender::of).collect();
        let packet = |(flow, event): (u16, Event)| senders[usize::from(flow)].next(event);
        steps.into_iter().map(packet).collect()
    })
}

#[test]
fn what_we_merge_the_kernel_merges_too() {
    if must_skip(None) {
        return;
    }
    let mut kernel = Kernel::new();
    // Else the kernel might merge nothing, and the test compare nothing.
    let plain: Vec<_> = (0..4)
        .flat_map(|flow| {
            let mut sender = Sender::of(flow);
            (0..10).map(move |_| sender.next(Event::Next))
        })
        .collect();
    compare(&mut kernel, &plain).unwrap();
    assert_eq!(ours(&plain).len(), 4);

    let kernel = std::cell::RefCell::new(kernel);
    let config = Config {
        cases: 200,
        failure_persistence: None,
        ..Config::default()
    };
    let found = TestRunner::new(config).run(&traffic(), |packets| compare(&mut kernel.borrow_mut(), &packets));
    if let Err(TestError::Fail(why, packets)) = found {
        panic!("{why}; of {}", headers(&packets));
    }
}

fn compare(kernel: &mut Kernel, packets: &[Vec<u8>]) -> Result<(), TestCaseError> {
    let fail = |what: String| Err(TestCaseError::fail(what));
    let wholes = ours(packets);
    let sent = flows(packets.iter().cloned());
    let given = flows(wholes.iter().flat_map(|whole| split(whole)));
    for (port, sent) in &sent {
        let [sent, given] = [sent, &given[port]].map(|packets| {
            let packets = packets.iter().map(|packet| without_identification(packet));
            packets.collect::<Vec<_>>()
        });
        if sent != given {
            return fail(format!("flow {port} came out as {}", headers(&given)));
        }
    }
    let mut waiting = sent;
    for whole in &wholes {
        let count = split(whole).len();
        let flow = waiting.get_mut(&source_port(&whole[VirtioNetHeader::LEN..]));
        let group: Vec<_> = flow.expect("it was sent").drain(..count).collect();
        if count == 1 || is_deliberate(&group) {
            continue;
        }
        let mut kernels = Vec::new();
        // With its own clock it is soon one piece, if it is ever.
        for _ in 0..TRIES {
            kernels = kernel.merge(&group);
            if kernels.len() == 1 {
                break;
            }
        }
        if kernels
            .iter()
            .map(|whole| without_hint(whole))
            .ne([without_hint(whole)])
        {
            return fail(format!(
                "of {} we made {} and the kernel {}",
                headers(&group),
                headers(std::slice::from_ref(whole)),
                headers(&kernels)
            ));
        }
    }
    Ok(())
}

/// Without `hdr_len`, which says how the bytes lie in the sender's memory.
fn without_hint(whole: &[u8]) -> Vec<u8> {
    [&whole[..2], &[0; 2], &whole[4..]].concat()
}

/// What we merge and the kernel does not, with reason: a first packet with CWR and others without it. Kernels before accurate ECN merge
/// them as we do, and the header says so, so that a split gives CWR back to the first alone (`GSO_ECN`). With accurate ECN a
/// receiver learns one packet later that the count went on, which is a running total.
fn is_deliberate(group: &[Vec<u8>]) -> bool {
    let first = &group[0];
    match first[0] >> 4 {
        4 => first[9] == 6 && first[33] & CWR != 0,
        _ => first[6] == 6 && first[53] & CWR != 0,
    }
}

/// What matters of packets, for a person.
fn headers(packets: &[Vec<u8>]) -> String {
    let header = |packet: &Vec<u8>| format!("{:02x?} of {}", &packet[..packet.len().min(60)], packet.len());
    packets.iter().map(header).collect::<Vec<_>>().join(", ")
}

const V6_SOURCE: [u8; 16] = [0xfd, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
const V6_TARGET: [u8; 16] = [0xfd, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];
const SIZE: usize = 200;
const TRIES: u32 = 20;
const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const PSH: u8 = 0x08;
const ACK: u8 = 0x10;
const URG: u8 = 0x20;
const ECE: u8 = 0x40;
const CWR: u8 = 0x80;
