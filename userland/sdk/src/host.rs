//! Runs a program off wasm32, its processes as threads, so that its tests are `cargo test`.
//!
//! Owns [`Scenario`], [`Outcome`] and [`run`]. It keeps the rules that a program relies on: one
//! bounded mailbox for each process, order between two processes, monitors that fire once, links,
//! spawns on named nodes. It does not preempt, limit memory or encrypt; `tools/sim` and QEMU test
//! the real system. `world` and `ties` hold the state, `calls` the host calls.

pub(crate) mod calls;
mod names;
mod net;
mod ties;
mod world;

use crate::entry::EntryTable;
use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use craton_abi::run::{RunArgument, TAG_ERR, TAG_INPUT, TAG_OUT, TAG_READ};
use craton_abi::{ExitReason, NodeId, Pid, ProcessLimits};
use std::time::Duration;
use world::{Item, Shared, Tie, World};

/// How long after the end of `main` the other processes of a run may take to end.
const LINGER: Duration = Duration::from_secs(5);

/// What a program is run against.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// The arguments of the run.
    pub arguments: Vec<String>,
    /// Standard input.
    pub input: Vec<u8>,
    /// Lengths of the parts in which input comes, over and over; empty gives what is asked for.
    pub input_parts: Vec<usize>,
    /// Nodes in the cluster; `main` runs on the first.
    pub nodes: u64,
    /// Shards that each node says it has; every process has a thread of its own all the same.
    pub shards: u8,
    /// What goes wrong.
    pub fault: Option<Fault>,
    /// Seeds the randomness that processes see.
    pub seed: u64,
}

/// Something that goes wrong in the middle of a run.
#[derive(Clone, Debug)]
pub struct Fault {
    /// After so many messages were sent.
    pub after_sends: u64,
    /// What happens.
    pub kind: FaultKind,
}

/// What goes wrong.
#[derive(Clone, Debug)]
pub enum FaultKind {
    /// The first living process with this entry is killed.
    Kill(&'static str),
    /// The node with this index is lost, with everything on it.
    LoseNode(u64),
    /// The next message with this tag vanishes and nobody is told: what the system promises never
    /// to do, for programs that check even so.
    DropMessage(u64),
}

/// How a run went.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// How `main` ended.
    pub reason: ExitReason,
    /// What it wrote to standard output.
    pub stdout: Vec<u8>,
    /// What it wrote to standard error.
    pub stderr: Vec<u8>,
    /// Entries of processes that were still there some seconds after `main` had ended.
    pub left_over: Vec<String>,
    /// Log lines of all processes.
    pub log: Vec<String>,
    /// Messages that were sent, the console's and standard input's among them.
    pub sends: u64,
}

impl Default for Scenario {
    fn default() -> Self {
        Scenario {
            arguments: Vec::new(),
            input: Vec::new(),
            input_parts: Vec::new(),
            nodes: 3,
            shards: 1,
            fault: None,
            seed: 1,
        }
    }
}

/// The id of the node with this index.
pub fn node_id(index: u64) -> NodeId {
    NodeId::new(0xc0de_0000 + index)
}

/// Runs the entry `main` to its end.
///
/// # Panics
///
/// If the program declares no `main`: the test is at fault.
pub fn run(entries: EntryTable, scenario: Scenario) -> Outcome {
    let shared = Arc::new(Shared::new(World::new(entries, &scenario)));
    let usual = ProcessLimits::default();
    let (console, stdin) =
        shared.with(|world| (world.add("console", 0, usual), world.add("stdin", 0, usual)));
    let argument = RunArgument { console, stdin, arguments: scenario.arguments.clone() };
    let tie = Tie { watcher: Some(console), linked: None };
    let main = world::spawn(&shared, "main", argument.to_bytes(), 0, tie, usual)
        .expect("the program declares the entry main");
    let operator = Operator {
        console,
        stdin,
        input: scenario.input.into(),
        parts: scenario.input_parts,
        part: 0,
        stdout: Vec::new(),
        stderr: Vec::new(),
    };
    operator.serve(&shared, main.0)
}

/// Plays the two processes that stand for the operator.
struct Operator {
    console: Pid,
    stdin: Pid,
    input: VecDeque<u8>,
    parts: Vec<usize>,
    part: usize,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl Operator {
    fn serve(mut self, shared: &Arc<Shared>, main: Pid) -> Outcome {
        let reason = loop {
            match shared.take_either(self.console, self.stdin) {
                Item::Down { pid, reason, .. } if pid == main => break reason,
                Item::Message { tag: TAG_OUT, payload, .. } => self.stdout.extend(payload),
                Item::Message { tag: TAG_ERR, payload, .. } => self.stderr.extend(payload),
                Item::Message { tag: TAG_READ, from, payload, .. } => {
                    let wanted = payload.try_into().map_or(0, u32::from_le_bytes);
                    let part = self.next_part(wanted as usize);
                    let push = |world: &mut World| {
                        world.push_message(self.stdin, from, (TAG_INPUT, 0), part);
                    };
                    shared.with(push);
                }
                _ => {}
            }
        };
        let left_over = shared.end_all(LINGER);
        let (log, sends) = shared.with(|world| (core::mem::take(&mut world.log), world.sends));
        Outcome { reason, stdout: self.stdout, stderr: self.stderr, left_over, log, sends }
    }

    fn next_part(&mut self, wanted: usize) -> Vec<u8> {
        let len = match self.parts.get(self.part % self.parts.len().max(1)) {
            Some(&len) => len.clamp(1, wanted.max(1)),
            None => wanted,
        };
        self.part += 1;
        self.input.drain(..len.min(self.input.len())).collect()
    }
}
