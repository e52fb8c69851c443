//! Four network namespaces in a row, the links between them, and a fifth beside them.
//!
//! ```text
//! client ── west ══ underlay, 1,500 ══ east ── server
//! 10.201.1.2  10.201.0.1        10.202.0.1  10.202.1.2
//!                               198.51.100.1 ── stranger
//! ```
//!
//! Local traffic runs between the addresses of `west` and `east`, forwarded traffic from `client` to `server`. Both stay the same
//! whatever carries them: an engine only changes the two routes. The stranger reaches the underlay address of `east` and nothing else.

use std::fs::File;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, ensure};
use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::unistd::Pid;

/// The namespaces; removed when dropped.
pub(crate) struct Ground {
    names: [String; PLACES],
}

/// One of the namespaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Client,
    West,
    East,
    Server,
    Stranger,
}

impl Place {
    /// The address that traffic is sent to or from.
    pub(crate) fn address(self) -> &'static str {
        match self {
            Self::Client => "10.201.1.2",
            Self::West => "10.201.0.1",
            Self::East => "10.202.0.1",
            Self::Server => "10.202.1.2",
            Self::Stranger => "198.51.100.2",
        }
    }

    /// The address of a gateway on the underlay.
    pub(crate) fn underlay(self) -> &'static str {
        if self == Self::West { "192.0.2.1" } else { "192.0.2.2" }
    }

    /// Where the stranger finds `east`.
    pub(crate) const EXPOSED: &str = "198.51.100.1";

    /// What lies at and behind a gateway.
    pub(crate) fn prefix(self) -> &'static str {
        if matches!(self, Self::Client | Self::West) {
            "10.201.0.0/16"
        } else {
            "10.202.0.0/16"
        }
    }

    /// The gateway at the other end.
    pub(crate) fn opposite(self) -> Self {
        if self == Self::West { Self::East } else { Self::West }
    }
}

impl Ground {
    pub(crate) fn build() -> anyhow::Result<Self> {
        let names = ["c", "w", "e", "s", "x"].map(|place| format!("tombolo-bench-{}-{place}", std::process::id()));
        remove_when_interrupted(names.clone())?;
        let ground = Self { names };
        for name in &ground.names {
            run(Command::new("ip").args(["netns", "add", name]))?;
        }
        let [client, west, east, server, stranger] = &ground.names;
        for (ends, from, to) in [
            ("lan", client, west),
            ("wan", west, east),
            ("lan", east, server),
            ("wild", east, stranger),
        ] {
            // The end towards the east has an `e` behind it, as `west` and `east` have two links of a kind.
            run(Command::new("ip")
                .args(["-n", from, "link", "add", &format!("{ends}-e"), "type", "veth"])
                .args(["peer", "name", &format!("{ends}-w"), "netns", to]))?;
        }
        for (place, commands) in [
            (
                Place::Client,
                &[
                    "address add 10.201.1.2/24 dev lan-e",
                    "link set lan-e up",
                    "route add default via 10.201.1.1",
                ][..],
            ),
            (
                Place::West,
                &[
                    "address add 10.201.1.1/24 dev lan-w",
                    "link set lan-w up",
                    "address add 192.0.2.1/24 dev wan-e",
                    "link set wan-e up",
                    "address add 10.201.0.1/32 dev lo",
                ][..],
            ),
            (
                Place::East,
                &[
                    "address add 10.202.1.1/24 dev lan-e",
                    "link set lan-e up",
                    "address add 192.0.2.2/24 dev wan-w",
                    "link set wan-w up",
                    "address add 10.202.0.1/32 dev lo",
                    "address add 198.51.100.1/24 dev wild-e",
                    "link set wild-e up",
                ][..],
            ),
            (
                Place::Server,
                &[
                    "address add 10.202.1.2/24 dev lan-w",
                    "link set lan-w up",
                    "route add default via 10.202.1.1",
                ][..],
            ),
            (
                Place::Stranger,
                &["address add 198.51.100.2/24 dev wild-w", "link set wild-w up"][..],
            ),
        ] {
            ground.ip(place, "link set lo up")?;
            for command in commands {
                ground.ip(place, command)?;
            }
        }
        for gateway in [Place::West, Place::East] {
            ground.finish(gateway, "sysctl", &["-qw", "net.ipv4.ip_forward=1"])?;
        }
        Ok(ground)
    }

