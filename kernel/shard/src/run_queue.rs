//! Who runs next: whoever has had the least of the CPU.
//!
//! Owns [`RunQueue`]. Each process has a virtual time, the CPU time charged to it; the smallest
//! runs first, and equals in order of arrival. A process that slept or is new starts at the
//! smallest virtual time that ran lately (the floor), so that it is served soon but cannot use up
//! what it did not use while it was away.

use alloc::collections::BinaryHeap;
use core::cmp::Reverse;
use craton_abi::{Duration, Slot};

/// Entries of processes that were killed while they stood in the queue stay until they come up,
/// or until the queue is this many times as long as there are runnable processes.
const STALE_FACTOR_MAX: usize = 2;
/// Below this length no queue is worth cleaning.
const LENGTH_MIN: usize = 64;

/// Names one entry: a process stands in the queue if the entry of its last turn is in it.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Ord, PartialOrd)]
pub(crate) struct Turn(u64);

#[derive(Debug)]
pub(crate) struct RunQueue {
    heap: BinaryHeap<Reverse<(Duration, Turn, Slot)>>,
    floor: Duration,
    turn: Turn,
}

impl RunQueue {
    pub(crate) fn new() -> Self {
        RunQueue { heap: BinaryHeap::new(), floor: Duration::ZERO, turn: Turn(0) }
    }

    /// The virtual time at which a new process starts.
    pub(crate) fn floor(&self) -> Duration {
        self.floor
    }

    /// Queues a process, lifting its virtual time to the floor.
    pub(crate) fn push(&mut self, slot: Slot, virtual_time: &mut Duration) -> Turn {
        *virtual_time = self.floor.max(*virtual_time);
        self.turn = Turn(self.turn.0 + 1);
        self.heap.push(Reverse((*virtual_time, self.turn, slot)));
        self.turn
    }

    /// Takes the next entry; the caller looks whether it still stands.
    pub(crate) fn pop(&mut self) -> Option<(Slot, Turn)> {
        let Reverse((virtual_time, turn, slot)) = self.heap.pop()?;
        self.floor = self.floor.max(virtual_time);
        Some((slot, turn))
    }

    /// Drops stale entries if they outnumber the `standing`.
    pub(crate) fn clean(&mut self, standing: usize, stands: impl Fn(Slot, Turn) -> bool) {
        if self.heap.len() > LENGTH_MIN + STALE_FACTOR_MAX * standing {
            self.heap.retain(|Reverse((_, turn, slot))| stands(*slot, *turn));
        }
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.heap.len()
    }
}
