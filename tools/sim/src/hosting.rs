//! The world as a machine's host: its node is stepped, its processes are run, its log is read.
//!
//! Adds to [`World`] everything that a kernel does around a node, but for the network.

use crate::actor::{Actor, Scene};
use crate::checker::Violation;
use crate::desk::{HANDED_OVER_MAX, Unborn, copy, hear};
use crate::machine::{MAIL_MAX, Machine};
use crate::net::{End, OPERATOR, Place};
use crate::world::{ACTORS_MAX, Event, Sabotage, World};
use craton_abi::{
    Duration, ErrorCode, Incarnation, Payload, Pid, ShardId, Slot, SocketEvent, SocketOrder,
    SocketReply,
};
use craton_node::{ControlEffect, Mail, NodeEffect, NodeInput, Part, WorkerEffect, WorkerInput};
use craton_session::ConnId;
use craton_shard::port::{
    HostAnswer, HostEffect, HostReply, LogLevel, Outcome, Received, Resume, Start,
};
use std::collections::VecDeque;

impl World {
    pub(crate) fn boot(&mut self, place: Place) {
        if self.machines[place].alive {
            return;
        }
        self.trace.note(self.now, format_args!("boot {place}"));
        self.machines[place].boot(self.now, &mut self.random);
        let machine = &self.machines[place];
        self.checker.life_began(machine.node.id(), machine.incarnation, self.now);
        let address = self.machines[place].address();
        self.step(place, NodeInput::Memory { free_bytes: 64 << 20 });
        self.step(place, NodeInput::Address(address));
    }

    pub(crate) fn step(&mut self, place: Place, input: NodeInput) {
        let mut inputs = VecDeque::from([input]);
        let mut left = HANDED_OVER_MAX;
        while let Some(input) = inputs.pop_front() {
            let mut effects = Vec::new();
            let machine = &mut self.machines[place];
            let local = machine.local(self.now);
            let unborn = match input {
                NodeInput::Host(answer) if inputs.is_empty() => {
                    hear(&mut machine.node, answer, &mut left, local, &mut effects)
                }
                NodeInput::Mail(mail) => {
                    machine.node.take_mail(mail, local, &mut copy, &mut effects);
                    None
                }
                other => {
                    machine.node.step(other, local, &mut effects);
                    None
                }
            };
            let node = &mut self.machines[place].node;
            if inputs.is_empty() && !node.runnable() {
                node.tell_owed(local, &mut effects);
            }
            self.enter(place, unborn);
            for effect in effects {
                self.carry_out(place, effect, &mut inputs);
            }
        }
        self.schedule_tick(place, 0);
    }

    pub(crate) fn step_worker(&mut self, place: Place, cpu: usize, input: WorkerInput) {
        let mut inputs = VecDeque::from([input]);
        let mut left = HANDED_OVER_MAX;
        while let Some(input) = inputs.pop_front() {
            let mut effects = Vec::new();
            let machine = &mut self.machines[place];
            let local = machine.local(self.now);
            let Some(worker) = machine.cpus.get_mut(cpu).and_then(|cpu| cpu.worker.as_mut()) else {
                return;
            };
            let unborn = match input {
                WorkerInput::Host(answer) if inputs.is_empty() => {
                    hear(worker, answer, &mut left, local, &mut effects)
                }
                WorkerInput::Mail(mail) => {
                    worker.take_mail(mail, local, &mut copy, &mut effects);
                    None
                }
                other => {
                    worker.step(other, local, &mut effects);
                    None
                }
            };
            if inputs.is_empty() && !worker.runnable() {
                worker.tell_owed(local, &mut effects);
            }
            self.enter(place, unborn);
            for effect in effects {
                self.carry_out_for_worker(place, cpu, effect, &mut inputs);
            }
        }
        self.schedule_tick(place, cpu);
    }

