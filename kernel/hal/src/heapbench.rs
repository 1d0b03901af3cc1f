//! What the heap's allocations cost, for `heapbench` on the command line.
//!
//! Owns the measurement and its lines, `bench heap.NAME VALUE ns`, which `make bench` reads. A
//! number is the mean of [`ROUNDS`] rounds of one allocation and one release of mixed sizes, while
//! a table of others stays live. What it costs to find a random place in that table is measured
//! too, without the heap, and taken off: under emulation that alone costs more with a large table.

use crate::memory::heap;
use crate::selftest::Dice;
use crate::{clock, serial};
use alloc::alloc::{alloc, dealloc, handle_alloc_error};
use alloc::vec::Vec;
use core::alloc::Layout;
use core::hint::black_box;
use craton_abi::Duration;

/// Allocations that are measured.
const ROUNDS: usize = 1_000_000;
const FEW: usize = 100;
const MANY: usize = 100_000;
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

/// How long [`ROUNDS`] rounds take with so many objects live.
fn measure(live: usize) -> Duration {
    let mut table = Table::new(live);
    let start = clock::now();
    (0..ROUNDS).for_each(|_| table.idle_round());
    let idle = clock::now();
    (0..ROUNDS).for_each(|_| table.round());
    let end = clock::now();
    Duration::from_nanos((end - idle).as_nanos().saturating_sub((idle - start).as_nanos()))
}

fn print(name: &str, took: Duration, rounds: usize) {
    let nanos = took.as_nanos() / rounds as u64;
    serial::write(format_args!("bench heap.{name} {nanos} ns\n"));
}

/// Measures and prints.
pub fn run() {
    print("live_100", measure(FEW), ROUNDS);
    print("live_100k", measure(MANY), ROUNDS);
    heap::trim();
}
