//! What the heap's allocations cost, for `heapbench` on the command line.
//!
//! Owns the measurement and its lines, `bench heap.NAME VALUE ns`, which `make bench` reads. A
//! number is the mean of [`ROUNDS`] rounds of one allocation and one release of mixed sizes, while
//! a table of others stays live. What it costs to find a random place in that table is measured
//! too, without the heap, and taken off: under emulation that alone costs more with a large table.

use crate::selftest::Dice;
use crate::{clock, cpu, serial, smp};
use alloc::alloc::{alloc, dealloc, handle_alloc_error};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::alloc::Layout;
use core::hint::black_box;
use core::sync::atomic::{AtomicUsize, Ordering};
use craton_abi::Duration;

/// Allocations that are measured.
const ROUNDS: usize = 1_000_000;
const FEW: usize = 100;
const MANY: usize = 100_000;
/// Parts that are measured one by one, the best of which counts: the host has other work too.
const SLICES: usize = 20;
/// How often CPUs are measured together, for the same reason.
const TIMES: usize = 5;
const SEED: u64 = 7;

/// Live objects, one of which gives way to another in each round.
struct Table {
    dice: Dice,
    live: Vec<(*mut u8, Layout)>,
}

impl Table {
    fn new(live: usize) -> Self {
        let mut dice = Dice(SEED);
        let mut table = Vec::with_capacity(live);
        (0..live).for_each(|_| table.push(allocate(layout(&mut dice))));
        Table { dice, live: table }
    }

    /// Chooses an object and the layout of the one that takes its place.
    fn choose(&mut self) -> (usize, Layout) {
        (self.dice.below(self.live.len()), layout(&mut self.dice))
    }

    fn round(&mut self) {
        let (at, new) = self.choose();
        let (object, layout) = self.live[at];
        // SAFETY: A live object of the table, which forgets it.
        unsafe { dealloc(object, layout) };
        self.live[at] = allocate(new);
    }

    /// A round in which the objects only change places.
    fn idle_round(&mut self) {
        let (at, new) = self.choose();
        black_box(new);
        self.live[at] = black_box(self.live[at]);
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        for (object, layout) in self.live.drain(..) {
            // SAFETY: A live object of the table, which forgets it.
            unsafe { dealloc(object, layout) };
        }
    }
}

/// Mostly small, some up to 2 KiB, and one in fifty of whole pages.
fn layout(dice: &mut Dice) -> Layout {
    let bytes = match dice.below(50) {
        0 => 2049 + dice.below(6000),
        1..8 => 1 + dice.below(2048),
        _ => 1 + dice.below(400),
    };
    Layout::from_size_align(bytes, 8).unwrap_or(Layout::new::<u64>())
}

fn allocate(layout: Layout) -> (*mut u8, Layout) {
    // SAFETY: The layout has a size.
    let object = unsafe { alloc(layout) };
    if object.is_null() {
        handle_alloc_error(layout);
    }
    (object, layout)
}

/// How long [`ROUNDS`] rounds take with so many objects live, going by the best slice of them.
fn measure(live: usize) -> Duration {
    let mut table = Table::new(live);
    let mut best = |round: fn(&mut Table)| {
        let slices = (0..SLICES).map(|_| {
            let start = clock::now();
            (0..ROUNDS / SLICES).for_each(|_| round(&mut table));
            (clock::now() - start).as_nanos()
        });
        slices.min().unwrap_or(0) * SLICES as u64
    };
    let (idle, busy) = (best(Table::idle_round), best(Table::round));
    Duration::from_nanos(busy.saturating_sub(idle))
}

/// CPUs that are ready to begin, and that are through.
static READY: AtomicUsize = AtomicUsize::new(0);
static THROUGH: AtomicUsize = AtomicUsize::new(0);

/// One CPU's part: it begins when all `cpus` are ready and ends when all are through.
fn take_part(cpus: usize) -> Duration {
    let mut table = Table::new(FEW);
    let wait_for = |count: &AtomicUsize| {
        count.fetch_add(1, Ordering::AcqRel);
        while count.load(Ordering::Acquire) < cpus {
            core::hint::spin_loop();
        }
    };
    wait_for(&READY);
    let start = clock::now();
    (0..ROUNDS).for_each(|_| table.round());
    wait_for(&THROUGH);
    clock::now() - start
}

/// How long it takes until each of the first `cpus` CPUs has done its rounds: the best of [`TIMES`]
/// times.
fn measure_together(cpus: usize) -> Duration {
    let once = || {
        READY.store(0, Ordering::Release);
        THROUGH.store(0, Ordering::Release);
        for cpu in 1..cpus {
            smp::run_on(cpu, Box::new(move || _ = take_part(cpus)));
        }
        let took = take_part(cpus);
        while !(1..cpus).all(smp::is_idle) {
            core::hint::spin_loop();
        }
        took
    };
    (0..TIMES).map(|_| once()).min().unwrap_or(Duration::MAX)
}

fn print(name: &str, took: Duration, rounds: usize) {
    let nanos = took.as_nanos() / rounds as u64;
    serial::write(format_args!("bench heap.{name} {nanos} ns\n"));
}

/// Measures and prints. The last two lines are for the throughput of two CPUs against one's: the
/// time that passes for each round that any of them does.
pub fn run() {
    print("live_100", measure(FEW), ROUNDS);
    print("live_100k", measure(MANY), ROUNDS);
    for (name, cpus) in [("cpus_1", 1), ("cpus_2", 2)] {
        if cpus <= cpu::count() {
            print(name, measure_together(cpus), ROUNDS * cpus);
        }
    }
}
