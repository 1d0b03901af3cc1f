//! How much a shard may hand over for each other node before it waits for word of room.
//!
//! Owns [`Pacing`]. Credit bounds what is under way to one mailbox; a program that sends to very
//! many mailboxes of one node is bounded by this, so that its senders wait and no queue between the
//! nodes overflows. Neighbour: `window.rs`, at whose windows those senders stand.

use alloc::collections::{BTreeMap, BTreeSet};
use core::ops::Bound::{Excluded, Unbounded};
use craton_abi::{NodeId, Pid, limit};

/// What one shard handed over for other nodes since it last heard of room.
#[derive(Debug, Default)]
pub struct Pacing {
    nodes: BTreeMap<NodeId, Pace>,
}

#[derive(Debug, Default)]
struct Pace {
    bytes: usize,
    /// Mailboxes at whose windows somebody waits for room.
    waiting: BTreeSet<Pid>,
    /// The mailbox that was served last; the next one is served next.
    served: Option<Pid>,
}

impl Pacing {
    /// Nothing was handed over.
    pub const fn new() -> Self {
        Pacing { nodes: BTreeMap::new() }
    }

    /// Whether a message for a node may be handed over now.
    pub fn admits(&self, node: NodeId) -> bool {
        self.nodes.get(&node).is_none_or(|pace| pace.bytes < limit::NODE_ROOM_BYTES)
    }

    /// A message of `bytes` bytes was handed over. Whether it was the last that fits: then the
    /// caller asks for room, once.
    #[must_use]
    pub fn charge(&mut self, node: NodeId, bytes: usize) -> bool {
        let pace = self.nodes.entry(node).or_default();
        let before = pace.bytes;
        pace.bytes = before.saturating_add(bytes);
        before < limit::NODE_ROOM_BYTES && pace.bytes >= limit::NODE_ROOM_BYTES
    }

    /// Somebody waits at the window of `mailbox` for room at its node.
    pub fn wait(&mut self, mailbox: Pid) {
        self.nodes.entry(mailbox.node).or_default().waiting.insert(mailbox);
    }

    /// There is room for a node again.
    pub fn room(&mut self, node: NodeId) {
        if let Some(pace) = self.nodes.get_mut(&node) {
            pace.bytes = 0;
            if pace.waiting.is_empty() {
                self.nodes.remove(&node);
            }
        }
    }

    /// The next mailbox of a node at whose window somebody waits for room, each in its turn.
    pub fn next(&mut self, node: NodeId) -> Option<Pid> {
        let pace = self.nodes.get_mut(&node)?;
        let after = pace.served.map_or(Unbounded, Excluded);
        let next = pace.waiting.range((after, Unbounded)).next().or_else(|| pace.waiting.first());
        let next = *next?;
        pace.waiting.remove(&next);
        pace.served = Some(next);
        Some(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use craton_abi::{Incarnation, ShardId, Slot};

    const NODE: NodeId = NodeId::new(7);

    fn mailbox(index: u32) -> Pid {
        let slot = Slot::new(ShardId::new(0), index, 1).expect("in range");
        Pid { node: NODE, incarnation: Incarnation::new(1), slot }
    }

    #[test]
    fn room_is_asked_for_once_when_it_is_used_up() {
        let mut pacing = Pacing::new();
        assert!(!pacing.charge(NODE, limit::NODE_ROOM_BYTES - 1));
        assert!(pacing.admits(NODE));
        assert!(pacing.charge(NODE, limit::MESSAGE_BYTES_MAX));
        assert!(!pacing.admits(NODE));
        assert!(!pacing.charge(NODE, usize::MAX), "it was asked for already");
        assert!(pacing.admits(NodeId::new(8)), "another node has its own");
        pacing.room(NODE);
        assert!(pacing.admits(NODE));
    }

    #[test]
    fn mailboxes_are_served_in_turn() {
        let mut pacing = Pacing::new();
        for index in [3, 1, 2] {
            pacing.wait(mailbox(index));
        }
        assert_eq!(pacing.next(NODE), Some(mailbox(1)));
        pacing.wait(mailbox(1));
        assert_eq!(pacing.next(NODE), Some(mailbox(2)));
        assert_eq!(pacing.next(NODE), Some(mailbox(3)));
        assert_eq!(pacing.next(NODE), Some(mailbox(1)));
        assert_eq!(pacing.next(NODE), None);
    }
}
