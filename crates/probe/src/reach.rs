use std::collections::BTreeMap;

use model::ClusterId;

/// Which clusters an end reaches, and at which MTU: a bit for each cluster that it knows, in the order of their ids.
///
/// Both ends must mean the same list, so a digest of it goes along. While they differ (one has heard of a new member and the other
/// has not) the bits say nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reach {
    digest: u32,
    live: Vec<u8>,
    mtus: Vec<u16>,
}

impl Reach {
    /// The clusters in ascending order, each with the MTU of the way to it if there is one.
    pub fn new<'a>(clusters: impl IntoIterator<Item = (&'a ClusterId, Option<u16>)>) -> Self {
        let mut reach = Self {
            digest: EMPTY,
            ..Self::default()
        };
        for (index, (id, mtu)) in clusters.into_iter().take(MAX_CLUSTERS).enumerate() {
            reach.digest = extend(reach.digest, id);
            if index % 8 == 0 {
                reach.live.push(0);
            }
            if let Some(mtu) = mtu {
                reach.live[index / 8] |= 1 << (index % 8);
                reach.mtus.push(mtu);
            }
        }
        reach
    }

    /// What it says of each of these clusters, which are in ascending order. Nothing if it is about another list of clusters.
    pub fn of<'a>(
        &self,
        clusters: impl IntoIterator<Item = &'a ClusterId>,
    ) -> Option<BTreeMap<&'a ClusterId, Option<u16>>> {
        let clusters: Vec<_> = clusters.into_iter().take(MAX_CLUSTERS).collect();
        let digest = clusters.iter().fold(EMPTY, |digest, id| extend(digest, id));
        if digest != self.digest || self.live.len() != clusters.len().div_ceil(8) {
            return None;
        }
        let mut mtus = self.mtus.iter().copied();
        let with_mtu = clusters.into_iter().enumerate().map(|(index, id)| {
            let is_live = self.live[index / 8] & 1 << (index % 8) != 0;
            (id, if is_live { mtus.next() } else { None })
        });
        Some(with_mtu.collect())
    }

    pub(crate) fn digest(&self) -> u32 {
        self.digest
    }

    pub(crate) fn as_parts(&self) -> (&[u8], &[u16]) {
        (&self.live, &self.mtus)
    }

    pub(crate) fn from_parts(digest: u32, live: Vec<u8>, mtus: Vec<u16>) -> Self {
        Self { digest, live, mtus }
    }
}

/// FNV-1a; it guards against confusion, not against an attacker.
fn extend(digest: u32, id: &ClusterId) -> u32 {
    id.as_str().bytes().chain([0xff]).fold(digest, |digest, byte| {
        (digest ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    })
}

const EMPTY: u32 = 0x811c_9dc5;
/// So many are told of; a clusterset is meant for 200. A bit and an MTU each, they fit the smallest packet that IPv6 knows.
const MAX_CLUSTERS: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(names: &[&str]) -> Vec<ClusterId> {
        names.iter().map(|name| name.parse().unwrap()).collect()
    }

    #[test]
    fn both_ends_read_the_same() {
        let clusters = ids(&["a", "b", "c", "d", "e", "f", "g", "h", "i"]);
        let reach = Reach::new(
            clusters
                .iter()
                .zip([Some(1440), None, None, None, None, None, None, None, Some(1340)]),
        );
        let read = reach.of(&clusters).unwrap();
        assert_eq!(
            (read[&clusters[0]], read[&clusters[1]], read[&clusters[8]]),
            (Some(1440), None, Some(1340))
        );
    }

    #[test]
    fn another_list_says_nothing() {
        let reach = Reach::new(ids(&["a", "b"]).iter().map(|id| (id, Some(1440))));
        assert_eq!(reach.of(&ids(&["a"])), None);
        assert_eq!(reach.of(&ids(&["a", "c"])), None);
        assert_eq!(
            Reach::default().of(&[]),
            None,
            "who says nothing does not say that there are none"
        );
        assert_eq!(Reach::new([]).of(&[]).map(|read| read.len()), Some(0));
    }
}
