//! Who may ask.

use std::net::IpAddr;

use model::PrefixSet;

/// The clients of a listener.
#[derive(Debug, Clone)]
pub enum Access {
    /// Whoever reaches it.
    Everyone,
    /// Those with an address in one of the prefixes; others are told REFUSED.
    Only(PrefixSet),
}

impl Access {
    /// Whether the client may ask. An IPv4 address is one also where it comes as an IPv6 address.
    pub(crate) fn admits(&self, client: IpAddr) -> bool {
        match self {
            Self::Everyone => true,
            Self::Only(prefixes) => prefixes.contains(client.to_canonical()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_prefixes_are_admitted() {
        let access = Access::Only(PrefixSet::parse(["192.0.2.0/24", "2001:db8::/48"]).unwrap());
        for (client, is_admitted) in [
            ("192.0.2.255", true),
            ("::ffff:192.0.2.1", true),
            ("192.0.3.1", false),
            ("2001:db8::1", true),
            ("2001:db8:1::1", false),
        ] {
            assert_eq!(access.admits(client.parse().unwrap()), is_admitted, "{client}");
        }
        assert!(!Access::Only(PrefixSet::default()).admits("127.0.0.1".parse().unwrap()));
        assert!(Access::Everyone.admits("192.0.3.1".parse().unwrap()));
    }
}
