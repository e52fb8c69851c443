//! Sending and receiving many datagrams with one system call: the kernel's UDP segmentation (`UDP_SEGMENT`, udp(7)) on the way out, and
//! its receive offload (`UDP_GRO`) on the way in.

use std::io::{self, IoSliceMut};
use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket};
use std::os::fd::AsRawFd;

use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrIn, SockaddrIn6, SockaddrStorage, recvmsg, sendmsg,
    setsockopt, sockopt,
};

use crate::udp::UdpPort;

/// Datagrams that wait to be sent together: all to one address, all of one length but for a shorter last one.
#[derive(Debug)]
pub(crate) struct Batch {
    to: Option<SocketAddr>,
    bytes: Vec<u8>,
    segment: usize,
    count: usize,
    /// The last one was shorter: nothing may follow it.
    is_closed: bool,
    is_offloaded: bool,
    /// What went wrong with an earlier batch; the next datagram to that address is told.
    failed: Option<(SocketAddr, i32)>,
}

impl Batch {
    pub(crate) fn new() -> Self {
        Self {
            to: None,
            bytes: Vec::with_capacity(MAX_BYTES),
            segment: 0,
            count: 0,
            is_closed: false,
            is_offloaded: true,
            failed: None,
        }
    }

    /// Takes a datagram, and sends those before it if it does not go with them.
    ///
    /// # Errors
    /// What went wrong since the last call with a datagram to the same address.
    pub(crate) fn push(&mut self, udp: &UdpPort, to: SocketAddr, datagram: &[u8]) -> io::Result<()> {
        let joins = self.to == Some(to)
            && !self.is_closed
            && datagram.len() <= self.segment
            && self.count < MAX_SEGMENTS
            && self.bytes.len() + datagram.len() <= MAX_BYTES;
        if !joins {
            self.flush(udp);
            self.to = Some(to);
            self.segment = datagram.len();
        }
        self.is_closed = datagram.len() < self.segment;
        self.bytes.extend_from_slice(datagram);
        self.count += 1;
        match self.failed.take_if(|(failed, _)| *failed == to) {
            Some((_, code)) => Err(io::Error::from_raw_os_error(code)),
            None => Ok(()),
        }
    }

    /// Sends what waits.
    pub(crate) fn flush(&mut self, udp: &UdpPort) {
        let Some(to) = self.to.take() else { return };
        if self.count == 1 || !self.is_offloaded || !self.send_at_once(udp, to) {
            for datagram in self.bytes.chunks(self.segment.max(1)) {
                if let Err(error) = udp.send(to, datagram) {
                    self.failed = Some((to, error.raw_os_error().unwrap_or(libc::EIO)));
                }
            }
        }
        self.bytes.clear();
        self.count = 0;
        self.is_closed = false;
    }

    /// False when the kernel cannot split these: then they go one by one, and nothing is lost.
    fn send_at_once(&mut self, udp: &UdpPort, to: SocketAddr) -> bool {
        let (Some(socket), Ok(segment)) = (udp.socket_for(to), u16::try_from(self.segment)) else {
            return false;
        };
        let control = [ControlMessage::UdpGsoSegments(&segment)];
        let bytes = [io::IoSlice::new(&self.bytes)];
        let address = SockaddrStorage::from(to);
        match sendmsg(socket.as_raw_fd(), &bytes, &control, MsgFlags::empty(), Some(&address)) {
            Ok(_) => true,
            // A device that cannot complete the checksums; the kernel says so at the first try (udp(7)).
            Err(nix::Error::EIO) => {
                tracing::warn!(
                    "each datagram takes a system call of its own: the network device takes no UDP segments"
                );
                self.is_offloaded = false;
                false
            }
            // Longer than the link takes, for example: each is told apart when it goes by itself.
            Err(nix::Error::EINVAL | nix::Error::EMSGSIZE) => false,
            Err(error) => {
                self.failed = Some((to, error as i32));
                true
            }
        }
    }
}

/// Asks the kernel to hand over datagrams of one sender together. False when it cannot.
pub(crate) fn receive_together(socket: &UdpSocket) -> bool {
    setsockopt(socket, sockopt::UdpGroSegment, &true).is_ok()
}

/// What one call received.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) from: SocketAddr,
    pub(crate) len: usize,
    /// Bytes of each datagram but the last, which may be shorter.
    pub(crate) stride: usize,
}

/// Room for what the kernel says about a receive.
#[derive(Debug)]
pub(crate) struct Control(Vec<u8>);

impl Control {
    pub(crate) fn new() -> Self {
        Self(nix::cmsg_space!(i32))
    }
}

