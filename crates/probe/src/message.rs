use std::net::{IpAddr, Ipv6Addr};

use model::ProbeRole;

use crate::reach::Reach;

/// One probe datagram. Numbers are big-endian.
///
/// ```text
///   0        1      2       3           4          8       16      24     26         28            32           34       36
/// ┌─────────┬──────┬───────┬───────────┬──────────┬───────┬───────┬──────┬──────────┬─────────────┬────────────┬────────┐
/// │ version │ kind │ flags │ addresses │ sequence │ epoch │ stamp │ size │ lanes    │ clusters of │ live bytes │ 0      │
/// └─────────┴──────┴───────┴───────────┴──────────┴───────┴───────┴──────┴──────────┴─────────────┴────────────┴────────┘
///  36: live clusters, a bit each; MTU of every cluster whose bit is set, 2 bytes each; addresses, 16 bytes each; padding
/// ```
///
/// `flags`: 1 the sender is active, 2 it is draining, 4 it does not hear the receiver, 8 it sends traffic over this path,
/// 16 what it sends gets lost behind the receiver, 32 the answer is to be as large as the question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Question or answer.
    pub kind: MessageKind,
    /// Counts the requests of one end; an answer repeats it.
    pub sequence: u32,
    /// The asker's own time; an answer repeats it. Means nothing to anyone else.
    pub stamp: u64,
    /// Bytes of the whole inner packet of a request whose size matters, else 0. An answer repeats it.
    pub size: u16,
    /// The sender hears nothing of the receiver.
    pub is_deaf: bool,
    /// Packets that the sender sends by way of the receiver get lost behind it.
    pub finds_broken: bool,
    /// The answer to this request of a size is to have that size too. An answer repeats it.
    pub wants_size_back: bool,
    /// What the sender says of itself.
    pub says: Says,
}

/// What an end says of itself in every probe.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Says {
    /// Its role.
    pub role: ProbeRole,
    /// It sends traffic over this path.
    pub uses: bool,
    /// Lanes on which it hears the receiver, a bit each; 0 says nothing about them.
    pub lanes: u16,
    /// The clusters that it reaches.
    pub reach: Reach,
    /// Addresses in the pod network that answer deep probes, at most [`MAX_ADDRESSES`].
    pub addresses: Vec<IpAddr>,
}

/// Question or answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageKind {
    /// Asks for a reply.
    Request,
    /// Answers a request.
    Reply,
}

/// Why a datagram is not a probe that this version reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Shorter than its fixed part, or than the lists that it announces.
    #[error("the probe is cut short")]
    Truncated,
    /// Of a version that this build does not know.
    #[error("probe version {0} is not known; this build reads version {VERSION}")]
    UnknownVersion(u8),
    /// Neither request nor reply.
    #[error("probe kind {0} is not known")]
    UnknownKind(u8),
}

impl Message {
    /// The answer to this request.
    pub fn reply(&self, says: Says) -> Self {
        Self {
            kind: MessageKind::Reply,
            says,
            is_deaf: false,
            finds_broken: false,
            ..*self
        }
    }

    /// Writes the message into `buffer`, replacing what was there. Lists that are too long are cut.
    pub fn encode(&self, buffer: &mut Vec<u8>) {
        let says = &self.says;
        let (live, mtus) = says.reach.as_parts();
        let addresses = &says.addresses[..says.addresses.len().min(MAX_ADDRESSES)];
        let flags = [
            (ACTIVE, says.role.active),
            (DRAINING, says.role.draining),
            (DEAF, self.is_deaf),
            (USES, says.uses),
            (BROKEN, self.finds_broken),
            (SIZE_BACK, self.wants_size_back),
        ];
        let flags = flags
            .into_iter()
            .filter(|(_, set)| *set)
            .fold(0, |all, (flag, _)| all | flag);
        let kind = match self.kind {
            MessageKind::Request => REQUEST,
            MessageKind::Reply => REPLY,
        };
        buffer.clear();
        // Cut to fit just above.
        buffer.extend_from_slice(&[VERSION, kind, flags, addresses.len() as u8]);
        buffer.extend_from_slice(&self.sequence.to_be_bytes());
        buffer.extend_from_slice(&says.role.epoch.to_be_bytes());
        buffer.extend_from_slice(&self.stamp.to_be_bytes());
        buffer.extend_from_slice(&self.size.to_be_bytes());
        buffer.extend_from_slice(&says.lanes.to_be_bytes());
        buffer.extend_from_slice(&says.reach.digest().to_be_bytes());
        // `Reach` is bounded.
        buffer.extend_from_slice(&(live.len() as u16).to_be_bytes());
        buffer.extend_from_slice(&[0, 0]);
        buffer.extend_from_slice(live);
        for mtu in mtus {
            buffer.extend_from_slice(&mtu.to_be_bytes());
        }
        for address in addresses {
            let v6 = match address {
                IpAddr::V4(v4) => v4.to_ipv6_mapped(),
                IpAddr::V6(v6) => *v6,
            };
            buffer.extend_from_slice(&v6.octets());
        }
    }

