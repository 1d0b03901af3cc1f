//! The tenant of the boot CPU: the node, with its control.
//!
//! Owns [`Control`]: it gives the node its network and the loader of programs, and tells it what
//! only the machine knows. It decides nothing.

use super::Network;
use super::processes::told;
use super::served::Served;
use super::turn::{Cpu, Tenant};
use alloc::string::String;
use alloc::vec::Vec;
use craton_abi::Instant;
use craton_bundle::CompilerKey;
use craton_hal::power::{self, ExitCode};
use craton_hal::{clock, logger, memory};
use craton_node::{ControlEffect, Node, NodeEffect, NodeInput};
use craton_shard::port::LogLevel;

/// The node and what it needs beyond a CPU.
pub(super) struct Control {
    node: Node,
    network: Network,
    keys: Vec<CompilerKey>,
}

impl Control {
    pub(super) fn new(node: Node, network: Network) -> Self {
        let keys = node.config().compiler_keys.iter().copied().map(CompilerKey::from_bytes);
        Control { keys: keys.collect(), node, network }
    }
}

impl Tenant for Control {
    type Part = Node;

    fn part(&mut self) -> &mut Node {
        &mut self.node
    }

    fn poll(&mut self, now: Instant, out: &mut Vec<NodeEffect>) -> bool {
        self.network.poll(&mut self.node, now, out)
    }

    fn ends(&mut self) -> (&mut Node, &mut Served) {
        (&mut self.node, self.network.base())
    }

    fn perform(&mut self, effect: ControlEffect, cpu: &mut Cpu, out: &mut Vec<NodeEffect>) {
        let now = clock::now();
        match effect {
            ControlEffect::Dial { conn, to } => {
                if !self.network.dial(conn, to, now) {
                    self.node.step(NodeInput::Closed { conn }, now, out);
                }
            }
            ControlEffect::Close { conn } => self.network.close(conn, &mut self.node, now),
            ControlEffect::Ready { conn } => self.network.ready(conn),
            ControlEffect::Datagram { to, bytes } => self.network.datagram(to, &bytes, now),
            ControlEffect::Log { level, module, text } => {
                logger::print_foreign(log_level(level), &module, format_args!("{text}"));
            }
            ControlEffect::Load { program, bundle } => {
                let loaded = cpu.processes.engine.programs().load(program, &bundle, &self.keys);
                let result = loaded.map_err(told);
                self.node.step(NodeInput::Loaded { program, result }, clock::now(), out);
            }
            ControlEffect::Unload { program } => cpu.processes.engine.programs().unload(program),
        }
    }

    fn reset(&mut self, now: Instant) {
        self.network.reset(now);
    }

    fn housekeep(&mut self, full: bool, now: Instant, out: &mut Vec<NodeEffect>) {
        while let Some(line) = logger::take_line(|line, _| String::from(line)) {
            self.node.step(NodeInput::LogLine(line), now, out);
        }
        if memory::is_short() {
            self.node.step(NodeInput::MemoryShort, now, out);
        }
        if !full {
            return;
        }
        if let Some(broken) = self.network.broken() {
            // A node that hears nobody is dead to the others; it ends where they can see it.
            log::error!("the network card broke the protocol ({broken:?}): this machine ends");
            power::end(ExitCode::Failure);
        }
        self.network.tell_of(&self.node);
        let free_bytes = memory::free_bytes();
        self.node.step(NodeInput::Memory { free_bytes }, now, out);
    }

    fn deadline(&mut self, now: Instant) -> Option<Instant> {
        [self.node.deadline(), self.network.base().deadline(now)].into_iter().flatten().min()
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
