//! Merging what came in pieces, so that the kernel takes a stretch of a stream in one write and one walk up its stack.
//!
//! The other side of [`segment`](crate::segment()), by the rules of the kernel's own receive offload (GRO): packets of one flow merge as
//! long as a later split would give back the very same packets. So the headers must agree in all but what counts on, every
//! checksum must be right, sizes are equal but for a shorter last one, and what demands attention (PSH, FIN) comes last.
//!
//! **In place.** A packet is decrypted where it will lie if it continues the flow that was seen last: its header over the last bytes
//! of that flow's buffer, so that its payload begins where the payload before it ends. The bytes under the header are kept aside
//! and put back. A wrong guess costs one copy of the packet; bulk traffic guesses right.
//!
//! ```text
//! buffer    │vnet│IP TCP│ payload 0 │ payload 1 │
//! spare                                 │ room for one packet ...
//! decrypted                             │IP TCP│ payload 2 │
//! committed │vnet│IP TCP│ payload 0 │ payload 1 │ payload 2 │
//! ```
//!
//! **Order.** A flow has at most one pending buffer. What does not merge with it is written after it: as the beginning of a new
//! one, or on its own. A fragment, or a packet with IP options or extension headers, is written after everything between the
//! same two addresses. Order between flows is nobody's promise.
//!
//! The arena is allocated once. Its pages cost memory when they are first used.

mod candidate;
mod pending;

use candidate::Candidate;
use pending::Pending;

use crate::virtio::VirtioNetHeader;

/// What may be merged; what a device does not take is left in pieces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Merge {
    /// TCP segments.
    pub tcp: bool,
    /// UDP datagrams, which needs a kernel that takes [`VirtioNetHeader::GSO_UDP_L4`] from a device (Linux 6.2).
    pub udp: bool,
}

/// Merges packets into what one write to a device takes.
///
/// For each packet: [`spare`](Self::spare), write it there, [`commit`](Self::commit). After a batch: [`flush`](Self::flush). The
/// sink gets a [`VirtioNetHeader`] and a packet, in one slice, as a device with `IFF_VNET_HDR` takes it.
#[derive(Debug)]
pub struct Coalescer {
    arena: Vec<u8>,
    slots: [Option<Pending>; SLOTS],
    landing: Option<Landing>,
    /// The slot that the last packet went to.
    last: Option<usize>,
    clock: u64,
    slot_len: usize,
    max_packet: usize,
    merge: Merge,
}

/// Where the packet is that was not committed yet.
#[derive(Debug, Clone, Copy)]
struct Landing {
    slot: usize,
    /// The packet's first byte in the slot.
    at: usize,
    /// What its header covers: nothing in an empty slot.
    covered: [u8; MAX_PLAIN_HEADER],
    covered_len: usize,
}

impl Coalescer {
    /// Allocates the arena. `max_packet` is how many bytes [`spare`](Self::spare) gives: what the decryption asks for, which may be more
    /// than the packet.
    pub fn new(max_packet: usize, merge: Merge) -> Self {
        // Room for the largest packet there is, and behind it for one that has not been merged yet.
        let slot_len = VirtioNetHeader::LEN + MAX_IP_PACKET + max_packet;
        Self {
            arena: vec![0; slot_len * SLOTS],
            slots: [const { None }; SLOTS],
            landing: None,
            last: None,
            clock: 0,
            slot_len,
            max_packet,
            merge,
        }
    }

    /// Changes what may be merged from now on.
    pub fn set_merge(&mut self, merge: Merge) {
        self.merge = merge;
    }

    /// Room for one packet, to be written from its first byte. What is not committed is forgotten by the next call.
    pub fn spare(&mut self) -> &mut [u8] {
        self.lift();
        let landing = self.choose_landing();
        self.landing = Some(landing);
        let start = landing.slot * self.slot_len + landing.at;
        &mut self.arena[start..start + self.max_packet]
    }

