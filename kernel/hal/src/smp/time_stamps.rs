//! One time for all CPUs.
//!
//! Owns the measurement of how far the time-stamp counters of the CPUs are apart, and what is made
//! of it. Most machines start all counters together; then what is measured is less than what the
//! measurement can tell, and nothing is corrected.

/// The boot CPU's counter before and after the other CPU read its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Exchange {
    asked: u64,
    other: u64,
    answered: u64,
}

/// What to add to the other CPU's counter to get the boot CPU's; 0 if they may be equal, which is
/// when the other's reading can have been taken between the boot CPU's. Of several exchanges the
/// quickest tells the most.
fn offset(exchanges: impl Iterator<Item = Exchange>) -> u64 {
    let Some(best) = exchanges.min_by_key(|e| e.answered.saturating_sub(e.asked)) else { return 0 };
    if (best.asked..=best.answered).contains(&best.other) {
        return 0;
    }
    let middle = best.asked + best.answered.saturating_sub(best.asked) / 2;
    middle.wrapping_sub(best.other)
}

#[cfg(feature = "metal")]
pub(super) use metal::equalise;

#[cfg(feature = "metal")]
mod metal {
    use super::{Exchange, offset};
    use crate::cpu::{self, own_time_stamp};
    use crate::{clock, smp};
    use alloc::boxed::Box;
    use alloc::sync::Arc;
    use core::sync::atomic::{AtomicU64, Ordering};
    use craton_abi::{Duration, Instant};
    use log::info;

    /// Exchanges with each CPU.
    const ROUNDS: u64 = 16;
    /// How long they may take: one that is slow, since a host has paused a CPU, tells little.
    const EXCHANGES_MAX: Duration = Duration::from_millis(1);
    /// How long the first may take.
    const FIRST_MAX: Duration = Duration::from_millis(500);
    /// Says that there will be no more rounds.
    const OVER: u64 = u64::MAX;

    #[derive(Default)]
    struct Table {
        /// The round that is asked for.
        asked: AtomicU64,
        /// The round that is answered, and the counter in it.
        answered: AtomicU64,
        time_stamp: AtomicU64,
    }

    /// Measures the counter of every other CPU and notes what to add to it.
    pub(in crate::smp) fn equalise() {
        for (index, data) in cpu::all().enumerate().skip(1) {
            let table = Arc::new(Table::default());
            let theirs = table.clone();
            smp::run_on(index, Box::new(move || answer(&theirs)));
            let offset = offset(exchanges(&table));
            table.asked.store(OVER, Ordering::Release);
            if offset != 0 {
                let ahead = offset.wrapping_neg().cast_signed();
                info!("the time-stamp counter of CPU {index} is {ahead} ticks ahead: corrected");
            }
            data.set_time_stamp_offset(offset);
            wait_while(clock::now() + FIRST_MAX, || !smp::is_idle(index));
        }
    }

    fn exchanges(table: &Table) -> impl Iterator<Item = Exchange> {
        let start = clock::now();
        let until = move |round| start + if round == 1 { FIRST_MAX } else { EXCHANGES_MAX };
        (1..=ROUNDS).map_while(move |round| exchange(table, round, until(round)))
    }

    fn exchange(table: &Table, round: u64, until: Instant) -> Option<Exchange> {
        let asked = own_time_stamp();
        table.asked.store(round, Ordering::Release);
        wait_while(until, || table.answered.load(Ordering::Acquire) != round);
        let answered = own_time_stamp();
        let other = table.time_stamp.load(Ordering::Relaxed);
        let came = table.answered.load(Ordering::Acquire) == round;
        came.then_some(Exchange { asked, other, answered })
    }

    fn wait_while(until: Instant, waits: impl Fn() -> bool) {
        while waits() && clock::now() < until {
            core::hint::spin_loop();
        }
    }

    /// The other CPU's part.
    fn answer(table: &Table) {
        let mut last = 0;
        while last != OVER {
            let round = table.asked.load(Ordering::Acquire);
            if round == last {
                core::hint::spin_loop();
                continue;
            }
            table.time_stamp.store(own_time_stamp(), Ordering::Relaxed);
            table.answered.store(round, Ordering::Release);
            last = round;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exchange(asked: u64, other: u64, answered: u64) -> Exchange {
        Exchange { asked, other, answered }
    }

    #[test]
    fn counters_that_may_be_equal_are_left_alone() {
        assert_eq!(offset([].into_iter()), 0, "nothing is known");
        assert_eq!(offset([exchange(100, 180, 200)].into_iter()), 0);
        assert_eq!(offset([exchange(100, 100, 200), exchange(300, 900, 900)].into_iter()), 0);
    }

    #[test]
    fn the_quickest_exchange_decides() {
        let slow = exchange(1000, 9000, 3000);
        assert_eq!(
            offset([slow, exchange(5000, 9000, 5100)].into_iter()),
            5050_u64.wrapping_sub(9000)
        );
        let behind = offset([exchange(5000, 50, 5100)].into_iter());
        assert_eq!(50_u64.wrapping_add(behind), 5050);
        // Counters that are half the range of the number apart.
        let far = offset([exchange(5000, 1 << 63, 5100)].into_iter());
        assert_eq!((1_u64 << 63).wrapping_add(far), 5050);
    }
}
