//! The network of the model: it answers late and gives connections to anybody.
//!
//! It remembers whose end it was not told of.

use super::{LANE_OTHER, World, at, locate};
use crate::port::Input;
use alloc::collections::BTreeSet;
use craton_abi::{
    AppId, Incarnation, NodeId, Pid, SocketEvent, SocketId, SocketOrder, SocketReply,
};

/// The lane of a shard to the network, and back: both keep their order.
const LANE_NETWORK: u64 = LANE_OTHER + 3;

#[derive(Default)]
pub(super) struct Network {
    /// Who may have sockets.
    holders: BTreeSet<Pid>,
    answered: u64,
}

impl World {
    /// What a shard wants of the network.
    pub(super) fn network(&mut self, order: SocketOrder) {
        match order {
            SocketOrder::Call { from, app, .. } => {
                self.network.holders.insert(from);
                self.network.answered += 1;
                if self.random.chance(30) {
                    let to = *self.random.pick(&self.pids);
                    self.give(to, app);
                }
                let there = locate(from);
                let event = SocketEvent::Done { to: from, reply: SocketReply::Done };
                self.push(there, there, LANE_NETWORK, Input::Socket(event));
            }
            SocketOrder::Release { owner, .. } => _ = self.network.holders.remove(&owner),
            SocketOrder::Refuse { .. } | SocketOrder::Watch { .. } => {}
        }
    }

    fn give(&mut self, to: Pid, app: AppId) {
        let Some(there) = at(to.node, to.slot.shard()) else { return };
        // Nobody gives to a life that is over.
        let config = self.shards[there].config();
        if (to.node, to.incarnation) == (config.node, config.incarnation) {
            self.network.holders.insert(to);
            let event = SocketEvent::Given { to, app, socket: SocketId::new(1) };
            self.push(there, there, LANE_NETWORK, Input::Socket(event));
        }
    }

    /// A node begins a new life: its network forgets the old one.
    pub(super) fn network_lost(&mut self, node: NodeId, life: Incarnation) {
        self.network.holders.retain(|pid| (pid.node, pid.incarnation) != (node, life));
    }

    /// Nobody has sockets that does not live.
    pub(super) fn assert_network(&self) {
        for holder in &self.network.holders {
            assert!(self.actors.contains_key(holder), "{holder} ended with its sockets open");
        }
    }

    pub(super) fn network_answers(&self) -> u64 {
        self.network.answered
    }
}
