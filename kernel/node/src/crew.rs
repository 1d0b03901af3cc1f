//! The workers of a node, as its control knows them: by mail alone.
//!
//! Owns [`Crew`]: how many processes each shard has, which programs are in use there, and what each
//! has not heard yet of nodes that were lost. An order that is under way counts as a process, and
//! its program as used, from the moment it is posted: a worker's word that a program is unused says
//! after how many orders that was so.

use crate::mail::Tally;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use craton_abi::{Incarnation, NodeId, ProgramId, ShardId};

/// What the control knows of its workers.
pub(crate) struct Crew {
    /// Of the shards from 1 on.
    workers: Vec<Known>,
    /// What was said to be lost, and how often, that a shard has not said it heard.
    lost: BTreeMap<(ShardId, NodeId, Incarnation), u32>,
}

#[derive(Default)]
struct Known {
    /// Orders posted in this life.
    orders: u64,
    /// What it told last.
    tally: Tally,
    /// Programs in use, and the last order for each.
    programs: BTreeMap<ProgramId, u64>,
    /// It has not said that its former life is over: anything may be in use.
    restarting: bool,
}

impl Crew {
    /// The workers of a node with so many shards.
    pub(crate) fn new(shards: u8) -> Self {
        let workers = (1..shards).map(|_| Known::default()).collect();
        Crew { workers, lost: BTreeMap::new() }
    }

    /// The node begins a new life.
    pub(crate) fn restart(&mut self) {
        self.lost.clear();
        for worker in &mut self.workers {
            *worker = Known { restarting: true, ..Known::default() };
        }
    }

    fn worker(&mut self, shard: ShardId) -> Option<&mut Known> {
        self.workers.get_mut(shard.index().checked_sub(1)?)
    }

    /// A worker has nothing left of its former life.
    pub(crate) fn restarted(&mut self, shard: ShardId) {
        if let Some(worker) = self.worker(shard) {
            worker.restarting = false;
        }
    }

    /// A process of this program is ordered from a worker.
    pub(crate) fn ordered(&mut self, shard: ShardId, program: ProgramId) {
        if let Some(worker) = self.worker(shard) {
            worker.orders += 1;
            worker.programs.insert(program, worker.orders);
        }
    }

    /// A worker said how many processes it has.
    pub(crate) fn told(&mut self, shard: ShardId, tally: Tally) {
        if let Some(worker) = self.worker(shard) {
            worker.tally = tally;
        }
    }

    /// A worker said that a program is in use no longer.
    pub(crate) fn unused(&mut self, shard: ShardId, program: ProgramId, tally: Tally) {
        self.told(shard, tally);
        if let Some(worker) = self.worker(shard)
            && worker.programs.get(&program).is_some_and(|last| *last <= tally.orders)
        {
            worker.programs.remove(&program);
        }
    }

    /// Whether a worker may have a process of this program.
    pub(crate) fn is_used(&self, program: ProgramId) -> bool {
        self.workers
            .iter()
            .any(|worker| worker.restarting || worker.programs.contains_key(&program))
    }

    /// Processes of a worker, those that are ordered among them.
    pub(crate) fn processes_of(&self, shard: ShardId) -> usize {
        let worker = shard.index().checked_sub(1).and_then(|index| self.workers.get(index));
        worker.map_or(0, Known::processes)
    }

    /// Processes of all workers.
    pub(crate) fn processes(&self) -> usize {
        self.workers.iter().map(Known::processes).sum()
    }

    // --- nodes that were lost ---

    /// A shard is being told that a life of a node is lost.
    pub(crate) fn tell_lost(&mut self, shard: ShardId, node: NodeId, incarnation: Incarnation) {
        *self.lost.entry((shard, node, incarnation)).or_default() += 1;
    }

    /// A shard has been told.
    pub(crate) fn heard_lost(&mut self, shard: ShardId, node: NodeId, incarnation: Incarnation) {
        if let Some(count) = self.lost.get_mut(&(shard, node, incarnation)) {
            *count -= 1;
            if *count == 0 {
                self.lost.remove(&(shard, node, incarnation));
            }
        }
    }

    /// Whether what comes from a shard for this life of a node was said before the shard heard that
    /// it is lost, and so is lost with it.
    pub(crate) fn is_lost(&self, shard: ShardId, node: NodeId, incarnation: Incarnation) -> bool {
        !self.lost.is_empty() && self.lost.contains_key(&(shard, node, incarnation))
    }
}

impl Known {
    fn processes(&self) -> usize {
        // Orders were counted when they were posted, so there are no fewer than have come.
        let under_way = self.orders.saturating_sub(self.tally.orders);
        self.tally.processes + usize::try_from(under_way).unwrap_or(usize::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROGRAM: ProgramId = ProgramId([1; 32]);
    const WORKER: ShardId = ShardId::new(1);

    fn tally(processes: usize, orders: u64) -> Tally {
        Tally { processes, orders }
    }

    #[test]
    fn a_program_is_used_while_an_order_for_it_is_on_its_way() {
        let mut crew = Crew::new(2);
        assert!(!crew.is_used(PROGRAM));
        crew.ordered(WORKER, PROGRAM);
        assert!(crew.is_used(PROGRAM));
        crew.ordered(WORKER, PROGRAM);
        crew.unused(WORKER, PROGRAM, tally(0, 1));
        assert!(crew.is_used(PROGRAM), "the second order has not come yet");
        assert_eq!(crew.processes(), 1);
        crew.unused(WORKER, PROGRAM, tally(0, 2));
        assert!(!crew.is_used(PROGRAM));
        assert_eq!(crew.processes(), 0);
    }

    #[test]
    fn orders_count_as_processes_until_a_tally_counts_them() {
        let mut crew = Crew::new(3);
        for _ in 0..3 {
            crew.ordered(WORKER, PROGRAM);
        }
        assert_eq!((crew.processes_of(WORKER), crew.processes_of(ShardId::new(2))), (3, 0));
        crew.told(WORKER, tally(1, 2));
        assert_eq!(crew.processes_of(WORKER), 2);
        crew.told(WORKER, tally(5, 3));
        assert_eq!(crew.processes(), 5);
    }

    #[test]
    fn until_its_former_life_is_over_a_worker_may_use_anything() {
        let mut crew = Crew::new(2);
        crew.restart();
        assert!(crew.is_used(PROGRAM));
        crew.restarted(WORKER);
        assert!(!crew.is_used(PROGRAM));
    }

    #[test]
    fn a_loss_told_twice_is_heard_twice() {
        let (node, life) = (NodeId::new(1), Incarnation::new(2));
        let mut crew = Crew::new(2);
        crew.tell_lost(WORKER, node, life);
        crew.tell_lost(WORKER, node, life);
        crew.heard_lost(WORKER, node, life);
        assert!(crew.is_lost(WORKER, node, life));
        assert!(!crew.is_lost(WORKER, node, Incarnation::new(3)));
        crew.heard_lost(WORKER, node, life);
        assert!(!crew.is_lost(WORKER, node, life));
    }
}
