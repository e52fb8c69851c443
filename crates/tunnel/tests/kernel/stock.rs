//! Stock WireGuard implementations as the other end of a cable: `wireguard-go` and `boringtun-cli`, from `PATH` or where
//! `TOMBOLO_WIREGUARD_GO` and `TOMBOLO_BORINGTUN_CLI` say.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use model::{CablePlan, Connection, ConnectionState, GatewayId, PeerPlan, probe_address};
use tunnel::{DropReason, Engine, PrivateKey};

use crate::bed::{Bed, PORT, Side, must_skip, plan, wait_until};
use crate::traffic::{assert_echo, udp};

/// A running implementation; it is configured over its control socket (wireguard.com/xplatform).
pub(crate) struct Stock {
    process: Child,
    link: String,
    control: PathBuf,
}

impl Stock {
    fn start(bed: &Bed, program: &Program) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        // Control sockets lie in one directory for all namespaces.
        let link = format!("w{}x{}", std::process::id(), COUNT.fetch_add(1, Relaxed));
        let process = Command::new("ip")
            .args(["netns", "exec", bed.west.namespace.name()])
            .arg(program.find().expect("looked for before"))
            .args(program.arguments)
            .arg(&link)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("ip can be run");
        let control = PathBuf::from(format!("/var/run/wireguard/{link}.sock"));
        let stock = Self { process, link, control };
        wait_until("the control socket answers", || {
            UnixStream::connect(&stock.control).is_ok()
        });
        stock
    }

    fn configure(&self, bed: &Bed, endpoint: Option<SocketAddr>) {
        let mut request = format!("set=1\nprivate_key={}\nlisten_port={PORT}\n", hex(&west_key_bytes()));
        let east = bed.east.key.public_key();
        writeln!(request, "public_key={}", hex(east.as_bytes())).unwrap();
        if let Some(endpoint) = endpoint {
            writeln!(request, "endpoint={endpoint}").unwrap();
        }
        for prefix in bed.east.prefixes {
            writeln!(request, "allowed_ip={prefix}").unwrap();
        }
        let mut socket = UnixStream::connect(&self.control).unwrap();
        socket.write_all(format!("{request}\n").as_bytes()).unwrap();
        socket.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        assert!(answer.contains("errno=0"), "{answer}");
    }
}

impl Drop for Stock {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_file(&self.control);
    }
}

/// Any bytes are a private key once clamped, which every implementation does.
pub(crate) fn west_key_bytes() -> [u8; 32] {
    let mut bytes = [0x42; 32];
    bytes[0] = 0x40;
    bytes
}

pub(crate) fn west_public_key() -> model::PublicKey {
    let secret = boringtun::x25519::StaticSecret::from(west_key_bytes());
    model::PublicKey::from_bytes(boringtun::x25519::PublicKey::from(&secret).to_bytes())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes all");
        text
    })
}

/// Another implementation.
pub(crate) struct Program {
    name: &'static str,
    /// The environment variable that says where it is, if it is not on the path.
    variable: &'static str,
    arguments: &'static [&'static str],
}

pub(crate) const WIREGUARD_GO: Program = Program {
    name: "wireguard-go",
    variable: "TOMBOLO_WIREGUARD_GO",
    arguments: &["--foreground"],
};
pub(crate) const BORINGTUN_CLI: Program = Program {
    name: "boringtun-cli",
    variable: "TOMBOLO_BORINGTUN_CLI",
    arguments: &["--foreground", "--disable-drop-privileges"],
};

impl Program {
    fn find(&self) -> Option<PathBuf> {
        let named = std::env::var_os(self.variable).map(PathBuf::from);
        let path = std::env::var_os("PATH").unwrap_or_default();
        let on_path = std::env::split_paths(&path).map(|directory| directory.join(self.name));
        named.into_iter().chain(on_path).find(|path| path.is_file())
    }

    /// Whether a test with it has to be skipped, which is said.
    pub(crate) fn must_skip(&self) -> bool {
        let lacks = format!("{} is neither on PATH nor named by {}", self.name, self.variable);
        must_skip(self.find().is_none().then_some(lacks.as_str()))
    }
}

