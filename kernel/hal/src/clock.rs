//! Time: monotonic from the time-stamp counter, the date from the real-time clock.
//!
//! Owns the measurement of the counter's frequency, told by the CPU or measured against the 8254,
//! and the conversion to [`Instant`]. The node's time starts with [`start`]'s first statement. The
//! local APIC timer is measured in the same window, since [`crate::timer`] needs it.

use crate::apic::{self, Register};
use crate::cpu::{cpuid, time_stamp};
use crate::{pit, rtc};
use core::sync::atomic::{AtomicU64, Ordering};
use craton_abi::{Duration, Instant};

/// The counter's value at `Instant::ZERO`.
static ORIGIN: AtomicU64 = AtomicU64::new(0);
/// Nanoseconds in a tick, with 32 bits of fraction; 0 until it is known.
static NANOS_PER_TICK: AtomicU64 = AtomicU64::new(0);
/// Ticks in a nanosecond, with 32 bits of fraction.
static TICKS_PER_NANO: AtomicU64 = AtomicU64::new(0);
/// Nanoseconds from 1970 to `Instant::ZERO`; 0 if the date is unknown.
static EPOCH_NANOS: AtomicU64 = AtomicU64::new(0);

const NANOS_PER_SECOND: u64 = 1_000_000_000;
/// How long clocks are compared: 10 ms, for an error of about a hundred parts in a million.
const WINDOW_PIT_TICKS: u64 = pit::FREQUENCY_HZ / 100;
/// A sample is the quickest of this many readings, so that a pause of the machine spoils none.
const READINGS: usize = 8;
/// Readings without a change of the 8254 after which it is taken to be absent.
const STUCK_READINGS_MAX: u32 = 100_000;

/// Frequencies, as far as they could be found out.
#[derive(Debug, Clone, Copy)]
pub struct Frequencies {
    /// Of the time-stamp counter.
    pub time_stamp_hz: u64,
    /// Of the local APIC timer as [`crate::timer`] divides it; 0 if nothing could measure it.
    pub apic_timer_hz: u64,
}

/// Marks the beginning of the node's time, before the frequency is known.
pub fn mark_origin() {
    ORIGIN.store(time_stamp(), Ordering::Relaxed);
}

/// Measures the clocks and reads the date. Needs the local APIC.
pub fn start() -> Frequencies {
    let told = told_by_cpu();
    let measured = measure();
    let time_stamp_hz = told
        .or(measured.map(|f| f.time_stamp_hz))
        .expect("the CPU tells its frequency or the machine has an 8254");
    let apic_timer_hz = measured.map_or(0, |f| f.apic_timer_hz);
    NANOS_PER_TICK.store(fraction(NANOS_PER_SECOND, time_stamp_hz), Ordering::Relaxed);
    TICKS_PER_NANO.store(fraction(time_stamp_hz, NANOS_PER_SECOND), Ordering::Relaxed);
    if let Some(seconds) = rtc::seconds() {
        let epoch = seconds.saturating_mul(NANOS_PER_SECOND).saturating_sub(now().as_nanos());
        EPOCH_NANOS.store(epoch, Ordering::Relaxed);
    }
    Frequencies { time_stamp_hz, apic_timer_hz }
}

/// The time since the node started; zero until [`start`] has run.
pub fn now() -> Instant {
    let ticks = time_stamp().saturating_sub(ORIGIN.load(Ordering::Relaxed));
    Instant::from_nanos(scale(ticks, NANOS_PER_TICK.load(Ordering::Relaxed)))
}

/// The time since 1970, UTC, if the machine has a clock that knows.
pub fn wall() -> Option<Duration> {
    let epoch = EPOCH_NANOS.load(Ordering::Relaxed);
    (epoch != 0).then(|| Duration::from_nanos(epoch.saturating_add(now().as_nanos())))
}

/// How long so many ticks of the time-stamp counter last; zero until [`start`] has run.
pub(crate) fn duration(ticks: u64) -> Duration {
    Duration::from_nanos(scale(ticks, NANOS_PER_TICK.load(Ordering::Relaxed)))
}

/// Ticks of the time-stamp counter in a duration.
pub(crate) fn ticks(duration: Duration) -> u64 {
    scale(duration.as_nanos(), TICKS_PER_NANO.load(Ordering::Relaxed))
}

/// `of / per` with 32 bits of fraction.
fn fraction(of: u64, per: u64) -> u64 {
    ((u128::from(of) << 32) / u128::from(per.max(1))) as u64
}

