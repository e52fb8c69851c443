//! The kernel's notifications, boiled down to "look again".
//!
//! Two listeners, netlink for links, addresses, routes, rules, neighbours and nexthops, and nfnetlink for nft, feed one signal. Only
//! what may concern us counts: on a node where pods come and go, links and neighbours change all the time. A burst counts once. A
//! lost notification (the kernel says so when its buffer ran over) and a broken socket count as a change too. Our own
//! changes are seen like any others: one more look that finds nothing to do.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use futures::StreamExt;
use hostnet::tags;
use netlink_packet_core::{NetlinkPayload, NlasIterator};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage};
use rtnetlink::MulticastGroup;
use rtnetlink::sys::protocols;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use crate::addresses::address_of;
use crate::links::name_of;
use crate::netlink::{self, Notifications, Raw};
use crate::{neighbours, nexthops, routes, rules};

/// Tells when something of interest changed in the namespace in which it was opened.
#[derive(Debug)]
pub struct Monitor {
    signals: mpsc::Receiver<()>,
    _listeners: JoinSet<()>,
}

impl Monitor {
    /// Starts to listen. `underlay` names the link of the node's own network.
    ///
    /// # Errors
    /// If the kernel gives no netlink socket.
    pub fn open(underlay: &str) -> io::Result<Self> {
        let (signal, signals) = mpsc::channel(1);
        let mut listeners = JoinSet::new();
        for source in [Source::route(underlay), Source::nft()] {
            let notifications = source.listen()?;
            listeners.spawn(forward(source, notifications, signal.clone()));
        }
        Ok(Self {
            signals,
            _listeners: listeners,
        })
    }

    /// Waits for a change since the last call, and for the burst that it is part of to pass. Safe to cancel, except that a burst
    /// being waited out then counts as seen.
    pub async fn changed(&mut self) {
        if self.signals.recv().await.is_none() {
            // The listeners end only with the runtime.
            return std::future::pending().await;
        }
        let end = Instant::now() + LONGEST_BURST;
        while let Ok(Some(())) = timeout_at(end.min(Instant::now() + QUIET), self.signals.recv()).await {}
    }
}

/// Without news for this long, a burst is over.
const QUIET: Duration = Duration::from_millis(20);
/// A burst that does not end is cut here.
const LONGEST_BURST: Duration = Duration::from_millis(200);
/// Between attempts to open a broken socket again.
const REOPEN: Duration = Duration::from_secs(1);

struct Source {
    protocol: isize,
    groups: Vec<u32>,
    underlay: Option<String>,
}

struct Listener {
    notifications: Notifications,
    task: tokio::task::JoinHandle<()>,
}

impl Source {
    fn route(underlay: &str) -> Self {
        let groups = [
            MulticastGroup::Link,
            MulticastGroup::Neigh,
            MulticastGroup::Ipv4Ifaddr,
            MulticastGroup::Ipv6Ifaddr,
            MulticastGroup::Ipv4Route,
            MulticastGroup::Ipv6Route,
            MulticastGroup::Ipv4Rule,
            MulticastGroup::Ipv6Rule,
            MulticastGroup::Nexthop,
        ];
        Self {
            protocol: protocols::NETLINK_ROUTE,
            groups: groups.into_iter().map(|group| group as u32).collect(),
            underlay: Some(underlay.to_owned()),
        }
    }

    fn nft() -> Self {
        Self {
            protocol: protocols::NETLINK_NETFILTER,
            groups: vec![NFNLGRP_NFTABLES],
            underlay: None,
        }
    }

    fn listen(&self) -> io::Result<Listener> {
        let (notifications, task) = netlink::listen(self.protocol, &self.groups)?;
        Ok(Listener { notifications, task })
    }

    fn cares_for(&self, message: &Raw) -> bool {
        match &self.underlay {
            Some(underlay) => route_concerns_us(message, underlay),
            None => nft_concerns_us(message),
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn forward(source: Source, mut listener: Listener, signal: mpsc::Sender<()>) {
    loop {
        while let Some((message, _)) = listener.notifications.next().await {
            let concerns_us = match &message.payload {
                NetlinkPayload::InnerMessage(message) => source.cares_for(message),
                NetlinkPayload::Overrun(_) => true,
                _ => false,
            };
            if concerns_us {
                // Full: a signal is already waiting.
                let _ = signal.try_send(());
            }
        }
        tracing::warn!(protocol = source.protocol, "netlink listener broke; it is opened again");
        listener = loop {
            tokio::time::sleep(REOPEN).await;
            match source.listen() {
                Ok(listener) => break listener,
                Err(error) => tracing::warn!(%error, "netlink listener cannot be opened"),
            }
        };
        let _ = signal.try_send(());
    }
}

fn route_concerns_us(message: &Raw, underlay: &str) -> bool {
    if nexthops::is_ours(message) {
        return true;
    }
    match message.decode() {
        Some(RouteNetlinkMessage::NewLink(link) | RouteNetlinkMessage::DelLink(link)) => {
            name_of(&link).is_some_and(|name| name == underlay || name.starts_with(tags::LINK_PREFIX))
        }
        // A route's source may come or go.
        Some(RouteNetlinkMessage::NewAddress(message) | RouteNetlinkMessage::DelAddress(message)) => {
            // Each pod brings link-local ones; ours is known by its missing duplicate check.
            match address_of(&message) {
                Some(IpAddr::V6(address)) if address.is_unicast_link_local() => has_no_duplicate_check(&message),
                address => address.is_some(),
            }
        }
        Some(RouteNetlinkMessage::NewRoute(route) | RouteNetlinkMessage::DelRoute(route)) => routes::is_ours(&route),
        Some(RouteNetlinkMessage::NewRule(rule) | RouteNetlinkMessage::DelRule(rule)) => rules::is_ours(&rule),
        Some(RouteNetlinkMessage::NewNeighbour(neighbour)) => neighbours::may_be_ours(&neighbour, false),
        Some(RouteNetlinkMessage::DelNeighbour(neighbour)) => neighbours::may_be_ours(&neighbour, true),
        _ => false,
    }
}

fn has_no_duplicate_check(message: &AddressMessage) -> bool {
    message
        .attributes
        .iter()
        .any(|attribute| matches!(attribute, AddressAttribute::Flags(flags) if flags.contains(AddressFlags::Nodad)))
}

/// The first attribute of every nft notification is the name of the table, but for those of a whole generation.
fn nft_concerns_us(message: &Raw) -> bool {
    let attributes = message.payload.get(NFGENMSG..).unwrap_or_default();
    NlasIterator::new(attributes).flatten().any(|attribute| {
        attribute.kind() == NFTA_TABLE && attribute.value().strip_suffix(&[0]) == Some(tags::NFT_TABLE.as_bytes())
    })
}

const NFNLGRP_NFTABLES: u32 = 7;
/// family, version, resource id (2 bytes)
const NFGENMSG: usize = 4;
const NFTA_TABLE: u16 = 1;
