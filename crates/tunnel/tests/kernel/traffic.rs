//! Real sockets whose packets cross a cable.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::thread;
use std::time::Duration;

use tunnel::{DropReason, Engine};

use crate::bed::{Bed, DEADLINE, PORT, Side, must_skip, plan, wait_until};

/// Sends `bytes` from one side to the other over TCP and returns what arrived and from where.
pub(crate) fn transfer(from: &Side, to: &Side, family: usize, bytes: &[u8]) -> (Vec<u8>, SocketAddr) {
    // Any port: a fixed one may still be held, by a process that another test is about to start, which inherits all sockets until then.
    let any = SocketAddr::new(to.pods[family], 0);
    let listener = to.namespace.run(|| TcpListener::bind(any).unwrap());
    let target = listener.local_addr().unwrap();
    let stream = from
        .namespace
        .run(|| TcpStream::connect_timeout(&target, DEADLINE).unwrap());
    thread::scope(|scope| {
        let reader = scope.spawn(move || {
            let (mut stream, peer) = listener.accept().unwrap();
            stream.set_read_timeout(Some(DEADLINE)).unwrap();
            let mut received = Vec::new();
            stream.read_to_end(&mut received).unwrap();
            (received, peer)
        });
        (&stream).write_all(bytes).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        reader.join().unwrap()
    })
}

/// Bytes without a pattern that a shifted or repeated packet could hide in.
pub(crate) fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut bytes = Vec::with_capacity(len);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// A UDP socket on a side's address inside.
pub(crate) fn udp(side: &Side, family: usize) -> UdpSocket {
    let socket = side
        .namespace
        .run(|| UdpSocket::bind(SocketAddr::new(side.pods[family], 0)).unwrap());
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    socket
}

/// Waits for a datagram. A read with a time limit is not resumed by the kernel when the process was stopped for a while.
pub(crate) fn receive(socket: &UdpSocket, buffer: &mut [u8]) -> (usize, SocketAddr) {
    loop {
        match socket.recv_from(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result.unwrap(),
        }
    }
}

/// Asserts that a datagram crosses and comes back.
pub(crate) fn assert_echo(from: &UdpSocket, to: &UdpSocket) {
    let mut buffer = [0; 64];
    from.send_to(b"ping", to.local_addr().unwrap()).unwrap();
    let (len, source) = receive(to, &mut buffer);
    assert_eq!(
        (&buffer[..len], source),
        (b"ping".as_slice(), from.local_addr().unwrap()),
        "the source is kept"
    );
    to.send_to(b"pong", source).unwrap();
    let (len, _) = receive(from, &mut buffer);
    assert_eq!(&buffer[..len], b"pong");
}

#[test]
fn tcp_crosses_unharmed_in_both_families_over_both_underlays() {
    if must_skip(None) {
        return;
    }
    let bytes = noise(4 << 20);
    for underlay in [0, 1] {
        let bed = Bed::with_cable(underlay);
        for family in [0, 1] {
            let (received, source) = transfer(&bed.east, &bed.west, family, &bytes);
            assert!(received == bytes, "underlay {underlay}, family {family}");
            assert_eq!(source.ip(), bed.east.pods[family]);
            let (received, _) = transfer(&bed.west, &bed.east, family, &bytes);
            assert!(received == bytes, "underlay {underlay}, family {family}, back");
        }
        let cable = bed.east.cable().unwrap();
        assert_eq!(
            cable.remote_address,
            Some(SocketAddr::new(bed.west.underlay[underlay], PORT))
        );
        assert!(cable.tx_bytes > 2 * bytes.len() as u64 && cable.rx_bytes > 2 * bytes.len() as u64);
    }
}

