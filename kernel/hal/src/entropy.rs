//! Seeds for random generators, from the CPU's own source.
//!
//! Owns [`seed`]: 32 bytes from RDSEED or RDRAND (Intel SDM vol. 1, 7.3.17). A CPU without them
//! gets the jitter of its clock, and the caller is told, so that it can say so. Everything random
//! in the node is drawn from generators seeded here once.

use crate::cpu::{cpuid, time_stamp};
use core::arch::asm;

/// Bytes of a seed.
pub const SEED_BYTES: usize = 32;
/// Tries for one word: the source can be empty for a moment.
const TRIES_MAX: u32 = 1000;
/// Readings of the clock's jitter for a seed.
const JITTER_READINGS: usize = 4096;

/// Where a seed came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The CPU's generator.
    Hardware,
    /// The jitter of the clock: hard to guess from afar, not proven to be.
    Jitter,
}

/// A fresh seed, and where it came from.
pub fn seed() -> ([u8; SEED_BYTES], Source) {
    let mut bytes = [0; SEED_BYTES];
    for chunk in bytes.chunks_exact_mut(8) {
        match hardware_word() {
            Some(word) => chunk.copy_from_slice(&word.to_le_bytes()),
            None => return (jitter_seed(), Source::Jitter),
        }
    }
    (bytes, Source::Hardware)
}

fn hardware_word() -> Option<u64> {
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

/// Hashes the times that the clock of the PC takes to answer.
fn jitter_seed() -> [u8; SEED_BYTES] {
    let mut hasher = blake3::Hasher::new_derive_key("craton 2026 seed from clock jitter");
    for _ in 0..JITTER_READINGS {
        let count = crate::pit::count();
        hasher.update(&count.to_le_bytes());
        hasher.update(&time_stamp().to_le_bytes());
    }
    hasher.update(&crate::clock::wall().map_or(0, |wall| wall.as_nanos()).to_le_bytes());
    *hasher.finalize().as_bytes()
}