    pub(crate) fn carry_out_for_worker(
        &mut self,
        place: Place,
        cpu: usize,
        effect: WorkerEffect,
        inputs: &mut VecDeque<WorkerInput>,
    ) {
        match effect {
            WorkerEffect::Host(effect) => {
                inputs.extend(self.host(place, cpu, effect).map(WorkerInput::Host));
            }
            // As for the node.
            WorkerEffect::Socket(SocketOrder::Call { from, .. }) => {
                let reply = SocketReply::Failed(ErrorCode::Unreachable);
                let done = SocketEvent::Done { to: from, reply };
                inputs.push_back(WorkerInput::Socket(done));
            }
            WorkerEffect::Socket(_) | WorkerEffect::SocketNote { .. } => {}
            WorkerEffect::Restart => {
                inputs.clear();
                self.reclaim_all(place, cpu);
            }
            WorkerEffect::Post { to, mail } => self.post(place, cpu, to, mail),
        }
    }

    /// Puts mail under way to another CPU of the machine: mostly it is fast, but nothing says that
    /// it is; only the order of each pair is kept.
    fn post(&mut self, place: Place, from: usize, to: ShardId, mail: Mail) {
        let delay = match self.random.below(20) {
            0 => self.random.between(Duration::from_micros(500), MAIL_MAX),
            1..=4 => self.random.between(Duration::from_micros(20), Duration::from_micros(500)),
            _ => self.random.between(Duration::from_nanos(200), Duration::from_micros(20)),
        };
        let (to, machine) = (to.index(), &mut self.machines[place]);
        let boot = machine.boot;
        let Some(until) = machine.cpus[from].mail_until.get_mut(to) else { return };
        let at = (self.now + delay).max(*until);
        *until = at;
        self.at(at, Event::Mail { place, boot, to, mail });
    }

    pub(crate) fn schedule_ticks(&mut self, place: Place) {
        for cpu in 0..self.machines[place].cpus.len() {
            self.schedule_tick(place, cpu);
        }
    }

    pub(crate) fn schedule_tick(&mut self, place: Place, cpu: usize) {
        let machine = &mut self.machines[place];
        let (runnable, deadline) = match &machine.cpus[cpu].worker {
            Some(worker) => (worker.runnable(), worker.deadline()),
            None => (machine.node.runnable(), machine.node.deadline()),
        };
        let next = match (runnable, deadline) {
            (true, _) => self.now,
            (false, Some(local)) => machine.global(local),
            (false, None) => return,
        };
        let state = &mut machine.cpus[cpu];
        state.tick_token += 1;
        let token = state.tick_token;
        // A machine is never infinitely fast.
        let next = next.max(state.busy_until).max(self.now + Duration::from_micros(5));
        self.at(next, Event::Tick { place, cpu, token });
    }

    pub(crate) fn carry_out(
        &mut self,
        place: Place,
        effect: NodeEffect,
        inputs: &mut VecDeque<NodeInput>,
    ) {
        match effect {
            NodeEffect::Host(effect) => {
                inputs.extend(self.host(place, 0, effect).map(NodeInput::Host));
            }
            NodeEffect::Post { to, mail } => self.post(place, 0, to, mail),
            // The network here is between nodes only.
            NodeEffect::Socket(SocketOrder::Call { from, .. }) => {
                let reply = SocketReply::Failed(ErrorCode::Unreachable);
                inputs.push_back(NodeInput::Socket(SocketEvent::Done { to: from, reply }));
            }
            NodeEffect::Socket(_) | NodeEffect::SocketNote { .. } => {}
            NodeEffect::Restart => {
                inputs.clear();
                self.reclaim_all(place, 0);
                self.life_ended(place);
            }
            NodeEffect::Own(effect) => self.carry_out_for_control(place, effect, inputs),
        }
    }