/// `value` times a number with 32 bits of fraction; saturates.
fn scale(value: u64, by: u64) -> u64 {
    u64::try_from((u128::from(value) * u128::from(by)) >> 32).unwrap_or(u64::MAX)
}

/// The counter's frequency as CPUID has it: leaf 0x15 (Intel SDM vol. 2A) with its crystal, or the
/// timing leaf that VMware began and other hypervisors follow.
fn told_by_cpu() -> Option<u64> {
    const TIMING_LEAF: u32 = 0x4000_0010;
    let hypervisor = cpuid(1, 0).ecx & (1 << 31) != 0;
    if hypervisor && cpuid(0x4000_0000, 0).eax >= TIMING_LEAF {
        let khz = u64::from(cpuid(TIMING_LEAF, 0).eax);
        if khz != 0 {
            return Some(khz * 1000);
        }
    }
    let leaf = cpuid(0x15, 0);
    let (denominator, numerator) = (u64::from(leaf.eax), u64::from(leaf.ebx));
    let crystal = u64::from(leaf.ecx);
    (denominator != 0 && numerator != 0 && crystal != 0).then(|| crystal * numerator / denominator)
}

#[derive(Debug, Clone, Copy)]
struct Sample {
    time_stamp: u64,
    apic_count: u32,
    pit_count: u16,
}

/// Reads the three clocks at one moment, as nearly as can be.
fn sample() -> Sample {
    let mut best = (u64::MAX, Sample { time_stamp: 0, apic_count: 0, pit_count: 0 });
    for _ in 0..READINGS {
        let before = time_stamp();
        let pit_count = pit::count();
        let apic_count = apic::read(Register::CurrentCount);
        let took = time_stamp() - before;
        if took < best.0 {
            let time_stamp = before + took / 2;
            best = (took, Sample { time_stamp, apic_count, pit_count });
        }
    }
    best.1
}

/// Measures against the 8254; `None` if there is none.
fn measure() -> Option<Frequencies> {
    crate::timer::count_freely();
    pit::start();
    let first = sample();
    let mut last_count = first.pit_count;
    let mut stuck = 0;
    let passed = |count: u16| u64::from(first.pit_count.wrapping_sub(count));
    while passed(last_count) < WINDOW_PIT_TICKS {
        let count = pit::count();
        stuck = if count == last_count { stuck + 1 } else { 0 };
        if stuck > STUCK_READINGS_MAX {
            return None;
        }
        last_count = count;
    }
    let second = sample();
    frequencies(first, second)
}

fn frequencies(first: Sample, second: Sample) -> Option<Frequencies> {
    let pit_ticks = u64::from(first.pit_count.wrapping_sub(second.pit_count));
    let per_second = |ticks: u64| {
        (u128::from(ticks) * u128::from(pit::FREQUENCY_HZ) / u128::from(pit_ticks.max(1))) as u64
    };
    let time_stamp_hz = per_second(second.time_stamp.saturating_sub(first.time_stamp));
    let apic_timer_hz = per_second(u64::from(first.apic_count.wrapping_sub(second.apic_count)));
    (pit_ticks != 0 && time_stamp_hz != 0).then_some(Frequencies { time_stamp_hz, apic_timer_hz })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fractions_convert_both_ways() {
        for hz in [1_000_000, 999_999_937, 2_995_200_000, 5_100_000_000] {
            let nanos_per_tick = fraction(NANOS_PER_SECOND, hz);
            let ticks_per_nano = fraction(hz, NANOS_PER_SECOND);
            let second = scale(hz, nanos_per_tick);
            assert!(second.abs_diff(NANOS_PER_SECOND) <= 2, "{hz}: {second}");
            let ticks = scale(NANOS_PER_SECOND, ticks_per_nano);
            assert!(ticks.abs_diff(hz) <= 2, "{hz}: {ticks}");
        }
        assert_eq!(scale(u64::MAX, fraction(8, 1)), u64::MAX);
        assert_eq!(scale(u64::MAX, 0), 0);
    }

    #[test]
    fn frequencies_come_from_two_samples() {
        let first = Sample { time_stamp: 1000, apic_count: u32::MAX, pit_count: 65_000 };
        let second = Sample {
            time_stamp: 1000 + 30_000_000,
            apic_count: u32::MAX - 625_000,
            pit_count: 65_000 - 11_932,
        };
        let found = frequencies(first, second).expect("time passed");
        assert!(found.time_stamp_hz.abs_diff(3_000_000_000) < 100_000);
        assert!(found.apic_timer_hz.abs_diff(62_500_000) < 10_000);
        assert!(frequencies(first, first).is_none());
    }
}
