//! What is of this node: its own pid, its shards, the processes of its present life.
//!
//! Adds to [`Control`] the questions that everything which carries something asks first.

use crate::control::Control;
use craton_abi::{Pid, ShardId, Slot};
use craton_shard::port;

impl Control {
    /// The pid under which the node itself speaks. No process has it: no shard has that index.
    pub(crate) fn pid(&self) -> Pid {
        let slot = Slot::new(ShardId::new(u8::MAX), Slot::INDEX_MAX, u32::MAX).unwrap_or_default();
        Pid { node: self.me.node, incarnation: self.me.incarnation, slot }
    }

    /// Whether a pid is of this life of this node, and of a shard that it has.
    pub(crate) fn is_here(&self, pid: Pid) -> bool {
        self.is_shard(port::Source::of(pid))
    }

    /// Whether this is a shard of this life of this node.
    pub(crate) fn is_shard(&self, shard: port::Source) -> bool {
        let mine = (shard.node, shard.incarnation) == (self.me.node, self.me.incarnation);
        mine && shard.shard.index() < usize::from(self.shards)
    }

    /// A shard of this life of this node, if it has so many.
    pub(crate) fn shard_of_mine(&self, shard: ShardId) -> port::Source {
        port::Source { node: self.me.node, incarnation: self.me.incarnation, shard }
    }

    /// Whether a pid is of this life of this node.
    pub(crate) fn is_mine(&self, pid: Pid) -> bool {
        pid.node == self.me.node && pid.incarnation == self.me.incarnation
    }
}
