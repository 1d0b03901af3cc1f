//! Who is to be told how a process ends.
//!
//! Owns [`Watchers`], the set that the watched process carries. Its twin on the watching side is
//! the mailbox, where the notice's room is reserved.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use craton_abi::{Incarnation, MonitorId, NodeId, Pid, ShardId, Slot};

/// Most watchers of one process. Each is also charged to the watcher, within
/// [`craton_abi::limit::MONITORS_PER_PROCESS_MAX`].
pub const WATCHERS_PER_PROCESS_MAX: usize = 1 << 18;

/// Up to this many watchers are kept in a short vector: most processes have one or none, and a
/// tree's first node alone is many times as large.
const FEW_MAX: usize = 8;

/// The process has as many watchers as it may.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct TooManyWatchers;

/// Monitors on one process, each once.
#[derive(Debug)]
pub struct Watchers {
    set: Set,
}

#[derive(Debug)]
enum Set {
    Few(Vec<(Pid, MonitorId)>),
    Many(BTreeSet<(Pid, MonitorId)>),
}

impl Watchers {
    /// Nobody.
    pub const fn new() -> Self {
        Watchers { set: Set::Few(Vec::new()) }
    }

    /// Adds a monitor; one that is there already is not added again.
    ///
    /// # Errors
    ///
    /// [`TooManyWatchers`] at [`WATCHERS_PER_PROCESS_MAX`]; nothing is changed.
    pub fn add(&mut self, watcher: Pid, id: MonitorId) -> Result<(), TooManyWatchers> {
        match &mut self.set {
            Set::Few(few) => {
                if few.contains(&(watcher, id)) {
                    return Ok(());
                }
                if few.len() < FEW_MAX {
                    few.push((watcher, id));
                } else {
                    let mut many: BTreeSet<_> = few.drain(..).collect();
                    many.insert((watcher, id));
                    self.set = Set::Many(many);
                }
            }
            Set::Many(many) => {
                if many.len() >= WATCHERS_PER_PROCESS_MAX && !many.contains(&(watcher, id)) {
                    return Err(TooManyWatchers);
                }
                many.insert((watcher, id));
            }
        }
        Ok(())
    }

    /// Takes a monitor back.
    pub fn remove(&mut self, watcher: Pid, id: MonitorId) {
        match &mut self.set {
            Set::Few(few) => few.retain(|&entry| entry != (watcher, id)),
            Set::Many(many) => {
                many.remove(&(watcher, id));
            }
        }
    }

    /// Forgets the watchers of a node that is lost.
    pub fn forget_node(&mut self, node: NodeId, incarnation: Incarnation) {
        match &mut self.set {
            Set::Few(few) => {
                few.retain(|(pid, _)| (pid.node, pid.incarnation) != (node, incarnation));
            }
            Set::Many(many) => {
                let [first, last] = node_range(node, incarnation);
                let range = (first, MonitorId::new(0))..=(last, MonitorId::new(u64::MAX));
                let lost: Vec<_> = many.range(range).copied().collect();
                for entry in lost {
                    many.remove(&entry);
                }
            }
        }
    }

    /// Number of monitors.
    pub fn len(&self) -> usize {
        match &self.set {
            Set::Few(few) => few.len(),
            Set::Many(many) => many.len(),
        }
    }

    /// Whether nobody watches.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Everybody who is to be told, once.
    #[must_use]
    pub fn into_all(self) -> Vec<(Pid, MonitorId)> {
        match self.set {
            Set::Few(few) => few,
            Set::Many(many) => many.into_iter().collect(),
        }
    }
}

impl Default for Watchers {
    fn default() -> Self {
        Watchers::new()
    }
}

/// The first and the last pid that a node can have in one of its lives, in the order of pids.
pub fn node_range(node: NodeId, incarnation: Incarnation) -> [Pid; 2] {
    let last = Slot::new(ShardId::new(u8::MAX), Slot::INDEX_MAX, u32::MAX).unwrap_or_default();
    [Slot::default(), last].map(|slot| Pid { node, incarnation, slot })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pid(node: u64, index: u32) -> Pid {
        let slot = Slot::new(ShardId::new(1), index, 7).expect("in range");
        Pid { node: NodeId::new(node), incarnation: Incarnation::new(9), slot }
    }

    #[test]
    fn holds_each_monitor_once_few_or_many() {
        for count in [FEW_MAX, 3 * FEW_MAX] {
            let mut watchers = Watchers::new();
            for index in 0..count {
                let id = MonitorId::new(index as u64);
                watchers.add(pid(1, index as u32), id).expect("room");
                watchers.add(pid(1, index as u32), id).expect("room");
            }
            assert_eq!(watchers.len(), count);
            watchers.remove(pid(1, 2), MonitorId::new(1));
            assert_eq!(watchers.len(), count, "another watcher's id");
            watchers.remove(pid(1, 2), MonitorId::new(2));
            assert_eq!(watchers.len(), count - 1);
            assert!(!watchers.into_all().contains(&(pid(1, 2), MonitorId::new(2))));
        }
    }

    #[test]
    fn forgets_a_lost_node_and_only_that() {
        for count in [2, 3 * FEW_MAX as u32] {
            let mut watchers = Watchers::new();
            for index in 0..count {
                for node in 1..=3 {
                    let id = MonitorId::new(u64::from(index));
                    watchers.add(pid(node, index), id).expect("room");
                }
            }
            watchers.forget_node(NodeId::new(2), Incarnation::new(8));
            assert_eq!(watchers.len(), 3 * count as usize, "another life of the node");
            watchers.forget_node(NodeId::new(2), Incarnation::new(9));
            let left = watchers.into_all();
            assert_eq!(left.len(), 2 * count as usize);
            assert!(left.iter().all(|(pid, _)| pid.node != NodeId::new(2)));
        }
    }

    #[test]
    fn refuses_more_than_its_bound() {
        let mut watchers = Watchers::new();
        for id in 0..WATCHERS_PER_PROCESS_MAX as u64 {
            watchers.add(pid(1, 1), MonitorId::new(id)).expect("room");
        }
        let another = MonitorId::new(u64::MAX);
        assert_eq!(watchers.add(pid(1, 1), another), Err(TooManyWatchers));
        assert_eq!(watchers.add(pid(1, 1), MonitorId::new(0)), Ok(()), "there already");
    }
}
