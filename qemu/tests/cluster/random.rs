//! Chance from a seed, so that a failure can be run again.
//!
//! Owns [`Random`] and the text that is counted.

use std::io::Read;

/// SplitMix64 (Steele and others, 2014).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Random(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next() as u8).collect()
    }
}

/// Text of words common and rare, short and far too long, in letters of any case, with bytes that
/// are no ASCII and bytes that are no UTF-8.
pub fn text(seed: u64, bytes: usize) -> Vec<u8> {
    let mut random = Random::new(seed);
    let mut text = Vec::with_capacity(bytes + 5000);
    while text.len() < bytes {
        match random.below(2000) {
            0 => text.extend(vec![b'a' + random.below(26) as u8; 1 + random.below(5000)]),
            1..=40 => text.extend("Ünïcode Größe — λόγος".as_bytes()),
            41..=60 => text.extend(random.bytes(7)),
            61..=900 => text.extend(format!("Word{}", letters(random.below(50))).as_bytes()),
            _ => text.extend(letters(random.below(20_000)).as_bytes()),
        }
        text.extend_from_slice([" ", "\n", ", ", "'", " 42 "][random.below(5)].as_bytes());
    }
    text.truncate(bytes);
    text
}

/// A word for a number.
fn letters(mut number: usize) -> String {
    let mut word = String::new();
    loop {
        word.push(char::from(b'a' + (number % 26) as u8));
        number /= 26;
        if number == 0 {
            return word;
        }
    }
}

/// The same text again and again, without end.
pub struct Endless {
    text: Vec<u8>,
    at: usize,
}

impl Endless {
    pub fn new(seed: u64) -> Self {
        Endless { text: text(seed, 100_000), at: 0 }
    }
}

impl Read for Endless {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = buffer.len().min(self.text.len() - self.at);
        buffer[..count].copy_from_slice(&self.text[self.at..self.at + count]);
        self.at = (self.at + count) % self.text.len();
        Ok(count)
    }
}
