//! The node: control and shards joined.
//!
//! Owns [`Node`] and the way of every input and effect between the host, the shards and the
//! control. The shards share nothing with one another or with the control but the values that pass
//! here; all of them are passed on before a step returns, in order.

use crate::api::{NodeEffect, NodeInput};
use crate::config::{ConfigError, NodeConfig};
use crate::control::Control;
use crate::hosts::Host;
use crate::log_ring::one_line;
use crate::operators::LISTED_MAX;
use crate::work::Work;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use craton_abi::{Duration, ExitReason, Incarnation, Instant, NodeId, ShardId, Slot, limit};
use craton_session::{CertificateError, ConnId};
use craton_shard::port::{Effect, Input, LogLevel, Outcome, Resume};
use craton_shard::{Shard, ShardConfig};
use craton_wire::ProcessInfo;

/// Most shards of a node: the last index is the control's own.
pub const SHARDS_MAX: u8 = 128;

/// One booted machine, as a value.
pub struct Node {
    pub(crate) shards: Vec<Shard>,
    pub(crate) control: Control,
    /// Used by each input of a shard; kept for its room.
    effects: Vec<Effect>,
    /// Used by each step; kept for its room, and empty in between.
    work: Work,
}

/// Why no node can be made of a configuration.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum NodeError {
    /// A key is missing or wrong.
    Config(ConfigError),
    /// The certificate is not the authority's, or no certificate.
    Certificate(CertificateError),
    /// The certificate is not a node's.
    Role,
    /// The noise key is not the certificate's.
    KeyMismatch,
    /// An authority's key is no key.
    Authority,
    /// A node has 1 to [`SHARDS_MAX`] shards.
    Shards,
}

