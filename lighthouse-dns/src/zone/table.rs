use std::net::IpAddr;

use clusterset::dns::{Change, Name, Records, ZoneView};
use model::Family;

use super::batch::Batch;
use super::store::{Store, append, split};
use super::wire;

/// All records, by name. A copy costs next to nothing.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    /// By the labels before the zone's name: what [`Entry`] reads.
    names: Store,
    /// By whole reverse name: the labels of the name that the address belongs to.
    reverse: Store,
    /// Names that have records.
    count: usize,
}

/// What one name has.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry<'a> {
    pub(crate) v4: Sets<'a>,
    pub(crate) v6: Sets<'a>,
    pub(crate) services: Services<'a>,
    /// Known, and to be denied for a short time.
    pub(crate) is_dead: bool,
}

/// The RDATA of address sets that answers are taken from in turn. None is empty.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sets<'a>(&'a [u8]);

/// SRV records.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Services<'a>(&'a [u8]);

/// An SRV record: a port, and the labels of the target before the zone's name.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Service<'a> {
    pub(crate) port: u16,
    pub(crate) target: &'a [u8],
}

impl Default for Table {
    /// The zone itself exists, and the name of the server, which SOA and NS say.
    fn default() -> Self {
        let mut table = Self {
            names: Store::default(),
            reverse: Store::default(),
            count: 0,
        };
        let blank = Name {
            records: Records::NonTerminal,
            services: Vec::new(),
        };
        let names = ["", "dns", "ns.dns"].map(|name| Change::Name(name.to_owned(), Some(blank.clone())));
        table.make(names);
        table
    }
}

impl Table {
    /// The table of a whole view.
    pub(crate) fn of(view: &ZoneView) -> Self {
        let mut table = Self::default();
        let names = view.names();
        let names = names.map(|(name, content)| Change::Name(name.to_owned(), Some(content.clone())));
        let reverse = view.reverse();
        let reverse = reverse.map(|(address, name)| Change::Reverse(address, Some(name.to_owned())));
        table.make(names.chain(reverse));
        table
    }

    /// Makes changes; false when nothing is otherwise after that. A name that DNS cannot carry is left out.
    pub(crate) fn make(&mut self, changes: impl IntoIterator<Item = Change>) -> bool {
        let (mut names, mut reverse) = (Batch::default(), Batch::default());
        let mut is_changed = false;
        for change in changes {
            match change {
                Change::Name(name, content) => match (wire::relative(&name), content) {
                    (Some(labels), Some(content)) => names.put(&labels, |to| Entry::write(&content, to)),
                    (Some(labels), None) => names.remove(&labels),
                    (None, _) => {}
                },
                Change::Reverse(address, name) => {
                    let labels = name.as_deref().and_then(wire::relative);
                    match (wire::reverse(address), labels) {
                        (Some(address), Some(labels)) => reverse.put(&address, |to| to.extend_from_slice(&labels)),
                        (Some(address), None) => reverse.remove(&address),
                        (None, _) => {}
                    }
                }
            }
            if names.len() + reverse.len() == LARGEST_BATCH {
                is_changed |= self.make_now(&mut names, &mut reverse);
            }
        }
        is_changed | self.make_now(&mut names, &mut reverse)
    }

    fn make_now(&mut self, names: &mut Batch, reverse: &mut Batch) -> bool {
        let Self {
            names: by_name,
            reverse: by_address,
            count,
        } = self;
        let mut is_changed = false;
        by_name.make(names, |before, after| {
            is_changed = true;
            let has_records =
                |content: Option<&[u8]>| usize::from(content.is_some_and(|content| Entry::read(content).has_records()));
            *count = *count + has_records(after) - has_records(before);
        });
        by_address.make(reverse, |_, _| is_changed = true);
        names.clear();
        reverse.clear();
        is_changed
    }

    /// How many names have records.
    pub(crate) fn name_count(&self) -> usize {
        self.count
    }

    /// Bytes of memory.
    #[cfg(test)]
    pub(crate) fn size(&self) -> usize {
        self.names.size() + self.reverse.size()
    }

    pub(crate) fn name(&self, labels: &[u8]) -> Option<Entry<'_>> {
        self.names.find(labels).map(Entry::read)
    }

    pub(crate) fn reverse(&self, name: &[u8]) -> Option<&[u8]> {
        self.reverse.find(name)
    }
}

impl<'a> Entry<'a> {
    fn write(content: &Name, to: &mut Vec<u8>) {
        to.push(u8::from(content.records == Records::Dead));
        for family in [Family::V4, Family::V6] {
            append(to, |to| {
                for set in content.records.sets(family) {
                    append(to, |to| set.into_iter().for_each(|address| write_rdata(address, to)));
                }
            });
        }
        for service in &content.services {
            if let Some(target) = wire::relative(&service.target) {
                to.extend(service.port.to_ne_bytes());
                append(to, |to| to.extend_from_slice(&target));
            }
        }
    }

    fn has_records(&self) -> bool {
        self.is_dead || !self.v4.is_empty() || !self.v6.is_empty() || !self.services.0.is_empty()
    }

    fn read(content: &'a [u8]) -> Self {
        let (is_dead, rest) = content.split_first().expect("that comes first");
        let (v4, rest) = split(rest);
        let (v6, services) = split(rest);
        Self {
            v4: Sets(v4),
            v6: Sets(v6),
            services: Services(services),
            is_dead: *is_dead != 0,
        }
    }
}

fn write_rdata(address: IpAddr, to: &mut Vec<u8>) {
    match address {
        IpAddr::V4(address) => to.extend(address.octets()),
        IpAddr::V6(address) => to.extend(address.octets()),
    }
}

impl<'a> Sets<'a> {
    pub(crate) fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// The addresses of `size` bytes for this turn, in the order of this turn: a part of them, and the rest. See
    /// [`Records::addresses`], which says the same of addresses.
    pub(crate) fn take(self, turn: usize, size: usize) -> (&'a [u8], &'a [u8]) {
        let count = self.iter().count();
        let nth = turn.checked_rem(count).and_then(|nth| self.iter().nth(nth));
        let Some(set) = nth else {
            return (&[], &[]);
        };
        let within = turn / count;
        let (rest, first) = set.split_at(within % (set.len() / size) * size);
        (first, rest)
    }

    fn iter(self) -> impl Iterator<Item = &'a [u8]> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let set;
            (set, rest) = split(rest);
            Some(set)
        })
    }
}

impl<'a> Services<'a> {
    /// All of them, beginning with another one each turn.
    pub(crate) fn take(self, turn: usize) -> impl Iterator<Item = Service<'a>> {
        let start = turn.checked_rem(self.iter().count()).unwrap_or_default();
        self.iter().skip(start).chain(self.iter().take(start))
    }

    fn iter(self) -> impl Iterator<Item = Service<'a>> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let (port, after) = rest.split_first_chunk()?;
            let target;
            (target, rest) = split(after);
            Some(Service {
                port: u16::from_ne_bytes(*port),
                target,
            })
        })
    }
}

/// Changes that are in memory at a time.
const LARGEST_BATCH: usize = 1 << 16;
