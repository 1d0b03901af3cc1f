//! The sieve of Eratosthenes, in segments that fit the fastest cache.
//!
//! Owns [`base_primes`] and [`count`]. Only odd numbers have a place in a segment; 2 is counted
//! apart.

use crate::work::Range;
use alloc::vec;
use alloc::vec::Vec;

/// Odd numbers of a segment, a byte each.
const SEGMENT: u64 = 1 << 15;

/// The odd primes whose square is below `limit`.
pub fn base_primes(limit: u64) -> Vec<u64> {
    let root = limit.isqrt();
    let mut composite = vec![false; (root / 2 + 1) as usize];
    let mut primes = Vec::new();
    // Place `i` stands for 2i + 1.
    for place in 1..composite.len() {
        let number = 2 * place as u64 + 1;
        if composite[place] || number > root {
            continue;
        }
        primes.push(number);
        let multiples = (number * number / 2..composite.len() as u64).step_by(number as usize);
        multiples.for_each(|multiple| composite[multiple as usize] = true);
    }
    primes
}

/// How many primes are in `range`, given those whose square is below its end.
pub fn count(base: &[u64], range: Range) -> u64 {
    let mut found = u64::from(range.start <= 2 && 2 < range.end);
    let mut composite = vec![false; SEGMENT as usize];
    // In places: `i` stands for 2i + 1. The first odd number from `start` on, but for 1.
    let (mut first, end) = ((range.start / 2).max(1), range.end / 2);
    while first < end {
        let len = SEGMENT.min(end - first);
        let segment = &mut composite[..len as usize];
        segment.fill(false);
        for &prime in base {
            if prime * prime > 2 * (first + len) {
                break;
            }
            strike(segment, first, prime);
        }
        found += segment.iter().filter(|composite| !**composite).count() as u64;
        first += len;
    }
    found
}

/// Marks the odd multiples of a prime, from its square on, in the segment that begins at `first`.
fn strike(segment: &mut [bool], first: u64, prime: u64) {
    let square = prime * prime / 2;
    let start = if square >= first {
        square - first
    } else {
        // Places of odd multiples are `prime` apart.
        (prime - (first - square) % prime) % prime
    };
    for composite in segment.iter_mut().skip(start as usize).step_by(prime as usize) {
        *composite = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_prime(number: u64) -> bool {
        number >= 2 && (2..).take_while(|d| d * d <= number).all(|d| !number.is_multiple_of(d))
    }

    #[test]
    fn counts_are_those_of_trial_division() {
        const LAST: u64 = 140_000;
        // How many primes are below each number.
        let mut below = vec![0];
        (0..LAST).for_each(|number| below.push(below[number as usize] + is_prime(number) as u64));
        for start in (0..30).chain([65_530, 65_536, 65_537, 131_071]) {
            for end in (start..start + 12).chain([start + 8_000]) {
                let expected = below[end as usize] - below[start as usize];
                let found = count(&base_primes(end), Range { start, end });
                assert_eq!(found, expected, "{start}..{end}");
            }
        }
        assert_eq!(count(&base_primes(LAST), Range { start: 0, end: LAST }), below[LAST as usize]);
    }

    #[test]
    fn the_base_is_every_odd_prime_up_to_the_root() {
        assert_eq!(base_primes(0), []);
        assert_eq!(base_primes(9), [3]);
        assert_eq!(base_primes(168), [3, 5, 7, 11]);
        assert_eq!(base_primes(1_000_000_000_000).len(), 78_497);
    }

    #[test]
    fn far_numbers_are_counted_too() {
        let end = 1_000_000_000_000;
        let base = base_primes(end);
        let count = |start, end| count(&base, Range { start, end });
        // The largest prime below 10^12 is 11 less.
        assert_eq!((count(end - 11, end), count(end - 10, end)), (1, 0));
        let (first, middle) = (end - 100_000, end - 40_000);
        assert_eq!(count(first, end), count(first, middle) + count(middle, end));
    }
}
