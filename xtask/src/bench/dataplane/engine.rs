//! One pair of engines at a time, started for a round and ended after it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use clap::ValueEnum;

use super::ground::{Ground, Place, Running};
use super::{load, tools};
use crate::bench::proc::{cpu_seconds, peak_rss_mb};

/// What carries the packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub(crate) enum Engine {
    /// Nothing: the underlay itself
    Plain,
    /// The `engine` example of crate tunnel
    Ours,
    /// wireguard-go of Debian trixie
    WireguardGo,
    /// boringtun-cli of crates.io
    BoringtunCli,
}

impl Engine {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Ours => "ours",
            Self::WireguardGo => "wireguard_go",
            Self::BoringtunCli => "boringtun_cli",
        }
    }

    fn letter(self) -> char {
        match self {
            Self::Plain => 'p',
            Self::Ours => 'o',
            Self::WireguardGo => 'w',
            Self::BoringtunCli => 'b',
        }
    }

    /// Finds or makes its program.
    pub(crate) fn program(self) -> anyhow::Result<String> {
        match self {
            Self::Plain => Ok(String::new()),
            Self::Ours => tools::example("engine"),
            Self::WireguardGo => tools::wireguard_go(),
            Self::BoringtunCli => tools::boringtun_cli(),
        }
    }
}

/// Both ends of a tunnel, carrying packets.
pub(crate) struct Pair {
    ends: Vec<Running>,
    /// Where stock engines are configured. They leave these behind when they are killed.
    sockets: Vec<PathBuf>,
}

/// Keys of both ends, as base64 in files.
pub(crate) struct Keys {
    files: [String; 2],
    public: [String; 2],
}

impl Keys {
    /// Made by our own engine, which prints the public key.
    pub(crate) fn make(folder: &Path, ours: &str) -> anyhow::Result<Self> {
        let (mut files, mut public) = ([const { String::new() }; 2], [const { String::new() }; 2]);
        for (index, end) in ["west", "east"].into_iter().enumerate() {
            files[index] = format!("{}/{end}.key", folder.display());
            let output = Command::new(ours).args(["--key-file", &files[index]]).output()?;
            ensure!(
                output.status.success(),
                "{ours} made no key: {}",
                String::from_utf8_lossy(&output.stderr)
            );
            public[index] = String::from_utf8(output.stdout)?.trim().to_owned();
        }
        Ok(Self { files, public })
    }

    /// The public key of the eastern end.
    pub(crate) fn of_east(&self) -> &str {
        &self.public[1]
    }
}

impl Pair {
    /// Starts an engine and waits until a datagram has gone there and back.
    pub(crate) fn start(
        ground: &Ground,
        engine: Engine,
        program: &str,
        keys: &Keys,
        lanes: Option<u32>,
    ) -> anyhow::Result<Self> {
        let mut pair = Self {
            ends: Vec::new(),
            sockets: Vec::new(),
        };
        for (index, gateway) in [Place::West, Place::East].into_iter().enumerate() {
            // Ours keeps its link when it ends, and no other engine can have that.
            let link = format!("tb{}{}{index}", engine.letter(), std::process::id());
            match engine {
                Engine::Plain => {
                    ground.route(gateway, None)?;
                    continue;
                }
                Engine::Ours => pair
                    .ends
                    .push(start_ours(ground, gateway, index, &link, program, keys, lanes)?),
                Engine::WireguardGo | Engine::BoringtunCli => {
                    pair.sockets.push(format!("/var/run/wireguard/{link}.sock").into());
                    pair.ends
                        .push(start_stock(ground, gateway, index, &link, engine, program, keys)?);
                }
            }
            wait_for_link(ground, gateway, &link)?;
            ground.route(gateway, Some(&link))?;
        }
        let deadline = Instant::now() + PATIENCE;
        while load::round_trips(
            ground,
            [Place::West, Place::East],
            Duration::from_millis(200),
            load::PAUSE,
        )?
        .is_empty()
        {
            if Instant::now() > deadline {
                bail!("no datagram came back through {program} within {PATIENCE:?}");
            }
        }
        Ok(pair)
    }

    /// Seconds of processor time that both ends have used.
    pub(crate) fn cpu_seconds(&self) -> anyhow::Result<f64> {
        self.ends.iter().map(|end| cpu_seconds(end.pid())).sum()
    }

    /// The larger peak of resident memory, in MB.
    pub(crate) fn peak_rss_mb(&self) -> anyhow::Result<Option<f64>> {
        let peaks: Vec<f64> = self
            .ends
            .iter()
            .map(|end| peak_rss_mb(end.pid()))
            .collect::<anyhow::Result<_>>()?;
        Ok(peaks.into_iter().max_by(f64::total_cmp))
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        self.ends.clear();
        for socket in &self.sockets {
            // One that ended by itself has removed it.
            let _ = fs::remove_file(socket);
        }
    }
}

fn start_ours(
    ground: &Ground,
    gateway: Place,
    index: usize,
    link: &str,
    program: &str,
    keys: &Keys,
    lanes: Option<u32>,
) -> anyhow::Result<Running> {
    let peer = format!("{}:{PORT}", gateway.opposite().underlay());
    let (port, prefix) = (PORT.to_string(), gateway.opposite().prefix());
    let mut arguments = vec![
        "--interface",
        link,
        "--key-file",
        &keys.files[index],
        "--peer-key",
        &keys.public[1 - index],
        "--peer",
        &peer,
        "--listen",
        &port,
        "--prefix",
        prefix,
    ];
    let lanes = lanes.map(|lanes| lanes.to_string());
    if let Some(lanes) = &lanes {
        arguments.extend(["--lanes", lanes]);
    }
    ground.start(gateway, program, &arguments)
}

fn start_stock(
    ground: &Ground,
    gateway: Place,
    index: usize,
    link: &str,
    engine: Engine,
    program: &str,
    keys: &Keys,
) -> anyhow::Result<Running> {
    let foreground = if engine == Engine::WireguardGo {
        ["-f"].as_slice()
    } else {
        &["--foreground", "--disable-drop-privileges"]
    };
    let running = ground.start(gateway, program, &[foreground, &[link]].concat())?;
    wait_for_link(ground, gateway, link)?;
    let (endpoint, port) = (format!("{}:{PORT}", gateway.opposite().underlay()), PORT.to_string());
    let configure = [
        "set",
        link,
        "private-key",
        &keys.files[index],
        "listen-port",
        &port,
        "peer",
        &keys.public[1 - index],
        "endpoint",
        &endpoint,
        "allowed-ips",
        gateway.opposite().prefix(),
    ];
    // The control socket appears a moment after the link.
    let deadline = Instant::now() + PATIENCE;
    while let Err(error) = ground.finish(gateway, "wg", &configure) {
        if Instant::now() > deadline {
            return Err(error.context("wg (package wireguard-tools) cannot configure the engine"));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    ground.ip(gateway, &format!("link set {link} mtu 1420 up"))?;
    Ok(running)
}

fn wait_for_link(ground: &Ground, gateway: Place, link: &str) -> anyhow::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while let Err(error) = ground.ip(gateway, &format!("link set {link} up")) {
        if Instant::now() > deadline {
            return Err(error.context(format!("no link {link} within {PATIENCE:?}")));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// The UDP port of every engine.
pub(crate) const PORT: u16 = 4510;
const PATIENCE: Duration = Duration::from_secs(15);
