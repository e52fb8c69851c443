use std::io;
use std::net::SocketAddr;

use packet::Coalescer;

use crate::bulk::Batch;
use crate::counters::{DropReason, Drops};
use crate::switch::Wire;
use crate::tun::TunDevice;
use crate::udp::UdpPort;

/// The devices, as the switch uses them.
pub(crate) struct Devices<'a> {
    pub(crate) tun: &'a TunDevice,
    pub(crate) udp: &'a UdpPort,
    pub(crate) drops: &'a Drops,
    /// On the way into a cable.
    pub(crate) batch: Batch,
    /// On the way out of one.
    pub(crate) merge: Coalescer,
    /// Packets are being forwarded: their datagrams may wait for one another.
    pub(crate) is_bulk: bool,
}

impl Wire for Devices<'_> {
    fn send(&mut self, to: SocketAddr, datagram: &[u8]) -> io::Result<()> {
        if self.is_bulk && datagram.first() == Some(&DATA) {
            return self.batch.push(self.udp, to, datagram);
        }
        self.batch.flush(self.udp);
        self.udp.send(to, datagram)
    }

    fn deliver(&mut self, packet: &[u8]) -> io::Result<()> {
        let Some(room) = self.merge.spare().get_mut(..packet.len()) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        room.copy_from_slice(packet);
        let (tun, drops) = (self.tun, self.drops);
        self.merge.commit(packet.len(), &mut |packet| write(tun, drops, packet));
        Ok(())
    }
}

impl Devices<'_> {
    /// Sends and writes everything that waits for more.
    pub(crate) fn flush(&mut self) {
        self.batch.flush(self.udp);
        let (tun, drops) = (self.tun, self.drops);
        self.merge.flush(&mut |packet| write(tun, drops, packet));
    }
}

fn write(tun: &TunDevice, drops: &Drops, packet: &[u8]) {
    if tun.write(packet).is_err() {
        drops.count(DropReason::TunWrite);
    }
}

/// The first byte of a transport data message.
const DATA: u8 = 4;
