//! The links of one process: whose end is its own concern, and whom its end concerns.
//!
//! Owns [`Links`]: one entry for each linked process, on both sides. A link that is being taken
//! back stays as long as the other side has not acknowledged it, so that nothing of before has an
//! effect after it:
//!
//! ```text
//!            link, Link comes                 unlink
//!   absent ───────────────────▶ active ───────────────────▶ being taken back (id)
//!     ▲                           │  ▲         link              │
//!     │      Unlink, Exit come    │  └───────────────────────────┤
//!     └───────────────────────────┴──────────────────────────────┘ Unlinked (id), Exit come
//! ```
//!
//! While it is being taken back a `Link` of the other side has no effect: it was sent before the
//! other side heard of it, which will take the link back there too.

use crate::watchers::{WATCHERS_PER_PROCESS_MAX, node_range};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use craton_abi::limit::LINKS_PER_PROCESS_MAX;
use craton_abi::{Incarnation, NodeId, Pid, RequestId};

/// Most links of one process, those among them that others made.
pub const LINKED_PER_PROCESS_MAX: usize = WATCHERS_PER_PROCESS_MAX;

const _: () = assert!(
    LINKS_PER_PROCESS_MAX < LINKED_PER_PROCESS_MAX,
    "others may link to a process that has made all the links that it may"
);

/// The process has as many links as it may.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct TooManyLinks;

/// The links of one process, at most one to each other.
#[derive(Debug, Default)]
pub struct Links {
    /// By the other process: the unlink that is not acknowledged yet, or `None` if active.
    all: BTreeMap<Pid, Option<RequestId>>,
}

impl Links {
    /// No links.
    pub const fn new() -> Self {
        Links { all: BTreeMap::new() }
    }

    /// Makes a link active. Whether the other side must be told: it was not active before.
    #[must_use]
    pub fn link(&mut self, other: Pid) -> bool {
        self.all.insert(other, None) != Some(None)
    }

    /// Another process made a link.
    ///
    /// # Errors
    ///
    /// [`TooManyLinks`] if there are as many as may be, `notices` of ended links among them.
    pub fn linked(&mut self, by: Pid, notices: usize) -> Result<(), TooManyLinks> {
        if !self.all.contains_key(&by) {
            if self.all.len() + notices >= LINKED_PER_PROCESS_MAX {
                return Err(TooManyLinks);
            }
            self.all.insert(by, None);
        }
        Ok(())
    }

    /// Takes a link back. Whether the other side must be told.
    #[must_use]
    pub fn unlink(&mut self, other: Pid, id: RequestId) -> bool {
        match self.all.get_mut(&other) {
            Some(state @ None) => {
                *state = Some(id);
                true
            }
            _ => false,
        }
    }

    /// The other side took the link back.
    pub fn unlinked(&mut self, by: Pid) {
        if self.is_active(by) {
            self.all.remove(&by);
        }
    }

    /// The other side acknowledges an unlink of this one.
    pub fn acknowledged(&mut self, by: Pid, id: RequestId) {
        if self.all.get(&by) == Some(&Some(id)) {
            self.all.remove(&by);
        }
    }

    /// Forgets a link, as both sides on one shard do at once. Whether it was active.
    pub fn remove(&mut self, other: Pid) -> bool {
        self.all.remove(&other) == Some(None)
    }

    /// Whether there is a link that has an effect.
    pub fn is_active(&self, other: Pid) -> bool {
        self.all.get(&other) == Some(&None)
    }

    /// Forgets the links to a node that is lost: those that were active.
    pub fn forget_node(&mut self, node: NodeId, incarnation: Incarnation) -> Vec<Pid> {
        let [first, last] = node_range(node, incarnation);
        let lost: Vec<Pid> = self.all.range(first..=last).map(|(&pid, _)| pid).collect();
        lost.into_iter().filter(|pid| self.remove(*pid)).collect()
    }

    /// Everybody who is to hear of the end, also those who may wait for an acknowledgement that
    /// does not come any more.
    pub fn into_all(self) -> Vec<Pid> {
        if self.all.is_empty() {
            return Vec::new();
        }
        self.all.into_keys().collect()
    }

    /// Number of links.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use craton_abi::{ShardId, Slot};

    fn pid(node: u64) -> Pid {
        let slot = Slot::new(ShardId::new(0), 1, 1).expect("in range");
        Pid { node: NodeId::new(node), incarnation: Incarnation::new(1), slot }
    }

    const FIRST: RequestId = RequestId::new(1);
    const SECOND: RequestId = RequestId::new(2);

    #[test]
    fn a_link_of_before_the_unlink_has_no_effect_and_one_of_after_has() {
        let mut links = Links::new();
        assert!(links.link(pid(1)));
        assert!(!links.link(pid(1)), "at most one a pair");
        assert!(links.unlink(pid(1), FIRST));
        assert!(!links.unlink(pid(1), SECOND), "it is taken back already");
        links.linked(pid(1), 0).expect("room");
        assert!(!links.is_active(pid(1)), "sent before the other side heard of the unlink");
        links.acknowledged(pid(1), FIRST);
        links.linked(pid(1), 0).expect("room");
        assert!(links.is_active(pid(1)));
    }

    #[test]
    fn an_acknowledgement_of_an_earlier_unlink_takes_no_later_link_away() {
        let mut links = Links::new();
        assert!(links.link(pid(1)) && links.unlink(pid(1), FIRST));
        assert!(links.link(pid(1)), "the other side must be told again");
        links.acknowledged(pid(1), FIRST);
        assert!(links.is_active(pid(1)));
        assert!(links.unlink(pid(1), SECOND));
        links.acknowledged(pid(1), FIRST);
        assert_eq!(links.len(), 1, "the second is not acknowledged yet");
        links.acknowledged(pid(1), SECOND);
        assert!(links.is_empty());
    }

    #[test]
    fn both_may_unlink_at_once() {
        let (mut a, mut b) = (Links::new(), Links::new());
        assert!(a.link(pid(2)));
        b.linked(pid(1), 0).expect("room");
        assert!(a.unlink(pid(2), FIRST) && b.unlink(pid(1), SECOND));
        a.unlinked(pid(2));
        b.unlinked(pid(1));
        assert_eq!((a.len(), b.len()), (1, 1), "each waits for its own acknowledgement");
        a.acknowledged(pid(2), FIRST);
        b.acknowledged(pid(1), SECOND);
        assert!(a.is_empty() && b.is_empty());
    }

    #[test]
    fn a_lost_node_breaks_its_active_links_only() {
        let mut links = Links::new();
        let third = Pid { slot: Slot::default(), ..pid(2) };
        assert!(links.link(pid(1)) && links.link(pid(2)) && links.link(third));
        assert!(links.unlink(third, FIRST));
        assert_eq!(links.forget_node(NodeId::new(2), Incarnation::new(9)), []);
        assert_eq!(links.forget_node(NodeId::new(2), Incarnation::new(1)), [pid(2)]);
        assert_eq!(links.into_all(), [pid(1)]);
    }

    #[test]
    fn others_cannot_link_without_end() {
        let mut links = Links::new();
        links.linked(pid(1), LINKED_PER_PROCESS_MAX - 1).expect("room for one");
        assert_eq!(links.linked(pid(2), LINKED_PER_PROCESS_MAX - 1), Err(TooManyLinks));
        assert_eq!(links.linked(pid(1), LINKED_PER_PROCESS_MAX), Ok(()), "there already");
    }
}
