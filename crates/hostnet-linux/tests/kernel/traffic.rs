//! What packets meet on a node that holds our state: nothing leaks, sources stay, TCP fits.
//!
//! ```text
//!   pod 10.1.0.2 ── node 10.1.0.1 / 192.0.2.1 ── far 192.0.2.2, the node's default route
//! ```
//! `far` owns an address of the remote cluster. So what arrives there outside the VXLAN has leaked; as the VXLAN peer it is the
//! remote cluster itself.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use hostnet::Via;
use nix::sys::socket::{getsockopt, sockopt::TcpMaxSeg};

use crate::node::{DEADLINE, Sandbox, Tun, desired, peer_vtep, privileged};

pub(crate) struct World {
    pub(crate) pod: Sandbox,
    pub(crate) node: Sandbox,
    pub(crate) far: Sandbox,
}

/// The same in both families: (pod, remote, not remote but behind the default route).
const FAMILIES: [[&str; 3]; 2] = [
    ["10.1.0.2", "10.2.0.9", "10.200.0.9"],
    ["fd01::2", "fd02::9", "fd99::9"],
];

impl World {
    pub(crate) fn new() -> Self {
        let world = Self {
            pod: Sandbox::new("pod"),
            node: Sandbox::new("node"),
            far: Sandbox::new("far"),
        };
        let (pod, node, far) = (&world.pod, &world.node, &world.far);
        node.ip(&format!("link add eth0 type veth peer name eth0 netns {}", far.name()));
        node.ip(&format!("link add pod0 type veth peer name eth0 netns {}", pod.name()));
        for (sandbox, link) in [(node, "eth0"), (node, "pod0"), (pod, "eth0"), (far, "eth0")] {
            sandbox.ip(&format!("link set {link} up"));
        }
        node.pod_addresses();
        for address in ["192.0.2.1/24", "2001:db8::1/64"] {
            node.ip(&format!("addr add {address} dev eth0 nodad"));
        }
        for (route, link) in [("10.1.0.2", "pod0"), ("fd01::2", "pod0")] {
            node.ip(&format!("route add {route} dev {link}"));
        }
        node.ip("route add default via 192.0.2.2");
        node.ip("-6 route add default via 2001:db8::2");
        pod.ip("addr add 10.1.0.2/32 dev eth0");
        pod.ip("addr add fd01::2/128 dev eth0 nodad");
        pod.ip("route add 10.1.0.1 dev eth0");
        pod.ip("route add default via 10.1.0.1");
        // IPv6 finds a neighbour only on the link that has the address.
        node.ip("addr add fe80::1/64 dev pod0 nodad");
        pod.ip("-6 route add default via fe80::1 dev eth0");
        for address in ["192.0.2.2/24", "2001:db8::2/64"] {
            far.ip(&format!("addr add {address} dev eth0 nodad"));
        }
        for [_, remote, other] in FAMILIES {
            far.ip(&format!("addr add {remote} dev lo"));
            far.ip(&format!("addr add {other} dev lo"));
        }
        far.ip("route add 10.1.0.0/16 via 192.0.2.1");
        far.ip("-6 route add fd01::/48 via 2001:db8::1");
        node.exec(
            "sysctl",
            &["-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"],
        );
        world
    }

    /// Makes `far` the VXLAN peer that the node's state expects.
    pub(crate) fn far_joins(&self) {
        let (end, far) = (peer_vtep(), &self.far);
        far.ip("link add vx type vxlan id 7450 dstport 4801 local 192.0.2.2 dev eth0 nolearning");
        far.ip(&format!("link set vx address {} mtu 1450 up", end.mac));
        far.ip(&format!("addr add {}/64 dev vx nodad", end.address));
    }

    /// A socket of the pod that sends there.
    fn socket_to(&self, to: &str) -> UdpSocket {
        let to = SocketAddr::new(to.parse().unwrap(), PORT);
        let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = self.pod.within(|| UdpSocket::bind(any).unwrap());
        socket.connect(to).unwrap();
        socket
    }

