//! A node's address on the VXLAN: link-local, and computed by every other node from the node's UID alone.
//!
//! There is no range to allocate and nothing to agree on. The hash is FNV-1a with a final mix: it has to be the same for ever and in
//! every build, small enough to be read here, and spread random UUIDs evenly; it guards nothing, so it need not be
//! cryptographic. Two nodes of a cluster of 5,000 share an address with a probability of about 10⁻¹².

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An Ethernet address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Mac(pub [u8; 6]);

/// A node's end of the VXLAN.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Vtep {
    /// In fe80::/64.
    pub address: Ipv6Addr,
    /// Locally administered, unicast.
    pub mac: Mac,
}

/// A text that is not an Ethernet address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not an Ethernet address; write six hexadecimal bytes, as in 02:00:00:00:00:01")]
pub struct InvalidMac(String);

/// The VXLAN end of the node with this UID.
pub fn vtep(node_uid: &str) -> Vtep {
    let host = hash("vtep-address", node_uid).max(1);
    let bytes = hash("vtep-mac", node_uid).to_be_bytes();
    let [high, low] = [host >> 32, host & 0xffff_ffff];
    let group = |value: u64, shift: u32| ((value >> shift) & 0xffff) as u16;
    Vtep {
        address: Ipv6Addr::new(
            0xfe80,
            0,
            0,
            0,
            group(high, 16),
            group(high, 0),
            group(low, 16),
            group(low, 0),
        ),
        // Bit 1 of the first byte: locally administered. Bit 0: multicast.
        mac: Mac([
            (bytes[0] | 0x02) & 0xfe,
            bytes[1],
            bytes[2],
            bytes[3],
            bytes[4],
            bytes[5],
        ]),
    }
}

/// FNV-1a over `domain`, a separator and `text`, then the finaliser of MurmurHash3 (FNV leaves the high bits poorly mixed).
pub(crate) fn hash(domain: &str, text: &str) -> u64 {
    let mut state: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in domain.bytes().chain([0xff]).chain(text.bytes()) {
        state = (state ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    state = (state ^ (state >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    state = (state ^ (state >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    state ^ (state >> 33)
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl FromStr for Mac {
    type Err = InvalidMac;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidMac(text.to_owned());
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts
                .next()
                .filter(|part| part.len() == 2 && !part.starts_with('+'))
                .ok_or_else(invalid)?;
            *byte = u8::from_str_radix(part, 16).map_err(|_| invalid())?;
        }
        if parts.next().is_some() {
            Err(invalid())
        } else {
            Ok(Self(bytes))
        }
    }
}

impl From<Mac> for String {
    fn from(mac: Mac) -> Self {
        mac.to_string()
    }
}

impl TryFrom<String> for Mac {
    type Error = InvalidMac;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_vtep_never_changes() {
        // Nodes of different builds must compute the same: these values are part of the protocol.
        let end = vtep("8c6e2f0a-1d53-4f6b-9c39-0e8f5a1b7d42");
        assert_eq!(end.address.to_string(), "fe80::cd41:cf3:7555:3ea7");
        assert_eq!(end.mac.to_string(), "7a:b1:8f:5f:93:a7");
    }

    #[test]
    fn malformed_macs_are_refused() {
        for text in [
            "",
            "02:00:00:00:00",
            "02:00:00:00:00:01:02",
            "2:0:0:0:0:1",
            "02:00:00:00:00:zz",
            "+2:00:00:00:00:01",
        ] {
            assert!(text.parse::<Mac>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn vteps_are_link_local_unicast_and_differ(a in "[0-9a-f-]{36}", b in "[0-9a-f-]{36}") {
            prop_assume!(a != b);
            let (a, b) = (vtep(&a), vtep(&b));
            prop_assert_eq!(&a.address.octets()[..8], &[0xfe, 0x80, 0, 0, 0, 0, 0, 0]);
            prop_assert_eq!(a.mac.0[0] & 3, 2);
            prop_assert_ne!(a.address, b.address);
            prop_assert_ne!(a.mac, b.mac);
        }

        #[test]
        fn macs_read_back(bytes: [u8; 6]) {
            prop_assert_eq!(Mac(bytes).to_string().parse(), Ok(Mac(bytes)));
        }
    }
}
