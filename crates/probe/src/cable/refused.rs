use std::net::IpAddr;

use super::Cable;

/// What becomes of handshakes that are not accepted: nothing but a reason to tell.
impl Cable {
    /// A handshake came from this address with a key that is none of our peers'. Ports do not count: handshakes may leave by any.
    pub fn handle_unknown_key(&mut self, from: IpAddr) {
        self.has_unknown_key |= self.targets().iter().any(|target| target.ip() == from);
    }

    /// An authentic handshake of the other end was older than one before.
    pub fn handle_old_handshake(&mut self) {
        self.old_handshakes = self.old_handshakes.saturating_add(1);
    }

    /// Whether that happens again and again, as it does when a clock went back. A network may repeat one now and then.
    pub(super) fn has_skewed_clock(&self) -> bool {
        self.old_handshakes >= REPEATED
    }
}

const REPEATED: u32 = 3;
