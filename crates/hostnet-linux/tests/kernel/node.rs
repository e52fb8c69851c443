//! A node for one test: a fresh network namespace with an underlay, a pod network and a TUN device, removed at the end.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use hostnet::{Desired, Observed, Peer, RemoteCluster, Source, Underlay, Via, Vips, Vtep, plan, tags, vtep};
use hostnet_linux::{HostNet, NetNs};
use ipnet::IpNet;

pub(crate) const DEADLINE: Duration = Duration::from_secs(10);

/// A namespace that goes with its test.
pub(crate) struct Sandbox {
    netns: NetNs,
    pub(crate) state: tempfile::TempDir,
}

impl Sandbox {
    pub(crate) fn new(role: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "tbt-{}-{}-{role}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let sandbox = Self {
            netns: NetNs::create(&name).unwrap(),
            state: tempfile::tempdir().unwrap(),
        };
        sandbox.ip("link set lo up");
        sandbox
    }

    /// A node whose underlay leads nowhere.
    pub(crate) fn node() -> Self {
        let node = Self::new("node");
        node.ip("link add eth0 type veth peer name eth0-peer");
        node.ip("link set eth0-peer up");
        node.ip("addr add 192.0.2.1/24 dev eth0");
        node.ip("addr add 2001:db8::1/64 dev eth0 nodad");
        node.ip("link set eth0 up");
        node.pod_addresses();
        node
    }

    /// What a CNI gives: the node's own addresses in its pod range.
    pub(crate) fn pod_addresses(&self) {
        self.ip("addr add 10.1.0.1/32 dev lo");
        self.ip("addr add fd01::1/128 dev lo");
    }

    pub(crate) fn name(&self) -> &str {
        self.netns.name()
    }

    /// `ip` in the namespace; panics if it fails.
    pub(crate) fn ip(&self, arguments: &str) -> String {
        run(Command::new("ip")
            .args(["-n", self.name()])
            .args(arguments.split_whitespace()))
    }

    /// Any program in the namespace.
    pub(crate) fn exec(&self, program: &str, arguments: &[&str]) -> String {
        run(Command::new("ip")
            .args(["netns", "exec", self.name(), program])
            .args(arguments))
    }

    /// A closure inside the namespace.
    pub(crate) fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.netns.run(work).unwrap()
    }

    /// A future inside the namespace, with the network state opened there.
    pub(crate) fn host<T: Send>(&self, work: impl AsyncFnOnce(&HostNet) -> T + Send) -> T {
        self.within(|| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async { work(&HostNet::open(self.state.path()).unwrap()).await })
        })
    }

    /// Brings the node to `desired`, and proves that it is there: a second look finds nothing to do.
    pub(crate) fn settle(&self, desired: &Desired) -> Observed {
        self.host(async |host| settle(host, desired).await);
        // Who has just come remembers nothing of what was written.
        self.host(async |host| settle(host, desired).await)
    }

    /// An open TUN device, as the gateway agent has it.
    pub(crate) fn tun(&self) -> Tun {
        self.within(|| Tun::open(tags::TUN_LINK))
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.netns.delete().unwrap();
    }
}

pub(crate) async fn settle(host: &HostNet, desired: &Desired) -> Observed {
    let observed = host.observe(&desired.underlay.device).await.unwrap();
    let applied = host.apply(&plan(desired, &observed)).await;
    assert!(applied.failures.is_empty(), "{:#?}", applied.failures);
    let observed = host.observe(&desired.underlay.device).await.unwrap();
    assert_eq!(
        plan(desired, &observed).ops,
        [],
        "the kernel does not hold what was applied: {observed:#?}"
    );
    observed
}

/// True where namespaces can be made; else says that the test is skipped, or panics where that is not allowed.
pub(crate) fn privileged() -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        let why = "needs root to make network namespaces";
        assert!(
            std::env::var_os("TOMBOLO_TEST_NO_SKIP").is_none_or(|value| value != "1"),
            "{why}"
        );
        eprintln!("skipped: {why}");
    }
    root
}

/// Waits until `done`, or panics with what it waited for.
pub(crate) fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !done() {
        assert!(Instant::now() < end, "waited {DEADLINE:?} for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub(crate) fn nets(texts: &[&str]) -> BTreeSet<IpNet> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

pub(crate) fn peer_vtep() -> Vtep {
    vtep("peer-node")
}

/// A dual-stack node with one peer and two remote clusters, one reached as given, one out of reach.
pub(crate) fn desired(via: Via) -> Desired {
    let west = RemoteCluster {
        prefixes: nets(&["10.2.0.0/16", "10.102.0.0/16", "fd02::/48"]),
        mtu: 1300,
        via,
        transit: true,
    };
    let north = RemoteCluster {
        prefixes: nets(&["10.3.0.0/16", "fd03::/48"]),
        mtu: 1420,
        via: Via::Unreachable,
        transit: false,
    };
    Desired {
        underlay: Underlay {
            device: "eth0".into(),
            local: "192.0.2.1".parse().unwrap(),
        },
        vtep: vtep("this-node"),
        peers: vec![Peer {
            vtep: peer_vtep(),
            underlay: "192.0.2.2".parse().unwrap(),
        }],
        local: nets(&["10.1.0.0/16", "10.101.0.0/16", "fd01::/48"]),
        sources: ["10.1.0.1", "fd01::1"]
            .map(|a| Source {
                address: a.parse().unwrap(),
                assign: false,
            })
            .to_vec(),
        clusters: BTreeMap::from([("north".into(), north), ("west".into(), west)]),
        gateway: via == Via::Tun,
        vips: Vips::default(),
        untracked: None,
        keep_source: true,
    }
}

/// A TUN device with a reader. Persistent, as ours is: dropping this leaves the link without a carrier.
pub(crate) struct Tun(File);

impl Tun {
    fn open(name: &str) -> Self {
        let file = File::options().read(true).write(true).open("/dev/net/tun").unwrap();
        // SAFETY: ifreq is plain data, for which zeroes are a value.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
            *to = from.cast_signed();
        }
        request.ifr_ifru.ifru_flags = i16::try_from(libc::IFF_TUN | libc::IFF_NO_PI).unwrap();
        // SAFETY: the descriptor is open, and the kernel reads and writes one ifreq, which outlives the call.
        let made = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
        // SAFETY: the descriptor is open, and the argument is a number.
        let kept = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETPERSIST, 1) };
        assert_eq!((made, kept), (0, 0), "{}", std::io::Error::last_os_error());
        run(Command::new("ip").args(["link", "set", name, "up"]));
        Self(file)
    }

    /// What the other end of a cable sends.
    pub(crate) fn send(&self, packet: &[u8]) {
        use std::io::Write;
        (&self.0).write_all(packet).unwrap();
    }

    /// Reads packets until one satisfies `wanted`.
    pub(crate) fn wait_for(&self, what: &str, wanted: impl Fn(&[u8]) -> bool) {
        use std::io::Read;
        let end = Instant::now() + DEADLINE;
        let mut buffer = [0; 65536];
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let poll = nix::poll::PollFd::new(std::os::fd::AsFd::as_fd(&self.0), nix::poll::PollFlags::POLLIN);
            let ready = nix::poll::poll(&mut [poll], nix::poll::PollTimeout::try_from(left).unwrap()).unwrap();
            assert!(ready > 0, "waited {DEADLINE:?} for {what}");
            let length = (&self.0).read(&mut buffer).unwrap();
            if wanted(&buffer[..length]) {
                return;
            }
        }
    }
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}
