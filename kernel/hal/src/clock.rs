//! Time: monotonic from the time-stamp counter, the date from the hypervisor or a clock of the PC.
//!
//! Owns the frequency of the counter, and the conversion to [`Instant`]. KVM tells it, or the CPU;
//! where nobody does, it is measured against the 8254, in a window that begins with the node's time
//! ([`mark_origin`]), so that the kernel starts meanwhile. The date is KVM's, or the real-time
//! clock's ([`crate::rtc`]), whose seconds are whole. The local APIC timer, which
//! [`crate::timer`] needs where there is no better, is measured against the counter.

use crate::apic::{self, Register};
use crate::cpu::{cpuid, has_hypervisor, time_stamp};
use crate::kvmclock::{self, KvmClock};
use crate::{pit, rtc, timer};
use core::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
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
/// How long the counter is compared with the 8254: 5 ms, for an error of about a hundred parts in a
/// million, since both ends are found to some hundred nanoseconds.
const WINDOW_PIT_TICKS: u64 = pit::FREQUENCY_HZ / 200;
/// How long the local APIC timer is compared with the counter at least: both are read at once.
const APIC_WINDOW: Duration = Duration::from_millis(1);
/// A sample is the quickest of this many readings, so that a pause of the machine spoils none.
const READINGS: usize = 8;
/// Readings of the 8254 until its count must have changed, if it counts: it does each 838 ns.
const EDGE_READINGS_MAX: usize = 1000;
/// Readings without a change of the 8254 after which it is taken to be absent.
const STUCK_READINGS_MAX: u32 = 100_000;
/// How often the 8254 is tried. A host that lets the machine wait for longer than it counts, which
/// is 55 ms, spoils a window; a busy one may do so every few milliseconds, so each two tries are
/// half as long as those before, down to what is still good to a thousandth.
const WINDOWS_MAX: u32 = 40;
const WINDOW_HALVINGS_MAX: u32 = 4;

/// Frequencies, as far as they could be found out.
#[derive(Debug, Clone, Copy)]
pub struct Frequencies {
    /// Of the time-stamp counter.
    pub time_stamp_hz: u64,
    /// Of the local APIC timer as [`crate::timer`] divides it; 0 if nothing could measure it.
    pub apic_timer_hz: u64,
}

/// The counter and the 8254 at the beginning of a window.
#[derive(Debug)]
struct Window {
    open: AtomicBool,
    time_stamp: AtomicU64,
    pit_count: AtomicU16,
}

static WINDOW: Window = Window {
    open: AtomicBool::new(false),
    time_stamp: AtomicU64::new(0),
    pit_count: AtomicU16::new(0),
};

/// Marks the beginning of the node's time, before the frequency is known.
pub fn mark_origin() {
    ORIGIN.store(time_stamp(), Ordering::Relaxed);
    if told_by_cpu().is_none() && !kvmclock::is_there() {
        WINDOW.open();
    }
}