    /// Sends one datagram from the pod.
    fn send(&self, to: &str) {
        self.socket_to(to).send(b"x").unwrap();
    }

    /// Whether a datagram from the pod is answered by an error.
    fn is_told(&self, to: &str) -> bool {
        let socket = self.socket_to(to);
        socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        socket.send(b"x").unwrap();
        receive(&socket).is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
    }

    /// A receiver on `far`.
    fn listen(&self, address: &str) -> UdpSocket {
        let address = address.parse::<IpAddr>().unwrap();
        let deadline = Instant::now() + DEADLINE;
        // One of before may still be held, by a process that another test is about to start, which inherits all sockets until then.
        let socket = loop {
            match self.far.within(|| UdpSocket::bind((address, PORT))) {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(10));
                }
                bound => break bound.unwrap(),
            }
        };
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        socket
    }

    fn try_connect(&self, to: &str, port: u16) -> io::Result<TcpStream> {
        let address = SocketAddr::new(to.parse().unwrap(), port);
        self.pod.within(|| TcpStream::connect_timeout(&address, DEADLINE))
    }

    /// Opens a TCP connection from the pod to `far`; what both ends may send, and whom the server sees.
    fn connect(&self, from: &str, to: &str) -> (u32, u32, IpAddr) {
        let address = SocketAddr::new(to.parse().unwrap(), 0);
        let listener = self.far.within(|| TcpListener::bind(address).unwrap());
        let address = listener.local_addr().unwrap();
        let client = self.try_connect(to, address.port()).unwrap();
        let (server, peer) = listener.accept().unwrap();
        assert_eq!(client.local_addr().unwrap().ip(), from.parse::<IpAddr>().unwrap());
        (
            getsockopt(&client, TcpMaxSeg).unwrap(),
            getsockopt(&server, TcpMaxSeg).unwrap(),
            peer.ip(),
        )
    }

    /// What `far` must not have received: a later datagram that it may receive came, and this one had not.
    fn nothing_arrived(&self, leak: &UdpSocket, other: &UdpSocket, [_, _, beyond]: [&str; 3]) {
        self.send(beyond);
        receive(other).unwrap();
        leak.set_nonblocking(true).unwrap();
        let leaked = receive(leak);
        assert_eq!(
            leaked.unwrap_err().kind(),
            io::ErrorKind::WouldBlock,
            "a packet for the remote cluster leaked"
        );
        leak.set_nonblocking(false).unwrap();
    }
}

