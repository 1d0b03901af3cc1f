//! The clock that KVM gives its guests: the date, and the exact frequency of the counter.
//!
//! Owns the encodings (Linux, "KVM-specific MSRs" and "pvclock", `MSR_KVM_WALL_CLOCK_NEW` and
//! `MSR_KVM_SYSTEM_TIME_NEW`): a page that the hypervisor writes with the time of the machine's
//! start since 1970, and with how its counter becomes nanoseconds since then. It is asked once at
//! start and told to stop; [`crate::clock`] goes on from there. Other hypervisors and bare machines
//! have a real-time clock instead.

use crate::cpu::{cpuid, has_hypervisor};
use crate::memory::DmaBuffer;
use core::ptr::NonNull;
use core::sync::atomic::{Ordering, fence};
use x86_64::registers::model_specific::Msr;

/// CPUID leaves of a hypervisor begin at one of these: the second where it also plays another's.
const BASES: [u32; 2] = [0x4000_0000, 0x4000_0100];
/// What KVM says there, in EBX, ECX and EDX.
const SIGNATURE: [u8; 12] = *b"KVMKVMKVM\0\0\0";
/// EAX of the leaf after: the clocks by the MSRs of old, and by those of their own range.
const FEATURE_OLD_CLOCK: u32 = 1 << 0;
const FEATURE_CLOCK: u32 = 1 << 3;
/// Bit 0 of the system time's MSR: keep the structure up to date.
const ENABLE: u64 = 1;
/// Where the two structures lie in the page.
const WALL_AT: usize = 0;
const SYSTEM_AT: usize = 64;
const WALL_BYTES: usize = 12;
const SYSTEM_BYTES: usize = 32;
/// Readings until the hypervisor was not writing meanwhile.
const READINGS_MAX: usize = 1000;

const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// The MSRs of the wall clock and of the system time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Msrs {
    wall: u32,
    system: u32,
}

impl Msrs {
    /// Those that a hypervisor with these features has.
    fn of(features: u32) -> Option<Self> {
        match features {
            f if f & FEATURE_CLOCK != 0 => Some(Msrs { wall: 0x4b56_4d00, system: 0x4b56_4d01 }),
            f if f & FEATURE_OLD_CLOCK != 0 => Some(Msrs { wall: 0x11, system: 0x12 }),
            _ => None,
        }
    }
}

/// `pvclock_wall_clock`: the time at the machine's start. None while it is being written, or never
/// was.
fn wall_nanos(bytes: &[u8; WALL_BYTES]) -> Option<u64> {
    let [version, seconds, nanos] = words(bytes);
    let since_1970 = u64::from(seconds) * NANOS_PER_SECOND + u64::from(nanos);
    (version != 0 && version % 2 == 0 && seconds != 0).then_some(since_1970)
}

/// `pvclock_vcpu_time_info`: what the counter was at a time since the machine's start, and how its
/// ticks become nanoseconds: shifted, then times a number with 32 bits of fraction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct SystemTime {
    time_stamp: u64,
    nanos: u64,
    multiplier: u32,
    shift: i8,
}

impl SystemTime {
    /// None while it is being written, or never was, or makes no sense.
    fn parse(bytes: &[u8; SYSTEM_BYTES]) -> Option<Self> {
        let [version, _, stamp_low, stamp_high, nanos_low, nanos_high, multiplier, rest] =
            words(bytes);
        let shift = rest.to_le_bytes()[0].cast_signed();
        let sane =
            version != 0 && version % 2 == 0 && multiplier != 0 && (-31..32).contains(&shift);
        sane.then_some(SystemTime {
            time_stamp: u64::from(stamp_high) << 32 | u64::from(stamp_low),
            nanos: u64::from(nanos_high) << 32 | u64::from(nanos_low),
            multiplier,
            shift,
        })
    }

    /// Nanoseconds since the machine's start when the counter is `time_stamp`.
    fn at(self, time_stamp: u64) -> u64 {
        let ticks = u128::from(time_stamp.saturating_sub(self.time_stamp));
        let shifted = if self.shift >= 0 { ticks << self.shift } else { ticks >> -self.shift };
        let nanos = (shifted * u128::from(self.multiplier)) >> 32;
        self.nanos.saturating_add(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// Ticks of the counter in a second.
    fn frequency_hz(self) -> u64 {
        let shifted = (u128::from(NANOS_PER_SECOND) << 32) / u128::from(self.multiplier);
        let hz = if self.shift >= 0 { shifted >> self.shift } else { shifted << -self.shift };
        u64::try_from(hz).unwrap_or(u64::MAX)
    }
}

fn words<const BYTES: usize, const WORDS: usize>(bytes: &[u8; BYTES]) -> [u32; WORDS] {
    const { assert!(WORDS * 4 == BYTES, "words cover the bytes") };
    let mut words = [0; WORDS];
    for (word, bytes) in words.iter_mut().zip(bytes.chunks_exact(4)) {
        *word = bytes.try_into().map_or(0, u32::from_le_bytes);
    }
    words
}

/// What KVM told.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KvmClock {
    /// Ticks of the time-stamp counter in a second.
    pub(crate) time_stamp_hz: u64,
    wall_nanos: Option<u64>,
    system: SystemTime,
}

impl KvmClock {
    /// Asks the hypervisor; none if it is not KVM, or has no such clock.
    pub(crate) fn ask() -> Option<Self> {
        let msrs = Msrs::of(features()?)?;
        let page = DmaBuffer::new(SYSTEM_AT + SYSTEM_BYTES)?;
        let clock = Self::read(msrs, &page);
        // SAFETY: Zero takes the address back: the page may go.
        unsafe { Msr::new(msrs.system).write(0) };
        clock
    }