    /// Routes what lies behind the other gateway: over the underlay, or into a device.
    pub(crate) fn route(&self, gateway: Place, device: Option<&str>) -> anyhow::Result<()> {
        let opposite = gateway.opposite();
        let hop = device.map_or_else(
            || format!("via {}", opposite.underlay()),
            |device| format!("dev {device}"),
        );
        self.ip(
            gateway,
            &format!("route replace {} {hop} src {}", opposite.prefix(), gateway.address()),
        )
    }

    /// Like a NIC, or as veth is: without segmentation on sending, packets cross the underlay one by one and are merged on arrival.
    pub(crate) fn set_offloads(&self, ethtool: &str, are_on: bool) -> anyhow::Result<()> {
        let value = if are_on { "on" } else { "off" };
        for (gateway, link) in [(Place::West, "wan-e"), (Place::East, "wan-w")] {
            self.finish(
                gateway,
                ethtool,
                &["-K", link, "gro", "on", "tx-udp-segmentation", value, "tso", value],
            )?;
        }
        Ok(())
    }

    pub(crate) fn ip(&self, place: Place, arguments: &str) -> anyhow::Result<()> {
        run(Command::new("ip")
            .args(["-n", self.name(place)])
            .args(arguments.split_whitespace()))
    }

    /// A program in a namespace, not yet started.
    pub(crate) fn command(&self, place: Place, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new("ip");
        command
            .args(["netns", "exec", self.name(place), program])
            .args(arguments);
        command
    }

    /// Runs a program in a namespace to its end.
    pub(crate) fn finish(&self, place: Place, program: &str, arguments: &[&str]) -> anyhow::Result<()> {
        run(self.command(place, program, arguments).stdout(Stdio::null()))
    }

    /// Starts a program in a namespace that is ended when the result is dropped.
    pub(crate) fn start(&self, place: Place, program: &str, arguments: &[&str]) -> anyhow::Result<Running> {
        let mut command = self.command(place, program, arguments);
        Running::new(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()))
    }

    /// Moves the calling thread into a namespace, for good.
    pub(crate) fn enter(&self, place: Place) -> anyhow::Result<()> {
        let path = format!("/run/netns/{}", self.name(place));
        let namespace = File::open(&path).with_context(|| format!("cannot open {path}"))?;
        setns(namespace, CloneFlags::CLONE_NEWNET).with_context(|| format!("cannot enter {path}"))
    }

    fn name(&self, place: Place) -> &str {
        &self.names[place as usize]
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        remove(&self.names);
    }
}

const PLACES: usize = 5;

/// Ends what runs in the namespaces, and removes them.
fn remove(names: &[String; PLACES]) {
    for name in names {
        let pids = Command::new("ip").args(["netns", "pids", name]).output();
        let pids = pids.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
        for pid in pids
            .unwrap_or_default()
            .split_whitespace()
            .filter_map(|pid| pid.parse().ok())
        {
            // Our own threads are among them while a load runs.
            if pid != std::process::id().cast_signed() {
                // It may have ended meanwhile.
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
        }
        // One that was not made yet cannot be removed, and nothing else can be done about one that stays.
        let _ = Command::new("ip")
            .args(["netns", "delete", name])
            .stderr(Stdio::null())
            .status();
    }
}

/// Ctrl-C ends a process without dropping anything, so a thread waits for it. Threads that start later inherit that they do not;
/// programs that are started do not inherit it.
fn remove_when_interrupted(names: [String; PLACES]) -> anyhow::Result<()> {
    let signals = SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM]);
    signals.thread_block().context("cannot wait for Ctrl-C")?;
    std::thread::spawn(move || {
        if let Ok(signal) = signals.wait() {
            remove(&names);
            std::process::exit(128 + signal as i32);
        }
    });
    Ok(())
}

/// A program that is ended when this is dropped. `ip netns exec` replaces itself, so its process is the program's.
pub(crate) struct Running(Child);

impl Running {
    pub(crate) fn new(command: &mut Command) -> anyhow::Result<Self> {
        let child = command.spawn().with_context(|| format!("cannot start {command:?}"))?;
        Ok(Self(child))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Fails only when it has ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let name = format!("{command:?}");
    let output = command.output().with_context(|| format!("cannot run {name}"))?;
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{name} failed: {}", error.trim());
    Ok(())
}
