//! Counts by word, in two open hash tables.
//!
//! Owns [`Table`]. A word is a sequence of one to eight `u64` *units*, its bytes little-endian and
//! padded with zeros, which no word contains. Words of up to eight bytes, nearly all of a text, are
//! one unit: they are compared and hashed as one number and live in a table without indirection.
//! Longer ones keep their units in an arena.

use alloc::vec::Vec;

/// Longest part of a word that is told apart, in bytes.
pub const WORD_BYTES_MAX: usize = 64;
/// The same in units.
pub const UNITS_MAX: usize = WORD_BYTES_MAX / 8;

/// Slots of a fresh table; a power of two.
const SLOTS_FIRST: usize = 1 << 10;
/// 2^64 divided by the golden ratio: spreads keys over the upper bits (Knuth, TAOCP 3, 6.4).
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
/// The start of a long word in the arena takes the low bits, its length in units the high ones.
const UNITS_SHIFT: u32 = 28;
const START_MASK: u32 = (1 << UNITS_SHIFT) - 1;

const _: () = assert!(UNITS_MAX < 1 << (32 - UNITS_SHIFT), "a length must fit above the start");

/// There is no memory for one more word.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct OutOfMemory;

/// Counts by word.
pub struct Table {
    short: Slots<ShortSlot>,
    long: Slots<LongSlot>,
    arena: Vec<u64>,
}

/// An open hash table: linear probing, at most three quarters full.
struct Slots<S> {
    slots: Vec<S>,
    used: usize,
    /// 64 less the binary logarithm of the number of slots.
    shift: u32,
}

#[derive(Copy, Clone, Default)]
struct ShortSlot {
    /// The word; 0 in an empty slot.
    word: u64,
    count: u64,
}

#[derive(Copy, Clone, Default)]
struct LongSlot {
    /// Number of occurrences; 0 in an empty slot.
    count: u64,
    /// Upper half of the word's hash, which places it in the table.
    hash: u32,
    /// Where its units are in the arena, and how many.
    place: u32,
}

trait Slot: Copy + Default {
    fn is_empty(&self) -> bool;
    fn hash(&self) -> u64;
}

impl Slot for ShortSlot {
    fn is_empty(&self) -> bool {
        self.word == 0
    }

    fn hash(&self) -> u64 {
        short_hash(self.word)
    }
}

impl Slot for LongSlot {
    fn is_empty(&self) -> bool {
        self.count == 0
    }

    fn hash(&self) -> u64 {
        u64::from(self.hash) << 32
    }
}

impl Table {
    /// An empty table.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`].
    pub fn new() -> Result<Self, OutOfMemory> {
        Ok(Table { short: Slots::new()?, long: Slots::new()?, arena: Vec::new() })
    }

    /// Different words in the table.
    pub fn distinct(&self) -> usize {
        self.short.used + self.long.used
    }

    /// Adds occurrences of a word of at most eight bytes; not zero, neither word nor count.
    #[inline]
    pub fn add_short(&mut self, word: u64, count: u64) -> Result<(), OutOfMemory> {
        let slots = &mut self.short;
        let mask = slots.slots.len() - 1;
        let mut at = (short_hash(word) >> slots.shift) as usize;
        loop {
            let slot = &mut slots.slots[at & mask];
            if slot.word == word {
                slot.count += count;
                return Ok(());
            }
            if slot.word == 0 {
                *slot = ShortSlot { word, count };
                return slots.filled();
            }
            at += 1;
        }
    }

    /// Adds occurrences of a word of two to eight units.
    pub fn add_long(&mut self, units: &[u64], count: u64) -> Result<(), OutOfMemory> {
        let hash = (long_hash(units) >> 32) as u32;
        let mask = self.long.slots.len() - 1;
        let mut at = ((u64::from(hash) << 32) >> self.long.shift) as usize;
        loop {
            let slot = &mut self.long.slots[at & mask];
            if slot.count == 0 {
                let place = store(&mut self.arena, units)?;
                *slot = LongSlot { count, hash, place };
                return self.long.filled();
            }
            if slot.hash == hash && units_at(&self.arena, slot.place) == units {
                slot.count += count;
                return Ok(());
            }
            at += 1;
        }
    }

    /// Adds occurrences of a word of any length.
    pub fn add(&mut self, units: &[u64], count: u64) -> Result<(), OutOfMemory> {
        match units {
            [word] => self.add_short(*word, count),
            units => self.add_long(units, count),
        }
    }

    /// All words with their counts, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u64], u64)> {
        let short = self.short.slots.iter().filter(|slot| !slot.is_empty());
        let long = self.long.slots.iter().filter(|slot| !slot.is_empty());
        short
            .map(|slot| (core::slice::from_ref(&slot.word), slot.count))
            .chain(long.map(|slot| (units_at(&self.arena, slot.place), slot.count)))
    }

    /// Forgets all words; keeps the room.
    pub fn clear(&mut self) {
        self.short.clear();
        self.long.clear();
        self.arena.clear();
    }
}

