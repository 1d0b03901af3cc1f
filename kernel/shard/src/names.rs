//! Names and groups, as a shard sees them: its node keeps the tables, it passes on.
//!
//! A process that may have entries is marked, and its end is told to the node before it is told to
//! anybody else: who hears of it finds the name free.

use crate::port::{Effect, HostReply, NameCall};
use crate::process::State;
use crate::shard::Shard;
use alloc::string::String;
use alloc::vec::Vec;
use craton_abi::{ErrorCode, Slot, limit};

impl Shard {
    pub(crate) fn call_names(
        &mut self,
        slot: Slot,
        call: NameCall,
        name: String,
        out: &mut Vec<Effect>,
    ) -> Option<HostReply> {
        if !(1..=limit::NAME_BYTES_MAX).contains(&name.len()) {
            return Some(HostReply::Failed(ErrorCode::Invalid));
        }
        let process = self.live_mut(slot)?;
        process.is_named |= matches!(call, NameCall::Register | NameCall::Join);
        process.state = State::Asking;
        let app = process.app;
        out.push(Effect::AskNames { slot, app, call, name });
        None
    }

    /// The node's answer to what a process asked it.
    pub(crate) fn told(&mut self, slot: Slot, reply: HostReply, out: &mut Vec<Effect>) {
        match self.live(slot) {
            Some(process) if matches!(process.state, State::Asking) => self.reply(slot, reply),
            // It was killed while it waited.
            None => {}
            Some(_) => {
                let pid = self.pid(slot);
                self.refuse(pid, "an answer of the node nobody asked for", pid, out);
            }
        }
    }
}
