//! `sendmsg` and `recvmmsg` with what this kernel can do for bulk UDP. The only part of the sockets that is unsafe.

use std::io;
use std::mem::{self, MaybeUninit};
use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};
use std::os::fd::AsRawFd;
use std::ptr;

use packet::ecn::Ecn;
use socket2::SockAddr;

/// Datagrams of one sender that the kernel received together (`UDP_GRO`): equal in size but for a shorter last one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Batch<'a> {
    pub(crate) from: SocketAddr,
    pub(crate) ecn: Ecn,
    stride: usize,
    bytes: &'a [u8],
}

impl<'a> Batch<'a> {
    pub(crate) fn datagrams(&self) -> impl ExactSizeIterator<Item = &'a [u8]> + use<'a> {
        self.bytes.chunks(self.stride)
    }
}

/// Where received datagrams lie until they were looked at.
#[derive(Debug)]
pub(crate) struct Inbox {
    buffers: Vec<Box<[u8]>>,
    froms: [libc::sockaddr_storage; BATCHES],
    controls: [Control; BATCHES],
    lens: [Lens; BATCHES],
}

/// What the kernel said of one batch: lengths of the control messages and of the data.
#[derive(Debug, Clone, Copy, Default)]
struct Lens {
    control: usize,
    data: usize,
}

impl Default for Inbox {
    /// Without room: receives nothing.
    fn default() -> Self {
        Self {
            buffers: Vec::new(),
            // SAFETY: an address of no family is all zero.
            froms: [unsafe { mem::zeroed() }; BATCHES],
            controls: [Control::EMPTY; BATCHES],
            lens: [Lens::default(); BATCHES],
        }
    }
}

impl Inbox {
    pub(crate) fn new() -> Self {
        Self {
            buffers: vec![vec![0; LARGEST].into_boxed_slice(); BATCHES],
            ..Self::default()
        }
    }

    /// Takes what waits in the socket, as far as there is room; how many batches that were. `WouldBlock` if nothing waits.
    pub(crate) fn receive(&mut self, socket: &UdpSocket) -> io::Result<usize> {
        let mut parts = [libc::iovec {
            iov_base: ptr::null_mut(),
            iov_len: 0,
        }; BATCHES];
        // SAFETY: an `mmsghdr` is integers and pointers, for which zero is a value.
        let mut headers: [libc::mmsghdr; BATCHES] = unsafe { mem::zeroed() };
        for (index, header) in headers.iter_mut().enumerate() {
            parts[index].iov_base = self.buffers[index].as_mut_ptr().cast();
            parts[index].iov_len = self.buffers[index].len();
            header.msg_hdr.msg_iov = &raw mut parts[index];
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_name = (&raw mut self.froms[index]).cast();
            header.msg_hdr.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
            header.msg_hdr.msg_control = (&raw mut self.controls[index]).cast();
            header.msg_hdr.msg_controllen = size_of::<Control>();
        }
        // SAFETY: every pointer in the headers is to memory that we hold alone until the call returns, of the stated length.
        let count = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                headers.as_mut_ptr(),
                BATCHES as libc::c_uint,
                libc::MSG_DONTWAIT,
                ptr::null_mut(),
            )
        };
        let count = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
        for (lens, header) in self.lens.iter_mut().zip(&headers[..count]) {
            *lens = Lens {
                control: header.msg_hdr.msg_controllen,
                data: header.msg_len as usize,
            };
        }
        Ok(count)
    }

    /// The batch of this index, of those that were received last. Nothing for an empty datagram.
    pub(crate) fn batch(&self, index: usize) -> Option<Batch<'_>> {
        let lens = self.lens[index];
        let from = socket_addr(&self.froms[index])?;
        let bytes = &self.buffers[index][..lens.data];
        let said = self.controls[index].read(lens.control);
        (!bytes.is_empty()).then(|| Batch {
            from,
            ecn: said.ecn,
            stride: said.stride.filter(|stride| *stride > 0).unwrap_or(bytes.len()),
            bytes,
        })
    }
}

fn socket_addr(storage: &libc::sockaddr_storage) -> Option<SocketAddr> {
    match libc::c_int::from(storage.ss_family) {
        libc::AF_INET => {
            // SAFETY: a storage is larger than an address of any family and aligned for it, and of this family it is.
            let v4 = unsafe { (&raw const *storage).cast::<libc::sockaddr_in>().read() };
            Some((v4.sin_addr.s_addr.to_ne_bytes(), u16::from_be(v4.sin_port)).into())
        }
        libc::AF_INET6 => {
            // SAFETY: as above.
            let v6 = unsafe { (&raw const *storage).cast::<libc::sockaddr_in6>().read() };
            let (address, port) = (Ipv6Addr::from(v6.sin6_addr.s6_addr), u16::from_be(v6.sin6_port));
            // The flow label is the datagram's, not the sender's: an address that carried it would seem to roam.
            Some(SocketAddrV6::new(address, port, 0, v6.sin6_scope_id).into())
        }
        _ => None,
    }
}

