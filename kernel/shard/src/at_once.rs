//! Calls that need nobody but this shard, now: answered while their process keeps the CPU.
//!
//! A host that can reach its shard asks here first, before it lets the process leave its stack: a
//! message to a process of the same shard whose mailbox has room, and a message that lies ready,
//! are most of what processes ask for. Everything else, and all that would have to wait, comes back
//! and goes the long way, as [`Input::Ran`](crate::port::Input::Ran): the outcome is the same.

use crate::port::{Effect, HostCall, HostReply};
use crate::process::{Parcel, State, Want};
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
                self.deliver(slot, to, Parcel { tag, payload, request: None }, out);
                Ok(HostReply::Done)
            }
            HostCall::Receive { tag, timeout, capacity } if runs => {
                match self.take(slot, Want::of_tag(tag), capacity, out) {
                    Some(reply) => Ok(reply),
                    None if timeout == Some(Duration::ZERO) => {
                        Ok(HostReply::Failed(ErrorCode::TimedOut))
                    }
                    None => Err(HostCall::Receive { tag, timeout, capacity }),
                }
            }
            other if runs => self.request_at_once(slot, other, out),
            other => Err(other),
        }
    }

    /// What concerns requests and timers. A timer is not set here: the shard does not know what
    /// time it is before its next step.
    fn request_at_once(
        &mut self,
        slot: Slot,
        call: HostCall,
        out: &mut Vec<Effect>,
    ) -> Result<HostReply, HostCall> {
        let here = |shard: &Shard, pid| shard.find(pid) == Whereabouts::Here;
        match call {
            HostCall::Request { to, tag, payload, timeout }
                if here(self, to) && self.has_room(slot, to, &payload) =>
            {
                let reply = self.call_request(slot, to, (tag, payload), timeout, out);
                // It has room, so it does not wait.
                Ok(reply.unwrap_or(HostReply::Failed(ErrorCode::Full)))
            }
            HostCall::Answer { to, id, payload } if here(self, to) => {
                let reply = self.call_answer(slot, to, id, payload, out);
                Ok(reply.unwrap_or(HostReply::Done))
            }
            HostCall::Await { id, timeout, capacity } => {
                let found = self.take(slot, Want::News(id), capacity, out);
                found.ok_or(HostCall::Await { id, timeout, capacity })
            }
            HostCall::CancelTimer { id } => Ok(self.call_cancel_timer(slot, id)),
            other => Err(other),
        }
    }
}