#[test]
fn a_sender_learns_the_mtu_of_the_cable() {
    if must_skip(None) {
        return;
    }
    let bed = Bed::with_cable(0);
    let mut narrow = plan(&[(&bed.west, 0)]);
    narrow.mtu = 1400;
    bed.east.engine().apply(&narrow);
    wait_until("the plan is in effect", || {
        bed.east.cable().is_some_and(|cable| cable.mtu == Some(1400))
    });
    // The link takes more than the cable: only the engine knows better.
    bed.east.namespace.ip("link set tun0 mtu 1500");
    for (family, option, do_not_fragment, mtu_option) in [
        (
            0,
            libc::IPPROTO_IP,
            (libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_DO),
            libc::IP_MTU,
        ),
        (
            1,
            libc::IPPROTO_IPV6,
            (libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_DO),
            libc::IPV6_MTU,
        ),
    ] {
        let socket = udp(&bed.east, family);
        let target = udp(&bed.west, family);
        socket.connect(target.local_addr().unwrap()).unwrap();
        set_option(&socket, option, do_not_fragment);
        wait_until("the socket knows the MTU", || {
            let _ = socket.send(&[0; 1450]);
            option_of(&socket, option, mtu_option) == 1400
        });
    }
    assert!(bed.east.engine().dropped(DropReason::TooBig) >= 2);
}

pub(crate) fn set_option(socket: &impl AsRawFd, level: i32, (name, value): (i32, i32)) {
    let len = size_of::<i32>() as libc::socklen_t;
    // SAFETY: the descriptor is open and the pointer refers to an int of the length given.
    let rc = unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, (&raw const value).cast(), len) };
    assert_eq!(rc, 0, "{}", io::Error::last_os_error());
}

fn option_of(socket: &UdpSocket, level: i32, name: i32) -> i32 {
    let mut value = 0i32;
    let mut len = size_of::<i32>() as libc::socklen_t;
    // SAFETY: the descriptor is open and both pointers refer to live values of the lengths given.
    let rc = unsafe { libc::getsockopt(socket.as_raw_fd(), level, name, (&raw mut value).cast(), &raw mut len) };
    assert_eq!(rc, 0, "{}", io::Error::last_os_error());
    value
}

#[test]
fn a_spoofed_source_is_dropped_and_counted() {
    if must_skip(None) {
        return;
    }
    let bed = Bed::with_cable(0);
    bed.east.namespace.ip("address add 10.66.0.1 dev lo");
    let target = udp(&bed.west, 0);
    let spoofer = bed.east.namespace.run(|| UdpSocket::bind("10.66.0.1:0").unwrap());
    spoofer.send_to(b"spoofed", target.local_addr().unwrap()).unwrap();
    wait_until("the spoofed packet is counted", || {
        bed.west.engine().dropped(DropReason::SpoofedSource) == 1
    });
    // What is honest arrives after it, so the spoofed one did not.
    assert_echo(&udp(&bed.east, 0), &target);
}

#[test]
fn random_datagrams_on_the_port_do_no_harm() {
    if must_skip(None) {
        return;
    }
    let bed = Bed::with_cable(0);
    let attacker = bed.east.namespace.run(|| UdpSocket::bind("0.0.0.0:0").unwrap());
    let target = SocketAddr::new(bed.west.underlay[0], PORT);
    let bytes = noise(1 << 16);
    let sent = 2000;
    for n in 0..sent {
        let len = [0, 1, 3, 4, 31, 32, 64, 92, 148, 1400, 65_000][n % 11];
        let mut datagram = bytes[n % 500..][..len].to_vec();
        if len >= 4 && n % 2 == 0 {
            datagram[..4].copy_from_slice(&[(n % 5) as u8, 0, 0, 0]);
        }
        attacker.send_to(&datagram, target).unwrap();
    }
    let refused = || {
        DropReason::ALL
            .iter()
            .map(|reason| bed.west.engine().dropped(*reason))
            .sum::<u64>()
    };
    wait_until("most of them are counted", || refused() > sent as u64 * 9 / 10);
    assert_echo(&udp(&bed.east, 0), &udp(&bed.west, 0));
}

#[test]
fn lanes_that_poll_busily_carry_packets() {
    if must_skip(None) {
        return;
    }
    let mut bed = Bed::new();
    for side in [&mut bed.east, &mut bed.west] {
        (side.lanes, side.busy_poll) = (2, Duration::from_millis(1));
    }
    bed.connect(0);
    let bytes = noise(1 << 20);
    assert_eq!(transfer(&bed.west, &bed.east, 0, &bytes).0, bytes);
    assert_echo(&udp(&bed.east, 1), &udp(&bed.west, 1));
}
