//! What answers come from: the names of the zones, and one table of records in wire form.
//!
//! The same table stands under every zone name, `clusterset.local` and those of `--zone`. A query costs one hash and a few copies:
//! addresses are kept as RDATA, names in lower case as they stand on the wire, and a name beside what it has, because in a large zone a
//! query costs as much as the memory that it touches and the processor has not at hand. The table of a new view shares all with
//! the one before but what changed.

mod batch;
mod store;
mod table;
pub(crate) mod wire;

use clusterset::dns::{Change, ZoneView};

pub(crate) use table::{Entry, Services, Table};

/// The view that answers come from, and how to speak of it.
#[derive(Debug, Clone)]
pub struct Zone {
    /// The first is the one that PTR records lead to.
    pub(crate) origins: Vec<Origin>,
    /// None until there was ever a view: everything is SERVFAIL then.
    pub(crate) table: Option<Table>,
    pub(crate) serial: u32,
    pub(crate) ttl: u32,
}

impl Zone {
    /// Zones of these names. `serial` grows with every view.
    ///
    /// # Errors
    /// When a name is not a domain name.
    pub fn new<'a>(
        origins: impl IntoIterator<Item = &'a str>,
        view: Option<&ZoneView>,
        serial: u32,
        ttl: u32,
    ) -> Result<Self, InvalidZone> {
        Ok(Self {
            origins: origins.into_iter().map(Origin::new).collect::<Result<_, _>>()?,
            table: view.map(Table::of),
            serial,
            ttl,
        })
    }

    /// The same zones after changes of their records; `None` when nothing would be answered differently.
    pub fn succeed(&self, changes: impl IntoIterator<Item = Change>) -> Option<Self> {
        let mut table = self.table.clone().unwrap_or_default();
        let is_changed = table.make(changes) || self.table.is_none();
        is_changed.then(|| Self {
            origins: self.origins.clone(),
            table: Some(table),
            serial: self.serial.wrapping_add(1),
            ttl: self.ttl,
        })
    }

    /// How many names have records.
    pub fn name_count(&self) -> usize {
        self.table.as_ref().map_or(0, Table::name_count)
    }

    /// The zone that a lower-case name is in, and how much of the name stands before the zone's own.
    pub(crate) fn find(&self, name: &[u8]) -> Option<(&Origin, usize)> {
        let candidates = self.origins.iter().filter_map(|origin| {
            let below = name.len().checked_sub(origin.name.len())?;
            (name[below..] == *origin.name && wire::is_boundary(name, below)).then_some((origin, below))
        });
        candidates.min_by_key(|(_, below)| *below)
    }
}

/// The name of a zone and what is always the same in it, in wire form.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    pub(crate) name: Box<[u8]>,
    /// Name of the server, for NS and SOA.
    pub(crate) server: Box<[u8]>,
    pub(crate) mailbox: Box<[u8]>,
}

impl Origin {
    fn new(text: &str) -> Result<Self, InvalidZone> {
        let invalid = || InvalidZone(text.to_owned());
        let name = wire::name(text).filter(|name| name.len() > 1).ok_or_else(invalid)?;
        let below = |labels: &str| wire::name(&format!("{labels}.{text}")).ok_or_else(invalid);
        Ok(Self {
            server: below("ns.dns")?,
            mailbox: below("hostmaster")?,
            name,
        })
    }
}

/// A text that is not the name of a zone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("zone \"{0}\" is not a domain name; write one such as clusterset.local")]
pub struct InvalidZone(pub String);
