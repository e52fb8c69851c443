use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// An address family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Family {
    /// IPv4
    V4,
    /// IPv6
    V6,
}

impl Family {
    /// The family of an address.
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    /// The family of a prefix.
    pub fn of_prefix(prefix: &IpNet) -> Self {
        Self::of(prefix.addr())
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

/// Why a text is not a prefix that a cluster may have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("prefix \"{value}\" is not valid: {why}")]
pub struct InvalidPrefix {
    /// The text as given.
    pub value: String,
    /// The rule that it breaks, and so the mend.
    pub why: String,
}

/// A sorted set of prefixes without duplicates and without a prefix inside another.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "Vec<IpNet>", into = "Vec<IpNet>")]
pub struct PrefixSet(Vec<IpNet>);

impl PrefixSet {
    /// Reads prefixes strictly: host bits must be zero, and ranges that cannot be a cluster's (unspecified, loopback,
    /// link-local, multicast) are refused.
    ///
    /// # Errors
    /// Names the first prefix that is malformed, and the mend.
    pub fn parse<T: AsRef<str>>(texts: impl IntoIterator<Item = T>) -> Result<Self, InvalidPrefix> {
        texts
            .into_iter()
            .map(|text| parse_prefix(text.as_ref()))
            .collect::<Result<Self, _>>()
    }

    /// The prefixes in order.
    pub fn iter(&self) -> impl Iterator<Item = &IpNet> {
        self.0.iter()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether one of the prefixes holds the address.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.iter().any(|prefix| prefix.contains(&address))
    }

    /// The prefixes of one family.
    pub fn of_family(&self, family: Family) -> Self {
        self.iter()
            .filter(|prefix| Family::of_prefix(prefix) == family)
            .copied()
            .collect()
    }

    /// The first pair of prefixes, one of each set, that share an address.
    pub fn overlap(&self, other: &Self) -> Option<(IpNet, IpNet)> {
        self.iter().find_map(|mine| {
            other
                .iter()
                .find(|theirs| overlaps(mine, theirs))
                .map(|theirs| (*mine, *theirs))
        })
    }

    /// All prefixes of both.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        self.iter().chain(other.iter()).copied().collect()
    }
}

impl FromIterator<IpNet> for PrefixSet {
    fn from_iter<I: IntoIterator<Item = IpNet>>(prefixes: I) -> Self {
        Self(IpNet::aggregate(
            &prefixes.into_iter().map(|p| p.trunc()).collect::<Vec<_>>(),
        ))
        .normalised()
    }
}

impl PrefixSet {
    fn normalised(mut self) -> Self {
        self.0.sort();
        self.0.dedup();
        self
    }
}

impl From<Vec<IpNet>> for PrefixSet {
    fn from(prefixes: Vec<IpNet>) -> Self {
        prefixes.into_iter().collect()
    }
}

impl From<PrefixSet> for Vec<IpNet> {
    fn from(set: PrefixSet) -> Self {
        set.0
    }
}

impl fmt::Display for PrefixSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, prefix) in self.iter().enumerate() {
            write!(f, "{}{prefix}", if index == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

fn overlaps(a: &IpNet, b: &IpNet) -> bool {
    a.contains(b) || b.contains(a)
}

fn parse_prefix(text: &str) -> Result<IpNet, InvalidPrefix> {
    let invalid = |why: String| InvalidPrefix {
        value: text.to_owned(),
        why,
    };
    let prefix =
        IpNet::from_str(text).map_err(|_| invalid("write an address and a length, such as 10.42.0.0/16".into()))?;
    if prefix.trunc() != prefix {
        return Err(invalid(format!("host bits are set; write {}", prefix.trunc())));
    }
    if prefix.prefix_len() == 0 {
        return Err(invalid("it holds every address; write the cluster's own range".into()));
    }
    let reserved: [(&str, &str); 8] = [
        ("0.0.0.0/8", "unspecified addresses"),
        ("127.0.0.0/8", "loopback addresses"),
        ("169.254.0.0/16", "link-local addresses"),
        ("224.0.0.0/4", "multicast addresses"),
        ("255.255.255.255/32", "the broadcast address"),
        ("::/127", "unspecified and loopback addresses"),
        ("fe80::/10", "link-local addresses"),
        ("ff00::/8", "multicast addresses"),
    ];
    for (range, what) in reserved {
        let range = IpNet::from_str(range).expect("a literal prefix");
        if overlaps(&range, &prefix) {
            return Err(invalid(format!(
                "it holds {what} ({range}), which cannot cross a cable"
            )));
        }
    }
    Ok(prefix)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn malformed_prefixes_name_the_value_and_the_mend() {
        for (text, mend) in [
            ("10.0.0.0", "such as 10.42.0.0/16"),
            ("10.0.0.0/33", "such as"),
            ("10.1.2.3/16", "write 10.1.0.0/16"),
            ("0.0.0.0/0", "every address"),
            ("127.0.0.0/8", "loopback"),
            ("fe80::/64", "link-local"),
            ("", "such as"),
        ] {
            let error = PrefixSet::parse([text]).unwrap_err().to_string();
            assert!(error.contains(mend) && error.contains(text), "{text}: {error}");
        }
    }

    #[test]
    fn nested_and_repeated_prefixes_collapse() {
        let set = PrefixSet::parse(["10.1.0.0/16", "10.1.2.0/24", "10.1.0.0/16", "fd00::/56"]).unwrap();
        assert_eq!(set.to_string(), "10.1.0.0/16,fd00::/56");
    }

    fn prefix() -> impl Strategy<Value = IpNet> {
        (any::<u32>(), 8u8..=32)
            .prop_map(|(bits, len)| IpNet::new(IpAddr::from(bits.to_be_bytes()), len).unwrap().trunc())
    }

    proptest! {
        #[test]
        fn overlap_is_symmetric_and_means_a_shared_address(a in prefix(), b in prefix()) {
            let (left, right): (PrefixSet, PrefixSet) = ([a].into_iter().collect(), [b].into_iter().collect());
            prop_assert_eq!(left.overlap(&right).is_some(), right.overlap(&left).is_some());
            let shared = a.contains(&b.network()) || b.contains(&a.network());
            prop_assert_eq!(left.overlap(&right).is_some(), shared);
        }

        #[test]
        fn a_set_keeps_every_address(prefixes in proptest::collection::vec(prefix(), 0..20)) {
            let set: PrefixSet = prefixes.iter().copied().collect();
            for prefix in &prefixes {
                prop_assert!(set.contains(prefix.network()) && set.contains(prefix.broadcast()));
            }
        }
    }
}
