//! A run against one target.
//!
//! Owns [`Campaign`]: the corpus, what it came to so far, and the next input. The same seed and
//! corpus give the same inputs.

use crate::Target;
use crate::mutate::{Random, mutate};
use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Inputs that are kept to make others from.
const CORPUS_MAX: usize = 4096;

/// What a target did not survive.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Failure {
    /// The bytes.
    pub input: Vec<u8>,
}

/// A run against one target.
pub struct Campaign {
    target: Target,
    corpus: Vec<Vec<u8>>,
    outcomes: HashSet<u64>,
    random: Random,
    executed: u64,
}

impl Campaign {
    /// Begins with the target's own inputs, and more that are known already.
    ///
    /// # Errors
    ///
    /// The first of them that the target does not survive.
    pub fn new(target: Target, seed: u64, known: Vec<Vec<u8>>) -> Result<Self, Failure> {
        let random = Random::new(seed);
        let (corpus, outcomes) = (Vec::new(), HashSet::new());
        let mut campaign = Campaign { target, corpus, outcomes, random, executed: 0 };
        for input in (target.seeds)() {
            campaign.execute(&input)?;
            // Each of them is worth keeping, whatever it comes to.
            campaign.corpus.push(input);
        }
        for input in known {
            campaign.try_input(input)?;
        }
        Ok(campaign)
    }

    /// Makes so many inputs and has the target read them.
    ///
    /// # Errors
    ///
    /// The first that it does not survive.
    pub fn run(&mut self, inputs: usize) -> Result<(), Failure> {
        for _ in 0..inputs {
            let first = self.random.below(self.corpus.len().max(1));
            let second = self.random.below(self.corpus.len().max(1));
            let mut input = self.corpus.get(first).cloned().unwrap_or_default();
            let other = self.corpus.get(second).cloned().unwrap_or_default();
            mutate(&mut input, &other, self.target.words, &mut self.random);
            self.try_input(input)?;
        }
        Ok(())
    }

    /// Inputs that were read.
    pub fn executed(&self) -> u64 {
        self.executed
    }

    /// Different things that they came to.
    pub fn outcomes(&self) -> usize {
        self.outcomes.len()
    }

    /// The inputs that others are made from.
    pub fn corpus(&self) -> &[Vec<u8>] {
        &self.corpus
    }

    fn try_input(&mut self, input: Vec<u8>) -> Result<(), Failure> {
        let new = self.execute(&input)?;
        if new && self.corpus.len() < CORPUS_MAX {
            self.corpus.push(input);
        }
        Ok(())
    }

    /// True if the input came to something new.
    fn execute(&mut self, input: &[u8]) -> Result<bool, Failure> {
        self.executed += 1;
        let fuzz = self.target.fuzz;
        // Nothing of a target outlives a call.
        let outcome = catch_unwind(AssertUnwindSafe(|| fuzz(input)));
        let outcome = outcome.map_err(|_| Failure { input: input.to_vec() })?;
        Ok(self.outcomes.insert(outcome))
    }
}
