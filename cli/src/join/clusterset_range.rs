//! Where clusterset IPs are to be: the flag, else what an earlier join was told, else the default. Pure.

use ipnet::IpNet;
use model::{ClusterId, Family, PrefixSet, names};

use super::prefixes::Discovered;

/// Why a range cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RangeError {
    /// A prefix is malformed.
    #[error("{FLAG}: {0}")]
    Malformed(model::InvalidPrefix),
    /// Two prefixes of one family.
    #[error("{FLAG}: {0} and {1} are both {2}; give at most one prefix a family")]
    TwoOfAFamily(IpNet, IpNet, Family),
    /// There is hardly an address in it.
    #[error("{FLAG}: {0} holds too few addresses for a clusterset; give one of at least 256, such as {1}")]
    TooSmall(IpNet, &'static str),
    /// It holds addresses that are somebody's.
    #[error(
        "the range of clusterset IPs {range} overlaps {other}, which is {owner}; give another one with {FLAG}, such as {FLAG} 100.119.0.0/16"
    )]
    Overlap {
        /// A prefix of the range.
        range: IpNet,
        /// What it overlaps.
        other: IpNet,
        /// Whose that is.
        owner: String,
    },
}

/// The range; empty prefixes in `flags` mean the default.
///
/// # Errors
/// When it is malformed, too small, or overlaps prefixes of this cluster or of a peer.
pub fn range<'a>(
    flags: &[String],
    own: &Discovered,
    peers: impl IntoIterator<Item = (&'a ClusterId, PrefixSet)>,
) -> Result<PrefixSet, RangeError> {
    let range = if flags.is_empty() {
        PrefixSet::parse(names::CLUSTERSET_RANGES)
    } else {
        PrefixSet::parse(flags)
    };
    let range = range.map_err(RangeError::Malformed)?;
    for family in [Family::V4, Family::V6] {
        let of_family = range.of_family(family);
        let mut prefixes = of_family.iter();
        if let (Some(one), Some(two)) = (prefixes.next(), prefixes.next()) {
            return Err(RangeError::TwoOfAFamily(*one, *two, family));
        }
    }
    if let Some(small) = range
        .iter()
        .find(|prefix| prefix.max_prefix_len() - prefix.prefix_len() < 8)
    {
        let index = usize::from(!small.addr().is_ipv4());
        return Err(RangeError::TooSmall(*small, names::CLUSTERSET_RANGES[index]));
    }
    let own = [("the pods'", &own.pods), ("the services'", &own.services)];
    let own = own.map(|(whose, found)| {
        (
            format!("{whose} of this cluster ({})", found.origin),
            found.prefixes.clone(),
        )
    });
    let peers = peers
        .into_iter()
        .map(|(id, prefixes)| (format!("cluster \"{id}\"'s"), prefixes));
    for (owner, prefixes) in own.into_iter().chain(peers) {
        if let Some((range, other)) = range.overlap(&prefixes) {
            return Err(RangeError::Overlap { range, other, owner });
        }
    }
    Ok(range)
}

/// The flag.
pub const FLAG: &str = "--clusterset-ip-range";

#[cfg(test)]
mod tests {
    use super::super::prefixes::Found;
    use super::*;

    fn check(flags: &[&str], peer: &str) -> Result<String, String> {
        let found = |prefix: &str| Found {
            prefixes: PrefixSet::parse([prefix]).unwrap(),
            origin: "node a".into(),
        };
        let own = Discovered {
            pods: found("10.1.0.0/16"),
            services: found("10.101.0.0/16"),
        };
        let west: ClusterId = "west".parse().unwrap();
        let flags: Vec<String> = flags.iter().map(|flag| (*flag).to_owned()).collect();
        let peers = [(&west, PrefixSet::parse([peer]).unwrap())];
        range(&flags, &own, peers)
            .map(|range| range.to_string())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn without_a_flag_it_is_the_default() {
        assert_eq!(check(&[], "10.2.0.0/16").unwrap(), names::CLUSTERSET_RANGES.join(","));
        assert_eq!(check(&["100.119.0.0/16"], "10.2.0.0/16").unwrap(), "100.119.0.0/16");
    }

    #[test]
    fn what_cannot_be_used_is_named_with_its_mend() {
        for (flags, peer, said) in [
            (&["100.119.0.1/16"][..], "10.2.0.0/16", "write 100.119.0.0/16"),
            (
                &["100.119.0.0/16", "100.121.0.0/16"],
                "10.2.0.0/16",
                "at most one prefix a family",
            ),
            (
                &["100.119.0.0/30"],
                "10.2.0.0/16",
                "at least 256, such as 244.174.0.0/16",
            ),
            (&["10.0.0.0/8"], "11.2.0.0/16", "the pods' of this cluster (node a)"),
            (&[], "244.0.0.0/8", "cluster \"west\"'s"),
        ] {
            let error = check(flags, peer).unwrap_err();
            assert!(error.contains(said) && error.contains(FLAG), "{flags:?}: {error}");
        }
    }
}
