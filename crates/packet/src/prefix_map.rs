use std::net::IpAddr;

use ipnet::IpNet;

/// The most specific prefix that holds an address, for both families.
///
/// Prefixes nest but never cross, so they cut the address line into stretches in each of which one prefix is the most
/// specific. The map holds the beginnings of those stretches in order: a lookup is one binary search over a flat array, ten
/// steps for five hundred prefixes. It is built whole and never changed, as a plan is.
///
/// ```text
/// 10.0.0.0/8  ├──────────────── a ────────────────┤
/// 10.2.0.0/16         ├── b ──┤
/// stretches   a       b       a                   none
/// ```
#[derive(Debug, Clone)]
pub struct PrefixMap<T> {
    values: Vec<T>,
    v4: Stretches<u32>,
    v6: Stretches<u128>,
}

impl<T> PrefixMap<T> {
    /// The value of the longest prefix that holds the address.
    pub fn lookup(&self, address: IpAddr) -> Option<&T> {
        let index = match address {
            IpAddr::V4(v4) => self.v4.lookup(v4.to_bits()),
            IpAddr::V6(v6) => self.v6.lookup(v6.to_bits()),
        }?;
        self.values.get(index)
    }

    /// Whether no address has a value.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }
}

impl<T> Default for PrefixMap<T> {
    fn default() -> Self {
        Self::from_iter([])
    }
}

impl<T> FromIterator<(IpNet, T)> for PrefixMap<T> {
    /// Of equal prefixes the last one counts. Host bits are ignored.
    fn from_iter<I: IntoIterator<Item = (IpNet, T)>>(prefixes: I) -> Self {
        let mut values = Vec::new();
        let mut v4 = Vec::new();
        let mut v6 = Vec::new();
        for (index, (prefix, value)) in prefixes.into_iter().enumerate() {
            values.push(value);
            match prefix {
                IpNet::V4(net) => v4.push(Span {
                    first: net.network().to_bits(),
                    last: net.broadcast().to_bits(),
                    index,
                }),
                IpNet::V6(net) => v6.push(Span {
                    first: net.network().to_bits(),
                    last: net.broadcast().to_bits(),
                    index,
                }),
            }
        }
        Self {
            values,
            v4: Stretches::from_spans(v4),
            v6: Stretches::from_spans(v6),
        }
    }
}

/// A prefix as the addresses from its first to its last.
#[derive(Clone, Copy)]
struct Span<K> {
    first: K,
    last: K,
    index: usize,
}

#[derive(Debug, Clone)]
struct Stretches<K> {
    begins: Vec<K>,
    owners: Vec<Option<usize>>,
}

impl<K: Key> Stretches<K> {
    fn from_spans(mut spans: Vec<Span<K>>) -> Self {
        // Outer before inner; the sort is stable, so equal prefixes stay in order and the last is the innermost.
        spans.sort_by(|a, b| a.first.cmp(&b.first).then(b.last.cmp(&a.last)));
        let mut stretches = Self {
            begins: Vec::new(),
            owners: Vec::new(),
        };
        let mut open: Vec<Span<K>> = Vec::new();
        for span in spans {
            stretches.close(&mut open, Some(span.first));
            stretches.begin(span.first, Some(span.index));
            open.push(span);
        }
        stretches.close(&mut open, None);
        stretches
    }

    /// Ends every open span that lies wholly before `until`; what encloses it continues after it.
    fn close(&mut self, open: &mut Vec<Span<K>>, until: Option<K>) {
        while let Some(ended) = open.pop_if(|span| until.is_none_or(|until| span.last < until)) {
            if let Some(next) = ended.last.successor() {
                self.begin(next, open.last().map(|outer| outer.index));
            }
        }
    }

    fn begin(&mut self, at: K, owner: Option<usize>) {
        if self.begins.last() == Some(&at) {
            self.owners.pop();
        } else {
            self.begins.push(at);
        }
        self.owners.push(owner);
    }

