use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use packet::VirtioNetHeader;
use packet::ecn::Ecn;

/// What one lane found and another is to handle: where the kernel could not know the lane, or a lane has no session yet.
///
/// This is the exception, and the only place where a lane waits for another; the queue is bounded, and its buffers are used again.
#[derive(Debug, Default)]
pub(crate) struct Strays(Mutex<Queue>);

/// What came with the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// A datagram at the cable port.
    Datagram {
        /// Its sender.
        from: SocketAddr,
        /// Its mark.
        ecn: Ecn,
    },
    /// A packet from the TUN device.
    Packet(VirtioNetHeader),
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<(Found, Vec<u8>)>,
    bytes: usize,
    spare: Vec<Vec<u8>>,
}

impl Strays {
    /// Appends; `None` if there is no room, and otherwise whether the queue was empty, so that its owner must be woken.
    pub(crate) fn put(&self, found: Found, bytes: &[u8]) -> Option<bool> {
        let mut queue = self.lock();
        if queue.waiting.len() == MAX_STRAYS || queue.bytes + bytes.len() > MAX_BYTES {
            return None;
        }
        let mut buffer = queue.spare.pop().unwrap_or_default();
        buffer.clear();
        buffer.extend_from_slice(bytes);
        let was_empty = queue.waiting.is_empty();
        queue.bytes += bytes.len();
        queue.waiting.push_back((found, buffer));
        Some(was_empty)
    }

    /// Takes the oldest.
    pub(crate) fn take(&self) -> Option<(Found, Vec<u8>)> {
        let mut queue = self.lock();
        let stray = queue.waiting.pop_front()?;
        queue.bytes -= stray.1.len();
        Some(stray)
    }

    /// Gives the buffer of one back.
    pub(crate) fn reuse(&self, buffer: Vec<u8>) {
        self.lock().spare.push(buffer);
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const MAX_STRAYS: usize = 256;
const MAX_BYTES: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    const PACKET: Found = Found::Packet(VirtioNetHeader {
        flags: 0,
        gso_type: 0,
        hdr_len: 0,
        gso_size: 0,
        csum_start: 0,
        csum_offset: 0,
    });

    #[test]
    fn order_is_kept_and_the_owner_is_woken_once() {
        let strays = Strays::default();
        assert_eq!(strays.put(PACKET, &[1]), Some(true));
        assert_eq!(strays.put(PACKET, &[2]), Some(false));
        for wanted in [1, 2] {
            let (_, bytes) = strays.take().unwrap();
            assert_eq!(bytes, [wanted]);
            strays.reuse(bytes);
        }
        assert_eq!(strays.take(), None);
        assert_eq!(strays.put(PACKET, &[3]), Some(true));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let strays = Strays::default();
        let taken = (0..1000).take_while(|_| strays.put(PACKET, &[0]).is_some()).count();
        assert_eq!(taken, MAX_STRAYS);
        let strays = Strays::default();
        let taken = (0..1000)
            .take_while(|_| strays.put(PACKET, &[0; 65_000]).is_some())
            .count();
        assert_eq!(taken, MAX_BYTES / 65_000);
    }
}
