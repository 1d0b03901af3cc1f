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

/// Up to this many watchers beside the first are kept in a short vector: a tree's first node alone
/// is many times as large.
const FEW_MAX: usize = 8;

/// The process has as many watchers as it may.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct TooManyWatchers;

/// Monitors on one process, each once.
#[derive(Debug)]
pub struct Watchers {
    /// Most processes have one, which needs no object.
    one: Option<(Pid, MonitorId)>,
    others: Set,
}

#[derive(Debug)]
enum Set {
    Few(Vec<(Pid, MonitorId)>),
    Many(BTreeSet<(Pid, MonitorId)>),
}

impl Watchers {
    /// Nobody.
    pub const fn new() -> Self {
        Watchers { one: None, others: Set::Few(Vec::new()) }
    }

    /// Adds a monitor; one that is there already is not added again.
    ///
    /// # Errors
    ///
    /// [`TooManyWatchers`] at [`WATCHERS_PER_PROCESS_MAX`]; nothing is changed.
    pub fn add(&mut self, watcher: Pid, id: MonitorId) -> Result<(), TooManyWatchers> {
        let entry = (watcher, id);
        if self.one == Some(entry) || self.others.contains(entry) {
            return Ok(());
        }
        if self.one.is_none() {
            self.one = Some(entry);
            return Ok(());
        }
        if self.others.len() + 1 >= WATCHERS_PER_PROCESS_MAX {
            return Err(TooManyWatchers);
        }
        self.others.add(entry);
        Ok(())
    }

    /// Takes a monitor back.
    pub fn remove(&mut self, watcher: Pid, id: MonitorId) {
        if self.one.take_if(|one| *one == (watcher, id)).is_some() {
            return;
        }
        match &mut self.others {
            Set::Few(few) => few.retain(|&entry| entry != (watcher, id)),
            Set::Many(many) => {
                many.remove(&(watcher, id));
            }
        }
    }

    /// Forgets the watchers of a node that is lost.
    pub fn forget_node(&mut self, node: NodeId, incarnation: Incarnation) {
        let is_lost = |pid: &Pid| (pid.node, pid.incarnation) == (node, incarnation);
        self.one.take_if(|(pid, _)| is_lost(pid));
        match &mut self.others {
            Set::Few(few) => few.retain(|(pid, _)| !is_lost(pid)),
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
        usize::from(self.one.is_some()) + self.others.len()
    }

    /// Whether nobody watches.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Everybody who is to be told, once.
    pub fn into_all(self) -> impl Iterator<Item = (Pid, MonitorId)> {
        let others = match self.others {
            Set::Few(few) => few,
            Set::Many(many) => many.into_iter().collect(),
        };
        self.one.into_iter().chain(others)
    }
}

impl Set {
    fn len(&self) -> usize {
        match self {
            Set::Few(few) => few.len(),
            Set::Many(many) => many.len(),
        }
    }

    fn contains(&self, entry: (Pid, MonitorId)) -> bool {
        match self {
            Set::Few(few) => few.contains(&entry),
            Set::Many(many) => many.contains(&entry),
        }
    }

    fn add(&mut self, entry: (Pid, MonitorId)) {
        match self {
            Set::Few(few) if few.len() < FEW_MAX => few.push(entry),
            Set::Few(few) => {
                let mut many: BTreeSet<_> = few.drain(..).collect();
                many.insert(entry);
                *self = Set::Many(many);
            }
            Set::Many(many) => {
                many.insert(entry);
            }
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
            let taken_back = (pid(1, 2), MonitorId::new(2));
            assert!(watchers.into_all().all(|entry| entry != taken_back));
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
            let left: Vec<_> = watchers.into_all().collect();
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