    fn carry_out_for_control(
        &mut self,
        place: Place,
        effect: ControlEffect,
        inputs: &mut VecDeque<NodeInput>,
    ) {
        match effect {
            ControlEffect::Dial { conn, to } => self.dial(self.end(place, conn), to),
            ControlEffect::Close { conn } => self.close(self.end(place, conn)),
            ControlEffect::Ready { conn } => self.pump(self.end(place, conn)),
            ControlEffect::Datagram { to, bytes } => self.send_datagram(place, to, &bytes),
            ControlEffect::Load { program, bundle } => {
                let right = craton_bundle::program_id(&bundle) == program;
                let wrong = (ErrorCode::NoProgram, String::from("another bundle"));
                let result = if right { Ok(()) } else { Err(wrong) };
                inputs.push_back(NodeInput::Loaded { program, result });
            }
            ControlEffect::Unload { .. } => {}
            ControlEffect::Log { level, module, text } => {
                self.read_log(place, level, &module, &text);
            }
        }
    }

    /// Does what a shard asks of the host of its processes.
    fn host(&mut self, place: Place, cpu: usize, effect: HostEffect) -> Option<HostAnswer> {
        match effect {
            HostEffect::Start(start) => {
                let Start { pid, entry, argument, .. } = *start;
                self.trace.note(self.now, format_args!("{place} start {pid} {entry}"));
                let slot = pid.slot;
                if self.random.chance(3) {
                    let result = Err(ErrorCode::LimitMemory);
                    return Some(HostAnswer::Started { slot, result });
                }
                self.give_birth(place, pid, &entry, &argument);
                Some(HostAnswer::Started { slot, result: Ok(()) })
            }
            HostEffect::Run { slot, resume, slice } => {
                if resume.is_birth() {
                    self.is_born_at(place, cpu, slot);
                }
                let (outcome, used) = self.run_actor(place, (cpu, slot), resume, slice);
                Some(HostAnswer::Ran { slot, outcome, used })
            }
            HostEffect::Reclaim { slot } => {
                let machine = &mut self.machines[place];
                let given = || machine.transit.remove(&slot).map(|(_, instance)| instance);
                if let Some((pid, _)) = machine.actors.remove(&(cpu, slot)).or_else(given) {
                    self.trace.note(self.now, format_args!("{place} end {pid}"));
                    self.checker.ended(pid, self.now);
                }
                None
            }
            HostEffect::Give { slot } => {
                let machine = &mut self.machines[place];
                let Some(instance) = machine.actors.remove(&(cpu, slot)) else {
                    let text = format!("{place}: {slot} is given by CPU {cpu}, which has it not");
                    self.check(Err(Violation(text)));
                    return None;
                };
                self.trace.note(self.now, format_args!("{place} {} leaves {cpu}", instance.0));
                self.checker.lent(instance.0, true);
                machine.transit.insert(slot, (cpu, instance));
                None
            }
            HostEffect::Take { slot } => {
                let machine = &mut self.machines[place];
                let Some((_, instance)) = machine.transit.remove(&slot) else {
                    return Some(HostAnswer::NotThere { slot });
                };
                self.checker.lent(instance.0, slot.shard().index() != cpu);
                self.taken += 1;
                if let Some((pid, _)) = machine.actors.insert((cpu, slot), instance) {
                    self.check(Err(Violation(format!("{pid} is there twice"))));
                }
                None
            }
        }
    }

    /// Who was lent before it was born is on its way until it runs, and comes to life there.
    fn is_born_at(&mut self, place: Place, cpu: usize, slot: Slot) {
        let machine = &mut self.machines[place];
        if let Some((_, instance)) = machine.transit.remove(&slot) {
            self.checker.lent(instance.0, slot.shard().index() != cpu);
            self.taken += 1;
            machine.actors.insert((cpu, slot), instance);
        }
    }

    /// A process was spawned at once: from now on it can be sent to, watched and killed.
    fn enter(&mut self, place: Place, unborn: Option<Unborn>) {
        let Some((pid, call)) = unborn else { return };
        self.trace.note(self.now, format_args!("{place} unborn {pid} {}", call.entry));
        self.give_birth(place, pid, &call.entry, &call.argument);
    }