    /// Reads a message.
    ///
    /// # Errors
    /// When the bytes are not a message of the version that this build reads.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        match bytes.first() {
            None => return Err(DecodeError::Truncated),
            Some(&VERSION) => {}
            Some(&other) => return Err(DecodeError::UnknownVersion(other)),
        }
        let mut rest = bytes;
        let [_, kind, flags, addresses] = take(&mut rest)?;
        let kind = match kind {
            REQUEST => MessageKind::Request,
            REPLY => MessageKind::Reply,
            other => return Err(DecodeError::UnknownKind(other)),
        };
        let sequence = u32::from_be_bytes(take(&mut rest)?);
        let epoch = u64::from_be_bytes(take(&mut rest)?);
        let stamp = u64::from_be_bytes(take(&mut rest)?);
        let size = u16::from_be_bytes(take(&mut rest)?);
        let lanes = u16::from_be_bytes(take(&mut rest)?);
        let digest = u32::from_be_bytes(take(&mut rest)?);
        let live_len = usize::from(u16::from_be_bytes(take(&mut rest)?));
        let [_, _] = take(&mut rest)?;
        let (live, mut rest) = rest.split_at_checked(live_len).ok_or(DecodeError::Truncated)?;
        let count: u32 = live.iter().map(|byte| byte.count_ones()).sum();
        let mtus = (0..count)
            .map(|_| take(&mut rest).map(u16::from_be_bytes))
            .collect::<Result<_, _>>()?;
        let addresses = (0..addresses)
            .map(|_| take(&mut rest).map(|octets: [u8; 16]| Ipv6Addr::from(octets).to_canonical()))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            kind,
            sequence,
            stamp,
            size,
            is_deaf: flags & DEAF != 0,
            finds_broken: flags & BROKEN != 0,
            wants_size_back: flags & SIZE_BACK != 0,
            says: Says {
                role: ProbeRole {
                    active: flags & ACTIVE != 0,
                    draining: flags & DRAINING != 0,
                    epoch,
                },
                uses: flags & USES != 0,
                lanes,
                reach: Reach::from_parts(digest, live.to_vec(), mtus),
                addresses,
            },
        })
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], DecodeError> {
    let (first, others) = rest.split_first_chunk().ok_or(DecodeError::Truncated)?;
    *rest = others;
    Ok(*first)
}

/// A message names at most so many addresses.
pub const MAX_ADDRESSES: usize = 4;
const VERSION: u8 = 2;
const REQUEST: u8 = 1;
const REPLY: u8 = 2;
const ACTIVE: u8 = 1;
const DRAINING: u8 = 2;
const DEAF: u8 = 4;
const USES: u8 = 8;
const BROKEN: u8 = 16;
const SIZE_BACK: u8 = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn message(kind: MessageKind, numbers: (u32, u64, u64), small: (u16, u16), flags: [bool; 6]) -> Message {
        let [active, draining, is_deaf, uses, finds_broken, wants_size_back] = flags;
        Message {
            kind,
            sequence: numbers.0,
            stamp: numbers.1,
            size: small.0,
            is_deaf,
            finds_broken,
            wants_size_back,
            says: Says {
                role: ProbeRole {
                    active,
                    draining,
                    epoch: numbers.2,
                },
                uses,
                lanes: small.1,
                ..Says::default()
            },
        }
    }

    proptest! {
        #[test]
        fn what_is_encoded_decodes_whatever_padding_follows(
            reply: bool, numbers: (u32, u64, u64), small: (u16, u16), flags: [bool; 6],
            mtus in proptest::collection::vec(proptest::option::of(any::<u16>()), 0..300),
            addresses in proptest::collection::vec(any::<IpAddr>(), 0..MAX_ADDRESSES), padding: Vec<u8>,
        ) {
            let kind = if reply { MessageKind::Reply } else { MessageKind::Request };
            let mut message = message(kind, numbers, small, flags);
            let ids: Vec<_> = (0..mtus.len()).map(|index| format!("c{index:03}").parse().unwrap()).collect();
            message.says.reach = Reach::new(ids.iter().zip(mtus));
            message.says.addresses = addresses.iter().map(IpAddr::to_canonical).collect();
            let mut bytes = Vec::new();
            message.encode(&mut bytes);
            bytes.extend(padding);
            prop_assert_eq!(Message::decode(&bytes), Ok(message));
        }

        #[test]
        fn random_bytes_never_panic(bytes: Vec<u8>, versioned: bool) {
            let mut bytes = bytes;
            if versioned && let Some(first) = bytes.first_mut() {
                *first = VERSION;
            }
            let _ = Message::decode(&bytes);
        }
    }

    #[test]
    fn each_defect_has_its_name() {
        let mut bytes = Vec::new();
        let mut message = message(MessageKind::Request, (1, 2, 3), (0, 0), [false; 6]);
        message.says.addresses = vec![Ipv6Addr::LOCALHOST.into()];
        message.encode(&mut bytes);
        assert_eq!(Message::decode(&bytes[..bytes.len() - 1]), Err(DecodeError::Truncated));
        assert_eq!(Message::decode(&[]), Err(DecodeError::Truncated));
        bytes[1] = 3;
        assert_eq!(Message::decode(&bytes), Err(DecodeError::UnknownKind(3)));
        bytes[0] = 1;
        assert_eq!(Message::decode(&bytes), Err(DecodeError::UnknownVersion(1)));
    }
}
