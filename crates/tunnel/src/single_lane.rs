use std::fmt;
use std::io;
use std::net::UdpSocket;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use model::{CablePlan, PublicKey};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use packet::{Coalescer, Merge, VirtioNetHeader};
use prometheus::Registry;

use crate::bulk::{Batch, Control, Received, receive, receive_together};
use crate::counters::{DropReason, Drops, PeerCounters, PeerTotals};
use crate::devices::Devices;
use crate::engine::{CableStatus, Engine, Failovers};
use crate::key::PrivateKey;
use crate::metrics;
use crate::switch::Switch;
use crate::tun::TunDevice;
use crate::udp::{BindError, UdpPort};

/// What an engine is made of.
pub struct EngineConfig {
    /// Our identity.
    pub private_key: PrivateKey,
    /// Where packets enter and leave.
    pub tun: TunDevice,
    /// UDP port of all cables; 0 takes any free one.
    pub port: u16,
    /// Called from the packet loop when the state of a cable changed or the engine failed; it must not block.
    pub on_change: Box<dyn Fn() + Send>,
}

/// Why an engine does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartEngineError {
    /// The port cannot be had.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The kernel refused a descriptor or a thread.
    #[error("cannot start the packet loop: the process is out of file descriptors or threads")]
    Resources(#[source] io::Error),
}

/// The engine with one lane: one thread does everything, in the order in which it arrives.
pub struct SingleLane {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// What the packet loop and the rest of the process both see.
pub(crate) struct Shared {
    pub(crate) drops: Arc<Drops>,
    cables: Mutex<Vec<(CableStatus, Arc<PeerCounters>)>>,
    /// The newest plan that the loop has not taken yet.
    plan: Mutex<Option<CablePlan>>,
    failovers: Mutex<Failovers>,
    failure: Mutex<Option<String>>,
    stop: AtomicBool,
    wake: EventFd,
    public_key: PublicKey,
    port: u16,
}

impl SingleLane {
    /// Binds the port in the network namespace of the calling thread and starts the packet loop. Dropping the engine stops the loop
    /// and frees the port; the TUN link stays.
    ///
    /// # Errors
    /// When the port is taken or the process is out of resources.
    pub fn start(config: EngineConfig) -> Result<Self, StartEngineError> {
        let EngineConfig {
            private_key,
            tun,
            port,
            on_change,
        } = config;
        let udp = UdpPort::bind(port)?;
        let wake = EventFd::from_value_and_flags(0, EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)
            .map_err(|errno| StartEngineError::Resources(errno.into()))?;
        let shared = Arc::new(Shared {
            drops: Arc::default(),
            cables: Mutex::default(),
            plan: Mutex::default(),
            failovers: Mutex::default(),
            failure: Mutex::default(),
            stop: AtomicBool::new(false),
            wake,
            public_key: private_key.public_key(),
            port: udp.port(),
        });
        tracing::info!(port = udp.port(), link = tun.name(), key = %shared.public_key, "engine started");
        let switch = Switch::new(private_key, shared.drops.clone());
        let lane = Lane {
            switch,
            tun,
            udp,
            shared: shared.clone(),
            on_change,
        };
        let thread = thread::Builder::new()
            .name("tombolo-lane-0".to_owned())
            .spawn(move || lane.run())
            .map_err(StartEngineError::Resources)?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }
}

impl Engine for SingleLane {
    fn apply(&self, plan: &CablePlan) {
        *lock(&self.shared.plan) = Some(plan.clone());
        self.shared.wake();
    }

    fn status(&self) -> Vec<CableStatus> {
        self.shared.cables().into_iter().map(|(status, _)| status).collect()
    }

    fn failovers(&self) -> Failovers {
        self.shared.failovers()
    }

    fn dropped(&self, reason: DropReason) -> u64 {
        self.shared.drops.of(reason)
    }

