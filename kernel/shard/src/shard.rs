//! The shard itself: what it holds, and what each input does to it.
//!
//! Owns [`Shard`] and [`ShardConfig`].

use crate::port::{Effect, Input};
use crate::view::ProcessView;
use alloc::vec::Vec;
use craton_abi::{Incarnation, Instant, NodeId, ShardId};

/// What a shard is told at its birth.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct ShardConfig {
    /// The node it belongs to.
    pub node: NodeId,
    /// The life of that node.
    pub incarnation: Incarnation,
    /// Which of the node's shards it is.
    pub shard: ShardId,
    /// Most processes at once.
    pub processes_max: usize,
}

/// One CPU's processes, run queue and timers.
#[derive(Debug)]
pub struct Shard {
    config: ShardConfig,
}

impl Shard {
    /// A shard without processes.
    pub fn new(config: ShardConfig) -> Self {
        Shard { config }
    }

    /// Takes one input and appends what is to be done about it, in order. [`Effect::Run`] comes
    /// only in answer to [`Input::Tick`], and at most one for each.
    pub fn step(&mut self, _input: Input, _now: Instant, _out: &mut Vec<Effect>) {}

    /// When it must be stepped with [`Input::Tick`] at the latest, if nobody is runnable.
    pub fn deadline(&self) -> Option<Instant> {
        None
    }

    /// Whether a tick would run a process.
    pub fn runnable(&self) -> bool {
        false
    }

    /// Processes in the table, ending ones among them.
    pub fn len(&self) -> usize {
        0
    }

    /// Whether the table is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All processes, as a listing shows them.
    pub fn processes(&self) -> impl Iterator<Item = ProcessView<'_>> {
        core::iter::empty()
    }

    /// What it was told at its birth.
    pub fn config(&self) -> ShardConfig {
        self.config
    }
}
