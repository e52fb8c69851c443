use std::collections::HashMap;
use std::net::IpAddr;

use clusterset::dns::{Name, Records, ZoneView};
use model::Family;

use super::wire;

/// All records, by name.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Table {
    /// By the labels before the zone's name.
    names: HashMap<Box<[u8]>, Entry, ahash::RandomState>,
    /// By whole reverse name: the labels of the name that the address belongs to.
    reverse: HashMap<Box<[u8]>, Box<[u8]>, ahash::RandomState>,
}

/// What one name has.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Entry {
    pub(crate) v4: Sets,
    pub(crate) v6: Sets,
    pub(crate) services: Box<[Service]>,
    /// Known, and to be denied for a short time.
    pub(crate) is_dead: bool,
}

/// An SRV record: a port, and the labels of the target before the zone's name.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Service {
    pub(crate) port: u16,
    pub(crate) target: Box<[u8]>,
}

/// The RDATA of address sets that answers are taken from in turn. None is empty.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Sets(Box<[Box<[u8]>]>);

impl Sets {
    fn new(records: &Records, family: Family) -> Self {
        let rdata = |set: Vec<IpAddr>| -> Box<[u8]> {
            let octets = set.into_iter().flat_map(|address| match address {
                IpAddr::V4(address) => address.octets().to_vec(),
                IpAddr::V6(address) => address.octets().to_vec(),
            });
            octets.collect()
        };
        Self(records.sets(family).into_iter().map(rdata).collect())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The addresses of `size` bytes for this turn, in the order of this turn: a part of them, and the rest. See
    /// [`Records::addresses`], which says the same of addresses.
    pub(crate) fn take(&self, turn: usize, size: usize) -> (&[u8], &[u8]) {
        let Some(set) = self.0.get(turn % self.0.len().max(1)) else {
            return (&[], &[]);
        };
        let within = turn / self.0.len();
        let (rest, first) = set.split_at(within % (set.len() / size) * size);
        (first, rest)
    }
}

impl Table {
    /// The table of a view. A name that DNS cannot carry is left out.
    pub(crate) fn new(view: &ZoneView) -> Self {
        let names = view.names();
        let mut names: HashMap<_, _, _> = names
            .filter_map(|(name, content)| Some((wire::relative(name)?, Entry::new(content))))
            .collect();
        // The name of the server, which SOA and NS say, exists.
        for name in ["dns", "ns.dns"] {
            names.entry(wire::relative(name).expect("a short name")).or_default();
        }
        names.shrink_to_fit();
        let reverse = view.reverse();
        let reverse = reverse.filter_map(|(address, name)| Some((wire::reverse(address)?, wire::relative(name)?)));
        Self {
            names,
            reverse: reverse.collect(),
        }
    }

    pub(crate) fn name(&self, labels: &[u8]) -> Option<&Entry> {
        self.names.get(labels)
    }

    pub(crate) fn reverse(&self, name: &[u8]) -> Option<&[u8]> {
        self.reverse.get(name).map(|labels| &**labels)
    }
}

impl Entry {
    fn new(content: &Name) -> Self {
        let services = content.services.iter().filter_map(|service| {
            Some(Service {
                port: service.port,
                target: wire::relative(&service.target)?,
            })
        });
        Self {
            v4: Sets::new(&content.records, Family::V4),
            v6: Sets::new(&content.records, Family::V6),
            services: services.collect(),
            is_dead: content.records == Records::Dead,
        }
    }
}
