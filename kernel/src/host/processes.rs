//! The node's processes on the engine.
//!
//! Owns nothing: it carries `Load`, `Start`, `Run` and `Reclaim` to the engine, and its answers
//! back.

use super::Host;
use alloc::string::{String, ToString};
use craton_abi::{ErrorCode, Instant, Slot};
use craton_engine::LoadError;
use craton_hal::clock;
use craton_node::{NodeEffect, NodeInput};
use craton_shard::port::{HostEffect, Start};

impl Host {
    pub(super) fn perform_for_process(&mut self, effect: NodeEffect) {
        let input = match effect {
            NodeEffect::Load { program, bundle } => {
                let loaded = self.engine.programs().load(program, &bundle, &self.keys);
                NodeInput::Loaded { program, result: loaded.map_err(told) }
            }
            NodeEffect::Unload { program } => {
                self.engine.programs().unload(program);
                return;
            }
            NodeEffect::Host(HostEffect::Start(start)) => {
                let Start { pid, program, entry, argument, limits } = *start;
                let result = self.engine.start(pid, program, &entry, argument, limits);
                self.tell_memory_of(pid.slot, clock::now());
                NodeInput::Started { slot: pid.slot, result }
            }
            NodeEffect::Host(HostEffect::Run { slot, resume, slice }) => {
                let (outcome, used) = self.engine.run(slot, resume, slice);
                NodeInput::Ran { slot, outcome, used }
            }
            NodeEffect::Host(HostEffect::Reclaim { slot }) => {
                self.engine.reclaim(slot);
                return;
            }
            _ => return,
        };
        self.node.step(input, clock::now(), &mut self.effects);
    }

    fn tell_memory_of(&mut self, slot: Slot, now: Instant) {
        let bytes = self.engine.memory_bytes(slot);
        self.node.step(NodeInput::ProcessMemory { slot, bytes }, now, &mut self.effects);
    }

    pub(super) fn tell_memory(&mut self, now: Instant) {
        let slots: alloc::vec::Vec<Slot> = self.engine.slots().collect();
        for slot in slots {
            self.tell_memory_of(slot, now);
        }
    }
}

/// Why a program was not loaded, for a program and for a person.
fn told(error: LoadError) -> (ErrorCode, String) {
    let code = match error {
        LoadError::Full => ErrorCode::LimitPrograms,
        LoadError::Memory => ErrorCode::LimitMemory,
        _ => ErrorCode::NoProgram,
    };
    (code, error.to_string())
}