impl Node {
    /// A node with `shards` shards in this life.
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
        let mut node =
            Node { shards: Vec::new(), control, effects: Vec::new(), work: Work::default() };
        node.make_shards();
        Ok(node)
    }

    /// Takes one input and appends what is to be done about it, in order.
    pub fn step(&mut self, input: NodeInput, now: Instant, out: &mut Vec<NodeEffect>) {
        let mut work = core::mem::take(&mut self.work);
        work.effects = core::mem::take(out);
        self.take(input, now, &mut work);
        self.pass_on(now, &mut work);
        *out = core::mem::take(&mut work.effects);
        self.work = work;
    }

    /// Appends up to `bytes_max` bytes that are to be sent on a connection.
    pub fn transmit(&mut self, conn: ConnId, bytes_max: usize, out: &mut Vec<u8>, now: Instant) {
        self.control.links.transmit(conn, bytes_max, out, now);
    }

    /// When it must be stepped with [`NodeInput::Tick`] at the latest, if it is not runnable.
    pub fn deadline(&self) -> Option<Instant> {
        let shards = self.shards.iter().map(Shard::deadline);
        shards.chain([self.control.deadline()]).flatten().min()
    }

    /// Whether a tick would run a process.
    pub fn runnable(&self) -> bool {
        self.shards.iter().any(Shard::runnable)
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
        self.control.nodes_alive()
    }

    /// Processes on this node.
    pub fn processes(&self) -> usize {
        self.shards.iter().map(Shard::len).sum()
    }

    fn make_shards(&mut self) {
        self.shards.clear();
        for index in 0..self.control.shards {
            self.shards.push(Shard::new(ShardConfig {
                node: self.control.me.node,
                incarnation: self.control.me.incarnation,
                shard: ShardId::new(index),
                processes_max: limit::PROCESSES_PER_SHARD_MAX,
            }));
        }
    }

    fn take(&mut self, input: NodeInput, now: Instant, work: &mut Work) {
        let control = &mut self.control;
        match input {
            NodeInput::Tick => {
                control.tick(now, work);
                // What is lost is told before anybody does more: a message sent in between would
                // cross in the next epoch and be counted in none.
                while control.pump(now, work) {}
                for index in 0..control.shards {
                    work.input(ShardId::new(index), Input::Tick);
                }
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
            NodeInput::Loaded { program, result } => control.loaded(program, result, now, work),
            NodeInput::Started { slot, result } => {
                if result.is_err() {
                    control.hosts.ended(slot);
                }
                self.engine_said(slot, Input::Started { slot, result }, work);
            }
            NodeInput::Ran { slot, outcome, used } => {
                self.engine_said(slot, Input::Ran { slot, outcome, used }, work);
            }
            NodeInput::ProcessMemory { slot, bytes } => control.hosts.set_memory(slot, bytes),
            NodeInput::LogLine(line) => control.log.push(line),
            NodeInput::Memory { free_bytes } => control.memory_free = free_bytes,
            NodeInput::MemoryShort => self.relieve(now, work),
        }
    }

    fn engine_said(&self, slot: Slot, input: Input, work: &mut Work) {
        if slot.shard().index() < self.shards.len() {
            work.input_for(slot, input);
        }
    }

    /// Passes everything on until nothing is left to pass.
    fn pass_on(&mut self, now: Instant, work: &mut Work) {
        loop {
            if work.fenced {
                work.fenced = false;
                self.control.restart(now, work);
                self.make_shards();
            } else if let Some((shard, input)) = work.inputs.pop_front() {
                self.step_shard(shard, input, now, work);
            } else if !self.control.pump(now, work) {
                break;
            }
        }
        for (to, request) in core::mem::take(&mut work.listings) {
            let list = self.listing();
            self.control.answer_listing((to, request), list, now);
            while self.control.pump(now, work) {}
        }
    }

    fn step_shard(&mut self, shard: ShardId, input: Input, now: Instant, work: &mut Work) {
        let Some(value) = self.shards.get_mut(shard.index()) else { return };
        let mut effects = core::mem::take(&mut self.effects);
        value.step(input, now, &mut effects);
        for effect in effects.drain(..) {
            self.carry_out(effect, shard, now, work);
        }
        self.effects = effects;
    }

    fn carry_out(&mut self, effect: Effect, from: ShardId, now: Instant, work: &mut Work) {
        let control = &mut self.control;
        match effect {
            Effect::Start { pid, program, entry, argument, limits } => {
                if control.hosts.started(pid.slot, program) == Host::Engine {
                    work.effect(NodeEffect::Start { pid, program, entry, argument, limits });
                } else {
                    work.input_for(pid.slot, Input::Started { slot: pid.slot, result: Ok(()) });
                }
            }
            Effect::Run { slot, resume, slice } => self.run(slot, resume, slice, now, work),
            Effect::Reclaim { slot } => match control.hosts.ended(slot) {
                Some(Host::Engine) => work.effect(NodeEffect::Reclaim { slot }),
                Some(Host::Console | Host::Stdin) => control.part_reclaimed(slot),
                None => {}
            },
            Effect::Signal(signal) => control.carry(signal, now, work),
            Effect::Credit { node, shard, mailbox, messages, bytes } => {
                control.return_credit((node, shard), mailbox, (messages, bytes), now, work);
            }
            Effect::WantRoom { node } => control.wants_room.push((node, from)),
            Effect::Gone { node, shard, pid } => control.tell_gone((node, shard), pid, now, work),
            Effect::Place { place, order } => control.place(place, order, now, work),
            Effect::SpawnReply { request, parent, result } => {
                control.answer_spawn(request, parent, result, now, work);
            }
            Effect::SpawnHeard { child } => control.tell_heard(child, now, work),
            Effect::AskNodes { slot } => {
                let nodes = control.nodes_alive();
                work.input_for(slot, Input::Nodes { slot, nodes });
            }
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

    fn run(&mut self, slot: Slot, resume: Resume, slice: Duration, now: Instant, work: &mut Work) {
        let host = self.control.hosts.get(slot).map(|hosted| hosted.host);
        let Some(host @ (Host::Console | Host::Stdin)) = host else {
            return work.effect(NodeEffect::Run { slot, resume, slice });
        };
        if let Some(outcome) = self.control.run_part(slot, host, resume, now, work) {
            work.input_for(slot, ran(slot, outcome));
        }
    }

    fn listing(&self) -> Vec<ProcessInfo> {
        let views = self.shards.iter().flat_map(Shard::processes).take(LISTED_MAX);
        views
            .map(|view| ProcessInfo {
                pid: view.pid,
                program: view.program,
                entry: one_line(String::from(view.entry)),
                state: view.state,
                mailbox_messages: view.mailbox_messages,
                mailbox_bytes: view.mailbox_bytes,
                memory_bytes: 0,
                cpu_nanos: view.cpu.as_nanos(),
            })
            .collect()
    }
}

fn ran(slot: Slot, outcome: Outcome) -> Input {
    Input::Ran { slot, outcome, used: Duration::ZERO }
}

impl fmt::Display for NodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NodeError::Config(error) => fmt::Display::fmt(error, f),
            NodeError::Certificate(error) => fmt::Display::fmt(error, f),
            NodeError::Role => f.write_str("the certificate is not a node's"),
            NodeError::KeyMismatch => f.write_str("the noise key is not the certificate's"),
            NodeError::Authority => f.write_str("an authority's key is no key"),
            NodeError::Shards => write!(f, "a node has 1 to {SHARDS_MAX} shards"),
        }
    }
}

impl core::error::Error for NodeError {}
