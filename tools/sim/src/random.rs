//! Draws from a seed.
//!
//! Owns [`Random`], a thin skin over ChaCha that says what is drawn.

use craton_abi::Duration;
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

/// A source of draws; equal seeds give equal draws.
pub(crate) struct Random(ChaCha8Rng);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Random(ChaCha8Rng::seed_from_u64(seed))
    }

    /// A generator of its own for a part.
    pub(crate) fn fork(&mut self) -> Random {
        Random::new(self.number())
    }

    pub(crate) fn number(&mut self) -> u64 {
        self.0.next_u64()
    }

    pub(crate) fn bytes32(&mut self) -> [u8; 32] {
        let mut bytes = [0; 32];
        self.0.fill_bytes(&mut bytes);
        bytes
    }

    /// A number below `end`; 0 if there is none.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        if end == 0 { 0 } else { (self.number() % end as u64) as usize }
    }

    /// True in `percent` of 100 cases.
    pub(crate) fn chance(&mut self, percent: u64) -> bool {
        self.number() % 100 < percent
    }

    /// A duration between two bounds.
    pub(crate) fn between(&mut self, least: Duration, most: Duration) -> Duration {
        let span = most.as_nanos().saturating_sub(least.as_nanos()) + 1;
        Duration::from_nanos(least.as_nanos() + self.number() % span)
    }

    /// Milliseconds between two bounds.
    pub(crate) fn millis(&mut self, least: u64, most: u64) -> Duration {
        self.between(Duration::from_millis(least), Duration::from_millis(most))
    }

    /// One of several; `None` of none.
    pub(crate) fn one<T: Copy>(&mut self, of: &[T]) -> Option<T> {
        if of.is_empty() { None } else { Some(of[self.below(of.len())]) }
    }
}
