//! What happens to a packet in one lane, decided without a device: [`Switch`] is handed packets, datagrams and the time, and acts
//! through a [`Wire`].
//!
//! The first lane has a cable to every peer, and decides which of them traffic goes to. The others, on a gateway that carries traffic, have
//! one to those that have as many lanes, and that traffic is meant to go to, and follow it; what they cannot send they hand over to the
//! first, so a lane that does not work costs speed and nothing else.
//!
//! * `tables`: prefix → cluster, cluster → live peer.
//! * `peer`: one cable: its `Tunn`, its liveness, its counters.
//! * `handshakes`, `crowd`, `ways`: what all lanes know together of handshakes, and of gateways in use.
//! * `outbound`: from the TUN device into a cable.
//! * `inbound`: from a socket to a peer, and out of its cable.

mod crowd;
mod handshakes;
mod inbound;
mod initiation;
mod outbound;
mod peer;
mod tables;
#[cfg(test)]
mod tests;
mod ways;

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use model::{CablePlan, ClusterId, GatewayId, PeerPlan, PublicKey};
use packet::VirtioNetHeader;
use packet::ecn::Ecn;
use probe::Pace;

use crate::counters::{Drops, PeerCounters};
use crate::engine::{CableStatus, Failovers};
use crate::key::PrivateKey;
use crate::udp::Remote;
pub(crate) use handshakes::Handshakes;
use peer::{Context, Peer};
use tables::Tables;
pub(crate) use ways::Ways;

/// Where packets leave the switch.
///
/// Bulk goes through rooms of the wire's own, so that a packet is sealed where it is sent from and opened where it is merged:
/// write to the room, then say what it is. A room that is asked for again is empty.
pub(crate) trait Wire {
    /// Sends a datagram on the underlay at once, after all that was sent before.
    fn send(&mut self, to: Remote, datagram: &[u8]) -> io::Result<()>;
    /// Hands a packet to the kernel through the TUN device at once.
    fn deliver(&mut self, packet: &[u8]) -> io::Result<()>;
    /// Room to seal a packet into, of at least [`ROOM`] bytes.
    fn seal_room(&mut self) -> &mut [u8];
    /// Sends the first `len` bytes of the room, soon, with others of their kind. The wire counts what fails, and says with a later one
    /// why an earlier one to the same address did.
    fn send_sealed(&mut self, to: Remote, ecn: Ecn, len: usize) -> io::Result<()>;
    /// Room to open a datagram into, of at least [`ROOM`] bytes.
    fn open_room(&mut self) -> &mut [u8];
    /// What was written to that room.
    fn opened(&mut self) -> &mut [u8];
    /// Hands the first `len` bytes of the room to the kernel, soon, with others of their flow. The wire counts what fails.
    fn deliver_opened(&mut self, len: usize);
    /// Gives a datagram of the cable port to the lane that it is for. The wire counts what fails.
    fn hand_over_datagram(&mut self, lane: usize, from: SocketAddr, ecn: Ecn, datagram: &[u8]);
    /// Gives what came from the TUN device to another lane. The wire counts what fails.
    fn hand_over_packet(&mut self, lane: usize, header: VirtioNetHeader, packet: &[u8]);
}

/// All cables of this gateway, and the tables between them and the TUN device.
pub(crate) struct Switch {
    key: PrivateKey,
    public_key: PublicKey,
    probe_address: Ipv6Addr,
    peers: Peers,
    tables: Tables,
    /// By source port: the peers by which deep probes go that do not go with the traffic; none where there is no cable.
    detours: HashMap<u16, Option<usize>>,
    /// Clusters that other gateways of ours have lost.
    doubts: BTreeSet<(GatewayId, ClusterId)>,
    mtu: u16,
    icmp_sources: Vec<IpAddr>,
    /// ICMP errors that may still be sent in this tick (RFC 4443 §2.4 f).
    icmp_budget: u32,
    /// Whether traffic comes this way, so that the cables in use are probed at the fast pace.
    carries: bool,
    lane: usize,
    /// How many lanes we run.
    lanes: usize,
    /// How many lanes each peer has with us, also those that have no cable in this one.
    lanes_of: HashMap<PublicKey, usize>,
    handshakes: Arc<Handshakes>,
    ways: Arc<Ways>,
    context: Context,
    drops: Arc<Drops>,
    changed: bool,
}

