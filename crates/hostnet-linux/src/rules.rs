//! Policy rules of ours: with our priority and our protocol.

use std::io;
use std::net::IpAddr;

use hostnet::{Family, Rule, tags};
use ipnet::IpNet;
use netlink_packet_core::NLM_F_CREATE;
use netlink_packet_route::route::RouteProtocol;
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use crate::netlink::Netlink;

/// In the kernel's order, IPv4 first.
pub(crate) async fn dump(netlink: &Netlink) -> io::Result<Vec<RuleMessage>> {
    let mut rules = Vec::new();
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        let mut request = RuleMessage::default();
        request.header.family = family;
        for entry in netlink.dump_route(RouteNetlinkMessage::GetRule(request)).await? {
            if let RouteNetlinkMessage::NewRule(message) = entry
                && is_ours(&message)
            {
                rules.push(message);
            }
        }
    }
    Ok(rules)
}

/// Appends a rule to those of its priority.
///
/// Not exclusively: the kernel takes `lookup 174` for a duplicate of any rule that is the same but for selectors.
pub(crate) async fn add(netlink: &Netlink, rule: &Rule) -> io::Result<()> {
    netlink
        .change(RouteNetlinkMessage::NewRule(message(rule)), NLM_F_CREATE)
        .await
}

pub(crate) async fn remove(netlink: &Netlink, rule: &Rule) -> io::Result<()> {
    remove_message(netlink, message(rule)).await
}

/// Removes a rule as it was dumped, whatever selectors it has.
pub(crate) async fn remove_message(netlink: &Netlink, message: RuleMessage) -> io::Result<()> {
    netlink.change(RouteNetlinkMessage::DelRule(message), 0).await
}

pub(crate) fn is_ours(message: &RuleMessage) -> bool {
    let has = |wanted: RuleAttribute| message.attributes.contains(&wanted);
    has(RuleAttribute::Priority(tags::RULE_PRIORITY))
        && has(RuleAttribute::Protocol(RouteProtocol::from(tags::PROTOCOL)))
}

pub(crate) fn parse(message: &RuleMessage) -> Rule {
    let family = if message.header.family == AddressFamily::Inet {
        Family::V4
    } else {
        Family::V6
    };
    let mut rule = Rule::all(family, message.header.table.into());
    let net = |address: &IpAddr, length| IpNet::new(*address, length).ok();
    for attribute in &message.attributes {
        match attribute {
            RuleAttribute::Table(table) => rule.table = *table,
            RuleAttribute::Source(address) => rule.from = net(address, message.header.src_len),
            RuleAttribute::Destination(address) => rule.to = net(address, message.header.dst_len),
            RuleAttribute::Iifname(name) => rule.iif = Some(name.clone()),
            RuleAttribute::FwMark(mark) => rule.mark = Some(*mark),
            _ => {}
        }
    }
    rule
}

fn message(rule: &Rule) -> RuleMessage {
    let mut message = RuleMessage::default();
    message.header.family = match rule.family {
        Family::V4 => AddressFamily::Inet,
        Family::V6 => AddressFamily::Inet6,
    };
    message.header.action = RuleAction::ToTable;
    message.header.table = u8::try_from(rule.table).unwrap_or(0);
    let attributes = &mut message.attributes;
    attributes.push(RuleAttribute::Table(rule.table));
    attributes.push(RuleAttribute::Priority(tags::RULE_PRIORITY));
    attributes.push(RuleAttribute::Protocol(tags::PROTOCOL.into()));
    if let Some(from) = rule.from {
        message.header.src_len = from.prefix_len();
        attributes.push(RuleAttribute::Source(from.addr()));
    }
    if let Some(to) = rule.to {
        message.header.dst_len = to.prefix_len();
        attributes.push(RuleAttribute::Destination(to.addr()));
    }
    attributes.extend(rule.iif.clone().map(RuleAttribute::Iifname));
    attributes.extend(rule.mark.map(RuleAttribute::FwMark));
    message
}