/// Finds out the frequencies and the date. Needs memory and the local APIC. `None` if neither the
/// CPU nor the hypervisor tells the counter's frequency, and no 8254 is there to measure it.
pub fn start() -> Option<Frequencies> {
    let apic_start = (!timer::has_deadline()).then(|| {
        timer::count_freely();
        sample(apic_count)
    });
    let kvm = KvmClock::ask();
    let told = kvm.as_ref().map(|kvm| kvm.time_stamp_hz).or_else(told_by_cpu);
    let measure = || {
        let halvings = |attempt: u32| (attempt / 2).min(WINDOW_HALVINGS_MAX);
        (0..WINDOWS_MAX).find_map(|attempt| WINDOW.measure(WINDOW_PIT_TICKS >> halvings(attempt)))
    };
    let time_stamp_hz = told.or_else(measure)?;
    NANOS_PER_TICK.store(fraction(NANOS_PER_SECOND, time_stamp_hz), Ordering::Relaxed);
    TICKS_PER_NANO.store(fraction(time_stamp_hz, NANOS_PER_SECOND), Ordering::Relaxed);
    let kvm_date = kvm.and_then(|kvm| kvm.since_1970(time_stamp()));
    let since_1970 = kvm_date.or_else(|| Some(rtc::seconds()?.saturating_mul(NANOS_PER_SECOND)));
    if let Some(nanos) = since_1970 {
        EPOCH_NANOS.store(nanos.saturating_sub(now().as_nanos()), Ordering::Relaxed);
    }
    log::debug!(
        "the time-stamp counter has {} kHz, {}; the date comes from {}",
        time_stamp_hz / 1000,
        if told.is_some() { "as the machine tells" } else { "measured" },
        if kvm_date.is_some() { "KVM" } else { "the real-time clock" },
    );
    let apic_timer_hz = apic_start.map_or(0, |start| apic_timer_hz(start, time_stamp_hz));
    Some(Frequencies { time_stamp_hz, apic_timer_hz })
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
    if has_hypervisor() && cpuid(0x4000_0000, 0).eax >= TIMING_LEAF {
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

/// Reads another clock and the counter at one moment, as nearly as can be.
fn sample<T: Copy + Default>(read: impl Fn() -> T) -> (u64, T) {
    let mut best = (u64::MAX, 0, T::default());
    for _ in 0..READINGS {
        let before = time_stamp();
        let count = read();
        let took = time_stamp() - before;
        if took < best.0 {
            best = (took, before + took / 2, count);
        }
    }
    (best.1, best.2)
}

/// Reads the 8254 and the counter where the 8254's count changes, which it does seldom.
fn sample_edge() -> (u64, u16) {
    let mut best = (u64::MAX, 0, 0);
    for _ in 0..READINGS {
        let mut before = pit::count();
        for _ in 0..EDGE_READINGS_MAX {
            let start = time_stamp();
            let count = pit::count();
            let took = time_stamp() - start;
            if count != before && took < best.0 {
                best = (took, start + took / 2, count);
            }
            if count != before {
                break;
            }
            before = count;
        }
    }
    (best.1, best.2)
}

impl Window {
    fn open(&self) {
        pit::start();
        let (time_stamp, count) = sample_edge();
        self.time_stamp.store(time_stamp, Ordering::Relaxed);
        self.pit_count.store(count, Ordering::Relaxed);
        self.open.store(true, Ordering::Relaxed);
    }

    /// Waits for the end of the window, after so many ticks of the 8254, and closes it. The
    /// counter's frequency; `None` if there is no 8254, or if it came to the end of its count
    /// meanwhile.
    fn measure(&self, pit_ticks: u64) -> Option<u64> {
        if !self.open.swap(false, Ordering::Relaxed) {
            self.open();
        }
        let first = self.pit_count.load(Ordering::Relaxed);
        let (mut last, mut stuck) = (first, 0);
        while u64::from(first.wrapping_sub(last)) < pit_ticks {
            let count = pit::count();
            stuck = if count == last { stuck + 1 } else { 0 };
            if stuck > STUCK_READINGS_MAX || pit::has_ended() {
                self.open.store(false, Ordering::Relaxed);
                return None;
            }
            last = count;
        }
        let (time_stamp, last) = sample_edge();
        let ended = pit::has_ended();
        self.open.store(false, Ordering::Relaxed);
        let passed = time_stamp.saturating_sub(self.time_stamp.load(Ordering::Relaxed));
        let hz = per_second(passed, u64::from(first.wrapping_sub(last)), pit::FREQUENCY_HZ);
        (!ended && hz != 0).then_some(hz)
    }
}

/// Ticks in a second, of which some passed while another clock of known frequency made others.
fn per_second(ticks: u64, others: u64, others_hz: u64) -> u64 {
    (u128::from(ticks) * u128::from(others_hz) / u128::from(others.max(1))) as u64
}

fn apic_count() -> u32 {
    apic::read(Register::CurrentCount)
}

/// The frequency of the local APIC timer, which has counted freely since the sample `start`.
fn apic_timer_hz((start, first): (u64, u32), time_stamp_hz: u64) -> u64 {
    while time_stamp() < start + ticks(APIC_WINDOW) {
        core::hint::spin_loop();
    }
    let (end, last) = sample(apic_count);
    per_second(u64::from(first.wrapping_sub(last)), end - start, time_stamp_hz)
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
    fn a_frequency_comes_from_another() {
        let hz = per_second(30_000_000, 11_932, pit::FREQUENCY_HZ);
        assert!(hz.abs_diff(3_000_000_000) < 100_000, "{hz}");
        assert_eq!(per_second(625_000, 30_000_000, 3_000_000_000), 62_500_000);
        assert_eq!(per_second(0, 0, 1), 0);
    }
}