/// Sends bytes as one datagram, or as datagrams of `segment` bytes each (the last may be shorter).
pub(super) fn send(socket: &UdpSocket, to: SocketAddr, ecn: Ecn, segment: Option<u16>, bytes: &[u8]) -> io::Result<()> {
    let to = SockAddr::from(to);
    let mut control = Control::EMPTY;
    let mut used = 0;
    if let Some(segment) = segment {
        used += control.write(used, libc::SOL_UDP, libc::UDP_SEGMENT, &segment.to_ne_bytes());
    }
    if ecn != Ecn::NotCapable {
        let (level, kind) = match to.is_ipv6() {
            true => (libc::IPPROTO_IPV6, libc::IPV6_TCLASS),
            false => (libc::IPPROTO_IP, libc::IP_TOS),
        };
        used += control.write(used, level, kind, &(ecn as libc::c_int).to_ne_bytes());
    }
    let mut part = libc::iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    };
    // SAFETY: a `msghdr` is integers and pointers, for which zero is a value.
    let mut header: libc::msghdr = unsafe { mem::zeroed() };
    header.msg_name = to.as_ptr().cast_mut().cast();
    header.msg_namelen = to.len();
    header.msg_iov = &raw mut part;
    header.msg_iovlen = 1;
    if used > 0 {
        header.msg_control = (&raw mut control).cast();
        header.msg_controllen = used;
    }
    // SAFETY: every pointer in the header is to memory that lives until the call returns, of the stated length, and the kernel
    // only reads it.
    let sent = unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const header, libc::MSG_DONTWAIT) };
    if sent < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Room for the control messages of one call, aligned as the kernel lays them out.
#[repr(C, align(8))]
#[derive(Debug, Clone, Copy)]
struct Control([u8; CONTROL]);

#[derive(Debug, Clone, Copy)]
struct Said {
    ecn: Ecn,
    stride: Option<usize>,
}

impl Control {
    const EMPTY: Self = Self([0; CONTROL]);

    /// Appends a message at `at`; how far the next one is.
    fn write(&mut self, at: usize, level: libc::c_int, kind: libc::c_int, data: &[u8]) -> usize {
        // SAFETY: these compute lengths from lengths.
        let (len, space) = unsafe {
            let len = data.len() as libc::c_uint;
            (libc::CMSG_LEN(len) as usize, libc::CMSG_SPACE(len) as usize)
        };
        let header = libc::cmsghdr {
            cmsg_len: len,
            cmsg_level: level,
            cmsg_type: kind,
        };
        let room = &mut self.0[at..at + space];
        // SAFETY: the room holds at least a header, and an unaligned write asks for nothing more.
        unsafe { room.as_mut_ptr().cast::<libc::cmsghdr>().write_unaligned(header) };
        room[HEADER..HEADER + data.len()].copy_from_slice(data);
        space
    }

    /// What the messages in the first `len` bytes say, as far as it is of interest.
    fn read(&self, len: usize) -> Said {
        let mut said = Said {
            ecn: Ecn::NotCapable,
            stride: None,
        };
        let mut rest = &self.0[..len.min(CONTROL)];
        while rest.len() >= HEADER {
            let mut header = MaybeUninit::<libc::cmsghdr>::uninit();
            // SAFETY: `rest` holds the bytes of a header, and a header is integers, for which all bytes are values.
            let header = unsafe {
                ptr::copy_nonoverlapping(rest.as_ptr(), header.as_mut_ptr().cast(), HEADER);
                header.assume_init()
            };
            let Some(data) = rest.get(HEADER..header.cmsg_len) else {
                break;
            };
            let number = match *data {
                [a, b, c, d] => libc::c_int::from_ne_bytes([a, b, c, d]),
                [a, b] => u16::from_ne_bytes([a, b]).into(),
                [a] => a.into(),
                _ => 0,
            };
            match (header.cmsg_level, header.cmsg_type) {
                (libc::SOL_UDP, libc::UDP_GRO) => said.stride = usize::try_from(number).ok(),
                (libc::IPPROTO_IP, libc::IP_TOS) | (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => {
                    said.ecn = Ecn::from_bits(number as u8);
                }
                _ => {}
            }
            rest = rest
                .get(header.cmsg_len.next_multiple_of(ALIGNMENT)..)
                .unwrap_or_default();
        }
        said
    }
}

/// Batches that one call takes.
const BATCHES: usize = 8;
const LARGEST: usize = u16::MAX as usize;
/// Twice what the kernel sends of what we ask for.
const CONTROL: usize = 96;
const HEADER: usize = size_of::<libc::cmsghdr>();
const ALIGNMENT: usize = size_of::<usize>();

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_written_reads_back() {
        let mut control = Control::EMPTY;
        let mut used = control.write(0, libc::SOL_UDP, libc::UDP_GRO, &1452u32.to_ne_bytes());
        used += control.write(used, libc::IPPROTO_IPV6, libc::IPV6_TCLASS, &3u32.to_ne_bytes());
        let said = control.read(used);
        assert_eq!((said.stride, said.ecn), (Some(1452), Ecn::Congested));
        assert_eq!(control.read(0).stride, None);
    }

    proptest! {
        #[test]
        fn no_control_bytes_panic(bytes: [u8; 32], len: usize) {
            let mut control = Control::EMPTY;
            control.0[..32].copy_from_slice(&bytes);
            control.read(len);
        }
    }
}