/// Peers by slot. The slot is the upper part of the receiver index that the other end addresses us by.
#[derive(Default)]
struct Peers {
    slots: Vec<Option<Peer>>,
    by_key: HashMap<PublicKey, usize>,
}

impl Switch {
    /// The switch of the lane of this number, of so many.
    pub(crate) fn new(
        key: PrivateKey,
        (lane, lanes): (usize, usize),
        (handshakes, ways): (Arc<Handshakes>, Arc<Ways>),
        drops: Arc<Drops>,
    ) -> Self {
        let public_key = key.public_key();
        Self {
            public_key,
            probe_address: model::probe_address(&public_key),
            peers: Peers::default(),
            tables: Tables::default(),
            detours: HashMap::new(),
            doubts: BTreeSet::new(),
            mtu: u16::MAX,
            icmp_sources: Vec::new(),
            icmp_budget: ICMP_PER_TICK,
            carries: false,
            lane,
            lanes,
            lanes_of: HashMap::new(),
            handshakes,
            ways,
            context: Context::new(&key, lane),
            key,
            drops,
            changed: true,
        }
    }

    /// Takes over a plan. Peers that are in it as they were are not touched.
    pub(crate) fn apply(&mut self, plan: &CablePlan, now: Instant) {
        self.context.says.role = plan.role;
        self.context.says.addresses.clone_from(&plan.addresses);
        self.carries = plan.carries || plan.role.active;
        self.mtu = plan.mtu;
        self.icmp_sources.clone_from(&plan.icmp_sources);
        self.lanes_of = plan
            .peers
            .iter()
            .map(|peer| (peer.public_key, usize::from(peer.lanes).max(1)))
            .collect();
        self.handshakes.retain(|key| self.lanes_of.contains_key(key));
        let lane = self.lane;
        let mine = || plan.peers.iter().filter(|peer| has_lane(plan, peer, lane));
        self.peers.retain(|peer| mine().any(|wanted| peer.is(wanted)));
        for wanted in mine() {
            if wanted.public_key == self.public_key {
                tracing::warn!(gateway = %wanted.gateway, "a peer has our own key: was a node's state copied? It gets no cable");
                continue;
            }
            match self.peers.by_key.get(&wanted.public_key).copied() {
                None if self.lane > 0 && !self.carries => {}
                None => {
                    let slot = self.peers.free_slot();
                    let peer = Peer::new(wanted, &self.key, slot, &self.context, now);
                    self.peers.insert(slot, peer);
                }
                Some(slot) => match self.peers.at_mut(slot) {
                    Some(peer) if peer.is(wanted) => peer.update(wanted, &self.public_key, now),
                    Some(peer) => tracing::warn!(
                        gateway = %wanted.gateway, other = %peer.gateway(),
                        "two peers have one key: was a node's state copied? Only the first gets a cable",
                    ),
                    None => {}
                },
            }
        }
        for peer in self.peers.slots.iter_mut().flatten() {
            let is_avoided = plan.avoid.contains(peer.gateway());
            let is_told = is_avoided && has_better(plan, peer.gateway());
            let is_suspected = plan.suspects.contains(peer.gateway());
            peer.set_verdict((is_avoided, is_told), is_suspected, now);
            let mut new_doubts = plan.doubts.difference(&self.doubts);
            if new_doubts.any(|(_, cluster)| *cluster == peer.gateway().cluster) {
                peer.cable.handle_doubt(now);
            }
        }
        self.doubts.clone_from(&plan.doubts);
        let slot_of = |gateway: &GatewayId| {
            let mut peers = self.peers.by_slot();
            peers.find(|(_, peer)| peer.gateway() == gateway).map(|(slot, _)| slot)
        };
        self.detours = plan
            .detours
            .iter()
            .map(|(port, gateway)| (*port, slot_of(gateway)))
            .collect();
        self.tables = Tables::new(plan, &self.peers, &self.tables);
        self.changed = true;
        self.refresh(now);
        if self.lane == 0 {
            // Another gateway may have come to the place of one that was used.
            self.ways.publish(self.tables.ways(&self.peers));
        }
    }

