//! Routes of ours: in our tables and with our protocol.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hostnet::{Route, RouteKey, tags};
use ipnet::IpNet;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteMetric, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use crate::netlink::Netlink;

pub(crate) async fn dump(netlink: &Netlink) -> io::Result<BTreeMap<RouteKey, Route>> {
    let mut routes = BTreeMap::new();
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        let mut request = RouteMessage::default();
        request.header.address_family = family;
        for entry in netlink.dump_route(RouteNetlinkMessage::GetRoute(request)).await? {
            if let RouteNetlinkMessage::NewRoute(message) = entry
                && is_ours(&message)
            {
                routes.insert(key(&message), route(&message));
            }
        }
    }
    Ok(routes)
}

/// Adds a route; refused if there is one with this key, whoever made it.
pub(crate) async fn add(netlink: &Netlink, key: &RouteKey, route: &Route) -> io::Result<()> {
    netlink
        .change(
            RouteNetlinkMessage::NewRoute(message(key, Some(route))),
            NLM_F_CREATE | NLM_F_EXCL,
        )
        .await
}

pub(crate) async fn replace(netlink: &Netlink, key: &RouteKey, route: &Route) -> io::Result<()> {
    netlink
        .change(
            RouteNetlinkMessage::NewRoute(message(key, Some(route))),
            NLM_F_CREATE | NLM_F_REPLACE,
        )
        .await
}

pub(crate) async fn remove(netlink: &Netlink, key: &RouteKey) -> io::Result<()> {
    netlink
        .change(RouteNetlinkMessage::DelRoute(message(key, None)), 0)
        .await
}

pub(crate) fn is_ours(message: &RouteMessage) -> bool {
    message.header.protocol == RouteProtocol::from(tags::PROTOCOL)
        && [tags::TABLE_OWN, tags::TABLE_TRANSIT].contains(&table(message))
}

/// Without a route, for removal: any route with this key and our protocol.
fn message(key: &RouteKey, route: Option<&Route>) -> RouteMessage {
    let mut message = RouteMessage::default();
    let header = &mut message.header;
    header.address_family = if key.prefix.addr().is_ipv4() {
        AddressFamily::Inet
    } else {
        AddressFamily::Inet6
    };
    header.destination_prefix_length = key.prefix.prefix_len();
    header.table = u8::try_from(key.table).unwrap_or(0);
    header.protocol = tags::PROTOCOL.into();
    header.scope = RouteScope::Universe;
    let attributes = &mut message.attributes;
    attributes.push(RouteAttribute::Table(key.table));
    attributes.push(RouteAttribute::Destination(key.prefix.addr().into()));
    attributes.push(RouteAttribute::Priority(key.metric));
    match route {
        Some(Route::Via { nexthop, mtu, source }) => {
            header.kind = RouteType::Unicast;
            attributes.push(RouteAttribute::NhId(*nexthop));
            attributes.extend(mtu.map(|mtu| RouteAttribute::Metrics(vec![RouteMetric::Mtu(mtu)])));
            attributes.extend(source.map(|source| RouteAttribute::PrefSource(source.into())));
        }
        Some(Route::Unreachable | Route::Other) => header.kind = RouteType::Unreachable,
        None => {
            header.kind = RouteType::Unspec;
            header.scope = RouteScope::NoWhere;
        }
    }
    message
}

fn key(message: &RouteMessage) -> RouteKey {
    let default = match message.header.address_family {
        AddressFamily::Inet => IpAddr::from(Ipv4Addr::UNSPECIFIED),
        _ => IpAddr::from(Ipv6Addr::UNSPECIFIED),
    };
    let (mut destination, mut metric) = (default, 0);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(RouteAddress::Inet(address)) => destination = (*address).into(),
            RouteAttribute::Destination(RouteAddress::Inet6(address)) => destination = (*address).into(),
            RouteAttribute::Priority(priority) => metric = *priority,
            _ => {}
        }
    }
    let prefix = IpNet::new_assert(destination, message.header.destination_prefix_length);
    RouteKey {
        table: table(message),
        prefix,
        metric,
    }
}

fn route(message: &RouteMessage) -> Route {
    let (mut id, mut path_mtu, mut preferred) = (None, None, None);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::NhId(nexthop) => id = Some(*nexthop),
            RouteAttribute::PrefSource(RouteAddress::Inet(address)) => preferred = Some(IpAddr::from(*address)),
            RouteAttribute::PrefSource(RouteAddress::Inet6(address)) => preferred = Some(IpAddr::from(*address)),
            RouteAttribute::Metrics(metrics) => {
                path_mtu = metrics.iter().find_map(|metric| match metric {
                    RouteMetric::Mtu(mtu) => Some(*mtu),
                    _ => None,
                });
            }
            _ => {}
        }
    }
    match (message.header.kind, id) {
        (RouteType::Unreachable, None) => Route::Unreachable,
        (RouteType::Unicast, Some(nexthop)) => Route::Via {
            nexthop,
            mtu: path_mtu,
            source: preferred,
        },
        _ => Route::Other,
    }
}

fn table(message: &RouteMessage) -> u32 {
    let long = message.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Table(table) => Some(*table),
        _ => None,
    });
    long.unwrap_or(message.header.table.into())
}
