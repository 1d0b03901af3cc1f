//! The node: the control, shard 0 beside it, and the mail of the others.
//!
//! Owns [`Node`] and the way of every input and effect between the host, shard 0, the control and
//! the workers. Shards share nothing with one another or with the control but the values that pass
//! here; what is for shard 0 is passed on before a step returns, what is for a worker is posted,
//! all in order.

mod hosted;

use crate::api::{NodeEffect, NodeInput};
use crate::config::NodeConfig;
use crate::control::Control;
use crate::error::NodeError;
use crate::hosts::Host;
use crate::mail::{CONTROL, Mail, MailBody};
use crate::signals::destination;
use crate::work::Work;
use crate::worker::Worker;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::ToString;
use alloc::vec::Vec;
use craton_abi::{
    Duration, ExitReason, Incarnation, Instant, NodeId, ShardId, Slot, SocketEvent, SocketOrder,
};
use craton_session::ConnId;
use craton_shard::Shard;
use craton_shard::port::{Effect, HostAnswer, HostEffect, Input, LogLevel, Outcome};

/// Most shards of a node: the last index is the control's own.
pub const SHARDS_MAX: u8 = 128;

/// One booted machine, as a value, but for the CPUs that its [`Worker`]s are.
pub struct Node {
    pub(crate) shard: Shard,
    pub(crate) control: Control,
    workers_made: bool,
    /// Used by each input of the shard; kept for its room.
    effects: Vec<Effect>,
    /// Used by each step; kept for its room, and empty in between.
    work: Work,
}

impl Node {
    /// A node with `shards` shards in this life. All but the first are to be taken from
    /// [`Node::workers`].
    ///
    /// # Errors
    ///
    /// [`NodeError`] if the configuration is incomplete or its keys do not fit together.
    pub fn new(
        config: NodeConfig,
        incarnation: Incarnation,
        shards: u8,
        seed: [u8; 32],
        now: Instant,
    ) -> Result<Self, NodeError> {
        if !(1..=SHARDS_MAX).contains(&shards) {
            return Err(NodeError::Shards);
        }
        let control = Control::new(config, incarnation, shards, seed, now)?;
        let shard = Shard::new(control.config_of(CONTROL));
        let (effects, work) = (Vec::new(), Work::default());
        Ok(Node { shard, control, workers_made: false, effects, work })
    }

    /// The shards from 1 on, to be stepped on other CPUs. Each is given out once: none the second
    /// time. What is posted to one before that is mail like any other.
    pub fn workers(&mut self) -> Vec<Worker> {
        let first = if core::mem::replace(&mut self.workers_made, true) { SHARDS_MAX } else { 1 };
        let (control, life) = (&self.control, self.work.life);
        let make =
            |shard| Worker::new(control.config_of(ShardId::new(shard)), control.shards, life);
        (first..control.shards).map(make).collect()
    }

    /// Takes one input and appends what is to be done about it, in order.
    pub fn step(&mut self, input: NodeInput, now: Instant, out: &mut Vec<NodeEffect>) {
        let mut work = core::mem::take(&mut self.work);
        work.effects = core::mem::take(out);
        self.take(input, now, &mut work);
        self.pass_on(now, &mut work);
        *out = core::mem::take(&mut work.effects);
        self.put_back(work);
    }

    /// Puts back what [`core::mem::take`] left nothing in place of: there is nothing to drop.
    fn put_back(&mut self, work: Work) {
        core::mem::forget(core::mem::replace(&mut self.work, work));
    }

    /// Carries out what shard 0 asked for since.
    #[inline]
    fn carry_out_all(&mut self, now: Instant, out: &mut Vec<NodeEffect>) {
        if !self.effects.is_empty() {
            self.carry_out_some(now, out);
        }
    }

