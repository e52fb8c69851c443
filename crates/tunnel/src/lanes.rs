use std::fmt;
use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use model::{CablePlan, PublicKey};
use prometheus::Registry;

use crate::counters::DropReason;
use crate::engine::{CableStatus, Engine, Failovers, Telemetry};
use crate::key::PrivateKey;
use crate::lane::{Devices, Lane, Sockets};
use crate::metrics;
use crate::shared::Shared;
use crate::steering::{MAX_LANES, datagrams};
use crate::switch::{Handshakes, Switch, Ways};
use crate::tun::{OpenTunError, TunDevice};
use crate::udp::{BindError, UdpPort};

/// What an engine is made of.
pub struct EngineConfig {
    /// Our identity.
    pub private_key: PrivateKey,
    /// Where packets enter and leave.
    pub tun: TunDevice,
    /// UDP port of all cables; 0 takes any free one.
    pub port: u16,
    /// Lanes to run, 1 to 16; a device that has room for one queue only gets one.
    pub lanes: u8,
    /// How long a lane goes on looking for packets after the last one before it sleeps. It saves the time to wake up, and costs as much of
    /// a core after every packet; zero sleeps at once.
    pub busy_poll: Duration,
    /// Called from a packet loop when the state of a cable changed or the engine failed; it must not block.
    pub on_change: Box<dyn Fn() + Send + Sync>,
}

/// Why an engine does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartEngineError {
    /// The port cannot be had.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The device has no more queues.
    #[error(transparent)]
    Tun(#[from] OpenTunError),
    /// The kernel refused a descriptor or a thread.
    #[error("cannot start the packet loop: the process is out of file descriptors or threads")]
    Resources(#[source] io::Error),
}

/// The engine: as many lanes as it was told, each a thread.
pub struct Lanes {
    shared: Arc<Shared>,
    handshakes: Arc<Handshakes>,
    threads: Vec<JoinHandle<()>>,
}

impl Lanes {
    /// Binds the port in the network namespace of the calling thread and starts the lanes. Dropping the engine stops them and
    /// frees the port; the TUN link stays.
    ///
    /// # Errors
    /// When the port is taken or the process is out of resources.
    pub fn start(config: EngineConfig) -> Result<Self, StartEngineError> {
        let EngineConfig {
            private_key,
            tun,
            port,
            lanes,
            busy_poll,
            on_change,
        } = config;
        let queues = queues(tun, usize::from(lanes).clamp(1, MAX_LANES))?;
        let ports = UdpPort::bind_group(port, queues.len())?;
        let port = ports[0].port();
        let shared = Shared::new(queues.len(), private_key.public_key(), port, on_change);
        let shared = Arc::new(shared.map_err(StartEngineError::Resources)?);
        let handshakes = Arc::new(Handshakes::new(&private_key));
        probe_offloads(&shared, &queues[0], &ports);
        tracing::info!(
            port, link = queues[0].name(), key = %shared.public_key, lanes = queues.len(), offloads = %shared.offloads(),
            "engine started"
        );
        let mut engine = Self {
            shared,
            handshakes,
            threads: Vec::new(),
        };
        let ways = Arc::<Ways>::default();
        for (number, (tun, port)) in queues.into_iter().zip(ports).enumerate() {
            let own = if number == 0 { None } else { Some(UdpPort::bind(0)?) };
            let shared = engine.shared.clone();
            let devices = Devices::new(tun, Sockets { port, own }, number, shared.clone());
            let switch = Switch::new(
                private_key.clone(),
                (number, shared.lanes()),
                (engine.handshakes.clone(), ways.clone()),
                shared.counters(number).drops.clone(),
            );
            let thread = thread::Builder::new()
                .name(format!("tombolo-lane-{number}"))
                .spawn(move || {
                    let _guard = AbortOnPanic;
                    Lane::new(number, switch, devices, shared, busy_poll).run();
                })
                .map_err(StartEngineError::Resources)?;
            engine.threads.push(thread);
        }
        Ok(engine)
    }
}

impl Engine for Lanes {
    fn apply(&self, plan: &CablePlan) {
        self.handshakes.set_limit(plan.peers.len() * self.shared.lanes());
        self.shared.plan(plan);
    }

    fn status(&self) -> Vec<CableStatus> {
        self.shared.cables().into_iter().map(|(status, _)| status).collect()
    }

    fn failovers(&self) -> Failovers {
        self.shared.failovers()
    }

    fn telemetry(&self) -> Telemetry {
        Telemetry {
            lanes: (0..self.shared.lanes())
                .map(|lane| self.shared.lane_totals(lane))
                .collect(),
            offloads: self.shared.offloads().in_use().collect(),
        }
    }

    fn dropped(&self, reason: DropReason) -> u64 {
        self.shared.dropped(reason)
    }

    fn failure(&self) -> Option<String> {
        self.shared.failure()
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

impl Drop for Lanes {
    fn drop(&mut self) {
        self.shared.stop();
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a lane panicked");
            }
        }
    }
}

impl fmt::Debug for Lanes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lanes")
            .field("public_key", &self.shared.public_key)
            .field("port", &self.shared.port)
            .field("lanes", &self.shared.lanes())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for EngineConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EngineConfig")
            .field("tun", &self.tun)
            .field("port", &self.port)
            .field("lanes", &self.lanes)
            .finish_non_exhaustive()
    }
}

