//! Changes elements of our nft table by netlink, in one transaction (`NFT_MSG_NEWSETELEM` and `NFT_MSG_DELSETELEM` of
//! linux/netfilter/nf_tables.h, in a batch of linux/netfilter/nfnetlink.h).
//!
//! The program nft reads every chain and set of the node first, whoever they belong to. Beside a kube-proxy with a thousand services
//! that takes many times as long as the change of an endpoint itself.

use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use hostnet::{Protocol, VipElement, VipPort, VipUpdate, tags};
use netlink_packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_REQUEST};
use rtnetlink::sys::protocols::NETLINK_NETFILTER;
use rtnetlink::sys::{Socket, SocketAddr};

use crate::netlink::{NESTED, attribute};

/// So many elements at most; a larger transaction may not fit the socket's buffer.
pub(crate) const MOST: usize = 1024;

/// A way to the kernel.
#[derive(Debug)]
pub(crate) struct Elements(Arc<Mutex<Socket>>);

impl Elements {
    pub(crate) fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_NETFILTER)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        // An error does not bring back what it is about.
        socket.set_cap_ack(true)?;
        socket.set_non_blocking(true)?;
        Ok(Self(Arc::new(Mutex::new(socket))))
    }

    /// Carries out an update of at most [`MOST`] elements.
    pub(crate) async fn update(&self, update: &VipUpdate) -> io::Result<()> {
        let batch = Batch::of(update);
        if batch.sequence == 0 {
            return Ok(());
        }
        let socket = Arc::clone(&self.0);
        // It waits for transactions of others.
        let work = tokio::task::spawn_blocking(move || {
            let socket = socket.lock().unwrap_or_else(PoisonError::into_inner);
            transact(&socket, batch)
        });
        work.await.map_err(io::Error::other)?
    }
}

/// Sends a batch and reads what the kernel says of it, which it does before the sending ends.
fn transact(socket: &Socket, batch: Batch) -> io::Result<()> {
    let (last, bytes) = (batch.sequence, batch.finish());
    socket.send(&bytes, 0)?;
    let mut is_told = false;
    let mut refused = None;
    let mut buffer = Vec::with_capacity(ANSWER);
    loop {
        buffer.clear();
        match socket.recv(&mut buffer, 0) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            // More was refused than there is room to say. The rest is read, or the next transaction would find it.
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                refused = refused.or(Some(error));
                continue;
            }
            Err(error) => return Err(error),
        }
        for (sequence, code) in answers(&buffer) {
            is_told |= sequence == last;
            if code != 0 {
                refused = refused.or(Some(io::Error::from_raw_os_error(-code)));
            }
        }
    }
    match refused {
        Some(error) => Err(error),
        None if is_told => Ok(()),
        None => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the kernel did not say what became of an nftables transaction",
        )),
    }
}

/// Sequence numbers of messages and what the kernel says of each: 0, or a negated error.
fn answers(bytes: &[u8]) -> Vec<(u32, i32)> {
    let mut found = Vec::new();
    let mut rest = bytes;
    while let Some((header, body)) = rest.split_at_checked(HEADER) {
        let len = u32::from_ne_bytes(header[..4].try_into().expect("4 bytes")) as usize;
        let kind = u16::from_ne_bytes(header[4..6].try_into().expect("2 bytes"));
        let sequence = u32::from_ne_bytes(header[8..12].try_into().expect("4 bytes"));
        if kind == NLMSG_ERROR
            && let Some(code) = body.first_chunk()
        {
            found.push((sequence, i32::from_ne_bytes(*code)));
        }
        if len < HEADER {
            break;
        }
        rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
    }
    found
}

/// Messages that are carried out together.
struct Batch {
    bytes: Vec<u8>,
    /// Of the last message; the batch begins with 0.
    sequence: u32,
    /// Where that begins.
    last: usize,
}

impl Batch {
    fn of(update: &VipUpdate) -> Self {
        let mut batch = Self {
            bytes: Vec::new(),
            sequence: 0,
            last: 0,
        };
        batch.message(NFNL_MSG_BATCH_BEGIN, 0, BATCH, |_| {});
        for (kind, flags, elements, has_value) in [
            (NFT_MSG_DELSETELEM, 0, &update.remove, false),
            (NFT_MSG_NEWSETELEM, NLM_F_CREATE, &update.add, true),
        ] {
            for (set, elements) in elements.by_set() {
                for chunk in elements.chunks(PER_MESSAGE) {
                    batch.sequence += 1;
                    batch.message(kind, flags, INET, |bytes| {
                        attribute(bytes, NFTA_SET_ELEM_LIST_TABLE, |bytes| text(bytes, tags::NFT_TABLE));
                        attribute(bytes, NFTA_SET_ELEM_LIST_SET, |bytes| text(bytes, &set));
                        attribute(bytes, NFTA_SET_ELEM_LIST_ELEMENTS | NESTED, |bytes| {
                            for element in chunk {
                                attribute(bytes, NFTA_LIST_ELEM | NESTED, |bytes| {
                                    put(bytes, element, has_value);
                                });
                            }
                        });
                    });
                }
            }
        }
        batch
    }

    /// What failed is told in any case, and that all is done once.
    fn finish(mut self) -> Vec<u8> {
        let flags = &mut self.bytes[self.last + 6..self.last + 8];
        let asked = u16::from_ne_bytes([flags[0], flags[1]]) | NLM_F_ACK;
        flags.copy_from_slice(&asked.to_ne_bytes());
        self.sequence += 1;
        self.message(NFNL_MSG_BATCH_END, 0, BATCH, |_| {});
        self.bytes
    }