    fn give_birth(&mut self, place: Place, pid: Pid, entry: &str, argument: &Payload) {
        let actor = Actor::new(pid, entry, &argument.0, self.random.fork());
        let born = self.checker.born(pid, actor.spawn_number(), actor.is_in_order());
        self.check(born);
        if let Some(console) = actor.console() {
            self.checker.links_by_console(pid, console);
        }
        let key = (pid.slot.shard().index(), pid.slot);
        self.machines[place].actors.insert(key, (pid, actor));
    }

    /// A CPU drops all its processes, and those that it gave: their life is over.
    fn reclaim_all(&mut self, place: Place, cpu: usize) {
        self.machines[place].actors.retain(|(at, _), _| *at != cpu);
        self.machines[place].transit.retain(|_, (by, _)| *by != cpu);
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
        self.checker.life_began(machine.node.id(), machine.incarnation, self.now);
        self.lives_ended += 1;
    }

    /// The log is how a node tells people of gaps; the checker reads it as they would.
    pub(crate) fn read_log(&mut self, place: Place, level: LogLevel, module: &str, text: &str) {
        self.trace.note(self.now, format_args!("{place} {module}: {text}"));
        if text.contains("without credit") {
            // All nodes are honest here, so credit was counted wrongly and a message is lost.
            self.check(Err(Violation(format!("{place}: {module} {text}"))));
        }
        let me = self.ids[place];
        let named = |machine: &&Machine| {
            machine.place != place && text.contains(&machine.node.id().to_string())
        };
        if module == "cluster" && text.contains(" is up at ") {
            if let Some(other) = self.machines.iter().find(named) {
                self.checker.up(me, other.node.id(), self.now);
            }
            return;
        }
        if level > LogLevel::Warn || !matches!(module, "session" | "cluster") {
            return;
        }
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
        (cpu, slot): (usize, Slot),
        resume: Resume,
        slice: Duration,
    ) -> (Outcome, Duration) {
        let crowded = self.machines.iter().map(|m| m.actors.len()).sum::<usize>() >= ACTORS_MAX;
        let resume = self.sabotage(place, slot, resume);
        let alive = self.machines[place].node.nodes_alive();
        let Some((pid, actor)) = self.machines[place].actors.get_mut(&(cpu, slot)) else {
            let text = format!("{place}: {slot} is run by CPU {cpu}, but is not there");
            self.check(Err(Violation(text)));
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
        let cpu = &mut machine.cpus[cpu];
        cpu.busy_until = cpu.busy_until.max(self.now) + used;
        (outcome, used)
    }

    pub(crate) fn sabotage(&mut self, place: Place, slot: Slot, resume: Resume) -> Resume {
        let received = match (self.options.sabotage, resume) {
            (_, Resume::Reply(HostReply::Received(received))) => received,
            (Some(Sabotage::ShareNames), Resume::Reply(HostReply::Failed(ErrorCode::Taken))) => {
                return Resume::Reply(HostReply::Done);
            }
            (_, other) => return other,
        };
        match (self.options.sabotage, &received) {
            (Some(Sabotage::DuplicateMessages), Received::Message { .. }) => {
                if let Some((was_place, was_slot, again)) = self.repeat.take()
                    && (was_place, was_slot) == (place, slot)
                {
                    return Resume::Reply(HostReply::Received(again));
                }
                self.repeat = Some((place, slot, received.clone()));
            }
            (Some(Sabotage::SwallowNotices), Received::Down { .. })
            | (Some(Sabotage::SwallowTimers), Received::Timer { .. }) => {
                return Resume::Reply(HostReply::Failed(ErrorCode::TimedOut));
            }
            _ => {}
        }
        Resume::Reply(HostReply::Received(received))
    }
}
