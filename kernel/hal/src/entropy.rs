//! Seeds for random generators, from every source that the machine has.
//!
//! Owns the pool: a secret of 32 bytes into which the host's entropy device ([`gather`]) and, at
//! each [`seed`], RDSEED or RDRAND (Intel SDM vol. 1, 7.3.17), the clock and its jitter are mixed
//! with BLAKE3. A seed is as good as the best source: one that lies makes it no worse. Each seed
//! moves the pool on by a one-way step, so that a seed that leaks tells nothing about earlier ones.
//! Everything random in the node is drawn from generators seeded here once.

use crate::cpu::{cpuid, time_stamp};
use crate::pci::Config;
use crate::virtio::{Devices, rng};
use core::arch::asm;
use core::fmt;
use spin::Mutex;

/// Bytes of a seed.
pub const SEED_BYTES: usize = 32;
/// Tries for one word: the source can be empty for a moment.
const TRIES_MAX: u32 = 1000;
/// Words of the CPU's generator in a seed.
const CPU_WORDS: usize = SEED_BYTES / 8;
/// Readings of the clock's jitter for a seed.
const JITTER_READINGS: usize = 64;
/// Fewer bytes than this from the device are no source.
const DEVICE_BYTES_MIN: usize = SEED_BYTES;

/// What a seed was made of, besides the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sources {
    /// RDSEED or RDRAND.
    pub cpu: bool,
    /// An entropy device of the host.
    pub device: bool,
}

impl Sources {
    /// Whether there was one. The clock alone is hard to guess from afar, and proven to nobody.
    pub fn suffice(self) -> bool {
        self.cpu || self.device
    }
}

impl fmt::Display for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (self.cpu, self.device) {
            (true, true) => "the CPU and virtio-rng",
            (true, false) => "the CPU",
            (false, true) => "virtio-rng",
            (false, false) => "the clock's jitter alone",
        })
    }
}

struct Pool {
    secret: [u8; SEED_BYTES],
    device: bool,
}

static POOL: Mutex<Pool> = Mutex::new(Pool { secret: [0; SEED_BYTES], device: false });

impl Pool {
    /// Mixes bytes in; `device` says that they are the entropy device's.
    fn mix(&mut self, bytes: &[u8], device: bool) {
        let mut hasher = blake3::Hasher::new_derive_key("craton 2026 entropy pool");
        hasher.update(&self.secret);
        hasher.update(bytes);
        self.secret = *hasher.finalize().as_bytes();
        self.device |= device;
    }

    /// A seed of what was mixed in; the pool moves on.
    fn draw(&mut self) -> [u8; SEED_BYTES] {
        let seed = blake3::derive_key("craton 2026 entropy seed", &self.secret);
        self.secret = blake3::derive_key("craton 2026 entropy pool after a seed", &self.secret);
        seed
    }
}

/// Asks the host's entropy device, if there is one, and mixes what it gives into all later seeds.
pub fn gather<C: Config>(devices: &mut Devices<C>) {
    let Some(device) = rng::find(devices) else { return };
    let mut bytes = [0; rng::BYTES];
    match rng::read(devices, &device, &mut bytes) {
        Ok(written) if is_plausible(&bytes[..written]) => POOL.lock().mix(&bytes, true),
        Ok(written) => log::warn!("the entropy device gave {written} bytes, of no use"),
        Err(error) => log::warn!("the entropy device does not start: {error}"),
    }
}

/// A device that is stuck repeats itself.
fn is_plausible(bytes: &[u8]) -> bool {
    bytes.len() >= DEVICE_BYTES_MIN && bytes.iter().any(|byte| *byte != bytes[0])
}

/// A fresh seed, and what it was made of.
pub fn seed() -> ([u8; SEED_BYTES], Sources) {
    let words = cpu_words();
    let mut pool = POOL.lock();
    for word in words.iter().flatten() {
        pool.mix(&word.to_le_bytes(), false);
    }
    mix_jitter(&mut pool);
    let sources = Sources { cpu: words.is_some(), device: pool.device };
    (pool.draw(), sources)
}

