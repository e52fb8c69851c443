//! The kernel's receive offload, and what came of packets in it.

use std::fs::File;
use std::io::{Read, Write};
use std::net::UdpSocket;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::process::Command;
use std::time::{Duration, Instant};

use packet::VirtioNetHeader;

use super::sender::V6_SOURCE;
use super::split;
use crate::bed::{DEADLINE, Namespace};
use crate::traffic::set_option;

/// A namespace with the device, and the socket that watches it.
pub(super) struct Kernel {
    device: File,
    watch: File,
    /// For datagrams of UDP the kernel merges only what a socket wants merged.
    _sockets: [UdpSocket; 2],
    _namespace: Namespace,
}

impl Kernel {
    pub(super) fn new() -> Self {
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
    pub(super) fn merge(&mut self, packets: &[Vec<u8>]) -> Vec<Vec<u8>> {
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

fn is_ours(packet: &[u8]) -> bool {
    match packet.first().map(|first| first >> 4) {
        Some(4) => packet[12..16] == [10, 9, 0, 1],
        Some(6) => packet[8..24] == V6_SOURCE,
        _ => false,
    }
}
