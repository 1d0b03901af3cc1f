//! Who runs which process of a shard: the engine, or the node itself.
//!
//! Owns [`Hosts`], the table by which answers and effects find their way, and which knows what
//! programs are in use and who holds how much memory.

use crate::log_ring::one_line;
use alloc::string::String;
use alloc::vec::Vec;
use craton_abi::{Pid, ProgramId, Slot, limit, run};
use craton_shard::{BySlot, Shard};
use craton_wire::ProcessInfo;

/// Who runs a process.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(crate) enum Host {
    /// The host of the node: on metal the wasm engine.
    Engine,
    /// The node, as the console of a run.
    Console,
    /// The node, as standard input of a run.
    Stdin,
}

#[derive(Copy, Clone, Debug)]
pub(crate) struct Hosted {
    pub(crate) host: Host,
    pub(crate) program: ProgramId,
    pub(crate) memory_bytes: u64,
}

/// All processes of a shard that have an instance.
#[derive(Default)]
pub(crate) struct Hosts {
    all: BySlot<Hosted>,
    /// The node's own among them, which are few.
    own: Vec<Slot>,
    /// How many of them are of each program, the one that was asked for last at the front: there
    /// are few, and mostly it is that one again.
    programs: Vec<(ProgramId, Host, usize)>,
}

impl Hosts {
    /// A process is being started.
    pub(crate) fn started(&mut self, slot: Slot, program: ProgramId) -> Host {
        let host = match self.find(program) {
            Some((_, host, count)) => {
                *count += 1;
                *host
            }
            None => {
                let host = match program {
                    run::CONSOLE => Host::Console,
                    run::STDIN => Host::Stdin,
                    _ => Host::Engine,
                };
                self.programs.push((program, host, 1));
                host
            }
        };
        self.all.insert(slot, Hosted { host, program, memory_bytes: 0 });
        if host != Host::Engine {
            self.own.push(slot);
        }
        host
    }

    /// What is known of a program that is in use.
    fn find(&mut self, program: ProgramId) -> Option<&mut (ProgramId, Host, usize)> {
        let at = self.programs.iter().position(|(known, ..)| *known == program)?;
        self.programs.swap(0, at);
        self.programs.first_mut()
    }

    /// An instance was dropped, or never came to be.
    pub(crate) fn ended(&mut self, slot: Slot) -> Option<Hosted> {
        let hosted = self.all.remove(slot)?;
        if self.all.is_empty() {
            self.all.give_back();
        }
        if hosted.host != Host::Engine {
            self.own.retain(|own| *own != slot);
        }
        if let Some((.., count)) = self.find(hosted.program) {
            *count -= 1;
            if *count == 0 {
                self.programs.swap_remove(0);
            }
        }
        Some(hosted)
    }

    pub(crate) fn get(&self, slot: Slot) -> Option<Hosted> {
        self.all.get(slot).copied()
    }

    /// Whether the engine runs a process, and not the node itself.
    #[inline]
    pub(crate) fn is_engine(&self, slot: Slot) -> bool {
        !self.own.contains(&slot)
    }

    pub(crate) fn set_memory(&mut self, slot: Slot, bytes: u64) {
        if let Some(hosted) = self.all.get_mut(slot) {
            hosted.memory_bytes = bytes;
        }
    }

    pub(crate) fn is_used(&self, program: ProgramId) -> bool {
        self.programs.iter().any(|(known, ..)| *known == program)
    }

    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    pub(crate) fn clear(&mut self) {
        self.all = BySlot::default();
        self.own.clear();
        self.programs.clear();
    }

    /// The process of `shard`, whose hosts these are, that holds the most memory, messages that
    /// wait for it included. The node's own parts of a run are spared: they end with it.
    pub(crate) fn largest(&self, shard: &Shard) -> Option<(Pid, u64)> {
        let held = shard.processes().filter_map(|view| {
            let hosted = self.get(view.pid.slot)?;
            let bytes = hosted.memory_bytes + u64::from(view.mailbox_bytes);
            (hosted.host == Host::Engine).then_some((view.pid, bytes))
        });
        held.max_by_key(|(_, bytes)| *bytes)
    }

    /// The processes of `shard`, whose hosts these are, as far as a listing goes.
    pub(crate) fn listing(&self, shard: &Shard) -> Vec<ProcessInfo> {
        let views = shard.processes().take(limit::PROCESSES_LISTED_MAX);
        views
            .map(|view| ProcessInfo {
                pid: view.pid,
                program: view.program,
                entry: one_line(String::from(view.entry)),
                state: view.state,
                waits_for: view.waits_for,
                mailbox_messages: view.mailbox_messages,
                mailbox_bytes: view.mailbox_bytes,
                memory_bytes: self.get(view.pid.slot).map_or(0, |hosted| hosted.memory_bytes),
                cpu_nanos: view.cpu.as_nanos(),
            })
            .collect()
    }
}
