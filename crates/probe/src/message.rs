use model::ProbeRole;

/// One probe datagram. Numbers are big-endian.
///
/// ```text
///  0        1      2        3     4          8         16        24           26        28
/// ┌─────────┬──────┬────────┬─────┬──────────┬─────────┬─────────┬────────────┬─────────┬────────────────┬─────────
/// │ version │ kind │ active │ 0   │ sequence │ epoch   │ stamp   │ live bytes │ 0       │ live clusters  │ padding
/// └─────────┴──────┴────────┴─────┴──────────┴─────────┴─────────┴────────────┴─────────┴────────────────┴─────────
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message<'a> {
    /// Question or answer.
    pub kind: MessageKind,
    /// Counts the requests of one end; an answer repeats it.
    pub sequence: u32,
    /// What the sender says of itself.
    pub role: ProbeRole,
    /// The asker's own time; an answer repeats it. Means nothing to anyone else.
    pub stamp: u64,
    /// A bitmap of the clusters that the sender reaches; empty says nothing about that.
    pub live: &'a [u8],
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
    /// Shorter than its fixed part, or than the bitmap that it announces.
    #[error("the probe is cut short")]
    Truncated,
    /// Of a version that this build does not know.
    #[error("probe version {0} is not known; this build reads version {VERSION}")]
    UnknownVersion(u8),
    /// Neither request nor reply.
    #[error("probe kind {0} is not known")]
    UnknownKind(u8),
}

impl<'a> Message<'a> {
    /// The answer to this request, by an end with this role.
    pub fn reply(&self, role: ProbeRole, live: &'a [u8]) -> Self {
        Self {
            kind: MessageKind::Reply,
            role,
            live,
            ..*self
        }
    }

    /// Writes the message into `buffer`, replacing what was there. A bitmap longer than 65,535 bytes is cut.
    pub fn encode(&self, buffer: &mut Vec<u8>) {
        let live = &self.live[..self.live.len().min(usize::from(u16::MAX))];
        let kind = match self.kind {
            MessageKind::Request => REQUEST,
            MessageKind::Reply => REPLY,
        };
        buffer.clear();
        buffer.extend_from_slice(&[VERSION, kind, u8::from(self.role.active), 0]);
        buffer.extend_from_slice(&self.sequence.to_be_bytes());
        buffer.extend_from_slice(&self.role.epoch.to_be_bytes());
        buffer.extend_from_slice(&self.stamp.to_be_bytes());
        // Cut to fit just above.
        buffer.extend_from_slice(&(live.len() as u16).to_be_bytes());
        buffer.extend_from_slice(&[0, 0]);
        buffer.extend_from_slice(live);
    }

    /// Reads a message.
    ///
    /// # Errors
    /// When the bytes are not a message of the version that this build reads.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        match bytes.first() {
            None => return Err(DecodeError::Truncated),
            Some(&VERSION) => {}
            Some(&other) => return Err(DecodeError::UnknownVersion(other)),
        }
        let (fixed, rest) = bytes.split_first_chunk::<FIXED>().ok_or(DecodeError::Truncated)?;
        let kind = match fixed[1] {
            REQUEST => MessageKind::Request,
            REPLY => MessageKind::Reply,
            other => return Err(DecodeError::UnknownKind(other)),
        };
        let live_len = usize::from(u16::from_be_bytes([fixed[24], fixed[25]]));
        Ok(Self {
            kind,
            sequence: u32::from_be_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]),
            role: ProbeRole {
                active: fixed[2] & 1 == 1,
                epoch: be_u64(fixed, 8),
            },
            stamp: be_u64(fixed, 16),
            live: rest.get(..live_len).ok_or(DecodeError::Truncated)?,
        })
    }
}

fn be_u64(fixed: &[u8; FIXED], at: usize) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&fixed[at..at + 8]);
    u64::from_be_bytes(bytes)
}

const VERSION: u8 = 1;
const REQUEST: u8 = 1;
const REPLY: u8 = 2;
const FIXED: usize = 28;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_encoded_decodes_whatever_padding_follows(
            reply: bool, sequence: u32, active: bool, epoch: u64, stamp: u64, live: Vec<u8>, padding: Vec<u8>,
        ) {
            let kind = if reply { MessageKind::Reply } else { MessageKind::Request };
            let message = Message { kind, sequence, role: ProbeRole { active, epoch }, stamp, live: &live };
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
        let role = ProbeRole::default();
        Message {
            kind: MessageKind::Request,
            sequence: 1,
            role,
            stamp: 2,
            live: &[1, 2],
        }
        .encode(&mut bytes);
        assert_eq!(Message::decode(&bytes[..29]), Err(DecodeError::Truncated));
        assert_eq!(Message::decode(&[]), Err(DecodeError::Truncated));
        bytes[1] = 3;
        assert_eq!(Message::decode(&bytes), Err(DecodeError::UnknownKind(3)));
        bytes[0] = 2;
        assert_eq!(Message::decode(&bytes), Err(DecodeError::UnknownVersion(2)));
    }
}
