//! Benchmarks that only compute: recursion, integers, floating point.
//!
//! Owns three loops and their known results.

use crate::{Cpus, Figure, Result, expect, now};
use alloc::vec;
use alloc::vec::Vec;
use core::hint::black_box;

const FIB_OF: u64 = 30;
const FIB_IS: u64 = 832_040;
const HASHED_BYTES: usize = 64 << 10;
/// SHA-256 of so many zeros, by `head -c 65536 /dev/zero | sha256sum`.
const HASH_HEAD: u32 = 0xde2f_2560;
const SIDE: usize = 96;

pub fn fib(count: u64, _: Cpus) -> Result<Figure> {
    let before = now();
    for _ in 0..count {
        expect("fib", recurse(black_box(FIB_OF)), FIB_IS)?;
    }
    Ok(Figure { count, used: now() - before })
}

fn recurse(n: u64) -> u64 {
    if n < 2 { n } else { recurse(n - 1) + recurse(n - 2) }
}

pub fn matmul(count: u64, _: Cpus) -> Result<Figure> {
    let number = |at: usize| (at % 7) as f64;
    let left: Vec<f64> = (0..SIDE * SIDE).map(number).collect();
    let right: Vec<f64> = (0..SIDE * SIDE).map(|at| number(at / SIDE + at)).collect();
    // All values are small whole numbers: the sum of the product is that of column and row sums.
    let sum_of = |values: &mut dyn Iterator<Item = f64>| values.sum::<f64>();
    let due: f64 = (0..SIDE)
        .map(|k| {
            let column = sum_of(&mut (0..SIDE).map(|row| left[row * SIDE + k]));
            column * sum_of(&mut right[k * SIDE..(k + 1) * SIDE].iter().copied())
        })
        .sum();
    let before = now();
    for _ in 0..count {
        let product = multiply(black_box(&left), black_box(&right));
        expect("the sum of the product", product.iter().sum::<f64>(), due)?;
    }
    Ok(Figure { count, used: now() - before })
}

fn multiply(left: &[f64], right: &[f64]) -> Vec<f64> {
    let mut product = vec![0.0; SIDE * SIDE];
    for (into, row) in product.chunks_mut(SIDE).zip(left.chunks(SIDE)) {
        for (factor, other) in row.iter().zip(right.chunks(SIDE)) {
            for (cell, value) in into.iter_mut().zip(other) {
                *cell += factor * value;
            }
        }
    }
    product
}

pub fn sha256(count: u64, _: Cpus) -> Result<Figure> {
    let zeros = vec![0_u8; HASHED_BYTES];
    let before = now();
    for _ in 0..count {
        expect("the hash's first word", hash(black_box(&zeros))[0], HASH_HEAD)?;
    }
    Ok(Figure { count, used: now() - before })
}

/// SHA-256 (FIPS 180-4) of whole blocks.
fn hash(message: &[u8]) -> [u32; 8] {
    let mut state = [
        0x6a09_e667,
        0xbb67_ae85,
        0x3c6e_f372,
        0xa54f_f53a,
        0x510e_527f,
        0x9b05_688c,
        0x1f83_d9ab,
        0x5be0_cd19,
    ];
    message.chunks_exact(64).for_each(|block| compress(&mut state, block));
    let mut last = [0; 64];
    last[0] = 0x80;
    last[56..].copy_from_slice(&(message.len() as u64 * 8).to_be_bytes());
    compress(&mut state, &last);
    state
}

/// The first 32 bits of the fractions of the cube roots of the first 64 primes (FIPS 180-4, 4.2.2).
/// Not written out and not worked out while the clock runs: the compiler does it.
const ROUND_CONSTANTS: [u32; 64] = round_constants();

const fn round_constants() -> [u32; 64] {
    let mut constants = [0; 64];
    let (mut found, mut n) = (0, 2);
    while found < constants.len() {
        if is_prime(n) {
            constants[found] = cube_root_fraction(n);
            found += 1;
        }
        n += 1;
    }
    constants
}

const fn is_prime(n: u128) -> bool {
    let mut divisor = 2;
    while divisor * divisor <= n {
        if n.is_multiple_of(divisor) {
            return false;
        }
        divisor += 1;
    }
    true
}

const fn cube_root_fraction(n: u128) -> u32 {
    // The largest r with r^3 <= n * 2^96: the cube root of n with 32 bits of fraction.
    let (mut low, mut high) = (0_u128, 1 << 36);
    while high - low > 1 {
        let middle = (low + high) / 2;
        if middle * middle * middle <= n << 96 {
            low = middle;
        } else {
            high = middle;
        }
    }
    low as u32
}

fn compress(state: &mut [u32; 8], block: &[u8]) {
    let mut words = [0_u32; 64];
    for (word, bytes) in words.iter_mut().zip(block.chunks_exact(4)) {
        *word = bytes.iter().fold(0, |word, byte| word << 8 | u32::from(*byte));
    }
    for t in 16..64 {
        let (a, b) = (words[t - 15], words[t - 2]);
        let first = a.rotate_right(7) ^ a.rotate_right(18) ^ a >> 3;
        let second = b.rotate_right(17) ^ b.rotate_right(19) ^ b >> 10;
        words[t] =
            words[t - 16].wrapping_add(first).wrapping_add(words[t - 7]).wrapping_add(second);
    }
    let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = *state;
    for (word, constant) in words.iter().zip(&ROUND_CONSTANTS) {
        let sum = e.rotate_right(6) ^ e.rotate_right(11) ^ e.rotate_right(25);
        let choice = e & f ^ !e & g;
        let first = h.wrapping_add(sum).wrapping_add(choice);
        let first = first.wrapping_add(*constant).wrapping_add(*word);
        let sum = a.rotate_right(2) ^ a.rotate_right(13) ^ a.rotate_right(22);
        let second = sum.wrapping_add(a & b ^ a & c ^ b & c);
        (h, g, f, e) = (g, f, e, d.wrapping_add(first));
        (d, c, b, a) = (c, b, a, first.wrapping_add(second));
    }
    for (word, add) in state.iter_mut().zip([a, b, c, d, e, f, g, h]) {
        *word = word.wrapping_add(add);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_the_standards() {
        assert_eq!(ROUND_CONSTANTS[0], 0x428a_2f98);
        assert_eq!(ROUND_CONSTANTS[63], 0xc671_78f2);
        assert_eq!(hash(b"")[0], 0xe3b0_c442);
    }
}
