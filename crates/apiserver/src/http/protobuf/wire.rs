//! The bytes of a protobuf message: numbered fields, each a number or some bytes.

use thiserror::Error;

/// The fields of one message, in the order in which they come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Payload<'a> {
    Number(u64),
    /// A string, bytes or a message.
    Bytes(&'a [u8]),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(in crate::http) enum WireError {
    #[error("it ends in the middle of a field")]
    Cut,
    #[error("it has a number of more than 64 bits")]
    LongNumber,
    #[error("it has a field without a number")]
    NoField,
    #[error("its field {0} has wire type {1}, which Kubernetes does not use")]
    WireType(u32, u8),
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The next field's number and what it holds; none at the end.
    pub(super) fn next(&mut self) -> Result<Option<(u32, Payload<'a>)>, WireError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let tag = self.number()?;
        let field = u32::try_from(tag >> 3).map_err(|_| WireError::LongNumber)?;
        if field == 0 {
            return Err(WireError::NoField);
        }
        let payload = match (tag & 7) as u8 {
            0 => Payload::Number(self.number()?),
            2 => {
                let length = usize::try_from(self.number()?).map_err(|_| WireError::Cut)?;
                let (bytes, rest) = self.rest.split_at_checked(length).ok_or(WireError::Cut)?;
                self.rest = rest;
                Payload::Bytes(bytes)
            }
            other => return Err(WireError::WireType(field, other)),
        };
        Ok(Some((field, payload)))
    }

    /// Seven bits a byte, the lowest first; the top bit says that more follow.
    fn number(&mut self) -> Result<u64, WireError> {
        let mut number = 0;
        for place in 0..10 {
            let (&byte, rest) = self.rest.split_first().ok_or(WireError::Cut)?;
            self.rest = rest;
            if place == 9 && byte > 1 {
                break;
            }
            number |= u64::from(byte & 0x7f) << (7 * place);
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(WireError::LongNumber)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_come_one_by_one() {
        let mut reader = Reader::new(&[0x08, 0x96, 0x01, 0x12, 0x02, b'h', b'i']);
        assert_eq!(reader.next(), Ok(Some((1, Payload::Number(150)))));
        assert_eq!(reader.next(), Ok(Some((2, Payload::Bytes(b"hi")))));
        assert_eq!(reader.next(), Ok(None));
    }

    #[test]
    fn what_is_not_a_field_is_refused() {
        let first = |bytes: &[u8]| Reader::new(bytes).next().unwrap_err();
        assert_eq!(first(&[0x12, 0x05, b'h']), WireError::Cut);
        assert_eq!(first(&[0x08, 0x80]), WireError::Cut);
        assert_eq!(first(&[0xff; 11]), WireError::LongNumber);
        assert_eq!(first(&[0x00, 0x00]), WireError::NoField);
        assert_eq!(first(&[0x0d, 0, 0, 0, 0]), WireError::WireType(1, 5));
    }
}
