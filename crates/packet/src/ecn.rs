//! Explicit congestion notification through a tunnel (RFC 6040): copied outwards, combined on the way in.
//!
//! The outer header of a cable says what the inner one says, so that a router on the way may mark instead of drop; at the far end the
//! mark is handed to the inner packet. Where the inner sender does not understand marks, a marked packet is dropped, as the
//! router would have done.

use crate::checksum::Checksum;

/// The two ECN bits (RFC 3168 §5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ecn {
    /// The transport does not understand marks.
    NotCapable = 0,
    /// Capable, with the codepoint of low-latency services (RFC 9331).
    Capable1 = 1,
    /// Capable.
    Capable0 = 2,
    /// Congestion was experienced.
    Congested = 3,
}

impl Ecn {
    /// The low two bits of a TOS or traffic class.
    pub fn from_bits(bits: u8) -> Self {
        match bits & 3 {
            0 => Self::NotCapable,
            1 => Self::Capable1,
            2 => Self::Capable0,
            _ => Self::Congested,
        }
    }

    /// What the header of a packet says; a packet that is not IP says nothing.
    pub fn of(packet: &[u8]) -> Self {
        match packet {
            [first, tos, ..] if first >> 4 == 4 => Self::from_bits(*tos),
            [first, class, ..] if first >> 4 == 6 => Self::from_bits(*class >> 4),
            _ => Self::NotCapable,
        }
    }
}

/// What becomes of a packet that leaves a tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It goes on as it is.
    Keep,
    /// It goes on with this in its header.
    Set(Ecn),
    /// It was marked on the way and its sender does not understand marks.
    Drop,
}

/// What the outer header says for an inner one (RFC 6040 §4.1, normal mode).
pub fn encapsulate(inner: Ecn) -> Ecn {
    inner
}

/// What becomes of an inner packet under an outer header (RFC 6040 §4.2, figure 4).
pub fn decapsulate(inner: Ecn, outer: Ecn) -> Decision {
    match (inner, outer) {
        (Ecn::NotCapable, Ecn::Congested) => Decision::Drop,
        (Ecn::Capable0, Ecn::Capable1) => Decision::Set(Ecn::Capable1),
        (Ecn::Capable0 | Ecn::Capable1, Ecn::Congested) => Decision::Set(Ecn::Congested),
        _ => Decision::Keep,
    }
}

/// Writes it into the header, and mends an IPv4 header's checksum (RFC 1624). A packet that is not IP is left alone.
pub fn set(packet: &mut [u8], ecn: Ecn) {
    match packet {
        [first, rest @ ..] if *first >> 4 == 4 && rest.len() >= 19 => {
            let old = u16::from_be_bytes([*first, rest[0]]);
            rest[0] = rest[0] & !3 | ecn as u8;
            let new = u16::from_be_bytes([*first, rest[0]]);
            let sum = u16::from_be_bytes([rest[9], rest[10]]);
            let mended = Checksum::new()
                .with_word(!sum)
                .without_word(old)
                .with_word(new)
                .finish();
            rest[9..11].copy_from_slice(&mended.to_be_bytes());
        }
        [first, class, ..] if *first >> 4 == 6 => *class = *class & 0xcf | (ecn as u8) << 4,
        _ => {}
    }
}

/// Applies the outer header's mark to the inner packet in place; false if the packet must be dropped.
#[must_use]
pub fn decapsulate_in_place(packet: &mut [u8], outer: Ecn) -> bool {
    match decapsulate(Ecn::of(packet), outer) {
        Decision::Keep => true,
        Decision::Set(ecn) => {
            set(packet, ecn);
            true
        }
        Decision::Drop => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ip::IpHeader;
    use crate::sample::Sample;
    use proptest::prelude::*;

    const ALL: [Ecn; 4] = [Ecn::NotCapable, Ecn::Capable0, Ecn::Capable1, Ecn::Congested];

    #[test]
    fn decapsulation_follows_figure_4_of_rfc_6040() {
        use Ecn::{Capable0, Capable1, Congested, NotCapable};
        // Rows by inner, columns by outer, both in the order of `ALL`; nothing is a drop.
        let figure = [
            [Some(NotCapable), Some(NotCapable), Some(NotCapable), None],
            [Some(Capable0), Some(Capable0), Some(Capable1), Some(Congested)],
            [Some(Capable1), Some(Capable1), Some(Capable1), Some(Congested)],
            [Some(Congested), Some(Congested), Some(Congested), Some(Congested)],
        ];
        for (inner, row) in ALL.into_iter().zip(figure) {
            for (outer, want) in ALL.into_iter().zip(row) {
                let got = match decapsulate(inner, outer) {
                    Decision::Keep => Some(inner),
                    Decision::Set(ecn) => Some(ecn),
                    Decision::Drop => None,
                };
                assert_eq!(got, want, "inner {inner:?}, outer {outer:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn a_mark_is_written_and_nothing_else_changes(v6: bool, tos: u8, which in 0usize..4) {
            let mut packet = Sample::of(v6, true).traffic_class(tos).payload(b"data").build();
            set(&mut packet, ALL[which]);
            prop_assert_eq!(Ecn::of(&packet), ALL[which]);
            prop_assert!(IpHeader::parse(&packet).is_ok());
            if !v6 {
                prop_assert_eq!(Checksum::new().with(&packet[..20]).finish(), 0);
            }
            set(&mut packet, Ecn::from_bits(tos));
            prop_assert_eq!(packet, Sample::of(v6, true).traffic_class(tos).payload(b"data").build());
        }

        #[test]
        fn no_input_panics(bytes: Vec<u8>, which in 0usize..4) {
            let mut bytes = bytes;
            let _ = decapsulate_in_place(&mut bytes, ALL[which]);
            set(&mut bytes, ALL[which]);
        }
    }
}
