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