    /// Lets time pass: timers of every session, handshakes and probes that are due. To be called at [`Self::next_tick`].
    pub(crate) fn tick(&mut self, now: Instant, wire: &mut impl Wire) {
        self.icmp_budget = ICMP_PER_TICK;
        self.handshakes.tick(now);
        // Cables that carry traffic come first when many have to shake hands at once.
        let mut handshakes = HANDSHAKES_PER_TICK;
        let mut new_suspects = Vec::new();
        for chosen_first in [true, false] {
            for slot in 0..self.peers.slots.len() {
                let Some(peer) = self
                    .peers
                    .at_mut(slot)
                    .filter(|_| chosen_first == self.tables.is_chosen(slot))
                else {
                    continue;
                };
                let was_suspect = peer.cable.is_suspect();
                peer.tick(&mut handshakes, &mut self.context, &self.drops, now, wire);
                self.changed |= peer.take_change();
                if peer.cable.is_suspect() && !was_suspect {
                    new_suspects.push(slot);
                }
            }
        }
        for suspect in new_suspects {
            self.doubt_neighbours(suspect, now);
        }
        if self.lane > 0 && !self.carries {
            // The other end has closed it, for no traffic of its comes here.
            self.peers.retain(Peer::is_usable);
        }
        // A way may have settled just by time.
        self.changed |= self.choose(now);
        self.refresh(now);
    }

    /// When [`Self::tick`] is due: at the next deadline of a cable, or when the sessions' own timers want to be looked at.
    pub(crate) fn next_tick(&self, now: Instant) -> Instant {
        let deadlines = self.peers.iter().filter_map(|peer| peer.cable.poll_timeout());
        let earliest = deadlines.map(|(at, _)| at).min().unwrap_or(now + TICK);
        earliest.clamp(now + MIN_TICK, now + TICK)
    }

    /// Whether a state changed since this was last asked.
    pub(crate) fn take_change(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// How often traffic had to leave a dead cable.
    pub(crate) fn failovers(&self) -> Failovers {
        self.tables.failovers()
    }

    /// What is known of every cable, by gateway, and where its traffic is counted.
    pub(crate) fn status(&self, now: Instant) -> Vec<(CableStatus, Arc<PeerCounters>)> {
        let mut peers: Vec<(usize, &Peer)> = self.peers.by_slot().collect();
        peers.sort_by_key(|(_, peer)| peer.gateway());
        let status = |(slot, peer): (usize, &Peer)| {
            let status = CableStatus {
                is_used: self.tables.in_use().any(|used| used == slot),
                ..peer.status(self.mtu, now)
            };
            (status, peer.counters().clone())
        };
        peers.into_iter().map(status).collect()
    }

    /// A gateway that traffic goes to seems to be gone: its neighbours, which are asked only now and then, may be too.
    fn doubt_neighbours(&mut self, suspect: usize, now: Instant) {
        if self.lane > 0 || !self.carries || !self.tables.in_use().any(|used| used == suspect) {
            return;
        }
        let Some(gateway) = self.peers.at(suspect).map(|peer| peer.gateway().clone()) else {
            return;
        };
        for peer in self.peers.slots.iter_mut().flatten() {
            if peer.gateway().cluster == gateway.cluster && *peer.gateway() != gateway {
                peer.cable.handle_doubt(now);
            }
        }
    }

    fn refresh(&mut self, now: Instant) {
        if !self.changed {
            return;
        }
        self.choose(now);
        let all = self.peers.iter().count();
        // The first lane finds out for all whether a gateway is alive; the others look after themselves, less often.
        let is_fast = self.carries && self.lane == 0;
        let in_use = if is_fast { self.tables.in_use().count() } else { 0 };
        let idle = if self.lane == 0 { all - in_use } else { all * self.lanes };
        for slot in 0..self.peers.slots.len() {
            let is_used = self.carries && self.tables.in_use().any(|used| used == slot);
            let pace = match self.lane {
                0 => Pace::of(is_used, in_use, idle),
                _ if is_used => Pace::lane(idle),
                _ => Pace::of(false, 0, idle),
            };
            if let Some(peer) = self.peers.at_mut(slot) {
                peer.set_pace(pace, now);
            }
        }
    }

    /// Points every cluster at the gateway that its traffic goes to. True if that moved any.
    fn choose(&mut self, now: Instant) -> bool {
        if self.lane > 0 {
            let (ways, version) = self.ways.current();
            return self.tables.follow(&ways, version, &self.peers);
        }
        let before: Vec<usize> = self.tables.in_use().collect();
        let moved = self.tables.choose(&self.peers, now);
        if moved {
            // What took one gateway away may have taken its neighbour too, and a standby is asked only now and then.
            for slot in self.tables.in_use().filter(|slot| !before.contains(slot)) {
                if let Some(peer) = self.peers.at_mut(slot) {
                    peer.cable.handle_doubt(now);
                }
            }
            self.ways.publish(self.tables.ways(&self.peers));
        }
        moved
    }
}

impl Peers {
    fn iter(&self) -> impl Iterator<Item = &Peer> {
        self.slots.iter().flatten()
    }

