//! Finding the words of a text, eight bytes at a time.
//!
//! Owns [`count`] and [`is_word_byte`]. The loop is what decides the program's rate, most of all
//! on an emulated CPU: no call, no allocation and no copy for a word of up to eight bytes.

use crate::table::{OutOfMemory, Table, UNITS_MAX};

/// The top bit of each of eight bytes.
const TOP_BITS: u64 = 0x8080_8080_8080_8080;

/// Whether a byte belongs to words: ASCII letters, and all that is not ASCII.
pub fn is_word_byte(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte >= 0x80
}

/// Counts the words of `text` into `table` and says how many there were. The text begins and ends
/// between words.
pub fn count(text: &[u8], table: &mut Table) -> Result<u64, OutOfMemory> {
    let mut words = 0;
    let mut at = 0;
    while at < text.len() {
        let eight = load(text, at);
        let mask = word_mask(eight);
        if mask == 0 {
            at += 8;
            continue;
        }
        let skip = mask.trailing_zeros() & !7;
        at += (skip / 8) as usize;
        words += 1;
        let (eight, mask) = (eight >> skip, mask >> skip);
        let run = run_bits(mask);
        // The word ends inside the eight bytes, so the byte after it is no word's and is skipped.
        if skip + run < 64 {
            table.add_short(lower(eight, mask) & !(u64::MAX << run), 1)?;
            at += (run / 8) as usize + 1;
        } else {
            at = count_one(text, at, table)?;
        }
    }
    Ok(words)
}

/// Counts the word that begins at `at`, of any length, and returns where it ends.
fn count_one(text: &[u8], mut at: usize, table: &mut Table) -> Result<usize, OutOfMemory> {
    let mut units = [0; UNITS_MAX];
    let mut used = 0;
    loop {
        let eight = load(text, at);
        let mask = word_mask(eight);
        let run = run_bits(mask);
        at += (run / 8) as usize;
        // What exceeds the room is passed over: a word is told apart by its beginning.
        if run > 0
            && let Some(unit) = units.get_mut(used)
        {
            let kept = u64::MAX >> (64 - run);
            *unit = lower(eight, mask) & kept;
            used += 1;
        }
        if run < 64 {
            return table.add(&units[..used], 1).map(|()| at);
        }
    }
}

/// The eight bytes from `at` on, little-endian; zeros, which are no word's, after the end.
#[inline]
fn load(text: &[u8], at: usize) -> u64 {
    match text.get(at..).and_then(|rest| rest.first_chunk()) {
        Some(eight) => u64::from_le_bytes(*eight),
        None => load_end(text, at),
    }
}

#[cold]
fn load_end(text: &[u8], at: usize) -> u64 {
    let rest = text.get(at..).unwrap_or(&[]);
    rest.iter().rev().fold(0, |unit, byte| unit << 8 | u64::from(*byte))
}

/// The top bit of each byte that belongs to a word.
#[inline]
fn word_mask(eight: u64) -> u64 {
    // With bit 5 set, upper and lower case are one range; without the top bit, a sum of two stays
    // in its byte and its top bit tells which side of a bound the byte is on.
    let folded = (eight | 0x2020_2020_2020_2020) & !TOP_BITS;
    let from_a = folded + 0x1f1f_1f1f_1f1f_1f1f;
    let after_z = folded + 0x0505_0505_0505_0505;
    ((from_a & !after_z) | eight) & TOP_BITS
}

/// Bits of the bytes, counted from the lowest, up to the first that is no word's; a multiple of 8.
#[inline]
fn run_bits(mask: u64) -> u32 {
    (!mask & TOP_BITS).trailing_zeros() & !7
}

/// The word bytes among the eight, ASCII letters in lower case.
#[inline]
fn lower(eight: u64, mask: u64) -> u64 {
    eight | (mask & !eight) >> 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mask_agrees_with_the_definition_for_every_byte_in_every_place() {
        for byte in 0..=255_u8 {
            for place in 0..8 {
                for around in [0, b'a', 0xff, b'@', b'{'] {
                    let mut bytes = [around; 8];
                    bytes[place] = byte;
                    let mask = word_mask(u64::from_le_bytes(bytes)).to_le_bytes();
                    let expected = bytes.map(|byte| if is_word_byte(byte) { 0x80 } else { 0 });
                    assert_eq!(mask, expected, "{bytes:?}");
                }
            }
        }
    }

    #[test]
    fn only_ascii_letters_are_lowered() {
        for byte in (0..=255_u8).filter(|byte| is_word_byte(*byte)) {
            let eight = u64::from_le_bytes([byte; 8]);
            let lowered = lower(eight, word_mask(eight)).to_le_bytes();
            assert_eq!(lowered, [byte.to_ascii_lowercase(); 8]);
        }
    }
}
