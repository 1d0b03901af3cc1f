//! The host of the node: it gives the value that is the node its clock, network and engine.
//!
//! Owns [`Host`] and the loop of the boot CPU: poll the network, take mail, let time pass, run
//! processes, sleep. It does what the node asks and tells it what came of that; it decides nothing.
//! Every other CPU has one of the node's workers and a [`WorkerHost`]; `mail` joins them.

mod mail;
mod network;
mod nic;
mod processes;
mod report;
mod worker;

use alloc::boxed::Box;
use alloc::vec::Vec;
use craton_abi::{Duration, Instant};
use craton_bundle::CompilerKey;
use craton_engine::Engine;
use craton_hal::power::{self, ExitCode};
use craton_hal::{clock, logger, memory, smp, timer};
use craton_node::config::level_name;
use craton_node::{Node, NodeEffect, NodeInput};
use craton_shard::port::{HostEffect, LogLevel};
use mail::{Post, Rings};
pub(crate) use network::Network;
use processes::{Answer, Processes, told};
use worker::WorkerHost;

/// Processes that run before the network has its turn.
const RUNS_PER_TURN_MAX: usize = 64;
/// How long processes run before the network has its turn.
const TURN: Duration = Duration::from_micros(500);
/// Letters taken before the processes have their turn.
const LETTERS_PER_TURN_MAX: usize = 256;
/// How often the node is told of the machine's memory.
const HOUSEKEEPING: Duration = Duration::from_secs(1);

/// The node and what it needs of the machine.
pub(crate) struct Host {
    node: Node,
    processes: Processes,
    network: Network,
    post: Post,
    keys: Vec<CompilerKey>,
    /// What the node asked for and was not done yet.
    effects: Vec<NodeEffect>,
    /// Room for the effects that are being done.
    batch: Vec<NodeEffect>,
    housekeeping: Instant,
}

impl Host {
    /// Puts the parts together and gives every other CPU its shard, with an engine that
    /// `new_engine` makes. `effects` are what the node asked for already.
    pub(crate) fn new(
        mut node: Node,
        mut new_engine: impl FnMut() -> Engine,
        network: Network,
        effects: Vec<NodeEffect>,
    ) -> Self {
        let keys = node.config().compiler_keys.iter().copied().map(CompilerKey::from_bytes);
        let keys = keys.collect();
        let workers = node.workers();
        let rings = Rings::new(workers.len() + 1);
        for worker in workers {
            let cpu = worker.shard().index();
            let post = Post::new(cpu, rings.clone());
            let host = WorkerHost::new(worker, Processes::new(new_engine()), post);
            smp::run_on(cpu, Box::new(move || host.run()));
        }
        Host {
            keys,
            node,
            processes: Processes::new(new_engine()),
            network,
            post: Post::new(0, rings),
            effects,
            batch: Vec::new(),
            housekeeping: Instant::ZERO,
        }
    }

    /// Runs the node for as long as the machine is on.
    pub(crate) fn run(mut self) -> ! {
        loop {
            smp::quiescent();
            let now = clock::now();
            let mut busy = self.network.poll(&mut self.node, now, &mut self.effects);
            self.take_mail(now);
            self.housekeep(now);
            self.perform();
            // Who cannot pass on what it has said says no more: it runs nothing.
            busy |= self.post.flush() && self.run_processes();
            let flushed = self.post.flush();
            if flushed && !busy && !self.network.is_dirty() && !self.post.has_mail() {
                self.sleep();
            }
        }
    }

    fn take_mail(&mut self, now: Instant) {
        for _ in 0..LETTERS_PER_TURN_MAX {
            let Some(mail) = self.post.take() else { break };
            self.node.step(NodeInput::Mail(mail), now, &mut self.effects);
        }
    }

    /// Runs processes until none can, their time is over, or a frame or mail came. True if more can
    /// run.
    fn run_processes(&mut self) -> bool {
        let end = clock::now() + TURN;
        for _ in 0..RUNS_PER_TURN_MAX {
            let now = clock::now();
            self.node.step(NodeInput::Tick, now, &mut self.effects);
            if !self.perform() {
                // What was done may have woken a process after the tick had looked for one.
                return self.node.runnable();
            }
            let passed_on = self.post.flush();
            if !passed_on || now >= end || self.post.has_mail() || self.network.arm() {
                break;
            }
        }
        true
    }

