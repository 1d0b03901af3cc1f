//! The plain count that the program `wordcount` must equal: one thread, one map, byte by byte.
//!
//! Owns [`Counts`], [`count`] and [`render`]; shares no code with the program on purpose. What a
//! word is stands in `../README.md`.

use std::collections::HashMap;
use std::io::{self, Read};

/// Longest part of a word that is told apart, in bytes.
pub const WORD_BYTES_MAX: usize = 64;
/// Words that are printed.
pub const TOP: usize = 20;
/// Bytes that are read at once.
const READ_BYTES: usize = 256 << 10;

/// What was counted.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Counts {
    /// Bytes of input.
    pub bytes: u64,
    /// Words.
    pub words: u64,
    /// Different words.
    pub distinct: u64,
    /// The commonest words, most frequent first, ties by their bytes.
    pub top: Vec<(Vec<u8>, u64)>,
}

/// Counts all that `input` gives.
///
/// # Errors
///
/// As `input`.
pub fn count(mut input: impl Read) -> io::Result<Counts> {
    let mut counter = Counter::default();
    let mut buffer = vec![0; READ_BYTES];
    loop {
        match input.read(&mut buffer) {
            Ok(0) => return Ok(counter.finish()),
            Ok(len) => buffer[..len].iter().for_each(|byte| counter.byte(*byte)),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// What the program prints to standard output for these counts, byte for byte.
pub fn render(counts: &Counts) -> Vec<u8> {
    let mut text = Vec::new();
    for (word, count) in &counts.top {
        text.extend_from_slice(format!("{count:>12}  ").as_bytes());
        text.extend_from_slice(word);
        text.push(b'\n');
    }
    let Counts { bytes, words, distinct, .. } = counts;
    text.extend_from_slice(
        format!("bytes {bytes}\nwords {words}\ndistinct {distinct}\n").as_bytes(),
    );
    text
}

#[derive(Default)]
struct Counter {
    counts: HashMap<Vec<u8>, u64>,
    bytes: u64,
    words: u64,
    /// The word being read, cut to its first bytes; empty between words.
    word: Vec<u8>,
}

impl Counter {
    fn byte(&mut self, byte: u8) {
        self.bytes += 1;
        if byte.is_ascii_alphabetic() || byte >= 0x80 {
            if self.word.len() < WORD_BYTES_MAX {
                self.word.push(byte.to_ascii_lowercase());
            }
        } else {
            self.end_word();
        }
    }

    fn end_word(&mut self) {
        if self.word.is_empty() {
            return;
        }
        self.words += 1;
        match self.counts.get_mut(&self.word) {
            Some(count) => *count += 1,
            None => {
                self.counts.insert(self.word.clone(), 1);
            }
        }
        self.word.clear();
    }

    fn finish(mut self) -> Counts {
        self.end_word();
        let distinct = self.counts.len() as u64;
        let mut top: Vec<_> = self.counts.into_iter().collect();
        top.sort_by(|(a, a_count), (b, b_count)| b_count.cmp(a_count).then_with(|| a.cmp(b)));
        top.truncate(TOP);
        Counts { bytes: self.bytes, words: self.words, distinct, top }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &[u8]) -> Counts {
        count(text).expect("a slice can be read")
    }

    #[test]
    fn words_are_letters_and_high_bytes() {
        let counts = of("Don't stop; stop 3 times, né NÉ né".as_bytes());
        let top: Vec<_> = counts.top.iter().map(|(word, n)| (&word[..], *n)).collect();
        // `É` keeps its bytes: only ASCII letters are lowered.
        let expected: [(&[u8], u64); 6] = [
            (b"n\xc3\xa9", 2),
            (b"stop", 2),
            (b"don", 1),
            (b"n\xc3\x89", 1),
            (b"t", 1),
            (b"times", 1),
        ];
        assert_eq!(top, expected);
        assert_eq!((counts.bytes, counts.words, counts.distinct), (37, 8, 6));
    }

    #[test]
    fn a_long_word_counts_once_under_its_beginning() {
        let counts = of(&[b'a'; 1000]);
        assert_eq!((counts.words, counts.distinct), (1, 1));
        assert_eq!(counts.top, [(vec![b'a'; WORD_BYTES_MAX], 1)]);
    }

    #[test]
    fn nothing_is_nothing() {
        assert_eq!(of(b""), Counts::default());
        assert_eq!(render(&of(b"")), b"bytes 0\nwords 0\ndistinct 0\n");
    }
}
