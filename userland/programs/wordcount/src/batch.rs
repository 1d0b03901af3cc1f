//! Counts on their way from a mapper to a reducer, as bytes.
//!
//! Owns [`Batch`] and [`decode`]. An entry is the length of the word (one byte), its count (LEB128)
//! and its bytes.

use crate::table::{UNITS_MAX, WORD_BYTES_MAX, word_len};
use alloc::vec::Vec;

/// Longest batch, so that with its header it is one fragment of a session.
pub const BATCH_BYTES_MAX: usize = 63 << 10;
/// Longest entry: length, count, word.
const ENTRY_BYTES_MAX: usize = 1 + 10 + WORD_BYTES_MAX;

/// Entries that are being gathered for one reducer.
#[derive(Default)]
pub struct Batch {
    bytes: Vec<u8>,
    words: u64,
}

/// Bytes that are no batch.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct MalformedBatch;

impl Batch {
    /// Adds an entry; the caller looks at [`Batch::is_full`] after each.
    pub fn push(&mut self, units: &[u64], count: u64) {
        let end = self.bytes.len() + 1 + word_len(units);
        self.bytes.push(word_len(units) as u8);
        let mut rest = count;
        let mut extra = 0;
        while rest >= 0x80 {
            self.bytes.push(rest as u8 | 0x80);
            rest >>= 7;
            extra += 1;
        }
        self.bytes.push(rest as u8);
        // Eight bytes at a time, too many cut off after: a copy of constant length is no call.
        units.iter().for_each(|unit| self.bytes.extend_from_slice(&unit.to_le_bytes()));
        self.bytes.truncate(end + extra + 1);
        self.words += count;
    }

    /// Whether the batch must be sent before another entry.
    pub fn is_full(&self) -> bool {
        self.bytes.len() + ENTRY_BYTES_MAX > BATCH_BYTES_MAX
    }

    /// The bytes to send, and the sum of the counts in them.
    pub fn contents(&self) -> (&[u8], u64) {
        (&self.bytes, self.words)
    }

    /// Forgets the entries.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.words = 0;
    }
}

/// Gives each entry to `take`.
///
/// # Errors
///
/// [`MalformedBatch`], or what `take` returns; entries before were taken.
pub fn decode<E: From<MalformedBatch>>(
    mut bytes: &[u8],
    mut take: impl FnMut(&[u64], u64) -> Result<(), E>,
) -> Result<(), E> {
    while let [len, rest @ ..] = bytes {
        let len = usize::from(*len);
        let (count, rest) = decode_count(rest)?;
        if len == 0 || len > WORD_BYTES_MAX || len > rest.len() || count == 0 {
            return Err(MalformedBatch.into());
        }
        let mut units = [0; UNITS_MAX];
        let used = len.div_ceil(8);
        for (at, unit) in units[..used].iter_mut().enumerate() {
            *unit = decode_unit(rest, at * 8, len);
        }
        // A zero inside a word would be another word's padding.
        if word_len(&units[..used]) != len {
            return Err(MalformedBatch.into());
        }
        take(&units[..used], count)?;
        bytes = &rest[len..];
    }
    Ok(())
}

fn decode_count(bytes: &[u8]) -> Result<(u64, &[u8]), MalformedBatch> {
    let mut count = 0_u64;
    for (at, byte) in bytes.iter().enumerate().take(10) {
        let part = u64::from(byte & 0x7f);
        count |= part
            .checked_shl(at as u32 * 7)
            .filter(|_| at < 9 || part <= 1)
            .ok_or(MalformedBatch)?;
        if byte & 0x80 == 0 {
            return Ok((count, &bytes[at + 1..]));
        }
    }
    Err(MalformedBatch)
}

/// Eight bytes of a word of `len` bytes, from `at` on.
fn decode_unit(word: &[u8], at: usize, len: usize) -> u64 {
    let unit = match word.get(at..).and_then(|rest| rest.first_chunk()) {
        Some(eight) => u64::from_le_bytes(*eight),
        None => word[at..].iter().rev().fold(0, |unit, byte| unit << 8 | u64::from(*byte)),
    };
    let kept = (len - at).min(8) as u32 * 8;
    unit & (u64::MAX >> (64 - kept))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(bytes: &[u8]) -> Result<Vec<(Vec<u64>, u64)>, MalformedBatch> {
        let mut all = Vec::new();
        decode(bytes, |units, count| {
            all.push((units.to_vec(), count));
            Ok::<(), MalformedBatch>(())
        })?;
        Ok(all)
    }

    #[test]
    fn entries_survive_their_coding() {
        let long = [u64::MAX; UNITS_MAX];
        let words: [&[u64]; 5] =
            [&[0x61], &[0x6161_6161_6161_6161], &[u64::MAX, 0x80], &long, &[0x62]];
        let counts = [1, 127, 128, u64::MAX, 0x1_0000_0000];
        let mut batch = Batch::default();
        let mut expected = Vec::new();
        for (word, count) in words.iter().zip(counts) {
            batch.words = 0;
            batch.push(word, count);
            expected.push((word.to_vec(), count));
        }
        assert_eq!(entries(batch.contents().0), Ok(expected));
    }

    #[test]
    fn a_full_batch_stays_below_its_bound() {
        let mut batch = Batch::default();
        while !batch.is_full() {
            batch.push(&[u64::MAX; UNITS_MAX], 1 << 50);
        }
        assert!(batch.contents().0.len() <= BATCH_BYTES_MAX);
    }

    #[test]
    fn malformed_bytes_are_refused() {
        let overlong = [&[1][..], &[0x80; 9], &[2, b'a']].concat();
        for bytes in [
            &[1, 1][..],      // no word
            &[2, 1, b'a'],    // cut word
            &[0, 1],          // empty word
            &[1, 0, b'a'],    // no occurrences
            &[65, 1],         // too long a word
            &[1, 0x80],       // cut count
            &[2, 1, b'a', 0], // zero at the end of a word
            &overlong,        // count above 64 bits
        ] {
            assert_eq!(entries(bytes), Err(MalformedBatch), "{bytes:?}");
        }
    }
}
