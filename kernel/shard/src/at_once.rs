//! Calls that need nobody but this shard, now: answered while their process keeps the CPU.
//!
//! A host that can reach its shard asks here first, before it lets the process leave its stack: a
//! message to a process of the same shard whose mailbox has room, and a message that lies ready,
//! are most of what processes ask for. Everything else, and all that would have to wait, comes back
//! and goes the long way, as [`Input::Ran`](crate::port::Input::Ran): the outcome is the same.

use crate::port::{Effect, HostCall, HostReply};
use crate::process::State;
use crate::shard::{Shard, Whereabouts};
use alloc::vec::Vec;
use craton_abi::{Duration, ErrorCode, Slot, limit};

impl Shard {
    /// Answers a call of the process that runs, if that can be done at once. What is to be done
    /// about it is appended to `out`.
    ///
    /// # Errors
    ///
    /// Gives the call back, with nothing done: the process is to leave its stack with it.
    pub fn answer_at_once(
        &mut self,
        slot: Slot,
        call: HostCall,
        out: &mut Vec<Effect>,
    ) -> Result<HostReply, HostCall> {
        let runs = self.live(slot).is_some_and(|process| matches!(process.state, State::Running));
        match call {
            HostCall::Send { to, tag, payload, timeout } if runs => {
                let fits = payload.0.len() <= limit::MESSAGE_BYTES_MAX;
                if !fits || self.find(to) != Whereabouts::Here || !self.has_room(slot, to, &payload)
                {
                    return Err(HostCall::Send { to, tag, payload, timeout });
                }
                self.deliver(slot, to, tag, payload, out);
                Ok(HostReply::Done)
            }
            HostCall::Receive { tag, timeout, capacity } if runs => {
                match self.take(slot, tag, capacity, out) {
                    Some(reply) => Ok(reply),
                    None if timeout == Some(Duration::ZERO) => {
                        Ok(HostReply::Failed(ErrorCode::TimedOut))
                    }
                    None => Err(HostCall::Receive { tag, timeout, capacity }),
                }
            }
            other => Err(other),
        }
    }
}