/// How many lanes this machine is good for: one for each core that the process may use. Both ends of a cable use as many as the smaller
/// offer.
pub fn offered_lanes() -> u8 {
    let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    // At most 16.
    cores.min(MAX_LANES) as u8
}

/// A lane that panicked would leave its flows in the dark while the others go on and all looks well. So the process ends, and
/// whoever watches it starts it again.
struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if thread::panicking() {
            tracing::error!("a lane panicked: the process ends");
            std::process::abort();
        }
    }
}

fn queues(tun: TunDevice, wanted: usize) -> Result<Vec<TunDevice>, OpenTunError> {
    let mut queues = vec![tun];
    while queues.len() < wanted {
        let Some(queue) = queues[0].another_queue()? else {
            tracing::warn!(
                link = queues[0].name(),
                wanted,
                got = queues.len(),
                "the TUN device has no room for more lanes; a link that an older version made gets it when it is removed and made anew",
            );
            break;
        };
        queues.push(queue);
    }
    Ok(queues)
}

/// What the kernel does for us. What it does not is slower and nothing else.
fn probe_offloads(shared: &Shared, tun: &TunDevice, ports: &[UdpPort]) {
    let offloads = shared.offloads();
    offloads.set_tun(tun.merge());
    offloads.set_udp(ports[0].splits(), ports[0].merges());
    if ports.len() > 1 {
        let steered = ports[0].sockets().try_for_each(datagrams::steer);
        offloads.set_demux(steered.is_ok());
        if let Err(error) = steered {
            tracing::warn!(%error, "the kernel does not let us choose the lane of a datagram: lanes hand them over");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::Command;

    use super::*;

    /// In the process that is to end, this is set.
    const MUST_PANIC: &str = "TOMBOLO_TEST_LANE_PANICS";

    #[test]
    fn a_lane_that_panics_takes_the_process_with_it() {
        if std::env::var_os(MUST_PANIC).is_some() {
            let lane = thread::spawn(|| {
                let _guard = AbortOnPanic;
                panic!("as a lane might");
            });
            // Without the guard the panic would end here.
            let _ = lane.join();
            return;
        }
        let name = "lanes::tests::a_lane_that_panics_takes_the_process_with_it";
        let this = std::env::current_exe().unwrap();
        let output = Command::new(this)
            .args(["--exact", name])
            .env(MUST_PANIC, "1")
            .output()
            .unwrap();
        assert_eq!(output.status.signal(), Some(libc::SIGABRT), "{}", output.status);
    }
}