    fn by_slot(&self) -> impl Iterator<Item = (usize, &Peer)> {
        let slots = self.slots.iter().enumerate();
        slots.filter_map(|(slot, peer)| Some((slot, peer.as_ref()?)))
    }

    fn at(&self, slot: usize) -> Option<&Peer> {
        self.slots.get(slot)?.as_ref()
    }

    fn at_mut(&mut self, slot: usize) -> Option<&mut Peer> {
        self.slots.get_mut(slot)?.as_mut()
    }

    fn free_slot(&self) -> usize {
        self.slots.iter().position(Option::is_none).unwrap_or(self.slots.len())
    }

    fn insert(&mut self, slot: usize, peer: Peer) {
        self.by_key.insert(*peer.public_key(), slot);
        if slot == self.slots.len() {
            self.slots.push(Some(peer));
        } else {
            self.slots[slot] = Some(peer);
        }
    }

    fn retain(&mut self, keep: impl Fn(&Peer) -> bool) {
        for slot in &mut self.slots {
            if let Some(peer) = slot.take_if(|peer| !keep(peer)) {
                self.by_key.remove(peer.public_key());
            }
        }
    }
}

/// Whether a peer has a cable in a lane: in the first always, in others if it has that many, and if traffic for its cluster goes to it.
fn has_lane(plan: &CablePlan, peer: &PeerPlan, lane: usize) -> bool {
    let chosen = plan.chosen.get(&peer.gateway.cluster);
    lane == 0 || lane < usize::from(peer.lanes) && chosen.is_none_or(|chosen| *chosen == peer.gateway)
}

/// Whether the cluster of a gateway that is avoided has one that is not. If it has none, what is broken lies behind all of them, and
/// nothing gets better when one gives up its role.
fn has_better(plan: &CablePlan, avoided: &GatewayId) -> bool {
    let mut others = plan.peers.iter().map(|peer| &peer.gateway);
    others.any(|other| other.cluster == avoided.cluster && !plan.avoid.contains(other))
}

/// `true` for the addresses that probes use (see [`model::probe_address`]); no packet of anyone else may carry one.
fn is_reserved(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.octets().starts_with(&PROBE_PREFIX))
}

/// The largest datagram, and what WireGuard adds to the largest packet.
pub(crate) const ROOM: usize = 65_535 + 32;
const PROBE_PREFIX: [u8; 4] = [0xfd, 0x74, 0x6f, 0x6d];
/// boringtun's timers count in the time of the last call, so it may not lie far back.
const TICK: Duration = Duration::from_millis(100);
const MIN_TICK: Duration = Duration::from_millis(5);
const ICMP_PER_TICK: u32 = 100;
/// A handshake is some curve arithmetic; more than this at once would hold up the packets.
const HANDSHAKES_PER_TICK: u32 = 32;