/// A seed's worth of words from the CPU, all of them or none.
fn cpu_words() -> Option<[u64; CPU_WORDS]> {
    let mut words = [0; CPU_WORDS];
    for word in &mut words {
        *word = cpu_word()?;
    }
    Some(words)
}

fn cpu_word() -> Option<u64> {
    let has_seed = cpuid(7, 0).ebx & (1 << 18) != 0;
    let has_random = cpuid(1, 0).ecx & (1 << 30) != 0;
    let seed = || has_seed.then(|| first(read_seed)).flatten();
    let random = || has_random.then(|| first(read_random)).flatten();
    seed().or_else(random)
}

fn first(read: fn() -> Option<u64>) -> Option<u64> {
    // A generator that is stuck returns all zeros or all ones, which is no seed either way.
    (0..TRIES_MAX).find_map(|_| read()).filter(|&word| word != 0 && word != u64::MAX)
}

fn read_seed() -> Option<u64> {
    let (word, valid): (u64, u8);
    // SAFETY: Called only where CPUID has RDSEED; writes registers and flags.
    unsafe {
        asm!("rdseed {}", "setc {}", out(reg) word, out(reg_byte) valid, options(nomem, nostack))
    };
    (valid != 0).then_some(word)
}

fn read_random() -> Option<u64> {
    let (word, valid): (u64, u8);
    // SAFETY: Called only where CPUID has RDRAND; writes registers and flags.
    unsafe {
        asm!("rdrand {}", "setc {}", out(reg) word, out(reg_byte) valid, options(nomem, nostack))
    };
    (valid != 0).then_some(word)
}

/// Mixes in the date and the times that the CPU takes to read its clock. They make seeds of one
/// boot differ from the next whatever else fails; they are not counted as a source.
fn mix_jitter(pool: &mut Pool) {
    let mut readings = [0; JITTER_READINGS];
    readings.fill_with(time_stamp);
    for reading in readings {
        pool.mix(&reading.to_le_bytes(), false);
    }
    let wall = crate::clock::wall().map_or(0, |wall| wall.as_nanos());
    pool.mix(&wall.to_le_bytes(), false);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(mixed: &[&[u8]]) -> [u8; SEED_BYTES] {
        let mut pool = Pool { secret: [0; SEED_BYTES], device: false };
        mixed.iter().for_each(|bytes| pool.mix(bytes, false));
        pool.draw()
    }

    #[test]
    fn a_seed_depends_on_every_source_and_their_order() {
        let all = drawn(&[b"device", b"cpu"]);
        assert_eq!(all, drawn(&[b"device", b"cpu"]));
        for other in [&[&b"device"[..], b"cpv"], &[b"devicf", b"cpu"], &[b"cpu", b"device"]] {
            assert_ne!(all, drawn(other));
        }
        assert_ne!(all, drawn(&[b"devicecpu"]));
    }

    #[test]
    fn each_seed_differs_and_the_pool_does_not_show_it() {
        let mut pool = Pool { secret: [7; SEED_BYTES], device: false };
        let first = pool.draw();
        assert!(first != pool.secret && first != pool.draw());
    }

    #[test]
    fn a_stuck_or_scant_device_is_no_source() {
        assert!(!is_plausible(&[]) && !is_plausible(&[0; 64]) && !is_plausible(&[9; 64]));
        let mut bytes = [5; 64];
        bytes[33] = 6;
        assert!(is_plausible(&bytes) && !is_plausible(&bytes[33..34]));
    }

    #[test]
    fn sources_are_counted_without_the_clock() {
        let sources = |cpu, device| Sources { cpu, device };
        assert!(!sources(false, false).suffice());
        assert!(sources(true, false).suffice() && sources(false, true).suffice());
        let (first, second) = (seed(), seed());
        assert_ne!(first.0, second.0);
        assert!(!first.1.device);
    }
}
