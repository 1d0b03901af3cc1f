//! The host of every CPU: it runs scripts, and hands them from one CPU to another.
//!
//! Adds to [`World`] what is done of a shard's effects, and the word that another CPU is idle.

use super::*;
use craton_node::Part;

impl World {
    /// Some CPU is told that another has nothing to do, whether or not that is so.
    pub(super) fn lend(&mut self) {
        let index = self.choose(self.nodes.len());
        let cpus = self.workers[index].len() + 1;
        let to = ShardId::new(self.choose(cpus) as u8);
        let mut effects = Vec::new();
        match self.choose(cpus).checked_sub(1) {
            None => {
                self.nodes[index].at_once(self.now, &mut effects, |shard, out| {
                    shard.lend(to, out);
                });
                let mut inputs = VecDeque::new();
                effects.into_iter().for_each(|e| self.carry_out(index, e, &mut inputs));
                inputs.into_iter().for_each(|i| self.step_node(index, Arrival::Input(i)));
            }
            Some(worker) => {
                let mut worker_effects = Vec::new();
                self.workers[index][worker].at_once(self.now, &mut worker_effects, |shard, out| {
                    shard.lend(to, out);
                });
                let mut inputs = VecDeque::new();
                for effect in worker_effects {
                    self.carry_out_for_worker(index, worker, effect, &mut inputs);
                }
                inputs.into_iter().for_each(|input| self.step_worker(index, worker, input));
            }
        }
    }

    pub(super) fn carry_out_for_worker(
        &mut self,
        index: usize,
        worker: usize,
        effect: WorkerEffect,
        inputs: &mut VecDeque<WorkerInput>,
    ) {
        let from = self.workers[index][worker].shard();
        match effect {
            WorkerEffect::Host(effect) => {
                let answer = self.host(index, from, effect);
                if let Some(HostAnswer::Started { slot, .. }) = answer {
                    let memory = HostAnswer::Memory { slot, bytes: 1 };
                    inputs.push_back(WorkerInput::Host(memory));
                }
                inputs.extend(answer.map(WorkerInput::Host));
            }
            WorkerEffect::Socket(order) => self.orders.push((index, (from, order))),
            WorkerEffect::SocketNote { from: by, note } => {
                self.notes.push((index, by, from, note));
            }
            WorkerEffect::Restart => {
                inputs.clear();
                self.reclaim_all(index, from);
            }
            WorkerEffect::Post { to, mail } => self.post(index, from, to, mail),
        }
    }

    /// Runs a script for its shard.
    pub(super) fn host(
        &mut self,
        index: usize,
        cpu: ShardId,
        effect: HostEffect,
    ) -> Option<HostAnswer> {
        match effect {
            HostEffect::Start(start) => {
                let script = (self.program)(start.pid, &start.entry, &start.argument.0);
                let last = self.scripts.insert((index, cpu, start.pid.slot), script);
                assert!(last.is_none(), "it was started already");
                Some(HostAnswer::Started { slot: start.pid.slot, result: Ok(()) })
            }
            HostEffect::Run { slot, resume, .. } => {
                let script = self.scripts.get_mut(&(index, cpu, slot)).expect("it is there");
                let (outcome, used) = (script(resume), Duration::from_micros(1));
                Some(HostAnswer::Ran { slot, outcome, used })
            }
            HostEffect::Reclaim { slot } => {
                let given = || self.transit.remove(&(index, slot)).map(|(_, script)| script);
                let script = self.scripts.remove(&(index, cpu, slot)).or_else(given);
                drop(script.expect("it was started"));
                None
            }
            HostEffect::Give { slot } => {
                let script = self.scripts.remove(&(index, cpu, slot)).expect("it is there");
                self.transit.insert((index, slot), (cpu, script));
                None
            }
            HostEffect::Take { slot } => match self.transit.remove(&(index, slot)) {
                Some((_, script)) => {
                    self.taken += 1;
                    let last = self.scripts.insert((index, cpu, slot), script);
                    assert!(last.is_none(), "it is there already");
                    None
                }
                None => Some(HostAnswer::NotThere { slot }),
            },
        }
    }

    pub(super) fn reclaim_all(&mut self, index: usize, cpu: ShardId) {
        self.scripts.retain(|(at, place, _), _| (*at, *place) != (index, cpu));
        self.transit.retain(|(at, _), (by, _)| (*at, *by) != (index, cpu));
    }
}
