//! The one-shot timer of a CPU, and sleeping until something happens.
//!
//! Owns the local APIC timer (Intel SDM vol. 3, 11.5.4), in TSC-deadline mode where the CPU has it,
//! and [`halt_unless`]. The timer raises [`crate::interrupt::TIMER_VECTOR`] once each time it is
//! armed.

use crate::apic::{self, LVT_MASKED, Register};
use crate::clock::{self, Frequencies};
use crate::cpu::{cpuid, current, time_stamp, to_own_time_stamp};
use crate::interrupt::{TIMER_VECTOR, cpu as cpu_local};
use crate::memory::tlb;
use core::sync::atomic::{AtomicU64, Ordering};
use craton_abi::Duration;
use x86_64::instructions::interrupts;
use x86_64::registers::model_specific::Msr;

/// IA32_TSC_DEADLINE.
const DEADLINE_MSR: u32 = 0x6e0;
/// Local vector table, timer: fire when the time-stamp counter reaches the MSR.
const LVT_TSC_DEADLINE: u32 = 2 << 17;
/// Divide configuration: by 16. A count of 32 bits then lasts a minute on a bus of 1 GHz.
const DIVIDE_BY_16: u32 = 0b0011;

/// Timer ticks in a nanosecond with 32 bits of fraction; 0 in TSC-deadline mode.
static COUNTS_PER_NANO: AtomicU64 = AtomicU64::new(0);

/// Lets the timer count down without an interrupt, for [`crate::clock`] to measure it.
pub(crate) fn count_freely() {
    apic::write(Register::DivideConfiguration, DIVIDE_BY_16);
    apic::write(Register::LvtTimer, LVT_MASKED);
    apic::write(Register::InitialCount, u32::MAX);
}

/// Whether the timer compares with the time-stamp counter itself, and needs no frequency.
pub(crate) fn has_deadline() -> bool {
    cpuid(1, 0).ecx & (1 << 24) != 0
}

/// Sets the timer up on this CPU, disarmed.
pub fn start(frequencies: Frequencies) {
    apic::write(Register::InitialCount, 0);
    if has_deadline() {
        apic::write(Register::LvtTimer, LVT_TSC_DEADLINE | u32::from(TIMER_VECTOR));
        return;
    }
    assert!(frequencies.apic_timer_hz != 0, "the machine has TSC-deadline or an 8254");
    let counts = (u128::from(frequencies.apic_timer_hz) << 32) / 1_000_000_000;
    COUNTS_PER_NANO.store(counts as u64, Ordering::Relaxed);
    apic::write(Register::DivideConfiguration, DIVIDE_BY_16);
    apic::write(Register::LvtTimer, u32::from(TIMER_VECTOR));
}

/// Raises the timer's interrupt once, `after` from now, in place of what was armed before. It can
/// come early if `after` is longer than the timer can count (a minute or more): who needs the full
/// time looks at the clock and arms again.
pub fn arm(after: Duration) {
    cpu_local().set_timer_deadline(time_stamp().saturating_add(clock::ticks(after)));
    match COUNTS_PER_NANO.load(Ordering::Relaxed) {
        0 => {
            let deadline = time_stamp().saturating_add(clock::ticks(after));
            write_deadline(to_own_time_stamp(deadline).max(1));
        }
        counts => apic::write(Register::InitialCount, counts_in(after, counts)),
    }
}

/// Makes sure that the interrupt comes within `after`, though not before a quarter of it. Keeps
/// what is armed if that fits: on a virtual machine arming costs more than all else in a switch.
pub(crate) fn arm_about(after: Duration) {
    let ticks = clock::ticks(after);
    let left = cpu_local().timer_deadline().saturating_sub(time_stamp());
    if left < ticks / 4 || left > ticks {
        arm(after);
    }
}

/// Takes back what was armed.
pub fn disarm() {
    cpu_local().set_timer_deadline(0);
    match COUNTS_PER_NANO.load(Ordering::Relaxed) {
        0 => write_deadline(0),
        _ => apic::write(Register::InitialCount, 0),
    }
}

fn write_deadline(time_stamp: u64) {
    let mut msr = Msr::new(DEADLINE_MSR);
    // SAFETY: Without a count frequency the timer is in TSC-deadline mode, which has this MSR.
    unsafe { msr.write(time_stamp) }
}

/// The count for a duration: at least 1, since 0 stops the timer.
fn counts_in(after: Duration, counts_per_nano: u64) -> u32 {
    let counts = (u128::from(after.as_nanos()) * u128::from(counts_per_nano)) >> 32;
    u32::try_from(counts).unwrap_or(u32::MAX).max(1)
}

/// Halts until the next interrupt, unless `ready` says that there is work or another CPU has woken
/// this one since its turn began ([`crate::smp::wake`]). `ready` is asked with interrupts off, when
/// the CPU counts as asleep, and the halt follows on its return without a gap, so an interrupt or a
/// CPU that makes work is never slept over. It takes no lock. A turn begins on return: what others
/// left is to be looked at then. Interrupts are on afterwards.
pub fn halt_unless(ready: impl FnOnce() -> bool) {
    // A CPU that sleeps need not be woken for what it forgets before.
    tlb::serve();
    interrupts::disable();
    let activity = &current().activity;
    if !activity.fall_asleep() || ready() {
        interrupts::enable();
    } else {
        // One instruction pair: `sti` takes effect after the instruction that follows it.
        interrupts::enable_and_hlt();
    }
    activity.end_sleep();
}

/// Halts as [`halt_unless`] does, for `longest` at most. The timer is armed with interrupts off:
/// armed before, a short time could be over before the halt, which would then have no end.
pub fn halt_at_most(longest: Duration, ready: impl FnOnce() -> bool) {
    halt_unless(|| {
        let ready = ready();
        if !ready {
            arm(longest);
        }
        ready
    });
    disarm();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_never_zero_and_saturate() {
        let at_62_mhz = ((62_500_000_u128 << 32) / 1_000_000_000) as u64;
        assert_eq!(counts_in(Duration::ZERO, at_62_mhz), 1);
        assert!(counts_in(Duration::from_secs(1), at_62_mhz).abs_diff(62_500_000) <= 1);
        assert_eq!(counts_in(Duration::MAX, at_62_mhz), u32::MAX);
    }
}