/// Waits for a datagram. A read with a time limit is not resumed by the kernel when the process was stopped for a while.
fn receive(socket: &UdpSocket) -> io::Result<IpAddr> {
    loop {
        match socket.recv_from(&mut [0; 8]).map(|(_, source)| source.ip()) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

const PORT: u16 = 5201;

#[test]
fn nothing_leaks_when_the_tun_goes_away() {
    if !privileged() {
        return;
    }
    let world = World::new();
    for family @ [pod, remote, beyond] in FAMILIES {
        let (leak, other) = (world.listen(remote), world.listen(beyond));
        // Without our state the packet takes the default route: so the rest of this test can fail.
        world.send(remote);
        receive(&leak).unwrap();

        let tun: Tun = world.node.tun();
        world.node.settle(&desired(Via::Tun));
        world.send(remote);
        let destination = |packet: &[u8]| match remote.parse().unwrap() {
            IpAddr::V4(to) => packet.get(16..20) == Some(&to.octets()),
            IpAddr::V6(to) => packet.get(24..40) == Some(&to.octets()),
        };
        tun.wait_for("the packet to come out of the TUN", destination);
        world.nothing_arrived(&leak, &other, family);

        drop(tun);
        crate::node::wait_until("the closed TUN to lose its nexthops", || {
            !world.node.ip("nexthop show").contains("tombolo0")
        });
        let refused = world.try_connect(remote, PORT).unwrap_err();
        assert_eq!(
            refused.kind(),
            io::ErrorKind::ConnectionRefused,
            "the sender should hear at once that there is no way"
        );
        world.nothing_arrived(&leak, &other, family);

        // Even with our rules gone, the nft guard holds, and counts.
        world.node.ip("rule del priority 174 lookup 174");
        world.node.ip("-6 rule del priority 174 lookup 174");
        world.send(remote);
        world.nothing_arrived(&leak, &other, family);
        let counters = world
            .node
            .host(async |host| host.observe("eth0").await.unwrap().counters);
        let guard = if pod.contains(':') { "leak-v6" } else { "leak-v4" };
        assert!(counters[guard] > 0, "{counters:?}");
        world
            .node
            .host(async |host| assert!(host.cleanup().await.failures.is_empty()));
        world.node.exec(
            "sysctl",
            &["-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"],
        );
    }
}

/// Who tries every second is told too: by the kernel's unreachable routes it would not be.
#[test]
fn whoever_connects_to_what_is_out_of_reach_is_refused_every_time() {
    if !privileged() {
        return;
    }
    let world = World::new();
    world.far_joins();
    world.node.settle(&desired(Via::Vtep(peer_vtep().address)));
    for (reachable, out_of_reach) in [("10.2.0.9", "10.3.0.9"), ("fd02::9", "fd03::9")] {
        for _ in 0..100 {
            world.send(out_of_reach);
        }
        for _ in 0..20 {
            let refused = world.try_connect(out_of_reach, PORT).unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused, "{out_of_reach}");
        }
        let told = (0..4).filter(|_| {
            std::thread::sleep(Duration::from_millis(1010));
            world.is_told(out_of_reach)
        });
        assert!(told.count() >= 2, "{out_of_reach} over UDP");
        world.connect(FAMILIES[usize::from(reachable.contains(':'))][0], reachable);
    }
}

#[test]
fn tcp_is_clamped_to_the_route_in_both_directions() {
    if !privileged() {
        return;
    }
    let world = World::new();
    world.far_joins();
    let wanted = desired(Via::Vtep(peer_vtep().address));
    for ([pod, remote, _], headers) in FAMILIES.into_iter().zip([40, 60]) {
        // 12 bytes of TCP timestamps in each segment.
        let fits = wanted.clusters["west"].mtu - headers - 12;
        world.node.settle(&wanted);
        let (client, server, _) = world.connect(pod, remote);
        assert_eq!((client, server), (fits, fits), "{pod} to {remote}");

        world
            .node
            .exec("nft", &["flush", "chain", "inet", "tombolo", "leaving"]);
        let (_, server, _) = world.connect(pod, remote);
        assert!(
            server > fits,
            "the server would send {server} bytes at most even unclamped: this test cannot fail"
        );
    }
}

#[test]
fn the_source_stays_although_the_cni_masquerades() {
    if !privileged() {
        return;
    }
    let world = World::new();
    world.far_joins();
    // As a CNI does it: whatever leaves the pod prefix gets the node's address.
    world.node.exec(
        "nft",
        &[
            "add table inet cni; add chain inet cni post { type nat hook postrouting priority srcnat; }; \
           add rule inet cni post ip saddr 10.1.0.0/16 ip daddr != 10.1.0.0/16 masquerade; \
           add rule inet cni post ip6 saddr fd01::/48 ip6 daddr != fd01::/48 masquerade",
        ],
    );
    let mut wanted = desired(Via::Vtep(peer_vtep().address));
    for [pod, remote, _] in FAMILIES {
        let pod_address: IpAddr = pod.parse().unwrap();
        wanted.keep_source = true;
        world.node.settle(&wanted);
        let seen = || {
            let receiver = world.listen(remote);
            world.send(remote);
            receive(&receiver).unwrap()
        };
        assert_eq!(seen(), pod_address);
        wanted.keep_source = false;
        world.node.settle(&wanted);
        assert_ne!(seen(), pod_address, "without our rules the CNI's masquerade must show");
    }
}
