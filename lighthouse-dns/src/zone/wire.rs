//! Names in wire form: labels, each after its length, and the empty label of the root.

use std::net::IpAddr;

/// A text as a whole name in lower case; `None` when it is none.
pub(crate) fn name(text: &str) -> Option<Box<[u8]>> {
    let mut name = relative(text.strip_suffix('.').unwrap_or(text))?.into_vec();
    name.push(0);
    (name.len() <= MAX_NAME).then(|| name.into_boxed_slice())
}

/// The labels of a text in lower case, without the root's; nothing for the empty text.
pub(crate) fn relative(text: &str) -> Option<Box<[u8]>> {
    let mut name = Vec::with_capacity(text.len() + 1);
    for label in text.split('.').filter(|_| !text.is_empty()) {
        let length = u8::try_from(label.len())
            .ok()
            .filter(|length| (1..=63).contains(length))?;
        name.push(length);
        name.extend(label.bytes().map(|byte| byte.to_ascii_lowercase()));
    }
    (name.len() < MAX_NAME).then(|| name.into_boxed_slice())
}

/// The name at which an address has its PTR record (RFC 1035 §3.5, RFC 3596 §2.5).
pub(crate) fn reverse(address: IpAddr) -> Option<Box<[u8]>> {
    let text = match address {
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        IpAddr::V6(address) => {
            let nibbles = address
                .octets()
                .into_iter()
                .rev()
                .flat_map(|byte| [byte & 15, byte >> 4]);
            nibbles.map(|nibble| format!("{nibble:x}.")).collect::<String>() + "ip6.arpa"
        }
    };
    name(&text)
}

/// Whether a label of this whole name starts at this place.
pub(crate) fn is_boundary(name: &[u8], place: usize) -> bool {
    let mut at = 0;
    while at < place {
        at += 1 + usize::from(name[at]);
    }
    at == place
}

/// Bytes of the longest name (RFC 1035 §3.1).
pub(crate) const MAX_NAME: usize = 255;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_labels_after_their_lengths() {
        assert_eq!(*name("A.bc.").unwrap(), *b"\x01a\x02bc\x00");
        assert_eq!(*relative("").unwrap(), *b"");
        for bad in ["a..b", ".a", &"a".repeat(64), &"abcd.".repeat(51)] {
            assert_eq!(name(bad), None, "{bad}");
        }
    }

    #[test]
    fn reverse_names() {
        let v4 = reverse("243.0.0.7".parse().unwrap()).unwrap();
        assert_eq!(v4, name("7.0.0.243.in-addr.arpa").unwrap());
        let v6 = reverse("fd00::1a".parse().unwrap()).unwrap();
        let text = format!("a.1.{}0.0.d.f.ip6.arpa", "0.".repeat(26));
        assert_eq!(v6, name(&text).unwrap());
    }

    #[test]
    fn a_label_that_only_ends_like_the_zone_is_no_boundary() {
        let inside = name("x.local").unwrap();
        assert!(is_boundary(&inside, 2) && is_boundary(&inside, 0));
        assert!(!is_boundary(&inside, 1));
    }
}
