//! The processes of one CPU, on the engine.
//!
//! Owns [`Processes`]: it carries what a shard wants of its host to the engine, and the engine's
//! answers back. Both the node and the workers have one.

use alloc::string::{String, ToString};
use craton_abi::{Duration, ErrorCode, Slot};
use craton_engine::{Engine, LoadError};
use craton_shard::port::{HostCall, HostEffect, HostReply, Outcome, Start};

/// The engine of one CPU.
pub(super) struct Processes {
    pub(super) engine: Engine,
}

/// What the engine did, for whoever asked.
pub(super) enum Answer {
    /// To [`HostEffect::Start`], with the memory that the process holds now.
    Started { slot: Slot, result: Result<(), ErrorCode>, bytes: u64 },
    /// To [`HostEffect::Run`].
    Ran { slot: Slot, outcome: Outcome, used: Duration },
}

impl Processes {
    pub(super) fn new(engine: Engine) -> Self {
        Processes { engine }
    }

    /// Does what a shard asks for. What a process asks that runs is brought to `desk` first.
    pub(super) fn perform(
        &mut self,
        effect: HostEffect,
        mut desk: impl FnMut(Slot, HostCall) -> Result<HostReply, HostCall>,
    ) -> Option<Answer> {
        match effect {
            HostEffect::Start(start) => {
                let Start { pid, program, entry, argument, limits } = *start;
                let slot = pid.slot;
                let result = self.engine.start(pid, program, &entry, argument, limits);
                Some(Answer::Started { slot, result, bytes: self.engine.memory_bytes(slot) })
            }
            HostEffect::Run { slot, resume, slice } => {
                let mut desk = |call| desk(slot, call);
                let (outcome, used) = self.engine.run_at_desk(slot, resume, slice, &mut desk);
                Some(Answer::Ran { slot, outcome, used })
            }
            HostEffect::Reclaim { slot } => {
                self.engine.reclaim(slot);
                None
            }
        }
    }

    /// What each process holds.
    pub(super) fn memory(&self) -> impl Iterator<Item = (Slot, u64)> {
        self.engine.slots().map(|slot| (slot, self.engine.memory_bytes(slot)))
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
