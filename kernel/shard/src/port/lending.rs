//! What two shards of a node say to one another of a process that one of them runs for the other.
//!
//! Owns [`Lending`]. See `lend` for who says what when.

use super::{Outcome, Resume};
use craton_abi::Duration;

/// Said of a process by its home, and by the shard that it is lent to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Lending {
    /// By its home: it is to go on like this, and has this share of the CPU. Who did not have it
    /// takes it.
    Run(Resume, u32),
    /// By its home: give it back. It waits for an answer, or has ended.
    Recall,
    /// By who has it: it came back like this, and used so much time since that was told last. If it
    /// came to its end it is given back.
    Ran(Outcome, Duration),
    /// By who has it: it is given back. It goes on like this, unless its home knows; and it used so
    /// much time since that was told last.
    Returned(Option<Resume>, Duration),
}
