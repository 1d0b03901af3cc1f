//! The host of a shard that has a CPU of its own.
//!
//! Owns [`WorkerHost`] and its loop: take mail, let time pass, run processes, pass mail on, sleep.
//! It does what the worker asks and tells it what came of that; it decides nothing. The network and
//! the control of the node are on the boot CPU, and mail is the only way to them.

use super::mail::Post;
use super::processes::{Answer, Processes};
use super::{HOUSEKEEPING, LETTERS_PER_TURN_MAX, RUNS_PER_TURN_MAX, TURN};
use alloc::vec::Vec;
use craton_abi::Instant;
use craton_hal::{clock, memory, smp, timer};
use craton_node::{Worker, WorkerEffect, WorkerInput};
use craton_shard::port::HostEffect;

/// A worker and what it needs of its CPU.
pub(super) struct WorkerHost {
    worker: Worker,
    processes: Processes,
    post: Post,
    /// What the worker asked for and was not done yet.
    effects: Vec<WorkerEffect>,
    /// Room for the effects that are being done.
    batch: Vec<WorkerEffect>,
    housekeeping: Instant,
}

impl WorkerHost {
    pub(super) fn new(worker: Worker, processes: Processes, post: Post) -> Self {
        let (effects, batch) = (Vec::new(), Vec::new());
        WorkerHost { worker, processes, post, effects, batch, housekeeping: Instant::ZERO }
    }

    /// Runs the worker for as long as the machine is on.
    pub(super) fn run(mut self) {
        loop {
            smp::quiescent();
            let now = clock::now();
            self.take_mail(now);
            self.housekeep(now);
            // Who cannot pass on what it has said says no more: it runs nothing.
            let busy = self.post.flush() && self.run_processes();
            let flushed = self.post.flush();
            if flushed && !busy && !self.post.has_mail() {
                self.sleep();
            }
        }
    }

    fn take_mail(&mut self, now: Instant) {
        for _ in 0..LETTERS_PER_TURN_MAX {
            let Some(mail) = self.post.take() else { break };
            self.worker.step(WorkerInput::Mail(mail), now, &mut self.effects);
            self.perform();
        }
    }

    /// Runs processes until none can, their time is over, or mail came. True if more can run.
    fn run_processes(&mut self) -> bool {
        let end = clock::now() + TURN;
        for _ in 0..RUNS_PER_TURN_MAX {
            let now = clock::now();
            self.worker.step(WorkerInput::Tick, now, &mut self.effects);
            if !self.perform() {
                // What was done may have woken a process after the tick had looked for one.
                return self.worker.runnable();
            }
            // Others may wait for what the process said.
            if !self.post.flush() || now >= end || self.post.has_mail() {
                break;
            }
        }
        true
    }

    /// Does what the worker asks for, and what it asks for thereupon. True if a process ran.
    fn perform(&mut self) -> bool {
        let mut ran = false;
        while !self.effects.is_empty() {
            let mut batch = core::mem::take(&mut self.batch);
            core::mem::swap(&mut batch, &mut self.effects);
            for effect in batch.drain(..) {
                match effect {
                    WorkerEffect::Post { to, mail } => self.post.send(to, mail),
                    WorkerEffect::ReclaimAll => self.processes.engine.reclaim_all(),
                    WorkerEffect::Host(effect) => {
                        ran |= matches!(effect, HostEffect::Run { .. });
                        self.perform_for_process(effect);
                    }
                }
            }
            self.batch = batch;
        }
        ran
    }

    fn perform_for_process(&mut self, effect: HostEffect) {
        let now = clock::now();
        let (worker, effects) = (&mut self.worker, &mut self.effects);
        let desk = |slot, call| worker.answer_at_once(slot, call, now, effects);
        let input = match self.processes.perform(effect, desk) {
            Some(Answer::Started { slot, result, bytes }) => {
                let memory = WorkerInput::ProcessMemory { slot, bytes };
                self.worker.step(memory, clock::now(), &mut self.effects);
                WorkerInput::Started { slot, result }
            }
            Some(Answer::Ran { slot, outcome, used }) => WorkerInput::Ran { slot, outcome, used },
            None => return,
        };
        self.worker.step(input, clock::now(), &mut self.effects);
    }

    /// Tells the worker what only its engine knows.
    fn housekeep(&mut self, now: Instant) {
        if memory::is_short() {
            // The node ends the largest process; this helps before that.
            self.processes.engine.give_back();
        }
        if now < self.housekeeping {
            return;
        }
        self.housekeeping = now + HOUSEKEEPING;
        for (slot, bytes) in self.processes.memory() {
            let memory = WorkerInput::ProcessMemory { slot, bytes };
            self.worker.step(memory, now, &mut self.effects);
        }
    }

    /// Halts until an interrupt or the next deadline, unless mail came meanwhile.
    fn sleep(&mut self) {
        let now = clock::now();
        let due = self.worker.deadline().unwrap_or(self.housekeeping).min(self.housekeeping);
        if due > now {
            timer::halt_at_most(due.since(now), || self.post.has_mail());
        }
    }
}
