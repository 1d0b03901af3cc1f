//! Calls that need nobody but this shard, now: answered while their process keeps the CPU.
//!
//! A host that can reach its shard asks here first, before it lets the process leave its stack: a
//! message to a process of the same shard whose mailbox has room, and a message that lies ready,
//! are most of what processes ask for. Everything else, and all that would have to wait, comes back
//! and goes the long way, as [`Input::Ran`](crate::port::Input::Ran): the outcome is the same.

use crate::port::{Effect, HostCall, HostReply, ReceiveAtOnce, Resume};
use crate::process::{State, Tenant, Want};
use crate::shard::{Shard, Whereabouts, may_signal};
use alloc::vec::Vec;
use craton_abi::{Duration, ErrorCode, Payload, Pid, Slot, limit};
use craton_process::{Amount, Message};

impl Shard {
    /// Answers a call of the process that runs, other than a send or a receive, if that can be done
    /// at once. What is to be done about it is appended to `out`.
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
        if !self.runs(slot) {
            return Err(call);
        }
        self.request_at_once(slot, call, out)
    }

    /// Sends a message of the process that runs to another of this shard, if there is room for it.
    /// A receiver that waits for it has it at once; it does not go by the mailbox, in which there
    /// is nothing before it that the receiver would take.
    ///
    /// # Errors
    ///
    /// Gives the message back, with nothing done.
    #[inline]
    pub fn send_at_once(
        &mut self,
        slot: Slot,
        to: Pid,
        tag: u64,
        payload: Payload,
        out: &mut Vec<Effect>,
    ) -> Result<(), Payload> {
        let from = self.pid(slot);
        let len = payload.0.len();
        if (to.node, to.incarnation) != (from.node, from.incarnation)
            || len > limit::MESSAGE_BYTES_MAX
        {
            return Err(payload);
        }
        let app = match self.live(slot) {
            Some(process) if matches!(process.state, State::Running) => process.app,
            _ => return Err(payload),
        };
        let Some(target) = self.processes.get_mut(to.slot).and_then(Tenant::live_mut) else {
            return Err(payload);
        };
        if !may_signal(app, target.app)
            || !target.senders.is_empty()
            || target.mailbox.admits(Amount::of_message(len)).is_err()
        {
            return Err(payload);
        }
        let message = Message { from, tag, payload, request: None };
        match target.state {
            State::Receiving { want, capacity, deadline } if want.takes(tag) && len <= capacity => {
                self.timers.cancel(deadline, to.slot);
                let turn = self.run_queue.push(to.slot, &mut target.virtual_time);
                let resume = Resume::Reply(HostReply::Received(message.into()));
                target.state.put(State::Runnable { resume, turn });
                self.runnable += 1;
            }
            _ => {
                target.mailbox.push_local(message);
                self.arrived(to.slot, out);
            }
        }
        Ok(())
    }

    /// Receives for the process that runs, or lets it wait. Where it waits only for a while it is
    /// to come by [`Input::Ran`](crate::port::Input::Ran): the shard does not know what time it is
    /// before its next step.
    #[inline]
    pub fn receive_at_once(
        &mut self,
        slot: Slot,
        tag: Option<u64>,
        timeout: Option<Duration>,
        capacity: usize,
        out: &mut Vec<Effect>,
    ) -> ReceiveAtOnce {
        let empty = match self.live(slot) {
            Some(process) if matches!(process.state, State::Running) => process.mailbox.is_empty(),
            _ => return ReceiveAtOnce::Later,
        };
        // Where there is nothing to take, and time is no matter, nobody need look.
        if !(empty && timeout.is_none())
            && let Some(reply) = self.take_at_once(slot, tag, timeout, capacity, out)
        {
            return ReceiveAtOnce::Reply(reply);
        }
        match self.live_mut(slot) {
            Some(process) if timeout.is_none() => {
                let want = Want::of_tag(tag);
                process.state.put(State::Receiving { want, capacity, deadline: None });
                ReceiveAtOnce::Waits
            }
            _ => ReceiveAtOnce::Later,
        }
    }

    fn runs(&self, slot: Slot) -> bool {
        self.live(slot).is_some_and(|process| matches!(process.state, State::Running))
    }

    fn take_at_once(
        &mut self,
        slot: Slot,
        tag: Option<u64>,
        timeout: Option<Duration>,
        capacity: usize,
        out: &mut Vec<Effect>,
    ) -> Option<HostReply> {
        let taken = self.take(slot, Want::of_tag(tag), capacity, out);
        let refused = || HostReply::Failed(ErrorCode::TimedOut);
        taken.or_else(|| (timeout == Some(Duration::ZERO)).then(refused))
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
