//! What is to be counted, in ranges, and what of it is done.
//!
//! Owns [`Work`], which knows no process: `lib.rs` says who holds a range. Every number below the
//! limit is in one range, and every range is counted once.

use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// Largest limit: the primes up to its root, which every worker holds, are 78,498.
pub const LIMIT_MAX: u64 = 1_000_000_000_000;
/// Numbers in a range: enough to be worth a message, and few enough to share them out evenly.
const RANGE_MIN: u64 = 1 << 16;
const RANGE_MAX: u64 = 1 << 26;
/// Ranges for each worker, so that the slow ones do not keep the others waiting at the end.
const RANGES_A_WORKER: u64 = 16;

/// Numbers from `start` to just below `end`.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Range {
    /// The first.
    pub start: u64,
    /// Behind the last.
    pub end: u64,
}

/// From a worker: it found so many in the range that it had, and wants another.
#[derive(Copy, Clone, Debug, Serialize, Deserialize)]
pub struct Done(pub u64);
craton::message!(Done = "primes.done");

/// What is left, and what was found.
#[derive(Debug)]
pub struct Work {
    limit: u64,
    range: u64,
    /// Where the next range begins.
    next: u64,
    /// Ranges whose holder was lost.
    lost: Vec<Range>,
    /// Numbers that are counted.
    counted: u64,
    primes: u64,
}

impl Work {
    /// All numbers below `limit`, for so many workers.
    pub fn new(limit: u64, workers: usize) -> Self {
        let ranges = (workers as u64 * RANGES_A_WORKER).max(1);
        let range = (limit / ranges).clamp(RANGE_MIN, RANGE_MAX);
        Work { limit, range, next: 0, lost: Vec::new(), counted: 0, primes: 0 }
    }

    /// A range that nobody holds, if there is one.
    pub fn next(&mut self) -> Option<Range> {
        if let Some(range) = self.lost.pop() {
            return Some(range);
        }
        let start = self.next;
        self.next = (start + self.range).min(self.limit);
        (start < self.next).then_some(Range { start, end: self.next })
    }

    /// A range was counted.
    pub fn done(&mut self, range: Range, primes: u64) {
        self.counted += range.end - range.start;
        self.primes += primes;
    }

    /// Whoever held a range is gone.
    pub fn lost(&mut self, range: Range) {
        self.lost.push(range);
    }

    /// Whether all is counted.
    pub fn is_done(&self) -> bool {
        self.counted == self.limit
    }

    /// Primes that were found.
    pub fn primes(&self) -> u64 {
        self.primes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_handed_out_once_and_again_if_it_is_lost() {
        for (limit, workers) in [(0, 1), (1, 8), (1_000_000, 0), (10_000_000, 3)] {
            let mut work = Work::new(limit, workers);
            let mut at = 0;
            while let Some(range) = work.next() {
                assert!(range.start == at && range.end > at && range.end <= limit);
                at = range.end;
                work.lost(range);
                assert_eq!(work.next(), Some(range));
                assert!(!work.is_done());
                work.done(range, 1);
            }
            assert!(at == limit && work.is_done());
        }
    }
}
