//! The processes of one CPU, on the engine.
//!
//! Owns [`Processes`]: it carries what a shard wants of its host to the engine, and the engine's
//! answers back. Both the node and the workers have one.

use alloc::string::{String, ToString};
use craton_abi::{ErrorCode, Slot};
use craton_engine::{Engine, LoadError};
use craton_shard::port::{HostAnswer, Start};

/// The engine of one CPU.
pub(super) struct Processes {
    pub(super) engine: Engine,
}

impl Processes {
    pub(super) fn new(engine: Engine) -> Self {
        Processes { engine }
    }

    /// Makes an instance for a process.
    pub(super) fn start(&mut self, start: Start) -> HostAnswer {
        let slot = start.pid.slot;
        HostAnswer::Started { slot, result: self.engine.start(start) }
    }

    /// What a process holds.
    pub(super) fn memory_of(&self, slot: Slot) -> HostAnswer {
        HostAnswer::Memory { slot, bytes: self.engine.memory_bytes(slot) }
    }

    /// What each process holds of which that can have changed since this was asked last.
    pub(super) fn memory(&mut self) -> impl Iterator<Item = HostAnswer> {
        let ran = self.engine.take_ran();
        ran.into_iter().map(|slot| self.memory_of(slot))
    }
}

/// Why a program was not loaded, for a program and for a person.
pub(super) fn told(error: LoadError) -> (ErrorCode, String) {
    let code = match error {
        LoadError::Full => ErrorCode::LimitPrograms,
        LoadError::Memory => ErrorCode::LimitMemory,
        _ => ErrorCode::NoProgram,
    };
    (code, error.to_string())
}
