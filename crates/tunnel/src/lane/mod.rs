//! A lane: one thread with a queue of the TUN device, its sockets, and a session of its own with every peer.
//!
//! The loop waits for any of its descriptors, takes a bounded amount from each that is ready, sends and delivers what that came
//! to, and lets time pass. The bound keeps a small packet from waiting behind more than one turn of bulk, and a flood on one
//! side from starving the other.

mod devices;
mod strays;

use std::io;
use std::net::UdpSocket;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use packet::VirtioNetHeader;

use crate::counters::DropReason;
use crate::shared::Shared;
use crate::steering::flows;
use crate::switch::Switch;
use crate::udp::{Inbox, Remote, Via};

pub(crate) use devices::{Devices, Sockets};
pub(crate) use strays::{Found, Strays};

/// The thread's own.
pub(crate) struct Lane {
    pub(crate) number: usize,
    pub(crate) switch: Switch,
    pub(crate) devices: Devices,
    pub(crate) shared: Arc<Shared>,
    inbox: Inbox,
    buffer: Box<[u8]>,
    mtu: Option<u16>,
    /// Lanes that flows are spread over.
    steered: usize,
    busy_poll: Duration,
    /// The last turn had packets.
    is_busy: bool,
}

/// What woke a lane.
#[derive(Debug, Default)]
struct Ready {
    wake: bool,
    tun: bool,
    sockets: [bool; SOCKETS],
}

impl Lane {
    pub(crate) fn new(
        number: usize,
        switch: Switch,
        devices: Devices,
        shared: Arc<Shared>,
        busy_poll: Duration,
    ) -> Self {
        Self {
            number,
            switch,
            devices,
            shared,
            inbox: Inbox::new(),
            buffer: vec![0; VirtioNetHeader::LEN + usize::from(u16::MAX)].into_boxed_slice(),
            mtu: None,
            steered: 0,
            busy_poll,
            is_busy: false,
        }
    }

    /// Runs until the engine is to stop, or the device is gone.
    pub(crate) fn run(mut self) {
        if let Err(error) = self.turn_until_stopped() {
            let link = self.devices.tun().name();
            tracing::error!(%error, link, lane = self.number, "the engine stopped: its device is gone");
            self.shared.fail(format!("TUN device {link}: {error}"));
        }
    }

    fn turn_until_stopped(&mut self) -> io::Result<()> {
        let mut next_tick = Instant::now();
        let mut next_report = next_tick;
        loop {
            let ready = self.wait(next_tick)?;
            self.is_busy = ready.tun || ready.sockets.contains(&true);
            if self.shared.is_stopping() {
                return Ok(());
            }
            let now = Instant::now();
            if ready.wake {
                // Cleared before the work is taken: what comes after wakes the lane again.
                self.shared.slept(self.number);
                if self.take_plan(now) {
                    next_tick = now;
                }
                self.drain_strays(now);
            }
            if ready.tun {
                self.drain_tun(now)?;
            }
            for index in 0..SOCKETS {
                if ready.sockets[index] {
                    self.drain_socket(index, now);
                }
            }
            self.devices.flush();
            if now >= next_tick {
                self.switch.tick(now, &mut self.devices);
                next_tick = self.switch.next_tick(now);
                self.devices.flush();
            }
            let changed = self.switch.take_change();
            if changed || now >= next_report {
                next_report = now + REPORT_EVERY;
                self.shared.report(self.number, self.switch.status(now));
                self.devices.tell_offloads();
                if self.number == 0 {
                    self.shared.report_failovers(self.switch.failovers());
                }
            }
            if changed {
                self.shared.changed();
            }
        }
    }

