use std::cmp::Ordering;
use std::net::{IpAddr, SocketAddr};

use hostnet::SLOTS;

use super::backends::Backend;
use super::{hash, mix};

/// Fills the slots of one port: each takes the backend that it ranks first; none without a backend.
///
/// `seed` makes nodes and services rank differently. The order of `backends` does not matter.
pub fn fill(seed: &[u8], backends: &[Backend]) -> Vec<SocketAddr> {
    if backends.is_empty() {
        return Vec::new();
    }
    let ranks: Vec<(u64, &Backend)> = backends
        .iter()
        .map(|backend| (rank(seed, backend.address), backend))
        .collect();
    let slots = 0..u64::try_from(SLOTS).unwrap_or(u64::MAX);
    slots
        .filter_map(|slot| {
            let draw = |rank: u64| mix(rank ^ mix(slot.wrapping_add(1)));
            let best = ranks
                .iter()
                .max_by(|(a, one), (b, other)| compare((draw(*a), one), (draw(*b), other)));
            best.map(|(_, backend)| backend.address)
        })
        .collect()
}

/// By `weight / -ln(draw)` (weighted rendezvous hashing). Among equal weights the draws themselves have that order.
fn compare((a, one): (u64, &Backend), (b, other): (u64, &Backend)) -> Ordering {
    let by_draw = if one.weight == other.weight {
        a.cmp(&b)
    } else {
        score(a, one.weight).total_cmp(&score(b, other.weight))
    };
    by_draw.then_with(|| one.address.cmp(&other.address))
}

#[expect(clippy::cast_precision_loss, reason = "a hash has bits to spare")]
fn score(draw: u64, weight: f64) -> f64 {
    let uniform = ((draw >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
    weight / -uniform.ln()
}

fn rank(seed: &[u8], address: SocketAddr) -> u64 {
    let octets = match address.ip() {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    };
    hash([seed, &octets, &address.port().to_be_bytes()])
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn backend(number: u8, weight: f64) -> Backend {
        Backend {
            address: SocketAddr::from(([10, 1, 0, number], 8080)),
            weight,
        }
    }

    fn counts(slots: &[SocketAddr]) -> BTreeMap<SocketAddr, usize> {
        let mut counts = BTreeMap::new();
        for slot in slots {
            *counts.entry(*slot).or_default() += 1;
        }
        counts
    }

    #[test]
    fn weights_share_the_slots() {
        let (mut heavy, seeds) = (0, 200u8);
        for seed in 0..seeds {
            let slots = fill(&[seed], &[backend(1, 3.0), backend(2, 1.0)]);
            assert_eq!(slots.len(), SLOTS);
            heavy += counts(&slots)
                .get(&backend(1, 3.0).address)
                .copied()
                .unwrap_or_default();
        }
        let share = heavy * 100 / (SLOTS * usize::from(seeds));
        assert!((73..=77).contains(&share), "{share} % instead of 75 %");
    }

    #[test]
    fn nobody_gets_no_slot() {
        assert!(fill(b"seed", &[]).is_empty());
    }

    fn some_backends() -> impl Strategy<Value = Vec<Backend>> {
        prop::collection::btree_map(any::<u8>(), 1u8..5, 2..30).prop_map(|all| {
            all.into_iter()
                .map(|(number, weight)| backend(number, f64::from(weight)))
                .collect()
        })
    }

    proptest! {
        #[test]
        fn one_that_goes_moves_only_its_own_slots(backends in some_backends(), gone: prop::sample::Index, seed: u64) {
            let seed = seed.to_be_bytes();
            let before = fill(&seed, &backends);
            let gone = backends[gone.index(backends.len())].address;
            let rest: Vec<Backend> = backends.iter().filter(|b| b.address != gone).cloned().collect();
            let after = fill(&seed, &rest);
            for (before, after) in before.iter().zip(&after) {
                prop_assert!(before == after || *before == gone, "{} moved to {}", before, after);
                prop_assert_ne!(*after, gone);
            }
        }

        #[test]
        fn the_order_does_not_matter(backends in some_backends(), seed: u64) {
            let reversed: Vec<Backend> = backends.iter().rev().cloned().collect();
            prop_assert_eq!(fill(&seed.to_be_bytes(), &backends), fill(&seed.to_be_bytes(), &reversed));
        }

        #[test]
        fn one_of_n_equal_backends_has_about_an_nth(n in 2u8..9, seed: u64) {
            let backends: Vec<Backend> = (0..n).map(|number| backend(number, 1.0)).collect();
            let counts = counts(&fill(&seed.to_be_bytes(), &backends));
            let fair = SLOTS / usize::from(n);
            for count in counts.values() {
                prop_assert!(*count <= fair + 32, "{} of {}, fair would be {}", count, SLOTS, fair);
            }
        }
    }
}
