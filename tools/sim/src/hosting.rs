//! The world as a machine's host: its node is stepped, its processes are run, its log is read.
//!
//! Adds to [`World`] everything that a kernel does around a node, but for the network.

use crate::actor::{Actor, Scene};
use crate::checker::Violation;
use crate::machine::Machine;
use crate::net::{End, OPERATOR, Place};
use crate::world::{ACTORS_MAX, Event, Sabotage, World};
use craton_abi::{Duration, ErrorCode, Incarnation, Slot};
use craton_node::{NodeEffect, NodeInput};
use craton_session::ConnId;
use craton_shard::port::{HostReply, LogLevel, Outcome, Received, Resume};
use std::collections::VecDeque;

impl World {
    pub(crate) fn boot(&mut self, place: Place) {
        if self.machines[place].alive {
            return;
        }
        self.trace.note(self.now, format_args!("boot {place}"));
        self.machines[place].boot(self.now, &mut self.random);
        let address = self.machines[place].address();
        self.step(place, NodeInput::Memory { free_bytes: 64 << 20 });
        self.step(place, NodeInput::Address(address));
    }

    pub(crate) fn step(&mut self, place: Place, input: NodeInput) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let mut effects = Vec::new();
            let machine = &mut self.machines[place];
            let local = machine.local(self.now);
            machine.node.step(input, local, &mut effects);
            for effect in effects {
                self.carry_out(place, effect, &mut inputs);
            }
        }
        self.schedule_tick(place);
    }

    pub(crate) fn schedule_tick(&mut self, place: Place) {
        let machine = &mut self.machines[place];
        let next = if machine.node.runnable() {
            self.now
        } else {
            match machine.node.deadline() {
                Some(local) => machine.global(local),
                None => return,
            }
        };
        machine.tick_token += 1;
        let token = machine.tick_token;
        // A machine is never infinitely fast.
        let next = next.max(machine.busy_until).max(self.now + Duration::from_micros(5));
        self.at(next, Event::Tick { place, token });
    }

    pub(crate) fn carry_out(
        &mut self,
        place: Place,
        effect: NodeEffect,
        inputs: &mut VecDeque<NodeInput>,
    ) {
        match effect {
            NodeEffect::Dial { conn, to } => self.dial(self.end(place, conn), to),
            NodeEffect::Close { conn } => self.close(self.end(place, conn)),
            NodeEffect::Ready { conn } => self.pump(self.end(place, conn)),
            NodeEffect::Datagram { to, bytes } => self.send_datagram(place, to, &bytes),
            NodeEffect::Load { program, bundle } => {
                let right = craton_bundle::program_id(&bundle) == program;
                let wrong = (ErrorCode::NoProgram, String::from("another bundle"));
                let result = if right { Ok(()) } else { Err(wrong) };
                inputs.push_back(NodeInput::Loaded { program, result });
            }
            NodeEffect::Unload { .. } => {}
            NodeEffect::Start { pid, entry, argument, .. } => {
                self.trace.note(self.now, format_args!("{place} start {pid} {entry}"));
                let slot = pid.slot;
                let result = if self.random.chance(3) {
                    Err(ErrorCode::LimitMemory)
                } else {
                    let actor = Actor::new(pid, &entry, &argument.0, self.random.fork());
                    let born = self.checker.born(pid, actor.spawn_number(), actor.is_in_order());
                    self.check(born);
                    self.machines[place].actors.insert(slot, (pid, actor));
                    Ok(())
                };
                inputs.push_back(NodeInput::Started { slot, result });
            }
            NodeEffect::Run { slot, resume, slice } => {
                let (outcome, used) = self.run_actor(place, slot, resume, slice);
                inputs.push_back(NodeInput::Ran { slot, outcome, used });
            }
            NodeEffect::Reclaim { slot } => {
                if let Some((pid, _)) = self.machines[place].actors.remove(&slot) {
                    self.trace.note(self.now, format_args!("{place} end {pid}"));
                    self.checker.ended(pid);
                }
            }
            NodeEffect::Log { level, module, text } => self.read_log(place, level, &module, &text),
            NodeEffect::Restart => {
                inputs.clear();
                self.life_ended(place);
            }
        }
    }

    pub(crate) fn end(&self, place: Place, conn: ConnId) -> End {
        let boot = if place == OPERATOR { self.operator.boot } else { self.machines[place].boot };
        End { place, boot, conn }
    }

    /// All processes of a machine ended at once.
    pub(crate) fn life_ended(&mut self, place: Place) {
        let machine = &mut self.machines[place];
        let life = machine.incarnation;
        machine.now_lives_as(machine.node.incarnation());
        self.trace.note(self.now, format_args!("{place} life {life} over"));
        self.checker.life_over(machine.node.id(), life);
        machine.actors.clear();
        self.lives_ended += 1;
    }

    /// The log is how a node tells people of gaps; the checker reads it as they would.
    pub(crate) fn read_log(&mut self, place: Place, level: LogLevel, module: &str, text: &str) {
        self.trace.note(self.now, format_args!("{place} {module}: {text}"));
        if text.contains("without credit") {
            // All nodes are honest here, so credit was counted wrongly and a message is lost.
            self.check(Err(Violation(format!("{place}: {module} {text}"))));
        }
        if level > LogLevel::Warn || !matches!(module, "session" | "cluster") {
            return;
        }
        let me = self.ids[place];
        let named = |machine: &&Machine| {
            machine.place != place && text.contains(&machine.node.id().to_string())
        };
        if let Some(other) = self.machines.iter().find(named) {
            let id = other.node.id();
            let of_life = |life: &&Incarnation| text.contains(&life.to_string());
            let life = other.lives.iter().find(of_life).copied();
            self.gaps += 1;
            self.checker.gap(me, id, life, self.now);
            if let Some(life) = life {
                self.checker.holds_dead(me, id, life);
            }
        }
    }

    pub(crate) fn run_actor(
        &mut self,
        place: Place,
        slot: Slot,
        resume: Resume,
        slice: Duration,
    ) -> (Outcome, Duration) {
        let crowded = self.machines.iter().map(|m| m.actors.len()).sum::<usize>() >= ACTORS_MAX;
        let resume = self.sabotage(place, slot, resume);
        let alive = self.machines[place].node.nodes_alive();
        let Some((pid, actor)) = self.machines[place].actors.get_mut(&slot) else {
            self.check(Err(Violation(format!("{place}: {slot} is run, but is not there"))));
            return (Outcome::Preempted, slice);
        };
        let pid = *pid;
        let mut scene = Scene {
            phase: self.phase,
            now: self.now,
            nodes: &self.ids,
            alive: &alive,
            crowded,
            spawn_next: &mut self.spawn_next,
            checker: &mut self.checker,
        };
        let (outcome, used) = match actor.run(resume, &mut scene) {
            Ok(ran) => ran,
            Err(violation) => {
                self.check(Err(violation));
                (Outcome::Preempted, slice)
            }
        };
        let used = if outcome == Outcome::Preempted { slice } else { used };
        self.trace.note(self.now, format_args!("{place} {pid} {outcome:?}"));
        let machine = &mut self.machines[place];
        machine.busy_until = machine.busy_until.max(self.now) + used;
        (outcome, used)
    }

    pub(crate) fn sabotage(&mut self, place: Place, slot: Slot, resume: Resume) -> Resume {
        let Resume::Reply(HostReply::Received(received)) = resume else { return resume };
        match (self.options.sabotage, &received) {
            (Some(Sabotage::DuplicateMessages), Received::Message { .. }) => {
                if let Some((was_place, was_slot, again)) = self.repeat.take()
                    && (was_place, was_slot) == (place, slot)
                {
                    return Resume::Reply(HostReply::Received(again));
                }
                self.repeat = Some((place, slot, received.clone()));
            }
            (Some(Sabotage::SwallowNotices), Received::Down { .. }) => {
                return Resume::Reply(HostReply::Failed(ErrorCode::TimedOut));
            }
            _ => {}
        }
        Resume::Reply(HostReply::Received(received))
    }
}
