//! The kernel's own WireGuard as the other end of a cable, in an emulated machine that `cargo xtask vm` makes.
//!
//! Opt-in: `TOMBOLO_KERNEL_VM` names the folder with its kernel and file system.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use model::{ConnectionState, PeerPlan};
use tunnel::Engine;

use crate::bed::{Bed, PORT, must_skip, plan};
use crate::stock::{add_neighbour, hand_overs, west_key_bytes, west_public_key};

/// A running machine in west's place: it has west's addresses, on a bridge with west's end of the underlay.
struct Machine {
    process: Child,
    log: PathBuf,
}

impl Machine {
    fn boot(bed: &Bed, directory: &Path, endpoint: Option<SocketAddr>) -> Self {
        let namespace = &bed.west.namespace;
        for line in [
            "link add lan type bridge stp_state 0",
            "link set lan up",
            "address flush dev under",
            "link set under master lan",
            "tuntap add vm mode tap",
            "link set vm master lan up",
        ] {
            namespace.ip(line);
        }
        let east = bed.east.key.public_key();
        let endpoint = endpoint
            .map(|endpoint| format!(" wg.endpoint={endpoint}"))
            .unwrap_or_default();
        let settings = format!(
            "console=ttyS0 quiet panic=-1 wg.private={} wg.peer={east} wg.port={PORT} wg.under4={}/24 wg.under6={}/64 \
             wg.inner4={} wg.inner6={} wg.allowed={}{endpoint}",
            STANDARD.encode(west_key_bytes()),
            bed.west.underlay[0],
            bed.west.underlay[1],
            bed.west.pods[0],
            bed.west.pods[1],
            bed.east.prefixes.join(","),
        );
        let log = std::env::temp_dir().join(format!("{}.log", namespace.name()));
        let output = File::create(&log).unwrap();
        let process = Command::new("ip")
            .args(["netns", "exec", namespace.name(), "qemu-system-x86_64"])
            // Several threads, and newer processors than this, are not emulated faithfully. Without a source of random numbers the
            // module answers no handshake.
            .args([
                "-accel",
                "tcg,thread=single",
                "-cpu",
                "qemu64",
                "-smp",
                "1",
                "-m",
                "256",
            ])
            .args(["-nodefaults", "-nographic", "-serial", "stdio", "-no-reboot"])
            .arg("-kernel")
            .arg(directory.join("vmlinuz"))
            .arg("-initrd")
            .arg(directory.join("initrd.img"))
            .args(["-append", &settings])
            .args(["-netdev", "tap,id=lan,ifname=vm,script=no,downscript=no"])
            .args([
                "-device",
                "virtio-net-pci,netdev=lan,romfile=",
                "-device",
                "virtio-rng-pci",
            ])
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .expect("ip can be run");
        let machine = Self { process, log };
        machine.wait_until("the machine is up", || {
            machine.said().contains("kernel WireGuard is ready")
        });
        machine
    }

    fn said(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    fn wait_until(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !holds() {
            assert!(
                Instant::now() < deadline,
                "waited {PATIENCE:?} in vain until {what}; it said:\n{}",
                self.said()
            );
            thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_file(&self.log);
    }
}

#[test]
fn the_kernel_module_exchanges_packets_whoever_starts() {
    let Some(directory) = std::env::var_os("TOMBOLO_KERNEL_VM").map(PathBuf::from) else {
        eprintln!("skipped: opt-in; make the machine with `cargo xtask vm` and set TOMBOLO_KERNEL_VM to its folder");
        return;
    };
    if must_skip(None) {
        return;
    }
    for (we_start, family, lanes) in [(true, 0, 1), (false, 1, 4)] {
        let mut bed = Bed::new();
        bed.east.lanes = lanes;
        bed.east.start();
        bed.east.route_to(&bed.west.prefixes);
        let mut wanted = plan(&[(&bed.west, family)]);
        let candidates = std::mem::take(&mut wanted.peers[0].candidates);
        wanted.peers[0] = PeerPlan {
            public_key: west_public_key(),
            probe_address: None,
            candidates: if we_start { candidates } else { Vec::new() },
            ..wanted.peers[0].clone()
        };
        add_neighbour(&mut wanted, lanes);
        let east_address = SocketAddr::new(bed.east.underlay[family], PORT);
        let machine = Machine::boot(&bed, &directory, (!we_start).then_some(east_address));
        bed.east.engine().apply(&wanted);
        for pod in bed.west.pods {
            assert_echo(&bed, &machine, pod, 8_000_000);
        }
        machine.wait_until("the cable is connected", || {
            let cables = bed.east.engine().status();
            cables
                .iter()
                .any(|cable| cable.connection.state == ConnectionState::Connected)
        });
        // Its one lane is the first, but streams are spread over all that we have for others.
        machine.wait_until("a stream has come to another lane", || {
            assert_echo(&bed, &machine, bed.west.pods[0], 10_000);
            lanes == 1 || hand_overs(&bed.east) > 0
        });
    }
}

/// Sends bytes to the machine's echo and compares what comes back.
fn assert_echo(bed: &Bed, machine: &Machine, pod: IpAddr, len: u32) {
    let bytes: Vec<u8> = (0..len / 4)
        .flat_map(|number| number.wrapping_mul(2_654_435_761).to_le_bytes())
        .collect();
    let target = SocketAddr::new(pod, 7);
    let connected = bed.east.namespace.run(|| TcpStream::connect_timeout(&target, PATIENCE));
    let mut stream =
        connected.unwrap_or_else(|error| panic!("{target}: {error}; the machine said:\n{}", machine.said()));
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut writer = stream.try_clone().unwrap();
    let mut received = Vec::new();
    thread::scope(|scope| {
        scope.spawn(|| {
            writer.write_all(&bytes).unwrap();
            writer.shutdown(Shutdown::Write).unwrap();
        });
        stream.read_to_end(&mut received).unwrap();
    });
    assert!(
        received == bytes,
        "{} of {} bytes came back unharmed",
        received.len(),
        bytes.len()
    );
}

/// An emulated machine is slow.
const PATIENCE: Duration = Duration::from_secs(120);
