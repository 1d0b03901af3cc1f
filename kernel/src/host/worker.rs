//! The tenant of a CPU other than the first: one of the node's workers.
//!
//! Owns [`Work`], the worker and its CPU's part of the network, if services are on. Control and
//! connections of the node are on the boot CPU, and mail is the only way to them.

use super::served::Served;
use super::turn::{Cpu, Tenant};
use alloc::vec::Vec;
use craton_abi::Instant;
use craton_node::{Worker, WorkerEffect};
use craton_shard::port::HostEffect;

/// A worker and its network.
pub(super) struct Work {
    pub(super) worker: Worker,
    pub(super) network: Option<Served>,
}

impl Tenant for Work {
    type Part = Worker;

    fn part(&mut self) -> &mut Worker {
        &mut self.worker
    }

    fn poll(&mut self, now: Instant, _out: &mut Vec<WorkerEffect>) -> bool {
        self.network.as_mut().is_some_and(|network| network.poll(now))
    }

    fn perform(
        &mut self,
        effect: WorkerEffect,
        cpu: &mut Cpu,
        _out: &mut Vec<WorkerEffect>,
    ) -> Option<HostEffect> {
        match effect {
            WorkerEffect::Host(effect) => return Some(effect),
            WorkerEffect::Post { to, mail } => cpu.post.send(to, mail),
            WorkerEffect::ReclaimAll => cpu.processes.engine.reclaim_all(),
        }
        None
    }

    fn housekeep(&mut self, _full: bool, _now: Instant, _out: &mut Vec<WorkerEffect>) {}

    fn deadline(&mut self, now: Instant) -> Option<Instant> {
        let network = self.network.as_mut().and_then(|network| network.deadline(now));
        [self.worker.deadline(), network].into_iter().flatten().min()
    }

    fn is_dirty(&self) -> bool {
        false
    }

    fn arm(&mut self) -> bool {
        self.network.as_mut().is_some_and(|network| network.nic.arm())
    }
}
