use std::net::Ipv6Addr;

/// The Internet checksum (RFC 1071): the ones' complement of the ones' complement sum of big-endian 16-bit words.
///
/// Parts are added in order; every part but the last must have an even length, as all headers have.
#[derive(Debug, Clone, Copy, Default)]
pub struct Checksum(u64);

impl Checksum {
    /// The sum of nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// With these bytes added.
    #[must_use]
    pub fn with(self, bytes: &[u8]) -> Self {
        // The sum is the same in either byte order but for the order of its own two bytes (RFC 1071 §2 B).
        let sum = u16::from_be(fold(sum_in_machine_order(bytes)));
        Self(self.0 + u64::from(sum))
    }

    /// With one word added.
    #[must_use]
    pub(crate) fn with_word(self, word: u16) -> Self {
        Self(self.0 + u64::from(word))
    }

    /// With one word taken away that was added before.
    #[must_use]
    pub(crate) fn without_word(self, word: u16) -> Self {
        self.with_word(!word)
    }

    /// With the IPv6 pseudo header added (RFC 8200 §8.1).
    #[must_use]
    pub fn with_pseudo_header_v6(self, source: Ipv6Addr, destination: Ipv6Addr, protocol: u8, len: u32) -> Self {
        self.with(&source.octets())
            .with(&destination.octets())
            .with(&len.to_be_bytes())
            .with(&[0, 0, 0, protocol])
    }

    /// The checksum field's value. Over data whose checksum field is already right, this is 0.
    pub fn finish(self) -> u16 {
        !self.partial()
    }

    /// What a checksum field holds whose sum is to be completed by somebody else.
    pub(crate) fn partial(self) -> u16 {
        fold(self.0)
    }
}

/// Words of 64 bits are taken as two of 32, so that no carry is lost; four independent sums are what a compiler turns into
/// vector additions.
fn sum_in_machine_order(bytes: &[u8]) -> u64 {
    let (blocks, rest) = bytes.as_chunks::<32>();
    let mut sums = [0u64; 4];
    for block in blocks {
        let (words, _) = block.as_chunks::<8>();
        for (sum, word) in sums.iter_mut().zip(words) {
            let word = u64::from_ne_bytes(*word);
            *sum += (word & 0xffff_ffff) + (word >> 32);
        }
    }
    let (words, tail) = rest.as_chunks::<4>();
    let mut sum = sums.iter().sum::<u64>();
    for word in words {
        sum += u64::from(u32::from_ne_bytes(*word));
    }
    let mut last = [0; 4];
    last[..tail.len()].copy_from_slice(tail);
    sum + u64::from(u32::from_ne_bytes(last))
}

fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    // `sum` is below 2^16 here.
    sum as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_example_of_rfc_1071_holds() {
        let sum = Checksum::new()
            .with(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7])
            .finish();
        assert_eq!(sum, !0xddf2);
    }

    fn by_the_book(bytes: &[u8]) -> u16 {
        let mut sum = 0u32;
        for pair in bytes.chunks(2) {
            sum += u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !(sum as u16)
    }

    proptest! {
        #[test]
        fn equals_the_word_by_word_sum(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
            prop_assert_eq!(Checksum::new().with(&bytes).finish(), by_the_book(&bytes));
        }

        #[test]
        fn parts_of_even_length_add_up(left in proptest::collection::vec(any::<u16>(), 0..40), right: Vec<u8>) {
            let left: Vec<u8> = left.iter().flat_map(|word| word.to_be_bytes()).collect();
            let whole = [left.as_slice(), &right].concat();
            prop_assert_eq!(Checksum::new().with(&left).with(&right).finish(), Checksum::new().with(&whole).finish());
        }
    }
}