    #[inline(never)]
    fn carry_out_some(&mut self, now: Instant, out: &mut Vec<NodeEffect>) {
        let mut effects = core::mem::take(&mut self.effects);
        let mut work = core::mem::take(&mut self.work);
        work.effects = core::mem::take(out);
        for effect in effects.drain(..) {
            self.carry_out(effect, CONTROL, now, &mut work);
        }
        self.pass_on(now, &mut work);
        *out = core::mem::take(&mut work.effects);
        self.effects = effects;
        self.put_back(work);
    }

    /// Appends up to `bytes_max` bytes that are to be sent on a connection.
    pub fn transmit(&mut self, conn: ConnId, bytes_max: usize, out: &mut Vec<u8>, now: Instant) {
        self.control.links.transmit(conn, bytes_max, out, now);
    }

    /// When it must be stepped with [`NodeInput::Tick`] at the latest, if it is not runnable.
    pub fn deadline(&self) -> Option<Instant> {
        [self.shard.deadline(), self.control.deadline()].into_iter().flatten().min()
    }

    /// Its id.
    pub fn id(&self) -> NodeId {
        self.control.me.node
    }

    /// Its present life.
    pub fn incarnation(&self) -> Incarnation {
        self.control.me.incarnation
    }

    /// What it was told at its start.
    pub fn config(&self) -> &NodeConfig {
        &self.control.config
    }

    /// The nodes known to be alive, this one first.
    pub fn nodes_alive(&self) -> Vec<NodeId> {
        self.control.nodes_alive().map(|alive| alive.node).collect()
    }

    /// Processes on this node: those of workers as they told last, with those that were ordered
    /// from them since.
    pub fn processes(&self) -> usize {
        self.control.processes()
    }

    fn take(&mut self, input: NodeInput, now: Instant, work: &mut Work) {
        let control = &mut self.control;
        match input {
            NodeInput::Tick => {
                control.tick(now, work);
                // What is lost is told before anybody does more: a message sent in between would
                // cross in the next epoch and be counted in none.
                while control.pump(now, work) {}
                work.input(CONTROL, Input::Tick);
            }
            NodeInput::Address(address) => control.addressed(address, now, work),
            NodeInput::WallClock { secs_at_zero } => control.wall_clock(secs_at_zero),
            NodeInput::Accepted { conn, from: _ } => control.links.accepted(conn, now),
            NodeInput::Connected { conn } => control.links.connected(conn, now),
            NodeInput::Received { conn, bytes } => control.links.received(conn, &bytes, now),
            NodeInput::Closed { conn } => control.links.closed(conn, now),
            NodeInput::Datagram { from, bytes } => {
                if let Some(membership) = &mut control.membership {
                    membership.datagram(from, &bytes, now);
                }
            }
            NodeInput::Carried { bundle } => control.carried(bundle, now, work),
            NodeInput::Loaded { program, result } => control.loaded(program, result, now, work),
            NodeInput::Host(answer) => {
                if let Some((home, body)) = self.lodger_holds(&answer) {
                    work.post(home, body);
                }
                work.inputs.extend(self.host_said(answer));
            }
            NodeInput::Socket(event) => self.network_said(event, work),
            NodeInput::SocketNote { to, note } => work.post(to, MailBody::Sockets(Box::new(note))),
            NodeInput::LogLine(line) => control.log.push(line),
            NodeInput::Memory { free_bytes } => control.memory_free = free_bytes,
            NodeInput::MemoryShort => self.relieve(now, work),
            NodeInput::Mail(mail) => self.mail(mail, now, work),
        }
    }

    /// Whether the host runs a process for shard 0, or may have been asked to.
    #[inline]
    fn runs(&self, slot: Slot) -> bool {
        slot.shard() == CONTROL || self.shard.has_lodger(slot)
    }

    /// What the home of a lodger is told of what the host says that it holds.
    fn lodger_holds(&mut self, answer: &HostAnswer) -> Option<(ShardId, MailBody)> {
        let &HostAnswer::Memory { slot, bytes } = answer else { return None };
        let used = self.shard.take_used(slot)?;
        Some((slot.shard(), MailBody::Holds(slot, bytes, used)))
    }

