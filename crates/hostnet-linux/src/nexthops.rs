//! Nexthop objects, in messages of our own: the netlink library has none (`struct nhmsg` and `NHA_*` of linux/nexthop.h).

use std::collections::BTreeMap;
use std::io;
use std::net::Ipv6Addr;

use hostnet::{Nexthop, tags};
use netlink_packet_core::{DefaultNla, Emitable, NLM_F_CREATE, NLM_F_REPLACE, NlasIterator};

use crate::links::Links;
use crate::netlink::{Netlink, Raw};

/// Ours: our protocol and our range of ids.
pub(crate) async fn dump(netlink: &Netlink, links: &Links) -> io::Result<BTreeMap<u32, Nexthop>> {
    let entries = netlink.dump(message(RTM_GETNEXTHOP, 0, 0, &[])).await?;
    Ok(entries
        .iter()
        .filter_map(|entry| parse(&entry.payload, links))
        .collect())
}

/// Adds or replaces.
pub(crate) async fn set(netlink: &Netlink, id: u32, link: u32, via: Option<Ipv6Addr>) -> io::Result<()> {
    let mut attributes = vec![number(NHA_ID, id), number(NHA_OIF, link)];
    attributes.extend(via.map(|via| DefaultNla::new(NHA_GATEWAY, via.octets().to_vec())));
    let request = message(RTM_NEWNEXTHOP, AF_INET6, tags::PROTOCOL, &attributes);
    netlink.change(request, NLM_F_CREATE | NLM_F_REPLACE).await
}

pub(crate) async fn remove(netlink: &Netlink, id: u32) -> io::Result<()> {
    netlink
        .change(message(RTM_DELNEXTHOP, 0, 0, &[number(NHA_ID, id)]), 0)
        .await
}

/// True for a notification about an object with our protocol.
pub(crate) fn is_ours(message: &Raw) -> bool {
    matches!(message.kind, RTM_NEWNEXTHOP | RTM_DELNEXTHOP) && message.payload.get(2) == Some(&tags::PROTOCOL)
}

fn parse(payload: &[u8], links: &Links) -> Option<(u32, Nexthop)> {
    let header: &[u8; HEADER] = payload.first_chunk()?;
    let [family, _scope, protocol, ..] = *header;
    let (mut id, mut link, mut via, mut plain) = (None, None, None, true);
    for attribute in NlasIterator::new(&payload[HEADER..]) {
        let attribute = attribute.ok()?;
        let value = attribute.value();
        match attribute.kind() {
            NHA_ID => id = value.try_into().ok().map(u32::from_ne_bytes),
            NHA_OIF => link = value.try_into().ok().map(u32::from_ne_bytes),
            NHA_GATEWAY => via = Some(value.to_vec()),
            NHA_GROUP | NHA_BLACKHOLE => plain = false,
            _ => {}
        }
    }
    let id = id.filter(|id| protocol == tags::PROTOCOL && tags::is_our_nexthop(*id))?;
    let link = link.and_then(|index| links.name(index));
    let nexthop = match (link, via) {
        _ if !plain || family != AF_INET6 => Nexthop::Other,
        (Some(tags::VXLAN_LINK), Some(via)) => {
            <[u8; 16]>::try_from(via).map_or(Nexthop::Other, |octets| Nexthop::Vtep(octets.into()))
        }
        (Some(tags::TUN_LINK), None) => Nexthop::Tun,
        (Some(tags::VXLAN_LINK), None) => Nexthop::Link,
        _ => Nexthop::Other,
    };
    Some((id, nexthop))
}

fn message(kind: u16, family: u8, protocol: u8, attributes: &[DefaultNla]) -> Raw {
    let mut payload = vec![0; HEADER + attributes.buffer_len()];
    payload[0] = family;
    payload[2] = protocol;
    attributes.emit(&mut payload[HEADER..]);
    Raw { kind, payload }
}

fn number(kind: u16, value: u32) -> DefaultNla {
    DefaultNla::new(kind, value.to_ne_bytes().to_vec())
}

const RTM_NEWNEXTHOP: u16 = 104;
const RTM_DELNEXTHOP: u16 = 105;
const RTM_GETNEXTHOP: u16 = 106;
/// family, scope, protocol, reserved, flags (4 bytes)
const HEADER: usize = 8;
const AF_INET6: u8 = libc::AF_INET6 as u8;
const NHA_ID: u16 = 1;
const NHA_GROUP: u16 = 2;
const NHA_BLACKHOLE: u16 = 4;
const NHA_OIF: u16 = 5;
const NHA_GATEWAY: u16 = 6;
