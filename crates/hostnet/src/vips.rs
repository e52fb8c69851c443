//! Clusterset IPs on a node: which backend each of a port's slots leads to.
//!
//! A connection to a (address, protocol, port) hashes to one of [`SLOTS`] slots, and the slot's map says where it goes. A port with one
//! backend alone needs no slots and is a single element. The rules never change with the
//! services: a service, a port or an endpoint that comes or goes is a few map elements ([`VipElements`]).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::state::as_pairs;

/// Slots of each port. It never changes, so a connection's slot does not either.
pub const SLOTS: usize = 64;

/// What a node needs to translate clusterset IPs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Vips {
    /// Where clusterset IPs are; empty if the node is to translate none. What is in it and leads nowhere is refused.
    pub range: BTreeSet<IpNet>,
    /// What leads where.
    pub elements: VipElements,
}

/// The elements of our sets and maps that change with the services.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VipElements {
    /// The backend of each slot; shorter than [`SLOTS`], or with gaps, only as a difference and where others meddled.
    #[serde(with = "as_pairs")]
    pub slots: BTreeMap<VipPort, Vec<Option<SocketAddr>>>,
    /// The backend of each port that has no other.
    #[serde(with = "as_pairs")]
    pub sole: BTreeMap<VipPort, SocketAddr>,
    /// Every clusterset IP that a service has, whether or not there is a backend.
    pub known: BTreeSet<IpAddr>,
    /// Ports whose clients stay with their backend.
    pub affine: BTreeSet<VipPort>,
    /// Pods on this node that may reach themselves through a clusterset IP.
    pub hairpin: BTreeSet<IpAddr>,
}

/// One port of one clusterset IP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VipPort {
    /// The clusterset IP.
    pub address: IpAddr,
    /// Transport protocol.
    pub protocol: Protocol,
    /// Port number.
    pub port: u16,
}

/// Transport protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP
    Tcp,
    /// UDP
    Udp,
    /// SCTP
    Sctp,
}

/// Elements to be taken out and put in, in one transaction.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VipUpdate {
    /// Out first.
    pub remove: VipElements,
    /// Then in.
    pub add: VipElements,
}

