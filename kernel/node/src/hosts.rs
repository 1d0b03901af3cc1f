//! Who runs which process: the engine, or the node itself.
//!
//! Owns [`Hosts`], the table by which answers and effects find their way.

use alloc::collections::BTreeMap;
use craton_abi::{ProgramId, Slot, run};

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

/// All processes of the node that have an instance.
#[derive(Default)]
pub(crate) struct Hosts {
    all: BTreeMap<Slot, Hosted>,
}

impl Hosts {
    /// A process is being started.
    pub(crate) fn started(&mut self, slot: Slot, program: ProgramId) -> Host {
        let host = match program {
            run::CONSOLE => Host::Console,
            run::STDIN => Host::Stdin,
            _ => Host::Engine,
        };
        self.all.insert(slot, Hosted { host, program, memory_bytes: 0 });
        host
    }

    /// An instance was dropped, or never came to be.
    pub(crate) fn ended(&mut self, slot: Slot) -> Option<Host> {
        self.all.remove(&slot).map(|hosted| hosted.host)
    }

    pub(crate) fn get(&self, slot: Slot) -> Option<Hosted> {
        self.all.get(&slot).copied()
    }

    pub(crate) fn set_memory(&mut self, slot: Slot, bytes: u64) {
        if let Some(hosted) = self.all.get_mut(&slot) {
            hosted.memory_bytes = bytes;
        }
    }

    pub(crate) fn is_used(&self, program: ProgramId) -> bool {
        self.all.values().any(|hosted| hosted.program == program)
    }

    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    pub(crate) fn clear(&mut self) {
        self.all.clear();
    }
}