    fn failure(&self) -> Option<String> {
        lock(&self.shared.failure).clone()
    }

    fn public_key(&self) -> PublicKey {
        self.shared.public_key
    }

    fn port(&self) -> u16 {
        self.shared.port
    }

    fn register(&self, registry: &Registry) -> prometheus::Result<()> {
        metrics::register(self.shared.clone(), registry)
    }
}

impl Drop for SingleLane {
    fn drop(&mut self) {
        self.shared.stop.store(true, Relaxed);
        self.shared.wake();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the packet loop panicked");
        }
    }
}

impl fmt::Debug for SingleLane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shared { public_key, port, .. } = &*self.shared;
        f.debug_struct("SingleLane")
            .field("public_key", public_key)
            .field("port", port)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for EngineConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EngineConfig")
            .field("tun", &self.tun)
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}

impl Shared {
    /// Every cable, with the totals of this moment.
    pub(crate) fn cables(&self) -> Vec<(CableStatus, PeerTotals)> {
        let cables = lock(&self.cables);
        let with_totals = cables.iter().map(|(status, counters)| {
            let totals = counters.totals();
            let mut status = status.clone();
            status.connection.rx_bytes = totals.rx_bytes;
            status.connection.tx_bytes = totals.tx_bytes;
            (status, totals)
        });
        with_totals.collect()
    }

    /// How often traffic had to leave a dead cable.
    pub(crate) fn failovers(&self) -> Failovers {
        *lock(&self.failovers)
    }

    fn wake(&self) {
        if let Err(errno) = self.wake.write(1) {
            tracing::debug!(%errno, "the packet loop is being woken already");
        }
    }
}

/// The thread's own.
struct Lane {
    switch: Switch,
    tun: TunDevice,
    udp: UdpPort,
    shared: Arc<Shared>,
    on_change: Box<dyn Fn() + Send>,
}

impl Lane {
    fn run(mut self) {
        if let Err(error) = self.turn_until_stopped() {
            tracing::error!(%error, link = self.tun.name(), "the engine stopped: its device is gone");
            *lock(&self.shared.failure) = Some(format!("TUN device {}: {error}", self.tun.name()));
            (self.on_change)();
        }
    }

    fn turn_until_stopped(&mut self) -> io::Result<()> {
        let mut buffer = vec![0; VirtioNetHeader::LEN + usize::from(u16::MAX)];
        let mut control = Control::new();
        let offloads = self.tun.offloads();
        let is_received_together = self.udp.sockets().all(receive_together);
        tracing::info!(
            tcp = offloads.tcp,
            udp = offloads.udp,
            receive = is_received_together,
            link = self.tun.name(),
            "offloads in use"
        );
        let merge = Merge {
            tcp: offloads.tcp,
            udp: offloads.udp,
        };
        let mut devices = Devices {
            tun: &self.tun,
            udp: &self.udp,
            drops: &self.shared.drops,
            batch: Batch::new(),
            merge: Coalescer::new(usize::from(u16::MAX), merge),
            is_bulk: false,
        };
        let mut fds = vec![
            PollFd::new(self.shared.wake.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.tun.as_fd(), PollFlags::POLLIN),
        ];
        fds.extend(
            self.udp
                .sockets()
                .map(|socket| PollFd::new(socket.as_fd(), PollFlags::POLLIN)),
        );
        let mut mtu = None;
        let mut next_tick = Instant::now();
        let mut next_report = next_tick;
        loop {
            wait(&mut fds, next_tick)?;
            if self.shared.stop.load(Relaxed) {
                return Ok(());
            }
            let now = Instant::now();
            if is_ready(&fds[0]) {
                // Read before the plan is taken: a plan that comes after the read wakes the loop again.
                let _ = self.shared.wake.read();
                if let Some(plan) = lock(&self.shared.plan).take() {
                    if mtu.replace(plan.mtu) != Some(plan.mtu)
                        && let Err(error) = self.tun.raise(plan.mtu)
                    {
                        tracing::warn!(%error, link = self.tun.name(), mtu = plan.mtu, "cannot set the link up");
                        mtu = None;
                    }
                    self.switch.apply(&plan, now);
                    next_tick = now;
                }
            }
            if is_ready(&fds[1]) {
                drain_tun(&mut self.switch, &mut devices, &mut buffer, now)?;
            }
            for (fd, socket) in fds[2..].iter().zip(self.udp.sockets()) {
                if is_ready(fd) {
                    drain_socket(&mut self.switch, socket, &mut devices, &mut buffer, &mut control, now);
                }
            }
            if now >= next_tick {
                self.switch.tick(now, &mut devices);
                next_tick = self.switch.next_tick(now);
            }
            devices.flush();
            let changed = self.switch.take_change();
            if changed || now >= next_report {
                next_report = now + REPORT_EVERY;
                *lock(&self.shared.cables) = self.switch.status(now);
                *lock(&self.shared.failovers) = self.switch.failovers();
            }
            if changed {
                (self.on_change)();
            }
        }
    }
}

