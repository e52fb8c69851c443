use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use packet::ecn::Ecn;
use packet::{Coalescer, VirtioNetHeader};

use super::strays::Found;
use crate::counters::{DropReason, LaneCounters};
use crate::shared::Shared;
use crate::switch::{ROOM, Wire};
use crate::tun::TunDevice;
use crate::udp::{Remote, Run, UdpPort, Via};

/// A lane's queue and sockets, and what is on its way to them.
pub(crate) struct Devices {
    tun: TunDevice,
    sockets: Sockets,
    run: Run,
    coalescer: Coalescer,
    /// Why datagrams to an address were not sent; the next to that address is told.
    failed: Option<(Remote, io::Error)>,
    lane: usize,
    shared: Arc<Shared>,
}

/// The sockets of a lane.
pub(crate) struct Sockets {
    /// Those of the port of all cables.
    pub(crate) port: UdpPort,
    /// Those of the lane's own port; the first lane has none.
    pub(crate) own: Option<UdpPort>,
}

impl Devices {
    pub(crate) fn new(tun: TunDevice, sockets: Sockets, lane: usize, shared: Arc<Shared>) -> Self {
        Self {
            coalescer: Coalescer::new(ROOM, tun.merge()),
            tun,
            sockets,
            run: Run::new(),
            failed: None,
            lane,
            shared,
        }
    }

    pub(super) fn tun(&self) -> &TunDevice {
        &self.tun
    }

    pub(super) fn sockets(&self) -> &Sockets {
        &self.sockets
    }

    /// What a network card turned out not to do is told as not in use.
    pub(super) fn tell_offloads(&self) {
        let mut ports = std::iter::once(&self.sockets.port).chain(&self.sockets.own);
        if ports.any(|port| !port.splits()) {
            self.shared.offloads().give_up_splitting();
        }
    }

    /// Sends and delivers all that was kept back to go with others.
    pub(super) fn flush(&mut self) {
        self.flush_run();
        let (tun, counters) = (&self.tun, self.shared.counters(self.lane));
        self.coalescer.flush(&mut |packet| write(tun, counters, packet));
    }

    fn flush_run(&mut self) {
        let (sockets, counters) = (&self.sockets, self.shared.counters(self.lane));
        let failed = &mut self.failed;
        self.run.flush(|run| sockets.send_run(counters, run, failed));
    }

    fn hand_over(&self, lane: usize, found: Found, bytes: &[u8]) {
        let counters = self.shared.counters(self.lane);
        if self.shared.hand_over(lane, found, bytes) {
            counters.handed_over();
        } else {
            counters.drops.count(DropReason::LaneBusy);
        }
    }
}

impl Sockets {
    fn by(&self, via: Via) -> &UdpPort {
        match (via, &self.own) {
            (Via::Own, Some(own)) => own,
            _ => &self.port,
        }
    }

    fn send_run(&self, counters: &LaneCounters, run: &Run, failed: &mut Option<(Remote, io::Error)>) {
        let Some((to, _)) = run.destination() else { return };
        counters.sent_run(run.len());
        let delivery = self.by(to.via).send_run(run);
        for _ in 0..delivery.lost {
            counters.drops.count(DropReason::UdpSend);
        }
        if let Some(error) = delivery.error {
            *failed = Some((to, error));
        }
    }
}

impl Wire for Devices {
    fn send(&mut self, to: Remote, datagram: &[u8]) -> io::Result<()> {
        self.flush_run();
        self.sockets.by(to.via).send(to.address, datagram)
    }

    fn deliver(&mut self, packet: &[u8]) -> io::Result<()> {
        self.tun.write_plain(packet)
    }

    fn seal_room(&mut self) -> &mut [u8] {
        self.run.room()
    }

    fn send_sealed(&mut self, to: Remote, ecn: Ecn, len: usize) -> io::Result<()> {
        let (sockets, counters) = (&self.sockets, self.shared.counters(self.lane));
        let failed = &mut self.failed;
        self.run
            .push(to, ecn, len, |run| sockets.send_run(counters, run, failed));
        match self.failed.take_if(|(address, _)| *address == to) {
            Some((_, error)) => Err(error),
            None => Ok(()),
        }
    }

    fn open_room(&mut self) -> &mut [u8] {
        self.coalescer.spare()
    }

    fn opened(&mut self) -> &mut [u8] {
        self.coalescer.landed()
    }

    fn deliver_opened(&mut self, len: usize) {
        let (tun, counters) = (&self.tun, self.shared.counters(self.lane));
        self.coalescer.commit(len, &mut |packet| write(tun, counters, packet));
    }

    fn hand_over_datagram(&mut self, lane: usize, from: SocketAddr, ecn: Ecn, datagram: &[u8]) {
        self.hand_over(lane, Found::Datagram { from, ecn }, datagram);
    }

    fn hand_over_packet(&mut self, lane: usize, header: VirtioNetHeader, packet: &[u8]) {
        self.hand_over(lane, Found::Packet(header), packet);
    }
}

fn write(tun: &TunDevice, counters: &LaneCounters, packet: &[u8]) {
    counters.wrote();
    if tun.write(packet).is_err() {
        counters.drops.count(DropReason::TunWrite);
    }
}