impl VipElements {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        let slots = self.slots.values().flatten().flatten().count();
        slots + self.sole.len() + self.known.len() + self.affine.len() + self.hairpin.len()
    }

    /// Everything that a port leads to.
    pub fn backends(&self, port: &VipPort) -> BTreeSet<SocketAddr> {
        let slots = self.slots.get(port).into_iter().flatten().flatten();
        slots.chain(self.sole.get(port)).copied().collect()
    }

    /// Puts one backend into a slot; a slot number that is none of ours is ignored.
    pub fn put(&mut self, port: VipPort, slot: usize, backend: SocketAddr) {
        let slots = self.slots.entry(port).or_default();
        if slot < SLOTS {
            slots.resize(slots.len().max(slot + 1), None);
            slots[slot] = Some(backend);
        }
    }

    /// Takes an update in.
    pub fn take_in(&mut self, update: &VipUpdate) {
        for (port, slot, _) in update.remove.each() {
            if let Some(backend) = self.slots.get_mut(&port).and_then(|slots| slots.get_mut(slot)) {
                *backend = None;
            }
        }
        self.slots.retain(|_, slots| slots.iter().any(Option::is_some));
        for (port, slot, backend) in update.add.each() {
            self.put(port, slot, backend);
        }
        self.sole.retain(|port, _| !update.remove.sole.contains_key(port));
        self.sole.extend(&update.add.sole);
        self.known.retain(|address| !update.remove.known.contains(address));
        self.known.extend(&update.add.known);
        self.affine.retain(|port| !update.remove.affine.contains(port));
        self.affine.extend(&update.add.affine);
        self.hairpin.retain(|pod| !update.remove.hairpin.contains(pod));
        self.hairpin.extend(&update.add.hairpin);
    }

    /// What has to be done to `self` to have `want`; none if nothing.
    pub(crate) fn update_to(&self, want: &Self) -> Option<VipUpdate> {
        if self == want {
            return None;
        }
        let mut update = VipUpdate::default();
        let ports: BTreeSet<&VipPort> = self.slots.keys().chain(want.slots.keys()).collect();
        let at = |elements: &Self, port: &VipPort, slot| *elements.slots.get(port)?.get(slot)?;
        for port in ports {
            if self.slots.get(port) == want.slots.get(port) {
                continue;
            }
            for slot in 0..SLOTS {
                let (is, wanted) = (at(self, port, slot), at(want, port, slot));
                if is == wanted {
                    continue;
                }
                if let Some(backend) = is {
                    update.remove.put(*port, slot, backend);
                }
                if let Some(backend) = wanted {
                    update.add.put(*port, slot, backend);
                }
            }
        }
        let without = |these: &Self, others: &Self| -> BTreeMap<VipPort, SocketAddr> {
            let only = these
                .sole
                .iter()
                .filter(|(port, to)| others.sole.get(port) != Some(*to));
            only.map(|(port, to)| (*port, *to)).collect()
        };
        update.remove.sole = without(self, want);
        update.add.sole = without(want, self);
        update.remove.known = self.known.difference(&want.known).copied().collect();
        update.add.known = want.known.difference(&self.known).copied().collect();
        update.remove.affine = self.affine.difference(&want.affine).copied().collect();
        update.add.affine = want.affine.difference(&self.affine).copied().collect();
        update.remove.hairpin = self.hairpin.difference(&want.hairpin).copied().collect();
        update.add.hairpin = want.hairpin.difference(&self.hairpin).copied().collect();
        (!update.is_empty()).then_some(update)
    }

    /// The UDP ports that lead elsewhere in `want`, with what they lead to there: those that lose a backend or, if `self` is of no table,
    /// all.
    pub(crate) fn udp_led_elsewhere(&self, want: &Self, is_of_table: bool) -> BTreeMap<VipPort, BTreeSet<SocketAddr>> {
        let of = if is_of_table { self } else { want };
        let ports: BTreeSet<_> = of.slots.keys().chain(of.sole.keys()).collect();
        let changed = ports.into_iter().filter(|port| {
            port.protocol == Protocol::Udp
                && (!is_of_table
                    || self.slots.get(port) != want.slots.get(port)
                    || self.sole.get(port) != want.sole.get(port))
        });
        let ports = changed.map(|port| (*port, want.backends(port)));
        ports
            .filter(|(port, backends)| !is_of_table || !self.backends(port).is_subset(backends))
            .collect()
    }

    pub(crate) fn each(&self) -> impl Iterator<Item = (VipPort, usize, SocketAddr)> {
        self.slots.iter().flat_map(|(port, slots)| {
            let backends = slots.iter().enumerate();
            backends.filter_map(|(slot, backend)| Some((*port, slot, (*backend)?)))
        })
    }
}

impl VipUpdate {
    /// How many elements it takes out and puts in.
    pub fn len(&self) -> usize {
        self.remove.len() + self.add.len()
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl fmt::Display for VipPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} . {} . {}", self.address, self.protocol, self.port)
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn port(number: u16) -> VipPort {
        VipPort {
            address: IpAddr::from([244, 174, 0, 1]),
            protocol: Protocol::Tcp,
            port: number,
        }
    }

    fn elements() -> impl Strategy<Value = VipElements> {
        let backend = prop::option::of(0u8..3);
        let slots = prop::collection::vec(backend, 1..=SLOTS);
        let ports = prop::collection::btree_map(80u16..84, slots, 0..4);
        let affine = prop::collection::btree_set(80u16..84, 0..4);
        let sole = prop::collection::btree_map(80u16..84, 0u8..3, 0..4);
        (ports, sole, affine).prop_map(|(ports, sole, affine)| {
            let mut elements = VipElements::default();
            let to = |last| SocketAddr::from(([10, 1, 0, last], 8080));
            elements.sole = sole.into_iter().map(|(n, last)| (port(n), to(last))).collect();
            for (number, slots) in ports {
                for (slot, last) in slots.into_iter().enumerate() {
                    if let Some(last) = last {
                        elements.put(port(number), slot, to(last));
                    }
                }
            }
            elements.known = affine.iter().map(|n| IpAddr::from([244, 174, 0, *n as u8])).collect();
            elements.affine = affine.into_iter().map(port).collect();
            elements.hairpin = elements
                .slots
                .values()
                .flatten()
                .flatten()
                .map(SocketAddr::ip)
                .collect();
            elements
        })
    }