    /// What shard 0 is told of what the host of its processes says.
    fn host_said(&mut self, answer: HostAnswer) -> Option<Input> {
        match answer {
            HostAnswer::Started { slot, result } if slot.shard() == CONTROL => {
                if result.is_err() {
                    self.control.hosts.ended(slot);
                }
                return Some(Input::Started { slot, result });
            }
            HostAnswer::Ran { slot, outcome, used } if self.runs(slot) => {
                return Some(Input::Ran { slot, outcome, used });
            }
            HostAnswer::NotThere { slot } => return Some(Input::NotThere { slot }),
            HostAnswer::Memory { slot, bytes } => self.control.hosts.set_memory(slot, bytes),
            HostAnswer::Started { .. } | HostAnswer::Ran { .. } => {}
        }
        None
    }

    /// What the network has to tell a process, of this life or of one before.
    fn network_said(&self, event: SocketEvent, work: &mut Work) {
        let (to, me) = (event.to(), &self.control.me);
        if (to.node, to.incarnation) != (me.node, me.incarnation) {
            return;
        }
        if to.slot.shard().index() < usize::from(self.control.shards) {
            work.input_for(to.slot, Input::Socket(event));
        } else {
            // It was given to a process that cannot be.
            let order = SocketOrder::Release { owner: to, orderly: false };
            work.effect(NodeEffect::Socket(order));
        }
    }

    /// Mail of a worker.
    fn mail(&mut self, mail: Mail, now: Instant, work: &mut Work) {
        let Mail { life, from, body } = mail;
        if life != work.life {
            return;
        }
        let control = &mut self.control;
        match body {
            MailBody::Letter(letter) => work.input(CONTROL, Input::Letter(letter)),
            MailBody::Input(input) => work.input(CONTROL, *input),
            MailBody::Effect(effect) => self.carry_out(*effect, from, now, work),
            MailBody::Sockets(note) => {
                work.effect(NodeEffect::SocketNote { from, note: *note });
            }
            MailBody::Restarted => control.crew.restarted(from),
            MailBody::LostHeard(node, incarnation) => {
                control.crew.heard_lost(from, node, incarnation);
            }
            MailBody::Settled(claimer) => control.names_settled(claimer, work),
            MailBody::Holds(slot, bytes, used) => {
                control.hosts.set_memory(slot, bytes);
                self.shard.used_elsewhere(slot, used);
            }
            MailBody::Tally(tally) => control.crew.told(from, tally),
            MailBody::Unused(program, tally) => control.crew.unused(from, program, tally),
            MailBody::Listing(id, part) => control.listed(id, part, now, work),
            MailBody::Largest(id, part) => control.sized(id, part, now, work),
            // For workers only.
            MailBody::Restart(_) | MailBody::Settle(_) | MailBody::Ask(..) => {}
        }
    }

    /// Passes everything on until nothing is left to pass.
    fn pass_on(&mut self, now: Instant, work: &mut Work) {
        loop {
            if work.fenced {
                work.fenced = false;
                self.control.restart(now, work);
                self.shard = Shard::new(self.control.config_of(CONTROL));
            } else if let Some(input) = work.inputs.pop_front() {
                self.step_shard(input, now, work);
            } else if !self.control.pump(now, work) {
                break;
            }
        }
        for (to, request) in core::mem::take(&mut work.listings) {
            self.list(to, request, now, work);
            while self.control.pump(now, work) {}
        }
    }

    fn step_shard(&mut self, input: Input, now: Instant, work: &mut Work) {
        let lost = match &input {
            &Input::NodeLost { node, incarnation } => Some((node, incarnation)),
            _ => None,
        };
        let mut effects = core::mem::take(&mut self.effects);
        self.shard.step(input, now, &mut effects);
        for effect in effects.drain(..) {
            self.carry_out(effect, CONTROL, now, work);
        }
        self.effects = effects;
        if let Some((node, incarnation)) = lost {
            self.control.crew.heard_lost(CONTROL, node, incarnation);
        }
    }