/// A turn takes a bounded number of packets from each side, so that neither starves the other or the timers.
fn drain_tun(switch: &mut Switch, devices: &mut Devices<'_>, buffer: &mut [u8], now: Instant) -> io::Result<()> {
    devices.is_bulk = true;
    let mut packets = 0;
    let mut result = Ok(());
    while packets < PACKETS_PER_TURN {
        match devices.tun.read(buffer) {
            Ok(len) => packets += forward(switch, devices, &mut buffer[..len], now),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                result = Err(error);
                break;
            }
        }
    }
    devices.is_bulk = false;
    result
}

/// Splits what the kernel left whole, and hands over each packet; how many there were.
fn forward(switch: &mut Switch, devices: &mut Devices<'_>, read: &mut [u8], now: Instant) -> usize {
    let split = VirtioNetHeader::split(read).map(|(header, packet)| packet::segment(header, packet));
    let Some(Ok(mut segments)) = split else {
        devices.drops.count(DropReason::NotIp);
        return 1;
    };
    let count = segments.len();
    while let Some(packet) = segments.next_packet() {
        switch.handle_tun(packet, now, devices);
    }
    count.max(1)
}

fn drain_socket(
    switch: &mut Switch,
    socket: &UdpSocket,
    devices: &mut Devices<'_>,
    buffer: &mut [u8],
    control: &mut Control,
    now: Instant,
) {
    let mut packets = 0;
    while packets < PACKETS_PER_TURN {
        match receive(socket, buffer, control) {
            // An empty datagram has no stride.
            Ok(Received { from, len, stride }) => {
                for datagram in buffer[..len].chunks(stride.max(1)) {
                    switch.handle_udp(from, datagram, now, devices);
                    packets += 1;
                }
                packets += usize::from(len == 0);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            // An unconnected socket reports nothing else but passing shortages.
            Err(error) => tracing::debug!(%error, "cannot receive a datagram"),
        }
    }
}

fn wait(fds: &mut [PollFd<'_>], until: Instant) -> io::Result<()> {
    let left = until.saturating_duration_since(Instant::now());
    // Rounded up, so that the loop does not spin through the last part of a millisecond.
    let millis = left.as_micros().div_ceil(1000);
    let timeout = PollTimeout::try_from(millis).unwrap_or(PollTimeout::MAX);
    match poll(fds, timeout) {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

fn is_ready(fd: &PollFd<'_>) -> bool {
    fd.revents().is_some_and(|events| !events.is_empty())
}

/// A thread that panicked while it held the lock left whole values behind, for they are replaced whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A few of the largest reads: a small packet behind them waits for no more than that.
const PACKETS_PER_TURN: usize = 128;
/// Figures of the status are at most this old; states are never.
const REPORT_EVERY: Duration = Duration::from_secs(1);
