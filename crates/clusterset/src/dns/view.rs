use std::collections::BTreeMap;
use std::net::IpAddr;

use model::Family;

/// What a name of the zone has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Records {
    /// One of these sets, each time the next one.
    Rotate(Vec<Vec<IpAddr>>),
    /// All of these, in an order that changes each time.
    All(Vec<IpAddr>),
    /// The name is known, and nothing behind it is live.
    Dead,
    /// The name exists without addresses: names below it have records, or it has [`ServiceAddress`]es only.
    NonTerminal,
}

impl Records {
    /// The sets of one family that answers are taken from in turn; empty when there is no address of that family.
    pub fn sets(&self, family: Family) -> Vec<Vec<IpAddr>> {
        let of_family =
            |set: &Vec<IpAddr>| -> Vec<IpAddr> { set.iter().copied().filter(|a| Family::of(*a) == family).collect() };
        let sets: Vec<_> = match self {
            Self::Rotate(sets) => sets.iter().map(of_family).collect(),
            Self::All(set) => vec![of_family(set)],
            Self::Dead | Self::NonTerminal => Vec::new(),
        };
        sets.into_iter().filter(|set| !set.is_empty()).collect()
    }

    /// The addresses of one family for the `turn`th query: of the sets the next one, and that from another place each time.
    pub fn addresses(&self, family: Family, turn: usize) -> Vec<IpAddr> {
        let mut sets = self.sets(family);
        if sets.is_empty() {
            return Vec::new();
        }
        let (of, within) = (turn % sets.len(), turn / sets.len());
        let mut set = sets.swap_remove(of);
        let start = within % set.len();
        set.rotate_left(start);
        set
    }
}

/// Where a port of a service is answered (SRV, RFC 2782).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServiceAddress {
    /// Port number.
    pub port: u16,
    /// A name with addresses, relative to the zone.
    pub target: String,
}

/// All that one name has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    /// Its addresses.
    pub records: Records,
    /// Its SRV records, without repetitions.
    pub services: Vec<ServiceAddress>,
}

/// Every name of the zone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ZoneView {
    names: BTreeMap<String, Name>,
    reverse: BTreeMap<IpAddr, String>,
}

impl ZoneView {
    /// What addresses a name has; the name is relative to the zone and lower case. The zone's own name is empty.
    pub fn lookup(&self, name: &str) -> Option<&Records> {
        self.names.get(name).map(|name| &name.records)
    }

    /// The SRV records of a name.
    pub fn services(&self, name: &str) -> &[ServiceAddress] {
        self.names.get(name).map_or(&[], |name| &name.services)
    }

    /// The name that a clusterset IP belongs to, relative to the zone.
    pub fn name_of(&self, address: IpAddr) -> Option<&str> {
        self.reverse.get(&address).map(String::as_str)
    }

    /// Every name, in order.
    pub fn names(&self) -> impl Iterator<Item = (&str, &Name)> {
        self.names.iter().map(|(name, content)| (name.as_str(), content))
    }

    /// Every clusterset IP with its name.
    pub fn reverse(&self) -> impl Iterator<Item = (IpAddr, &str)> {
        self.reverse.iter().map(|(address, name)| (*address, name.as_str()))
    }

    /// How many names have records.
    pub fn len(&self) -> usize {
        let is_more = |name: &&Name| name.records != Records::NonTerminal || !name.services.is_empty();
        self.names.values().filter(is_more).count()
    }

    /// Whether no name has records.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Makes a change, for tests.
    #[cfg(test)]
    pub(super) fn make(&mut self, change: super::Change) {
        use super::Change;
        match change {
            Change::Name(name, Some(content)) => drop(self.names.insert(name, content)),
            Change::Name(name, None) => drop(self.names.remove(&name)),
            Change::Reverse(address, Some(name)) => drop(self.reverse.insert(address, name)),
            Change::Reverse(address, None) => drop(self.reverse.remove(&address)),
        }
    }

    /// All that one name has, as [`lookup`](Self::lookup) and [`services`](Self::services) say.
    pub(super) fn name(&self, name: &str) -> Option<&Name> {
        self.names.get(name)
    }

    /// Adds the view of a service that comes after all that is here.
    pub(super) fn extend(&mut self, other: Self) {
        self.names.extend(other.names);
        for (address, name) in other.reverse {
            self.reverse.entry(address).or_insert(name);
        }
    }

    pub(super) fn insert(&mut self, name: &str, records: Records) {
        self.entry(name).records = records;
    }

    pub(super) fn insert_service(&mut self, name: &str, address: ServiceAddress) {
        let services = &mut self.entry(name).services;
        if !services.contains(&address) {
            services.push(address);
        }
    }

    pub(super) fn insert_reverse(&mut self, address: IpAddr, name: &str) {
        self.reverse.insert(address, name.to_owned());
    }

    /// The name, which exists from now on, as does every name above it, though those may have no records (RFC 8020).
    fn entry(&mut self, name: &str) -> &mut Name {
        let blank = || Name {
            records: Records::NonTerminal,
            services: Vec::new(),
        };
        let mut rest = name;
        while let Some((_, parent)) = rest.split_once('.') {
            if self.names.contains_key(parent) {
                break;
            }
            self.names.insert(parent.to_owned(), blank());
            rest = parent;
        }
        self.names.entry(name.to_owned()).or_insert_with(blank)
    }

    /// A dead name above a live one exists: denying it would deny everything below (RFC 8020).
    pub(super) fn keep_above_live(&mut self) {
        let is_live = |name: &Name| name.records != Records::Dead && name.records != Records::NonTerminal;
        let mut above = Vec::new();
        for (name, _) in self.names.iter().filter(|(_, content)| is_live(content)) {
            let mut rest = name.as_str();
            while let Some((_, parent)) = rest.split_once('.') {
                if self.lookup(parent) == Some(&Records::Dead) {
                    above.push(parent.to_owned());
                }
                rest = parent;
            }
        }
        for name in above {
            self.insert(&name, Records::NonTerminal);
        }
    }
}