    fn lookup(&self, key: K) -> Option<usize> {
        let after = self.begins.partition_point(|begin| *begin <= key);
        self.owners[after.checked_sub(1)?]
    }
}

trait Key: Copy + Ord {
    fn successor(self) -> Option<Self>;
}

impl Key for u32 {
    fn successor(self) -> Option<Self> {
        self.checked_add(1)
    }
}

impl Key for u128 {
    fn successor(self) -> Option<Self> {
        self.checked_add(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    fn map(prefixes: &[(&str, char)]) -> PrefixMap<char> {
        prefixes
            .iter()
            .map(|(prefix, value)| (prefix.parse().unwrap(), *value))
            .collect()
    }

    #[test]
    fn the_longest_prefix_wins_and_the_outer_one_continues_after_it() {
        let map = map(&[
            ("10.0.0.0/8", 'a'),
            ("10.2.0.0/16", 'b'),
            ("10.2.3.4/32", 'c'),
            ("fd00::/8", 'd'),
        ]);
        for (address, expected) in [
            ("9.255.255.255", None),
            ("10.0.0.0", Some('a')),
            ("10.2.0.0", Some('b')),
            ("10.2.3.4", Some('c')),
            ("10.2.3.5", Some('b')),
            ("10.3.0.0", Some('a')),
            ("11.0.0.0", None),
            ("fd12::1", Some('d')),
            ("fe80::1", None),
        ] {
            assert_eq!(map.lookup(address.parse().unwrap()).copied(), expected, "{address}");
        }
    }

    #[test]
    fn the_ends_of_the_address_space_are_held() {
        let map = map(&[("0.0.0.0/0", 'a'), ("255.255.255.255/32", 'b'), ("::/0", 'c')]);
        assert_eq!(map.lookup(Ipv4Addr::BROADCAST.into()), Some(&'b'));
        assert_eq!(map.lookup(Ipv4Addr::UNSPECIFIED.into()), Some(&'a'));
        assert_eq!(map.lookup(Ipv6Addr::from_bits(u128::MAX).into()), Some(&'c'));
    }

    fn naive(prefixes: &[(IpNet, usize)], address: IpAddr) -> Option<usize> {
        prefixes
            .iter()
            .filter(|(prefix, _)| prefix.contains(&address))
            .max_by_key(|(prefix, value)| (prefix.prefix_len(), *value))
            .map(|(_, value)| *value)
    }

    /// Few distinct bits, so that prefixes nest, repeat and touch.
    fn address() -> impl Strategy<Value = IpAddr> {
        let byte = || prop_oneof![Just(0u8), Just(1), Just(127), Just(128), Just(255)];
        prop_oneof![
            [byte(), byte(), byte(), byte()].prop_map(|octets| Ipv4Addr::from(octets).into()),
            (byte(), byte(), byte(), byte()).prop_map(|(a, b, c, d)| {
                let mut octets = [a; 16];
                octets[1] = b;
                octets[14] = c;
                octets[15] = d;
                Ipv6Addr::from(octets).into()
            }),
        ]
    }

    fn prefix() -> impl Strategy<Value = IpNet> {
        (address(), 0u8..=128).prop_map(|(address, len)| {
            let max = if address.is_ipv4() { 32 } else { 128 };
            IpNet::new(address, len % (max + 1)).unwrap().trunc()
        })
    }

    proptest! {
        #[test]
        fn equals_the_naive_search(prefixes in proptest::collection::vec(prefix(), 0..40), addresses in proptest::collection::vec(address(), 1..40)) {
            let prefixes: Vec<(IpNet, usize)> = prefixes.into_iter().enumerate().map(|(i, p)| (p, i)).collect();
            let map: PrefixMap<usize> = prefixes.iter().copied().collect();
            let edges = prefixes.iter().flat_map(|(prefix, _)| [prefix.network(), prefix.broadcast()]);
            for address in addresses.into_iter().chain(edges) {
                prop_assert_eq!(map.lookup(address).copied(), naive(&prefixes, address), "{}", address);
            }
        }
    }
}
