//! Who runs next: whoever has had the least of the CPU.
//!
//! Owns [`RunQueue`]. Each process has a virtual time, the CPU time charged to it divided by its
//! share; the smallest runs first, and equals in order of arrival. A process that slept or is new
//! starts at the smallest virtual time that ran lately (the floor), so that it is served soon but
//! cannot use up what it did not use while it was away.

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

impl Turn {
    /// No entry's.
    pub(crate) const NONE: Turn = Turn(0);
}

/// Virtual time, turn and slot: the smallest runs next.
type Entry = (Duration, Turn, Slot);

/// Room for so many is kept when the queue is empty, not for as many as there ever were.
const KEPT_MAX: usize = 256;

/// Where all that use the CPU start. Who runs first has no time at all, and is before them.
const START: Duration = Duration::from_nanos(1);

#[derive(Debug)]
pub(crate) struct RunQueue {
    /// An entry that none in the heap is before. Most of the time few processes are runnable, and
    /// whoever was readied last runs next: then nothing is sorted.
    front: Option<Entry>,
    heap: BinaryHeap<Reverse<Entry>>,
    floor: Duration,
    turn: Turn,
}

impl RunQueue {
    pub(crate) fn new() -> Self {
        RunQueue { front: None, heap: BinaryHeap::new(), floor: START, turn: Turn(0) }
    }

    /// The virtual time at which a new process starts.
    pub(crate) fn floor(&self) -> Duration {
        self.floor
    }

    /// Queues a process, lifting its virtual time to the floor.
    #[inline]
    pub(crate) fn push(&mut self, slot: Slot, virtual_time: &mut Duration) -> Turn {
        *virtual_time = self.floor.max(*virtual_time);
        self.insert(slot, *virtual_time)
    }

    /// Queues a process before all that have used any time, whatever it has used itself.
    pub(crate) fn push_first(&mut self, slot: Slot) -> Turn {
        self.insert(slot, Duration::ZERO)
    }

    #[inline]
    fn insert(&mut self, slot: Slot, virtual_time: Duration) -> Turn {
        self.turn = Turn(self.turn.0 + 1);
        let entry = (virtual_time, self.turn, slot);
        match self.front {
            None if self.heap.peek().is_none_or(|Reverse(least)| entry < *least) => {
                self.front = Some(entry);
            }
            Some(front) if entry < front => {
                self.heap.push(Reverse(front));
                self.front = Some(entry);
            }
            _ => self.heap.push(Reverse(entry)),
        }
        self.turn
    }

    /// Takes the next entry; the caller looks whether it still stands.
    #[inline]
    pub(crate) fn pop(&mut self) -> Option<(Slot, Turn)> {
        let (virtual_time, turn, slot) = match self.front.take() {
            Some(front) => front,
            None => self.pop_heap()?,
        };
        self.floor = self.floor.max(virtual_time);
        Some((slot, turn))
    }

    fn pop_heap(&mut self) -> Option<Entry> {
        let Reverse(entry) = self.heap.pop()?;
        if self.heap.is_empty() && self.heap.capacity() > KEPT_MAX {
            self.heap = BinaryHeap::new();
        }
        Some(entry)
    }

    /// Drops stale entries if they outnumber the `standing`.
    pub(crate) fn clean(&mut self, standing: usize, stands: impl Fn(Slot, Turn) -> bool) {
        if self.heap.len() > LENGTH_MIN + STALE_FACTOR_MAX * standing {
            // A stale entry at the front is one, and comes up next.
            self.heap.retain(|Reverse((_, turn, slot))| stands(*slot, *turn));
        }
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.heap.len() + usize::from(self.front.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use craton_abi::ShardId;

    #[test]
    fn entries_come_up_in_order_of_time_and_then_of_arrival() {
        for seed in 0..200_u64 {
            let mut random = seed;
            let mut next = || {
                random = (random ^ 0x9e37_79b9)
                    .wrapping_mul(0xbf58_476d_1ce4_e5b9)
                    .rotate_left(23)
                    .wrapping_add(seed);
                random >> 8
            };
            let mut queue = RunQueue::new();
            let mut plain: Vec<(Duration, Turn, Slot)> = Vec::new();
            for index in 0..200 {
                let slot = Slot::new(ShardId::new(0), index, 1).expect("in range");
                if next() % 5 < 3 {
                    let mut time = Duration::from_nanos(next() % 50 + u64::from(index));
                    let turn = queue.push(slot, &mut time);
                    plain.push((time, turn, slot));
                } else {
                    let least = plain.iter().min().copied();
                    plain.retain(|entry| Some(*entry) != least);
                    assert_eq!(queue.pop(), least.map(|(_, turn, slot)| (slot, turn)), "{seed}");
                }
                assert_eq!(queue.len(), plain.len());
            }
        }
    }
}
