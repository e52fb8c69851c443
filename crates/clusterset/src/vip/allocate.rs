use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use model::{Family, PrefixSet, ServiceKey};

use super::hash;

/// Gives every service one address of each of its families that has a range, in the order of its families.
///
/// `held` is what services have now: they keep it as far as it is in the range, of a family that is wanted and nobody else's; of
/// two that hold the same address the first by name keeps it. Addresses inside `taken` are never given out, nor are the first and
/// the last of a range. A service for which no address is left goes without.
pub fn allocate(
    wanted: &BTreeMap<ServiceKey, Vec<Family>>,
    held: &BTreeMap<ServiceKey, Vec<IpAddr>>,
    range: &PrefixSet,
    taken: &PrefixSet,
) -> BTreeMap<ServiceKey, Vec<IpAddr>> {
    let mut given: BTreeMap<(&ServiceKey, Family), IpAddr> = BTreeMap::new();
    let mut used: BTreeSet<IpAddr> = BTreeSet::new();
    for (key, families) in wanted {
        for address in held.get(key).into_iter().flatten() {
            let family = Family::of(*address);
            let is_wanted = families.contains(&family) && !given.contains_key(&(key, family));
            if is_wanted && range.contains(*address) && !taken.contains(*address) && used.insert(*address) {
                given.insert((key, family), *address);
            }
        }
    }
    let pools = [Family::V4, Family::V6].map(|family| (family, Pool::new(range, family)));
    for (key, families) in wanted {
        for (family, pool) in &pools {
            if !families.contains(family) || given.contains_key(&(key, *family)) {
                continue;
            }
            let is_free = |address: &IpAddr| !used.contains(address) && !taken.contains(*address);
            if let Some(address) = pool.probe(key).find(is_free) {
                used.insert(address);
                given.insert((key, *family), address);
            }
        }
    }
    let of = |key: &ServiceKey, families: &[Family]| {
        let addresses = families.iter().filter_map(|family| given.get(&(key, *family)).copied());
        addresses.collect()
    };
    wanted
        .iter()
        .map(|(key, families)| (key.clone(), of(key, families)))
        .collect()
}

/// The addresses of one family of the range, numbered through.
struct Pool {
    /// First address and size of each prefix.
    parts: Vec<(IpAddr, u64)>,
    size: u64,
}

impl Pool {
    fn new(range: &PrefixSet, family: Family) -> Self {
        let of_family = range.of_family(family);
        let parts: Vec<_> = of_family.iter().filter_map(part).collect();
        let size = parts.iter().fold(0, |sum: u64, (_, size)| sum.saturating_add(*size));
        Self { parts, size }
    }

    /// Every address once, from the service's own on.
    fn probe(&self, key: &ServiceKey) -> impl Iterator<Item = IpAddr> {
        let size = self.size;
        let start = hash([key.namespace.as_bytes(), key.name.as_bytes()])
            .checked_rem(size)
            .unwrap_or(0);
        (0..size).filter_map(move |step| self.at((start + step) % size))
    }

    fn at(&self, mut index: u64) -> Option<IpAddr> {
        for (first, size) in &self.parts {
            if index < *size {
                return Some(plus(*first, index));
            }
            index -= size;
        }
        None
    }
}

/// The usable part of a prefix: without its first and last address, and at most 2³² of it.
fn part(prefix: &IpNet) -> Option<(IpAddr, u64)> {
    let bits = prefix.max_prefix_len() - prefix.prefix_len();
    let size = (1u64 << bits.min(32)).checked_sub(2).filter(|size| *size > 0)?;
    Some((plus(prefix.network(), 1), size))
}

fn plus(address: IpAddr, offset: u64) -> IpAddr {
    match address {
        IpAddr::V4(v4) => IpAddr::V4(v4.to_bits().wrapping_add(u32::try_from(offset).unwrap_or(0)).into()),
        IpAddr::V6(v6) => IpAddr::V6(v6.to_bits().wrapping_add(u128::from(offset)).into()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(number: u8) -> ServiceKey {
        ServiceKey::new("shop", format!("s{number}"))
    }

    fn range() -> PrefixSet {
        PrefixSet::parse(["244.1.0.0/27", "fd00:1::/123"]).unwrap()
    }

    fn none() -> PrefixSet {
        PrefixSet::default()
    }

    fn services(numbers: impl IntoIterator<Item = u8>) -> BTreeMap<ServiceKey, Vec<Family>> {
        let both = || vec![Family::V6, Family::V4];
        numbers.into_iter().map(|number| (key(number), both())).collect()
    }

    #[test]
    fn addresses_come_in_the_order_of_the_families() {
        let given = allocate(&services([1]), &BTreeMap::new(), &range(), &none());
        let families: Vec<Family> = given[&key(1)].iter().copied().map(Family::of).collect();
        assert_eq!(families, [Family::V6, Family::V4]);
    }

    #[test]
    fn an_address_outside_the_range_or_taken_by_a_cluster_is_given_up() {
        let wanted = BTreeMap::from([(key(1), vec![Family::V4])]);
        let held = BTreeMap::from([(key(1), vec!["10.0.0.1".parse().unwrap()])]);
        let first = allocate(&wanted, &held, &range(), &none())[&key(1)].clone();
        assert!(range().contains(first[0]));
        let taken = PrefixSet::parse([format!("{}/32", first[0])]).unwrap();
        let held = BTreeMap::from([(key(1), first.clone())]);
        assert_ne!(allocate(&wanted, &held, &range(), &taken)[&key(1)], first);
    }

    #[test]
    fn a_full_range_leaves_the_last_without() {
        let given = allocate(&services(0..40), &BTreeMap::new(), &range(), &none());
        let counts: Vec<usize> = given.values().map(Vec::len).collect();
        assert_eq!(counts.iter().sum::<usize>(), 60, "thirty of each family");
        assert!(allocate(&services([1]), &BTreeMap::new(), &none(), &none())[&key(1)].is_empty());
    }

    proptest! {
        #[test]
        fn no_two_services_share_an_address(numbers in prop::collection::btree_set(any::<u8>(), 0..40)) {
            let given = allocate(&services(numbers), &BTreeMap::new(), &range(), &none());
            let all: Vec<IpAddr> = given.into_values().flatten().collect();
            prop_assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len());
            prop_assert!(all.iter().all(|address| range().contains(*address)));
        }

        #[test]
        fn an_address_stays_while_its_service_lives(
            before in prop::collection::btree_set(0u8..60, 1..20),
            after in prop::collection::btree_set(0u8..60, 1..20),
        ) {
            let first = allocate(&services(before.clone()), &BTreeMap::new(), &range(), &none());
            let then = allocate(&services(after.clone()), &first, &range(), &none());
            for number in before.intersection(&after) {
                prop_assert_eq!(&then[&key(*number)], &first[&key(*number)]);
            }
            prop_assert_eq!(&allocate(&services(after), &then, &range(), &none()), &then, "and again nothing changes");
        }

        #[test]
        fn whatever_services_hold_each_address_has_one_owner(
            held in prop::collection::btree_map(0u8..10, prop::collection::vec(0u8..8, 0..3), 0..10),
        ) {
            let address = |last: u8| IpAddr::from([244, 1, 0, last]);
            let held = held.into_iter().map(|(n, ips)| (key(n), ips.into_iter().map(address).collect())).collect();
            let given = allocate(&services(0..10), &held, &range(), &none());
            let all: Vec<&IpAddr> = given.values().flatten().collect();
            prop_assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len());
            prop_assert!(given.values().all(|ips| ips.len() == 2));
        }
    }
}
