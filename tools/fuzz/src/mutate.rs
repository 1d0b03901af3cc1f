//! Bytes made from other bytes.
//!
//! Owns [`Random`], a small generator that a seed decides, and [`mutate`].

/// Longest input.
pub(crate) const INPUT_BYTES_MAX: usize = 16 << 10;
/// Numbers at which things change.
const EDGES: [u64; 14] = [
    0,
    1,
    7,
    0x7f,
    0x80,
    0xff,
    0x100,
    0x7fff,
    0x8000,
    0xffff,
    0x1_0000,
    0x7fff_ffff,
    0xffff_ffff,
    u64::MAX,
];

/// Numbers that a seed decides (xorshift64*).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below a bound, which is not 0.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() >> 16) as usize % bound
    }
}

/// Changes bytes a little; `other` is a second input to take from.
pub(crate) fn mutate(bytes: &mut Vec<u8>, other: &[u8], words: &[&[u8]], random: &mut Random) {
    for _ in 0..1 + random.below(4) {
        change(bytes, other, words, random);
    }
    bytes.truncate(INPUT_BYTES_MAX);
}

fn change(bytes: &mut Vec<u8>, other: &[u8], words: &[&[u8]], random: &mut Random) {
    if bytes.is_empty() {
        bytes.extend_from_slice(other);
        return;
    }
    let at = random.below(bytes.len());
    match random.below(10) {
        0 => bytes[at] ^= 1 << random.below(8),
        1 => bytes[at] = random.next() as u8,
        2 => bytes[at] = bytes[at].wrapping_add(random.below(9) as u8).wrapping_sub(4),
        3 => put_edge(bytes, at, random),
        4 => bytes.truncate(at),
        5 => drop(bytes.drain(at..(at + 1 + random.below(16)).min(bytes.len()))),
        6 => {
            // Some of it twice.
            let part = bytes[at..(at + 1 + random.below(64)).min(bytes.len())].to_vec();
            insert(bytes, at, &part);
        }
        7 if !words.is_empty() => {
            let word = words[random.below(words.len())];
            if random.below(2) == 0 {
                insert(bytes, at, word);
            } else {
                let end = (at + word.len()).min(bytes.len());
                bytes[at..end].copy_from_slice(&word[..end - at]);
            }
        }
        8 if !other.is_empty() => {
            // The rest is another's.
            let from = random.below(other.len());
            bytes.truncate(at);
            bytes.extend_from_slice(&other[from..]);
        }
        _ => {
            let noise: Vec<u8> = (0..1 + random.below(8)).map(|_| random.next() as u8).collect();
            insert(bytes, at, &noise);
        }
    }
}

/// Writes a number at which things change, in one of the usual widths and orders.
fn put_edge(bytes: &mut [u8], at: usize, random: &mut Random) {
    let edge = EDGES[random.below(EDGES.len())];
    let width = [1, 2, 4, 8][random.below(4)];
    let little = edge.to_le_bytes();
    let big: Vec<u8> = little[..width].iter().rev().copied().collect();
    let written = if random.below(2) == 0 { &little[..width] } else { &big[..] };
    for (place, byte) in bytes[at..].iter_mut().zip(written) {
        *place = *byte;
    }
}

fn insert(bytes: &mut Vec<u8>, at: usize, part: &[u8]) {
    bytes.splice(at..at, part.iter().copied());
}