    #[test]
    fn one_backend_for_another_is_two_commands_and_no_rule() {
        let (mut is, mut want) = (VipElements::default(), VipElements::default());
        is.put(port(80), 3, "10.1.0.1:8080".parse().unwrap());
        want.put(port(80), 3, "10.1.0.2:8080".parse().unwrap());
        assert_eq!(
            is.update_to(&want).unwrap().text(),
            "delete element inet tombolo slot3_v4 { 244.174.0.1 . tcp . 80 }\n\
             add element inet tombolo slot3_v4 { 244.174.0.1 . tcp . 80 : 10.1.0.2 . 8080 }\n"
        );
    }

    #[test]
    fn udp_clients_leave_a_backend_that_is_gone_and_no_other() {
        let udp = VipPort {
            protocol: Protocol::Udp,
            ..port(53)
        };
        let [a, b] = [1, 2].map(|last| SocketAddr::from(([10, 1, 0, last], 53)));
        let leading = |to: &[SocketAddr]| {
            let mut elements = VipElements::default();
            elements.sole.insert(port(80), to.first().copied().unwrap_or(a));
            match to {
                [] => {}
                [sole] => {
                    elements.sole.insert(udp, *sole);
                }
                _ => {
                    for (slot, backend) in (0..SLOTS).zip(to.iter().cycle()) {
                        elements.put(udp, slot, *backend);
                    }
                }
            }
            elements
        };
        let led = |is: &[SocketAddr], want: &[SocketAddr]| leading(is).udp_led_elsewhere(&leading(want), true);
        assert_eq!(led(&[a, b], &[b]), BTreeMap::from([(udp, [b].into())]));
        assert_eq!(led(&[a], &[b]), BTreeMap::from([(udp, [b].into())]));
        assert_eq!(led(&[a], &[]), BTreeMap::from([(udp, [].into())]));
        for (is, want) in [(&[a, b][..], &[b, a][..]), (&[a], &[a, b]), (&[], &[a]), (&[b], &[b])] {
            assert_eq!(led(is, want), BTreeMap::new(), "{is:?} {want:?}");
        }
        let first = VipElements::default().udp_led_elsewhere(&leading(&[a, b]), false);
        assert_eq!(
            first,
            BTreeMap::from([(udp, [a, b].into())]),
            "whoever came before the table"
        );
    }

    #[test]
    fn a_second_backend_takes_slots_in_the_same_transaction() {
        let (mut is, mut want) = (VipElements::default(), VipElements::default());
        is.sole.insert(port(80), "10.1.0.1:8080".parse().unwrap());
        want.put(port(80), 0, "10.1.0.1:8080".parse().unwrap());
        want.put(port(80), 1, "10.1.0.2:8080".parse().unwrap());
        assert_eq!(
            is.update_to(&want).unwrap().text(),
            "delete element inet tombolo sole_v4 { 244.174.0.1 . tcp . 80 }\n\
             add element inet tombolo slot0_v4 { 244.174.0.1 . tcp . 80 : 10.1.0.1 . 8080 }\n\
             add element inet tombolo slot1_v4 { 244.174.0.1 . tcp . 80 : 10.1.0.2 . 8080 }\n"
        );
        assert_eq!(want.backends(&port(80)).len(), 2);
        assert_eq!(is.backends(&port(80)).len(), 1);
    }

    proptest! {
        #[test]
        fn an_update_leads_to_what_is_wanted(mut is in elements(), want in elements()) {
            if let Some(update) = is.update_to(&want) {
                is.take_in(&update);
            }
            for slot in 0..SLOTS {
                for number in 80..84 {
                    let at = |e: &VipElements| e.slots.get(&port(number)).and_then(|s| s.get(slot).copied().flatten());
                    prop_assert_eq!(at(&is), at(&want));
                }
            }
            prop_assert_eq!(&is.sole, &want.sole);
            prop_assert_eq!(is.update_to(&want), None, "and no further one");
        }
    }
}
