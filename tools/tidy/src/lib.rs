//! Style as a test: whatever a machine can check of the house's rules is checked here.
//!
//! Owns the rules, one module each, and [`Offence`], what a rule answers. A rule is a pure function
//! of a [`Repo`] or of text, so that its own tests show it failing on a bad sample; `tests/tidy.rs`
//! holds the repository against all of them.

#![forbid(unsafe_code)]

pub mod banned;
pub mod decisions;
pub mod edges;
pub mod kernel_tree;
pub mod length;
pub mod packages;
pub mod repo;
pub mod source;
pub mod tagline;
pub mod tokens;
pub mod unsafe_code;
pub mod workplace;

pub use repo::Repo;
pub use source::{Kind, Source};

use std::fmt;

/// One place that breaks a rule, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Offence {
    /// The file, from the repository's root.
    pub path: String,
    /// The line, from 1.
    pub line: usize,
    /// The rule's name.
    pub rule: &'static str,
    /// What is wrong and what to do.
    pub advice: String,
}

impl Offence {
    /// An offence against `rule`.
    pub fn new(path: &str, line: usize, rule: &'static str, advice: impl Into<String>) -> Self {
        Offence { path: path.to_owned(), line, rule, advice: advice.into() }
    }
}

impl fmt::Display for Offence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}: {}", self.path, self.line, self.rule, self.advice)
    }
}

/// The offences as a test prints them, one a line and in order.
pub fn listing(offences: &[Offence]) -> String {
    let mut sorted = offences.to_vec();
    sorted.sort();
    let lines: Vec<String> = sorted.iter().map(Offence::to_string).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_is_sorted_and_clickable() {
        let offences =
            [Offence::new("b.rs", 2, "rule", "do"), Offence::new("a.rs", 10, "rule", "do")];
        assert_eq!(listing(&offences), "a.rs:10: rule: do\nb.rs:2: rule: do");
    }
}
