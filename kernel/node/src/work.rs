//! What one step of the node causes, collected while it runs.
//!
//! Owns [`Work`]: effects for the host, inputs for shard 0, mail for the others, listings to be
//! made. Everything in it is done or handed over before the step returns, so its length is bounded
//! by what a single input can cause.

use crate::api::{ControlEffect, NodeEffect};
use crate::mail::{CONTROL, Life, Mail, MailBody};
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use craton_abi::{RequestId, ShardId, Slot};
use craton_session::PeerKey;
use craton_shard::port::Input;

#[derive(Default)]
pub(crate) struct Work {
    /// Of the node, at this time.
    pub(crate) life: Life,
    /// For the host, in order.
    pub(crate) effects: Vec<NodeEffect>,
    /// For shard 0, in order.
    pub(crate) inputs: VecDeque<Input>,
    /// Operators who want to see this node's processes.
    pub(crate) listings: Vec<(PeerKey, RequestId)>,
    /// The node was declared dead and must begin a new life.
    pub(crate) fenced: bool,
}

impl Work {
    pub(crate) fn effect(&mut self, effect: NodeEffect) {
        self.effects.push(effect);
    }

    /// What the control alone asks for.
    pub(crate) fn ask(&mut self, effect: ControlEffect) {
        self.effect(NodeEffect::Own(effect));
    }

    /// For a shard that there is.
    pub(crate) fn input(&mut self, shard: ShardId, input: Input) {
        if shard == CONTROL {
            self.inputs.push_back(input);
        } else {
            self.post(shard, MailBody::Input(Box::new(input)));
        }
    }

    /// For the shard that holds `slot`.
    pub(crate) fn input_for(&mut self, slot: Slot, input: Input) {
        self.input(slot.shard(), input);
    }

    /// For a worker.
    pub(crate) fn post(&mut self, to: ShardId, body: MailBody) {
        let mail = Mail { life: self.life, from: CONTROL, body };
        self.effect(NodeEffect::Post { to, mail });
    }
}
