//! Neighbours and forwarding entries (FDB) of the VXLAN link.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hostnet::Mac;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use crate::netlink::Netlink;

/// Permanent IPv6 neighbours on a link.
pub(crate) async fn dump(netlink: &Netlink, index: u32) -> io::Result<BTreeMap<Ipv6Addr, Mac>> {
    let entries = entries(netlink, index, AddressFamily::Inet6).await?;
    let permanent = entries
        .iter()
        .filter(|message| message.header.state == NeighbourState::Permanent);
    Ok(permanent
        .filter_map(|message| match destination(message)? {
            IpAddr::V6(address) => Some((address, mac(message)?)),
            IpAddr::V4(_) => None,
        })
        .collect())
}

/// Forwarding entries of a link.
pub(crate) async fn dump_fdb(netlink: &Netlink, index: u32) -> io::Result<BTreeMap<Mac, IpAddr>> {
    let entries = entries(netlink, index, AddressFamily::Bridge).await?;
    Ok(entries
        .iter()
        .filter_map(|message| Some((mac(message)?, destination(message)?)))
        .collect())
}

pub(crate) async fn set(netlink: &Netlink, index: u32, address: Ipv6Addr, mac: Mac) -> io::Result<()> {
    let message = neighbour(index, address, Some(mac));
    netlink
        .change(RouteNetlinkMessage::NewNeighbour(message), NLM_F_CREATE | NLM_F_REPLACE)
        .await
}

pub(crate) async fn remove(netlink: &Netlink, index: u32, address: Ipv6Addr) -> io::Result<()> {
    netlink
        .change(RouteNetlinkMessage::DelNeighbour(neighbour(index, address, None)), 0)
        .await
}

pub(crate) async fn set_fdb(netlink: &Netlink, index: u32, mac: Mac, node: IpAddr) -> io::Result<()> {
    let message = forwarding(index, mac, node);
    netlink
        .change(RouteNetlinkMessage::NewNeighbour(message), NLM_F_CREATE | NLM_F_REPLACE)
        .await
}

pub(crate) async fn remove_fdb(netlink: &Netlink, index: u32, mac: Mac, node: IpAddr) -> io::Result<()> {
    netlink
        .change(RouteNetlinkMessage::DelNeighbour(forwarding(index, mac, node)), 0)
        .await
}

/// True for notifications that may be about ours. They name their link only by a number that a removed link no longer has,
/// so this looks at the form: a forwarding entry of a link's own, or a permanent or vanished link-local neighbour.
pub(crate) fn may_be_ours(message: &NeighbourMessage, removed: bool) -> bool {
    match message.header.family {
        AddressFamily::Bridge => message.header.flags.contains(NeighbourFlags::Own),
        AddressFamily::Inet6 => {
            let link_local =
                matches!(destination(message), Some(IpAddr::V6(address)) if address.is_unicast_link_local());
            link_local && (removed || message.header.state == NeighbourState::Permanent)
        }
        _ => false,
    }
}

async fn entries(netlink: &Netlink, index: u32, family: AddressFamily) -> io::Result<Vec<NeighbourMessage>> {
    let mut request = NeighbourMessage::default();
    request.header.family = family;
    let entries = netlink.dump_route(RouteNetlinkMessage::GetNeighbour(request)).await?;
    Ok(entries
        .into_iter()
        .filter_map(|entry| match entry {
            RouteNetlinkMessage::NewNeighbour(message) if message.header.ifindex == index => Some(message),
            _ => None,
        })
        .collect())
}

fn neighbour(index: u32, address: Ipv6Addr, mac: Option<Mac>) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = AddressFamily::Inet6;
    message.header.ifindex = index;
    message.header.state = NeighbourState::Permanent;
    message.attributes.push(NeighbourAttribute::Destination(address.into()));
    message
        .attributes
        .extend(mac.map(|mac| NeighbourAttribute::LinkLayerAddress(mac.0.to_vec())));
    message
}

fn forwarding(index: u32, mac: Mac, node: IpAddr) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = AddressFamily::Bridge;
    message.header.ifindex = index;
    message.header.state = NeighbourState::Permanent;
    message.header.flags = NeighbourFlags::Own;
    message
        .attributes
        .push(NeighbourAttribute::LinkLayerAddress(mac.0.to_vec()));
    message.attributes.push(NeighbourAttribute::Destination(node.into()));
    message
}

/// Forwarding entries are of family bridge, so the library leaves their destination as bytes.
fn destination(message: &NeighbourMessage) -> Option<IpAddr> {
    message.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::Destination(NeighbourAddress::Inet(address)) => Some((*address).into()),
        NeighbourAttribute::Destination(NeighbourAddress::Inet6(address)) => Some((*address).into()),
        NeighbourAttribute::Destination(NeighbourAddress::Other(bytes)) => {
            let v4 = <[u8; 4]>::try_from(bytes.as_slice()).map(|octets| Ipv4Addr::from(octets).into());
            v4.or_else(|_| <[u8; 16]>::try_from(bytes.as_slice()).map(|octets| Ipv6Addr::from(octets).into()))
                .ok()
        }
        _ => None,
    })
}

fn mac(message: &NeighbourMessage) -> Option<Mac> {
    message.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::LinkLayerAddress(bytes) => bytes.as_slice().try_into().ok().map(Mac),
        _ => None,
    })
}