    fn wait(&self, until: Instant) -> io::Result<Ready> {
        let wake = self.shared.wake_fd(self.number);
        let mut fds = [const { None }; 2 + SOCKETS];
        fds[0] = Some(wake.as_fd());
        fds[1] = Some(self.devices.tun().as_fd());
        for (index, fd) in fds[2..].iter_mut().enumerate() {
            *fd = self.socket(index).map(|(_, socket)| socket.as_fd());
        }
        // Those that there are come first; a socket is missing where there is no IPv6, and in the first lane.
        let mut polled = fds.map(|fd| PollFd::new(fd.unwrap_or(wake.as_fd()), PollFlags::POLLIN));
        for (slot, fd) in polled.iter_mut().zip(&fds) {
            if fd.is_none() {
                slot.set_events(PollFlags::empty());
            }
        }
        if self.is_busy && !self.busy_poll.is_zero() {
            let end = until.min(Instant::now() + self.busy_poll);
            while poll(&mut polled, PollTimeout::ZERO) == Ok(0) && Instant::now() < end {
                // Whoever else wants the core has it: it may be the one that the packet comes from.
                thread::yield_now();
            }
        }
        let left = until.saturating_duration_since(Instant::now());
        // Rounded up, so that the loop does not spin through the last part of a millisecond.
        let timeout = PollTimeout::try_from(left.as_micros().div_ceil(1000)).unwrap_or(PollTimeout::MAX);
        match poll(&mut polled, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let is_ready = |index: usize| polled[index].revents().is_some_and(|events| !events.is_empty());
        Ok(Ready {
            wake: is_ready(0),
            tun: is_ready(1),
            sockets: std::array::from_fn(|index| fds[2 + index].is_some() && is_ready(2 + index)),
        })
    }

    /// The sockets by number: those of the cable port, then those of the lane's own.
    fn socket(&self, index: usize) -> Option<(Via, &UdpSocket)> {
        let sockets = self.devices.sockets();
        match index / FAMILIES {
            0 => sockets.port.sockets().nth(index).map(|socket| (Via::Port, socket)),
            _ => {
                let own = sockets.own.as_ref()?;
                own.sockets().nth(index - FAMILIES).map(|socket| (Via::Own, socket))
            }
        }
    }

    fn take_plan(&mut self, now: Instant) -> bool {
        let Some(plan) = self.shared.take_plan(self.number) else {
            return false;
        };
        if self.number == 0 {
            if self.mtu.replace(plan.mtu) != Some(plan.mtu)
                && let Err(error) = self.devices.tun().raise(plan.mtu)
            {
                let link = self.devices.tun().name();
                tracing::warn!(%error, link, mtu = plan.mtu, "cannot set the link up");
                self.mtu = None;
            }
            let most = plan.peers.iter().map(|peer| usize::from(peer.lanes)).max().unwrap_or(1);
            self.steer(most.clamp(1, self.shared.lanes()));
        }
        self.switch.apply(&plan, now);
        true
    }

    /// Spreads flows over as many lanes as the other ends have.
    fn steer(&mut self, lanes: usize) {
        if self.shared.lanes() == 1 || self.steered == lanes {
            return;
        }
        self.steered = lanes;
        let steers = flows::steer(self.devices.tun(), lanes);
        self.shared.offloads().set_steering(steers.is_ok());
        if let Err(error) = steers {
            tracing::warn!(
                %error,
                "the kernel does not let us choose the lane of a flow (CAP_BPF or CAP_SYS_ADMIN is missing?): it chooses itself, \
                 and packets of a flow may be reordered under load"
            );
        }
    }

    fn drain_strays(&mut self, now: Instant) {
        for _ in 0..STRAYS_PER_TURN {
            let Some((found, mut bytes)) = self.shared.strays(self.number).take() else {
                return;
            };
            match found {
                Found::Datagram { from, ecn } => {
                    let from = Remote {
                        via: Via::Port,
                        address: from,
                    };
                    self.switch.handle_stray(from, ecn, &bytes, now, &mut self.devices);
                }
                Found::Packet(header) => self.switch.handle_tun(header, &mut bytes, now, &mut self.devices),
            }
            self.shared.strays(self.number).reuse(bytes);
        }
        // There may be more, and nobody wakes us for what was there already.
        self.shared.wake(self.number);
    }

    fn drain_tun(&mut self, now: Instant) -> io::Result<()> {
        let mut bytes = 0;
        for _ in 0..PACKETS_PER_TURN {
            match self.devices.tun().read(&mut self.buffer) {
                Ok(len) => {
                    bytes += len;
                    self.shared.counters(self.number).read();
                    match VirtioNetHeader::split(&mut self.buffer[..len]) {
                        Some((header, packet)) => self.switch.handle_tun(header, packet, now, &mut self.devices),
                        None => self.shared.counters(self.number).drops.count(DropReason::NotIp),
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            if bytes >= BYTES_PER_TURN {
                break;
            }
        }
        Ok(())
    }

    fn drain_socket(&mut self, index: usize, now: Instant) {
        let mut inbox = std::mem::take(&mut self.inbox);
        if let Some((via, socket)) = self.socket(index) {
            match inbox.receive(socket) {
                Ok(count) => {
                    for batch in (0..count).filter_map(|index| inbox.batch(index)) {
                        self.shared
                            .counters(self.number)
                            .received_batch(batch.datagrams().len());
                        let from = Remote {
                            via,
                            address: batch.from,
                        };
                        for datagram in batch.datagrams() {
                            self.switch
                                .handle_udp(from, batch.ecn, datagram, now, &mut self.devices);
                        }
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // An unconnected socket reports nothing else but passing shortages.
                Err(error) => tracing::debug!(%error, "cannot receive datagrams"),
            }
        }
        self.inbox = inbox;
    }
}

const FAMILIES: usize = 2;
const SOCKETS: usize = 2 * FAMILIES;
/// Small packets that a turn takes from the TUN device, and bytes of large ones.
const PACKETS_PER_TURN: usize = 64;
const BYTES_PER_TURN: usize = 256 << 10;
const STRAYS_PER_TURN: usize = 64;
/// Figures of the status are at most this old; states are never.
const REPORT_EVERY: Duration = Duration::from_secs(1);