/// Receives from a socket that does not block.
pub(crate) fn receive(socket: &UdpSocket, buffer: &mut [u8], control: &mut Control) -> io::Result<Received> {
    let mut slices = [IoSliceMut::new(buffer)];
    let message = recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut slices, Some(&mut control.0), MsgFlags::empty())?;
    let from = message.address.as_ref().and_then(socket_address);
    let from = from.ok_or(io::ErrorKind::InvalidData)?;
    let strides = message.cmsgs()?.filter_map(|message| match message {
        ControlMessageOwned::UdpGroSegments(stride) => usize::try_from(stride).ok(),
        _ => None,
    });
    let stride = strides.last().filter(|stride| *stride > 0).unwrap_or(message.bytes);
    Ok(Received {
        from,
        len: message.bytes,
        stride,
    })
}

fn socket_address(address: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = |address: &SockaddrIn| SocketAddr::V4(SocketAddrV4::new(address.ip(), address.port()));
    let v6 = |address: &SockaddrIn6| {
        let (ip, port) = (address.ip(), address.port());
        SocketAddr::V6(SocketAddrV6::new(ip, port, address.flowinfo(), address.scope_id()))
    };
    let of_v4 = address.as_sockaddr_in().map(v4);
    of_v4.or_else(|| address.as_sockaddr_in6().map(v6))
}

/// As many as the kernel splits (`UDP_MAX_SEGMENTS` before Linux 6.9).
const MAX_SEGMENTS: usize = 64;
/// The largest payload of a UDP datagram over IPv4, which is what the kernel splits.
const MAX_BYTES: usize = 65_507;

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};
    use std::time::{Duration, Instant};

    use super::*;

    /// Receives until so many datagrams have come.
    fn take(port: &UdpPort, wanted: usize) -> Vec<Vec<u8>> {
        let (mut buffer, mut control) = (vec![0; 65_535], Control::new());
        let socket = port.sockets().next().unwrap();
        let deadline = Instant::now() + Duration::from_secs(30);
        let mut all = Vec::new();
        while all.len() < wanted {
            assert!(Instant::now() < deadline, "only {} of {wanted} came", all.len());
            match receive(socket, &mut buffer, &mut control) {
                Ok(received) => all.extend(buffer[..received.len].chunks(received.stride).map(<[u8]>::to_vec)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    std::thread::sleep(Duration::from_millis(1));
                }
                Err(error) => panic!("{error}"),
            }
        }
        all
    }

    #[test]
    fn datagrams_arrive_as_they_were_pushed_whatever_their_sizes() {
        let (from, to) = (UdpPort::bind(0).unwrap(), UdpPort::bind(0).unwrap());
        assert!(
            to.sockets().all(receive_together),
            "a kernel of this age merges datagrams"
        );
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, to.port()));
        for is_offloaded in [true, false] {
            let mut batch = Batch {
                is_offloaded,
                ..Batch::new()
            };
            let sizes = [1200, 1200, 1200, 300, 1200, 1300, 1300, 32, 32, 32, 33];
            let sent: Vec<Vec<u8>> = (0..).zip(sizes).map(|(number, len)| vec![number; len]).collect();
            for datagram in &sent {
                batch.push(&from, address, datagram).unwrap();
            }
            batch.flush(&from);
            assert_eq!(take(&to, sent.len()), sent);
        }
    }

    #[test]
    fn more_than_the_kernel_splits_goes_in_several_batches() {
        let (from, to) = (UdpPort::bind(0).unwrap(), UdpPort::bind(0).unwrap());
        let address = SocketAddr::from((Ipv6Addr::LOCALHOST, to.port()));
        let socket = to.sockets().nth(1).expect("a host with IPv6");
        socket.set_nonblocking(false).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let mut batch = Batch::new();
        for number in 0..150 {
            batch.push(&from, address, &[number; 1000]).unwrap();
        }
        batch.flush(&from);
        let mut buffer = [0; 2000];
        for number in 0..150 {
            let (len, _) = socket.recv_from(&mut buffer).unwrap();
            assert_eq!((len, buffer[0]), (1000, number));
        }
    }

    #[test]
    fn the_error_of_a_batch_is_told_with_the_next_datagram_to_its_address() {
        let port = UdpPort::bind(0).unwrap();
        let at = |last| SocketAddr::from((Ipv4Addr::new(127, 0, 0, last), port.port()));
        let mut batch = Batch::new();
        // Longer than any datagram can be.
        batch.push(&port, at(1), &vec![0; 70_000]).unwrap();
        batch.push(&port, at(2), &[0]).unwrap();
        let error = batch.push(&port, at(1), &[0]).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EMSGSIZE));
        batch.push(&port, at(1), &[0]).unwrap();
    }
}