    /// Does what a shard asks of the node. The shard has heard of all that is lost, or else what it
    /// says to the lost is lost as well: it counts it as such when it hears.
    fn carry_out(&mut self, effect: Effect, from: ShardId, now: Instant, work: &mut Work) {
        let control = &mut self.control;
        if let Some((node, incarnation)) = destination(&effect)
            && control.crew.is_lost(from, node, incarnation)
        {
            return;
        }
        match effect {
            Effect::Host(effect) => self.for_host(effect, now, work),
            Effect::Signal(signal) => control.carry(signal, now, work),
            Effect::Credit { to, mailbox, messages, bytes } => {
                control.return_credit(to, mailbox, (messages, bytes), now, work);
            }
            Effect::Lending { to, slot, word } => work.input(to, Input::Lending { slot, word }),
            Effect::WantRoom { node } => control.wants_room.push((node, from)),
            Effect::Gone { to, pid } => control.tell_gone(to, pid, now, work),
            Effect::Place { place, order } => control.place(place, order, now, work),
            Effect::SpawnReply { request, parent, result } => {
                control.answer_spawn(request, parent, result, now, work);
            }
            Effect::SpawnHeard { child } => control.tell_heard(child, now, work),
            Effect::AskNodes { slot } => {
                let nodes = control.nodes_alive().collect();
                work.input_for(slot, Input::Nodes { slot, nodes });
            }
            Effect::Socket(order) => work.effect(NodeEffect::Socket(order)),
            Effect::AskNames { slot, app, call, name } => {
                control.ask_names(slot, app, (call, name), work);
            }
            Effect::NamesEnded { pid } => control.names_ended(pid),
            Effect::Log { pid, level, text } => {
                control.say(level, &pid.to_string(), text, now, work);
            }
            Effect::Exited { pid, reason } => {
                if matches!(control.hosts.get(pid.slot), Some(h) if h.host != Host::Engine) {
                    control.part_exited(pid.slot, now, work);
                } else if !reason.is_orderly() {
                    // Who is killed was meant to be; all else is news to an operator.
                    let killed = reason == ExitReason::Killed;
                    let level = if killed { LogLevel::Debug } else { LogLevel::Info };
                    control.say(level, "process", format!("{pid} ended: {reason}"), now, work);
                }
            }
        }
    }

    /// What shard 0 asks of the host of its processes: of the engine, or of the control.
    fn for_host(&mut self, effect: HostEffect, now: Instant, work: &mut Work) {
        let control = &mut self.control;
        match effect {
            HostEffect::Start(start) => {
                let slot = start.pid.slot;
                if control.hosts.started(slot, start.program) == Host::Engine {
                    work.effect(NodeEffect::Host(HostEffect::Start(start)));
                } else {
                    work.input(CONTROL, Input::Started { slot, result: Ok(()) });
                }
            }
            HostEffect::Run { slot, resume, slice } => {
                let host = control.hosts.get(slot).map(|hosted| hosted.host);
                let Some(host @ (Host::Console | Host::Stdin)) = host else {
                    return work.effect(NodeEffect::Host(HostEffect::Run { slot, resume, slice }));
                };
                if let Some(outcome) = control.run_part(slot, host, resume, now, work) {
                    work.input(CONTROL, ran(slot, outcome));
                }
            }
            HostEffect::Reclaim { slot } => match control.hosts.ended(slot).map(|h| h.host) {
                Some(Host::Engine) => work.effect(NodeEffect::Host(HostEffect::Reclaim { slot })),
                Some(Host::Console | Host::Stdin) => control.part_reclaimed(slot),
                None => {}
            },
            HostEffect::Give { .. } | HostEffect::Take { .. } => {
                work.effect(NodeEffect::Host(effect));
            }
        }
    }
}

fn ran(slot: Slot, outcome: Outcome) -> Input {
    Input::Ran { slot, outcome, used: Duration::ZERO }
}
