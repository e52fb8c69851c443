//! Links: the VXLAN link is made here, the TUN device and the underlay are only looked at.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;

use hostnet::{Mac, TunLink, VxlanLink, tags};
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    InfoData, InfoKind, InfoVxlan, LinkAttribute, LinkFlags, LinkInfo, LinkMessage, VxlanDf,
};
use rtnetlink::{LinkUnspec, LinkVxlan};

use crate::netlink::Netlink;

/// The links of a moment.
#[derive(Debug)]
pub(crate) struct Links {
    messages: BTreeMap<u32, LinkMessage>,
    indices: BTreeMap<String, u32>,
}

pub(crate) async fn dump(netlink: &Netlink) -> io::Result<Links> {
    let mut links = Links {
        messages: BTreeMap::new(),
        indices: BTreeMap::new(),
    };
    for entry in netlink
        .dump_route(RouteNetlinkMessage::GetLink(LinkMessage::default()))
        .await?
    {
        if let RouteNetlinkMessage::NewLink(message) = entry {
            let index = message.header.index;
            links
                .indices
                .extend(name_of(&message).map(|name| (name.to_owned(), index)));
            links.messages.insert(index, message);
        }
    }
    Ok(links)
}

/// Makes the VXLAN link, down.
pub(crate) async fn create_vxlan(netlink: &Netlink, link: &VxlanLink, underlay: Option<u32>) -> io::Result<()> {
    let mut message = LinkVxlan::new(tags::VXLAN_LINK, link.vni)
        .port(link.port)
        .learning(link.learning)
        .df(if link.df { VxlanDf::Set } else { VxlanDf::Unset })
        .address(link.mac.0.to_vec())
        .mtu(link.mtu);
    if let Some(underlay) = underlay {
        message = message.dev(underlay);
    }
    message = match link.local {
        Some(IpAddr::V4(local)) => message.local(local),
        Some(IpAddr::V6(local)) => message.local6(local),
        None => message,
    };
    netlink
        .change(RouteNetlinkMessage::NewLink(message.build()), NLM_F_CREATE | NLM_F_EXCL)
        .await
}

pub(crate) async fn set_mtu(netlink: &Netlink, index: u32, mtu: u32) -> io::Result<()> {
    let message = LinkUnspec::new_with_index(index).mtu(mtu).build();
    netlink.change(RouteNetlinkMessage::SetLink(message), 0).await
}

pub(crate) async fn raise(netlink: &Netlink, index: u32) -> io::Result<()> {
    let message = LinkUnspec::new_with_index(index).up().build();
    netlink.change(RouteNetlinkMessage::SetLink(message), 0).await
}

pub(crate) async fn remove(netlink: &Netlink, index: u32) -> io::Result<()> {
    netlink
        .change(
            RouteNetlinkMessage::DelLink(LinkUnspec::new_with_index(index).build()),
            0,
        )
        .await
}

/// The name in a link message.
pub(crate) fn name_of(message: &LinkMessage) -> Option<&str> {
    message.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name.as_str()),
        _ => None,
    })
}

impl Links {
    pub(crate) fn name(&self, index: u32) -> Option<&str> {
        self.messages.get(&index).and_then(name_of)
    }

    pub(crate) fn index(&self, name: &str) -> Option<u32> {
        self.indices.get(name).copied()
    }

    pub(crate) fn mtu(&self, name: &str) -> Option<u32> {
        self.attribute(name, |attribute| match attribute {
            LinkAttribute::Mtu(mtu) => Some(*mtu),
            _ => None,
        })
    }

    /// The TUN device, whoever made it.
    pub(crate) fn tun(&self) -> Option<TunLink> {
        let message = self.message(tags::TUN_LINK)?;
        Some(TunLink {
            carrier: message.header.flags.contains(LinkFlags::Up | LinkFlags::LowerUp),
        })
    }

    /// The link with our name. One that is no VXLAN reads as a VXLAN that nobody can want, so that a plan replaces it.
    pub(crate) fn vxlan(&self) -> Option<VxlanLink> {
        let message = self.message(tags::VXLAN_LINK)?;
        let mac = self.attribute(tags::VXLAN_LINK, |attribute| match attribute {
            LinkAttribute::Address(bytes) => bytes.as_slice().try_into().ok().map(Mac),
            _ => None,
        });
        let mut link = VxlanLink {
            vni: 0,
            port: 0,
            underlay: None,
            local: None,
            mac: mac.unwrap_or(Mac([0; 6])),
            learning: false,
            df: false,
            mtu: self.mtu(tags::VXLAN_LINK).unwrap_or(0),
            up: message.header.flags.contains(LinkFlags::Up),
        };
        for part in vxlan_info(message) {
            match part {
                InfoVxlan::Id(vni) => link.vni = *vni,
                InfoVxlan::Port(port) => link.port = *port,
                InfoVxlan::Link(index) => link.underlay = self.name(*index).map(str::to_owned),
                InfoVxlan::Local(local) => link.local = Some((*local).into()),
                InfoVxlan::Local6(local) => link.local = Some((*local).into()),
                InfoVxlan::Learning(learning) => link.learning = *learning,
                InfoVxlan::Df(df) => link.df = *df == VxlanDf::Set,
                _ => {}
            }
        }
        Some(link)
    }

    /// VXLAN and TUN devices whose names begin with our prefix.
    pub(crate) fn ours(&self) -> Vec<(String, u32)> {
        let kind_is_ours = |index: &u32| {
            info(&self.messages[index]).any(|part| matches!(part, LinkInfo::Kind(InfoKind::Vxlan | InfoKind::Tun)))
        };
        let ours = self
            .indices
            .iter()
            .filter(|(name, index)| name.starts_with(tags::LINK_PREFIX) && kind_is_ours(index));
        ours.map(|(name, index)| (name.clone(), *index)).collect()
    }

    fn message(&self, name: &str) -> Option<&LinkMessage> {
        self.messages.get(self.indices.get(name)?)
    }

    fn attribute<T>(&self, name: &str, find: impl FnMut(&LinkAttribute) -> Option<T>) -> Option<T> {
        self.message(name)?.attributes.iter().find_map(find)
    }
}

fn info(message: &LinkMessage) -> impl Iterator<Item = &LinkInfo> {
    message.attributes.iter().flat_map(|attribute| match attribute {
        LinkAttribute::LinkInfo(parts) => parts.as_slice(),
        _ => &[],
    })
}

fn vxlan_info(message: &LinkMessage) -> impl Iterator<Item = &InfoVxlan> {
    info(message).flat_map(|part| match part {
        LinkInfo::Data(InfoData::Vxlan(parts)) => parts.as_slice(),
        _ => &[],
    })
}