    /// The room that [`spare`](Self::spare) gave, with what was written to it, to be looked at before it is committed. Empty if
    /// there is none.
    pub fn landed(&mut self) -> &mut [u8] {
        let Some(landing) = self.landing else { return &mut [] };
        let start = landing.slot * self.slot_len + landing.at;
        &mut self.arena[start..start + self.max_packet]
    }

    /// Takes the packet of `len` bytes that was written to [`spare`](Self::spare): merges it, keeps it to be merged with, or hands it to
    /// the sink, with everything that has to come before it.
    pub fn commit(&mut self, len: usize, sink: &mut impl FnMut(&[u8])) {
        let Some(landing) = self.landing else { return };
        let packet = &self.slot(landing.slot)[landing.at..landing.at + len.min(self.max_packet)];
        let (candidate, len) = (Candidate::of(packet, self.merge), packet.len());
        let pending = candidate.as_ref().and_then(|candidate| self.find(candidate, packet));
        if let (Some(candidate), Some(slot)) = (&candidate, pending)
            && self.continues(slot, candidate, landing, len)
        {
            self.merge_into(slot, candidate, landing, len, sink);
            return;
        }
        let slot = self.move_to_own_slot(landing, len);
        match candidate {
            Some(candidate) => {
                if let Some(pending) = pending {
                    self.emit(pending, sink);
                }
                if candidate.may_start() && candidate.is_intact(&self.slot(slot)[VirtioNetHeader::LEN..][..len]) {
                    self.start(slot, candidate, len, sink);
                    return;
                }
            }
            None => self.emit_between_same_addresses(slot, len, sink),
        }
        sink(&self.slot(slot)[..VirtioNetHeader::LEN + len]);
    }

    /// Hands everything that is pending to the sink.
    pub fn flush(&mut self, sink: &mut impl FnMut(&[u8])) {
        self.lift();
        for slot in 0..SLOTS {
            self.emit(slot, sink);
        }
    }

    /// The tail of the flow that was seen last, or an empty slot: there always is one.
    fn choose_landing(&self) -> Landing {
        let mut landing = Landing {
            slot: self.empty_slot(),
            at: VirtioNetHeader::LEN,
            covered: [0; MAX_PLAIN_HEADER],
            covered_len: 0,
        };
        if let Some((slot, pending)) = self.last.and_then(|slot| Some((slot, self.slots[slot].as_ref()?))) {
            landing.slot = slot;
            landing.covered_len = pending.header().len();
            landing.at = VirtioNetHeader::LEN + pending.len() - landing.covered_len;
            landing.covered[..landing.covered_len]
                .copy_from_slice(&self.slot(slot)[landing.at..landing.at + landing.covered_len]);
        }
        landing
    }

    /// Puts back what a packet that was not committed covered.
    fn lift(&mut self) {
        if let Some(landing) = self.landing.take() {
            self.uncover(landing);
        }
    }

    fn uncover(&mut self, landing: Landing) {
        let covered = &landing.covered[..landing.covered_len];
        self.slot_mut(landing.slot)[landing.at..landing.at + covered.len()].copy_from_slice(covered);
    }

    fn find(&self, candidate: &Candidate, packet: &[u8]) -> Option<usize> {
        let is_same = |slot: &usize| {
            let pending = self.slots[*slot].as_ref();
            pending.is_some_and(|pending| pending.is_same_flow(candidate, packet))
        };
        // Most packets are of the flow that was seen last.
        self.last.filter(is_same).or_else(|| (0..SLOTS).find(is_same))
    }

    fn continues(&self, slot: usize, candidate: &Candidate, landing: Landing, len: usize) -> bool {
        let packet = &self.slot(landing.slot)[landing.at..landing.at + len];
        self.slots[slot]
            .as_ref()
            .is_some_and(|pending| pending.is_continued_by(candidate, packet))
            && candidate.is_intact(packet)
    }

