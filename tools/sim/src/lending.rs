//! CPUs that are told of idle ones, at random.
//!
//! Adds to [`World`] what a kernel does that finds another CPU asleep.

use crate::net::Place;
use crate::world::World;
use craton_abi::ShardId;
use craton_node::Part;
use std::collections::VecDeque;

impl World {
    /// A CPU is told that another has nothing to do, whether or not that is so.
    pub(crate) fn lend(&mut self, place: Place, cpu: usize) {
        let machine = &mut self.machines[place];
        let to = ShardId::new(self.random.below(machine.cpus.len()) as u8);
        let local = machine.local(self.now);
        match machine.cpus[cpu].worker.as_mut() {
            None => {
                let mut effects = Vec::new();
                machine.node.at_once(local, &mut effects, |shard, out| shard.lend(to, out));
                let mut inputs = VecDeque::new();
                effects.into_iter().for_each(|effect| self.carry_out(place, effect, &mut inputs));
                inputs.into_iter().for_each(|input| self.step(place, input));
            }
            Some(worker) => {
                let mut effects = Vec::new();
                worker.at_once(local, &mut effects, |shard, out| shard.lend(to, out));
                let mut inputs = VecDeque::new();
                effects.into_iter().for_each(|effect| {
                    self.carry_out_for_worker(place, cpu, effect, &mut inputs);
                });
                inputs.into_iter().for_each(|input| self.step_worker(place, cpu, input));
            }
        }
    }
}
