//! Packets cost no memory: an allocator that counts what the threads of an engine ask for.

use std::alloc::{GlobalAlloc, Layout, System};
use std::fs;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::Instant;

use nix::unistd::gettid;

use crate::bed::{Bed, Side, must_skip, wait_until};
use crate::traffic::{assert_echo, noise, transfer, udp};

/// The system's, with an eye on some threads.
struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
/// Threads that are watched; 0 is none.
static WATCHED: [AtomicI32; 4] = [const { AtomicI32::new(0) }; 4];

// SAFETY: every call is passed on as it is; what is counted beside it allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the same promises to us.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the same promises to us.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, len: usize) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the same promises to us.
        unsafe { System.realloc(pointer, layout, len) }
    }
}

fn count() {
    if WATCHED[0].load(Relaxed) != 0 {
        let thread = gettid().as_raw();
        if WATCHED.iter().any(|watched| watched.load(Relaxed) == thread) {
            ALLOCATIONS.fetch_add(1, Relaxed);
        }
    }
}

/// The lanes of a side's engine: threads of that name in that namespace, for other tests have lanes too.
fn lanes_of(side: &Side) -> Vec<i32> {
    let namespace = side
        .namespace
        .run(|| fs::read_link("/proc/thread-self/ns/net").unwrap());
    let is_lane = |task: &fs::DirEntry| {
        let name = fs::read_to_string(task.path().join("comm")).unwrap_or_default();
        let of = fs::read_link(task.path().join("ns/net")).ok();
        name.starts_with("tombolo-lane-") && of.as_ref() == Some(&namespace)
    };
    let tasks = fs::read_dir("/proc/self/task").unwrap().flatten().filter(is_lane);
    tasks
        .map(|task| task.file_name().to_str().unwrap().parse().unwrap())
        .collect()
}

#[test]
fn packets_cost_no_memory() {
    if must_skip(None) {
        return;
    }
    let bed = Bed::with_lanes(0, 2);
    let bytes = noise(8 << 20);
    // Once without being watched, for what is made at the first use.
    transfer(&bed.east, &bed.west, 0, &bytes);
    let threads: Vec<i32> = [&bed.east, &bed.west].into_iter().flat_map(lanes_of).collect();
    assert_eq!(threads.len(), WATCHED.len());
    for (watched, thread) in WATCHED.iter().zip(&threads).rev() {
        watched.store(*thread, Relaxed);
    }
    let begin = Instant::now();
    transfer(&bed.east, &bed.west, 0, &bytes);
    // Datagrams that wait for each other come one by one, so that each is a turn of a loop at both ends.
    thread::scope(|scope| {
        for _ in 0..FLOWS {
            let (east, west) = (udp(&bed.east, 0), udp(&bed.west, 0));
            scope.spawn(move || (0..ROUND_TRIPS).for_each(|_| assert_echo(&east, &west)));
        }
    });
    let allocations = ALLOCATIONS.load(Relaxed);
    // What time costs: timers, probes, and a report every second.
    let by_time = begin.elapsed().as_millis() as u64 * PER_SECOND / 1000;
    // Their reports are counted, so packets would have been.
    wait_until("the threads have asked for memory", || ALLOCATIONS.load(Relaxed) > 0);
    WATCHED.iter().for_each(|watched| watched.store(0, Relaxed));
    let handled = FLOWS * ROUND_TRIPS * 4;
    assert!(
        allocations < by_time + handled / 50,
        "{allocations} allocations for {handled} packets"
    );
}

const FLOWS: u64 = 4;
const ROUND_TRIPS: u64 = 5000;
const PER_SECOND: u64 = 500;
