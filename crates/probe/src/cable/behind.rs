use std::net::IpAddr;
use std::time::Instant;

use super::Cable;

/// What a cable knows and is told of what lies behind its other end.
impl Cable {
    /// Whether packets get lost behind the other end, as deep probes find.
    pub fn handle_deep(&mut self, finds_broken: bool) {
        self.finds_broken = finds_broken;
    }

    /// Whether large packets seem to get lost behind the other end: whether it is the cable that loses them is tried at once.
    pub fn handle_suspicion(&mut self, is_suspected: bool, now: Instant) {
        if is_suspected == self.suspected.is_some() {
            return;
        }
        self.suspected = is_suspected.then_some(now);
        if is_suspected {
            self.path_mtu.handle_doubt(now);
        }
    }

    /// Nodes behind the other end that answer deep probes.
    pub fn remote_addresses(&self) -> &[IpAddr] {
        self.remote.as_ref().map_or(&[], |remote| &remote.addresses)
    }

    /// Whether the other end, which is connected, says that packets get lost behind us.
    pub fn is_called_broken(&self) -> bool {
        self.state.is_usable() && self.remote.as_ref().is_some_and(|remote| remote.finds_broken)
    }

    /// The latest time at which a packet as large as [`Self::mtu`] set out and arrived at the other end.
    pub fn whole_at(&self) -> Option<Instant> {
        self.path_mtu.passed_at().filter(|_| self.state.is_usable())
    }

    /// A packet of full size has passed since that was doubted.
    pub fn is_exonerated(&self) -> bool {
        self.suspected.is_some_and(|since| self.whole_at() >= Some(since))
    }
}
