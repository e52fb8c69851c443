//! Makes conntrack forget flows (`IPCTNL_MSG_CT_GET` and `IPCTNL_MSG_CT_DELETE` of linux/netfilter/nfnetlink_conntrack.h).
//!
//! A flow is translated as its first packet was, and an entry lives for as long as packets come. A TCP client gives up and connects
//! anew; a UDP client that keeps its socket would send to a backend that is gone for as long as it sends.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, SocketAddr};

use hostnet::{Protocol, VipPort};
use netlink_packet_core::NlasIterator;
use rtnetlink::sys::protocols::NETLINK_NETFILTER;

use crate::netlink::{NESTED, Netlink, Raw, attribute};

/// A way to the kernel.
#[derive(Debug)]
pub(crate) struct Conntrack(Netlink);

impl Conntrack {
    pub(crate) fn open() -> io::Result<Self> {
        Netlink::open_for(NETLINK_NETFILTER).map(Self)
    }

    /// Forgets UDP flows that began to one of these ports and lead to none of its backends.
    pub(crate) async fn end(&self, ports: &BTreeMap<VipPort, BTreeSet<SocketAddr>>) -> io::Result<()> {
        for (family, is_v4) in [(libc::AF_INET, true), (libc::AF_INET6, false)] {
            if !ports.keys().any(|port| port.address.is_ipv4() == is_v4) {
                continue;
            }
            let all_udp = Raw {
                kind: CT_GET,
                payload: udp_of(family),
            };
            let is_stale = |entry: &Raw| {
                let flow = parse(&entry.payload);
                flow.is_some_and(|flow| {
                    let backends = ports.get(&flow.begun_to);
                    backends.is_some_and(|backends| !backends.contains(&flow.led_to))
                })
            };
            for entry in self.0.dump_some(all_udp, is_stale).await? {
                let request = Raw {
                    kind: CT_DELETE,
                    payload: [&header(family)[..], &identity(&entry.payload)].concat(),
                };
                match self.0.change(request, 0).await {
                    // Gone by itself.
                    Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
                    done => done?,
                }
            }
        }
        Ok(())
    }
}

/// Asks for the UDP flows of a family; kernels before 5.8 take no notice of the filter, and tell of all flows.
fn udp_of(family: i32) -> Vec<u8> {
    let mut payload = header(family).to_vec();
    attribute(&mut payload, CTA_TUPLE_ORIG | NESTED, |tuple| {
        attribute(tuple, CTA_TUPLE_PROTO | NESTED, |protocol| {
            attribute(protocol, CTA_PROTO_NUM, |number| number.push(UDP));
        });
    });
    attribute(&mut payload, CTA_FILTER | NESTED, |filter| {
        attribute(filter, CTA_FILTER_ORIG_FLAGS, |flags| {
            flags.extend(PROTO_NUM_ONLY.to_ne_bytes());
        });
        attribute(filter, CTA_FILTER_REPLY_FLAGS, |flags| flags.extend([0; 4]));
    });
    payload
}

/// A UDP flow.
#[derive(Debug, PartialEq, Eq)]
struct Flow {
    /// Where the client sends.
    begun_to: VipPort,
    /// Where it is sent on to.
    led_to: SocketAddr,
}

fn parse(entry: &[u8]) -> Option<Flow> {
    let (mut begun_to, mut led_to) = (None, None);
    for attribute in NlasIterator::new(entry.get(HEADER..)?).flatten() {
        match attribute.kind() {
            CTA_TUPLE_ORIG => begun_to = end_of(attribute.value(), [CTA_IP_V4_DST, CTA_IP_V6_DST], CTA_PROTO_DST_PORT),
            CTA_TUPLE_REPLY => led_to = end_of(attribute.value(), [CTA_IP_V4_SRC, CTA_IP_V6_SRC], CTA_PROTO_SRC_PORT),
            _ => {}
        }
    }
    let begun_to = begun_to?;
    Some(Flow {
        begun_to: VipPort {
            address: begun_to.ip(),
            protocol: Protocol::Udp,
            port: begun_to.port(),
        },
        led_to: led_to?,
    })
}

/// One end of a tuple, if it is of UDP.
fn end_of(tuple: &[u8], ip_kinds: [u16; 2], port_kind: u16) -> Option<SocketAddr> {
    let (mut ip, mut port, mut is_udp) = (None, None, false);
    for part in NlasIterator::new(tuple).flatten() {
        for attribute in NlasIterator::new(part.value()).flatten() {
            let value = attribute.value();
            match (part.kind(), attribute.kind()) {
                (CTA_TUPLE_IP, kind) if ip_kinds.contains(&kind) => ip = address(value),
                (CTA_TUPLE_PROTO, CTA_PROTO_NUM) => is_udp = value == [UDP],
                (CTA_TUPLE_PROTO, kind) if kind == port_kind => port = value.try_into().ok().map(u16::from_be_bytes),
                _ => {}
            }
        }
    }
    ip.zip(port).filter(|_| is_udp).map(SocketAddr::from)
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from);
    v4.or_else(|| <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from))
}