fn exchanges_packets_whoever_starts(program: &Program) {
    if program.must_skip() {
        return;
    }
    for (we_start, family) in [(true, 0), (false, 1)] {
        let lanes = if we_start { 1 } else { 4 };
        let (bed, _stock, wanted) = beside(program, we_start, family, lanes);
        if we_start {
            connected(&bed);
            assert_echo(&udp(&bed.east, 0), &udp(&bed.west, 0));
        } else {
            assert_echo(&udp(&bed.west, 0), &udp(&bed.east, 0));
            connected(&bed);
        }
        assert_echo(&udp(&bed.east, 1), &udp(&bed.west, 1));
        assert_echo(&udp(&bed.west, 1), &udp(&bed.east, 1));
        // Its one lane is the first, but flows are spread over all that we have for others.
        wait_until("a flow has come to another lane", || {
            assert_echo(&udp(&bed.east, 0), &udp(&bed.west, 0));
            lanes == 1 || hand_overs(&bed.east) > 0
        });
        let cable = stock_cable(&bed).unwrap();
        assert_eq!(
            cable.remote_address,
            Some(SocketAddr::new(bed.west.underlay[family], PORT))
        );
        assert!(cable.last_handshake.is_some());

        bed.east.engine().apply(&CablePlan {
            accept: vec![],
            ..wanted
        });
        let before = bed.east.engine().dropped(DropReason::SpoofedSource);
        let (from, to) = (udp(&bed.west, 0), udp(&bed.east, 0));
        wait_until("a stock peer is held to the accept table too", || {
            from.send_to(b"x", to.local_addr().unwrap()).unwrap();
            bed.east.engine().dropped(DropReason::SpoofedSource) > before
        });
    }
}

/// A bed with an engine of so many lanes in the east and a stock implementation in the west, and the plan of the former.
pub(crate) fn beside(program: &Program, we_start: bool, family: usize, lanes: u8) -> (Bed, Stock, CablePlan) {
    let mut bed = Bed::new();
    bed.east.lanes = lanes;
    bed.east.start();
    bed.east.route_to(&bed.west.prefixes);
    let stock = Stock::start(&bed, program);
    let east_address = SocketAddr::new(bed.east.underlay[family], PORT);
    stock.configure(&bed, (!we_start).then_some(east_address));
    bed.west.namespace.ip(&format!("link set {} mtu 1420 up", stock.link));
    for (prefix, source) in bed.east.prefixes.into_iter().zip(bed.west.pods) {
        bed.west
            .namespace
            .ip(&format!("route add {prefix} dev {} src {source}", stock.link));
    }
    let mut wanted = plan(&[(&bed.west, family)]);
    let candidates = std::mem::take(&mut wanted.peers[0].candidates);
    wanted.peers[0] = PeerPlan {
        public_key: west_public_key(),
        probe_address: None,
        candidates: if we_start { candidates } else { vec![] },
        ..wanted.peers[0].clone()
    };
    add_neighbour(&mut wanted, lanes);
    bed.east.engine().apply(&wanted);
    (bed, stock, wanted)
}

/// A peer of our own kind beside the stock one, for whose lanes flows are spread over all lanes. It is never there.
pub(crate) fn add_neighbour(plan: &mut CablePlan, lanes: u8) {
    let public_key = PrivateKey::generate().public_key();
    plan.peers.push(PeerPlan {
        gateway: GatewayId {
            cluster: "north".parse().unwrap(),
            node: "gw".parse().unwrap(),
        },
        public_key,
        candidates: Vec::new(),
        probe_address: Some(probe_address(&public_key)),
        mtu: 1420,
        lanes,
    });
}

/// What its lanes found and gave to another.
pub(crate) fn hand_overs(side: &Side) -> u64 {
    let telemetry = side.engine().telemetry();
    telemetry.lanes.iter().map(|lane| lane.hand_overs).sum()
}

pub(crate) fn connected(bed: &Bed) {
    wait_until("the cable to the stock peer is connected", || {
        stock_cable(bed).is_some_and(|cable| cable.state == ConnectionState::Connected)
    });
}

fn stock_cable(bed: &Bed) -> Option<Connection> {
    let cables = bed.east.engine().status().into_iter().map(|status| status.connection);
    cables.into_iter().find(|cable| cable.remote == bed.west.id)
}

#[test]
fn wireguard_go_exchanges_packets_whoever_starts() {
    exchanges_packets_whoever_starts(&WIREGUARD_GO);
}

#[test]
fn boringtun_cli_exchanges_packets_whoever_starts() {
    exchanges_packets_whoever_starts(&BORINGTUN_CLI);
}
