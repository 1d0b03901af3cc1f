//! The tenant of a CPU other than the first: one of the node's workers.
//!
//! Owns [`Work`], the worker and its CPU's part of the network. Control and connections of the node
//! are on the boot CPU, and mail is the only way to them.

use super::served::Served;
use super::turn::{Cpu, Tenant};
use alloc::vec::Vec;
use craton_abi::Instant;
use craton_hal::clock;
use craton_node::{Worker, WorkerEffect};
use craton_shard::port::HostEffect;

/// A worker and its network.
pub(super) struct Work {
    pub(super) worker: Worker,
    pub(super) network: Served,
}

impl Tenant for Work {
    type Part = Worker;

    fn part(&mut self) -> &mut Worker {
        &mut self.worker
    }

    fn poll(&mut self, now: Instant, out: &mut Vec<WorkerEffect>) -> bool {
        self.network.poll(&mut self.worker, now, out)
    }

    fn perform(
        &mut self,
        effect: WorkerEffect,
        cpu: &mut Cpu,
        out: &mut Vec<WorkerEffect>,
    ) -> Option<HostEffect> {
        let Work { worker, network } = self;
        match effect {
            WorkerEffect::Host(effect) => return Some(effect),
            WorkerEffect::Post { to, mail } => cpu.post.send(to, mail),
            WorkerEffect::Socket(order) => network.socket(order, worker, clock::now(), out),
            WorkerEffect::SocketNote { from, note } => {
                network.note(from, note, worker, clock::now(), out);
            }
            WorkerEffect::ReclaimAll => {
                cpu.processes.engine.reclaim_all();
                network.reset(clock::now());
            }
        }
        None
    }

    fn housekeep(&mut self, _full: bool, _now: Instant, _out: &mut Vec<WorkerEffect>) {}

    fn deadline(&mut self, now: Instant) -> Option<Instant> {
        [self.worker.deadline(), self.network.deadline(now)].into_iter().flatten().min()
    }

    fn is_dirty(&self) -> bool {
        self.network.dirty
    }

    fn arm(&mut self) -> bool {
        self.network.nic.arm()
    }
}