    fn message(&mut self, kind: u16, flags: u16, nfgenmsg: [u8; 4], attributes: impl FnOnce(&mut Vec<u8>)) {
        let start = self.bytes.len();
        self.last = start;
        self.bytes.extend([0; 4]);
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend((NLM_F_REQUEST | flags).to_ne_bytes());
        self.bytes.extend(self.sequence.to_ne_bytes());
        self.bytes.extend([0; 4]);
        self.bytes.extend(nfgenmsg);
        attributes(&mut self.bytes);
        // At most PER_MESSAGE elements of less than a hundred bytes.
        let len = (self.bytes.len() - start) as u32;
        self.bytes[start..start + 4].copy_from_slice(&len.to_ne_bytes());
    }
}

fn text(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend(text.bytes());
    bytes.push(0);
}

fn put(bytes: &mut Vec<u8>, element: &VipElement, has_value: bool) {
    attribute(bytes, NFTA_SET_ELEM_KEY | NESTED, |bytes| {
        attribute(bytes, NFTA_DATA_VALUE, |bytes| match element {
            VipElement::Address(ip) => address(bytes, *ip),
            VipElement::Loop(pod) => {
                address(bytes, *pod);
                address(bytes, *pod);
            }
            VipElement::Port(port) | VipElement::Backend(port, _) => vip_port(bytes, port),
        });
    });
    if let VipElement::Backend(_, to) = element
        && has_value
    {
        attribute(bytes, NFTA_SET_ELEM_DATA | NESTED, |bytes| {
            attribute(bytes, NFTA_DATA_VALUE, |bytes| {
                address(bytes, to.ip());
                number(bytes, to.port());
            });
        });
    }
}

/// `address . inet_proto . inet_service`: parts of a concatenation begin at registers of four bytes.
fn vip_port(bytes: &mut Vec<u8>, port: &VipPort) {
    address(bytes, port.address);
    let protocol = match port.protocol {
        Protocol::Tcp => libc::IPPROTO_TCP,
        Protocol::Udp => libc::IPPROTO_UDP,
        Protocol::Sctp => libc::IPPROTO_SCTP,
    };
    bytes.extend([protocol as u8, 0, 0, 0]);
    number(bytes, port.port);
}

fn address(bytes: &mut Vec<u8>, ip: IpAddr) {
    match ip {
        IpAddr::V4(ip) => bytes.extend(ip.octets()),
        IpAddr::V6(ip) => bytes.extend(ip.octets()),
    }
}

fn number(bytes: &mut Vec<u8>, port: u16) {
    bytes.extend(port.to_be_bytes());
    bytes.extend([0; 2]);
}

/// `struct nlmsghdr`
const HEADER: usize = 16;
/// Room for what the kernel says of one message, and more.
const ANSWER: usize = 8192;
/// Attributes have a length of 16 bits.
const PER_MESSAGE: usize = 256;
const NLMSG_ERROR: u16 = 2;
const NFNL_MSG_BATCH_BEGIN: u16 = 16;
const NFNL_MSG_BATCH_END: u16 = 17;
/// `NFNL_SUBSYS_NFTABLES` in the upper byte.
const NFT_MSG_NEWSETELEM: u16 = 10 << 8 | 12;
const NFT_MSG_DELSETELEM: u16 = 10 << 8 | 14;
/// family, version, resource id: `AF_UNSPEC`, and the subsystem in network byte order
const BATCH: [u8; 4] = [0, 0, 0, 10];
/// `NFPROTO_INET`
const INET: [u8; 4] = [1, 0, 0, 0];
const NFTA_LIST_ELEM: u16 = 1;
const NFTA_SET_ELEM_LIST_TABLE: u16 = 1;
const NFTA_SET_ELEM_LIST_SET: u16 = 2;
const NFTA_SET_ELEM_LIST_ELEMENTS: u16 = 3;
const NFTA_SET_ELEM_KEY: u16 = 1;
const NFTA_SET_ELEM_DATA: u16 = 2;
const NFTA_DATA_VALUE: u16 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backend_takes_out_its_port_and_puts_in_both() {
        let port = VipPort {
            address: [244, 174, 0, 9].into(),
            protocol: Protocol::Udp,
            port: 53,
        };
        let element = VipElement::Backend(port, ([10, 2, 0, 9], 8053).into());
        let key = [20, 0, 1, 128, 16, 0, 1, 0, 244, 174, 0, 9, 17, 0, 0, 0, 0, 53, 0, 0];
        let value = [16, 0, 2, 128, 12, 0, 1, 0, 10, 2, 0, 9, 0x1f, 0x75, 0, 0];
        let bytes = |has_value| {
            let mut bytes = Vec::new();
            put(&mut bytes, &element, has_value);
            bytes
        };
        assert_eq!(bytes(false), key);
        assert_eq!(bytes(true), [&key[..], &value].concat());
    }

    #[test]
    fn answers_are_found_and_rubbish_is_none() {
        let answer = |sequence: u8, code: u8| {
            [
                &[20, 0, 0, 0, 2, 0, 0, 0, sequence, 0, 0, 0, 0, 0, 0, 0][..],
                &(-i32::from(code)).to_le_bytes(),
            ]
            .concat()
        };
        assert_eq!(answers(&[answer(1, 0), answer(2, 17)].concat()), [(1, 0), (2, -17)]);
        assert_eq!(answers(&answer(1, 0)[..18]), []);
        assert_eq!(answers(&[0; 40]), []);
        assert_eq!(answers(&[]), []);
    }
}
