//! The generation of the kernel's nftables ruleset: a number that every transaction, whoever makes it, moves by one
//! (`NFT_MSG_GETGEN` of linux/netfilter/nf_tables.h).

use std::io;

use netlink_packet_core::{NLM_F_REQUEST, NlasIterator};
use rtnetlink::sys::protocols::NETLINK_NETFILTER;

use crate::netlink::{Netlink, Raw};

/// A socket to ask on.
pub(crate) fn open() -> io::Result<Netlink> {
    Netlink::open_for(NETLINK_NETFILTER)
}

/// The generation now.
pub(crate) async fn read(netfilter: &Netlink) -> io::Result<u32> {
    let request = Raw {
        kind: NFT_MSG_GETGEN,
        payload: vec![0; HEADER],
    };
    let answer = netfilter.ask(request, NLM_F_REQUEST).await?;
    answer
        .as_ref()
        .and_then(|answer| parse(&answer.payload))
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the kernel told no ruleset generation"))
}

fn parse(payload: &[u8]) -> Option<u32> {
    let attributes = NlasIterator::new(payload.get(HEADER..)?);
    let id = attributes.flatten().find(|attribute| attribute.kind() == NFTA_GEN_ID)?;
    id.value().try_into().ok().map(u32::from_be_bytes)
}

/// `NFNL_SUBSYS_NFTABLES` in the upper byte.
const NFT_MSG_GETGEN: u16 = 10 << 8 | 16;
/// family, version, resource id (2 bytes)
const HEADER: usize = 4;
const NFTA_GEN_ID: u16 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generation_is_found_among_other_attributes() {
        let answer = [&[0, 0, 0, 0][..], &[8, 0, 2, 0, 0, 0, 0, 9], &[8, 0, 1, 0, 0, 0, 1, 2]].concat();
        assert_eq!(parse(&answer), Some(0x0102));
        assert_eq!(parse(&answer[..4]), None);
        assert_eq!(parse(&[]), None);
    }
}
