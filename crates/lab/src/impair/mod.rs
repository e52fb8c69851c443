//! A stretch of bad internet: the role that stands in a link of the lab and delays, loses, doubles and narrows what passes.
//!
//! ```text
//!   host ── veth ── bridge ── TAP near ─▶ ┌──────── link ────────┐ ─▶ TAP far ── the switch, or the internet
//!                                         │ MTU ▸ NAT ▸ pipe out │
//!                             TAP near ◀─ │ pipe in ◂ NAT ◂ MTU  │ ◀─ TAP far
//!                                         └──────────────────────┘
//! ```
//!
//! The TAPs have no offloads, so the kernel cuts super-packets and finishes checksums before they come here: what passes is what
//! a cable would carry. Everything that decides is in [`link`](Link), [`pipe`] and [`nat`]: no socket, no clock, and a seed that
//! repeats every choice. This module only moves frames, by the smaller of the kernel's wake-ups and the link's next deadline.
//!
//! Settings come from a file, which SIGHUP has read again; frames under way keep the times that they were given.

mod link;
mod nat;
mod pipe;
mod quantity;
mod settings;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tun_rs::{AsyncDevice, DeviceBuilder, Layer};

use link::{Link, Side};
pub(crate) use quantity::{Percent, Rate, duration};
pub(crate) use settings::{Impairment, NatKind, NatSettings, Settings};

/// Which devices to stand between, and how.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The TAP towards the host.
    #[arg(long)]
    pub near: String,
    /// The TAP towards everybody else.
    #[arg(long)]
    pub far: String,
    /// A file of settings, read again at SIGHUP.
    #[arg(long)]
    pub settings: PathBuf,
    /// Repeats every random choice.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

/// Moves frames until it is killed.
///
/// # Errors
/// When a device is not there or fails, or the settings cannot be read at the start.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let mut changes = signal(SignalKind::hangup()).context("cannot wait for SIGHUP")?;
    let mut link = Link::new(read(&args.settings)?, args.seed);
    let devices = Devices {
        near: open(&args.near)?,
        far: open(&args.far)?,
    };
    let mut buffer = vec![0; FRAME];
    loop {
        let deadline = link.poll_timeout().map(tokio::time::Instant::from_std);
        let due = async {
            match deadline {
                Some(deadline) => tokio::time::sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            ready = devices.near.readable() => ready.context("the TAP towards the host fails")?,
            ready = devices.far.readable() => ready.context("the TAP towards the others fails")?,
            () = due => {}
            _ = changes.recv() => match read(&args.settings) {
                Ok(settings) => link.set(settings),
                Err(error) => tracing::error!(%error, "the settings stay as they were"),
            },
        }
        devices.move_frames(&mut link, &mut buffer)?;
    }
}

struct Devices {
    near: AsyncDevice,
    far: AsyncDevice,
}

impl Devices {
    /// Takes in what the kernel has, and gives it what is due. A burst is bounded, so that neither side starves the other.
    fn move_frames(&self, link: &mut Link, buffer: &mut [u8]) -> anyhow::Result<()> {
        for side in [Side::Near, Side::Far] {
            for _ in 0..BURST {
                match self.of(side).try_recv(buffer) {
                    Ok(length) => link.handle_frame(side, Instant::now(), &buffer[..length]),
                    Err(error) if is_momentary(&error) => break,
                    Err(error) => return Err(error).context("cannot read from a TAP"),
                }
            }
        }
        while let Some((side, frame)) = link.poll_transmit(Instant::now()) {
            // A full queue loses frames, as those of a cable do; and so does a link that is down.
            if let Err(error) = self.of(side).try_send(&frame)
                && !is_momentary(&error)
            {
                tracing::debug!(%error, "a frame is lost");
            }
        }
        Ok(())
    }

    fn of(&self, side: Side) -> &AsyncDevice {
        match side {
            Side::Near => &self.near,
            Side::Far => &self.far,
        }
    }
}

/// A link that is down for a moment (`lab cut`) is no reason to end.
fn is_momentary(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock || error.raw_os_error() == Some(nix::errno::Errno::EIO as i32)
}

fn open(name: &str) -> anyhow::Result<AsyncDevice> {
    DeviceBuilder::new()
        .name(name)
        .layer(Layer::L2)
        .inherit_enable_state()
        .build_async()
        .with_context(|| format!("cannot attach to the TAP '{name}'; does another relay of this link run?"))
}

fn read(path: &Path) -> anyhow::Result<Settings> {
    let text = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("{} is damaged", path.display()))
}

/// The largest frame that a TAP hands out, and then some.
const FRAME: usize = 65_536 + 64;
const BURST: usize = 64;
