//! The tenant of a CPU other than the first: one of the node's workers.
//!
//! Owns that [`Worker`] is a [`Tenant`]. The network and the control of the node are on the boot
//! CPU, and mail is the only way to them.

use super::turn::{Cpu, Tenant};
use alloc::vec::Vec;
use craton_abi::{Instant, Slot};
use craton_node::{Mail, Worker, WorkerEffect, WorkerInput};
use craton_shard::port::{HostAnswer, HostCall, HostEffect, HostReply};

impl Tenant for Worker {
    type Effect = WorkerEffect;

    fn poll(&mut self, _now: Instant, _out: &mut Vec<WorkerEffect>) -> bool {
        false
    }

    fn take(&mut self, mail: Mail, now: Instant, out: &mut Vec<WorkerEffect>) {
        self.step(WorkerInput::Mail(mail), now, out);
    }

    fn tick(&mut self, now: Instant, out: &mut Vec<WorkerEffect>) {
        self.step(WorkerInput::Tick, now, out);
    }

    fn hear(&mut self, answer: HostAnswer, now: Instant, out: &mut Vec<WorkerEffect>) {
        self.step(WorkerInput::Host(answer), now, out);
    }

    fn answer_at_once(
        &mut self,
        slot: Slot,
        call: HostCall,
        now: Instant,
        out: &mut Vec<WorkerEffect>,
    ) -> Result<HostReply, HostCall> {
        Worker::answer_at_once(self, slot, call, now, out)
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
        Worker::runnable(self)
    }

    fn deadline(&mut self, _now: Instant) -> Option<Instant> {
        Worker::deadline(self)
    }

    fn is_dirty(&self) -> bool {
        false
    }

    fn arm(&mut self) -> bool {
        false
    }
}