    fn merge_into(
        &mut self,
        slot: usize,
        candidate: &Candidate,
        landing: Landing,
        len: usize,
        sink: &mut impl FnMut(&[u8]),
    ) {
        let Some(pending) = &mut self.slots[slot] else { return };
        let tail = slot * self.slot_len + VirtioNetHeader::LEN + pending.len();
        let at = landing.slot * self.slot_len + landing.at;
        let (header, payload) = (at..at + candidate.header_len, at + candidate.header_len..at + len);
        pending.extend(candidate, &self.arena[header]);
        if landing.slot != slot {
            self.arena.copy_within(payload, tail);
        }
        self.landing = None;
        self.uncover(landing);
        self.touch(slot);
        if self.slots[slot].as_ref().is_some_and(|pending| pending.is_complete()) {
            self.emit(slot, sink);
        }
    }

    /// Sees to it that the packet lies alone at the beginning of a slot, with an empty [`VirtioNetHeader`] before it.
    fn move_to_own_slot(&mut self, landing: Landing, len: usize) -> usize {
        let mut slot = landing.slot;
        if landing.covered_len > 0 {
            slot = self.empty_slot();
            let from = landing.slot * self.slot_len + landing.at;
            let to = slot * self.slot_len + VirtioNetHeader::LEN;
            self.arena.copy_within(from..from + len, to);
        }
        self.landing = None;
        self.uncover(landing);
        self.slot_mut(slot)[..VirtioNetHeader::LEN].fill(0);
        slot
    }

    fn start(&mut self, slot: usize, candidate: Candidate, len: usize, sink: &mut impl FnMut(&[u8])) {
        let packet = &self.slot(slot)[VirtioNetHeader::LEN..][..len];
        self.slots[slot] = Some(Pending::begin(packet, candidate));
        self.touch(slot);
        if self.slots.iter().all(Option::is_some) {
            let oldest = (0..SLOTS).min_by_key(|slot| self.slots[*slot].as_ref().map(|pending| pending.touched));
            self.emit(oldest.expect("there is at least one slot"), sink);
        }
    }

    fn touch(&mut self, slot: usize) {
        self.clock += 1;
        self.last = Some(slot);
        if let Some(pending) = &mut self.slots[slot] {
            pending.touched = self.clock;
        }
    }

    fn emit(&mut self, slot: usize, sink: &mut impl FnMut(&[u8])) {
        let Some(pending) = self.slots[slot].take() else { return };
        if self.last == Some(slot) {
            self.last = None;
        }
        let whole = &mut self.slot_mut(slot)[..VirtioNetHeader::LEN + pending.len()];
        pending.finish(whole);
        sink(whole);
    }

    fn emit_between_same_addresses(&mut self, with: usize, len: usize, sink: &mut impl FnMut(&[u8])) {
        for slot in 0..SLOTS {
            let packet = &self.slot(with)[VirtioNetHeader::LEN..][..len];
            let pending = self.slots[slot].as_ref();
            if pending.is_some_and(|pending| candidate::has_same_addresses(packet, pending.header())) {
                self.emit(slot, sink);
            }
        }
    }

    fn empty_slot(&self) -> usize {
        self.slots
            .iter()
            .position(Option::is_none)
            .expect("`start` leaves a slot empty")
    }

    fn slot(&self, slot: usize) -> &[u8] {
        &self.arena[slot * self.slot_len..][..self.slot_len]
    }

    fn slot_mut(&mut self, slot: usize) -> &mut [u8] {
        &mut self.arena[slot * self.slot_len..][..self.slot_len]
    }
}

/// Flows that are merged at a time, and one place for a packet of another.
const SLOTS: usize = 17;
/// Segments of one packet that the kernel splits again without complaint.
const MAX_SEGMENTS: usize = 64;
const MAX_IP_PACKET: usize = u16::MAX as usize;
/// IPv6 and TCP with all options.
const MAX_PLAIN_HEADER: usize = 40 + 60;

#[cfg(test)]
mod tests;
