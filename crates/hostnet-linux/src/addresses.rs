//! Addresses of links.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage};
use rtnetlink::AddressMessageBuilder;

use crate::netlink::Netlink;

/// The addresses on link `index`, and all others.
pub(crate) async fn dump(netlink: &Netlink, index: Option<u32>) -> io::Result<(BTreeSet<IpNet>, BTreeSet<IpAddr>)> {
    let (mut on_link, mut elsewhere) = (BTreeSet::new(), BTreeSet::new());
    for entry in netlink
        .dump_route(RouteNetlinkMessage::GetAddress(AddressMessage::default()))
        .await?
    {
        let RouteNetlinkMessage::NewAddress(message) = entry else {
            continue;
        };
        let Some(address) = address_of(&message) else { continue };
        if Some(message.header.index) == index {
            on_link.extend(IpNet::new(address, message.header.prefix_len));
        } else {
            elsewhere.insert(address);
        }
    }
    Ok((on_link, elsewhere))
}

/// Adds an address that is usable at once.
pub(crate) async fn add(netlink: &Netlink, index: u32, address: IpNet) -> io::Result<()> {
    let mut message = message(index, address);
    // Nobody can answer a duplicate check: the link has no multicast.
    message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
    netlink
        .change(RouteNetlinkMessage::NewAddress(message), NLM_F_CREATE | NLM_F_EXCL)
        .await
}

pub(crate) async fn remove(netlink: &Netlink, index: u32, address: IpNet) -> io::Result<()> {
    netlink
        .change(RouteNetlinkMessage::DelAddress(message(index, address)), 0)
        .await
}

fn message(index: u32, address: IpNet) -> AddressMessage {
    match address {
        IpNet::V4(net) => AddressMessageBuilder::<Ipv4Addr>::new()
            .index(index)
            .address(net.addr(), net.prefix_len())
            .build(),
        IpNet::V6(net) => AddressMessageBuilder::<Ipv6Addr>::new()
            .index(index)
            .address(net.addr(), net.prefix_len())
            .build(),
    }
}

/// The node's own address: `Local` where there is one, because on point-to-point links `Address` is the peer's.
pub(crate) fn address_of(message: &AddressMessage) -> Option<IpAddr> {
    let find = |pick: fn(&AddressAttribute) -> Option<IpAddr>| message.attributes.iter().find_map(pick);
    find(|attribute| match attribute {
        AddressAttribute::Local(address) => Some(*address),
        _ => None,
    })
    .or_else(|| {
        find(|attribute| match attribute {
            AddressAttribute::Address(address) => Some(*address),
            _ => None,
        })
    })
}