    /// Does what the node asks for, and what it asks for thereupon. True if a process ran.
    fn perform(&mut self) -> bool {
        let mut ran = false;
        while !self.effects.is_empty() {
            let mut batch = core::mem::take(&mut self.batch);
            core::mem::swap(&mut batch, &mut self.effects);
            for effect in batch.drain(..) {
                ran |= matches!(effect, NodeEffect::Host(HostEffect::Run { .. }));
                self.perform_one(effect);
            }
            self.batch = batch;
        }
        ran
    }

    fn perform_one(&mut self, effect: NodeEffect) {
        let now = clock::now();
        match effect {
            NodeEffect::Dial { conn, to } => {
                if !self.network.dial(conn, to, now) {
                    self.node.step(NodeInput::Closed { conn }, now, &mut self.effects);
                }
            }
            NodeEffect::Close { conn } => self.network.close(conn, &mut self.node, now),
            NodeEffect::Ready { conn } => self.network.ready(conn),
            NodeEffect::Datagram { to, bytes } => self.network.datagram(to, &bytes, now),
            NodeEffect::Log { level, module, text } => {
                logger::print_foreign(log_level(level), &module, format_args!("{text}"));
            }
            NodeEffect::Restart => {
                self.processes.engine.reclaim_all();
                self.network.reset(now);
            }
            NodeEffect::Post { to, mail } => self.post.send(to, mail),
            NodeEffect::Load { program, bundle } => {
                let loaded = self.processes.engine.programs().load(program, &bundle, &self.keys);
                let result = loaded.map_err(told);
                let input = NodeInput::Loaded { program, result };
                self.node.step(input, clock::now(), &mut self.effects);
            }
            NodeEffect::Unload { program } => self.processes.engine.programs().unload(program),
            NodeEffect::Host(effect) => self.perform_for_process(effect),
        }
    }

    fn perform_for_process(&mut self, effect: HostEffect) {
        let now = clock::now();
        let (node, effects) = (&mut self.node, &mut self.effects);
        let desk = |slot, call| node.answer_at_once(slot, call, now, effects);
        let input = match self.processes.perform(effect, desk) {
            Some(Answer::Started { slot, result, bytes }) => {
                let memory = NodeInput::ProcessMemory { slot, bytes };
                self.node.step(memory, clock::now(), &mut self.effects);
                NodeInput::Started { slot, result }
            }
            Some(Answer::Ran { slot, outcome, used }) => NodeInput::Ran { slot, outcome, used },
            None => return,
        };
        self.node.step(input, clock::now(), &mut self.effects);
    }

    /// Tells the node what only the machine knows.
    fn housekeep(&mut self, now: Instant) {
        while let Some(line) = logger::take_line(|line, _| alloc::string::String::from(line)) {
            self.node.step(NodeInput::LogLine(line), now, &mut self.effects);
        }
        if memory::is_short() {
            self.processes.engine.give_back();
        }
        if memory::is_short() {
            self.node.step(NodeInput::MemoryShort, now, &mut self.effects);
        }
        if now < self.housekeeping {
            return;
        }
        self.housekeeping = now + HOUSEKEEPING;
        if let Some(broken) = self.network.broken() {
            // A node that hears nobody is dead to the others; it ends where they can see it.
            log::error!("the network card broke the protocol ({broken:?}): this machine ends");
            power::end(ExitCode::Failure);
        }
        let free_bytes = memory::free_bytes();
        self.node.step(NodeInput::Memory { free_bytes }, now, &mut self.effects);
        for (slot, bytes) in self.processes.memory() {
            self.node.step(NodeInput::ProcessMemory { slot, bytes }, now, &mut self.effects);
        }
    }

    /// Halts until an interrupt or the next deadline, unless a frame or mail came meanwhile.
    fn sleep(&mut self) {
        let now = clock::now();
        let due = [self.node.deadline(), self.network.deadline(now), Some(self.housekeeping)];
        let deadline = due.into_iter().flatten().min().unwrap_or(self.housekeeping);
        if deadline <= now {
            return;
        }
        timer::halt_at_most(deadline.since(now), || self.post.has_mail() || self.network.arm());
    }
}

fn log_level(level: LogLevel) -> log::Level {
    match level {
        LogLevel::Error => log::Level::Error,
        LogLevel::Warn => log::Level::Warn,
        LogLevel::Info => log::Level::Info,
        LogLevel::Debug => log::Level::Debug,
    }
}

/// The crate `log`'s filter for a node's log level.
pub(crate) fn log_filter(level: LogLevel) -> log::LevelFilter {
    level_name(level).parse().unwrap_or(log::LevelFilter::Info)
}
