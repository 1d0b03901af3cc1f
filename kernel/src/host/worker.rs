//! The tenant of a CPU other than the first: one of the node's workers.
//!
//! Owns [`Work`], the worker and its CPU's part of the network. Control and connections of the node
//! are on the boot CPU, and mail is the only way to them.

use super::served::Served;
use super::turn::{Cpu, Tenant};
use alloc::vec::Vec;
use core::convert::Infallible;
use craton_abi::Instant;
use craton_node::{Worker, WorkerEffect};

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

    fn ends(&mut self) -> (&mut Worker, &mut Served) {
        (&mut self.worker, &mut self.network)
    }

    fn perform(&mut self, none: Infallible, _cpu: &mut Cpu, _out: &mut Vec<WorkerEffect>) {
        match none {}
    }

    fn reset(&mut self, now: Instant) {
        self.network.reset(now);
    }

    fn housekeep(&mut self, _full: bool, _now: Instant, _out: &mut Vec<WorkerEffect>) {}

    fn deadline(&mut self, now: Instant) -> Option<Instant> {
        [self.worker.deadline(), self.network.deadline(now)].into_iter().flatten().min()
    }
}
