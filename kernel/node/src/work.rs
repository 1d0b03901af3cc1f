//! What one step of the node causes, collected while it runs.
//!
//! Owns [`Work`]: effects for the host, inputs for shards, listings to be made. Everything in it is
//! done before the step returns, so its length is bounded by what a single input can cause.

use crate::api::NodeEffect;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use craton_abi::{RequestId, ShardId, Slot};
use craton_session::PeerKey;
use craton_shard::port::Input;

#[derive(Default)]
pub(crate) struct Work {
    /// For the host, in order.
    pub(crate) effects: Vec<NodeEffect>,
    /// For the shards, in order.
    pub(crate) inputs: VecDeque<(ShardId, Input)>,
    /// Operators who want to see this node's processes.
    pub(crate) listings: Vec<(PeerKey, RequestId)>,
    /// The node was declared dead and must begin a new life.
    pub(crate) fenced: bool,
}

impl Work {
    pub(crate) fn effect(&mut self, effect: NodeEffect) {
        self.effects.push(effect);
    }

    pub(crate) fn input(&mut self, shard: ShardId, input: Input) {
        self.inputs.push_back((shard, input));
    }

    /// For the shard that holds `slot`.
    pub(crate) fn input_for(&mut self, slot: Slot, input: Input) {
        self.input(slot.shard(), input);
    }
}