    fn read(msrs: Msrs, page: &DmaBuffer) -> Option<Self> {
        // SAFETY: The hypervisor has this MSR, and writes to memory that nobody else uses.
        unsafe { Msr::new(msrs.wall).write(page.physical() + WALL_AT as u64) };
        // SAFETY: As above; it is told to stop before the page is given back.
        unsafe { Msr::new(msrs.system).write((page.physical() + SYSTEM_AT as u64) | ENABLE) };
        let system = (0..READINGS_MAX).find_map(|_| SystemTime::parse(&copy(page, SYSTEM_AT)))?;
        let wall_nanos = (0..READINGS_MAX).find_map(|_| wall_nanos(&copy(page, WALL_AT)));
        Some(KvmClock { time_stamp_hz: system.frequency_hz(), wall_nanos, system })
    }

    /// Nanoseconds since 1970 when the counter is `time_stamp`.
    pub(crate) fn since_1970(&self, time_stamp: u64) -> Option<u64> {
        Some(self.wall_nanos?.saturating_add(self.system.at(time_stamp)))
    }
}

/// Bytes that the hypervisor may be writing. A copy whose version was the same before and after is
/// whole; another has an odd one, which no parser takes.
fn copy<const BYTES: usize>(page: &DmaBuffer, at: usize) -> [u8; BYTES] {
    let read = |index: usize| {
        // SAFETY: Both structures lie within the page.
        let place: NonNull<u8> = unsafe { page.pointer().add(at + index) };
        // SAFETY: Valid, and a byte has no invalid value.
        unsafe { place.read_volatile() }
    };
    let before: [u8; 4] = core::array::from_fn(read);
    fence(Ordering::Acquire);
    let mut bytes = core::array::from_fn(read);
    fence(Ordering::Acquire);
    let after: [u8; 4] = core::array::from_fn(read);
    if before != after {
        bytes[0] |= 1;
    }
    bytes
}

/// Whether the hypervisor will tell.
pub(crate) fn is_there() -> bool {
    features().and_then(Msrs::of).is_some()
}

/// KVM's features, if this is KVM.
fn features() -> Option<u32> {
    let is_kvm = |base: &u32| {
        let leaf = cpuid(*base, 0);
        let text = [leaf.ebx, leaf.ecx, leaf.edx].map(u32::to_le_bytes);
        text.as_flattened() == SIGNATURE
    };
    let base = BASES.into_iter().filter(|_| has_hypervisor()).find(is_kvm)?;
    Some(cpuid(base + 1, 0).eax)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn bytes<const BYTES: usize>(words: &[u32]) -> [u8; BYTES] {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        bytes.try_into().expect("as many as wanted")
    }

    #[test]
    fn the_newer_registers_are_preferred() {
        let new = Msrs { wall: 0x4b56_4d00, system: 0x4b56_4d01 };
        assert_eq!(Msrs::of(FEATURE_CLOCK | FEATURE_OLD_CLOCK), Some(new));
        assert_eq!(Msrs::of(FEATURE_OLD_CLOCK), Some(Msrs { wall: 0x11, system: 0x12 }));
        assert_eq!(Msrs::of(!(FEATURE_CLOCK | FEATURE_OLD_CLOCK)), None);
    }

    #[test]
    fn the_time_of_the_start_is_read() {
        let at_start = 1_795_504_805 * NANOS_PER_SECOND + 7;
        assert_eq!(wall_nanos(&bytes(&[2, 1_795_504_805, 7])), Some(at_start));
        for unfinished in [[0, 1_795_504_805, 7], [3, 1_795_504_805, 7], [2, 0, 0]] {
            assert_eq!(wall_nanos(&bytes(&unfinished)), None);
        }
    }

    #[test]
    fn the_counter_becomes_nanoseconds() {
        // 2.5 GHz: 0.4 ns a tick, as a shift by one to the right and times 0.8.
        let multiplier = (0.8 * f64::from(u32::MAX)) as u32 + 1;
        let rest = u32::from((-1_i8).cast_unsigned()) | 1 << 8;
        let info = [4, 0, 1000, 1, 500, 2, multiplier, rest];
        let time = SystemTime::parse(&bytes(&info)).expect("it is good");
        assert_eq!((time.time_stamp, time.nanos), ((1 << 32) + 1000, (2 << 32) + 500));
        assert!(time.frequency_hz().abs_diff(2_500_000_000) < 10, "{}", time.frequency_hz());
        let second_later = time.at(time.time_stamp + 2_500_000_000) - time.nanos;
        assert!(second_later.abs_diff(NANOS_PER_SECOND) < 10, "{second_later}");
        assert_eq!(time.at(0), time.nanos, "the counter never runs backwards");
        assert!(time.at(u64::MAX) > time.nanos);
    }

    #[test]
    fn a_slow_counter_is_shifted_the_other_way() {
        let info = [2, 0, 0, 0, 0, 0, 1 << 31, 4];
        let time = SystemTime::parse(&bytes(&info)).expect("it is good");
        assert_eq!(time.frequency_hz(), 125_000_000, "8 ns a tick");
        assert_eq!(time.at(125_000_000), NANOS_PER_SECOND);
    }

    #[test]
    fn what_makes_no_sense_is_no_time() {
        let good = [2, 0, 0, 0, 0, 0, 1 << 31, 0];
        assert!(SystemTime::parse(&bytes(&good)).is_some());
        for (at, value) in [(0, 0), (0, 1), (6, 0), (7, 0x40), (7, 0x80)] {
            let mut bad = good;
            bad[at] = value;
            assert_eq!(SystemTime::parse(&bytes(&bad)), None, "word {at} is {value}");
        }
    }
}
