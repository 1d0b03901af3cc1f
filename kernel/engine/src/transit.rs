//! Processes on their way from the engine of one CPU to that of another.
//!
//! Owns [`Transit`], where one engine lays down what another takes up, and the two verbs. What lies
//! there belongs to whoever gave it until it is taken: if the node begins a new life meanwhile, he
//! is the one who knows of which life it was.

use crate::engine::{Engine, Process};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use craton_abi::{ShardId, Slot};
use spin::Mutex;

/// Processes that no engine has. Locked for a look-up alone, never while one is dropped.
#[derive(Default)]
pub(crate) struct Transit(Mutex<BTreeMap<Slot, Given>>);

struct Given {
    /// The shard whose engine gave it.
    by: ShardId,
    process: Process,
}

impl Transit {
    fn give(&self, slot: Slot, given: Given) {
        let last = self.0.lock().insert(slot, given);
        // Of a life that is over, if there was one.
        drop(last);
    }

    pub(crate) fn take(&self, slot: Slot) -> Option<Process> {
        let given = self.0.lock().remove(&slot)?;
        // It may have been wiped on another CPU since it was here last.
        given.process.memory().arrive();
        Some(given.process)
    }

    /// Drops what an engine gave and nobody took.
    pub(crate) fn drop_given(&self, by: ShardId) {
        let dropped: Vec<(Slot, Given)> =
            self.0.lock().extract_if(.., |_, given| given.by == by).collect();
        drop(dropped);
    }
}

impl Engine {
    /// Lays a process, which is not running, where the engine of another CPU can take it.
    pub fn give(&mut self, slot: Slot) {
        let Some(process) = self.remove(slot) else { return };
        // This CPU touches it no more.
        process.memory().leave();
        self.programs().transit().give(slot, Given { by: self.shard(), process });
    }

    /// Takes a process that another engine gave, or this one. False if there is none.
    pub fn take(&mut self, slot: Slot) -> bool {
        let Some(process) = self.programs().transit().take(slot) else { return false };
        self.insert(slot, process);
        true
    }
}
