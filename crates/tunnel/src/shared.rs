use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use model::{CablePlan, GatewayId, PublicKey};
use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::counters::{DropReason, LaneCounters, Offloads, PeerCounters, PeerTotals};
use crate::engine::{CableStatus, Failovers, LaneTotals};
use crate::lane::{Found, Strays};

/// What the lanes and the rest of the process both see. On the way of a packet there are only atomics here.
pub(crate) struct Shared {
    lanes: Vec<LaneShared>,
    offloads: Offloads,
    failovers: Mutex<Failovers>,
    failure: Mutex<Option<String>>,
    stopping: AtomicBool,
    on_change: Box<dyn Fn() + Send + Sync>,
    pub(crate) public_key: PublicKey,
    pub(crate) port: u16,
}

struct LaneShared {
    counters: LaneCounters,
    cables: Mutex<Reported>,
    /// The newest plan that the lane has not taken yet.
    plan: Mutex<Option<Arc<CablePlan>>>,
    strays: Strays,
    wake: EventFd,
}

/// What a lane last said of its cables.
#[derive(Default)]
struct Reported {
    cables: Cables,
    /// What went through cables that are gone, so that the totals of a lane never fall.
    gone: PeerTotals,
}

type Cables = Vec<(CableStatus, Arc<PeerCounters>)>;

impl Shared {
    pub(crate) fn new(
        lanes: usize,
        public_key: PublicKey,
        port: u16,
        on_change: Box<dyn Fn() + Send + Sync>,
    ) -> io::Result<Self> {
        let lanes: Result<Vec<_>, _> = (0..lanes).map(|_| LaneShared::new()).collect();
        Ok(Self {
            lanes: lanes?,
            offloads: Offloads::default(),
            failovers: Mutex::default(),
            failure: Mutex::default(),
            stopping: AtomicBool::new(false),
            on_change,
            public_key,
            port,
        })
    }

    pub(crate) fn lanes(&self) -> usize {
        self.lanes.len()
    }

    pub(crate) fn counters(&self, lane: usize) -> &LaneCounters {
        &self.lanes[lane].counters
    }

    pub(crate) fn offloads(&self) -> &Offloads {
        &self.offloads
    }

    pub(crate) fn strays(&self, lane: usize) -> &Strays {
        &self.lanes[lane].strays
    }

    pub(crate) fn dropped(&self, reason: DropReason) -> u64 {
        self.lanes.iter().map(|lane| lane.counters.drops.of(reason)).sum()
    }

    /// Gives every lane the plan, in place of one that it has not taken yet.
    pub(crate) fn plan(&self, plan: &CablePlan) {
        let plan = Arc::new(plan.clone());
        for number in 0..self.lanes.len() {
            *lock(&self.lanes[number].plan) = Some(plan.clone());
            self.wake(number);
        }
    }

    pub(crate) fn take_plan(&self, lane: usize) -> Option<Arc<CablePlan>> {
        lock(&self.lanes[lane].plan).take()
    }

    /// False if the other lane has too much to do already.
    pub(crate) fn hand_over(&self, lane: usize, found: Found, bytes: &[u8]) -> bool {
        let Some(other) = self.lanes.get(lane) else {
            return false;
        };
        let was_empty = other.strays.put(found, bytes);
        if was_empty == Some(true) {
            self.wake(lane);
        }
        was_empty.is_some()
    }

    pub(crate) fn wake_fd(&self, lane: usize) -> &EventFd {
        &self.lanes[lane].wake
    }

    pub(crate) fn wake(&self, lane: usize) {
        if let Err(errno) = self.lanes[lane].wake.write(1) {
            tracing::debug!(%errno, lane, "the lane is being woken already");
        }
    }

    /// The lane is awake: from now on it must be woken again.
    pub(crate) fn slept(&self, lane: usize) {
        // Fails only when it was not woken.
        let _ = self.lanes[lane].wake.read();
    }

    pub(crate) fn stop(&self) {
        self.stopping.store(true, Relaxed);
        (0..self.lanes.len()).for_each(|lane| self.wake(lane));
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Relaxed)
    }

    /// The engine cannot go on. The first reason is kept.
    pub(crate) fn fail(&self, why: String) {
        lock(&self.failure).get_or_insert(why);
        self.changed();
    }

    pub(crate) fn failure(&self) -> Option<String> {
        lock(&self.failure).clone()
    }

    pub(crate) fn report(&self, lane: usize, cables: Cables) {
        let mut reported = lock(&self.lanes[lane].cables);
        let before = std::mem::replace(&mut reported.cables, cables);
        // Both are in order of gateways, and mostly the same.
        let mut now = reported.cables.iter().map(|(_, counters)| counters).peekable();
        let mut gone = PeerTotals::default();
        for (_, counters) in &before {
            if now.next_if(|other| Arc::ptr_eq(other, counters)).is_none()
                && !reported.cables.iter().any(|(_, other)| Arc::ptr_eq(other, counters))
            {
                gone += counters.totals();
            }
        }
        reported.gone += gone;
    }

    /// What a lane has done since the start.
    pub(crate) fn lane_totals(&self, lane: usize) -> LaneTotals {
        let counters = self.counters(lane);
        let reported = lock(&self.lanes[lane].cables);
        let mut totals = reported.gone;
        for (_, counters) in &reported.cables {
            totals += counters.totals();
        }
        LaneTotals {
            rx_packets: totals.rx_packets,
            rx_bytes: totals.rx_bytes,
            tx_packets: totals.tx_packets,
            tx_bytes: totals.tx_bytes,
            handshakes: totals.handshakes,
            hand_overs: counters.hand_overs(),
            drops: counters.drops.totals(),
        }
    }

    pub(crate) fn report_failovers(&self, failovers: Failovers) {
        *lock(&self.failovers) = failovers;
    }

    pub(crate) fn failovers(&self) -> Failovers {
        *lock(&self.failovers)
    }

    pub(crate) fn changed(&self) {
        (self.on_change)();
    }

    /// Every cable as its first lane sees it, with the totals of all lanes at this moment.
    pub(crate) fn cables(&self) -> Vec<(CableStatus, PeerTotals)> {
        let mut others: BTreeMap<GatewayId, (u16, PeerTotals)> = BTreeMap::new();
        for lane in self.lanes.iter().skip(1) {
            for (status, counters) in &lock(&lane.cables).cables {
                let (up, totals) = others.entry(status.connection.remote.clone()).or_default();
                *up |= status.lanes;
                *totals += counters.totals();
            }
        }
        let first = lock(&self.lanes[0].cables);
        let with_totals = first.cables.iter().map(|(status, counters)| {
            let mut status = status.clone();
            let mut totals = counters.totals();
            if let Some((up, of_others)) = others.get(&status.connection.remote) {
                status.lanes |= up;
                totals += *of_others;
            }
            status.connection.rx_bytes = totals.rx_bytes;
            status.connection.tx_bytes = totals.tx_bytes;
            status.drops = totals.drops;
            (status, totals)
        });
        with_totals.collect()
    }
}

impl LaneShared {
    fn new() -> io::Result<Self> {
        Ok(Self {
            counters: LaneCounters::default(),
            cables: Mutex::default(),
            plan: Mutex::default(),
            strays: Strays::default(),
            wake: EventFd::from_value_and_flags(0, EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)?,
        })
    }
}

/// A thread that panicked while it held the lock left whole values behind, for they are replaced whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
