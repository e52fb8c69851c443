//! Two gateways: each a network namespace with an underlay link, a "pod" address of both families, and an engine.

use std::fs::File;
use std::net::{IpAddr, SocketAddr};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use model::{CablePlan, Connection, ConnectionState, GatewayId, PeerPlan, probe_address};
use nix::sched::{CloneFlags, setns};
use tunnel::{Engine, EngineConfig, Lanes, PrivateKey, TunDevice};

/// The deadline of every wait: far beyond what a slow machine needs.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// Whether the test cannot run here. Says why, or panics where skipping is not allowed.
pub(crate) fn must_skip(lacks: Option<&str>) -> bool {
    let reason = if nix::unistd::geteuid().is_root() {
        lacks
    } else {
        Some("it needs root for network namespaces")
    };
    if let Some(reason) = reason {
        assert!(
            std::env::var_os("TOMBOLO_TEST_NO_SKIP").is_none_or(|value| value != "1"),
            "not skipped: {reason}"
        );
        eprintln!("skipped: {reason}");
    }
    reason.is_some()
}

/// Waits until `holds`, and panics with what it waited for if that takes too long.
pub(crate) fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !holds() {
        assert!(Instant::now() < deadline, "waited {DEADLINE:?} in vain until {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// A network namespace; it is gone when this is dropped, and with it all that is in it.
pub(crate) struct Namespace {
    name: String,
}

impl Namespace {
    pub(crate) fn new(side: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("tmbt-{}-{}-{side}", std::process::id(), COUNT.fetch_add(1, Relaxed));
        ip(&["netns", "add", &name]);
        let namespace = Self { name };
        namespace.ip("link set lo up");
        namespace
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Runs `ip` in it.
    pub(crate) fn ip(&self, arguments: &str) {
        let mut all = vec!["-n", &self.name];
        all.extend(arguments.split_whitespace());
        ip(&all);
    }

    /// Runs a closure on a thread that lives in it.
    pub(crate) fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let path = format!("/run/netns/{}", self.name);
        thread::scope(|scope| {
            let thread = scope.spawn(move || {
                let file = File::open(path).expect("the namespace exists");
                setns(file, CloneFlags::CLONE_NEWNET).expect("root may enter it");
                work()
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "delete", &self.name]).status();
    }
}

fn ip(arguments: &[&str]) {
    let output = Command::new("ip")
        .args(arguments)
        .output()
        .expect("iproute2 is installed");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {}: {error}", arguments.join(" "));
}

/// One side.
pub(crate) struct Side {
    pub(crate) namespace: Namespace,
    pub(crate) id: GatewayId,
    pub(crate) key: PrivateKey,
    /// Its addresses on the underlay, IPv4 and IPv6.
    pub(crate) underlay: [IpAddr; 2],
    /// Its addresses inside, IPv4 and IPv6.
    pub(crate) pods: [IpAddr; 2],
    pub(crate) prefixes: [&'static str; 2],
    pub(crate) lanes: u8,
    pub(crate) busy_poll: Duration,
    pub(crate) engine: Option<Lanes>,
}

/// Both sides, joined by a veth pair. The TUN devices have an MTU of 1,420.
pub(crate) struct Bed {
    pub(crate) east: Side,
    pub(crate) west: Side,
}

impl Bed {
    pub(crate) fn new() -> Self {
        let east = Side::new(
            "east",
            ["192.0.2.1", "2001:db8::1"],
            ["10.1.0.5", "fd01::5"],
            ["10.1.0.0/16", "fd01::/64"],
        );
        let west = Side::new(
            "west",
            ["192.0.2.2", "2001:db8::2"],
            ["10.2.0.5", "fd02::5"],
            ["10.2.0.0/16", "fd02::/64"],
        );
        let peer = west.namespace.name();
        east.namespace
            .ip(&format!("link add under type veth peer name under netns {peer}"));
        for side in [&east, &west] {
            let namespace = &side.namespace;
            namespace.ip(&format!("address add {}/24 dev under", side.underlay[0]));
            namespace.ip(&format!("address add {}/64 dev under nodad", side.underlay[1]));
            namespace.ip("link set under up");
            for pod in side.pods {
                namespace.ip(&format!("address add {pod} dev lo"));
            }
        }
        Self { east, west }
    }

    /// Starts both engines with a cable between them over the underlay of one family (0: IPv4, 1: IPv6).
    pub(crate) fn with_cable(family: usize) -> Self {
        Self::with_lanes(family, 1)
    }

    /// The same with several lanes on both sides.
    pub(crate) fn with_lanes(family: usize, lanes: u8) -> Self {
        let mut bed = Self::new();
        bed.east.lanes = lanes;
        bed.west.lanes = lanes;
        bed.connect(family);
        bed
    }

    /// Starts both engines, and waits for their cable.
    pub(crate) fn connect(&mut self, family: usize) {
        self.east.start();
        self.west.start();
        self.east.route_to(&self.west.prefixes);
        self.west.route_to(&self.east.prefixes);
        self.east.engine().apply(&plan(&[(&self.west, family)]));
        self.west.engine().apply(&plan(&[(&self.east, family)]));
        self.wait_connected();
    }

    pub(crate) fn wait_connected(&self) {
        wait_until("both sides are connected", || {
            [&self.east, &self.west].iter().all(|side| {
                side.cable()
                    .is_some_and(|cable| cable.state == ConnectionState::Connected)
            })
        });
    }
}

impl Side {
    fn new(name: &str, underlay: [&str; 2], pods: [&str; 2], prefixes: [&'static str; 2]) -> Self {
        Self {
            namespace: Namespace::new(name),
            id: GatewayId {
                cluster: name.parse().unwrap(),
                node: "gw".parse().unwrap(),
            },
            key: PrivateKey::generate(),
            underlay: underlay.map(|text| text.parse().unwrap()),
            pods: pods.map(|text| text.parse().unwrap()),
            prefixes,
            lanes: 1,
            busy_poll: Duration::ZERO,
            engine: None,
        }
    }

    /// Starts an engine; its TUN link is `tun0`.
    pub(crate) fn start(&mut self) {
        let (private_key, lanes, busy_poll) = (self.key.clone(), self.lanes, self.busy_poll);
        let engine = self.namespace.run(|| {
            let tun = TunDevice::open("tun0").unwrap();
            Lanes::start(EngineConfig {
                private_key,
                tun,
                port: PORT,
                lanes,
                busy_poll,
                on_change: Box::new(|| {}),
            })
            .unwrap()
        });
        self.engine = Some(engine);
        self.namespace.ip("link set tun0 up");
    }

    pub(crate) fn route_to(&self, prefixes: &[&str]) {
        for prefix in prefixes {
            let source = self.pods[usize::from(prefix.contains(':'))];
            self.namespace.ip(&format!("route add {prefix} dev tun0 src {source}"));
        }
    }

    pub(crate) fn engine(&self) -> &Lanes {
        self.engine.as_ref().expect("started")
    }

    /// The first cable, by gateway.
    pub(crate) fn cable(&self) -> Option<Connection> {
        self.engine()
            .status()
            .into_iter()
            .next()
            .map(|status| status.connection)
    }

    pub(crate) fn as_peer(&self, family: usize) -> PeerPlan {
        let public_key = self.key.public_key();
        PeerPlan {
            gateway: self.id.clone(),
            public_key,
            candidates: vec![SocketAddr::new(self.underlay[family], PORT)],
            probe_address: Some(probe_address(&public_key)),
            mtu: 1420,
            lanes: self.lanes,
        }
    }
}

/// A plan with a cable to each of these sides, over the underlay of a family.
pub(crate) fn plan(peers: &[(&Side, usize)]) -> CablePlan {
    let mut plan = CablePlan {
        mtu: 1420,
        carries: true,
        ..CablePlan::default()
    };
    for (side, family) in peers {
        plan.peers.push(side.as_peer(*family));
        for prefix in side.prefixes {
            plan.send.push((prefix.parse().unwrap(), side.id.cluster.clone()));
            plan.accept.push((prefix.parse().unwrap(), side.id.cluster.clone()));
        }
    }
    plan
}

pub(crate) const PORT: u16 = 4510;