impl<S: Slot> Slots<S> {
    fn new() -> Result<Self, OutOfMemory> {
        Ok(Slots {
            slots: empty(SLOTS_FIRST)?,
            used: 0,
            shift: u64::BITS - SLOTS_FIRST.trailing_zeros(),
        })
    }

    fn clear(&mut self) {
        self.slots.fill(S::default());
        self.used = 0;
    }

    /// Notes that a slot was filled, and makes room for the next.
    fn filled(&mut self) -> Result<(), OutOfMemory> {
        self.used += 1;
        if self.used * 4 > self.slots.len() * 3 { self.grow() } else { Ok(()) }
    }

    #[cold]
    fn grow(&mut self) -> Result<(), OutOfMemory> {
        let slots = empty(self.slots.len() * 2)?;
        let old = core::mem::replace(&mut self.slots, slots);
        self.shift -= 1;
        let mask = self.slots.len() - 1;
        for slot in old.into_iter().filter(|slot| !slot.is_empty()) {
            let mut at = (slot.hash() >> self.shift) as usize;
            while !self.slots[at & mask].is_empty() {
                at += 1;
            }
            self.slots[at & mask] = slot;
        }
        Ok(())
    }
}

fn empty<S: Slot>(count: usize) -> Result<Vec<S>, OutOfMemory> {
    let mut slots = Vec::new();
    slots.try_reserve_exact(count).map_err(|_| OutOfMemory)?;
    slots.resize(count, S::default());
    Ok(slots)
}

#[inline]
fn short_hash(word: u64) -> u64 {
    word.wrapping_mul(SPREAD)
}

fn long_hash(units: &[u64]) -> u64 {
    units.iter().fold(0, |hash: u64, unit| (hash.rotate_left(5) ^ unit).wrapping_mul(SPREAD))
}

fn store(arena: &mut Vec<u64>, units: &[u64]) -> Result<u32, OutOfMemory> {
    arena.try_reserve(units.len()).map_err(|_| OutOfMemory)?;
    let start = u32::try_from(arena.len()).map_err(|_| OutOfMemory)?;
    if start > START_MASK {
        return Err(OutOfMemory);
    }
    // One by one: a copy of so few is dearer as a call than as a loop.
    units.iter().for_each(|unit| arena.push(*unit));
    Ok(start | (units.len() as u32) << UNITS_SHIFT)
}

fn units_at(arena: &[u64], place: u32) -> &[u64] {
    let start = (place & START_MASK) as usize;
    &arena[start..start + (place >> UNITS_SHIFT) as usize]
}

/// Which of `parts` owns a word: by other bits of a hash than those that place it in a table, or
/// every table of an owner would be filled in one corner.
pub fn owner(units: &[u64], parts: usize) -> usize {
    let hash = long_hash(units);
    let mixed = (hash ^ (hash >> 32)).wrapping_mul(SPREAD) >> 32;
    ((mixed * parts as u64) >> 32) as usize
}

/// Bytes of a word.
pub fn word_len(units: &[u64]) -> usize {
    units.last().map_or(0, |last| units.len() * 8 - (last.leading_zeros() / 8) as usize)
}

/// A word's bytes.
pub fn word_bytes(units: &[u64]) -> Vec<u8> {
    let mut bytes: Vec<u8> = units.iter().flat_map(|unit| unit.to_le_bytes()).collect();
    bytes.truncate(word_len(units));
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn units(word: &[u8]) -> Vec<u64> {
        word.chunks(8)
            .map(|part| {
                let mut unit = [0; 8];
                unit[..part.len()].copy_from_slice(part);
                u64::from_le_bytes(unit)
            })
            .collect()
    }

    #[test]
    fn words_of_every_length_keep_their_counts_while_the_table_grows() {
        let mut table = Table::new().expect("memory");
        let word = |n: usize| {
            let mut word = format!("{n:x}").into_bytes();
            word.resize(1 + n % WORD_BYTES_MAX.max(word.len()), b'z');
            word.extend_from_slice(format!("{n:x}").as_bytes());
            word.truncate(WORD_BYTES_MAX);
            word
        };
        let mut expected = std::collections::BTreeMap::new();
        for n in (0..20_000).chain(0..10_000) {
            table.add(&units(&word(n)), 1 + n as u64).expect("memory");
            *expected.entry(word(n)).or_insert(0) += 1 + n as u64;
        }
        let counted: std::collections::BTreeMap<_, _> =
            table.iter().map(|(units, count)| (word_bytes(units), count)).collect();
        assert_eq!(table.distinct(), expected.len());
        assert_eq!(counted, expected);
        table.clear();
        assert_eq!((table.distinct(), table.iter().count()), (0, 0));
    }

    #[test]
    fn every_owner_gets_a_fair_share_of_words() {
        let mut shares = [0; 7];
        for n in 0..70_000 {
            let word = units(format!("w{n}").as_bytes());
            shares[owner(&word, 7)] += 1;
        }
        assert!(shares.iter().all(|share| (8_000..12_000).contains(share)), "{shares:?}");
        assert_eq!(owner(&[u64::MAX], 1), 0);
    }
}
