//! One time for all CPUs.
//!
//! Owns the measurement of how far the time-stamp counter of a CPU that starts is from the boot
//! CPU's, and what is made of it. The CPU that starts asks, since it certainly runs then, and the
//! boot CPU answers while it waits for it. Most machines start all counters together; then what is
//! measured is less than what the measurement can tell, and nothing is corrected.

use core::sync::atomic::{AtomicU64, Ordering};

/// Exchanges between the two.
const ROUNDS: u64 = 8;

/// Where a CPU asks for the boot CPU's counter, and gets it.
#[derive(Debug)]
pub(super) struct Exchange {
    /// The round that is asked for.
    asked: AtomicU64,
    /// The round that is answered, and the boot CPU's counter in it.
    answered: AtomicU64,
    time_stamp: AtomicU64,
}

/// A CPU's counter before and after the boot CPU read its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Round {
    asked: u64,
    boot: u64,
    answered: u64,
}

impl Exchange {
    pub(super) const fn new() -> Self {
        Exchange {
            asked: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            time_stamp: AtomicU64::new(0),
        }
    }

    /// The boot CPU's part: answers if it is asked, by its counter's reading.
    pub(super) fn answer(&self, read: impl FnOnce() -> u64) {
        let round = self.asked.load(Ordering::Acquire);
        if round != self.answered.load(Ordering::Relaxed) {
            self.time_stamp.store(read(), Ordering::Relaxed);
            self.answered.store(round, Ordering::Release);
        }
    }

    /// The other CPU's part: what to add to its counter, read by `read`, to get the boot CPU's. It
    /// waits so many ticks for the first answer, and so many for all others: a round that is slow,
    /// since a host has paused a CPU, tells little.
    pub(super) fn measure(&self, first_max: u64, all_max: u64, read: impl Fn() -> u64) -> u64 {
        let mut until = read().saturating_add(first_max);
        let rounds = (1..=ROUNDS).map_while(|round| {
            let asked = read();
            self.asked.store(round, Ordering::Release);
            while self.answered.load(Ordering::Acquire) != round {
                if read() > until {
                    return None;
                }
                core::hint::spin_loop();
            }
            let answered = read();
            if round == 1 {
                until = answered.saturating_add(all_max);
            }
            Some(Round { asked, boot: self.time_stamp.load(Ordering::Relaxed), answered })
        });
        offset(rounds)
    }
}

/// What to add to the asking CPU's counter; 0 if the two may be equal, which is when the boot CPU's
/// reading can have been taken between the asking CPU's. The quickest round tells the most.
fn offset(rounds: impl Iterator<Item = Round>) -> u64 {
    let Some(best) = rounds.min_by_key(|r| r.answered.saturating_sub(r.asked)) else { return 0 };
    if (best.asked..=best.answered).contains(&best.boot) {
        return 0;
    }
    let middle = best.asked + best.answered.saturating_sub(best.asked) / 2;
    best.boot.wrapping_sub(middle)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    fn round(asked: u64, boot: u64, answered: u64) -> Round {
        Round { asked, boot, answered }
    }

    #[test]
    fn counters_that_may_be_equal_are_left_alone() {
        assert_eq!(offset([].into_iter()), 0, "nothing is known");
        assert_eq!(offset([round(100, 180, 200)].into_iter()), 0);
        assert_eq!(offset([round(100, 100, 200), round(300, 900, 900)].into_iter()), 0);
    }

    #[test]
    fn the_quickest_round_decides() {
        let slow = round(1000, 9000, 3000);
        assert_eq!(offset([slow, round(5000, 9000, 5100)].into_iter()), 9000 - 5050);
        let ahead = offset([round(5000, 50, 5100)].into_iter());
        assert_eq!(5050_u64.wrapping_add(ahead), 50);
        let far = offset([round(5000, 1 << 63, 5100)].into_iter());
        assert_eq!(5050_u64.wrapping_add(far), 1 << 63);
    }

    #[test]
    fn a_boot_cpu_that_answers_is_measured_and_one_that_does_not_is_given_up() {
        let (exchange, now) = (Exchange::new(), Cell::new(1000));
        // Every second reading of the counter the boot CPU, a million ticks ahead, has answered.
        let read = || {
            now.set(now.get() + 10);
            exchange.answer(|| now.get() + 1_000_000);
            now.get()
        };
        let found = exchange.measure(1000, 1000, read);
        assert!(found.abs_diff(1_000_000) <= 20, "{found}");
        let silent = Exchange::new();
        let reads = Cell::new(0_u64);
        let found = silent.measure(1000, 1000, || reads.replace(reads.get() + 1));
        assert_eq!(found, 0, "nothing is known");
    }
}