/// The attributes of an entry that say which one it is, as they came.
fn identity(entry: &[u8]) -> Vec<u8> {
    let mut kept = Vec::new();
    let mut rest = entry.get(HEADER..).unwrap_or_default();
    while let Some(&[a, b, c, d]) = rest.first_chunk() {
        let (len, kind) = (usize::from(u16::from_ne_bytes([a, b])), u16::from_ne_bytes([c, d]));
        let padded = len.next_multiple_of(4);
        let Some(attribute) = rest.get(..padded).filter(|_| len >= 4) else {
            break;
        };
        if matches!(kind & !NESTED, CTA_TUPLE_ORIG | CTA_ZONE | CTA_ID) {
            kept.extend(attribute);
        }
        rest = &rest[padded..];
    }
    kept
}

/// `struct nfgenmsg`: family, version, resource id (2 bytes)
fn header(family: i32) -> [u8; HEADER] {
    [family as u8, 0, 0, 0]
}

const HEADER: usize = 4;
/// `NFNL_SUBSYS_CTNETLINK` in the upper byte.
const CT_GET: u16 = 1 << 8 | 1;
const CT_DELETE: u16 = 1 << 8 | 2;
const UDP: u8 = libc::IPPROTO_UDP as u8;
const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_REPLY: u16 = 2;
const CTA_ID: u16 = 12;
const CTA_ZONE: u16 = 18;
const CTA_FILTER: u16 = 25;
const CTA_FILTER_ORIG_FLAGS: u16 = 1;
const CTA_FILTER_REPLY_FLAGS: u16 = 2;
/// `CTA_FILTER_FLAG(CTA_PROTO_NUM)`
const PROTO_NUM_ONLY: u32 = 1 << 3;
const CTA_TUPLE_IP: u16 = 1;
const CTA_TUPLE_PROTO: u16 = 2;
const CTA_IP_V4_SRC: u16 = 1;
const CTA_IP_V4_DST: u16 = 2;
const CTA_IP_V6_SRC: u16 = 3;
const CTA_IP_V6_DST: u16 = 4;
const CTA_PROTO_NUM: u16 = 1;
const CTA_PROTO_SRC_PORT: u16 = 2;
const CTA_PROTO_DST_PORT: u16 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    /// An entry as the kernel tells it, of a client that asked 244.174.0.9:53 and got 10.2.0.9:8053.
    fn entry(protocol: u8) -> Vec<u8> {
        let tuple = |bytes: &mut Vec<u8>, kind, [from, to]: [[u8; 4]; 2], [sport, dport]: [u16; 2]| {
            attribute(bytes, kind | NESTED, |tuple| {
                attribute(tuple, CTA_TUPLE_IP | NESTED, |ip| {
                    attribute(ip, CTA_IP_V4_SRC, |bytes| bytes.extend(from));
                    attribute(ip, CTA_IP_V4_DST, |bytes| bytes.extend(to));
                });
                attribute(tuple, CTA_TUPLE_PROTO | NESTED, |proto| {
                    attribute(proto, CTA_PROTO_NUM, |bytes| bytes.push(protocol));
                    attribute(proto, CTA_PROTO_SRC_PORT, |bytes| bytes.extend(sport.to_be_bytes()));
                    attribute(proto, CTA_PROTO_DST_PORT, |bytes| bytes.extend(dport.to_be_bytes()));
                });
            });
        };
        let (client, vip, backend) = ([10, 1, 0, 2], [244, 174, 0, 9], [10, 2, 0, 9]);
        let mut entry = header(libc::AF_INET).to_vec();
        tuple(&mut entry, CTA_TUPLE_ORIG, [client, vip], [4000, 53]);
        tuple(&mut entry, CTA_TUPLE_REPLY, [backend, client], [8053, 4000]);
        attribute(&mut entry, 3, |status| status.extend([0; 4]));
        attribute(&mut entry, CTA_ID, |id| id.extend([1, 2, 3, 4]));
        entry
    }

    #[test]
    fn a_flow_is_read_and_named_as_it_came() {
        let entry = entry(UDP);
        let flow = parse(&entry).unwrap();
        assert_eq!(flow.begun_to.to_string(), "244.174.0.9 . udp . 53");
        assert_eq!(flow.led_to.to_string(), "10.2.0.9:8053");
        let named = identity(&entry);
        let kinds: Vec<_> = NlasIterator::new(&named).flatten().map(|part| part.kind()).collect();
        assert_eq!(kinds, [CTA_TUPLE_ORIG, CTA_ID]);
        assert!(
            entry[HEADER..].starts_with(&named[..named.len() - 8]),
            "the first tuple is as it was"
        );
    }

    #[test]
    fn other_protocols_and_rubbish_are_no_flows() {
        assert_eq!(parse(&entry(6)), None);
        let entry = entry(UDP);
        for len in 0..entry.len() {
            let _ = (parse(&entry[..len]), identity(&entry[..len]));
        }
        assert_eq!(parse(&entry[..HEADER]), None);
        assert!(identity(&[0; 40]).is_empty());
    }
}
