//! The tenant of a CPU other than the first: one of the node's workers.
//!
//! Owns [`Work`], the worker and its CPU's part of the network, if services are on. Control and
//! connections of the node are on the boot CPU, and mail is the only way to them.

use super::served::Served;
use super::turn::{Cpu, Tenant};
use alloc::vec::Vec;
use craton_abi::{Duration, Instant, Slot};
use craton_node::{Mail, Worker, WorkerEffect, WorkerInput};
use craton_shard::port::{HostAnswer, HostCall, HostEffect, HostReply, Outcome, Resume};

/// A worker and its network.
pub(super) struct Work {
    pub(super) worker: Worker,
    pub(super) network: Option<Served>,
}

impl Tenant for Work {
    type Effect = WorkerEffect;

    fn poll(&mut self, now: Instant, _out: &mut Vec<WorkerEffect>) -> bool {
        self.network.as_mut().is_some_and(|network| network.poll(now))
    }

    fn take(&mut self, mail: Mail, now: Instant, out: &mut Vec<WorkerEffect>) {
        self.worker.step(WorkerInput::Mail(mail), now, out);
    }

    fn tick(&mut self, now: Instant, out: &mut Vec<WorkerEffect>) {
        self.worker.step(WorkerInput::Tick, now, out);
    }

    fn hear(&mut self, answer: HostAnswer, now: Instant, out: &mut Vec<WorkerEffect>) {
        self.worker.step(WorkerInput::Host(answer), now, out);
    }

    fn hand_over(
        &mut self,
        slot: Slot,
        outcome: Outcome,
        used: Duration,
        now: Instant,
        out: &mut Vec<WorkerEffect>,
    ) -> Option<(Slot, Resume)> {
        self.worker.hand_over(slot, outcome, used, now, out)
    }

    fn answer_at_once(
        &mut self,
        slot: Slot,
        call: HostCall,
        now: Instant,
        out: &mut Vec<WorkerEffect>,
    ) -> Result<HostReply, HostCall> {
        self.worker.answer_at_once(slot, call, now, out)
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

    fn runnable(&self) -> bool {
        self.worker.runnable()
    }

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
