//! The sets and maps of clusterset IPs by their names, and their elements as nft writes them.

use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::net::{IpAddr, SocketAddr};

use crate::state::Family;
use crate::tags;
use crate::vips::{SLOTS, VipElements, VipPort, VipUpdate};

/// One element of a set or a map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VipElement {
    /// An address.
    Address(IpAddr),
    /// From an address to itself.
    Loop(IpAddr),
    /// A port of a clusterset IP.
    Port(VipPort),
    /// Where connections to a port go.
    Backend(VipPort, SocketAddr),
}

impl VipElements {
    /// Elements by the name of their set or map.
    pub fn by_set(&self) -> BTreeMap<String, Vec<VipElement>> {
        let mut sets: BTreeMap<String, Vec<VipElement>> = BTreeMap::new();
        let mut put = |set, element| sets.entry(set).or_default().push(element);
        for (port, slot, to) in self.each() {
            put(slot_map(slot, Family::of(port.address)), VipElement::Backend(port, to));
        }
        for (port, to) in &self.sole {
            put(sole_map(Family::of(port.address)), VipElement::Backend(*port, *to));
        }
        for address in &self.known {
            put(known_set(Family::of(*address)), VipElement::Address(*address));
        }
        for port in &self.affine {
            put(affine_set(Family::of(port.address)), VipElement::Port(*port));
        }
        for pod in &self.hairpin {
            put(hairpin_set(Family::of(*pod)), VipElement::Loop(*pod));
        }
        sets
    }
}

impl VipUpdate {
    /// The text for `nft -f -`.
    pub fn text(&self) -> String {
        let mut text = String::new();
        commands(&mut text, "delete", &self.remove, VipElement::key);
        commands(&mut text, "add", &self.add, VipElement::to_string);
        text
    }
}

impl VipElement {
    /// What is found by, as nft writes it.
    fn key(&self) -> String {
        match self {
            Self::Backend(port, _) => port.to_string(),
            _ => self.to_string(),
        }
    }
}

impl fmt::Display for VipElement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => write!(f, "{address}"),
            Self::Loop(pod) => write!(f, "{pod} . {pod}"),
            Self::Port(port) => write!(f, "{port}"),
            Self::Backend(port, to) => write!(f, "{port} : {} . {}", to.ip(), to.port()),
        }
    }
}

/// The text that puts all elements into a table that has just been made.
pub(crate) fn text_of(elements: &VipElements) -> String {
    let mut text = String::new();
    commands(&mut text, "add", elements, VipElement::to_string);
    text
}

fn commands(text: &mut String, verb: &str, elements: &VipElements, write: impl Fn(&VipElement) -> String) {
    for (set, elements) in elements.by_set() {
        let elements: Vec<String> = elements.iter().map(&write).collect();
        // One line has its limits in nft's reader.
        for chunk in elements.chunks(ELEMENTS_PER_COMMAND) {
            writeln!(
                text,
                "{verb} element inet {} {set} {{ {} }}",
                tags::NFT_TABLE,
                chunk.join(", ")
            )
            .expect("a String takes any text");
        }
    }
}

/// The map of one slot.
pub(crate) fn slot_map(slot: usize, family: Family) -> String {
    format!("{}{}", slot_chain(slot), suffix(family))
}

/// The chain of one slot.
pub(crate) fn slot_chain(slot: usize) -> String {
    format!("slot{slot}")
}

/// The map of ports with one backend.
pub(crate) fn sole_map(family: Family) -> String {
    format!("sole{}", suffix(family))
}

pub(crate) fn known_set(family: Family) -> String {
    format!("known{}", suffix(family))
}

pub(crate) fn affine_set(family: Family) -> String {
    format!("affine{}", suffix(family))
}

pub(crate) fn hairpin_set(family: Family) -> String {
    format!("hairpin{}", suffix(family))
}

/// The slot whose map has this name.
pub fn slot_of_map(name: &str) -> Option<usize> {
    let number = name.strip_prefix("slot")?;
    let number = number.strip_suffix("_v4").or_else(|| number.strip_suffix("_v6"))?;
    number.parse().ok().filter(|slot| *slot < SLOTS)
}

fn suffix(family: Family) -> &'static str {
    match family {
        Family::V4 => "_v4",
        Family::V6 => "_v6",
    }
}

const ELEMENTS_PER_COMMAND: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_maps_tell_their_slot() {
        assert_eq!(slot_of_map(&slot_map(63, Family::V6)), Some(63));
        for other in ["slot64_v4", "slot1", "slots_v4", "remote_v4"] {
            assert_eq!(slot_of_map(other), None, "{other}");
        }
    }
}
